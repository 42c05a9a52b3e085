/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map_log.c: class B: a block map with log blocks beside it, as in FAST. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mapping.h"

/*
 * Two kinds of log block:
 *  - sequential ones, `open_units` of them: a write at the start of a unit opens one, writes that
 *    go on without a gap stay in it. When it is full it replaces the unit's block (a switch
 *    merge: one erase); when another unit needs the place it is completed first, (AU - w) copied;
 *  - a random one of P = AU / page slots, which takes every other write, a slot a page. When it
 *    is full, each of the A_d units that have a page in it is merged into a fresh block: all of
 *    AU copied and one erase a unit, and one for the log block.
 * So random writes over D units cost A_d * T_merge / P each, A_d = D (1 - (1 - 1/D)^P), and
 * program 1 + A_d pages for one.
 */
#define MAX_OPEN 16

struct sequential_log {
	bool used;
	uint32_t unit;
	uint32_t block;
	uint32_t written_bytes;
	uint64_t tick;
};

struct log_map {
	struct fsim_map map;
	uint32_t *block_of; /* of each unit, plus one; 0: the block of the same number */
	struct sequential_log open[MAX_OPEN];
	uint64_t tick;
	uint32_t random_block;
	uint32_t slots;
	uint32_t slots_used;
	uint32_t *slot_units; /* the unit of the page in a slot; UINT32_MAX: superseded */
	uint64_t last_page;   /* in the newest slot */
	bool last_open;	      /* the write goes on where the one before it ended, unflushed */
};

static uint64_t replace_block(struct log_map *lm, uint32_t unit, uint32_t fresh)
{
	uint32_t old = lm->block_of[unit] ? lm->block_of[unit] - 1 : unit;
	fsim_flash_release(&lm->map.flash, old);
	lm->block_of[unit] = fresh + 1;
	return fsim_flash_erase_ns(&lm->map.flash);
}

static uint64_t close_sequential(struct log_map *lm, struct sequential_log *s)
{
	struct fsim_flash *flash = &lm->map.flash;
	uint32_t copied = flash->profile->erase_bytes - s->written_bytes;

	fsim_flash_count_copy(flash, copied / flash->profile->page_bytes);
	s->used = false;
	return fsim_flash_copy_ns(flash, copied) + replace_block(lm, s->unit, s->block);
}

/* The log block that goes on at `off` of the unit, or a place for a new one at its start. */
static struct sequential_log *find_sequential(struct log_map *lm, uint32_t unit, uint32_t off)
{
	struct sequential_log *oldest = &lm->open[0];
	for (uint32_t i = 0; i < lm->map.flash.profile->open_units; i++) {
		struct sequential_log *s = &lm->open[i];
		if (s->used && s->unit == unit)
			return s->written_bytes == off || off == 0 ? s : NULL;
		if (oldest->used && (!s->used || s->tick < oldest->tick))
			oldest = s;
	}
	return off == 0 ? oldest : NULL;
}

static void forget_slots(struct log_map *lm, uint32_t unit)
{
	for (uint32_t i = 0; i < lm->slots_used; i++)
		if (lm->slot_units[i] == unit)
			lm->slot_units[i] = UINT32_MAX;
}

static uint64_t write_sequential(struct log_map *lm, struct sequential_log *s, uint32_t unit,
				 uint32_t off, uint32_t len)
{
	uint64_t ns = 0;
	if (s->used && (s->unit != unit || s->written_bytes != off))
		ns += close_sequential(lm, s);
	if (!s->used)
		*s = (struct sequential_log){
			.used = true,
			.unit = unit,
			.block = fsim_flash_take(&lm->map.flash),
		};
	s->written_bytes += len;
	s->tick = ++lm->tick;
	if (s->written_bytes == lm->map.flash.profile->erase_bytes) {
		forget_slots(lm, unit);
		ns += close_sequential(lm, s);
	}
	return ns;
}

