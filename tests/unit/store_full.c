/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_full.c: a store at every fill up to the brim: no deadlock, no early ENOSPC, and back. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_count.h"
#include "dev_flashsim.h"
#include "dev_ram.h"
#include "prng.h"
#include "stickvm/store.h"

/*
 *	unit-store_full [TEST] [--geometry=N] [--mix=N] [--seed=N] [--rounds=N] [--all]
 *
 * The disk is larger than its place. It is filled until ENOSPC with one mix of units, then worked
 * on at every fill from 100 % down to 50 %: overwritten at random for a capacity each, thinned out
 * so that one block lives in each unit or segment, closed, opened, filled again.
 *
 * Oracles:
 *  - a plain model says what each block holds;
 *  - ENOSPC is right only where the blocks that hold data, each stored at its worst, and the pages
 *    of the map that find them, do not fit: what compresses, or what garbage lies about, can only
 *    leave more room than that;
 *  - flushes and discards always succeed: what was acknowledged had its room (B2);
 *  - no call writes more than a bounded multiple of the place: it makes progress or it ends.
 */
#define KIB 1024u
#define MIB (1024u * KIB)
#define BLOCK SV_BLOCK_BYTES
#define UNIT_BYTES (BLOCK + 16u + 16u) /* a raw unit and its record */
#define PAGE_BYTES (512u + 16u + 16u)
#define RUN_BLOCKS 256u

struct geometry {
	const char *name;
	uint32_t segment_bytes, page_bytes, batch_bytes;
	uint64_t place_bytes, lie_window_bytes, checkpoint_bytes;
};

static const struct geometry geometries[] = {
	{"64K/4K", 64 * KIB, 4 * KIB, 256 * KIB, 12 * MIB, 128 * KIB, 256 * KIB},
	{"256K/16K", 256 * KIB, 16 * KIB, 512 * KIB, 40 * MIB, 512 * KIB, MIB},
	{"many small", 64 * KIB, 4 * KIB, 256 * KIB, 96 * MIB, 64 * KIB, 512 * KIB},
	{"1M/16K", MIB, 16 * KIB, MIB, 160 * MIB, MIB, 2 * MIB},
};

enum content { RAW, HALF, QUARTER, TINY, ZERO, CONTENTS };
enum mix {
	MIX_RAW_RUNS,
	MIX_RAW_SINGLE,
	MIX_PACKED_RUNS,
	MIX_PACKED_SINGLE,
	MIX_TINY,
	MIX_ALL,
	MIXES
};

static const char *const mix_names[MIXES] = {"raw runs",	"raw single blocks",
					     "compressed runs", "compressed single blocks",
					     "tiny units",	"all together"};

struct world {
	const struct geometry *g;
	enum mix mix;
	struct prng rng;
	struct sv_dev *ram;
	struct dev_counts counts;
	struct sv_store *st;
	uint64_t blocks, held; /* held: blocks that the model says hold data */
	uint32_t *version;     /* of each block; 0: zeros. Its content follows from it */
	uint8_t *buf, *want;
	uint64_t seed;
	uint64_t taken_bytes; /* of the place, by others */
	bool threads;
};

static struct {
	int geometry, mix, rounds;
	uint64_t seed;
	bool all;
} only = {-1, -1, 1, 0, false};

static bool threads; /* the next world's store has a keeper */
static uint64_t taken_at_first;
static const char *filter;

#define FAIL(w, ...)                                                                               \
	do {                                                                                       \
		print_error("replay: unit-store_full --geometry=%d --mix=%d --seed=%" PRIu64 "\n", \
			    (int)((w)->g - geometries), (int)(w)->mix, (w)->seed);                 \
		fail_msg(__VA_ARGS__);                                                             \
	} while (0)

static enum content content_of(uint32_t version)
{
	return version ? (enum content)(version % CONTENTS) : ZERO;
}

