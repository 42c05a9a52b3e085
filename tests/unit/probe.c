/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe.c: every simulated stick measured on its own clock; slow caches, noise, errors, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe_rig.h"
#include "stick.h"

#define MIB (UINT64_C(1) << 20)
#define SECOND UINT64_C(1000000000)

static struct probe_target target_of(struct probe_rig *rig, uint64_t scratch_bytes)
{
	uint64_t size = fsim_stick_size(rig->stick);

	return (struct probe_target){
		.ops = &probe_rig_ops,
		.ctx = rig,
		.readable = {0, size},
		/* Where a file of a file system would lie: on a block, on no unit. */
		.scratch = {size / 2 / MIB * MIB + 3 * MIB + 20480, scratch_bytes},
		.sector_bytes = 512,
		.aligned = true,
	};
}

static void print_result(const char *id, const struct probe_result *r)
{
	print_message("%s: %.2f s, R %.1f W %.1f MB/s, cmd %.0f us, 4K R %.0f W %.0f us, page %u, "
		      "unit %u, open %u%s, merge %.1f ms, wrote %.0f MiB\n",
		      id, (double)r->took_ns / 1e9, (double)r->read_rate / 1e6,
		      (double)r->write_rate / 1e6, (double)r->command_ns / 1e3,
		      (double)r->random_read_ns / 1e3, (double)r->random_write_ns / 1e3,
		      r->page_bytes, r->erase_bytes, r->open_units, r->open_units_more ? "+" : "",
		      (double)r->merge_ns / 1e6, (double)r->written_bytes / (double)MIB);
}

static bool within(double value, double want, double factor)
{
	return value <= want * factor && value * factor >= want;
}

/* What must be right on every stick, by either method. */
static void check_rates(const struct fsim_profile *p, const struct probe_result *r)
{
	uint64_t commands = MIB / p->max_io_bytes + (MIB % p->max_io_bytes != 0);
	double read_s = (double)commands * p->read_fix_us / 1e6 + (double)MIB / p->read_rate;
	double write_s = (double)commands * p->write_fix_us / 1e6 + (double)MIB / p->write_rate;
	double random_us = p->read_fix_us + p->read_seek_us + 4096 / p->read_rate * 1e6;

	assert_true(within((double)r->read_rate, (double)MIB / read_s, 1.05));
	assert_true(within((double)r->write_rate, (double)MIB / write_s, 1.15));
	assert_true(within((double)r->random_read_ns / 1e3, random_us, 1.05));
	assert_true(within((double)r->command_ns / 1e3, p->read_fix_us, 1.1));
}

static struct probe_result quick(const struct fsim_config *config, uint64_t noise_seed)
{
	struct probe_rig rig = probe_rig_new(config);
	struct probe_target target = target_of(&rig, 256 * MIB);
	struct probe_params params = {.seed = 7};
	struct probe_result result;

	rig.noise.state = noise_seed;
	assert_int_equal(probe_run(&target, &params, &result), 0);
	assert_true(result.took_ns < 16 * SECOND);
	print_result(config->profile->id, &result);
	probe_rig_free(&rig);
	return result;
}

/* Reads tell page and unit, writes unit and open units, on every profile. */
static void every_profile(void **state)
{
	(void)state;
	for (size_t i = 0; i < 8; i++) {
		const struct fsim_profile *p = fsim_profile_at(i);
		struct fsim_config config = {.profile = p, .seed = 1, .boundaries = true};
		struct probe_result r = quick(&config, 0);

		check_rates(p, &r);
		assert_int_equal(r.page_bytes, p->page_bytes);
		assert_int_equal(r.page_method, PROBE_BY_READS);
		assert_int_equal(r.erase_bytes, p->erase_bytes);
		if (p->open_units <= 5)
			assert_int_equal(r.open_units, p->open_units);
		else
			assert_true(r.open_units_more);
		assert_int_equal(r.page_mapped, p->mapping == FSIM_PAGE_MAP);
	}
}

