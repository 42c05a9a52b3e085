/* SPDX-License-Identifier: GPL-2.0-or-later */
/* heat.h: how often each region of the disk was written of late. */
#ifndef STORAGE_HEAT_H
#define STORAGE_HEAT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Changed by one thread at a time (commit is held); read by any. */
struct sv_heat {
	_Atomic uint8_t *counts; /* a region each, in sixteenths of a write of every block */
	uint64_t regions;
	uint32_t region_blocks;
	uint64_t noted;		/* blocks since the counts were halved */
	_Atomic uint32_t limit; /* below it, a region lives long */
	uint64_t all;		/* blocks, ever: spreads what a large region counts */
	/* H3, since it was looked at last. */
	uint64_t busy;	       /* regions that were written often, now */
	uint64_t busy_sum;     /* the same, at each block noted */
	uint64_t seen, seldom; /* blocks noted; of them those in regions that were not */
	bool skewed;
};

/* For a disk of `blocks`. -ENOMEM. */
int sv_heat_init(struct sv_heat *heat, uint64_t blocks);
void sv_heat_free(struct sv_heat *heat);

/* A block was written; `mapped` blocks hold data by now. */
void sv_heat_note(struct sv_heat *heat, uint64_t lba, uint64_t mapped);
/* Whether it lives shorter than most: it was written at least twice as often as the mean block. */
bool sv_heat_is_short(const struct sv_heat *heat, uint64_t lba);
/* Of a block that was just noted: whether it was not written often before. It says something only
 * where `skewed`: such blocks get less than half the writes that their number would. */
bool sv_heat_is_long(const struct sv_heat *heat, uint64_t lba);

#endif
