/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pacer.c: a running debt between the virtual clock and the real one. */
#include "pacer.h"

#include <time.h>

/* A machine that was held up for longer than this did not oversleep: it was away. */
#define MAX_LATE_NS UINT64_C(20000000)

uint64_t fsim_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

uint64_t fsim_pacer_start(struct fsim_pacer *pacer, uint64_t arrival_ns, uint64_t busy_ns,
			  uint64_t *ret_idle_ns)
{
	uint64_t start = arrival_ns - pacer->late_ns;
	if (start < pacer->busy_until_ns)
		start = pacer->busy_until_ns;
	*ret_idle_ns = start - pacer->busy_until_ns;
	pacer->busy_until_ns = start + busy_ns;
	return pacer->busy_until_ns;
}

void fsim_pacer_woke(struct fsim_pacer *pacer, uint64_t now_ns)
{
	uint64_t late = now_ns > pacer->busy_until_ns ? now_ns - pacer->busy_until_ns : 0;
	pacer->late_ns = late < MAX_LATE_NS ? late : MAX_LATE_NS;
}