/* Nothing shows in reads: merges alone tell the unit. What does not merge stays unknown. */
static void by_writes_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < 7; i++) {
		const struct fsim_profile *p = fsim_profile_at(i);
		struct fsim_config config = {.profile = p, .seed = 2};
		struct probe_result r = quick(&config, 0);

		assert_int_equal(r.page_bytes, 0);
		assert_int_equal(r.open_units, p->open_units);
		if (p->mapping == FSIM_PAGE_MAP) {
			assert_int_equal(r.erase_bytes, 0);
			assert_true(r.page_mapped);
			continue;
		}
		assert_int_equal(r.erase_bytes, p->erase_bytes);
		assert_int_equal(r.erase_method, PROBE_BY_WRITES);
	}
}

/* A page map that was filled collects garbage: that rhythm tells its blocks, in a full probe. */
static void filled_page_map(void **state)
{
	static const char *const ids[] = {"P4", "P5", "P6"};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct fsim_config config = {.profile = fsim_profile_find(ids[i]),
					     .size_bytes = 4096 * MIB,
					     .seed = 3,
					     .filled = true};
		struct probe_rig rig = probe_rig_new(&config);
		struct probe_target target = target_of(&rig, 256 * MIB);
		struct probe_params params = {.full = true};
		struct probe_result r;

		assert_int_equal(probe_run(&target, &params, &r), 0);
		print_result(ids[i], &r);
		assert_int_equal(r.erase_method, PROBE_BY_WRITES);
		assert_true(within(r.erase_bytes, config.profile->erase_bytes, 2));
		assert_int_equal(r.open_units, 4);
		probe_rig_free(&rig);
	}
}

/* A busy host makes commands longer, and never geometry. */
static void noisy_host(void **state)
{
	(void)state;
	for (size_t i = 0; i < 7; i++) {
		const struct fsim_profile *p = fsim_profile_at(i);

		for (uint64_t seed = 1; seed <= 3; seed++) {
			struct fsim_config config = {
				.profile = p, .seed = seed, .boundaries = seed % 2 == 1};
			struct probe_result r = quick(&config, seed);

			if (config.boundaries)
				assert_true(within(r.page_bytes, p->page_bytes, 2));
			if (config.boundaries || p->mapping != FSIM_PAGE_MAP)
				assert_true(within(r.erase_bytes, p->erase_bytes, 2));
			else
				assert_int_equal(r.erase_bytes, 0);
			if (p->open_units <= 5)
				assert_int_equal(r.open_units, p->open_units);
		}
	}
}

/* A stick whose units are 3 * 2^k, as TLC flash has them. */
static void units_of_three(void **state)
{
	struct fsim_profile three = *fsim_profile_find("P2");
	struct fsim_config config = {.profile = &three, .seed = 4};

	(void)state;
	three.erase_bytes = 6 * MIB;
	assert_int_equal(quick(&config, 0).erase_bytes, 6 * MIB);
	config.boundaries = true;
	assert_int_equal(quick(&config, 0).erase_bytes, 6 * MIB);
}

/* Five open units; and a unit as small as an old card's. */
static void other_sticks(void **state)
{
	struct fsim_profile other = *fsim_profile_find("P2");
	struct fsim_config config = {.profile = &other, .seed = 5};
	struct probe_result r;

	(void)state;
	other.open_units = 5;
	assert_int_equal(quick(&config, 0).open_units, 5);
	other.erase_bytes = 512 * 1024;
	other.open_units = 2;
	r = quick(&config, 0);
	assert_int_equal(r.erase_bytes, 512 * 1024);
	assert_int_equal(r.open_units, 2);
}

/* Nothing may be written: reads tell what they can, and nothing was written. */
static void reads_only(void **state)
{
	struct fsim_config config = {
		.profile = fsim_profile_find("P2"), .seed = 1, .boundaries = true};
	struct probe_rig rig = probe_rig_new(&config);
	struct probe_target target = target_of(&rig, 0);
	struct probe_params params = {.seed = 1};
	struct fsim_counters counters;
	struct probe_result r;

	(void)state;
	assert_int_equal(probe_run(&target, &params, &r), 0);
	fsim_stick_counters(rig.stick, &counters);
	assert_int_equal(counters.written_bytes, 0);
	assert_int_equal(r.written_bytes, 0);
	assert_int_equal(r.write_rate, 0);
	assert_int_equal(r.open_units, 0);
	assert_int_equal(r.page_bytes, 16384);
	assert_int_equal(r.erase_bytes, 4 * MIB);
	probe_rig_free(&rig);
}

