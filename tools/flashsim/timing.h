/* SPDX-License-Identifier: GPL-2.0-or-later */
/* timing.h: how long each command of a stick takes, and what it does to the flash. */
#ifndef FLASHSIM_TIMING_H
#define FLASHSIM_TIMING_H

#include <stdbool.h>

#include "mapping.h"

#define FSIM_MAX_STREAMS 16

/* The controller: a mapping, and what makes a command slow besides it. No data, no clock. */
struct fsim_timing {
	const struct fsim_profile *profile;
	struct fsim_map *map;
	uint64_t read_next;		       /* where the last read ended */
	uint64_t write_next[FSIM_MAX_STREAMS]; /* where the last writes ended, newest first */
	double slc_used_bytes;
	double slc_written_bytes; /* in all: each is programmed once more */
	double link_rate;	  /* bytes a second; 0: no limit */
	bool boundaries;	  /* reads across pages and erase units cost more */
	uint32_t max_io_bytes;	  /* what the host sends at most on this link */
};

int fsim_timing_init(struct fsim_timing *timing, const struct fsim_profile *profile,
		     uint64_t size_bytes, uint64_t seed);
void fsim_timing_destroy(struct fsim_timing *timing);

/* A port of the given speed in Mbit/s; 0: one that does not hold the stick back. */
void fsim_timing_link(struct fsim_timing *timing, uint32_t mbit_s);

/* One command of at most max_io_bytes inside the size: its nanoseconds. */
uint64_t fsim_timing_read(struct fsim_timing *timing, uint64_t off_bytes, uint64_t len_bytes);
uint64_t fsim_timing_write(struct fsim_timing *timing, uint64_t off_bytes, uint64_t len_bytes);
uint64_t fsim_timing_flush(struct fsim_timing *timing);
/* Time in which no command came: the SLC cache is folded. */
void fsim_timing_idle(struct fsim_timing *timing, uint64_t ns);

#endif
