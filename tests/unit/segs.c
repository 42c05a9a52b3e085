/* SPDX-License-Identifier: GPL-2.0-or-later */
/* segs.c: the segment table after random operations, counted again by the rules (G1, G2). */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "prng.h"
#include "segs.h"

#define SEGMENT_BYTES 65536u
#define LIMIT 70u
#define STEPS 30000u

/* What the table must say, kept beside it in the plainest way. */
struct world {
	struct sv_segs segs;
	struct prng rng;
	uint64_t seq, gate;
	uint32_t live[LIMIT], self[LIMIT];
	uint64_t last[LIMIT], generation[LIMIT];
	int role[LIMIT];
};

/* G2, in words: no role, nothing live, and never written or ended before the gate. */
static bool may_reuse(const struct world *w, uint64_t i)
{
	return w->role[i] == SV_SEG_IDLE && !w->live[i] && !w->self[i] &&
	       (!w->generation[i] || w->last[i] < w->gate);
}

static void check(const struct world *w)
{
	uint64_t reusable = 0, waiting = 0, live = 0;

	for (uint64_t i = 0; i < w->segs.count; i++) {
		const struct sv_seg *seg = &w->segs.v[i];
		bool empty = w->role[i] == SV_SEG_IDLE && !w->live[i] && !w->self[i];

		assert_int_equal(seg->usage.live_bytes, w->live[i]);
		assert_int_equal(seg->self_live, w->self[i]);
		assert_int_equal(seg->usage.generation, w->generation[i]);
		assert_int_equal(seg->role, w->role[i]);
		assert_int_equal(seg->usage.last_seq, w->last[i]);
		reusable += may_reuse(w, i);
		waiting += empty && !may_reuse(w, i);
		live += w->live[i] + w->self[i];
	}
	assert_int_equal(w->segs.free, reusable);
	assert_int_equal(w->segs.pending, waiting);
	assert_int_equal(w->segs.live_bytes, live);
}

static void world_make(struct world *w, uint64_t seed)
{
	*w = (struct world){.rng = {seed}, .seq = 1};
	assert_int_equal(sv_segs_init(&w->segs, SEGMENT_BYTES, 20, LIMIT), 0);
	w->role[0] = w->role[1] = SV_SEG_FIXED;
	check(w);
	assert_int_equal(w->segs.free, 18);
}

static uint64_t some_segment(struct world *w)
{
	assert(w->segs.count > 2);
	return 2 + prng_below(&w->rng, w->segs.count - 2);
}

/* What the log does: a segment is taken, begun, and left. */
static void take(struct world *w)
{
	enum sv_seg_role role = prng_one_in(&w->rng, 2) ? SV_SEG_HEAD : SV_SEG_APART;
	bool converted = false;
	uint32_t i = 0;
	int r, want;

	for (uint64_t k = 2; k < w->segs.count; k++)
		converted |= may_reuse(w, k) && w->segs.v[k].usage.flags & SV_SEG_CONVERTED;
	want = w->segs.free ? 0 : -ENOSPC;
	r = sv_segs_alloc(&w->segs, role, &i);
	assert_int_equal(r, want);
	if (r < 0)
		return;
	assert_true(may_reuse(w, i));
	assert_int_equal(!!(w->segs.v[i].usage.flags & SV_SEG_CONVERTED), converted);
	w->role[i] = (int)role;
	check(w);
	w->generation[i] = prng_next(&w->rng) | 1;
	w->last[i] = ++w->seq;
	sv_segs_begin(&w->segs, i, w->generation[i], w->seq);
	assert_int_equal(w->segs.v[i].usage.used_bytes, 0);
	assert_int_equal(w->segs.v[i].usage.flags, SV_SEG_CONVERTED);
}

static void leave(struct world *w)
{
	uint64_t i = some_segment(w);

	w->role[i] = SV_SEG_IDLE;
	sv_segs_set_role(&w->segs, (uint32_t)i, SV_SEG_IDLE);
}

static void change_live(struct world *w, bool self)
{
	uint64_t i = some_segment(w);
	uint32_t *live = self ? &w->self[i] : &w->live[i];
	uint64_t place = i * SEGMENT_BYTES + prng_below(&w->rng, SEGMENT_BYTES);
	int64_t delta = *live && prng_below(&w->rng, 3) ? -(int64_t)*live : 528;

	if (!w->generation[i])
		return; /* nothing can live where nothing was written */
	w->seq += prng_below(&w->rng, 2);
	*live = (uint32_t)(*live + delta);
	w->last[i] = sv_max64(w->last[i], w->seq);
	if (self)
		sv_segs_self(&w->segs, place, delta, w->seq);
	else
		sv_segs_live(&w->segs, place, delta, w->seq);
}

static void move_gate(struct world *w)
{
	w->gate = sv_max64(w->gate, prng_below(&w->rng, w->seq + 1));
	sv_segs_set_gate(&w->segs, w->gate);
}

