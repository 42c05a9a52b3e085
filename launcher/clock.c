/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clock.c: the host's sleep, from CLOCK_BOOTTIME and CLOCK_MONOTONIC. */
#include "clock.h"

#include <time.h>

static int64_t now_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_boot_ms(void)
{
	return now_ms(CLOCK_BOOTTIME);
}

int64_t clock_sleep_between(struct clock_sleep *clock, int64_t boot_ms, int64_t monotonic_ms)
{
	const int64_t slept_ms = boot_ms - monotonic_ms;
	const int64_t more_ms = slept_ms - clock->slept_ms;

	if (more_ms < CLOCK_SLEEP_MIN_MS)
		return 0;
	clock->slept_ms = slept_ms;
	return more_ms;
}

/* Boot time first: a pause between the two makes the difference smaller, never larger, and what
 * is too small is no sleep. */
int64_t clock_sleep_look(struct clock_sleep *clock)
{
	const int64_t boot_ms = now_ms(CLOCK_BOOTTIME);

	return clock_sleep_between(clock, boot_ms, now_ms(CLOCK_MONOTONIC));
}

/* The largest of some differences is the true one. */
void clock_sleep_init(struct clock_sleep *clock)
{
	clock->slept_ms = INT64_MIN / 2;
	for (int i = 0; i < 4; i++) {
		const int64_t boot_ms = now_ms(CLOCK_BOOTTIME);
		const int64_t slept_ms = boot_ms - now_ms(CLOCK_MONOTONIC);

		if (slept_ms > clock->slept_ms)
			clock->slept_ms = slept_ms;
	}
}
