/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_crash.c: a power cut leaves what it may leave, all of it, and nothing else. */
#include "dev_crash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "prng.h"

#define KIB UINT64_C(1024)
#define SIZE_BYTES (1024 * KIB)
#define CUTS 2000

/* One script for every test: sector 0 gets 1, flush, gets 2, sectors 1 to 3 get 2, end. */
static int script(struct sv_dev *dev)
{
	_Alignas(512) uint8_t one[512], two[3 * 512];
	int r;

	memset(one, 1, sizeof(one));
	memset(two, 2, sizeof(two));
	r = sv_dev_write(dev, one, 512, 0);
	if (r == 0)
		r = sv_dev_flush(dev);
	if (r == 0)
		r = sv_dev_write(dev, two, 512, 0);
	if (r == 0)
		r = sv_dev_write(dev, two, sizeof(two), 512);
	return r;
}

static struct dev_crash *medium_new(void)
{
	struct sv_geometry geometry = {
		.size_bytes = SIZE_BYTES, .max_bytes = 2 * SIZE_BYTES, .erase_bytes = 64 * KIB};

	return dev_crash_create(&geometry);
}

static void look(struct dev_crash *medium, uint8_t sectors[4][512])
{
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	_Alignas(512) uint8_t bytes[4 * 512];

	assert_int_equal(sv_dev_read(dev, bytes, sizeof(bytes), 0), 0);
	memcpy(sectors, bytes, sizeof(bytes));
	sv_dev_close(dev);
}

/* The value all bytes of a sector have, or -1. */
static int value_of(const uint8_t sector[512])
{
	for (size_t i = 1; i < 512; i++)
		if (sector[i] != sector[0])
			return -1;
	return sector[0];
}

