/* SPDX-License-Identifier: GPL-2.0-or-later */
/* batch.c: the batch in memory against a plain array (B1), and what it does when it is full. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch.h"
#include "prng.h"

#define BLOCKS 300u
#define SLOTS 96u
#define STEPS 40000u

/* What the batch must say of each block. */
enum content { UNTOUCHED, ZERO, DATA };

struct world {
	struct sv_arena arena;
	struct sv_batch batch;
	struct prng rng;
	enum content content[BLOCKS];
	uint64_t stamp[BLOCKS]; /* the first bytes of its memory */
	uint32_t data;		/* blocks that are DATA */
};

static void world_make(struct world *w, uint64_t seed)
{
	*w = (struct world){.rng = {seed}};
	assert_int_equal(sv_arena_init(&w->arena, SLOTS), 0);
	assert_int_equal(sv_batch_init(&w->batch, SLOTS), 0);
}

static void world_free(struct world *w)
{
	sv_batch_free(&w->batch);
	sv_arena_free(&w->arena);
}

static void check_blocks(const struct world *w)
{
	for (uint64_t lba = 0; lba < BLOCKS; lba++) {
		bool zero;
		const uint8_t *p = sv_batch_find(&w->batch, &w->arena, lba, &zero);
		uint64_t stamp;

		assert_int_equal(p != NULL, w->content[lba] == DATA);
		assert_int_equal(zero, w->content[lba] == ZERO);
		if (!p)
			continue;
		memcpy(&stamp, p, sizeof(stamp));
		assert_int_equal(stamp, w->stamp[lba]);
	}
}

/* B1: at most one node a block; each slot is free or in one node, never both, never lost. */
static void check_nodes(const struct world *w)
{
	uint8_t slots[SLOTS] = {0}, blocks[BLOCKS] = {0};

	for (uint32_t i = 0; i < w->batch.count; i++) {
		const struct sv_node *n = &w->batch.nodes[i];

		if (n->lba == UINT64_MAX)
			continue;
		assert_in_range(n->lba, 0, BLOCKS - 1);
		assert_int_equal(++blocks[n->lba], 1);
		assert_in_range(n->slot, 0, SLOTS - 1);
		assert_int_equal(++slots[n->slot], 1);
	}
	for (uint32_t i = 0; i < w->arena.free_slots; i++)
		assert_int_equal(++slots[w->arena.free[i]], 1);
	assert_int_equal(w->batch.blocks, w->data);
	assert_int_equal(w->batch.blocks + w->arena.free_slots, SLOTS);
	assert_int_equal(sv_batch_empty(&w->batch), !w->data && !w->batch.ranges);
}

/* Ranges ascend with a gap between them; together they are what was discarded. */
static void check_ranges(const struct world *w)
{
	for (uint32_t i = 0; i < w->batch.ranges; i++) {
		const struct sv_range *range = &w->batch.range[i];

		assert_true(range->lba < range->end && range->end <= BLOCKS);
		if (i > 0)
			assert_true(range[-1].end < range->lba);
		for (uint64_t lba = range->lba; lba < range->end; lba++)
			assert_int_not_equal(w->content[lba], UNTOUCHED);
	}
}

static void write_block(struct world *w)
{
	uint64_t lba = prng_below(&w->rng, BLOCKS);
	bool zero, full = w->batch.count == SLOTS || w->arena.free_slots == 0;
	uint8_t *p = sv_batch_find(&w->batch, &w->arena, lba, &zero);

	if (!p) {
		p = sv_batch_add(&w->batch, &w->arena, lba);
		assert_int_equal(p == NULL, full);
		if (!p)
			return;
		w->data++;
	}
	w->content[lba] = DATA;
	w->stamp[lba] = prng_next(&w->rng);
	memcpy(p, &w->stamp[lba], sizeof(w->stamp[lba]));
}

