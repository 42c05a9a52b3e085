/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_ram.h: expanded units in memory, so that none is read and expanded once a block. */
#ifndef STORAGE_CACHE_RAM_H
#define STORAGE_CACHE_RAM_H

#include <pthread.h>

#include "s3fifo.h"

/* What an object of `s3` is; its `value` is its first slot. */
struct sv_ram_unit {
	uint64_t place, generation;
	uint64_t served; /* blocks that were asked for, a bit each */
	uint32_t blocks;
};

/* Bounded memory of slots of a block each; a unit is a list of slots. Callable from any thread. */
struct sv_ram_cache {
	pthread_mutex_t lock;
	struct sv_s3 s3;
	struct sv_ram_unit *unit; /* by object */
	uint8_t *slots;
	uint32_t *next;	      /* slot behind a slot; slots are counted from 1 */
	uint32_t slots_count; /* 0: keeps nothing */
	uint32_t fresh, unused;
	uint64_t hits; /* blocks */
};

/* Takes memory as it is used, `bytes` at most; too little for one unit: none. -ENOMEM. */
int sv_ram_init(struct sv_ram_cache *c, uint64_t bytes);
void sv_ram_free(struct sv_ram_cache *c);

/* Block `index` of the unit at a place of a generation. */
bool sv_ram_get(struct sv_ram_cache *c, uint64_t place, uint64_t generation, unsigned index,
		uint8_t *dst);
/* Takes a unit in, of which `count` blocks from `index` on were asked for just now. */
void sv_ram_put(struct sv_ram_cache *c, uint64_t place, uint64_t generation, unsigned blocks,
		const uint8_t *data, unsigned index, unsigned count);
uint64_t sv_ram_hits(struct sv_ram_cache *c);

#endif
