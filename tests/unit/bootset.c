/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bootset.c: what starts needed: merged over five runs, in order, bounded; its record; settling. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bootset.h"
#include "prng.h"

#define SECOND_MS 1000u

static struct sv_boot_set run_of(const uint64_t *lba, unsigned count)
{
	struct sv_boot_set run = {0};

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(sv_boot_add(&run, lba[i], 1, 1), 0);
	return run;
}

static void merge(struct sv_boot_set *set, const uint64_t *lba, unsigned count)
{
	struct sv_boot_set run = run_of(lba, count);

	assert_int_equal(sv_boot_merge(set, &run), 0);
	sv_boot_free(&run);
}
#define MERGE(set, ...)                                                                            \
	merge(set, (const uint64_t[]){__VA_ARGS__},                                                \
	      sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* Its blocks one by one. */
static unsigned blocks_of(const struct sv_boot_set *set, uint64_t *ret_lba, unsigned most)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < set->count; i++)
		for (uint32_t k = 0; k < set->v[i].blocks && n < most; k++)
			ret_lba[n++] = set->v[i].lba + k;
	return n;
}

static void expect(const struct sv_boot_set *set, const uint64_t *lba, unsigned count)
{
	uint64_t has[64];

	assert_int_equal(set->blocks, count);
	assert_int_equal(blocks_of(set, has, 64), count);
	assert_memory_equal(has, lba, count * sizeof(has[0]));
}
#define EXPECT(set, ...)                                                                           \
	expect(set, (const uint64_t[]){__VA_ARGS__},                                               \
	       sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static uint8_t runs_of(const struct sv_boot_set *set, uint64_t lba)
{
	for (uint32_t i = 0; i < set->count; i++)
		if (lba >= set->v[i].lba && lba < set->v[i].lba + set->v[i].blocks)
			return set->v[i].runs;
	return 0;
}

static void order_is_of_the_last_run(void **state)
{
	struct sv_boot_set set = {0};

	(void)state;
	MERGE(&set, 10, 11, 12, 90, 5);
	EXPECT(&set, 10, 11, 12, 90, 5);
	assert_int_equal(set.count, 3); /* 10 to 12 are one */
	MERGE(&set, 5, 90, 11, 40);
	EXPECT(&set, 5, 90, 11, 40); /* 10 and 12 were needed once of twice */
	assert_int_equal(runs_of(&set, 40), 1);
	assert_int_equal(runs_of(&set, 5), 3);
	assert_int_equal(set.runs, 2);
	sv_boot_free(&set);
}

/* What two older runs needed stands behind what they needed it after. */
static void older_ones_keep_their_turn(void **state)
{
	struct sv_boot_set set = {0};

	(void)state;
	MERGE(&set, 100, 7, 300, 400, 8);
	MERGE(&set, 100, 7, 300, 400, 8);
	MERGE(&set, 400, 100, 300);
	EXPECT(&set, 400, 8, 100, 7, 300);
	sv_boot_free(&set);

	MERGE(&set, 1, 50);
	MERGE(&set, 1, 50);
	MERGE(&set, 50);
	EXPECT(&set, 1, 50); /* first of all */
	sv_boot_free(&set);
}

static void two_of_five_runs(void **state)
{
	struct sv_boot_set set = {0};

	(void)state;
	MERGE(&set, 1, 77);
	MERGE(&set, 1, 77);
	for (unsigned i = 0; i < 3; i++) {
		MERGE(&set, 1);
		EXPECT(&set, 1, 77);
	}
	MERGE(&set, 1); /* the first run is forgotten, the second alone is not enough */
	EXPECT(&set, 1);
	assert_int_equal(set.runs, SV_BOOT_RUNS);
	sv_boot_free(&set);
}

static void bounded(void **state)
{
	struct sv_boot_set set = {0}, run = {0};
	uint64_t lba = 0;

	(void)state;
	while (sv_boot_add(&run, lba, 1, 1) == 0)
		lba += 2;
	assert_int_equal(run.blocks, SV_BOOT_BLOCKS);
	assert_int_equal(sv_boot_merge(&set, &run), 0);
	assert_int_equal(sv_boot_merge(&set, &run), 0);
	sv_boot_free(&run);
	lba = 1;
	while (sv_boot_add(&run, lba, 1, 1) == 0)
		lba += 2;
	assert_int_equal(sv_boot_add(&run, 0, 2, 1), -ENOSPC);
	assert_int_equal(sv_boot_merge(&set, &run), 0);
	/* Of 131,072 blocks the older ones stand in front, each of two runs: they are kept. */
	assert_int_equal(set.blocks, SV_BOOT_BLOCKS);
	assert_int_equal(set.v[0].lba, 0);
	assert_true(sv_boot_record_bytes(&set, SV_BOOT_MAX_BYTES) <= SV_BOOT_MAX_BYTES);
	sv_boot_free(&set);
	sv_boot_free(&run);
}

/* ---- the record ---- */

static struct sv_boot_set random_set(struct prng *rng, unsigned extents)
{
	struct sv_boot_set set = {.runs = SV_BOOT_RUNS,
				  .packed_bytes = prng_next(rng),
				  .packed_check = prng_next(rng)};

	for (unsigned i = 0; i < extents; i++) {
		uint64_t lba = prng_next(rng) >> (13 + prng_below(rng, 40));
		uint32_t blocks = 1 + (uint32_t)prng_below(rng, prng_below(rng, 20) ? 20 : 3000);
		uint8_t runs = (uint8_t)(1 + prng_below(rng, 31));

		lba = lba > UINT64_C(1) << 51 ? 0 : lba;
		if (sv_boot_add(&set, lba, blocks, runs) < 0)
			break;
	}
	return set;
}

static int read_back(uint8_t *raw, size_t len, struct sv_boot_set *ret_set)
{
	struct sv_cur c = sv_cur_over(raw, len);

	c.off = SV_REC_HEAD_BYTES;
	return sv_boot_get(&c, ret_set);
}

static uint32_t put(const struct sv_boot_set *set, uint8_t *raw, uint32_t limit)
{
	uint32_t bytes = sv_boot_record_bytes(set, limit);
	struct sv_cur c = sv_cur_over(raw, bytes);

	assert_true(bytes <= limit && bytes % SV_REC_HEAD_BYTES == 0);
	if (!bytes)
		return 0;
	sv_boot_put(&c, set, bytes);
	assert_false(c.bad);
	assert_int_equal(c.off, bytes);
	assert_int_equal(raw[0], SV_REC_BOOT_SET);
	return bytes;
}

/* As much of it as there is room for, the first first. */
static void record_round_trip(void **state)
{
	static uint8_t raw[SV_BOOT_MAX_BYTES];
	struct prng rng = {.state = 11};

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct sv_boot_set set = random_set(&rng, 1 + (unsigned)prng_below(&rng, 3000));
		uint32_t limit = (uint32_t)prng_below(&rng, SV_BOOT_MAX_BYTES + 1);
		struct sv_boot_set again = {0};
		uint32_t bytes = put(&set, raw, limit);

		if (!bytes) {
			assert_in_range(limit, 0, SV_BOOT_FIXED_BYTES + SV_BOOT_EXTENT_BYTES);
			sv_boot_free(&set);
			continue;
		}
		assert_int_equal(read_back(raw, bytes, &again), 0);
		assert_true(again.count == set.count ||
			    bytes + SV_BOOT_EXTENT_BYTES + SV_REC_HEAD_BYTES > limit);
		assert_int_equal(again.runs, set.runs);
		assert_int_equal(again.packed_bytes, set.packed_bytes);
		assert_int_equal(again.packed_check, set.packed_check);
		for (uint32_t k = 0; k < again.count; k++) {
			assert_int_equal(again.v[k].lba, set.v[k].lba);
			assert_int_equal(again.v[k].blocks, set.v[k].blocks);
			assert_int_equal(again.v[k].runs, set.v[k].runs);
		}
		sv_boot_free(&again);
		sv_boot_free(&set);
	}
}

