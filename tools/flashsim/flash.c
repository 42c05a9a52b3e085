/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flash.c: blocks that wear out, allocated by the least erased, and the counters. */
#include "flash.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "fsim_random.h"

#define SPARE_SHARE 0.02 /* blocks kept for those that fail */
#define LIFE_SIGMA 0.2	 /* a block stands PE * exp(0.2 z) erases */

int fsim_flash_init(struct fsim_flash *flash, const struct fsim_profile *profile,
		    uint64_t size_bytes, uint32_t extra_blocks, uint64_t seed)
{
	uint64_t used = size_bytes / profile->erase_bytes;
	if (used == 0 || size_bytes % profile->erase_bytes != 0 || used > UINT32_MAX / 2)
		return -EINVAL;
	*flash = (struct fsim_flash){
		.profile = profile,
		.size_bytes = size_bytes,
		.blocks = (uint32_t)used + extra_blocks,
		.spares_left = (uint32_t)ceil((double)used * SPARE_SHARE),
		.pe_cycles = profile->pe_cycles,
		.seed = seed,
	};
	flash->erases = calloc(flash->blocks, sizeof(*flash->erases));
	flash->limits = calloc(flash->blocks, sizeof(*flash->limits));
	flash->free_ids = calloc(flash->blocks, sizeof(*flash->free_ids));
	if (flash->erases == NULL || flash->limits == NULL || flash->free_ids == NULL) {
		fsim_flash_destroy(flash);
		return -ENOMEM;
	}
	for (uint32_t id = (uint32_t)used; id < flash->blocks; id++)
		flash->free_ids[flash->free_count++] = id;
	return 0;
}

void fsim_flash_destroy(struct fsim_flash *flash)
{
	free(flash->erases);
	free(flash->limits);
	free(flash->free_ids);
	flash->erases = flash->limits = flash->free_ids = NULL;
}

uint32_t fsim_flash_take(struct fsim_flash *flash)
{
	assert(flash->free_count > 0);
	uint32_t best = 0;
	for (uint32_t i = 1; i < flash->free_count && flash->erases[flash->free_ids[best]] > 0; i++)
		if (flash->erases[flash->free_ids[i]] < flash->erases[flash->free_ids[best]])
			best = i;
	uint32_t id = flash->free_ids[best];
	flash->free_ids[best] = flash->free_ids[--flash->free_count];
	return id;
}

/* A life is drawn from the place and the number of the block, not from a shared sequence: it
 * does not depend on the order in which blocks are first erased. */
static uint32_t draw_life(const struct fsim_flash *flash, uint32_t place)
{
	uint64_t state = flash->seed ^ (uint64_t)place << 32 ^ flash->failed;
	double radius = sqrt(-2 * log(fsim_random_unit(&state)));
	double z = radius * cos(2 * M_PI * fsim_random_unit(&state));
	double life = (double)flash->pe_cycles * exp(LIFE_SIGMA * z);
	return life < 1 ? 1 : (uint32_t)life;
}

static void fail_block(struct fsim_flash *flash, uint32_t place)
{
	flash->failed++;
	if (flash->spares_left == 0) {
		flash->ended = true;
		return;
	}
	flash->spares_left--;
	flash->erases[place] = 0;
	flash->limits[place] = draw_life(flash, place);
}

void fsim_flash_release(struct fsim_flash *flash, uint32_t block)
{
	if (flash->limits[block] == 0)
		flash->limits[block] = draw_life(flash, block);
	flash->erases_total++;
	if (++flash->erases[block] == flash->limits[block])
		fail_block(flash, block);
	assert(flash->free_count < flash->blocks);
	flash->free_ids[flash->free_count++] = block;
}

void fsim_flash_count_host(struct fsim_flash *flash, uint64_t off_bytes, uint64_t len_bytes)
{
	uint32_t page = flash->profile->page_bytes;
	uint64_t end = off_bytes + len_bytes;
	uint64_t pages = (end + page - 1) / page - off_bytes / page;
	bool shares = flash->tail_open && flash->tail_off == off_bytes && off_bytes % page != 0;
	flash->pages_programmed += shares ? pages - 1 : pages;
	flash->host_bytes += len_bytes;
	flash->tail_off = end;
	flash->tail_open = true;
}

void fsim_flash_count_copy(struct fsim_flash *flash, uint64_t pages)
{
	flash->pages_programmed += pages;
	flash->pages_copied += pages;
}

void fsim_flash_flush(struct fsim_flash *flash)
{
	flash->tail_open = false;
}

uint64_t fsim_flash_erase_ns(const struct fsim_flash *flash)
{
	return (uint64_t)flash->profile->erase_us * 1000;
}

uint64_t fsim_flash_copy_ns(const struct fsim_flash *flash, uint64_t bytes)
{
	return (uint64_t)((double)bytes * 1e9 / flash->profile->copy_rate);
}
