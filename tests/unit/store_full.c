/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_full.c: a store at every fill up to the brim: no deadlock, no early ENOSPC, and back. */
#include <stdio.h>
#include <string.h>

#include "effort.h"
#include "full_store.h"

/*
 *	unit-store_full [TEST] [--geometry=N] [--mix=N] [--seed=N] [--rounds=N] [--all]
 *
 * The disk is larger than its place. It is filled until ENOSPC with one mix of units, then worked
 * on at every fill from 100 % down to 50 %: overwritten at random for a capacity each, thinned out
 * so that one block lives in each unit or segment, closed, opened, filled again.
 */

static struct {
	int geometry, mix, rounds;
	uint64_t seed;
	bool all;
} only = {-1, -1, 1, 0, false};

static const char *filter;

static void run_one(const struct geometry *g, enum mix mix, uint64_t seed)
{
	static const double fills[] = {0.99, 0.97, 0.94, 0.9, 0.8, 0.65, 0.5};
	struct full w;
	struct sv_status s;

	full_make(&w, g, mix, seed);
	full_fill(&w);
	s = full_status(&w);
	print_message("%s, %s: %" PRIu64 " KiB of guest data in %" PRIu64 " KiB\n", g->name,
		      full_mix_names[mix], w.held * BLOCK / KIB, s.capacity_bytes / KIB);
	full_verify(&w);
	full_churn(&w, 0.2);
	for (size_t i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
		full_thin_to(&w, fills[i]);
		full_churn(&w, 1);
		if (i % 3 == 1) {
			full_close(&w);
			full_open(&w);
		}
	}
	full_verify(&w);
	full_fill(&w);
	full_leave_one_in(&w, 16);
	if (g != full_geometries) { /* what is known of them without a walk is forgotten */
		full_close(&w);
		full_open(&w);
	}
	w.mix = MIX_RAW_SINGLE; /* into what units of which one block lives must give back */
	full_fill(&w);
	w.mix = mix;
	full_churn(&w, 0.5);
	full_fill(&w);
	full_leave_one_in(&w, g->segment_bytes / BLOCK);
	full_fill(&w);
	full_verify(&w);
	full_churn(&w, 1);
	s = full_status(&w);
	print_message("  %.1f bytes written for each of the guest's, %" PRIu64
		      " segments cleaned\n",
		      (double)s.ledger.stick_written_bytes / (double)s.ledger.guest_written_bytes,
		      s.ledger.segments_cleaned);
	full_verify(&w);
	full_discard(&w, 0, w.blocks);
	full_flush(&w);
	full_fill(&w);
	full_close(&w);
	full_open(&w);
	full_verify(&w);
	full_free(&w);
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
	int count = (int)full_geometry_count;

	(void)state;
	for (int g = 0; g < count; g++)
		for (int m = 0; m < MIXES; m++)
			for (int i = 0; i < only.rounds; i++)
				if (chosen(g, m))
					run_one(&full_geometries[g], (enum mix)m, seed_of(i, g, m));
}

/* ---- a thousand sessions ---- */

static void sessions(const struct geometry *g, unsigned count, bool clean)
{
	struct full w;
	struct sv_status s;

	count /= effort_step();
	full_make(&w, g, MIX_ALL, 8);
	full_fill(&w);
	for (unsigned i = 0; i < count; i++) {
		if (clean) {
			full_close(&w);
		} else {
			sv_store_abandon(w.st);
			w.st = NULL;
		}
		full_open(&w);
		if (i % 100 == 0) {
			full_verify(&w);
			full_write_new(&w, 1);
		}
	}
	s = full_status(&w);
	print_message("%s: %u sessions that end %s, %" PRIu64 " of %" PRIu64
		      " segments free, %" PRIu64 " MiB written\n",
		      g->name, count, clean ? "well" : "without a close", s.free_segments,
		      s.segments, s.ledger.stick_written_bytes / MIB);
	full_verify(&w);
	full_churn(&w, 0.1);
	full_discard_bytes(&w, 2 * MIB);
	assert_true(full_write_new(&w, 64) > 0);
	full_churn(&w, 0.5);
	full_verify(&w);
	full_free(&w);
}

static void a_thousand_sessions(void **state)
{
	(void)state;
	sessions(&full_geometries[0], 1000, true);
	sessions(&full_geometries[0], 300, false);
	sessions(&full_geometries[1], 200, true);
	sessions(&full_geometries[1], 100, false);
}

static void with_the_keeper(void **state)
{
	(void)state;
	full_threads = true;
	run_one(&full_geometries[0], MIX_ALL, 77);
	run_one(&full_geometries[1], MIX_RAW_SINGLE, 78);
	full_threads = false;
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
		cmocka_unit_test(a_thousand_sessions),
	};

	for (int i = 1; i < argc; i++)
		take_option(argv[i]);
	cmocka_set_test_filter(only.geometry >= 0 || only.mix >= 0 ? "every_fill" : filter);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