static int by_unit(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static uint64_t merge_random(struct log_map *lm)
{
	struct fsim_flash *flash = &lm->map.flash;
	uint32_t unit_bytes = flash->profile->erase_bytes;
	uint64_t ns = 0;

	qsort(lm->slot_units, lm->slots_used, sizeof(*lm->slot_units), by_unit);
	for (uint32_t i = 0; i < lm->slots_used; i++) {
		uint32_t unit = lm->slot_units[i];
		if (unit == UINT32_MAX || (i > 0 && lm->slot_units[i - 1] == unit))
			continue;
		fsim_flash_count_copy(flash, unit_bytes / flash->profile->page_bytes);
		ns += fsim_flash_copy_ns(flash, unit_bytes);
		ns += replace_block(lm, unit, fsim_flash_take(flash));
	}
	fsim_flash_release(flash, lm->random_block);
	lm->random_block = fsim_flash_take(flash);
	lm->slots_used = 0;
	return ns + fsim_flash_erase_ns(flash);
}

static uint64_t write_random(struct log_map *lm, uint64_t off_bytes, uint64_t len_bytes)
{
	uint32_t page_bytes = lm->map.flash.profile->page_bytes;
	uint64_t first = off_bytes / page_bytes;
	uint64_t last = (off_bytes + len_bytes - 1) / page_bytes;
	uint64_t ns = 0;

	bool shares = lm->last_open && lm->last_page == first && off_bytes % page_bytes != 0;
	for (uint64_t page = shares ? first + 1 : first; page <= last; page++) {
		if (lm->slots_used == lm->slots)
			ns += merge_random(lm);
		lm->slot_units[lm->slots_used++] = (uint32_t)(page / lm->slots);
	}
	lm->last_page = last;
	return ns;
}

static uint64_t log_map_write(struct fsim_map *map, uint64_t off_bytes, uint64_t len_bytes)
{
	struct log_map *lm = (struct log_map *)map;
	uint32_t unit_bytes = map->flash.profile->erase_bytes;
	uint64_t ns = 0;

	lm->last_open = map->flash.tail_open && map->flash.tail_off == off_bytes;
	fsim_flash_count_host(&map->flash, off_bytes, len_bytes);
	while (len_bytes > 0) {
		uint32_t unit = (uint32_t)(off_bytes / unit_bytes);
		uint32_t off = (uint32_t)(off_bytes % unit_bytes);
		uint32_t len = unit_bytes - off;
		if (len > len_bytes)
			len = (uint32_t)len_bytes;
		struct sequential_log *s = find_sequential(lm, unit, off);
		ns += s != NULL ? write_sequential(lm, s, unit, off, len)
				: write_random(lm, off_bytes, len);
		off_bytes += len;
		len_bytes -= len;
	}
	return ns;
}

/* A merge copies a whole unit whether it ever held data or not. */
static void log_map_fill(struct fsim_map *map)
{
	(void)map;
}

static void log_map_free(struct fsim_map *map)
{
	struct log_map *lm = (struct log_map *)map;
	fsim_flash_destroy(&map->flash);
	free(lm->block_of);
	free(lm->slot_units);
	free(lm);
}

static const struct fsim_map_ops log_map_ops = {
	.write = log_map_write,
	.fill = log_map_fill,
	.free = log_map_free,
};

int fsim_log_map_new(const struct fsim_profile *profile, uint64_t size_bytes, uint64_t seed,
		     struct fsim_map **ret_map)
{
	if (profile->open_units == 0 || profile->open_units > MAX_OPEN)
		return -EINVAL;
	struct log_map *lm = calloc(1, sizeof(*lm));
	if (lm == NULL)
		return -ENOMEM;
	lm->map.ops = &log_map_ops;
	/* The sequential ones, the random one, and one that a merge writes to. */
	int r = fsim_flash_init(&lm->map.flash, profile, size_bytes, profile->open_units + 2, seed);
	if (r < 0) {
		free(lm);
		return r;
	}
	lm->slots = profile->erase_bytes / profile->page_bytes;
	lm->block_of = calloc(size_bytes / profile->erase_bytes, sizeof(*lm->block_of));
	lm->slot_units = calloc(lm->slots, sizeof(*lm->slot_units));
	if (lm->block_of == NULL || lm->slot_units == NULL) {
		log_map_free(&lm->map);
		return -ENOMEM;
	}
	lm->random_block = fsim_flash_take(&lm->map.flash);
	*ret_map = &lm->map;
	return 0;
}
