/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map.c: the map with the smallest pool against a plain array; live bytes counted by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "map.h"
#include "prng.h"
#include "unit.h"

/*
 * The device is an array of pages, by the place of their unit. Pages go there in a checkpoint, as
 * in checkpoint.c: leaves first, then their parents; between two of them the map may evict what is
 * clean and ask for it again. A place is never used twice, so that a stale page would show.
 */
#define BLOCKS (64u * 64 * 40 + 13) /* three levels; parents alone fill most of the pool */
#define SEGMENT_BYTES (1u << 20)
#define SEGMENTS 600u
#define PAGES (SEGMENTS * (SEGMENT_BYTES / 1024))
#define POOL 64u

struct stored_page {
	uint64_t e[SV_PAGE_ENTRIES];
	uint64_t subject;
	bool used;
};

struct world {
	struct sv_map map;
	struct sv_segs segs;
	struct prng rng;
	uint64_t entry[BLOCKS]; /* what the map must say */
	uint64_t mapped, seq;
	uint64_t next_place;
	struct stored_page *pages;
	unsigned loads, checkpoints, late; /* late: empty pages that a checkpoint took out */
};

static void world_make(struct world *w, uint64_t seed)
{
	*w = (struct world){.rng = {seed}, .seq = 1, .next_place = 2 * SEGMENT_BYTES};
	assert_int_equal(sv_segs_init(&w->segs, SEGMENT_BYTES, SEGMENTS, SEGMENTS), 0);
	assert_int_equal(sv_map_init(&w->map, BLOCKS, 0), 0);
	assert_int_equal(w->map.pool_pages, POOL);
	assert_int_equal(w->map.levels, 3);
	w->pages = calloc(PAGES, sizeof(*w->pages));
	assert_non_null(w->pages);
}

static void world_free(struct world *w)
{
	sv_map_free(&w->map);
	sv_segs_free(&w->segs);
	free(w->pages);
}

/* A fresh place on the device that no segment's end cuts. */
static uint64_t take_place(struct world *w, uint32_t bytes)
{
	uint64_t place = sv_align_up(w->next_place, 1024);

	if (place / SEGMENT_BYTES != (place + bytes - 1) / SEGMENT_BYTES)
		place = sv_align_up(place, SEGMENT_BYTES);
	w->next_place = place + bytes;
	assert_true(w->next_place < (uint64_t)SEGMENTS * SEGMENT_BYTES);
	return place;
}

static struct stored_page *page_at(struct world *w, uint64_t entry)
{
	assert_int_equal(sv_entry_stored(entry), SV_PAGE_UNIT_BYTES);
	assert_int_equal(sv_entry_place(entry) % 1024, 0);
	return &w->pages[sv_entry_place(entry) / 1024];
}

/* P1: what is asked for lies where its parent says, and is that page. */
static int load(struct world *w, const struct sv_need *need)
{
	const struct stored_page *page = page_at(w, need->entry);

	assert_true(page->used);
	assert_int_equal(page->subject, sv_page_subject(SV_TREE_MAP, need->level, need->index));
	w->loads++;
	return sv_map_loaded(&w->map, need, page->e);
}

/* ---- a checkpoint ---- */

/* The parent into memory, dirty; true if the page is empty and left the tree. */
static bool settle_parent(struct world *w, struct sv_page *page)
{
	struct sv_page *parent;
	struct sv_need need;
	int r = 0;

	if (page->level < sv_map_top_level(&w->map)) {
		while ((r = sv_map_page(&w->map, page->level + 1u, page->index / SV_PAGE_ENTRIES,
					true, &parent, &need)) == -EAGAIN)
			assert_int_equal(load(w, &need), 0);
		assert_int_equal(r, 0);
		sv_map_mark(&w->map, parent);
	}
	if (!sv_page_is_zero(page))
		return false;
	sv_map_written(&w->map, &w->segs, page, 0, w->seq);
	w->late++;
	return true;
}

