/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flashsim_wear.c: write amplification of the three mappings against theory, and wearing out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fsim_random.h"
#include "mapping.h"
#include "stick.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1) << 20)

static void within(const char *what, double got, double expected, double tolerance)
{
	print_message("%-32s %8.4g, expected %8.4g (%+.1f %%)\n", what, got, expected,
		      100 * (got / expected - 1));
	assert_true(fabs(got / expected - 1) < tolerance);
}

/* W0, the principal branch, for -1/e < x < 0, by Newton's steps from the series at -1/e. */
static double lambert_w0(double x)
{
	double w = -1 + sqrt(2 * (M_E * x + 1));
	for (int i = 0; i < 60; i++)
		w -= (w * exp(w) - x) / (exp(w) * (w + 1));
	return w;
}

static double greedy_formula(double spare)
{
	double a = 1 + spare;
	return a / (a + lambert_w0(-a * exp(-a)));
}

static double greedy_simulated(double spare)
{
	struct fsim_profile profile = *fsim_profile_find("P4");
	struct fsim_map *map;
	uint64_t seed = 3;
	profile.spare = spare;
	const uint64_t size = 4096 * MIB, pages = size / profile.page_bytes;

	assert_int_equal(fsim_page_map_new(&profile, size, 1, &map), 0);
	map->ops->fill(map);
	for (int measured = 0; measured < 2; measured++) {
		map->flash.pages_copied = map->flash.pages_programmed = 0;
		for (uint64_t i = 0; i < 5 * pages; i++)
			map->ops->write(map, fsim_random_below(&seed, pages) * profile.page_bytes,
					profile.page_bytes);
	}
	double wa = (double)map->flash.pages_programmed / (double)(5 * pages);
	map->ops->free(map);
	return wa;
}

static void page_map_is_greedy(void **state)
{
	(void)state;
	within("W0 itself: spare 0.07", greedy_formula(0.07), 7.82, 0.005);
	within("W0 itself: spare 0.30", greedy_formula(0.30), 2.36, 0.005);
	within("class C, spare 0.07", greedy_simulated(0.07), greedy_formula(0.07), 0.06);
	within("class C, spare 0.12", greedy_simulated(0.12), greedy_formula(0.12), 0.06);
	within("class C, spare 0.30", greedy_simulated(0.30), greedy_formula(0.30), 0.06);
}

/* WA = 1 + A_d and t = A_d * T_merge / P with A_d = D (1 - (1 - 1/D)^P), in pages. */
static void log_blocks_follow_fast(void **state)
{
	const struct fsim_profile *profile = fsim_profile_find("P3");
	const double slots = profile->erase_bytes / profile->page_bytes;
	(void)state;
	for (uint64_t units = 8; units <= 2048; units *= 4) {
		struct fsim_map *map;
		uint64_t seed = units, count = 100 * (uint64_t)slots, ns = 0;
		uint64_t pages = units * (uint64_t)slots;
		assert_int_equal(fsim_log_map_new(profile, units * profile->erase_bytes, 1, &map),
				 0);
		for (uint64_t i = 0; i < count; i++) {
			/* Never a unit's first page: that would begin a sequential log. */
			uint64_t page = fsim_random_below(&seed, pages);
			page += page % (uint64_t)slots == 0;
			ns += map->ops->write(map, page * profile->page_bytes, profile->page_bytes);
		}
		double a_d = (double)units * (1 - pow(1 - 1 / (double)units, slots));
		double merge_ns =
			profile->erase_us * 1e3 + profile->erase_bytes * 1e9 / profile->copy_rate;
		within("class B, pages for one",
		       (double)map->flash.pages_programmed / (double)count, 1 + a_d, 0.05);
		within("class B, ms for one", (double)ns / 1e6 / (double)count,
		       a_d * merge_ns / 1e6 / slots, 0.05);
		map->ops->free(map);
	}
}

