/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * batch.c: the batch in memory: a hash of blocks and a sorted list of discarded ranges.
 *
 * B1  A block has at most one node. A discard takes the nodes of its range out, so every node that
 *     is left was written after every discard of the batch: discards first, then data.
 */
#include "batch.h"

#include <errno.h>
#include <stdlib.h>

#include "memory.h"

#define NONE UINT32_MAX

int sv_arena_init(struct sv_arena *a, uint32_t slots)
{
	*a = (struct sv_arena){.slots = slots, .free_slots = slots};
	a->mem = sv_memory_take_large((uint64_t)slots * SV_BLOCK_BYTES);
	a->free = malloc(slots * sizeof(*a->free));
	if (!a->mem || !a->free) {
		sv_arena_free(a);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < slots; i++)
		a->free[i] = slots - 1 - i;
	return 0;
}

void sv_arena_free(struct sv_arena *a)
{
	sv_memory_give(a->mem, (uint64_t)a->slots * SV_BLOCK_BYTES);
	free(a->free);
	*a = (struct sv_arena){0};
}

int sv_batch_init(struct sv_batch *b, uint32_t capacity)
{
	uint32_t buckets = 64;

	while (buckets < capacity)
		buckets *= 2;
	*b = (struct sv_batch){.capacity = capacity, .bucket_mask = buckets - 1};
	b->nodes = malloc(capacity * sizeof(*b->nodes));
	b->buckets = malloc(buckets * sizeof(*b->buckets));
	if (!b->nodes || !b->buckets) {
		sv_batch_free(b);
		return -ENOMEM;
	}
	memset(b->buckets, 0xff, buckets * sizeof(*b->buckets));
	return 0;
}

void sv_batch_free(struct sv_batch *b)
{
	free(b->nodes);
	free(b->buckets);
	*b = (struct sv_batch){0};
}

static uint32_t *bucket_of(const struct sv_batch *b, uint64_t lba)
{
	uint64_t h = lba * UINT64_C(0x9E3779B97F4A7C15);

	return &b->buckets[(uint32_t)(h >> 32) & b->bucket_mask];
}

/* The first range that ends behind lba. */
static uint32_t range_after(const struct sv_batch *b, uint64_t lba)
{
	uint32_t lo = 0, hi = b->ranges;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (b->range[mid].end > lba)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

uint8_t *sv_batch_find(const struct sv_batch *b, const struct sv_arena *a, uint64_t lba,
		       bool *ret_zero)
{
	uint32_t i = *bucket_of(b, lba);
	uint32_t r;

	*ret_zero = false;
	for (; i != NONE; i = b->nodes[i].next)
		if (b->nodes[i].lba == lba)
			return sv_arena_slot(a, b->nodes[i].slot);
	if (b->ranges) {
		r = range_after(b, lba);
		*ret_zero = r < b->ranges && b->range[r].lba <= lba;
	}
	return NULL;
}

uint8_t *sv_batch_add(struct sv_batch *b, struct sv_arena *a, uint64_t lba)
{
	uint32_t *bucket = bucket_of(b, lba);
	struct sv_node *n = &b->nodes[b->count];

	if (!a->free_slots || b->count == b->capacity)
		return NULL;
	*n = (struct sv_node){.lba = lba, .slot = a->free[--a->free_slots], .next = *bucket};
	*bucket = b->count++;
	b->blocks++;
	return sv_arena_slot(a, n->slot);
}

static void take_out(struct sv_batch *b, struct sv_arena *a, uint32_t i)
{
	uint32_t *link = bucket_of(b, b->nodes[i].lba);

	while (*link != i)
		link = &b->nodes[*link].next;
	*link = b->nodes[i].next;
	a->free[a->free_slots++] = b->nodes[i].slot;
	b->nodes[i].lba = UINT64_MAX;
	b->blocks--;
}

static void take_out_range(struct sv_batch *b, struct sv_arena *a, uint64_t lba, uint64_t end)
{
	if (end - lba > b->count) {
		for (uint32_t i = 0; i < b->count; i++)
			if (b->nodes[i].lba >= lba && b->nodes[i].lba < end)
				take_out(b, a, i);
		return;
	}
	for (; lba < end; lba++)
		for (uint32_t i = *bucket_of(b, lba); i != NONE; i = b->nodes[i].next)
			if (b->nodes[i].lba == lba) {
				take_out(b, a, i);
				break;
			}
}

int sv_batch_discard(struct sv_batch *b, struct sv_arena *a, uint64_t lba, uint64_t end)
{
	/* Ranges that touch [lba, end) become one with it. */
	uint32_t from = range_after(b, lba ? lba - 1 : 0);
	uint32_t to = from;

	while (to < b->ranges && b->range[to].lba <= end)
		to++;
	if (from == to && b->ranges == SV_BATCH_RANGES)
		return -ENOBUFS;
	take_out_range(b, a, lba, end);
	if (from < to) {
		lba = sv_min64(lba, b->range[from].lba);
		end = sv_max64(end, b->range[to - 1].end);
	}
	memmove(&b->range[from + 1], &b->range[to], (b->ranges - to) * sizeof(b->range[0]));
	b->range[from] = (struct sv_range){lba, end};
	b->ranges = b->ranges - (to - from) + 1;
	return 0;
}

void sv_batch_reset(struct sv_batch *b, struct sv_arena *a)
{
	/* Last in, first out: writes in order get neighbours again (commit.c, store_compressed). */
	for (uint32_t i = b->count; i-- > 0;)
		if (b->nodes[i].lba != UINT64_MAX)
			a->free[a->free_slots++] = b->nodes[i].slot;
	if (b->count)
		memset(b->buckets, 0xff, (b->bucket_mask + 1) * sizeof(*b->buckets));
	b->count = b->blocks = b->ranges = 0;
}
