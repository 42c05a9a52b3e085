/* SPDX-License-Identifier: GPL-2.0-or-later */
/* now.c: the clocks of this host: one for spans of time, one for dates. */
#include <time.h>

#include "store_impl.h"

uint64_t sv_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t sv_now_ms(void)
{
	return sv_now_us() / 1000;
}

uint64_t sv_now_s(void)
{
	return (uint64_t)time(NULL);
}