/* What a block of this version holds. */
static void content(uint8_t *block, uint64_t lba, uint32_t version)
{
	static const size_t random_bytes[CONTENTS] = {BLOCK, BLOCK / 2, BLOCK / 4, 16, 0};
	struct prng rng = {.state = lba << 32 | version};

	memset(block, 0, BLOCK);
	prng_fill(&rng, block, random_bytes[content_of(version)]);
}

static uint32_t pick_version(struct world *w)
{
	static const enum content of_mix[MIXES] = {RAW, RAW, QUARTER, HALF, TINY, RAW};
	enum content c = of_mix[w->mix];

	if (w->mix == MIX_ALL || prng_one_in(&w->rng, 50))
		c = (enum content)prng_below(&w->rng, CONTENTS);
	if (w->mix == MIX_PACKED_RUNS && prng_one_in(&w->rng, 8))
		c = HALF;
	return (uint32_t)(prng_below(&w->rng, 100000000) * CONTENTS + c + CONTENTS);
}

static void open_store(struct world *w);

/* ---- what the store may use ---- */

static struct sv_status status_of(struct world *w)
{
	struct sv_status status;

	sv_store_status(w->st, &status);
	return status;
}

/* What the model's blocks need at worst: each a raw unit; leaves as the blocks lie. */
static uint64_t worst_need(const struct world *w)
{
	uint64_t pages = 4, leaf = UINT64_MAX;

	for (uint64_t i = 0; i < w->blocks; i++)
		if (content_of(w->version[i]) != ZERO && i / 64 != leaf) {
			leaf = i / 64;
			pages++;
		}
	return w->held * UNIT_BYTES + (pages + pages / 32) * PAGE_BYTES;
}

static double fill_now(struct world *w)
{
	struct sv_status status = status_of(w);

	return (double)status.used_bytes / (double)status.capacity_bytes;
}

static void must_be_full(struct world *w, const char *when)
{
	struct sv_status s = status_of(w);
	uint64_t need = worst_need(w);

	/* A block more, and what one leaf and its parents take. */
	if (need + 4 * UNIT_BYTES + 8 * PAGE_BYTES + s.segments * 16 < s.capacity_bytes)
		FAIL(w,
		     "%s: ENOSPC too early: %" PRIu64 " blocks need %" PRIu64
		     " KiB at worst of %" PRIu64 " KiB, used %" PRIu64 " KiB, %" PRIu64
		     " of %" PRIu64 " segments free",
		     when, w->held, need / KIB, s.capacity_bytes / KIB, s.used_bytes / KIB,
		     s.free_segments, s.segments);
}

/* ---- operations, each bounded ---- */

struct bound {
	uint64_t write_bytes;
};

static struct bound start(struct world *w)
{
	return (struct bound){atomic_load(&w->counts.write_bytes)};
}

static void within(struct world *w, struct bound b, const char *what)
{
	uint64_t wrote = atomic_load(&w->counts.write_bytes) - b.write_bytes;

	if (wrote > 3 * w->g->place_bytes)
		FAIL(w, "%s wrote %" PRIu64 " KiB in one call, the place has %" PRIu64, what,
		     wrote / KIB, w->g->place_bytes / KIB);
}

static void set_version(struct world *w, uint64_t lba, uint32_t version)
{
	w->held -= content_of(w->version[lba]) != ZERO;
	w->version[lba] = version;
	w->held += content_of(version) != ZERO;
}

/* One block at a time reaches the store in one call; false: ENOSPC, of which the oracle approves.
 * A call that fails half-way has written a beginning: read back which. */
