/* SPDX-License-Identifier: GPL-2.0-or-later */
/* full_store.c: fills, thins and verifies a small store; knows when it may say that it is full. */
#include "full_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dev_pass.h"
#include "dev_ram.h"

const struct geometry full_geometries[] = {
	{"64K/4K", 64 * KIB, 4 * KIB, 256 * KIB, 12 * MIB, 128 * KIB, 256 * KIB},
	{"256K/16K", 256 * KIB, 16 * KIB, 512 * KIB, 40 * MIB, 512 * KIB, MIB},
	{"many small", 64 * KIB, 4 * KIB, 256 * KIB, 96 * MIB, 64 * KIB, 512 * KIB},
	{"1M/16K", MIB, 16 * KIB, MIB, 160 * MIB, MIB, 2 * MIB},
};
const unsigned full_geometry_count = sizeof(full_geometries) / sizeof(full_geometries[0]);

const char *const full_mix_names[MIXES] = {"raw runs",	      "raw single blocks",
					   "compressed runs", "compressed single blocks",
					   "tiny units",      "all together"};

bool full_threads;
uint64_t full_taken_bytes;

enum content full_content(uint32_t version)
{
	return version ? (enum content)(version % CONTENTS) : ZERO;
}

/* What a block of this version holds. */
static void content(uint8_t *block, uint64_t lba, uint32_t version)
{
	static const size_t random_bytes[CONTENTS] = {BLOCK, BLOCK / 2, BLOCK / 4, 16, 0};
	struct prng rng = {.state = lba << 32 | version};

	memset(block, 0, BLOCK);
	prng_fill(&rng, block, random_bytes[full_content(version)]);
}

static uint32_t pick_version(struct full *w)
{
	static const enum content of_mix[MIXES] = {RAW, RAW, QUARTER, HALF, TINY, RAW};
	enum content c = of_mix[w->mix];

	if (w->mix == MIX_ALL || prng_one_in(&w->rng, 50))
		c = (enum content)prng_below(&w->rng, CONTENTS);
	if (w->mix == MIX_PACKED_RUNS && prng_one_in(&w->rng, 8))
		c = HALF;
	return (uint32_t)(prng_below(&w->rng, 100000000) * CONTENTS + c + CONTENTS);
}

/* ---- what the store may use ---- */

struct sv_status full_status(struct full *w)
{
	struct sv_status status;

	sv_store_status(w->st, &status);
	return status;
}

/* What the model's blocks need at worst: each a raw unit; leaves as the blocks lie. */
static uint64_t worst_need(const struct full *w)
{
	uint64_t pages = 4, leaf = UINT64_MAX;

	for (uint64_t i = 0; i < w->blocks; i++)
		if (full_content(w->version[i]) != ZERO && i / 64 != leaf) {
			leaf = i / 64;
			pages++;
		}
	return w->held * FULL_UNIT_BYTES + (pages + pages / 32) * FULL_PAGE_BYTES;
}

double full_level(struct full *w)
{
	struct sv_status status = full_status(w);

	return (double)status.used_bytes / (double)status.capacity_bytes;
}