static void dies_at_the_chosen_write(void **state)
{
	static const struct {
		enum dev_crash_when when;
		uint64_t write;
		int want;
	} cases[] = {
		{DEV_CRASH_BEFORE, 1, -ENODEV}, {DEV_CRASH_INSIDE, 2, -ENODEV},
		{DEV_CRASH_AFTER, 2, -ENODEV},	{DEV_CRASH_AFTER, 3, 0},
		{DEV_CRASH_NEVER, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dev_crash *medium = medium_new();
		struct dev_crash_cut cut = {.when = cases[i].when, .write = cases[i].write};
		struct sv_dev *dev = dev_crash_open(medium, &cut);
		bool cuts = cut.when != DEV_CRASH_NEVER;
		struct sv_geometry geometry;

		assert_int_equal(script(dev), cases[i].want);
		assert_int_equal(dev_crash_dead(medium), cuts);
		assert_int_equal(sv_dev_flush(dev), cuts ? -ENODEV : 0);
		assert_int_equal(sv_dev_grow(dev, SIZE_BYTES), cuts ? -ENODEV : 0);
		assert_int_equal(sv_dev_geometry(dev, &geometry), cuts ? -ENODEV : 0);
		assert_int_equal(sv_dev_discard(dev, 0, 512), cuts ? -ENODEV : 0);
		sv_dev_close(dev);
		dev_crash_destroy(medium);
	}
}

/* Every outcome that a cut in the second epoch may have is met, and no other is. */
static void pending_sectors_are_kept_dropped_or_garbage(void **state)
{
	unsigned kept[4] = {0}, dropped[4] = {0}, garbage[4] = {0}, reordered = 0;

	(void)state;
	for (uint64_t seed = 0; seed < CUTS; seed++) {
		struct dev_crash *medium = medium_new();
		struct dev_crash_cut cut = {.when = DEV_CRASH_AFTER, .write = 3, .seed = seed};
		struct sv_dev *dev = dev_crash_open(medium, &cut);
		uint8_t sectors[4][512];

		assert_int_equal(script(dev), 0);
		sv_dev_close(dev);
		look(medium, sectors);
		for (size_t i = 0; i < 4; i++) {
			int value = value_of(sectors[i]);

			kept[i] += value == 2;
			dropped[i] += value == (i == 0 ? 1 : 0);
			garbage[i] += value == -1 || value == 0xff;
		}
		reordered += value_of(sectors[0]) == 1 && value_of(sectors[1]) == 2;
		dev_crash_destroy(medium);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_true(kept[i] > CUTS / 10);
		assert_true(dropped[i] > CUTS / 10);
		assert_true(garbage[i] > CUTS / 50);
	}
	assert_true(reordered > CUTS / 50);
}

static void flushed_is_kept_unless_it_lies(void **state)
{
	unsigned lost[2] = {0};

	(void)state;
	for (uint64_t seed = 0; seed < 2 * CUTS; seed++) {
		struct dev_crash *medium = medium_new();
		bool lies = seed % 2 == 1;
		struct dev_crash_cut cut = {.when = DEV_CRASH_BEFORE,
					    .write = 2,
					    .seed = seed,
					    .liar_bytes = lies ? 4096 : 0};
		struct sv_dev *dev = dev_crash_open(medium, &cut);
		uint8_t sectors[4][512];

		assert_int_equal(script(dev), -ENODEV);
		sv_dev_close(dev);
		look(medium, sectors);
		assert_in_range(value_of(sectors[0]), 0, 1); /* dropped, never shredded */
		lost[lies] += value_of(sectors[0]) == 0;
		dev_crash_destroy(medium);
	}
	assert_int_equal(lost[0], 0);
	assert_true(lost[1] > CUTS / 10);
}

/* The liar's window is bounded: what lies further back than its bytes is safe. */
static void a_lie_has_a_window(void **state)
{
	_Alignas(512) uint8_t bytes[512], got[512];

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct dev_crash *medium = medium_new();
		struct dev_crash_cut cut = {.seed = seed, .liar_bytes = 4 * 512};
		struct sv_dev *dev = dev_crash_open(medium, &cut);

		for (uint64_t i = 0; i < 10; i++) {
			memset(bytes, (int)i + 1, sizeof(bytes));
			assert_int_equal(sv_dev_write(dev, bytes, 512, i * 512), 0);
			assert_int_equal(sv_dev_flush(dev), 0);
		}
		sv_dev_close(dev);
		dev = dev_crash_reopen(medium, &cut);
		for (uint64_t i = 0; i < 6; i++) {
			assert_int_equal(sv_dev_read(dev, got, 512, i * 512), 0);
			assert_int_equal(value_of(got), (int)i + 1);
		}
		sv_dev_close(dev);
		dev_crash_destroy(medium);
	}
}

/* A torn write takes neighbours before it, flushed ones too, inside its erase unit only. */
static void paired_pages_go_with_a_torn_write(void **state)
{
	_Alignas(512) uint8_t bytes[64 * 1024], got[512];
	unsigned hit = 0;

	(void)state;
	memset(bytes, 7, sizeof(bytes));
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct dev_crash *medium = medium_new();
		struct dev_crash_cut cut = {.when = DEV_CRASH_INSIDE,
					    .write = 3,
					    .seed = seed,
					    .paired_bytes = 16 * KIB};
		struct sv_dev *dev = dev_crash_open(medium, &cut);

		assert_int_equal(sv_dev_write(dev, bytes, 64 * KIB, 0), 0);
		assert_int_equal(sv_dev_write(dev, bytes, 8 * KIB, 64 * KIB), 0);
		assert_int_equal(sv_dev_flush(dev), 0);
		assert_int_equal(sv_dev_write(dev, bytes, 4 * KIB, 72 * KIB), -ENODEV);
		sv_dev_close(dev);
		dev = dev_crash_open(medium, NULL);
		assert_int_equal(sv_dev_read(dev, got, 512, 72 * KIB - 512), 0);
		hit += value_of(got) != 7;
		assert_int_equal(sv_dev_read(dev, got, 512, 64 * KIB - 512), 0);
		assert_int_equal(value_of(got), 7);
		sv_dev_close(dev);
		dev_crash_destroy(medium);
	}
	assert_true(hit > 190);
}