static void write_page(struct world *w, struct sv_page *page)
{
	uint64_t entry = sv_entry_make(take_place(w, SV_PAGE_UNIT_BYTES), 0, SV_PAGE_UNIT_BYTES);
	struct stored_page *to = page_at(w, entry);

	assert_false(to->used);
	*to = (struct stored_page){
		.used = true, .subject = sv_page_subject(SV_TREE_MAP, page->level, page->index)};
	memcpy(to->e, page->e, sizeof(to->e));
	sv_map_written(&w->map, &w->segs, page, entry, w->seq);
}

static void checkpoint(struct world *w)
{
	w->seq++;
	w->checkpoints++;
	for (unsigned level = 0; level < w->map.levels; level++) {
		struct sv_page *dirty[POOL];
		unsigned count = 0;

		for (uint32_t i = 0; i < w->map.fresh; i++) {
			struct sv_page *p = &w->map.pool[i];

			if (p->used && p->dirty && p->level == level)
				dirty[count++] = p;
		}
		for (unsigned i = 0; i < count; i++)
			if (!settle_parent(w, dirty[i]))
				write_page(w, dirty[i]);
	}
	assert_int_equal(w->map.dirty_pages, 0);
}

/* ---- calls that go on after a page was loaded or a checkpoint made room ---- */

static bool again(struct world *w, int r, const struct sv_need *need)
{
	if (r == -EAGAIN)
		r = load(w, need);
	if (r == -ENOBUFS) {
		checkpoint(w);
		return true;
	}
	assert_int_equal(r, 0);
	return true;
}

static uint64_t get(struct world *w, uint64_t lba)
{
	struct sv_need need;
	uint64_t entry;
	int r;

	while ((r = sv_map_get(&w->map, lba, &entry, &need)) != 0)
		again(w, r, &need);
	return entry;
}

static void set(struct world *w, uint64_t lba, uint64_t entry)
{
	struct sv_need need;
	int r;

	while ((r = sv_map_set(&w->map, &w->segs, lba, entry, w->seq, &need)) != 0)
		again(w, r, &need);
	w->mapped += !w->entry[lba];
	w->entry[lba] = entry;
}

static void clear(struct world *w, uint64_t lba, uint64_t end)
{
	struct sv_need need;
	uint64_t at = lba;
	int r;

	while ((r = sv_map_clear(&w->map, &w->segs, at, end, w->seq, &at, &need)) != 0) {
		assert_in_range(at, lba, end);
		again(w, r, &need);
	}
	assert_int_equal(at, end);
	for (; lba < end; lba++) {
		w->mapped -= w->entry[lba] != 0;
		w->entry[lba] = 0;
	}
}

/* The first block at or after lba whose leaf exists: nothing mapped is ever skipped. */
static void next(struct world *w, uint64_t lba)
{
	struct sv_need need;
	uint64_t found;
	int r;

	while ((r = sv_map_next(&w->map, lba, &found, &need)) != 0)
		again(w, r, &need);
	assert_in_range(found, lba, BLOCKS);
	for (uint64_t i = lba; i < found; i++)
		assert_int_equal(w->entry[i], 0);
	if (found > lba && found < BLOCKS)
		assert_int_equal(found % SV_PAGE_ENTRIES, 0);
}

/* ---- what is checked ---- */

/* A page of the tree with where it lies; NULL where there is none. */
static struct sv_page *page_of(struct world *w, unsigned level, uint64_t index)
{
	struct sv_page *page;
	struct sv_need need;
	int r;

	while ((r = sv_map_page(&w->map, level, index, false, &page, &need)) != 0)
		again(w, r, &need);
	return page;
}

