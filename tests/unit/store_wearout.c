/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_wearout.c: a store is written until its simulated stick is worn out, and beyond. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_flashsim.h"
#include "model_disk.h"
#include "prng.h"
#include "stickvm/store.h"

/*
 * A small stick of a real kind with few erases, on the virtual clock. Random work with sessions
 * that end well or not, and the plug pulled now and then, until a write or flush is refused for
 * good. Then:
 *  - the error reached the caller, and does so again: nothing is accepted as if it were kept;
 *  - what can be read is right: a state at or after the last flush, or, on a stick that corrupts
 *    at its end, an error for what it corrupted, never other data;
 *  - a stick that turned read-only still opens, read-only, at or after the last flush.
 *
 * unit-store_wearout [--pe=N]: erases that a block stands (30); a real stick has 300 and more.
 */
#define KIB 1024u
#define MIB (1024 * KIB)
#define DISK_BYTES (2 * MIB)
#define STICK_BYTES (48 * MIB)
#define PE_CYCLES 30u
#define OPS_MOST 200000u

static unsigned pe_cycles = PE_CYCLES;

struct world {
	struct fsim_stick *stick;
	struct sv_store *store;
	struct model_disk model;
	struct prng rng;
	uint8_t *buf, *disk;
	unsigned sessions, pulls;
};

static void world_make(struct world *w, enum fsim_end end, uint64_t seed)
{
	static struct fsim_profile profile;
	const struct fsim_config config = {.profile = &profile,
					   .size_bytes = STICK_BYTES,
					   .seed = seed,
					   .pe_cycles = pe_cycles,
					   .end = end};
	const struct sv_format_params params = {.size_bytes = DISK_BYTES,
						.segment_bytes = MIB,
						.lie_window_bytes = MIB,
						.checkpoint_bytes = 2 * MIB};
	struct sv_dev *dev;

	profile = *fsim_profile_find("P2");
	profile.erase_bytes = MIB;
	*w = (struct world){.rng = {seed}};
	w->buf = calloc(1, DISK_BYTES);
	w->disk = calloc(1, DISK_BYTES);
	assert_int_equal(fsim_stick_new(&config, &w->stick), 0);
	assert_int_equal(fsim_dev_open(w->stick, true, &dev), 0);
	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	model_init(&w->model, DISK_BYTES);
}

static void world_free(struct world *w)
{
	sv_store_abandon(w->store);
	model_free(&w->model);
	fsim_stick_free(w->stick);
	free(w->buf);
	free(w->disk);
}

static int open_store(struct world *w, bool read_only)
{
	const struct sv_open_options options = {
		.read_only = read_only, .manual = true, .batch_bytes = 512 * KIB, .host = "wear"};
	struct sv_dev *dev;
	int r = fsim_dev_open(w->stick, true, &dev);

	if (r < 0)
		return r;
	r = sv_store_open(dev, &options, &w->store);
	if (r < 0) {
		sv_dev_close(dev);
		w->store = NULL;
	}
	return r;
}

/* Keeps one state: what is promised now. */
static void promised(struct world *w, size_t state)
{
	struct model_disk model;

	model_fork(&w->model, state, &model);
	model_free(&w->model);
	w->model = model;
}

static bool block_is_legal(const struct world *w, uint64_t at)
{
	for (size_t i = 0; i < w->model.count; i++)
		if (image_equals(&w->model.states[i], w->disk + at, SV_BLOCK_BYTES, at))
			return true;
	return false;
}

/* Nothing that can be read is false. All of it: then it is one state. */
static bool look(struct world *w, size_t *ret_state)
{
	bool all = true;

	for (uint64_t at = 0; at < DISK_BYTES; at += SV_BLOCK_BYTES) {
		if (sv_store_read(w->store, w->disk + at, SV_BLOCK_BYTES, at) < 0)
			all = false;
		else
			assert_true(block_is_legal(w, at));
	}
	if (all)
		assert_true(model_find(&w->model, w->disk, 0, w->model.count - 1, ret_state));
	return all;
}

static int write_some(struct world *w)
{
	uint64_t len = 512 * (1 + prng_below(&w->rng, 256));
	uint64_t off = 512 * prng_below(&w->rng, (DISK_BYTES - len) / 512);

	prng_fill(&w->rng, w->buf, len);
	model_write(&w->model, w->buf, len, off);
	return sv_store_write(w->store, w->buf, len, off);
}

static int flush(struct world *w)
{
	int r = sv_store_flush(w->store);

	if (r == 0)
		promised(w, w->model.count - 1);
	return r;
}