static void random_run(struct sv_dev *dev, uint64_t seed)
{
	struct prng rng = {seed};
	static _Alignas(512) uint8_t bytes[16 * 1024];

	for (int i = 0; i < 60; i++) {
		uint64_t len = 512 * (1 + prng_below(&rng, 32));
		uint64_t off = 512 * prng_below(&rng, (SIZE_BYTES - len) / 512);

		prng_fill(&rng, bytes, len);
		if (prng_one_in(&rng, 8))
			(void)sv_dev_discard(dev, off, len);
		else
			(void)sv_dev_write(dev, bytes, len, off);
		if (prng_one_in(&rng, 4))
			(void)sv_dev_flush(dev);
		if (i == 30)
			(void)sv_dev_grow(dev, SIZE_BYTES + 64 * KIB);
	}
}

static void dump(struct dev_crash *medium, uint8_t *bytes, uint64_t *ret_size_bytes)
{
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	struct sv_geometry geometry;

	assert_int_equal(sv_dev_geometry(dev, &geometry), 0);
	assert_int_equal(sv_dev_read(dev, bytes, geometry.size_bytes, 0), 0);
	*ret_size_bytes = geometry.size_bytes;
	sv_dev_close(dev);
}

/* A fork of a recorded run is what the same cut leaves of a live one, in any order of cuts. */
static void a_fork_is_the_live_cut(void **state)
{
	const enum dev_crash_when whens[] = {DEV_CRASH_BEFORE, DEV_CRASH_INSIDE, DEV_CRASH_AFTER};
	uint8_t *live = aligned_alloc(512, 2 * SIZE_BYTES);
	uint8_t *forked = aligned_alloc(512, 2 * SIZE_BYTES);
	struct dev_crash *recorded = medium_new();
	struct sv_dev *dev = dev_crash_open(recorded, NULL);

	(void)state;
	dev_crash_record(recorded);
	random_run(dev, 5);
	assert_int_equal(dev_crash_recorded(recorded), 60);
	for (unsigned i = 0; i < 120; i++) {
		struct dev_crash_cut cut = {.when = whens[i % 3],
					    .write = 1 + i * 7 % 60,
					    .seed = 0, /* discards draw from it as well */
					    .liar_bytes = i % 2 * 20000,
					    .paired_bytes = i % 5 * 2048};
		struct dev_crash *fork = dev_crash_fork(recorded, &cut), *medium = medium_new();
		struct sv_dev *other = dev_crash_open(medium, &cut);
		uint64_t live_bytes, forked_bytes;

		random_run(other, 5);
		sv_dev_close(other);
		assert_true(dev_crash_dead(medium));
		dump(medium, live, &live_bytes);
		dump(fork, forked, &forked_bytes);
		assert_int_equal(live_bytes, forked_bytes);
		assert_memory_equal(live, forked, live_bytes);
		dev_crash_destroy(medium);
		dev_crash_destroy(fork);
	}
	sv_dev_close(dev);
	dev_crash_destroy(recorded);
	free(live);
	free(forked);
}

static void corruption_and_clones_stay_apart(void **state)
{
	struct dev_crash *medium = medium_new(), *clone;
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	uint8_t sectors[4][512];

	(void)state;
	assert_int_equal(script(dev), 0);
	clone = dev_crash_clone(medium);
	dev_crash_corrupt(clone, 513, 0x80);
	look(clone, sectors);
	assert_int_equal(sectors[1][1], 0x82);
	look(medium, sectors);
	assert_int_equal(value_of(sectors[1]), 2);
	sv_dev_close(dev);
	dev_crash_destroy(clone);
	dev_crash_destroy(medium);
	dev_crash_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dies_at_the_chosen_write),
		cmocka_unit_test(pending_sectors_are_kept_dropped_or_garbage),
		cmocka_unit_test(flushed_is_kept_unless_it_lies),
		cmocka_unit_test(a_lie_has_a_window),
		cmocka_unit_test(paired_pages_go_with_a_torn_write),
		cmocka_unit_test(a_fork_is_the_live_cut),
		cmocka_unit_test(corruption_and_clones_stay_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