static bool write_run(struct world *w, uint64_t lba, uint64_t n)
{
	struct bound b = start(w);
	uint32_t version[RUN_BLOCKS];
	uint64_t done = 0;
	int r;

	for (uint64_t i = 0; i < n; i++) {
		version[i] = pick_version(w);
		content(w->buf + i * BLOCK, lba + i, version[i]);
	}
	r = sv_store_write(w->st, w->buf, n * BLOCK, lba * BLOCK);
	if (r < 0 && r != -ENOSPC)
		FAIL(w, "write: %s", strerror(-r));
	within(w, b, "a write");
	if (r == 0)
		done = n;
	for (; r < 0 && done < n; done++) {
		if (sv_store_read(w->st, w->want, BLOCK, (lba + done) * BLOCK) != 0)
			FAIL(w, "read after ENOSPC");
		if (memcmp(w->want, w->buf + done * BLOCK, BLOCK) != 0)
			break;
	}
	for (uint64_t i = 0; i < done; i++)
		set_version(w, lba + i, version[i]);
	if (r < 0)
		must_be_full(w, "write");
	return r == 0;
}

static void discard(struct world *w, uint64_t lba, uint64_t n)
{
	struct bound b = start(w);
	int r = sv_store_discard(w->st, n * BLOCK, lba * BLOCK);

	if (r < 0)
		FAIL(w, "discard: %s", strerror(-r));
	within(w, b, "a discard");
	for (uint64_t i = 0; i < n; i++)
		set_version(w, lba + i, 0);
}

static void flush(struct world *w)
{
	struct bound b = start(w);
	int r = sv_store_flush(w->st);

	if (r < 0) {
		struct sv_status s = status_of(w);

		FAIL(w,
		     "flush: %s: %" PRIu64 " KiB used of %" PRIu64 ", %" PRIu64 " of %" PRIu64
		     " segments free",
		     strerror(-r), s.used_bytes / KIB, s.capacity_bytes / KIB, s.free_segments,
		     s.segments);
	}
	within(w, b, "a flush");
}

static void close_store(struct world *w)
{
	struct bound b = start(w);
	int r = sv_store_close(w->st);

	w->st = NULL;
	if (r < 0)
		FAIL(w, "close: %s", strerror(-r));
	within(w, b, "close");
}

static void on_finding(void *ctx, const struct sv_finding *f)
{
	FAIL((struct world *)ctx, "check: %s at %" PRIu64 ", place %" PRIx64, f->what, f->off_bytes,
	     f->place_bytes);
}

static void verify(struct world *w)
{
	if (!w->threads)
		assert_int_equal(sv_store_check(w->st, false, on_finding, w, NULL), 0);
	for (uint64_t lba = 0; lba < w->blocks; lba += RUN_BLOCKS) {
		uint64_t n = w->blocks - lba < RUN_BLOCKS ? w->blocks - lba : RUN_BLOCKS;
		int r = sv_store_read(w->st, w->buf, n * BLOCK, lba * BLOCK);

		if (r < 0)
			FAIL(w, "read at block %" PRIu64 ": %s", lba, strerror(-r));
		for (uint64_t i = 0; i < n; i++) {
			content(w->want, lba + i, w->version[lba + i]);
			if (memcmp(w->buf + i * BLOCK, w->want, BLOCK) != 0)
				FAIL(w, "block %" PRIu64 " differs", lba + i);
		}
	}
}

/* ---- a world ---- */

/* A device that outlives the store, and of which others take room and give it back. */
struct kept {
	struct sv_dev dev;
	struct sv_dev *under;
	const uint64_t *taken_bytes;
};

static int kept_read(struct sv_dev *d, void *buf, size_t len, uint64_t off)
{
	return sv_dev_read(((struct kept *)d)->under, buf, len, off);
}

static int kept_write(struct sv_dev *d, const void *buf, size_t len, uint64_t off)
{
	return sv_dev_write(((struct kept *)d)->under, buf, len, off);
}

static int kept_flush(struct sv_dev *d)
{
	return sv_dev_flush(((struct kept *)d)->under);
}

static int kept_discard(struct sv_dev *d, uint64_t off, uint64_t len)
{
	return sv_dev_discard(((struct kept *)d)->under, off, len);
}