static void discard(struct world *w)
{
	uint64_t lba = prng_below(&w->rng, BLOCKS), end;

	/* Short ones look blocks up, long ones go over the nodes. */
	end = lba + 1 + prng_below(&w->rng, prng_one_in(&w->rng, 8) ? BLOCKS : 6);
	end = sv_min64(end, BLOCKS);
	assert_int_equal(sv_batch_discard(&w->batch, &w->arena, lba, end), 0);
	for (; lba < end; lba++) {
		w->data -= w->content[lba] == DATA;
		w->content[lba] = ZERO;
	}
}

static void reset(struct world *w)
{
	sv_batch_reset(&w->batch, &w->arena);
	memset(w->content, 0, sizeof(w->content));
	w->data = 0;
	assert_int_equal(w->arena.free_slots, SLOTS);
	assert_true(sv_batch_empty(&w->batch));
}

static void a_batch_is_a_plain_array(void **state)
{
	unsigned full = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 2; seed++) {
		struct world w;

		world_make(&w, seed);
		for (unsigned i = 0; i < STEPS; i++) {
			uint64_t what = prng_below(&w.rng, 200);

			if (what < 160)
				write_block(&w);
			else if (what < 199)
				discard(&w);
			else
				reset(&w);
			full += w.batch.count == SLOTS;
			check_nodes(&w);
			check_ranges(&w);
			if (i % 16 == 0)
				check_blocks(&w);
		}
		world_free(&w);
	}
	assert_in_range(full, 1000, UINT32_MAX); /* the full batch was seen, too */
}

/* The arena is shared: what one batch holds the other cannot have. */
static void batches_share_the_arena(void **state)
{
	struct sv_batch other;
	struct world w;

	(void)state;
	world_make(&w, 1);
	assert_int_equal(sv_batch_init(&other, SLOTS), 0);
	for (uint64_t i = 0; i < SLOTS; i++)
		assert_non_null(sv_batch_add(i % 2 ? &other : &w.batch, &w.arena, i));
	assert_null(sv_batch_add(&w.batch, &w.arena, SLOTS));
	assert_null(sv_batch_add(&other, &w.arena, SLOTS));
	sv_batch_reset(&other, &w.arena);
	assert_int_equal(w.arena.free_slots, SLOTS / 2);
	assert_non_null(sv_batch_add(&w.batch, &w.arena, SLOTS));
	sv_batch_free(&other);
	world_free(&w);
}

/* Too many ranges: refused, and nothing changed; one that touches another still goes. */
static void ranges_are_bounded(void **state)
{
	static struct sv_batch before;
	struct world w;
	bool zero;

	(void)state;
	world_make(&w, 1);
	for (uint64_t i = 0; i < SV_BATCH_RANGES; i++)
		assert_int_equal(sv_batch_discard(&w.batch, &w.arena, 10 + 3 * i, 11 + 3 * i), 0);
	assert_int_equal(w.batch.ranges, SV_BATCH_RANGES);
	assert_non_null(sv_batch_add(&w.batch, &w.arena, 5));
	before = w.batch;
	assert_int_equal(sv_batch_discard(&w.batch, &w.arena, 5, 6), -ENOBUFS);
	assert_memory_equal(&before, &w.batch, sizeof(before));
	assert_non_null(sv_batch_find(&w.batch, &w.arena, 5, &zero));
	assert_int_equal(sv_batch_discard(&w.batch, &w.arena, 5, 10), 0);
	assert_null(sv_batch_find(&w.batch, &w.arena, 5, &zero));
	assert_true(zero);
	assert_int_equal(w.batch.ranges, SV_BATCH_RANGES);
	assert_int_equal(sv_batch_discard(&w.batch, &w.arena, 0, UINT64_MAX / 2), 0);
	assert_int_equal(w.batch.ranges, 1);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_is_a_plain_array),
		cmocka_unit_test(batches_share_the_arena),
		cmocka_unit_test(ranges_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
