/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_bits.c: any bit of a store may turn: it is found, or FORMAT.md says that nobody needs it.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "effort.h"
#include "store_impl.h"
#include "store_life.h"
#include "store_runner.h"

/*
 * The oracle says of each byte of an image what it belongs to, from the headers and from where the
 * map of the undamaged store leads: not from what damage did. Then bits are turned:
 *
 *  nobody's     FORMAT.md, "harmless by design": nothing changes and nothing is found. These are
 *               turned many at once.
 *  live unit    its blocks give EIO, exactly; all others the newest content. Byte N of every unit
 *               at once, for each N. The loss stays over re-opens and cleaning, until the blocks
 *               are written.
 *  page         blocks under it may give EIO, no others
 *  dead unit    of the chain, or a target of its moves: found by the check, nothing is lost
 *  header       found: opening says so, or the check; nothing older without a word. But of the
 *               newest batches, which nothing behind them tells of: that they were there at all
 *               cannot be known, nor that they were flushed
 *  anchor       found by the check, nothing is lost
 *
 * Without arguments bytes are sampled; unit-store_bits --every-byte takes every byte with one bit,
 * --every-bit all of them.
 */
#define BLOCKS_MAX 1024u
#define MOST_BATCHES 4096u

enum owner { NOBODY, LIVE_UNIT, PAGE, DEAD_UNIT, CHAIN_HEAD, OTHER_HEAD, ANCHOR, OWNERS };
static const char *const owner_names[OWNERS] = {"nobody's",	 "a live unit's", "a page's",
						"a dead unit's", "a header's",	  "a lone header's",
						"an anchor's"};

struct unit {
	uint64_t place;
	uint32_t bytes; /* head and payload, without padding */
	uint64_t first_block;
	uint64_t mask; /* blocks from first_block on that the map has there */
	bool moved;    /* recent: what it was moved from may still be there, and serve instead */
};

struct world {
	struct store_life life;
	struct edit_batch batches[MOST_BATCHES];
	unsigned count;
	struct edit_batch chain[MOST_BATCHES];
	unsigned chained;
	uint8_t *owner; /* of each byte */
	uint64_t blocks;
	struct unit *units; /* live ones with data */
	unsigned unit_count;
	bool closed;
};

static unsigned step = 0; /* 0: sampled */
static unsigned bits_each = 1;
static uint64_t turned[OWNERS];

static struct life_way way = {.host = "bits",
			      .batch_bytes = 128 << 10,
			      .map_ram_bytes = 1 << 20,
			      .flush_one_in = 5,
			      .clean_one_in = 25};

/* ---- the oracle ---- */

static void own(struct world *w, uint64_t from, uint64_t len, enum owner owner)
{
	for (uint64_t i = from; i < from + len; i++)
		w->owner[i] = (uint8_t)owner;
}

/* A unit's bytes that are under its check: not the zeros behind its payload. */
static uint32_t unit_bytes(const struct world *w, uint64_t place)
{
	struct sv_cur c = sv_cur_over(w->life.image.bytes + place + 8, 4);

	return SV_UNIT_HEAD_BYTES + sv_get32(&c);
}

static void own_batch(struct world *w, const struct edit_batch *b, enum owner head)
{
	struct edit_unit u;

	own(w, b->place, b->head.head_bytes, head);
	for (unsigned k = 0; head == CHAIN_HEAD && image_record(&w->life.image, b, k, &u); k++)
		if (u.rec.type == SV_REC_DATA || u.rec.type == SV_REC_PAGE)
			own(w, u.place, unit_bytes(w, u.place), DEAD_UNIT);
}

/* The nearest before it: gaps between batches keep headers of earlier generations. */
static const struct edit_batch *batch_around(const struct world *w, uint64_t place)
{
	for (unsigned i = w->count; i-- > 0;)
		if (place >= w->batches[i].place &&
		    place < w->batches[i].place + w->batches[i].head.total_bytes)
			return &w->batches[i];
	fail_msg("no header over %06" PRIx64, place);
	return NULL;
}

