/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flash.h: the flash below a mapping: blocks, their wear, the free ones, and what was done. */
#ifndef FLASHSIM_FLASH_H
#define FLASHSIM_FLASH_H

#include <stdbool.h>
#include <stdint.h>

#include "profile.h"

/*
 * Blocks are numbered places. A block that fails is replaced by one of the spares at the same
 * place, with a life of its own; when no spare is left, `ended` is set and stays.
 */
struct fsim_flash {
	const struct fsim_profile *profile;
	uint64_t size_bytes; /* as the host sees it; a whole number of erase blocks */
	uint32_t blocks;     /* places, without the spares */
	uint32_t *erases;    /* of the block that is now at a place */
	uint32_t *limits;    /* erases it will stand; 0: not drawn yet */
	uint32_t *free_ids;  /* erased blocks, in no order */
	uint32_t free_count;
	uint32_t spares_left;
	uint32_t failed; /* blocks that were replaced, or could not be */
	uint32_t pe_cycles;
	uint64_t seed;
	bool ended;

	uint64_t pages_programmed; /* the SLC cache apart; what was copied included */
	uint64_t pages_copied;	   /* by merges and garbage collection */
	uint64_t erases_total;
	uint64_t host_bytes; /* written by the host */

	uint64_t tail_off; /* end of the last write, while its page is still buffered */
	bool tail_open;
};

/* `extra_blocks` beyond what the size needs; all blocks from size/erase_bytes on are free. */
int fsim_flash_init(struct fsim_flash *flash, const struct fsim_profile *profile,
		    uint64_t size_bytes, uint32_t extra_blocks, uint64_t seed);
void fsim_flash_destroy(struct fsim_flash *flash);

/* The least erased free block; there must be one. */
uint32_t fsim_flash_take(struct fsim_flash *flash);
/* Erases a block and adds it to the free ones. */
void fsim_flash_release(struct fsim_flash *flash, uint32_t block);

/* Counts the pages that a write by the host programs; one that goes on in a page that the write
 * before it left half full shares that page. */
void fsim_flash_count_host(struct fsim_flash *flash, uint64_t off_bytes, uint64_t len_bytes);
/* Counts pages that were copied inside. */
void fsim_flash_count_copy(struct fsim_flash *flash, uint64_t pages);
/* What is buffered is programmed as it is: the next write starts a page. */
void fsim_flash_flush(struct fsim_flash *flash);

/* Nanoseconds. */
uint64_t fsim_flash_erase_ns(const struct fsim_flash *flash);
uint64_t fsim_flash_copy_ns(const struct fsim_flash *flash, uint64_t bytes);

#endif
