/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map_block.c: class A: whole units are mapped, the M last written ones are open. */
#include <errno.h>
#include <stdlib.h>

#include "mapping.h"

/*
 * A unit that is written gets a fresh block; the writes go there in order. When another unit
 * needs the place, the least recently written one is closed: what was not written is copied from
 * the unit's old block, and that is erased:
 *	T_merge = E + (AU - w) / C	w: bytes written in order since the unit was opened.
 * A write before the end of the last one in its unit cannot go into the same block: a full merge
 * (w counts for nothing), and the unit is opened again. Gaps are in order: the copy fills them.
 * A unit that was written from end to end and starts over is closed first, for E alone.
 */
#define MAX_OPEN 16

struct open_unit {
	bool used;
	uint32_t unit;
	uint32_t block;	     /* the fresh one */
	uint32_t next_bytes; /* where the last write ended, in the unit */
	uint32_t written_bytes;
	uint64_t tick;
};

struct block_map {
	struct fsim_map map;
	uint32_t *block_of; /* of each unit, plus one; 0: the block of the same number */
	struct open_unit open[MAX_OPEN];
	uint64_t tick;
};

static uint64_t close_unit(struct block_map *bm, struct open_unit *u, uint32_t credit_bytes)
{
	struct fsim_flash *flash = &bm->map.flash;
	uint32_t copied = flash->profile->erase_bytes - credit_bytes;
	uint32_t old = bm->block_of[u->unit] ? bm->block_of[u->unit] - 1 : u->unit;

	fsim_flash_count_copy(flash, copied / flash->profile->page_bytes);
	fsim_flash_release(flash, old);
	bm->block_of[u->unit] = u->block + 1;
	u->used = false;
	return fsim_flash_erase_ns(flash) + fsim_flash_copy_ns(flash, copied);
}

static struct open_unit *find_open(struct block_map *bm, uint32_t unit)
{
	for (uint32_t i = 0; i < bm->map.flash.profile->open_units; i++)
		if (bm->open[i].used && bm->open[i].unit == unit)
			return &bm->open[i];
	return NULL;
}

static struct open_unit *find_place(struct block_map *bm)
{
	struct open_unit *best = &bm->open[0];
	for (uint32_t i = 0; i < bm->map.flash.profile->open_units; i++) {
		if (!bm->open[i].used)
			return &bm->open[i];
		if (bm->open[i].tick < best->tick)
			best = &bm->open[i];
	}
	return best;
}

static uint64_t write_in_unit(struct block_map *bm, uint32_t unit, uint32_t off, uint32_t len)
{
	uint32_t unit_bytes = bm->map.flash.profile->erase_bytes;
	struct open_unit *u = find_open(bm, unit);
	uint64_t ns = 0;

	if (u != NULL && off < u->next_bytes)
		ns += close_unit(bm, u, u->written_bytes == unit_bytes ? unit_bytes : 0);
	if (u == NULL)
		u = find_place(bm);
	if (u->used && u->unit != unit)
		ns += close_unit(bm, u, u->written_bytes);
	if (!u->used)
		*u = (struct open_unit){
			.used = true,
			.unit = unit,
			.block = fsim_flash_take(&bm->map.flash),
		};
	u->next_bytes = off + len;
	u->written_bytes += len;
	u->tick = ++bm->tick;
	return ns;
}

static uint64_t block_map_write(struct fsim_map *map, uint64_t off_bytes, uint64_t len_bytes)
{
	struct block_map *bm = (struct block_map *)map;
	uint32_t unit_bytes = map->flash.profile->erase_bytes;
	uint64_t ns = 0;

	fsim_flash_count_host(&map->flash, off_bytes, len_bytes);
	while (len_bytes > 0) {
		uint32_t off = (uint32_t)(off_bytes % unit_bytes);
		uint32_t len = unit_bytes - off;
		if (len > len_bytes)
			len = (uint32_t)len_bytes;
		ns += write_in_unit(bm, (uint32_t)(off_bytes / unit_bytes), off, len);
		off_bytes += len;
		len_bytes -= len;
	}
	return ns;
}

/* A block map copies a whole unit whether it ever held data or not. */
static void block_map_fill(struct fsim_map *map)
{
	(void)map;
}

static void block_map_free(struct fsim_map *map)
{
	struct block_map *bm = (struct block_map *)map;
	fsim_flash_destroy(&map->flash);
	free(bm->block_of);
	free(bm);
}

static const struct fsim_map_ops block_map_ops = {
	.write = block_map_write,
	.fill = block_map_fill,
	.free = block_map_free,
};

int fsim_block_map_new(const struct fsim_profile *profile, uint64_t size_bytes, uint64_t seed,
		       struct fsim_map **ret_map)
{
	if (profile->open_units == 0 || profile->open_units > MAX_OPEN)
		return -EINVAL;
	struct block_map *bm = calloc(1, sizeof(*bm));
	if (bm == NULL)
		return -ENOMEM;
	bm->map.ops = &block_map_ops;
	int r = fsim_flash_init(&bm->map.flash, profile, size_bytes, profile->open_units + 1, seed);
	if (r < 0) {
		free(bm);
		return r;
	}
	bm->block_of = calloc(size_bytes / profile->erase_bytes, sizeof(*bm->block_of));
	if (bm->block_of == NULL) {
		block_map_free(&bm->map);
		return -ENOMEM;
	}
	*ret_map = &bm->map;
	return 0;
}