static void own_used(struct world *w, uint64_t entry, enum owner owner)
{
	uint64_t place = sv_entry_place(entry);
	const struct edit_batch *b = batch_around(w, place);

	own(w, place, unit_bytes(w, place), owner);
	if (w->owner[b->place] == NOBODY)
		own(w, b->place, b->head.head_bytes, OTHER_HEAD);
}

static void note_unit(struct world *w, uint64_t lba, uint64_t entry)
{
	uint64_t place = sv_entry_place(entry), first = lba - sv_entry_index(entry);
	unsigned i = 0;

	while (i < w->unit_count && w->units[i].place != place)
		i++;
	if (i == w->unit_count) {
		w->units[w->unit_count++] =
			(struct unit){place, unit_bytes(w, place), first, 0, false};
		own_used(w, entry, LIVE_UNIT);
	}
	w->units[i].mask |= UINT64_C(1) << (lba - first);
}

static uint64_t entry_of(struct sv_store *s, unsigned level, uint64_t index, struct sv_page *page)
{
	assert_int_equal(sv_copy_page(s, level, index, page), 0);
	return page->where;
}

static void own_tree(struct world *w, struct sv_store *s, unsigned level, uint64_t index)
{
	struct sv_page page;
	uint64_t where = entry_of(s, level, index, &page);

	if (where)
		own_used(w, where, PAGE);
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		if (page.e[i] && level)
			own_tree(w, s, level - 1, index * SV_PAGE_ENTRIES + i);
		else if (page.e[i])
			note_unit(w, index * SV_PAGE_ENTRIES + i, page.e[i]);
	}
}

static void note_moves(struct world *w, const struct edit_batch *b)
{
	struct edit_unit u;

	for (unsigned k = 0; image_record(&w->life.image, b, k, &u); k++) {
		if (u.rec.type == SV_REC_BORN) {
			if (w->owner[u.rec.new_place] == NOBODY)
				own(w, u.rec.new_place, unit_bytes(w, u.rec.new_place), DEAD_UNIT);
			continue;
		}
		if (u.rec.type != SV_REC_MOVE)
			continue;
		for (unsigned i = 0; i < w->unit_count; i++)
			w->units[i].moved |= w->units[i].place == u.rec.new_place;
		if (w->owner[u.rec.new_place] == NOBODY)
			own(w, u.rec.new_place, unit_bytes(w, u.rec.new_place), DEAD_UNIT);
	}
}

static void make_oracle(struct world *w)
{
	struct sv_store *s = life_must_open(&way, &w->life.image, true);

	w->count = image_batches(&w->life.image, w->batches, MOST_BATCHES);
	w->chained = image_chain(&w->life.image, w->chain, MOST_BATCHES);
	own(w, 0, SV_ANCHOR_CHECKED_BYTES, ANCHOR);
	own(w, w->life.image.segment_bytes, SV_ANCHOR_CHECKED_BYTES, ANCHOR);
	for (unsigned i = 0; i < w->chained; i++)
		own_batch(w, &w->chain[i], CHAIN_HEAD);
	own_tree(w, s, sv_map_top_level(&s->map), 0);
	for (unsigned l = 0; l < s->segs.levels; l++)
		for (uint64_t i = 0; i < sv_segs_pages(s->segs.count, l); i++)
			if (s->segs.level[l].where[i])
				own_used(w, s->segs.level[l].where[i], PAGE);
	for (unsigned i = 0; i < w->chained; i++)
		note_moves(w, &w->chain[i]);
	sv_store_abandon(s);
}