static void counts_agree_with_a_recount(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct world w;
		unsigned pending_seen = 0, full_seen = 0;

		world_make(&w, seed);
		for (unsigned i = 0; i < STEPS; i++) {
			uint64_t what = prng_below(&w.rng, 100);

			if (what < 20)
				take(&w);
			else if (what < 45)
				leave(&w);
			else if (what < 90)
				change_live(&w, what < 55);
			else if (what < 97)
				move_gate(&w);
			else if (w.segs.count < LIMIT && prng_one_in(&w.rng, 8))
				sv_segs_set_count(&w.segs, w.segs.count + 1);
			check(&w);
			pending_seen += w.segs.pending > 0;
			full_seen += w.segs.free == 0;
		}
		sv_segs_recount(&w.segs);
		check(&w);
		assert_true(pending_seen > 1000 && full_seen > 100);
		assert_int_equal(w.segs.count, LIMIT);
		sv_segs_free(&w.segs);
	}
}

/* The gate: reuse only what ended before it, to the sequence number. */
static void the_gate_is_exact(void **state)
{
	struct sv_segs segs;
	uint32_t i;

	(void)state;
	assert_int_equal(sv_segs_init(&segs, SEGMENT_BYTES, 3, 3), 0);
	assert_int_equal(sv_segs_alloc(&segs, SV_SEG_HEAD, &i), 0);
	assert_int_equal(i, 2); /* the anchors' segments are nobody's */
	sv_segs_begin(&segs, i, 99, 7);
	sv_segs_set_role(&segs, i, SV_SEG_IDLE);
	for (uint64_t gate = 1; gate <= 7; gate++) {
		sv_segs_set_gate(&segs, gate);
		assert_int_equal(segs.pending, 1);
		assert_int_equal(sv_segs_alloc(&segs, SV_SEG_HEAD, &i), -ENOSPC);
	}
	sv_segs_set_gate(&segs, 8);
	assert_int_equal(segs.free, 1);
	assert_int_equal(sv_segs_alloc(&segs, SV_SEG_HEAD, &i), 0);
	sv_segs_free(&segs);
}

/* A change makes its page dirty on every level, up to the top. */
static void changes_reach_the_top_of_the_table(void **state)
{
	const uint64_t count = 1025; /* three levels: 65, 2 and 1 pages */
	struct sv_segs segs;

	(void)state;
	assert_int_equal(sv_segs_init(&segs, SEGMENT_BYTES, count, count), 0);
	assert_int_equal(segs.levels, 3);
	for (unsigned l = 0; l < 3; l++)
		memset(segs.level[l].dirty, 0, segs.level[l].pages);
	segs.v[1024].role = SV_SEG_HEAD;
	sv_segs_begin(&segs, 1024, 5, 1);
	sv_segs_live(&segs, UINT64_C(1024) * SEGMENT_BYTES, 16, 1);
	for (unsigned l = 0; l < 3; l++)
		for (uint64_t i = 0; i < segs.level[l].pages; i++)
			assert_int_equal(segs.level[l].dirty[i], i == (l == 0	? 64
								       : l == 1 ? 1
										: 0));
	/* The table's own pages are counted apart, or writing them would never end (K2). */
	memset(segs.level[0].dirty, 0, segs.level[0].pages);
	sv_segs_self(&segs, UINT64_C(1024) * SEGMENT_BYTES, 528, 1);
	assert_int_equal(segs.level[0].dirty[64], 0);
	sv_segs_free(&segs);
}

static void the_table_has_the_levels_it_needs(void **state)
{
	static const struct {
		uint64_t count, pages[3];
		unsigned levels;
	} cases[] = {
		{1, {1}, 1},	    {16, {1}, 1},	   {17, {2, 1}, 2},
		{1024, {64, 1}, 2}, {1025, {65, 2, 1}, 3}, {65536, {4096, 64, 1}, 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(sv_segs_levels(cases[i].count), cases[i].levels);
		for (unsigned l = 0; l < cases[i].levels; l++)
			assert_int_equal(sv_segs_pages(cases[i].count, l), cases[i].pages[l]);
	}
}

/* Growing to another level makes all of the table dirty: what is below has no parent yet. */
static void growth_rewrites_the_table_where_it_must(void **state)
{
	struct sv_segs segs;

	(void)state;
	assert_int_equal(sv_segs_init(&segs, SEGMENT_BYTES, 10, 40), 0);
	for (unsigned l = 0; l < 2; l++)
		memset(segs.level[l].dirty, 0, segs.level[l].pages);
	sv_segs_set_count(&segs, 16);
	assert_int_equal(segs.levels, 1);
	assert_int_equal(segs.level[0].dirty[0], 0);
	assert_int_equal(segs.free, 14);
	sv_segs_set_count(&segs, 33);
	assert_int_equal(segs.levels, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(segs.level[0].dirty[i], 1);
	assert_int_equal(segs.level[1].dirty[0], 1);
	sv_segs_free(&segs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_agree_with_a_recount),
		cmocka_unit_test(the_gate_is_exact),
		cmocka_unit_test(changes_reach_the_top_of_the_table),
		cmocka_unit_test(the_table_has_the_levels_it_needs),
		cmocka_unit_test(growth_rewrites_the_table_where_it_must),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
