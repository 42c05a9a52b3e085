/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_range.c: a range lock with one slot a thread. */

/*
 * R1  Two ranges conflict if they overlap and at least one of them is exclusive. Writers of
 *     whole sectors hold shared ranges (the disk orders them itself); who reads a sector, changes
 *     a part of it and writes it back holds an exclusive one.
 * R2  No two held ranges conflict.
 *
 * There are as many slots as threads, a few dozen at most, and a thread holds one range: a scan
 * under one mutex costs less than any tree. Nobody waits while holding a range, so there is no
 * deadlock. A waiting exclusive range may be overtaken by shared ones: they are as many as there
 * are threads and each ends.
 */
#include "fuse_range.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int sv_ranges_init(struct sv_ranges *ranges, unsigned count)
{
	*ranges = (struct sv_ranges){.count = count};
	ranges->slots = calloc(count, sizeof(*ranges->slots));
	if (!ranges->slots)
		return -ENOMEM;
	pthread_mutex_init(&ranges->lock, NULL);
	pthread_cond_init(&ranges->freed, NULL);
	return 0;
}

void sv_ranges_fini(struct sv_ranges *ranges)
{
	if (!ranges->slots)
		return;
	pthread_cond_destroy(&ranges->freed);
	pthread_mutex_destroy(&ranges->lock);
	free(ranges->slots);
	ranges->slots = NULL;
}

static bool conflicts(const struct sv_ranges *ranges, const struct sv_range *want)
{
	for (unsigned i = 0; i < ranges->count; i++) {
		const struct sv_range *held = &ranges->slots[i];

		if (held->start < want->end && want->start < held->end &&
		    (held->exclusive || want->exclusive))
			return true;
	}
	return false;
}

void sv_ranges_lock(struct sv_ranges *ranges, unsigned slot, uint64_t start, uint64_t end,
		    bool exclusive)
{
	const struct sv_range want = {.start = start, .end = end, .exclusive = exclusive};

	assert(start < end && slot < ranges->count);
	pthread_mutex_lock(&ranges->lock);
	assert(!ranges->slots[slot].end);
	while (conflicts(ranges, &want)) {
		ranges->waiting++;
		pthread_cond_wait(&ranges->freed, &ranges->lock);
		ranges->waiting--;
	}
	ranges->slots[slot] = want; /* R2 */
	pthread_mutex_unlock(&ranges->lock);
}

void sv_ranges_unlock(struct sv_ranges *ranges, unsigned slot)
{
	pthread_mutex_lock(&ranges->lock);
	ranges->slots[slot] = (struct sv_range){0};
	if (ranges->waiting)
		pthread_cond_broadcast(&ranges->freed);
	pthread_mutex_unlock(&ranges->lock);
}