/* G1: each unit once while a block is mapped to it, and each page of the tree. */
static void check_live(struct world *w)
{
	static uint64_t live[SEGMENTS];

	memset(live, 0, sizeof(live));
	for (uint64_t lba = 0; lba < BLOCKS; lba++) {
		uint64_t from = sv_align_down(lba, SV_PAGE_ENTRIES);
		bool counted = !w->entry[lba];

		for (uint64_t k = from; k < lba && !counted; k++)
			counted = sv_entry_same_unit(w->entry[lba], w->entry[k]);
		if (!counted)
			live[sv_entry_place(w->entry[lba]) / SEGMENT_BYTES] +=
				sv_entry_stored(w->entry[lba]);
	}
	for (unsigned level = 0; level < w->map.levels; level++)
		for (uint64_t i = 0; i << 6 * (level + 1) < BLOCKS; i++) {
			const struct sv_page *page = page_of(w, level, i);

			if (page && page->where)
				live[sv_entry_place(page->where) / SEGMENT_BYTES] +=
					SV_PAGE_UNIT_BYTES;
		}
	for (unsigned i = 0; i < SEGMENTS; i++)
		assert_int_equal(w->segs.v[i].usage.live_bytes, live[i]);
}

static void check_entries(struct world *w)
{
	for (uint64_t lba = 0; lba < BLOCKS; lba++)
		assert_int_equal(get(w, lba), w->entry[lba]);
	assert_int_equal(w->map.mapped, w->mapped);
}

/* P2: a dirty page is in memory, and so is the parent of one that lies nowhere else. */
static void check_pool(const struct world *w)
{
	uint32_t dirty = 0;

	for (uint32_t i = 0; i < w->map.fresh; i++) {
		const struct sv_page *p = &w->map.pool[i], *parent;

		if (!p->used)
			continue;
		assert_ptr_equal(sv_map_peek(&w->map, p->level, p->index), p);
		dirty += p->dirty;
		assert_true(p->where || p->dirty);
		if (p->where || p->level == sv_map_top_level(&w->map))
			continue;
		parent = sv_map_peek(&w->map, p->level + 1u, p->index / SV_PAGE_ENTRIES);
		assert_non_null(parent);
		assert_true(parent->dirty && parent->e[p->index % SV_PAGE_ENTRIES]);
	}
	assert_int_equal(w->map.dirty_pages, dirty);
}

/* ---- random work ---- */

/* A unit of some blocks; rarely it is entered without the mark of a single one, as a move does. */
static void map_unit(struct world *w, uint64_t near)
{
	uint64_t lba = prng_one_in(&w->rng, 3) ? prng_below(&w->rng, BLOCKS)
					       : near + prng_below(&w->rng, 600);
	uint32_t stored = (uint32_t)(2 + prng_below(&w->rng, 60)) * SV_GRAIN_BYTES;
	uint64_t place = take_place(w, stored), n, skip = prng_below(&w->rng, 4);

	lba = sv_min64(lba, BLOCKS - 1);
	n = 1 + prng_below(&w->rng, 16);
	n = sv_min64(n, sv_align_down(lba, SV_PAGE_ENTRIES) + SV_PAGE_ENTRIES - lba);
	n = sv_min64(n, BLOCKS - lba);
	w->seq++;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t entry = sv_entry_make(place, (unsigned)i, stored);

		if (n == 1 && skip)
			entry |= SV_ENTRY_SINGLE;
		if (i == 0 || !skip || i % 3) /* of a moved unit some blocks stay behind */
			set(w, lba + i, entry);
		if (prng_one_in(&w->rng, 8)) /* as a record that is applied again does */
			set(w, lba + i, w->entry[lba + i] ? w->entry[lba + i] : entry);
	}
}

static void clear_some(struct world *w, uint64_t near)
{
	uint64_t lba = prng_one_in(&w->rng, 2) ? prng_below(&w->rng, BLOCKS) : near;
	uint64_t len = 1 + prng_below(&w->rng, prng_one_in(&w->rng, 4) ? 9000 : 150);

	w->seq++;
	clear(w, lba, sv_min64(lba + len, BLOCKS));
}