static struct world *world_make(unsigned geometry, bool closed)
{
	const struct runner_geometry *g = &runner_geometries[geometry];
	const struct sv_format_params params = runner_format_params(g);
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	way.births = g->births;
	w->closed = closed;
	w->blocks = g->disk_bytes / SV_BLOCK_BYTES;
	w->owner = calloc(1, g->place_bytes);
	w->units = calloc(BLOCKS_MAX, sizeof(*w->units));
	assert_true(w->owner && w->units && w->blocks <= BLOCKS_MAX);
	store_life_begin(&way, g->place_bytes, &params, 21, &w->life);
	store_life_sessions(&w->life, 5, 220, closed);
	make_oracle(w);
	return w;
}

static void world_free(struct world *w)
{
	store_life_free(&w->life);
	free(w->owner);
	free(w->units);
	free(w);
}

/* ---- looking ---- */

struct seen {
	int error; /* of opening */
	uint64_t lost_flushed;
	unsigned findings;
	uint8_t bad[BLOCKS_MAX];   /* gives EIO */
	unsigned bad_count, other; /* not the newest content */
};

static void on_finding(void *ctx, const struct sv_finding *finding)
{
	(void)finding;
	((struct seen *)ctx)->findings++;
}

static void read_all(const struct world *w, struct sv_store *store, struct seen *seen)
{
	static uint8_t got[SV_BLOCK_BYTES];

	memset(seen->bad, 0, sizeof(seen->bad));
	seen->bad_count = seen->other = 0;
	for (uint64_t lba = 0; lba < w->blocks; lba++) {
		uint64_t off = lba * SV_BLOCK_BYTES;
		int r = sv_store_read(store, got, sizeof(got), off);

		if (r == -EIO) {
			seen->bad[lba] = 1;
			seen->bad_count++;
		} else {
			seen->other += r < 0 || memcmp(got, w->life.disk + off, sizeof(got)) != 0;
		}
	}
}

static void look(struct world *w, struct seen *seen)
{
	struct sv_recovery recovery;
	struct sv_store *store;

	*seen = (struct seen){.error = 0};
	seen->error = life_open(&way, &w->life.image, true, &store);
	if (seen->error < 0)
		return;
	sv_store_recovery(store, &recovery);
	seen->lost_flushed = recovery.lost_flushed_batches;
	read_all(w, store, seen);
	assert_int_equal(sv_store_check(store, true, on_finding, seen, NULL), 0);
	sv_store_abandon(store);
}

static void turn(struct world *w, uint64_t at, unsigned bit)
{
	w->life.image.bytes[at] ^= (uint8_t)(1u << bit);
}

/* ---- nobody's bytes ---- */

static void nobodys_bytes(struct world *w)
{
	struct seen seen;

	for (unsigned bit = 0; bit < (bits_each == 8 ? 8 : 2); bit++) {
		for (uint64_t at = 0; at < w->life.image.len_bytes; at++)
			if (w->owner[at] == NOBODY) {
				turn(w, at, (bit + (unsigned)(at % 8)) % 8);
				turned[NOBODY]++;
			}
		look(w, &seen);
		if (seen.error || seen.findings || seen.bad_count || seen.other ||
		    seen.lost_flushed)
			fail_msg("nobody's bytes matter: error %d, findings %u, bad %u, other %u",
				 seen.error, seen.findings, seen.bad_count, seen.other);
		for (uint64_t at = 0; at < w->life.image.len_bytes; at++)
			if (w->owner[at] == NOBODY)
				turn(w, at, (bit + (unsigned)(at % 8)) % 8);
	}
}

/* ---- live units ---- */

enum must { GOOD, BAD, EITHER };

/* Turns bit `bit` of byte `at` of every so many units that are so long; fills what must give EIO.
 */
static unsigned turn_units(struct world *w, unsigned every, uint32_t at, unsigned bit,
			   uint8_t *ret_bad)
{
	unsigned count = 0;

	memset(ret_bad, 0, BLOCKS_MAX);
	for (unsigned i = at % every; i < w->unit_count; i += every) {
		const struct unit *u = &w->units[i];

		if (at >= u->bytes)
			continue;
		turn(w, u->place + at, bit);
		count++;
		for (unsigned k = 0; k < 64; k++)
			if (u->mask >> k & 1)
				ret_bad[u->first_block + k] = u->moved ? EITHER : BAD;
	}
	return count;
}