static int kept_geometry(struct sv_dev *d, struct sv_geometry *ret)
{
	struct kept *k = (struct kept *)d;
	int r = sv_dev_geometry(k->under, ret);

	ret->max_bytes -= *k->taken_bytes;
	if (ret->max_bytes < ret->size_bytes)
		ret->max_bytes = ret->size_bytes;
	return r;
}

static int kept_grow(struct sv_dev *d, uint64_t size)
{
	struct sv_geometry geo;

	assert_int_equal(kept_geometry(d, &geo), 0);
	return size > geo.max_bytes ? -ENOSPC : sv_dev_grow(((struct kept *)d)->under, size);
}

static void kept_close(struct sv_dev *d)
{
	free(d);
}

static const struct sv_dev_ops kept_ops = {kept_read, kept_write,    kept_flush, kept_discard,
					   kept_grow, kept_geometry, kept_close};

static struct sv_dev *keep(struct sv_dev *under, const uint64_t *taken_bytes)
{
	struct kept *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	k->dev = (struct sv_dev){.ops = &kept_ops, .kind = "kept"};
	k->under = under;
	k->taken_bytes = taken_bytes;
	return &k->dev;
}

static void open_store(struct world *w)
{
	struct sv_open_options o = {.manual = !w->threads,
				    .batch_bytes = w->g->batch_bytes,
				    .map_ram_bytes = 256 * KIB,
				    .seed = prng_next(&w->rng) | 1,
				    .host = "full"};
	struct bound b = start(w);
	int r = sv_store_open(keep(w->ram, &w->taken_bytes), &o, &w->st);

	if (r < 0)
		FAIL(w, "open: %s: %s", strerror(-r), sv_store_why());
	within(w, b, "open");
}

static void world_memory(struct world *w, uint64_t disk_bytes)
{
	w->blocks = disk_bytes / BLOCK;
	w->version = calloc(w->blocks, sizeof(*w->version));
	w->buf = aligned_alloc(4096, (size_t)RUN_BLOCKS * BLOCK);
	w->want = aligned_alloc(4096, BLOCK);
	assert_true(w->version && w->buf && w->want);
}

static void world_make(struct world *w, const struct geometry *g, enum mix mix, uint64_t seed)
{
	struct sv_geometry geo = {
		.size_bytes = 2 * MIB, .max_bytes = g->place_bytes, .sector_bytes = 512};
	/* Quarters and tiny units need a larger disk to fill the place. */
	uint64_t times = mix == MIX_TINY ? 20 : mix == MIX_PACKED_RUNS ? 5 : 3;
	struct sv_format_params p = {.size_bytes = times * g->place_bytes,
				     .segment_bytes = g->segment_bytes,
				     .page_bytes = g->page_bytes,
				     .lie_window_bytes = g->lie_window_bytes,
				     .checkpoint_bytes = g->checkpoint_bytes,
				     .id = {7}};
	struct sv_dev *ram;

	*w = (struct world){.g = g, .mix = mix, .seed = seed, .rng = {seed}};
	w->threads = threads;
	w->taken_bytes = taken_at_first;
	world_memory(w, p.size_bytes);
	assert_int_equal(sv_dev_ram_create(&geo, &ram), 0);
	w->ram = dev_count_create(ram, &w->counts);
	assert_int_equal(sv_store_format(w->ram, &p), 0);
	open_store(w);
}

static void world_free(struct world *w)
{
	if (w->st)
		close_store(w);
	sv_dev_close(w->ram);
	free(w->version);
	free(w->buf);
	free(w->want);
}

/* ---- the property ---- */

static bool of_singles(const struct world *w)
{
	return w->mix == MIX_RAW_SINGLE || w->mix == MIX_PACKED_SINGLE || w->mix == MIX_TINY ||
	       (w->mix == MIX_ALL && prng_below(&((struct world *)w)->rng, 2));
}

