/* SPDX-License-Identifier: GPL-2.0-or-later */
/* batch.h: guest writes gathered in memory before they are sealed. */
#ifndef STORAGE_BATCH_H
#define STORAGE_BATCH_H

#include "format.h"

/* Block-sized pieces of memory, shared by the open batch and the one being sealed. */
struct sv_arena {
	uint8_t *mem;
	uint32_t *free;
	uint32_t slots;
	uint32_t free_slots;
};

struct sv_node {
	uint64_t lba; /* UINT64_MAX: taken out by a discard */
	uint32_t slot;
	uint32_t next;
};

struct sv_range {
	uint64_t lba;
	uint64_t end;
};

#define SV_BATCH_RANGES 2048u

/* Guarded by the store's lock while open; frozen, and read without it, while being sealed. */
struct sv_batch {
	struct sv_node *nodes;
	uint32_t *buckets;
	uint32_t bucket_mask;
	uint32_t count;	 /* nodes, those taken out included */
	uint32_t blocks; /* nodes that hold a block */
	uint32_t capacity;
	uint32_t ranges;
	struct sv_range range[SV_BATCH_RANGES]; /* discards: sorted, apart from each other */
	uint64_t first_ms;			/* when the first of it came (monotonic) */
	uint64_t stamp;				/* of its newest write: see store.c */
};

int sv_arena_init(struct sv_arena *arena, uint32_t slots);
void sv_arena_free(struct sv_arena *arena);
static inline uint8_t *sv_arena_slot(const struct sv_arena *arena, uint32_t slot)
{
	return arena->mem + (size_t)slot * SV_BLOCK_BYTES;
}

int sv_batch_init(struct sv_batch *batch, uint32_t capacity);
void sv_batch_free(struct sv_batch *batch);
static inline bool sv_batch_empty(const struct sv_batch *batch)
{
	return batch->blocks == 0 && batch->ranges == 0;
}

/* The block's content in this batch: its memory; or NULL, with *ret_zero saying whether the
 * batch discards it (then it reads as zeros). */
uint8_t *sv_batch_find(const struct sv_batch *batch, const struct sv_arena *arena, uint64_t lba,
		       bool *ret_zero);
/* Memory for a block that is not in the batch yet; NULL: no slot or no node is free. */
uint8_t *sv_batch_add(struct sv_batch *batch, struct sv_arena *arena, uint64_t lba);
/* Takes whole blocks out and notes that they are zero; -ENOBUFS: too many ranges, seal first. */
int sv_batch_discard(struct sv_batch *batch, struct sv_arena *arena, uint64_t lba, uint64_t end);
/* Gives its slots back and empties it. */
void sv_batch_reset(struct sv_batch *batch, struct sv_arena *arena);

#endif