static void one_step(struct world *w)
{
	uint64_t near = prng_below(&w->rng, 8) * 20000;
	uint64_t what = prng_below(&w->rng, 100);

	if (what < 55)
		map_unit(w, near);
	else if (what < 62)
		clear_some(w, near);
	else if (what < 75)
		next(w, prng_below(&w->rng, BLOCKS));
	else
		for (unsigned i = 0; i < 8; i++) {
			uint64_t lba = prng_below(&w->rng, BLOCKS);

			assert_int_equal(get(w, lba), w->entry[lba]);
		}
	/* As commit.c does: half of the pool dirty is the time for a checkpoint. */
	if (w->map.dirty_pages > POOL / 2 || prng_one_in(&w->rng, 200))
		checkpoint(w);
}

static void a_map_is_a_plain_array(void **state)
{
	struct world *w = malloc(sizeof(*w));

	(void)state;
	assert_non_null(w);
	for (uint64_t seed = 1; seed <= 3; seed++) {
		world_make(w, seed);
		for (unsigned i = 0; i < 12000; i++) {
			one_step(w);
			check_pool(w);
			if (i % 1500 == 1499) {
				check_entries(w);
				check_live(w);
			}
		}
		checkpoint(w);
		check_entries(w);
		check_live(w);
		assert_true(w->loads > 5000 && w->checkpoints > 100);
		world_free(w);
	}
	free(w);
}

/* P3: what was emptied leaves nothing behind, neither on the device nor above it. */
static void an_emptied_map_has_no_pages(void **state)
{
	struct world *w = malloc(sizeof(*w));

	(void)state;
	assert_non_null(w);
	world_make(w, 9);
	for (unsigned i = 0; i < 2000; i++)
		one_step(w);
	checkpoint(w);
	assert_int_not_equal(w->map.top, 0);
	clear(w, 0, BLOCKS);
	checkpoint(w);
	assert_int_equal(w->map.mapped, 0);
	assert_int_equal(w->map.top, 0);
	assert_int_equal(w->segs.live_bytes, 0);
	for (uint64_t lba = 0; lba < BLOCKS; lba += 61)
		assert_int_equal(get(w, lba), 0);
	world_free(w);
	free(w);
}

/* All pages dirty: the map says so and changes nothing; after a checkpoint it goes on. */
static void a_pool_of_dirty_pages_asks_for_a_checkpoint(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct sv_need need;
	uint64_t lba = 0, mapped = 0;
	int r;

	(void)state;
	assert_non_null(w);
	world_make(w, 9);
	for (;; lba += SV_PAGE_ENTRIES, mapped++) {
		uint64_t entry = sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE;

		r = sv_map_set(&w->map, &w->segs, lba, entry, 1, &need);
		if (r < 0)
			break;
		w->entry[lba] = entry;
		w->mapped++;
	}
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(mapped, POOL - 2); /* the leaves of one parent and the top */
	assert_int_equal(w->map.mapped, mapped);
	assert_int_equal(w->segs.live_bytes, mapped * 32);
	check_pool(w);
	checkpoint(w);
	set(w, lba, sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE);
	check_entries(w);
	check_live(w);
	world_free(w);
	free(w);
}

/* A parent was made, then there was no page left for its child: a checkpoint takes it out (P3). */
static void a_parent_made_in_vain_goes(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct sv_need need;

	(void)state;
	assert_non_null(w);
	world_make(w, 9);
	for (unsigned i = 0; i < POOL - 3; i++)
		set(w, i * SV_PAGE_ENTRIES, sv_entry_make(take_place(w, 32), 0, 32));
	assert_int_equal(w->map.dirty_pages, POOL - 1);
	assert_int_equal(sv_map_set(&w->map, &w->segs, 64 * 64,
				    sv_entry_make(take_place(w, 32), 0, 32), 1, &need),
			 -ENOBUFS);
	assert_non_null(sv_map_peek(&w->map, 1, 1));
	checkpoint(w);
	assert_int_equal(w->late, 1);
	assert_null(sv_map_peek(&w->map, 1, 1));
	assert_null(page_of(w, 1, 1));
	check_entries(w);
	check_live(w);
	world_free(w);
	free(w);
}

