/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_range.h: keeps writers off the sectors that somebody reads, changes and writes back. */
#ifndef STORAGE_FUSE_RANGE_H
#define STORAGE_FUSE_RANGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct sv_range {
	uint64_t start, end; /* bytes, half open; empty: the slot is free */
	bool exclusive;
};

struct sv_ranges {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	struct sv_range *slots;
	unsigned count;
	unsigned waiting;
};

/* One slot a thread. -ENOMEM. */
int sv_ranges_init(struct sv_ranges *ranges, unsigned count);
void sv_ranges_fini(struct sv_ranges *ranges);

/* Waits until no other slot conflicts, then takes the range. A slot holds one range at a time. */
void sv_ranges_lock(struct sv_ranges *ranges, unsigned slot, uint64_t start, uint64_t end,
		    bool exclusive);
void sv_ranges_unlock(struct sv_ranges *ranges, unsigned slot);

#endif