/* A unit that is written in order is switched in for one erase and no copy. */
static void log_blocks_switch(void **state)
{
	const struct fsim_profile *profile = fsim_profile_find("P3");
	struct fsim_map *map;
	(void)state;
	assert_int_equal(fsim_log_map_new(profile, 64 * MIB, 1, &map), 0);
	for (uint64_t in = 0; in < 4 * MIB; in += 64 * KIB)
		for (uint64_t unit = 0; unit < 4; unit++)
			map->ops->write(map, unit * 4 * MIB + in, 64 * KIB);
	assert_int_equal(map->flash.pages_copied, 0);
	assert_int_equal(map->flash.erases_total, 4);
	map->ops->free(map);
}

static double block_map_amplification(uint64_t write_bytes)
{
	const struct fsim_profile *profile = fsim_profile_find("P2");
	const uint64_t size = 1024 * MIB, count = 2000;
	struct fsim_map *map;
	uint64_t seed = 5;
	assert_int_equal(fsim_block_map_new(profile, size, 1, &map), 0);
	for (uint64_t i = 0; i < count; i++)
		map->ops->write(map, fsim_random_below(&seed, size / write_bytes) * write_bytes,
				write_bytes);
	assert_true(map->flash.erases_total > count * 9 / 10);
	double wa = (double)(map->flash.pages_programmed * profile->page_bytes) /
		    (double)(count * write_bytes);
	map->ops->free(map);
	return wa;
}

static void block_map_merges(void **state)
{
	(void)state;
	within("class A, 4 KiB", block_map_amplification(4 * KIB), 1024, 0.02);
	within("class A, 64 KiB", block_map_amplification(64 * KIB), 64, 0.02);
	within("class A, 1 MiB", block_map_amplification(MIB), 4, 0.02);
}

/* Out of order in an open unit: everything is copied; in order, nothing is. */
static void block_map_order(void **state)
{
	struct fsim_map *map;
	(void)state;
	assert_int_equal(fsim_block_map_new(fsim_profile_find("P2"), 64 * MIB, 1, &map), 0);
	for (uint64_t off = 0; off < 16 * MIB; off += 16 * KIB)
		map->ops->write(map, off, 16 * KIB);
	assert_int_equal(map->flash.pages_copied, 0);
	assert_int_equal(map->flash.erases_total, 2); /* two more are still open */
	map->ops->write(map, 32 * MIB, 2 * MIB);
	map->ops->write(map, 35 * MIB, 16 * KIB); /* a gap */
	assert_int_equal(map->flash.erases_total, 3);
	uint64_t ns = map->ops->write(map, 33 * MIB, 16 * KIB);
	assert_int_equal(map->flash.erases_total, 4);
	assert_int_equal(map->flash.pages_copied, 256);
	assert_true(ns > 39000000 + 200000000);
	map->ops->free(map);
}

/* Small writes in order share a page, until a flush comes between them. */
static void partial_pages(void **state)
{
	struct fsim_map *map;
	(void)state;
	assert_int_equal(fsim_page_map_new(fsim_profile_find("P4"), 64 * MIB, 1, &map), 0);
	for (uint64_t off = 0; off < 64 * KIB; off += 4 * KIB)
		map->ops->write(map, off, 4 * KIB);
	assert_int_equal(map->flash.pages_programmed, 4);
	for (uint64_t off = 0; off < 64 * KIB; off += 4 * KIB) {
		map->ops->write(map, off, 4 * KIB);
		fsim_flash_flush(&map->flash);
	}
	assert_int_equal(map->flash.pages_programmed, 4 + 16);
	map->ops->free(map);
}

static struct fsim_stick *worn_stick(enum fsim_end end, uint32_t pe_cycles)
{
	struct fsim_config config = {
		.profile = fsim_profile_find("P2"),
		.size_bytes = 256 * MIB,
		.seed = 11,
		.end = end,
		.pe_cycles = pe_cycles,
	};
	struct fsim_stick *stick;
	assert_int_equal(fsim_stick_new(&config, &stick), 0);
	return stick;
}

static uint8_t block[4096];

/* Random writes until something other than success; the number that succeeded. */
static uint64_t wear_out(struct fsim_stick *stick, uint64_t limit, int *ret_error)
{
	uint64_t handle, seed = 17, done = 0;
	int r = fsim_stick_open(stick, &handle);
	for (; r == 0 && done < limit; done++)
		r = fsim_stick_write(stick, handle, block, sizeof(block),
				     fsim_random_below(&seed, 65536) * sizeof(block));
	*ret_error = r;
	return done;
}

