/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * heat.c: lifetimes as they are measured. Each region counts the writes to it, all counts are
 * halved whenever as many blocks were written as the disk holds; so a block of the mean rate stands
 * between one and two, and one that is written k times as often at k times that.
 *
 * H1  Memory is bounded: a region is one block, or as many as make 4 Mi regions of the disk. A
 *     region counts a sixteenth of a write for a sixteenth of its blocks, rounded by turns.
 * H2  Nothing depends on it but where data is laid: it may be lost, and is, with the session.
 * H3  A count tells lifetimes apart only where they differ. A region is *busy* from two writes on;
 *     where all blocks are alike the writes fall on busy ones in proportion to their number, as
 *     chance has it. So each quarter of a disk's worth of writes the part that fell on the others
 *     is compared with the part of the disk that they were meanwhile.
 */
#include "heat.h"

#include <errno.h>
#include <stdlib.h>

#define MOST_REGIONS (UINT64_C(4) << 20)
#define ONE_WRITE 16u /* of the whole region, in counts */
#define SHORT (ONE_WRITE + ONE_WRITE / 2)
#define LEAST_TURN 1024u /* blocks between two halvings */
#define BUSY (2u * ONE_WRITE)
#define LOOKS 4u /* at the skew, a turn */

int sv_heat_init(struct sv_heat *heat, uint64_t blocks)
{
	*heat = (struct sv_heat){.region_blocks = (uint32_t)(blocks / MOST_REGIONS + 1),
				 .limit = SHORT};
	heat->regions = blocks / heat->region_blocks + 1;
	heat->counts = calloc(heat->regions, sizeof(*heat->counts));
	return heat->counts ? 0 : -ENOMEM;
}

void sv_heat_free(struct sv_heat *heat)
{
	free((void *)heat->counts);
	*heat = (struct sv_heat){0};
}

static void halve(struct sv_heat *heat)
{
	for (uint64_t i = 0; i < heat->regions; i++) {
		uint8_t n = atomic_load_explicit(&heat->counts[i], memory_order_relaxed);

		if (!n) /* pages that were never touched stay so */
			continue;
		atomic_store_explicit(&heat->counts[i], n / 2, memory_order_relaxed);
		heat->busy -= n >= BUSY && n / 2 < BUSY;
	}
	heat->noted = 0;
}

/* H3 */
static void look_at_skew(struct sv_heat *heat, uint64_t mapped)
{
	double seldom = (double)heat->seldom / (double)heat->seen;
	double busy = (double)heat->busy_sum / (double)heat->seen * heat->region_blocks;

	heat->skewed = mapped && seldom <= (1 - busy / (double)mapped) / 2;
	heat->seen = heat->seldom = heat->busy_sum = 0;
}

void sv_heat_note(struct sv_heat *heat, uint64_t lba, uint64_t mapped)
{
	uint64_t region = lba / heat->region_blocks;
	_Atomic uint8_t *count = &heat->counts[region < heat->regions ? region : 0];
	uint64_t turn = mapped > LEAST_TURN ? mapped : LEAST_TURN;
	uint32_t before = (uint32_t)(heat->all * ONE_WRITE % heat->region_blocks);
	uint32_t add = (before + ONE_WRITE) / heat->region_blocks; /* H1 */
	uint32_t old = atomic_load_explicit(count, memory_order_relaxed), n = old + add;

	heat->seen++;
	heat->seldom += old < BUSY;
	heat->busy_sum += heat->busy;
	heat->busy += old < BUSY && n >= BUSY;
	atomic_store_explicit(count, (uint8_t)(n < UINT8_MAX ? n : UINT8_MAX),
			      memory_order_relaxed);
	heat->all++;
	if (heat->seen >= turn / LOOKS)
		look_at_skew(heat, mapped);
	if (++heat->noted >= turn)
		halve(heat);
	/* Half as much again as the mean of all, which grows from one write to two. */
	atomic_store_explicit(&heat->limit, (uint32_t)(SHORT + SHORT * heat->noted / turn),
			      memory_order_relaxed);
}

bool sv_heat_is_short(const struct sv_heat *heat, uint64_t lba)
{
	uint64_t region = lba / heat->region_blocks;

	return region < heat->regions &&
	       atomic_load_explicit(&heat->counts[region], memory_order_relaxed) >=
		       atomic_load_explicit(&heat->limit, memory_order_relaxed);
}

bool sv_heat_is_long(const struct sv_heat *heat, uint64_t lba)
{
	uint64_t region = lba / heat->region_blocks;
	uint32_t own = ONE_WRITE / heat->region_blocks;

	return region < heat->regions &&
	       atomic_load_explicit(&heat->counts[region], memory_order_relaxed) <
		       atomic_load_explicit(&heat->limit, memory_order_relaxed) + (own ? own : 1);
}
