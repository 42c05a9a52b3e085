/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_born.c: where blocks that are born apart may lie (born.c, Z4, Z6, Z8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_ram.h"
#include "prng.h"
#include "store_impl.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define LIE_WINDOW_BYTES (2 * MIB)
#define SEGMENT_BYTES (1u << 20)
#define PAGE_BYTES 4096u

static struct prng rng = {.state = 11};

static struct sv_dev *make(const struct sv_geometry *geo)
{
	struct sv_format_params params = {.size_bytes = 16 * MIB,
					  .segment_bytes = SEGMENT_BYTES,
					  .page_bytes = PAGE_BYTES,
					  .lie_window_bytes = LIE_WINDOW_BYTES,
					  .checkpoint_bytes = 16 * MIB};
	struct sv_dev *dev;

	assert_int_equal(sv_dev_ram_create(geo, &dev), 0);
	assert_int_equal(sv_store_format(dev, &params), 0);
	return dev;
}

static struct sv_store *open_as(struct sv_dev *dev, enum sv_births births)
{
	struct sv_open_options options = {
		.manual = true, .batch_bytes = MIB, .seed = 5, .births = births};
	struct sv_store *st;

	assert_int_equal(sv_store_open(dev, &options, &st), 0);
	return st;
}

/* Blocks that SV_BIRTHS_TRIED bears: 2 and 3 of each four; or leaves in the chain: 0 and 1. */
static void write_pairs(struct sv_store *st, unsigned pairs, bool born)
{
	uint8_t pair[2 * SV_BLOCK_BYTES];

	for (unsigned i = 0; i < pairs; i++) {
		uint64_t lba = prng_below(&rng, 512) * 4 + (born ? 2 : 0);

		prng_fill(&rng, pair, sizeof(pair));
		assert_int_equal(sv_store_write(st, pair, sizeof(pair), lba * SV_BLOCK_BYTES), 0);
	}
	assert_int_equal(sv_store_flush(st), 0);
}

/* Until the anchors have the bit, and lie_window bytes lie behind them (Z6). */
static void until_born(struct sv_store *st)
{
	for (unsigned i = 0; i < 40 && !st->apart[0].segment; i++)
		write_pairs(st, 64, true);
	assert_int_not_equal(st->apart[0].segment, 0);
}

/* How far the head apart goes on for one pair born, in its segment. */
static uint64_t step_bytes(struct sv_store *st)
{
	uint64_t from = st->apart[0].offset;
	uint32_t segment = st->apart[0].segment;

	write_pairs(st, 1, true);
	assert_int_equal(st->apart[0].segment, segment);
	return st->apart[0].offset - from;
}

static void in_a_young_part(struct sv_store *st)
{
	while (st->apart[0].offset > SEGMENT_BYTES / 2)
		write_pairs(st, 8, true);
}

/* Z4: a torn write takes up to four pages before it along; none of them may be old. */
static void a_gap_before_births(void **state)
{
	struct sv_geometry geo = {.size_bytes = 64 * MIB};
	struct sv_store *st = open_as(make(&geo), SV_BIRTHS_TRIED);
	uint64_t close;

	(void)state;
	until_born(st);
	in_a_young_part(st);
	close = step_bytes(st);
	assert_int_equal(step_bytes(st), close);
	for (uint64_t at = 0; at <= LIE_WINDOW_BYTES / 2; at += 64 * 2 * SV_BLOCK_BYTES)
		write_pairs(st, 64, false);
	assert_int_equal(step_bytes(st), close + SV_GAP_PAGES * PAGE_BYTES);
	assert_int_equal(step_bytes(st), close);
	assert_int_equal(sv_store_close(st), 0);
}

/* Z6: none before both anchors say so, with lie_window bytes flushed behind them; at once where
 * they did when the store was opened. */
static void the_bit_comes_first(void **state)
{
	struct sv_geometry geo = {.size_bytes = 64 * MIB};
	struct sv_dev *dev = make(&geo);
	struct sv_store *st = open_as(dev, SV_BIRTHS_TRIED);
	uint64_t told_bytes;

	(void)state;
	told_bytes = st->born.from_bytes;
	while (!st->apart[0].segment) {
		told_bytes = st->born.from_bytes;
		write_pairs(st, 16, true);
	}
	assert_true(st->born.told);
	assert_true(st->ledger.stick_written_bytes >= told_bytes);
	assert_int_equal(st->anchor.features.incompat, SV_INCOMPAT_BORN);
	sv_store_abandon(st);
}

/* Z8: where the first flush of a segment that was never written costs the host's file system a
 * commit, nothing is born in one. */
static void not_where_a_first_write_costs(void **state)
{
	struct sv_geometry geo = {.size_bytes = 64 * MIB, .first_write_costs = true};
	struct sv_store *st = open_as(make(&geo), SV_BIRTHS_TRIED);

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		write_pairs(st, 64, true);
	assert_true(st->born.told);
	assert_int_equal(st->apart[0].segment, 0); /* virgins only */
	for (unsigned i = 0; i < 400 && !st->apart[0].segment; i++)
		write_pairs(st, 64, true);
	assert_int_not_equal(st->apart[0].segment, 0); /* one came round */
	assert_false(st->apart[0].virgin);
	assert_int_equal(sv_store_close(st), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gap_before_births),
		cmocka_unit_test(the_bit_comes_first),
		cmocka_unit_test(not_where_a_first_write_costs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
