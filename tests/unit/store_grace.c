/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_grace.c: the guest's reserve, room that others take and give, and how a full store slows.
 */
#include <string.h>

#include "dev_flashsim.h"
#include "full_store.h"

/* ---- the guest's reserve ---- */

static void grace(void **state)
{
	struct full w;
	struct sv_status full, s;
	uint64_t got;

	(void)state;
	full_make(&w, &full_geometries[1], MIX_RAW_SINGLE, 5);
	full_fill(&w);
	full = full_status(&w);
	assert_int_equal(full.state, SV_FULL);
	assert_false(full.grace);
	assert_in_range(full.grace_bytes, full.capacity_bytes / 16, full.capacity_bytes / 15);
	assert_int_equal(full_write_new(&w, 1), 0);

	/* Released: so much more can be written, and no more. */
	assert_int_equal(sv_store_grace(w.st, true), 0);
	s = full_status(&w);
	assert_true(s.grace);
	assert_int_equal(s.state, SV_OK);
	assert_int_equal(s.capacity_bytes, full.capacity_bytes + full.grace_bytes);
	got = full_write_new(&w, UINT64_MAX) * BLOCK;
	assert_in_range(got, full.grace_bytes / 4 * 3, full.grace_bytes + 8 * BLOCK);
	assert_int_equal(full_status(&w).state, SV_FULL);
	full_verify(&w);

	/* A little room does not take it back, or the guest would stop again at once. */
	full_discard_bytes(&w, full.grace_bytes);
	assert_true(full_status(&w).grace);
	assert_int_equal(full_status(&w).state, SV_OK);
	full_discard_bytes(&w, full.grace_bytes / 2);
	assert_false(full_status(&w).grace);
	assert_int_equal(full_status(&w).state, SV_OK);
	assert_int_equal(full_status(&w).capacity_bytes, full.capacity_bytes);
	assert_true(full_write_new(&w, UINT64_MAX) > 0);
	assert_int_equal(full_status(&w).state, SV_FULL);

	/* Taken back by hand, and it does not outlive the session. */
	assert_int_equal(sv_store_grace(w.st, true), 0);
	assert_true(full_write_new(&w, 8) == 8);
	assert_int_equal(sv_store_grace(w.st, false), 0);
	assert_int_equal(full_write_new(&w, 1), 0);
	assert_int_equal(sv_store_grace(w.st, true), 0);
	full_close(&w);
	full_open(&w);
	assert_false(full_status(&w).grace);
	assert_int_equal(full_write_new(&w, 1), 0);
	full_verify(&w);
	full_free(&w);
}

/* ---- others on the same file system ---- */

static void others_take_and_give(void **state)
{
	static const struct geometry others = {"others",  256 * KIB, 16 * KIB, 512 * KIB,
					       160 * MIB, 512 * KIB, MIB};
	struct full w;
	uint64_t before;

	(void)state;
	full_taken_bytes = 10 * MIB;
	full_make(&w, &others, MIX_RAW_SINGLE, 6);
	full_taken_bytes = 0;
	full_write_new(&w, 1000);
	full_flush(&w);
	w.taken_bytes = 60 * MIB; /* while the store is open: it had counted on these */
	full_fill(&w);
	assert_int_equal(full_status(&w).state, SV_FULL);
	before = w.held;
	full_verify(&w);
	w.taken_bytes = 10 * MIB;
	full_write_new(&w, UINT64_MAX);
	print_message("%" PRIu64 " KiB, and %" PRIu64 " once there was room\n",
		      before * BLOCK / KIB, w.held * BLOCK / KIB);
	assert_true(w.held > before + before / 4);
	w.taken_bytes = 0;
	assert_int_equal(sv_store_grace(w.st, false), 0); /* asks as well */
	assert_int_equal(full_status(&w).state, SV_OK);
	full_fill(&w);
	full_verify(&w);
	full_churn(&w, 1);
	full_verify(&w);
	full_free(&w);
}

/* A file system says how much is free, and then cannot give it. */
static void promise(uint64_t promised_bytes)
{
	static const struct geometry promising = {"promising", 256 * KIB, 16 * KIB, 512 * KIB,
						  160 * MIB,   512 * KIB, MIB};
	struct full w;
	uint64_t before;

	full_taken_bytes = 90 * MIB;
	full_make(&w, &promising, MIX_RAW_SINGLE, 6);
	full_taken_bytes = 0;
	w.promised_bytes = promised_bytes;
	full_fill(&w);
	assert_int_equal(full_status(&w).state, SV_FULL);
	for (int i = 0; i < 10; i++)
		assert_int_equal(full_write_new(&w, 1), 0);
	full_verify(&w);
	before = w.held;
	w.promised_bytes = 0;
	w.taken_bytes = 20 * MIB;
	full_write_new(&w, UINT64_MAX);
	print_message("%" PRIu64 " KiB, and %" PRIu64 " once there was room\n",
		      before * BLOCK / KIB, w.held * BLOCK / KIB);
	assert_true(w.held > before + before / 4);
	full_verify(&w);
	full_free(&w);
}

static void promises_too_much(void **state)
{
	(void)state;
	promise(256 * KIB);
	promise(20 * MIB);
	promise(60 * MIB);
}

/* ---- how it slows down ---- */

#define STICK_BYTES (256ull * MIB)
#define STEPS 12

/* MB a second on the virtual clock for random blocks and a flush behind every sixteen. */
static double rate_at(struct full *w, struct fsim_stick *stick, double *ret_longest_s)
{
	uint64_t bytes = 0, longest_ns = 0, before_ns;
	struct fsim_counters c;

	fsim_stick_reset_counters(stick);
	for (unsigned i = 0; i < 512; i++) {
		fsim_stick_counters(stick, &c);
		before_ns = c.busy_ns;
		for (unsigned k = 0; k < 16; k++) {
			uint64_t n = 0;

			if (full_overwrite(w, &n))
				bytes += n;
		}
		full_flush(w);
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
	struct full w = {.g = &of_stick, .mix = MIX_RAW_SINGLE, .seed = 9, .rng = {9}};
	double rate = 0, longest;

	(void)state;
	assert_int_equal(fsim_stick_new(&config, &stick), 0);
	assert_int_equal(fsim_dev_open(stick, true, &w.ram), 0);
	full_memory(&w, p.size_bytes);
	assert_int_equal(sv_store_format(w.ram, &p), 0);
	full_open(&w);
	for (size_t i = 0; i < STEPS; i++) {
		double was = rate;

		while (full_level(&w) < fills[i] &&
		       full_write(&w, prng_below(&w.rng, w.blocks - 8), 8))
			;
		full_churn(&w, 1); /* until its garbage lies as it does in the long run */
		rate = rate_at(&w, stick, &longest);
		print_message("%5.1f %% full: %.2f MB/s, longest write and flush %.2f s\n",
			      100 * fills[i], rate, longest);
		if (i > 0 && rate < was / 2)
			FAIL(&w, "a cliff at %.1f %%: %.2f MB/s after %.2f", 100 * fills[i], rate,
			     was);
		if (longest > 10)
			FAIL(&w, "a flush took %.1f s", longest);
	}
	full_verify(&w);
	full_free(&w);
	fsim_stick_free(stick);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grace),
		cmocka_unit_test(others_take_and_give),
		cmocka_unit_test(promises_too_much),
		cmocka_unit_test(slows_down_smoothly),
	};

	cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