static void must_be(const struct world *w, const struct seen *seen, const uint8_t *bad,
		    const char *what, uint32_t at)
{
	if (seen->error)
		fail_msg("%s %u: open: %s", what, at, strerror(-seen->error));
	if (seen->other)
		fail_msg("%s %u: %u blocks are not the newest", what, at, seen->other);
	for (uint64_t lba = 0; lba < w->blocks; lba++)
		if (bad[lba] != EITHER && seen->bad[lba] != bad[lba])
			fail_msg("%s %u: block %" PRIu64 " %s", what, at, lba,
				 bad[lba] ? "must give EIO" : "gives EIO");
}

/* The loss is kept by cleaning, checkpoints and re-opens, and ends with a write. */
static void stays_bad(struct world *w, const uint8_t *bad, uint32_t at)
{
	struct store_image before = w->life.image;
	struct sv_store *store;
	struct seen seen;
	unsigned cleaned;

	image_copy(&before, &w->life.image);
	for (unsigned i = 0; i < 3; i++) {
		store = life_must_open(&way, &w->life.image, false);
		assert_int_equal(sv_store_clean(store, 6, &cleaned), 0);
		assert_int_equal(sv_store_checkpoint(store), 0);
		assert_int_equal(sv_store_clean(store, 6, &cleaned), 0);
		if (i == 1)
			sv_store_abandon(store);
		else
			assert_int_equal(sv_store_close(store), 0);
		look(w, &seen);
		must_be(w, &seen, bad, "after cleaning, byte", at);
	}
	store = life_must_open(&way, &w->life.image, false);
	for (uint64_t lba = 0; lba < w->blocks; lba++)
		if (bad[lba])
			assert_int_equal(sv_store_write(store, w->life.disk + lba * SV_BLOCK_BYTES,
							SV_BLOCK_BYTES, lba * SV_BLOCK_BYTES),
					 0);
	assert_int_equal(sv_store_close(store), 0);
	look(w, &seen);
	assert_int_equal(seen.bad_count + seen.other + seen.findings, 0);
	store_image_free(&w->life.image);
	w->life.image = before;
}

static void live_units(struct world *w)
{
	uint8_t bad[BLOCKS_MAX];
	uint32_t longest = 0;
	struct seen seen;

	for (unsigned i = 0; i < w->unit_count; i++)
		longest = w->units[i].bytes > longest ? w->units[i].bytes : longest;
	for (uint32_t at = 0; at < longest; at += at < 16 || step ? 1 : 1 + (at + 37) % 53)
		for (unsigned bit = 0; bit < bits_each; bit++) {
			unsigned b = (bit + at) % 8;
			/* A segment with damage cannot be freed, and this place is tight. */
			bool long_run = at % 500 == 3 && bit == 0;
			unsigned every = long_run ? 7 : 1;
			unsigned count = turn_units(w, every, at, b, bad);

			turned[LIVE_UNIT] += count;
			look(w, &seen);
			must_be(w, &seen, bad, "byte", at);
			assert_true((seen.findings > 0) == (count > 0));
			if (long_run)
				stays_bad(w, seen.bad, at);
			turn_units(w, every, at, b, bad);
		}
}

/* ---- one at a time ---- */

/* Nothing that lies behind it, and no anchor, says that it was flushed. */
static bool is_untold(const struct world *w, uint64_t at)
{
	const struct sv_head *tail = &w->chain[w->chained - 1].head;
	const struct edit_batch *b = batch_around(w, at);

	/* What lies apart is told of by a later batch. */
	bool apart = b->head.flags & SV_BATCH_APART;

	return b->head.seq + apart > tail->flushed_seq && b->head.seq <= tail->seq;
}