static void worn_turns_read_only(void **state)
{
	struct fsim_stick *stick = worn_stick(FSIM_END_READ_ONLY, 50);
	struct fsim_counters c;
	uint64_t handle;
	int error;
	(void)state;
	uint64_t writes = wear_out(stick, 100000, &error);
	fsim_stick_counters(stick, &c);
	assert_int_equal(error, -EROFS);
	/* 64 units and 3 more at 50 erases each, 2 spares, one erase a write: some of the blocks
	 * fail long before the mean, but not before half of it. */
	print_message("read-only after %llu writes, %llu erases\n", (unsigned long long)writes,
		      (unsigned long long)c.erases);
	assert_true(c.erases > 67 * 50 / 2 && c.erases < 67 * 50 * 3 / 2);
	assert_int_equal(c.failed_blocks, 3);
	assert_int_equal(fsim_stick_open(stick, &handle), 0);
	assert_int_equal(fsim_stick_read(stick, handle, block, sizeof(block), 0), 0);
	assert_int_equal(fsim_stick_write(stick, handle, block, sizeof(block), 0), -EROFS);
	fsim_stick_free(stick);
}

static void worn_vanishes(void **state)
{
	struct fsim_stick *stick = worn_stick(FSIM_END_VANISHES, 50);
	uint64_t handle;
	int error;
	(void)state;
	wear_out(stick, 100000, &error);
	assert_int_equal(error, -ENODEV);
	assert_int_equal(fsim_stick_open(stick, &handle), -ENODEV);
	assert_int_equal(fsim_stick_plug(stick, 0), -ENODEV);
	fsim_stick_free(stick);
}

static void worn_corrupts(void **state)
{
	struct fsim_stick *stick = worn_stick(FSIM_END_CORRUPTS, 20);
	uint64_t handle, bad = 0;
	int error;
	(void)state;
	memset(block, 0x5a, sizeof(block));
	wear_out(stick, 10000, &error);
	assert_int_equal(error, 0);
	assert_int_equal(fsim_stick_open(stick, &handle), 0);
	for (uint64_t off = 0; off < 256 * MIB; off += sizeof(block)) {
		uint8_t got[sizeof(block)];
		assert_int_equal(fsim_stick_read(stick, handle, got, sizeof(got), off), 0);
		bad += got[0] != 0 && memcmp(got, block, sizeof(got)) != 0;
	}
	assert_true(bad > 100);
	fsim_stick_free(stick);
}

/* The same place over and over wears all free blocks evenly: the least erased is taken. */
static void least_erased_first(void **state)
{
	struct fsim_stick *stick = worn_stick(FSIM_END_READ_ONLY, 1000000);
	uint64_t handle;
	uint32_t *erases, worn = 0, most = 0, least = UINT32_MAX;
	size_t count;
	(void)state;
	assert_int_equal(fsim_stick_open(stick, &handle), 0);
	for (int i = 0; i < 400; i++)
		assert_int_equal(fsim_stick_write(stick, handle, block, 4096, 0), 0);
	assert_int_equal(fsim_stick_erases(stick, &erases, &count), 0);
	for (size_t i = 0; i < count; i++) {
		if (erases[i] == 0)
			continue;
		worn++;
		most = erases[i] > most ? erases[i] : most;
		least = erases[i] < least ? erases[i] : least;
	}
	assert_int_equal(worn, 4); /* the unit's own block and three free ones */
	assert_true(most - least <= 1);
	free(erases);
	fsim_stick_free(stick);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_map_is_greedy),	cmocka_unit_test(log_blocks_follow_fast),
		cmocka_unit_test(log_blocks_switch),	cmocka_unit_test(block_map_merges),
		cmocka_unit_test(block_map_order),	cmocka_unit_test(partial_pages),
		cmocka_unit_test(worn_turns_read_only), cmocka_unit_test(worn_vanishes),
		cmocka_unit_test(worn_corrupts),	cmocka_unit_test(least_erased_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