/* A parent that is clean stays while its first child is made, even if it is all that could go. */
static void a_parent_stays_for_its_child(void **state)
{
	struct world *w = malloc(sizeof(*w));
	const uint64_t lba = 64 * 64;
	struct sv_need need;

	(void)state;
	assert_non_null(w);
	world_make(w, 9);
	set(w, lba, sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE);
	checkpoint(w);
	for (unsigned i = 0; i < POOL - 3; i++) {
		set(w, i * SV_PAGE_ENTRIES, sv_entry_make(take_place(w, 32), 0, 32));
		page_of(w, 1, 1);
	}
	assert_int_equal(w->map.dirty_pages, POOL - 1);
	assert_false(sv_map_peek(&w->map, 1, 1)->dirty);
	assert_int_equal(sv_map_set(&w->map, &w->segs, lba + SV_PAGE_ENTRIES,
				    sv_entry_make(take_place(w, 32), 0, 32), 1, &need),
			 -ENOBUFS);
	assert_non_null(sv_map_peek(&w->map, 1, 1));
	checkpoint(w);
	set(w, lba + SV_PAGE_ENTRIES, sv_entry_make(take_place(w, 32), 0, 32));
	check_entries(w);
	check_live(w);
	world_free(w);
	free(w);
}

/* A page that was read is of no use once its place in the tree says something else. */
static void a_page_that_moved_is_not_loaded(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct sv_need stale;
	uint64_t entry;

	(void)state;
	assert_non_null(w);
	world_make(w, 9);
	set(w, 5, sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE);
	checkpoint(w);
	stale = (struct sv_need){.entry = page_of(w, 0, 0)->where};
	set(w, 5, sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE);
	checkpoint(w);
	/* Fill the pool with leaves of other parents until the first one is evicted. */
	for (uint64_t lba = 64 * 64; sv_map_peek(&w->map, 0, 0); lba += SV_PAGE_ENTRIES) {
		assert_in_range(lba, 0, BLOCKS - 1);
		set(w, lba, sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE);
		if (w->map.dirty_pages > POOL / 2)
			checkpoint(w);
	}
	entry = w->entry[5];
	page_of(w, 1, 0); /* the parent, which knows better */
	assert_int_equal(sv_map_loaded(&w->map, &stale, page_at(w, stale.entry)->e), 0);
	assert_null(sv_map_peek(&w->map, 0, 0));
	assert_int_equal(get(w, 5), entry);
	world_free(w);
	free(w);
}

/* The same of the top, as a store that was opened again finds it. */
static void a_top_that_moved_is_not_loaded(void **state)
{
	struct world *w = malloc(sizeof(*w));
	struct sv_need stale = {.level = 2};
	uint64_t top;

	(void)state;
	assert_non_null(w);
	world_make(w, 9);
	set(w, 5, sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE);
	checkpoint(w);
	stale.entry = w->map.top;
	set(w, 5, sv_entry_make(take_place(w, 32), 0, 32) | SV_ENTRY_SINGLE);
	checkpoint(w);
	top = w->map.top;
	assert_int_not_equal(top, stale.entry);
	sv_map_free(&w->map);
	assert_int_equal(sv_map_init(&w->map, BLOCKS, 0), 0);
	w->map.top = top;
	assert_int_equal(sv_map_loaded(&w->map, &stale, page_at(w, stale.entry)->e), 0);
	assert_null(sv_map_peek(&w->map, 2, 0));
	assert_int_equal(get(w, 5), w->entry[5]);
	world_free(w);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_map_is_a_plain_array),
		cmocka_unit_test(an_emptied_map_has_no_pages),
		cmocka_unit_test(a_pool_of_dirty_pages_asks_for_a_checkpoint),
		cmocka_unit_test(a_parent_made_in_vain_goes),
		cmocka_unit_test(a_parent_stays_for_its_child),
		cmocka_unit_test(a_page_that_moved_is_not_loaded),
		cmocka_unit_test(a_top_that_moved_is_not_loaded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