/* Writes somewhere, in the way of the mix; false: ENOSPC. */
static bool write_some(struct world *w, uint64_t *ret_bytes)
{
	uint64_t n = of_singles(w) ? 1 : 1 + prng_below(&w->rng, RUN_BLOCKS - 1);
	uint64_t lba = prng_below(&w->rng, w->blocks);

	if (n > w->blocks - lba)
		n = w->blocks - lba;
	*ret_bytes = n * BLOCK;
	return write_run(w, lba, n);
}

/* Overwrites something that holds data. */
static bool overwrite_some(struct world *w, uint64_t *ret_bytes)
{
	uint64_t lba = prng_below(&w->rng, w->blocks), n = 0;
	uint64_t most = of_singles(w) ? 1 : 1 + prng_below(&w->rng, RUN_BLOCKS - 1);

	for (uint64_t i = 0; i < w->blocks && content_of(w->version[lba]) == ZERO; i++)
		lba = (lba + 1) % w->blocks;
	while (n < most && lba + n < w->blocks && content_of(w->version[lba + n]) != ZERO)
		n++;
	*ret_bytes = n * BLOCK;
	return n == 0 || write_run(w, lba, n);
}

static void fill_up(struct world *w)
{
	uint64_t bytes;

	for (unsigned i = 0; write_some(w, &bytes); i++)
		if (prng_one_in(&w->rng, 40))
			flush(w);
	flush(w);
}

/* Overwrites for about one capacity. */
static void churn(struct world *w, double part)
{
	struct sv_status s = status_of(w);
	uint64_t want = (uint64_t)((double)s.capacity_bytes * part), did = 0, bytes;

	while (did < want) {
		if (!overwrite_some(w, &bytes))
			break; /* it is full, as must_be_full found */
		did += bytes;
		if (prng_one_in(&w->rng, 30))
			flush(w);
	}
	flush(w);
}

/* Discards at random until no more than this part of the capacity is in use. */
static void thin_to(struct world *w, double part)
{
	for (unsigned i = 0; fill_now(w) > part && w->held; i++) {
		uint64_t lba = prng_below(&w->rng, w->blocks);
		uint64_t n = 1 + prng_below(&w->rng, of_singles(w) ? 4 : 64);

		discard(w, lba, n < w->blocks - lba ? n : w->blocks - lba);
		if (i % 32 == 0)
			flush(w);
	}
	flush(w);
}

/* One block of each `of` stays. */
static void leave_one_in(struct world *w, uint64_t of)
{
	for (uint64_t lba = 0; lba + of <= w->blocks; lba += of) {
		uint64_t stays = prng_below(&w->rng, of);

		if (stays)
			discard(w, lba, stays);
		if (stays + 1 < of)
			discard(w, lba + stays + 1, of - stays - 1);
	}
	flush(w);
}

static void run_one(const struct geometry *g, enum mix mix, uint64_t seed)
{
	static const double fills[] = {0.99, 0.97, 0.94, 0.9, 0.8, 0.65, 0.5};
	struct world w;
	struct sv_status s;

	world_make(&w, g, mix, seed);
	fill_up(&w);
	s = status_of(&w);
	print_message("%s, %s: %" PRIu64 " KiB of guest data in %" PRIu64 " KiB\n", g->name,
		      mix_names[mix], w.held * BLOCK / KIB, s.capacity_bytes / KIB);
	verify(&w);
	churn(&w, 0.2);
	for (size_t i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
		thin_to(&w, fills[i]);
		churn(&w, 1);
		if (i % 3 == 1) {
			close_store(&w);
			open_store(&w);
		}
	}
	verify(&w);
	fill_up(&w);
	leave_one_in(&w, 16);
	churn(&w, 0.5);
	fill_up(&w);
	leave_one_in(&w, g->segment_bytes / BLOCK);
	fill_up(&w);
	verify(&w);
	churn(&w, 1);
	s = status_of(&w);
	print_message("  %.1f bytes written for each of the guest's, %" PRIu64
		      " segments cleaned\n",
		      (double)s.ledger.stick_written_bytes / (double)s.ledger.guest_written_bytes,
		      s.ledger.segments_cleaned);
	verify(&w);
	discard(&w, 0, w.blocks);
	flush(&w);
	fill_up(&w);
	close_store(&w);
	open_store(&w);
	verify(&w);
	world_free(&w);
}

