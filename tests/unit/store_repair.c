/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_repair.c: a store whose anchors, roots or pages rot is made whole from its batches. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_crash.h"
#include "stickvm/repair.h"
#include "store_impl.h"
#include "store_life.h"
#include "store_runner.h"

#define MOST_BATCHES 8192u
/* Of the runner: those whose place always has room. */
static const unsigned geometries[] = {0, 1, 2, 3, 6};
#define GEOMETRIES (sizeof(geometries) / sizeof(geometries[0]))

/*
 * A disk lives: writes, discards, flushes, cleaning, sessions that are closed or not. Then copies
 * of it are damaged in a certain way and repaired. The repaired disk must hold the newest content
 * in each block, or give EIO; how many blocks may give EIO, each kind of damage says.
 */
struct world {
	struct store_life life;
	struct edit_batch batches[MOST_BATCHES]; /* every one, in order of place */
	unsigned count;
};

static uint64_t lost_in_all, cuts, rescued;

static struct life_way way = {
	.host = "test", .batch_bytes = 128 << 10, .flush_one_in = 4, .clean_one_in = 30};

static struct world *world_make(unsigned geometry, unsigned sessions, unsigned writes, bool closed)
{
	const struct runner_geometry *g = &runner_geometries[geometries[geometry]];
	const struct sv_format_params params = runner_format_params(g);
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	way.births = g->births;
	store_life_begin(&way, g->place_bytes, &params, 7 + geometry, &w->life);
	store_life_sessions(&w->life, sessions, writes, closed);
	w->count = image_batches(&w->life.image, w->batches, MOST_BATCHES);
	return w;
}

static void world_free(struct world *w)
{
	store_life_free(&w->life);
	free(w);
}

static int repair(struct store_image *image, uint64_t size_bytes, bool dry_run,
		  struct sv_repair_result *ret)
{
	struct sv_repair_options opts = {
		.host = "mender", .seed = 5, .dry_run = dry_run, .size_bytes = size_bytes};
	struct sv_dev *dev = image_dev(image);
	int r = sv_store_repair(dev, &opts, ret);

	sv_dev_close(dev);
	return r;
}

/* Blocks that give EIO; any other content than the newest fails. */
static unsigned compare(const struct store_life *life, struct sv_store *store, const char *what)
{
	static uint8_t got[SV_BLOCK_BYTES];
	unsigned bad = 0;

	for (uint64_t off = 0; off < life->disk_bytes; off += SV_BLOCK_BYTES) {
		size_t n = life->disk_bytes - off < SV_BLOCK_BYTES ? life->disk_bytes - off
								   : SV_BLOCK_BYTES;
		int r = sv_store_read(store, got, n, off);

		if (r == -EIO)
			bad++;
		else if (r < 0 || memcmp(got, life->disk + off, n) != 0)
			fail_msg("%s: block %" PRIu64 " is not the newest (%d)", what,
				 off / SV_BLOCK_BYTES, r);
	}
	return bad;
}

static void count_finding(void *ctx, const struct sv_finding *finding)
{
	(void)finding;
	++*(unsigned *)ctx;
}

/* Headers with a bad bit are not needed any more; but the cleaner could not move what they
 * describe.
 */
static void rescue(struct store_image *image)
{
	struct sv_store *store = life_must_open(&way, image, false);
	uint64_t blocks;

	assert_int_equal(sv_store_rescue(store, &blocks), 0);
	assert_int_equal(sv_store_close(store), 0);
	rescued += blocks;
}

/* Opens twice, writes in between, and compares. Returns the blocks that give EIO. */
static unsigned live_on(struct world *w, struct store_image *image, const char *what)
{
	struct store_life next = w->life; /* the same disk, and another medium */
	struct sv_store *store = life_must_open(&way, image, true);
	unsigned bad, findings = 0;

	bad = compare(&w->life, store, what);
	assert_int_equal(sv_store_check(store, true, count_finding, &findings, NULL), 0);
	if ((findings > 0) != (bad > 0))
		fail_msg("%s: %u findings, %u bad blocks", what, findings, bad);
	sv_store_abandon(store);
	next.image = *image;
	next.disk = malloc(next.disk_bytes);
	assert_non_null(next.disk);
	memcpy(next.disk, w->life.disk, next.disk_bytes);
	store_life_session(&next, 40, true);
	store = life_must_open(&way, image, true);
	assert_true(compare(&next, store, what) <= bad);
	sv_store_abandon(store);
	free(next.disk);
	return bad;
}