/* The session ends: closed, or the plug is pulled and put back. Then another one. */
static int new_session(struct world *w)
{
	size_t state;
	int r = 0;

	w->sessions++;
	if (prng_one_in(&w->rng, 2)) {
		r = sv_store_close(w->store);
		if (r == 0)
			promised(w, w->model.count - 1);
	} else {
		w->pulls++;
		assert_int_equal(fsim_stick_unplug(w->stick), 0);
		sv_store_abandon(w->store);
		r = fsim_stick_plug(w->stick, 0);
	}
	w->store = NULL;
	if (r == 0)
		r = open_store(w, false);
	if (r == 0 && look(w, &state))
		promised(w, state);
	return r;
}

/* Random work until something is refused. */
static int wear_out(struct world *w, unsigned *ret_ops)
{
	int r = open_store(w, false);

	for (*ret_ops = 0; r == 0 && *ret_ops < OPS_MOST; ++*ret_ops) {
		if (prng_one_in(&w->rng, 400))
			r = new_session(w);
		else if (prng_one_in(&w->rng, 4))
			r = flush(w);
		else
			r = write_some(w);
	}
	return r;
}

static void until_it_dies(enum fsim_end end, const char *name)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct fsim_counters counters;
		struct world w;
		unsigned ops;
		size_t state;
		int r;

		world_make(&w, end, seed);
		r = wear_out(&w, &ops);
		fsim_stick_counters(w.stick, &counters);
		print_message("%s, seed %d: %s after %u operations, %u sessions, %u pulls, %.0f "
			      "MiB, %llu failed blocks, %.0f s of the stick's time\n",
			      name, (int)seed, strerror(-r), ops, w.sessions, w.pulls,
			      (double)counters.written_bytes / MIB,
			      (unsigned long long)counters.failed_blocks,
			      (double)counters.clock_ns / 1e9);
		assert_true(r < 0);
		assert_true(counters.failed_blocks > 0);
		if (w.store != NULL) {
			/* It says so again, and reads what it can. */
			assert_true(write_some(&w) < 0 || sv_store_flush(w.store) < 0);
			look(&w, &state);
			assert_true(sv_store_close(w.store) < 0);
			w.store = NULL;
		}
		r = open_store(&w, true);
		if (end == FSIM_END_READ_ONLY) {
			assert_int_equal(r, 0);
			assert_true(look(&w, &state));
		} else if (r == 0) {
			look(&w, &state);
		}
		world_free(&w);
	}
}

/* From its end on it corrupts what it is given, and says nothing: what is read is right or EIO. */
static void a_stick_that_corrupts(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct fsim_counters counters = {0};
		struct sv_recovery recovery;
		unsigned ops = 0, bad = 0;
		struct world w;
		size_t found;
		int r;

		world_make(&w, FSIM_END_CORRUPTS, seed);
		r = open_store(&w, false);
		while (r == 0 && counters.failed_blocks < 2 && ops++ < OPS_MOST) {
			r = prng_one_in(&w.rng, 4) ? flush(&w) : write_some(&w);
			fsim_stick_counters(w.stick, &counters);
		}
		assert_true(counters.failed_blocks >= 2);
		for (unsigned i = 0; r == 0 && i < 200; i++) {
			r = prng_one_in(&w.rng, 4) ? flush(&w) : write_some(&w);
			bad += i % 20 == 0 && !look(&w, &found);
		}
		bad += !look(&w, &found);
		sv_store_abandon(w.store);
		r = open_store(&w, true);
		if (r == 0)
			sv_store_recovery(w.store, &recovery);
		print_message("corrupts, seed %d: after %u operations; %u looks with errors; then "
			      "opening: %s\n",
			      (int)seed, ops, bad, r < 0 ? sv_store_why() : "opens");
		assert_true(bad > 0 || r < 0 || recovery.lost_flushed_batches > 0 ||
			    recovery.bad_blocks > 0);
		world_free(&w);
	}
}

static void a_stick_that_turns_read_only(void **state)
{
	(void)state;
	until_it_dies(FSIM_END_READ_ONLY, "read-only");
}

static void a_stick_that_vanishes(void **state)
{
	(void)state;
	until_it_dies(FSIM_END_VANISHES, "vanishes");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stick_that_turns_read_only),
		cmocka_unit_test(a_stick_that_vanishes),
		cmocka_unit_test(a_stick_that_corrupts),
	};

	if (argc > 1 && sscanf(argv[1], "--pe=%u", &pe_cycles) != 1)
		return 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