static void assert_sane(const struct sv_boot_set *set)
{
	assert_true(set->runs <= SV_BOOT_RUNS && set->blocks <= SV_BOOT_BLOCKS);
	for (uint32_t i = 0; i < set->count; i++) {
		assert_true(set->v[i].blocks && set->v[i].runs);
		assert_true(set->v[i].lba <= UINT64_C(1) << 52);
	}
}

/* Any bit turned, any length: refused, or sane; what is refused leaves the set as it was. */
static void rotten_records(void **state)
{
	static uint8_t raw[SV_BOOT_MAX_BYTES], bad[SV_BOOT_MAX_BYTES];
	struct prng rng = {.state = 12};
	struct sv_boot_set set = random_set(&rng, 100), again = {0};
	uint32_t bytes = put(&set, raw, SV_BOOT_MAX_BYTES), refused = 0;

	(void)state;
	MERGE(&again, 4711);
	for (uint32_t i = SV_REC_HEAD_BYTES; i < bytes; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(bad, raw, bytes);
			bad[i] ^= (uint8_t)(1u << bit);
			if (read_back(bad, bytes, &again) == -EBADMSG) {
				refused++;
				EXPECT(&again, 4711);
				continue;
			}
			assert_sane(&again);
			sv_boot_free(&again);
			MERGE(&again, 4711);
		}
	assert_true(refused > 100);
	for (uint32_t len = SV_REC_HEAD_BYTES; len + SV_REC_HEAD_BYTES < bytes; len++)
		assert_int_equal(read_back(raw, len, &again), -EBADMSG);
	EXPECT(&again, 4711);
	sv_boot_free(&again);
	sv_boot_free(&set);
}