static uint64_t seed_of(int round, int geometry, int mix)
{
	return only.seed ? only.seed : (uint64_t)(round * 100 + geometry * 10 + mix + 1);
}

/* The default tier takes a part of them; tiny units fill a large place slowly. */
static bool chosen(int geometry, int mix)
{
	static const int few[][2] = {{1, MIX_RAW_SINGLE}, {1, MIX_PACKED_RUNS}, {2, MIX_ALL}};

	if (only.geometry >= 0 || only.mix >= 0)
		return (only.geometry < 0 || only.geometry == geometry) &&
		       (only.mix < 0 || only.mix == mix);
	if (only.all || geometry == 0)
		return mix != MIX_TINY || geometry == 0;
	for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++)
		if (few[i][0] == geometry && few[i][1] == mix)
			return true;
	return false;
}

static void every_fill(void **state)
{
	int count = (int)(sizeof(geometries) / sizeof(geometries[0]));

	(void)state;
	for (int g = 0; g < count; g++)
		for (int m = 0; m < MIXES; m++)
			for (int i = 0; i < only.rounds; i++)
				if (chosen(g, m))
					run_one(&geometries[g], (enum mix)m, seed_of(i, g, m));
}

/* ---- the guest's reserve ---- */

/* Writes blocks that hold nothing yet until it is refused; how many went. */
static uint64_t write_new(struct world *w, uint64_t most)
{
	uint64_t n = 0;

	for (uint64_t lba = 0; lba < w->blocks && n < most; lba++)
		if (content_of(w->version[lba]) == ZERO) {
			if (!write_run(w, lba, 1))
				break;
			n++;
		}
	return n;
}

static void discard_some(struct world *w, uint64_t bytes)
{
	for (uint64_t lba = 0; lba < w->blocks && bytes >= BLOCK; lba++)
		if (content_of(w->version[lba]) != ZERO) {
			discard(w, lba, 1);
			bytes -= BLOCK;
		}
	flush(w);
}

static void grace(void **state)
{
	struct world w;
	struct sv_status full, s;
	uint64_t got;

	(void)state;
	world_make(&w, &geometries[1], MIX_RAW_SINGLE, 5);
	fill_up(&w);
	full = status_of(&w);
	assert_int_equal(full.state, SV_FULL);
	assert_false(full.grace);
	assert_in_range(full.grace_bytes, full.capacity_bytes / 16, full.capacity_bytes / 15);
	assert_int_equal(write_new(&w, 1), 0);

	/* Released: so much more can be written, and no more. */
	assert_int_equal(sv_store_grace(w.st, true), 0);
	s = status_of(&w);
	assert_true(s.grace);
	assert_int_equal(s.state, SV_OK);
	assert_int_equal(s.capacity_bytes, full.capacity_bytes + full.grace_bytes);
	got = write_new(&w, UINT64_MAX) * BLOCK;
	assert_in_range(got, full.grace_bytes / 4 * 3, full.grace_bytes + 8 * BLOCK);
	assert_int_equal(status_of(&w).state, SV_FULL);
	verify(&w);

	/* A little room does not take it back, or the guest would stop again at once. */
	discard_some(&w, full.grace_bytes);
	assert_true(status_of(&w).grace);
	assert_int_equal(status_of(&w).state, SV_OK);
	discard_some(&w, full.grace_bytes / 2);
	assert_false(status_of(&w).grace);
	assert_int_equal(status_of(&w).state, SV_OK);
	assert_int_equal(status_of(&w).capacity_bytes, full.capacity_bytes);
	assert_true(write_new(&w, UINT64_MAX) > 0);
	assert_int_equal(status_of(&w).state, SV_FULL);

	/* Taken back by hand, and it does not outlive the session. */
	assert_int_equal(sv_store_grace(w.st, true), 0);
	assert_true(write_new(&w, 8) == 8);
	assert_int_equal(sv_store_grace(w.st, false), 0);
	assert_int_equal(write_new(&w, 1), 0);
	assert_int_equal(sv_store_grace(w.st, true), 0);
	close_store(&w);
	open_store(&w);
	assert_false(status_of(&w).grace);
	assert_int_equal(write_new(&w, 1), 0);
	verify(&w);
	world_free(&w);
}