/* ---- kinds of damage ---- */

static void rot(struct store_image *image, uint64_t at, size_t len)
{
	struct prng rng = {.state = at + 1};

	prng_fill(&rng, image->bytes + at, len);
}

static void rot_anchors(struct world *w, struct store_image *image)
{
	(void)w;
	rot(image, 0, 512);
	rot(image, image->segment_bytes, 512);
}

static void rot_first_root(struct world *w, struct store_image *image)
{
	struct sv_anchor a = image_anchor(&w->life.image, 0);

	rot(image, (uint64_t)a.root.segment * image->segment_bytes + a.root.offset, 512);
}

static void rot_all_roots(struct world *w, struct store_image *image)
{
	for (unsigned i = 0; i < w->count; i++)
		if (w->batches[i].head.flags & SV_BATCH_ROOT)
			rot(image, w->batches[i].place, 512);
}

/* All but one, so that the size of the disk is known. */
static void rot_anchors_and_roots(struct world *w, struct store_image *image)
{
	uint64_t keep = UINT64_MAX;

	rot_anchors(w, image);
	for (unsigned i = 0; i < w->count; i++)
		if (w->batches[i].head.flags & SV_BATCH_ROOT &&
		    (keep == UINT64_MAX || w->batches[i].head.seq < w->batches[keep].head.seq))
			keep = i;
	for (unsigned i = 0; i < w->count; i++)
		if (w->batches[i].head.flags & SV_BATCH_ROOT && i != keep)
			rot(image, w->batches[i].place, 512);
}

static void one_bit_in_each_header(struct world *w, struct store_image *image)
{
	for (unsigned i = 0; i < w->count; i++)
		image_flip(image, w->batches[i].place + i % w->batches[i].head.head_bytes);
	image_flip(image, 77);
	rot(image, image->segment_bytes, 512);
}

/* The pages of the newest root: older copies and the chain tell the same, where they are. */
static void rot_newest_pages(struct world *w, struct store_image *image)
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < w->count; i++)
		if (w->batches[i].head.flags & SV_BATCH_ROOT)
			newest = sv_max64(newest, w->batches[i].head.seq);
	for (unsigned i = 0; i < w->count; i++) {
		struct edit_unit u;

		if (w->batches[i].head.seq + 4 < newest || w->batches[i].head.seq > newest ||
		    w->batches[i].head.flags & SV_BATCH_APART)
			continue;
		for (unsigned k = 0; image_record(&w->life.image, &w->batches[i], k, &u); k++)
			if (u.rec.type == SV_REC_PAGE)
				rot(image, u.place + 16, 64);
	}
}

static void rot_all_pages(struct world *w, struct store_image *image)
{
	for (unsigned i = 0; i < w->count; i++) {
		struct edit_unit u;

		for (unsigned k = 0; image_record(&w->life.image, &w->batches[i], k, &u); k++)
			if (u.rec.type == SV_REC_PAGE)
				rot(image, u.place + 16, 64);
	}
}

/* A header with data, behind the last root, and both anchors: nobody knows what it changed. */
static void rot_a_late_header(struct world *w, struct store_image *image)
{
	uint64_t newest = 0, best = UINT64_MAX;

	rot_anchors(w, image);
	for (unsigned i = 0; i < w->count; i++)
		if (w->batches[i].head.flags & SV_BATCH_ROOT)
			newest = sv_max64(newest, w->batches[i].head.seq);
	for (unsigned i = 0; i < w->count; i++)
		if (w->batches[i].head.seq == newest + 1 &&
		    !(w->batches[i].head.flags & (SV_BATCH_APART | SV_BATCH_CLOSE)))
			best = i;
	if (best != UINT64_MAX)
		rot(image, w->batches[best].place, 512);
}