static void refused_records(void **state)
{
	static const struct {
		const char *what;
		uint8_t runs, bytes[12];
		bool good;
	} cases[] = {
		{"one block", 1, {0, 0, 1}, true},
		{"of no run", 1, {0, 0, 0}, false},
		{"of a run that was not recorded", 1, {0, 0, 2}, false},
		{"six runs", 6, {0, 0, 1}, false},
		{"before block 0", 1, {1, 0, 1}, false},
		{"a number longer than need be", 1, {0x80, 0, 0, 1}, false},
		{"65536 blocks", 1, {0, 0xff, 0xff, 3, 1}, true},
		{"65537 blocks", 1, {0, 0x80, 0x80, 4, 1}, false},
		{"block 2^52", 1, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 1}, true},
		{"behind it", 1, {0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0, 1}, false},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t raw[SV_BOOT_FIXED_BYTES + 16] = {SV_REC_BOOT_SET};
		struct sv_boot_set set = {0};
		int r;

		raw[8] = 1;
		raw[12] = cases[i].runs;
		memcpy(raw + SV_BOOT_FIXED_BYTES, cases[i].bytes, sizeof(cases[i].bytes));
		r = read_back(raw, sizeof(raw), &set);
		if (r != (cases[i].good ? 0 : -EBADMSG))
			fail_msg("%s: %d", cases[i].what, r);
		sv_boot_free(&set);
	}
}

/* ---- a run ---- */

static struct sv_boot_run *begun(void)
{
	struct sv_boot_run *run = calloc(1, sizeof(*run));

	assert_non_null(run);
	sv_boot_run_init(run, true);
	return run;
}

static void ended(struct sv_boot_run *run)
{
	sv_boot_run_free(run);
	free(run);
}

static void each_block_once(void **state)
{
	struct sv_boot_run *run = begun();

	(void)state;
	sv_boot_note(run, 100, 4, 1);
	sv_boot_note(run, 98, 4, 2);
	sv_boot_note(run, 100, 1, 3);
	EXPECT(&run->set, 100, 101, 102, 103, 98, 99);
	sv_boot_note(run, 1000, SV_BOOT_BLOCKS * 2, 4);
	assert_int_equal(run->set.blocks, SV_BOOT_BLOCKS);
	assert_true(sv_boot_settled(run, 5));
	ended(run);
}

static void settling(void **state)
{
	struct sv_boot_run *run = begun();
	uint64_t now = 7;

	(void)state;
	assert_false(sv_boot_settled(run, now + 1000 * SECOND_MS)); /* it did not begin */
	/* Little was read: it may be waiting for somebody. */
	sv_boot_note(run, 0, 1000, now);
	assert_false(sv_boot_settled(run, now));
	assert_false(sv_boot_settled(run, now + 59 * SECOND_MS));
	assert_true(sv_boot_settled(run, now + 61 * SECOND_MS));
	/* Two megabytes a second, then now and then a block. */
	for (unsigned i = 0; i < 20; i++) {
		now += SECOND_MS;
		sv_boot_note(run, 2000 + 512 * i, 512, now);
		assert_false(sv_boot_settled(run, now));
	}
	for (unsigned i = 0; i < 9; i++) {
		sv_boot_note(run, 100000 + i, 1, now + i * SECOND_MS);
		assert_false(sv_boot_settled(run, now + i * SECOND_MS));
	}
	assert_true(sv_boot_settled(run, now + 11 * SECOND_MS));
	ended(run);

	/* One that never is quiet. */
	run = begun();
	for (now = 1; now < 299 * SECOND_MS; now += SECOND_MS) {
		sv_boot_note(run, now, 60, now);
		assert_false(sv_boot_settled(run, now));
	}
	assert_true(sv_boot_settled(run, 301 * SECOND_MS));
	ended(run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order_is_of_the_last_run),
		cmocka_unit_test(older_ones_keep_their_turn),
		cmocka_unit_test(two_of_five_runs),
		cmocka_unit_test(bounded),
		cmocka_unit_test(record_round_trip),
		cmocka_unit_test(rotten_records),
		cmocka_unit_test(refused_records),
		cmocka_unit_test(each_block_once),
		cmocka_unit_test(settling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