static void must_be_full(struct full *w, const char *when)
{
	struct sv_status s = full_status(w);
	uint64_t need = worst_need(w);

	/* A block more, and what one leaf and its parents take. */
	if (need + 4 * FULL_UNIT_BYTES + 8 * FULL_PAGE_BYTES + s.segments * 16 < s.capacity_bytes)
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

static struct bound start(struct full *w)
{
	return (struct bound){atomic_load(&w->counts.write_bytes)};
}

static void within(struct full *w, struct bound b, const char *what)
{
	uint64_t wrote = atomic_load(&w->counts.write_bytes) - b.write_bytes;

	if (wrote > 3 * w->g->place_bytes)
		FAIL(w, "%s wrote %" PRIu64 " KiB in one call, the place has %" PRIu64, what,
		     wrote / KIB, w->g->place_bytes / KIB);
}

static void set_version(struct full *w, uint64_t lba, uint32_t version)
{
	w->held -= full_content(w->version[lba]) != ZERO;
	w->version[lba] = version;
	w->held += full_content(version) != ZERO;
}

/* One block at a time reaches the store in one call; false: ENOSPC, of which the oracle approves.
 * A call that fails half-way has written a beginning: read back which. */
bool full_write(struct full *w, uint64_t lba, uint64_t n)
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

void full_discard(struct full *w, uint64_t lba, uint64_t n)
{
	struct bound b = start(w);
	int r = sv_store_discard(w->st, n * BLOCK, lba * BLOCK);

	if (r < 0)
		FAIL(w, "discard: %s", strerror(-r));
	within(w, b, "a discard");
	for (uint64_t i = 0; i < n; i++)
		set_version(w, lba + i, 0);
}

void full_flush(struct full *w)
{
	struct bound b = start(w);
	int r = sv_store_flush(w->st);

	if (r < 0) {
		struct sv_status s = full_status(w);

		FAIL(w,
		     "flush: %s: %" PRIu64 " KiB used of %" PRIu64 ", %" PRIu64 " of %" PRIu64
		     " segments free",
		     strerror(-r), s.used_bytes / KIB, s.capacity_bytes / KIB, s.free_segments,
		     s.segments);
	}
	within(w, b, "a flush");
}

void full_close(struct full *w)
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
	FAIL((struct full *)ctx, "check: %s at %" PRIu64 ", place %" PRIx64, f->what, f->off_bytes,
	     f->place_bytes);
}

void full_verify(struct full *w)
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
	struct dev_pass pass;
	const struct full *w;
};

/* Without what others have taken; said to be so much more than that. */
static int geometry_saying(struct sv_dev *d, struct sv_geometry *ret, uint64_t more_bytes)
{
	const struct kept *k = (const struct kept *)d;
	int r = dev_pass_geometry(d, ret);

	ret->max_bytes = ret->max_bytes - k->w->taken_bytes + more_bytes;
	if (ret->max_bytes < ret->size_bytes)
		ret->max_bytes = ret->size_bytes;
	return r;
}

static int kept_geometry(struct sv_dev *d, struct sv_geometry *ret)
{
	return geometry_saying(d, ret, ((const struct kept *)d)->w->promised_bytes);
}

static int kept_grow(struct sv_dev *d, uint64_t size)
{
	struct sv_geometry geo;

	assert_int_equal(geometry_saying(d, &geo, 0), 0);
	return size > geo.max_bytes ? -ENOSPC : dev_pass_grow(d, size);
}

static const struct sv_dev_ops kept_ops = {
	.read = dev_pass_read,
	.write = dev_pass_write,
	.flush = dev_pass_flush,
	.discard = dev_pass_discard,
	.grow = kept_grow,
	.geometry = kept_geometry,
	.close = dev_pass_leave,
};

static struct sv_dev *keep(struct sv_dev *under, const struct full *w)
{
	struct kept *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	k->pass = (struct dev_pass){{&kept_ops, "kept"}, under};
	k->w = w;
	return &k->pass.dev;
}

void full_open(struct full *w)
{
	struct sv_open_options o = {.manual = !w->threads,
				    .batch_bytes = w->g->batch_bytes,
				    .map_ram_bytes = 256 * KIB,
				    .seed = prng_next(&w->rng) | 1,
				    .host = "full"};
	struct bound b = start(w);
	int r = sv_store_open(keep(w->ram, w), &o, &w->st);

	if (r < 0)
		FAIL(w, "open: %s: %s", strerror(-r), sv_store_why());
	within(w, b, "open");
}

void full_memory(struct full *w, uint64_t disk_bytes)
{
	w->blocks = disk_bytes / BLOCK;
	w->version = calloc(w->blocks, sizeof(*w->version));
	w->buf = aligned_alloc(4096, (size_t)RUN_BLOCKS * BLOCK);
	w->want = aligned_alloc(4096, BLOCK);
	assert_true(w->version && w->buf && w->want);
}

void full_make(struct full *w, const struct geometry *g, enum mix mix, uint64_t seed)
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

	*w = (struct full){.g = g, .mix = mix, .seed = seed, .rng = {seed}};
	w->threads = full_threads;
	w->taken_bytes = full_taken_bytes;
	full_memory(w, p.size_bytes);
	assert_int_equal(sv_dev_ram_create(&geo, &ram), 0);
	w->ram = dev_count_create(ram, &w->counts);
	assert_int_equal(sv_store_format(w->ram, &p), 0);
	full_open(w);
}