static const struct kind {
	const char *name;
	void (*apply)(struct world *w, struct store_image *image);
	bool opens; /* by itself, so that only what repair makes of it is looked at */
	bool whole; /* everything can be proven */
} kinds[] = {
	{"both anchors", rot_anchors, false, true},
	{"the first root", rot_first_root, false, true},
	{"anchors and all roots but the oldest", rot_anchors_and_roots, false, true},
	{"one bit in each header", one_bit_in_each_header, false, true},
	{"the pages of the newest root", rot_newest_pages, true, false},
	{"every page of the map", rot_all_pages, true, false},
	{"a header behind the last root", rot_a_late_header, false, false},
	{"the first root and all others", rot_all_roots, false, true},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void repair_one(struct world *w, const struct kind *kind, unsigned geometry, bool closed)
{
	struct sv_repair_result result;
	struct store_image image;
	char what[120];
	struct sv_store *store;
	unsigned bad;
	int r;

	snprintf(what, sizeof(what), "%s, geometry %u, %s", kind->name, geometry,
		 closed ? "closed" : "not closed");
	image_copy(&w->life.image, &image);
	image.segment_bytes = w->life.image.segment_bytes;
	image.page_bytes = w->life.image.page_bytes;
	kind->apply(w, &image);
	if (!kind->opens && life_open(&way, &image, true, &store) == 0)
		fail_msg("%s: it opens: nothing is tested", what);
	r = repair(&image, w->life.disk_bytes, false, &result);
	if (r < 0)
		fail_msg("%s: repair: %s: %s", what, strerror(-r), sv_store_why());
	if (kind->apply == one_bit_in_each_header)
		rescue(&image);
	bad = live_on(w, &image, what);
	lost_in_all += bad;
	/* The last block of the disk may be a short one. */
	if (bad * SV_BLOCK_BYTES >= result.lost_bytes + SV_BLOCK_BYTES || (kind->whole && bad))
		fail_msg("%s: %u blocks give EIO", what, bad);
	store_image_free(&image);
}

static void each_kind(void **state)
{
	(void)state;
	for (unsigned geometry = 0; geometry < GEOMETRIES; geometry++)
		for (unsigned closed = 0; closed < 2; closed++) {
			struct world *w = world_make(geometry, 3, 120, closed);

			for (size_t i = 0; i < KINDS; i++)
				repair_one(w, &kinds[i], geometry, closed);
			world_free(w);
		}
	assert_true(lost_in_all > 0); /* some kinds do cost blocks */
	assert_true(rescued > 0);
}

/* Looking is not touching; and a healthy store is found as it is. */
static void a_dry_run_changes_nothing(void **state)
{
	(void)state;
	for (unsigned geometry = 0; geometry < GEOMETRIES; geometry++) {
		struct world *w = world_make(geometry, 2, 120, true);
		struct sv_repair_result result;
		struct store_image image;

		image_copy(&w->life.image, &image);
		assert_int_equal(repair(&image, 0, true, &result), 0);
		assert_int_equal(result.lost_bytes, 0);
		assert_int_equal(result.dropped, 0);
		assert_memory_equal(image.bytes, w->life.image.bytes, image.len_bytes);
		store_image_free(&image);
		world_free(w);
	}
}

static int refuse_to_save(void *ctx, uint64_t place_bytes, const void *bytes, size_t len_bytes)
{
	(void)ctx;
	(void)place_bytes;
	(void)bytes;
	(void)len_bytes;
	return -ENOSPC;
}

struct saved {
	const struct store_image *image;
	unsigned places;
};

static int note_saved(void *ctx, uint64_t place_bytes, const void *bytes, size_t len_bytes)
{
	struct saved *saved = ctx;

	assert_memory_equal(bytes, saved->image->bytes + place_bytes, len_bytes);
	saved->places++;
	return 0;
}

static void discard_all(struct world *w)
{
	struct sv_store *store = life_must_open(&way, &w->life.image, false);

	assert_int_equal(sv_store_discard(store, w->life.disk_bytes, 0), 0);
	assert_int_equal(sv_store_flush(store), 0);
	sv_store_abandon(store);
	memset(w->life.disk, 0, w->life.disk_bytes);
	w->count = image_batches(&w->life.image, w->batches, MOST_BATCHES);
}

/* X1 and X2: what is overwritten is handed out before; all else of the old chain stays. */
static void what_is_replaced_is_kept(void **state)
{
	struct world *w = world_make(3, 6, 200, false);
	struct sv_repair_options opts = {.save = refuse_to_save};
	struct sv_repair_result result;
	struct store_image image, rotten;
	struct saved saved = {&rotten, 0};
	struct sv_dev *dev;

	(void)state;
	/* All that lies behind the last root is dead now, and needed all the same. */
	discard_all(w);
	image_copy(&w->life.image, &image);
	rot_first_root(w, &image);
	image_copy(&image, &rotten);
	dev = image_dev(&image);
	assert_int_equal(sv_store_repair(dev, &opts, &result), -ENOSPC);
	assert_memory_equal(image.bytes, rotten.bytes, 512);
	assert_memory_equal(image.bytes + image.segment_bytes, rotten.bytes + image.segment_bytes,
			    512);
	opts = (struct sv_repair_options){.save = note_saved, .ctx = &saved};
	assert_int_equal(sv_store_repair(dev, &opts, &result), 0);
	assert_int_equal(saved.places, 2);
	sv_dev_close(dev);
	/* Everything that the proven chain needs is as it was. */
	for (unsigned i = 0; i < w->count; i++)
		if (w->batches[i].head.seq >= result.base_seq)
			assert_memory_equal(image.bytes + w->batches[i].place,
					    rotten.bytes + w->batches[i].place,
					    w->batches[i].head.total_bytes);
	store_image_free(&image);
	store_image_free(&rotten);
	world_free(w);
}

/* ---- the power fails during the repair ---- */

static void fill_medium(const struct store_image *image, struct dev_crash *medium)
{
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	uint8_t *buf = NULL;

	assert_int_equal(posix_memalign((void **)&buf, 4096, 65536), 0);
	for (uint64_t at = 0; at < image->len_bytes; at += 65536) {
		memcpy(buf, image->bytes + at, 65536);
		assert_int_equal(sv_dev_write(dev, buf, 65536, at), 0);
	}
	assert_int_equal(sv_dev_flush(dev), 0);
	free(buf);
	sv_dev_close(dev);
}

static struct dev_crash *medium_of(const struct store_image *image)
{
	struct sv_geometry geo = {.size_bytes = image->len_bytes,
				  .max_bytes = image->len_bytes,
				  .sector_bytes = 512,
				  .erase_bytes = image->segment_bytes,
				  .page_bytes = image->page_bytes};
	struct dev_crash *medium = dev_crash_create(&geo);

	fill_medium(image, medium);
	return medium;
}

/* A cut repair is repaired, and everything is there. */
static void after_a_cut(struct world *w, struct dev_crash *medium, const char *what)
{
	struct sv_repair_options opts = {
		.host = "second", .seed = 6, .size_bytes = w->life.disk_bytes};
	struct sv_open_options open = {.manual = true, .read_only = true};
	struct sv_repair_result result;
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	struct sv_store *store;
	int r;

	if (sv_store_open(dev, &open, &store) < 0) {
		r = sv_store_repair(dev, &opts, &result);
		if (r < 0)
			fail_msg("%s: repair: %s: %s", what, strerror(-r), sv_store_why());
		r = sv_store_open(dev, &open, &store);
		if (r < 0)
			fail_msg("%s: open: %s: %s", what, strerror(-r), sv_store_why());
	}
	assert_int_equal(compare(&w->life, store, what), 0);
	sv_store_abandon(store);
}

static void cut_everywhere(struct world *w, const struct kind *kind, unsigned geometry)
{
	struct sv_repair_options opts = {
		.host = "first", .seed = 5, .size_bytes = w->life.disk_bytes};
	struct sv_repair_result result;
	struct store_image image;
	struct dev_crash *medium;
	struct sv_dev *dev;
	uint64_t writes;

	image_copy(&w->life.image, &image);
	image.segment_bytes = w->life.image.segment_bytes;
	image.page_bytes = w->life.image.page_bytes;
	kind->apply(w, &image);
	medium = medium_of(&image);
	dev_crash_record(medium);
	dev = dev_crash_open(medium, NULL);
	assert_int_equal(sv_store_repair(dev, &opts, &result), 0);
	sv_dev_close(dev);
	writes = dev_crash_recorded(medium);
	assert_true(writes >= 5);
	for (uint64_t k = 1; k <= writes; k++)
		for (unsigned when = DEV_CRASH_BEFORE; when <= DEV_CRASH_INSIDE; when++) {
			struct dev_crash_cut cut = {
				.when = (enum dev_crash_when)when, .write = k, .seed = k};
			struct dev_crash *fork = dev_crash_fork(medium, &cut);
			char what[120];

			snprintf(what, sizeof(what), "%s, geometry %u, cut %u at %" PRIu64,
				 kind->name, geometry, when, k);
			after_a_cut(w, fork, what);
			dev_crash_destroy(fork);
			cuts++;
		}
	dev_crash_destroy(medium);
	store_image_free(&image);
}

static void a_cut_repair_is_repaired(void **state)
{
	(void)state;
	for (unsigned geometry = 0; geometry < GEOMETRIES; geometry++) {
		struct world *w = world_make(geometry, 3, 100, geometry % 2 == 1);

		for (size_t i = 0; i < KINDS; i++)
			if (kinds[i].whole)
				cut_everywhere(w, &kinds[i], geometry);
		world_free(w);
	}
	print_message("store_repair: %" PRIu64 " cuts\n", cuts);
}

/* Segments that may be written again must hold nothing that the walk from the root which the
 * anchors named before has to pass: not before lie_window bytes followed the repair's own anchors,
 * since the stick may lose all of those (S1 to S3). */
static unsigned look_at_gate(const struct world *w, struct sv_store *store, const char *what)
{
	uint64_t first = image_anchor(&w->life.image, 0).root.seq;
	unsigned kept = 0;

	assert_true(image_anchor(&w->life.image, 1).root.seq == first);
	for (unsigned i = 0; i < w->count; i++) {
		const struct sv_head *h = &w->batches[i].head;
		const struct sv_seg *seg = &store->segs.v[h->segment];

		if (h->seq < first)
			continue;
		kept++;
		if (seg->usage.live_bytes == 0 && seg->role == SV_SEG_IDLE &&
		    seg->usage.last_seq < store->segs.gate_seq)
			fail_msg("%s: segment %u may be written again (gate %" PRIu64
				 "), though batch %" PRIu64 " of the walk from %" PRIu64
				 " lies in it",
				 what, h->segment, store->segs.gate_seq, h->seq, first);
	}
	return kept;
}

/* Small writes and flushes for less than lie_window. */
static void work_a_little(struct world *w, struct sv_store *store)
{
	uint64_t most = store->ledger.stick_written_bytes + store->anchor.lie_window_bytes / 2;
	uint8_t block[SV_BLOCK_BYTES] = {1};

	for (uint64_t n = 0; store->ledger.stick_written_bytes < most; n++) {
		assert_int_equal(sv_store_write(store, block, sizeof(block),
						n * sizeof(block) % w->life.disk_bytes /
							sizeof(block) * sizeof(block)),
				 0);
		assert_int_equal(sv_store_flush(store), 0);
	}
}

static void nothing_is_reused_too_early(void **state)
{
	struct sv_repair_result result;
	struct store_image image;
	unsigned kept = 0;

	(void)state;
	for (unsigned geometry = 0; geometry < GEOMETRIES; geometry++) {
		struct world *w = world_make(geometry, 6, 150, false);

		for (unsigned i = 0; i < KINDS; i++) {
			struct sv_store *store;

			image_copy(&w->life.image, &image);
			image.segment_bytes = w->life.image.segment_bytes;
			image.page_bytes = w->life.image.page_bytes;
			kinds[i].apply(w, &image);
			assert_int_equal(repair(&image, w->life.disk_bytes, false, &result), 0);
			store = life_must_open(&way, &image, false);
			kept += look_at_gate(w, store, kinds[i].name);
			work_a_little(w, store);
			look_at_gate(w, store, kinds[i].name);
			sv_store_abandon(store);
			store_image_free(&image);
		}
		world_free(w);
	}
	assert_true(kept > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind),
		cmocka_unit_test(a_dry_run_changes_nothing),
		cmocka_unit_test(what_is_replaced_is_kept),
		cmocka_unit_test(a_cut_repair_is_repaired),
		cmocka_unit_test(nothing_is_reused_too_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