static void one_bit(struct world *w, uint64_t at, unsigned bit)
{
	enum owner owner = (enum owner)w->owner[at];
	struct seen seen;
	bool found, good;

	turn(w, at, bit);
	look(w, &seen);
	turn(w, at, bit);
	turned[owner]++;
	found = seen.error < 0 || seen.lost_flushed || seen.findings;
	good = seen.error == 0 && !seen.other && !seen.bad_count;
	if (owner != ANCHOR && is_untold(w, at)) {
		if (w->closed && !good)
			fail_msg("bit %u of %06" PRIx64 ", in the newest batch, costs blocks", bit,
				 at);
		return;
	}
	if (!found)
		fail_msg("bit %u of %06" PRIx64 ", %s, is not found", bit, at, owner_names[owner]);
	if (seen.other && !seen.lost_flushed)
		fail_msg("bit %u of %06" PRIx64 ", %s: %u blocks are older, and nobody says so",
			 bit, at, owner_names[owner], seen.other);
	if (w->closed && (owner == DEAD_UNIT || owner == OTHER_HEAD || owner == ANCHOR) && !good)
		fail_msg("bit %u of %06" PRIx64 ", %s, costs blocks", bit, at, owner_names[owner]);
	if (w->closed && owner == PAGE && (seen.error || seen.other))
		fail_msg("bit %u of %06" PRIx64 ", %s: error %d, %u blocks are older", bit, at,
			 owner_names[owner], seen.error, seen.other);
}

/* The dead units of the chain, and whatever is left, byte by byte. `except`: not these. */
static void one_by_one(struct world *w, unsigned stride)
{
	for (uint64_t at = 0, n = 0; at < w->life.image.len_bytes; at++) {
		enum owner owner = (enum owner)w->owner[at];

		if (owner == NOBODY || (owner == LIVE_UNIT && w->closed))
			continue;
		if (n++ % (owner == DEAD_UNIT || owner == LIVE_UNIT ? 16 * stride : stride))
			continue;
		for (unsigned bit = 0; bit < bits_each; bit++)
			one_bit(w, at, (bit + (unsigned)(n % 8)) % 8);
	}
}

static void a_closed_store(void **state)
{
	struct world *w = world_make(3, true);

	(void)state;
	nobodys_bytes(w);
	live_units(w);
	one_by_one(w, step ? step : 31 * effort_step());
	world_free(w);
}

static void a_store_that_was_not_closed(void **state)
{
	struct world *w = world_make(0, false);

	(void)state;
	nobodys_bytes(w);
	one_by_one(w, step ? step : 41 * effort_step());
	world_free(w);
}

/* Blocks that were born apart are found wanting as others are. */
static void what_was_born(void **state)
{
	struct world *closed = world_make(8, true), *open;
	unsigned born = 0;

	(void)state;
	for (unsigned i = 0; i < closed->chained; i++) {
		struct edit_unit u;

		for (unsigned k = 0; image_record(&closed->life.image, &closed->chain[i], k, &u);
		     k++)
			born += u.rec.type == SV_REC_BORN;
	}
	assert_true(born > 0);
	nobodys_bytes(closed);
	one_by_one(closed, step ? step : 61 * effort_step());
	world_free(closed);
	open = world_make(6, false);
	nobodys_bytes(open);
	one_by_one(open, step ? step : 83 * effort_step());
	world_free(open);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_closed_store),
		cmocka_unit_test(a_store_that_was_not_closed),
		cmocka_unit_test(what_was_born),
	};
	int failed;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--every-bit") == 0)
			bits_each = 8;
		step = 1;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (unsigned i = 0; i < OWNERS; i++)
		printf("store_bits: %" PRIu64 " bits turned that are %s\n", turned[i],
		       owner_names[i]);
	return failed;
}
