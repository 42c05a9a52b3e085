/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_sizes.c: the smallest and the largest disk: thin, in bounded memory, whole after a cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_pass.h"
#include "dev_ram.h"
#include "prng.h"
#include "stickvm/store.h"

#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)
#define BLOCK 4096u
#define BLOCKS 3000u
#define MAP_RAM_BYTES (2 * MIB)

struct big {
	struct sv_dev *dev;
	struct sv_store *store;
	uint64_t size_bytes;
	struct prng rng;
	uint64_t at[BLOCKS]; /* where blocks were written; their content is made of that */
	unsigned count;
};

static void must_open(struct big *b)
{
	struct sv_open_options o = {.manual = true,
				    .batch_bytes = (uint32_t)MIB,
				    .map_ram_bytes = MAP_RAM_BYTES,
				    .host = "test"};
	int r = sv_store_open(dev_pass_keep(b->dev), &o, &b->store);

	if (r < 0)
		fail_msg("open: %s: %s", strerror(-r), sv_store_why());
}

static void content(uint8_t *buf, uint64_t off_bytes)
{
	struct prng rng = {.state = off_bytes + 1};

	prng_fill(&rng, buf, BLOCK);
}

static void put(struct big *b, uint64_t off_bytes)
{
	uint8_t buf[BLOCK];

	content(buf, off_bytes);
	assert_int_equal(sv_store_write(b->store, buf, BLOCK, off_bytes), 0);
	assert_true(b->count < BLOCKS);
	b->at[b->count++] = off_bytes;
}

/* First, last, the edges of every level of the map, and anywhere. */
static void fill(struct big *b)
{
	uint64_t blocks = b->size_bytes / BLOCK;

	put(b, 0);
	put(b, b->size_bytes - BLOCK);
	for (uint64_t edge = 64; edge < blocks; edge *= 64) {
		put(b, (edge - 1) * BLOCK);
		put(b, edge * BLOCK);
	}
	while (b->count < (blocks < BLOCKS ? blocks / 2 : BLOCKS))
		put(b, prng_below(&b->rng, blocks) * BLOCK);
}

static void verify(struct big *b)
{
	uint8_t want[BLOCK], got[BLOCK];
	struct sv_status st;

	for (unsigned i = 0; i < b->count; i++) {
		content(want, b->at[i]);
		assert_int_equal(sv_store_read(b->store, got, BLOCK, b->at[i]), 0);
		assert_memory_equal(got, want, BLOCK);
	}
	sv_store_status(b->store, &st);
	assert_true(st.mapped_bytes <= (uint64_t)b->count * BLOCK);
	assert_true(st.map_ram_bytes <= 2 * MAP_RAM_BYTES);
}

/* Data is found only where it is, by whoever copies the disk. */
static void seek_holes(struct big *b)
{
	uint64_t off = 0, runs = 0;

	while (sv_store_seek(b->store, SV_SEEK_DATA, off, &off) == 0) {
		runs++;
		assert_int_equal(sv_store_seek(b->store, SV_SEEK_HOLE, off, &off), 0);
		if (off >= b->size_bytes)
			break;
	}
	assert_in_range(runs, 1, b->count);
}

static void one_size(uint64_t size_bytes, bool closed)
{
	struct sv_geometry geo = {
		.size_bytes = 2 * MIB, .max_bytes = 96 * MIB, .sector_bytes = 512};
	struct sv_format_params p = {.size_bytes = size_bytes,
				     .segment_bytes = (uint32_t)MIB,
				     .page_bytes = 4096,
				     .lie_window_bytes = MIB,
				     .checkpoint_bytes = 2 * MIB};
	struct big b = {.size_bytes = size_bytes, .rng = {.state = size_bytes}};
	uint8_t buf[BLOCK];

	assert_int_equal(sv_dev_ram_create(&geo, &b.dev), 0);
	assert_int_equal(sv_store_format(b.dev, &p), 0);
	must_open(&b);
	fill(&b);
	assert_int_equal(sv_store_flush(b.store), 0);
	verify(&b);
	if (closed)
		assert_int_equal(sv_store_close(b.store), 0);
	else
		sv_store_abandon(b.store);
	must_open(&b);
	verify(&b);
	seek_holes(&b);
	assert_int_equal(sv_store_discard(b.store, size_bytes, 0), 0);
	assert_int_equal(sv_store_flush(b.store), 0);
	for (unsigned i = 0; i < b.count; i++) {
		assert_int_equal(sv_store_read(b.store, buf, BLOCK, b.at[i]), 0);
		assert_int_equal(buf[0] | memcmp(buf, buf + 1, BLOCK - 1), 0);
	}
	assert_int_equal(sv_store_close(b.store), 0);
	sv_dev_close(b.dev);
}

static void every_size(void **state)
{
	static const uint64_t sizes[] = {MIB, 64 * MIB + 512 * 8, 1025 * MIB, 2 * TIB, 16 * TIB};

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		one_size(sizes[i], true);
		one_size(sizes[i], false);
	}
}

static void too_large(void **state)
{
	struct sv_geometry geo = {
		.size_bytes = 2 * MIB, .max_bytes = 96 * MIB, .sector_bytes = 512};
	struct sv_format_params p = {.size_bytes = SV_MAX_DISK_BYTES + 512};
	struct sv_dev *dev;

	(void)state;
	assert_int_equal(sv_dev_ram_create(&geo, &dev), 0);
	assert_true(sv_store_format(dev, &p) < 0);
	p.size_bytes = 0;
	assert_true(sv_store_format(dev, &p) < 0);
	sv_dev_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size),
		cmocka_unit_test(too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