/* ---- others on the same file system ---- */

static void others_take_and_give(void **state)
{
	static const struct geometry others = {
		"others", 256 * KIB, 16 * KIB, 512 * KIB, 160 * MIB, 512 * KIB, MIB};
	struct world w;
	uint64_t before;

	(void)state;
	taken_at_first = 10 * MIB;
	world_make(&w, &others, MIX_RAW_SINGLE, 6);
	taken_at_first = 0;
	write_new(&w, 1000);
	flush(&w);
	w.taken_bytes = 60 * MIB; /* while the store is open: it had counted on these */
	fill_up(&w);
	assert_int_equal(status_of(&w).state, SV_FULL);
	before = w.held;
	verify(&w);
	w.taken_bytes = 10 * MIB;
	write_new(&w, UINT64_MAX);
	print_message("%" PRIu64 " KiB, and %" PRIu64 " once there was room\n",
		      before * BLOCK / KIB, w.held * BLOCK / KIB);
	assert_true(w.held > before + before / 4);
	w.taken_bytes = 0;
	assert_int_equal(sv_store_grace(w.st, false), 0); /* asks as well */
	assert_int_equal(status_of(&w).state, SV_OK);
	fill_up(&w);
	verify(&w);
	churn(&w, 1);
	verify(&w);
	world_free(&w);
}

/* ---- a thousand sessions ---- */

static void sessions(const struct geometry *g, unsigned count, bool clean)
{
	struct world w;
	struct sv_status s;

	world_make(&w, g, MIX_ALL, 8);
	fill_up(&w);
	for (unsigned i = 0; i < count; i++) {
		if (clean) {
			close_store(&w);
		} else {
			sv_store_abandon(w.st);
			w.st = NULL;
		}
		open_store(&w);
		if (i % 100 == 0) {
			verify(&w);
			write_new(&w, 1);
		}
	}
	s = status_of(&w);
	print_message("%s: %u sessions that end %s, %" PRIu64 " of %" PRIu64
		      " segments free, %" PRIu64 " MiB written\n",
		      g->name, count, clean ? "well" : "without a close", s.free_segments,
		      s.segments, s.ledger.stick_written_bytes / MIB);
	verify(&w);
	churn(&w, 0.1);
	discard_some(&w, 2 * MIB);
	assert_true(write_new(&w, 64) > 0);
	churn(&w, 0.5);
	verify(&w);
	world_free(&w);
}

static void a_thousand_sessions(void **state)
{
	(void)state;
	sessions(&geometries[0], 1000, true);
	sessions(&geometries[0], 300, false);
	sessions(&geometries[1], 200, true);
	sessions(&geometries[1], 100, false);
}

/* ---- how it slows down ---- */

#define STICK_BYTES (256ull * MIB)
#define STEPS 12

