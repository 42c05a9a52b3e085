/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clock.h: whether the host has slept: told by its two clocks, of which one stops meanwhile. */
#ifndef LAUNCHER_CLOCK_H
#define LAUNCHER_CLOCK_H

#include <stdint.h>

/* CLOCK_BOOTTIME runs on while the host sleeps, CLOCK_MONOTONIC does not: their difference
 * is how long it has slept since it was started. */
struct clock_sleep {
	int64_t slept_ms; /* as of the last look */
};

/* The first look. */
void clock_sleep_init(struct clock_sleep *clock);
/* How long the host has slept since the last look, in ms; 0 for less than CLOCK_SLEEP_MIN_MS,
 * which a slow look between the two clocks may make. */
enum { CLOCK_SLEEP_MIN_MS = 500 };
int64_t clock_sleep_look(struct clock_sleep *clock);
/* The same from two readings. */
int64_t clock_sleep_between(struct clock_sleep *clock, int64_t boot_ms, int64_t monotonic_ms);

/* CLOCK_BOOTTIME, which a sleep does not stop: for how long something was frozen. */
int64_t clock_boot_ms(void);

#endif
