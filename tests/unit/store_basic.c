/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_basic.c: a store against a plain array: random operations, re-opening, cleaning, full. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_pass.h"
#include "dev_ram.h"
#include "stickvm/store.h"

#define MIB (1u << 20)

struct geometry {
	uint32_t segment_bytes, page_bytes;
	uint64_t place_bytes, disk_bytes, lie_window_bytes, checkpoint_bytes;
};

static const struct geometry geometries[] = {
	{64u << 10, 4u << 10, 12 * MIB, 4 * MIB, 128u << 10, 256u << 10},
	{256u << 10, 16u << 10, 48 * MIB, 16 * MIB, 512u << 10, 1 * MIB},
	{MIB, 4u << 10, 64 * MIB, 24 * MIB, 1, 2 * MIB},
};

struct world {
	struct sv_dev *dev; /* survives the store: see keep_close */
	struct sv_store *st;
	uint8_t *model;
	uint64_t size;
	uint64_t seed;
	bool threads;
};

static uint64_t rnd(struct world *w)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed;
}

static void reopen(struct world *w)
{
	struct sv_open_options o = {
		.manual = !w->threads, .batch_bytes = 512u << 10, .host = "test"};
	int r = sv_store_open(dev_pass_keep(w->dev), &o, &w->st);

	if (r < 0)
		fail_msg("open: %s: %s", strerror(-r), sv_store_why());
}

static void world_make(struct world *w, const struct geometry *g, uint64_t seed)
{
	struct sv_geometry geo = {
		.size_bytes = 2 * MIB, .max_bytes = g->place_bytes, .sector_bytes = 512};
	struct sv_format_params p = {.size_bytes = g->disk_bytes,
				     .segment_bytes = g->segment_bytes,
				     .page_bytes = g->page_bytes,
				     .lie_window_bytes = g->lie_window_bytes,
				     .checkpoint_bytes = g->checkpoint_bytes};

	*w = (struct world){.size = g->disk_bytes, .seed = seed};
	w->model = calloc(1, w->size);
	assert_non_null(w->model);
	assert_int_equal(sv_dev_ram_create(&geo, &w->dev), 0);
	assert_int_equal(sv_store_format(w->dev, &p), 0);
	reopen(w);
}

static void world_free(struct world *w)
{
	assert_int_equal(sv_store_close(w->st), 0);
	sv_dev_close(w->dev);
	free(w->model);
}

static void fill(struct world *w, uint8_t *buf, size_t len)
{
	unsigned kind = rnd(w) % 4;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = kind == 0 ? 0 : kind == 1 ? i / 512 : rnd(w);

		memcpy(buf + i, &v, 8);
	}
}

static void finding(void *ctx, const struct sv_finding *f)
{
	(void)ctx;
	fail_msg("check: %s at %llu+%llu, place %llx", f->what, (unsigned long long)f->off_bytes,
		 (unsigned long long)f->len_bytes, (unsigned long long)f->place_bytes);
}

static void verify(struct world *w)
{
	uint8_t *buf = malloc(MIB);

	if (!w->threads)
		assert_int_equal(sv_store_check(w->st, false, finding, NULL, NULL), 0);
	for (uint64_t off = 0; off < w->size; off += MIB) {
		size_t len = w->size - off < MIB ? w->size - off : MIB;
		int r = sv_store_read(w->st, buf, len, off);

		if (r < 0)
			fail_msg("read at %llu: %s", (unsigned long long)off, strerror(-r));
		if (memcmp(buf, w->model + off, len) != 0)
			for (size_t i = 0; i < len; i += 512)
				if (memcmp(buf + i, w->model + off + i, 512) != 0)
					fail_msg("differs at %llu", (unsigned long long)(off + i));
	}
	free(buf);
}

static void one_write(struct world *w, uint8_t *buf, uint64_t most)
{
	uint64_t off = rnd(w) % (w->size / 512) * 512;
	uint64_t len = (1 + rnd(w) % (most / 512)) * 512;
	int r;

	if (rnd(w) % 2) {
		off &= ~UINT64_C(4095);
		len = (len + 4095) & ~UINT64_C(4095);
	}
	if (len > w->size - off)
		len = w->size - off;
	fill(w, buf, len);
	r = sv_store_write(w->st, buf, len, off);
	if (r < 0)
		fail_msg("write of %llu at %llu: %s", (unsigned long long)len,
			 (unsigned long long)off, strerror(-r));
	memcpy(w->model + off, buf, len);
}

static void one_discard(struct world *w)
{
	uint64_t off = rnd(w) % (w->size / 512) * 512;
	uint64_t len = (1 + rnd(w) % 512) * 512;

	if (rnd(w) % 50 == 0)
		off = 0, len = w->size / 2;
	if (len > w->size - off)
		len = w->size - off;
	assert_int_equal(sv_store_discard(w->st, len, off), 0);
	memset(w->model + off, 0, len);
}

static void run_random(const struct geometry *g, uint64_t seed, unsigned steps, bool threads)
{
	uint8_t *buf = malloc(MIB);
	struct world w;
	unsigned cleaned;

	world_make(&w, g, seed);
	w.threads = threads;
	for (unsigned i = 0; i < steps; i++) {
		unsigned what = rnd(&w) % 200;

		if (what < 150)
			one_write(&w, buf, what < 5 ? MIB / 2 : 16384);
		else if (what < 170)
			one_discard(&w);
		else if (what < 190)
			assert_int_equal(sv_store_flush(w.st), 0);
		else if (what < 192)
			assert_int_equal(sv_store_checkpoint(w.st), 0);
		else if (what < 194)
			assert_int_equal(sv_store_clean(w.st, 2, &cleaned), 0);
		else if (what < 196) {
			assert_int_equal(sv_store_close(w.st), 0);
			reopen(&w);
		} else if (what < 197) {
			assert_int_equal(sv_store_flush(w.st), 0);
			sv_store_abandon(w.st);
			reopen(&w);
		}
		if (i % 500 == 499)
			verify(&w);
	}
	verify(&w);
	world_free(&w);
	free(buf);
}

static void random_operations(void **state)
{
	(void)state;
	for (size_t g = 0; g < sizeof(geometries) / sizeof(geometries[0]); g++)
		for (uint64_t seed = 1; seed <= 3; seed++) {
			print_message("geometry %zu seed %llu\n", g, (unsigned long long)seed);
			run_random(&geometries[g], seed * 7919, 3000, seed == 3);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