/* Only a file may be read, whose place is unknown, and a small one. */
static void small_and_unaligned(void **state)
{
	struct fsim_config config = {.profile = fsim_profile_find("P1"), .seed = 1};
	struct probe_rig rig = probe_rig_new(&config);
	struct probe_target target = target_of(&rig, 48 * MIB);
	struct probe_params params = {.seed = 1};
	struct probe_result r;

	(void)state;
	target.readable = (struct probe_range){0};
	target.aligned = false;
	assert_int_equal(probe_run(&target, &params, &r), 0);
	print_result("small", &r);
	assert_int_equal(r.erase_bytes, 8 * MIB);
	assert_int_equal(r.open_units, 1);
	assert_true(within((double)r.random_read_ns, 859e3, 1.1));
	probe_rig_free(&rig);
}

/* The cliff behind a fast cache, and a cache whose end lies too far away. */
static void fast_cache(void **state)
{
	struct fsim_profile small = *fsim_profile_find("P6");
	struct fsim_config config = {.profile = &small, .size_bytes = 2048 * MIB, .seed = 1};
	struct probe_params params = {.full = true, .cache_bytes = 1024 * MIB};
	struct probe_result r;

	(void)state;
	for (uint64_t slc = 512 * MIB; slc <= 4096 * MIB; slc *= 8) {
		struct probe_rig rig = probe_rig_new(&config);
		struct probe_target target = target_of(&rig, 128 * MIB);

		probe_rig_free(&rig);
		small.slc_bytes = slc;
		rig = probe_rig_new(&config);
		assert_int_equal(probe_run(&target, &params, &r), 0);
		probe_rig_free(&rig);
		if (slc == 512 * MIB) {
			/* what was written before counts: the clock stood still in between */
			assert_true(r.cache_bytes <= slc && r.cache_bytes >= slc / 4);
			assert_true(within((double)r.slow_write_rate, 200e6, 1.1));
			assert_true(within((double)r.write_rate, 353e6, 1.1));
		} else {
			assert_int_equal(r.cache_bytes, 0);
			assert_int_equal(r.cache_looked_bytes, 1024 * MIB);
		}
	}
}

/* An error ends it, wherever it comes, and leaves the result alone. */
static void errors(void **state)
{
	static const uint64_t at[] = {1, 40, 150, 400, 700, 900};

	(void)state;
	for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
		struct fsim_config config = {.profile = fsim_profile_find("P3"), .seed = 1};
		struct probe_rig rig = probe_rig_new(&config);
		struct probe_target target = target_of(&rig, 64 * MIB);
		struct probe_params params = {.seed = 1};
		struct probe_result r = {.page_bytes = 77};

		rig.fail_at = at[i];
		assert_int_equal(probe_run(&target, &params, &r), -EIO);
		assert_int_equal(r.page_bytes, 77);
		assert_int_equal(rig.commands, at[i]);
		probe_rig_free(&rig);
	}
}

static bool stop_soon(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	(void)what;
	assert_true(done <= total);
	return ++*(int *)ctx < 3;
}

static void stopped(void **state)
{
	struct fsim_config config = {.profile = fsim_profile_find("P3"), .seed = 1};
	struct probe_rig rig = probe_rig_new(&config);
	struct probe_target target = target_of(&rig, 64 * MIB);
	int calls = 0;
	struct probe_params params = {.report = stop_soon, .report_ctx = &calls};
	struct probe_result r;

	(void)state;
	assert_int_equal(probe_run(&target, &params, &r), -ECANCELED);
	assert_int_equal(calls, 3);
	probe_rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_profile),   cmocka_unit_test(by_writes_alone),
		cmocka_unit_test(filled_page_map), cmocka_unit_test(noisy_host),
		cmocka_unit_test(units_of_three),  cmocka_unit_test(other_sticks),
		cmocka_unit_test(reads_only),	   cmocka_unit_test(small_and_unaligned),
		cmocka_unit_test(fast_cache),	   cmocka_unit_test(errors),
		cmocka_unit_test(stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