/* MB a second on the virtual clock for random blocks and a flush behind every sixteen. */
static double rate_at(struct world *w, struct fsim_stick *stick, double *ret_longest_s)
{
	uint64_t bytes = 0, longest_ns = 0, before_ns;
	struct fsim_counters c;

	fsim_stick_reset_counters(stick);
	for (unsigned i = 0; i < 512; i++) {
		fsim_stick_counters(stick, &c);
		before_ns = c.busy_ns;
		for (unsigned k = 0; k < 16; k++) {
			uint64_t n = 0;

			if (overwrite_some(w, &n))
				bytes += n;
		}
		flush(w);
		fsim_stick_counters(stick, &c);
		if (c.busy_ns - before_ns > longest_ns)
			longest_ns = c.busy_ns - before_ns;
	}
	*ret_longest_s = (double)longest_ns / 1e9;
	return (double)bytes / 1e6 / ((double)c.busy_ns / 1e9);
}

static void slows_down_smoothly(void **state)
{
	static const double fills[STEPS] = {0.5,  0.6,	0.7,  0.8,  0.85, 0.9,
					    0.93, 0.95, 0.97, 0.98, 0.99, 0.995};
	const struct fsim_config config = {
		.profile = fsim_profile_find("P3"), .size_bytes = STICK_BYTES, .seed = 3};
	static const struct geometry of_stick = {
		.name = "stick", .place_bytes = STICK_BYTES, .batch_bytes = 4 * MIB};
	struct sv_format_params p = {.size_bytes = 2 * STICK_BYTES,
				     .segment_bytes = 4 * MIB,
				     .lie_window_bytes = 2 * MIB,
				     .checkpoint_bytes = 4 * MIB};
	struct fsim_stick *stick;
	struct world w = {.g = &of_stick, .mix = MIX_RAW_SINGLE, .seed = 9, .rng = {9}};
	double rate = 0, longest;

	(void)state;
	assert_int_equal(fsim_stick_new(&config, &stick), 0);
	assert_int_equal(fsim_dev_open(stick, true, &w.ram), 0);
	world_memory(&w, p.size_bytes);
	assert_int_equal(sv_store_format(w.ram, &p), 0);
	open_store(&w);
	for (size_t i = 0; i < STEPS; i++) {
		double was = rate;

		while (fill_now(&w) < fills[i] &&
		       write_run(&w, prng_below(&w.rng, w.blocks - 8), 8))
			;
		churn(&w, 1); /* until its garbage lies as it does in the long run */
		rate = rate_at(&w, stick, &longest);
		print_message("%5.1f %% full: %.2f MB/s, longest write and flush %.2f s\n",
			      100 * fills[i], rate, longest);
		if (i > 0 && rate < was / 2)
			FAIL(&w, "a cliff at %.1f %%: %.2f MB/s after %.2f", 100 * fills[i], rate,
			     was);
		if (longest > 10)
			FAIL(&w, "a flush took %.1f s", longest);
	}
	verify(&w);
	world_free(&w);
	fsim_stick_free(stick);
}

static void with_the_keeper(void **state)
{
	(void)state;
	threads = true;
	run_one(&geometries[0], MIX_ALL, 77);
	run_one(&geometries[1], MIX_RAW_SINGLE, 78);
	threads = false;
}

static void take_option(const char *arg)
{
	if (arg[0] != '-')
		filter = arg;
	if (strcmp(arg, "--all") == 0)
		only.all = true;
	sscanf(arg, "--geometry=%d", &only.geometry);
	sscanf(arg, "--mix=%d", &only.mix);
	sscanf(arg, "--rounds=%d", &only.rounds);
	sscanf(arg, "--seed=%" SCNu64, &only.seed);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_fill),
		cmocka_unit_test(with_the_keeper),
		cmocka_unit_test(grace),
		cmocka_unit_test(others_take_and_give),
		cmocka_unit_test(a_thousand_sessions),
		cmocka_unit_test(slows_down_smoothly),
	};

	for (int i = 1; i < argc; i++)
		take_option(argv[i]);
	cmocka_set_test_filter(only.geometry >= 0 || only.mix >= 0 ? "every_fill" : filter);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