void full_free(struct full *w)
{
	if (w->st)
		full_close(w);
	sv_dev_close(w->ram);
	free(w->version);
	free(w->buf);
	free(w->want);
}

/* ---- the property ---- */

static bool of_singles(const struct full *w)
{
	return w->mix == MIX_RAW_SINGLE || w->mix == MIX_PACKED_SINGLE || w->mix == MIX_TINY ||
	       (w->mix == MIX_ALL && prng_below(&((struct full *)w)->rng, 2));
}

/* Writes somewhere, in the way of the mix; false: ENOSPC. */
static bool write_some(struct full *w, uint64_t *ret_bytes)
{
	uint64_t n = of_singles(w) ? 1 : 1 + prng_below(&w->rng, RUN_BLOCKS - 1);
	uint64_t lba = prng_below(&w->rng, w->blocks);

	if (n > w->blocks - lba)
		n = w->blocks - lba;
	*ret_bytes = n * BLOCK;
	return full_write(w, lba, n);
}

/* Overwrites something that holds data. */
bool full_overwrite(struct full *w, uint64_t *ret_bytes)
{
	uint64_t lba = prng_below(&w->rng, w->blocks), n = 0;
	uint64_t most = of_singles(w) ? 1 : 1 + prng_below(&w->rng, RUN_BLOCKS - 1);

	for (uint64_t i = 0; i < w->blocks && full_content(w->version[lba]) == ZERO; i++)
		lba = (lba + 1) % w->blocks;
	while (n < most && lba + n < w->blocks && full_content(w->version[lba + n]) != ZERO)
		n++;
	*ret_bytes = n * BLOCK;
	return n == 0 || full_write(w, lba, n);
}

void full_fill(struct full *w)
{
	uint64_t bytes;

	for (unsigned i = 0; write_some(w, &bytes); i++)
		if (prng_one_in(&w->rng, 40))
			full_flush(w);
	full_flush(w);
}

/* Overwrites for about one capacity. */
void full_churn(struct full *w, double part)
{
	struct sv_status s = full_status(w);
	uint64_t want = (uint64_t)((double)s.capacity_bytes * part), did = 0, bytes;

	while (did < want) {
		if (!full_overwrite(w, &bytes))
			break; /* it is full, as must_be_full found */
		did += bytes;
		if (prng_one_in(&w->rng, 30))
			full_flush(w);
	}
	full_flush(w);
}

/* Discards at random until no more than this part of the capacity is in use. */
void full_thin_to(struct full *w, double part)
{
	for (unsigned i = 0; full_level(w) > part && w->held; i++) {
		uint64_t lba = prng_below(&w->rng, w->blocks);
		uint64_t n = 1 + prng_below(&w->rng, of_singles(w) ? 4 : 64);

		full_discard(w, lba, n < w->blocks - lba ? n : w->blocks - lba);
		if (i % 32 == 0)
			full_flush(w);
	}
	full_flush(w);
}

/* One block of each `of` stays. */
void full_leave_one_in(struct full *w, uint64_t of)
{
	for (uint64_t lba = 0; lba + of <= w->blocks; lba += of) {
		uint64_t stays = prng_below(&w->rng, of);

		if (stays)
			full_discard(w, lba, stays);
		if (stays + 1 < of)
			full_discard(w, lba + stays + 1, of - stays - 1);
	}
	full_flush(w);
}

/* Writes blocks that hold nothing yet until it is refused; how many went. */
uint64_t full_write_new(struct full *w, uint64_t most)
{
	uint64_t n = 0;

	for (uint64_t lba = 0; lba < w->blocks && n < most; lba++)
		if (full_content(w->version[lba]) == ZERO) {
			if (!full_write(w, lba, 1))
				break;
			n++;
		}
	return n;
}

void full_discard_bytes(struct full *w, uint64_t bytes)
{
	for (uint64_t lba = 0; lba < w->blocks && bytes >= BLOCK; lba++)
		if (full_content(w->version[lba]) != ZERO) {
			full_discard(w, lba, 1);
			bytes -= BLOCK;
		}
	full_flush(w);
}
