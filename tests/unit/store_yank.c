/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_yank.c: the stick is pulled at any write, comes back, and nothing at all is missing; also
 * where the process ends in between and what it had is parked (park.h). */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "box.h"
#include "dev_crash.h"
#include "effort.h"
#include "prng.h"
#include "stickvm/park.h"
#include "stickvm/store.h"
#include "store_runner.h"

/*
 * Without arguments: the default tier. With them, one run, or many of one kind:
 *   unit-store_yank --geometry=N --mode=plain|liar|paired --seed=N --ops=N
 *                   [--pull=before|inside|after:WRITE:SEED] [--seeds=N] [--park]
 * Without --pull: at every write of the run, before, inside and after it.
 *
 * The oracle is the strictest there is: an array with everything that was ever acknowledged. The
 * store lives on in memory, so after the stick is back and whatever it had lost, the disk is that
 * array: flushed or not. An operation that the pull interrupted is done again by its caller.
 */
#define KIB UINT64_C(1024)
#define MAX_IO_BYTES (64 * KIB)

static const char *const mode_names[RUNNER_MODES] = {"plain", "liar", "paired"};
static const char *const when_names[] = {"never", "before", "inside", "after"};

struct pull {
	enum dev_crash_when when;
	uint64_t write, seed;
};

struct run {
	struct runner_config config;
	const struct runner_geometry *geometry;
	struct pull pull;
	struct dev_crash *medium;
	struct sv_store *store;
	struct prng rng;
	uint8_t *disk, *buf; /* what was acknowledged; one operation */
	unsigned pulls;	     /* so far */
	bool parks;	     /* the process ends at each pull */
	char why[300];
};

static uint64_t runs_done, pulls_done, second_pulls, opens_cut, unsealed_bytes;
static struct sv_reattach did_all;

static bool failed(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool failed(struct run *run, const char *format, ...)
{
	va_list args;

	if (run->why[0] == '\0') {
		va_start(args, format);
		vsnprintf(run->why, sizeof(run->why), format, args);
		va_end(args);
	}
	return false;
}

/* What the medium does to a pull with this seed. */
static struct dev_crash_cut cut_of(const struct run *run, enum dev_crash_when when, uint64_t write,
				   uint64_t seed)
{
	struct dev_crash_cut cut = {.when = when, .write = write, .seed = seed};

	if (run->config.mode == RUNNER_LIAR)
		cut.liar_bytes = run->geometry->lie_window_bytes * (1 + seed % 4) / 4;
	if (run->config.mode == RUNNER_PAIRED)
		cut.paired_bytes = run->geometry->page_bytes * (uint32_t)(1 + seed % 4);
	return cut;
}

static bool is_detached(struct run *run)
{
	struct sv_status status;

	sv_store_status(run->store, &status);
	return status.state == SV_DETACHED;
}

static bool open_store(struct run *run, const struct dev_crash_cut *cut, int *ret_error)
{
	const struct sv_open_options options = {
		.manual = true,
		.batch_bytes = 256 * KIB,
		.map_ram_bytes = 256 * KIB,
		.host = "yank",
		.births = run->geometry->births,
		.seed = prng_next(&run->rng) | 1,
	};
	struct sv_dev *dev = dev_crash_open(run->medium, cut);
	int r = sv_store_open(dev, &options, &run->store);

	*ret_error = r;
	if (r < 0) {
		sv_dev_close(dev);
		run->store = NULL;
	}
	return r == 0;
}

/* ---- the pull ---- */

static void pick_range(struct run *run, uint64_t max_bytes, uint64_t *ret_len, uint64_t *ret_off)
{
	uint64_t size = run->geometry->disk_bytes;
	uint64_t unit = prng_one_in(&run->rng, 3) ? 512 : 4096;
	uint64_t span = prng_one_in(&run->rng, 2) ? size / 8 : size;
	uint64_t most = prng_one_in(&run->rng, 6) ? max_bytes / unit : 6;
	uint64_t len = unit * (1 + prng_below(&run->rng, most));

	*ret_off = unit * prng_below(&run->rng, span / unit);
	*ret_len = len < size - *ret_off ? len : size - *ret_off;
}

static void fill(struct run *run, uint64_t len)
{
	if (prng_one_in(&run->rng, 8))
		memset(run->buf, 0, len);
	else if (prng_one_in(&run->rng, 3))
		memset(run->buf, (int)prng_below(&run->rng, 250) + 1, len);
	else
		prng_fill(&run->rng, run->buf, len);
}

/* A detached store tells the truth, takes what fits, and confirms nothing. */
static bool use_detached(struct run *run)
{
	uint8_t *got = run->buf + MAX_IO_BYTES;
	uint64_t len, off;
	int r;

	if (!is_detached(run))
		return failed(run, "a call gave -ENODEV, and the state is not detached");
	for (unsigned i = 0; i < 6; i++) {
		pick_range(run, 16 * KIB, &len, &off);
		r = sv_store_read(run->store, got, len, off);
		if (r == 0 && memcmp(got, run->disk + off, len) != 0)
			return failed(run, "detached: other data at %" PRIu64, off);
		if (r < 0 && r != -ENODEV)
			return failed(run, "detached: read: %s", strerror(-r));
		r = sv_store_flush(run->store);
		if (r != -ENODEV)
			return failed(run, "detached: flush gives %d", r);
		pick_range(run, 4 * KIB, &len, &off);
		len = len > 4096 - off % 4096 ? 4096 - off % 4096 : len; /* all or nothing */
		fill(run, len);
		r = sv_store_write(run->store, run->buf, len, off);
		if (r == 0)
			memcpy(run->disk + off, run->buf, len);
		else if (r != -ENODEV && r != -ENOSPC)
			return failed(run, "detached: write: %s", strerror(-r));
	}
	return true;
}

/* ---- parked meanwhile ---- */

static bool park(struct run *run, struct box *box)
{
	int r = sv_store_park_begin(run->store);

	if (r < 0)
		return failed(run, "park: %s", strerror(-r));
	memset(run->buf, 9, 4096);
	if (sv_store_write(run->store, run->buf, 4096, 0) != -ENODEV ||
	    sv_store_discard(run->store, 4096, 0) != -ENODEV)
		return failed(run, "a write while it is parked");
	r = sv_store_flush(run->store);
	if (r < 0)
		return failed(run, "a flush while it is parked: %s", strerror(-r));
	r = sv_store_park(run->store, box_put, box);
	sv_store_abandon(run->store);
	run->store = NULL;
	return r == 0 ? true : failed(run, "park: %s", strerror(-r));
}

/*
 * One attempt of another process to go on: -ENODEV where the power failed in it. Where it failed
 * behind the write-back, another session may have begun: its own, as the caller knows (park.h).
 */
static int attempt(struct run *run, struct box *box, const struct dev_crash_cut *back,
		   const struct dev_crash_cut *opening, bool *opened)
{
	struct sv_parked *parked;
	struct sv_dev *dev;
	struct sv_reattach did = {0};
	int r;

	box->at = 0;
	r = sv_parked_read(box_get, box, &parked);
	if (r < 0)
		return r;
	dev = dev_crash_open(run->medium, back);
	r = sv_parked_write_back(parked, dev, &did);
	sv_dev_close(dev);
	did_all.verified_bytes += did.verified_bytes;
	did_all.rewritten_bytes += did.rewritten_bytes;
	if (r == -ESTALE && *opened)
		r = 0;
	if (r == 0) {
		*opened = true;
		if (open_store(run, opening, &r))
			r = sv_parked_apply(parked, run->store);
	}
	sv_parked_free(parked);
	if (r < 0) {
		sv_store_abandon(run->store);
		run->store = NULL;
	}
	return r;
}

static bool unpark(struct run *run, struct box *box)
{
	uint64_t seed = prng_next(&run->rng) >> 40;
	struct dev_crash_cut quiet = cut_of(run, DEV_CRASH_NEVER, 0, seed);
	struct dev_crash_cut back =
		cut_of(run, DEV_CRASH_BEFORE + seed / 2 % 3, 1 + seed / 6 % 4, seed);
	struct dev_crash_cut opening =
		cut_of(run, DEV_CRASH_BEFORE + seed / 2 % 3, 1 + seed / 6 % 12, seed);
	bool cut_back = seed % 2, opened = false;
	int r = attempt(run, box, cut_back ? &back : &quiet, cut_back ? &quiet : &opening, &opened);

	second_pulls += r == -ENODEV && !opened;
	opens_cut += r == -ENODEV && opened;
	if (r == -ENODEV)
		r = attempt(run, box, &quiet, &quiet, &opened);
	return r == 0 ? true : failed(run, "go on: %s: %s", strerror(-r), sv_store_why());
}

static bool park_and_go_on(struct run *run)
{
	struct sv_parked_info info;
	struct sv_parked *parked;
	struct box box = {0};
	bool good;

	pulls_done++;
	run->pulls++;
	if (!park(run, &box))
		return false;
	assert_int_equal(sv_parked_read(box_get, &box, &parked), 0);
	assert_int_equal(box.at, box.count);
	sv_parked_info(parked, &info);
	sv_parked_free(parked);
	unsealed_bytes += info.unsealed_bytes;
	good = unpark(run, &box);
	box_free(&box);
	return good;
}

/* The stick comes back; now and then it is pulled again before it is attached. */
static bool reattach(struct run *run)
{
	uint64_t seed = prng_next(&run->rng) >> 40;
	struct dev_crash_cut again =
		cut_of(run, DEV_CRASH_BEFORE + seed % 3, 1 + seed / 3 % 4, seed);
	struct sv_reattach did = {0};
	int r = -ENODEV;

	pulls_done++;
	run->pulls++;
	for (unsigned tries = 0; tries < 3 && r == -ENODEV; tries++) {
		bool pull = tries == 0 && seed % 2 == 0;
		struct dev_crash_cut quiet = cut_of(run, DEV_CRASH_NEVER, 0, seed);
		struct sv_dev *dev = dev_crash_open(run->medium, pull ? &again : &quiet);

		r = sv_store_reattach(run->store, dev, &did);
		if (r < 0)
			sv_dev_close(dev);
		second_pulls += r == -ENODEV;
		if (r == -ENODEV && !is_detached(run))
			return failed(run, "a second pull, and the state is not detached");
	}
	if (r < 0)
		return failed(run, "reattach: %s: %s", strerror(-r), sv_store_why());
	if (run->config.mode == RUNNER_PLAIN && did.missing_bytes)
		return failed(run, "%" PRIu64 " bytes are said to be missing", did.missing_bytes);
	did_all.verified_bytes += did.verified_bytes;
	did_all.rewritten_bytes += did.rewritten_bytes;
	did_all.missing_bytes += did.missing_bytes;
	return true;
}

/* It comes back to this process, or to another one. */
static bool plug(struct run *run)
{
	if (run->parks)
		return park_and_go_on(run);
	return reattach(run);
}

/* After a call: false when it has failed for good. *ret_again: the stick was away, call again. */
static bool returned(struct run *run, const char *what, int r, bool *ret_again)
{
	*ret_again = r == -ENODEV;
	if (r == -ENODEV)
		return use_detached(run) && plug(run);
	return r == 0 ? true : failed(run, "%s: %s", what, strerror(-r));
}

/* ---- operations ---- */

static bool do_write(struct run *run)
{
	uint64_t len, off;
	bool again;

	pick_range(run, MAX_IO_BYTES, &len, &off);
	do {
		struct prng at = run->rng; /* the same data when it is done again */
		int r;

		fill(run, len);
		r = sv_store_write(run->store, run->buf, len, off);
		if (r == 0)
			memcpy(run->disk + off, run->buf, len);
		else /* as much of it as was taken, and can be read */
			(void)sv_store_read(run->store, run->disk + off, len, off);
		if (!returned(run, "write", r, &again))
			return false;
		if (again)
			run->rng = at;
	} while (again);
	return true;
}

static bool do_discard(struct run *run)
{
	uint64_t len, off;
	bool again;

	pick_range(run, run->geometry->disk_bytes / 16, &len, &off);
	do {
		int r = sv_store_discard(run->store, len, off);

		if (r == 0)
			memset(run->disk + off, 0, len);
		if (!returned(run, "discard", r, &again))
			return false;
	} while (again);
	return true;
}

static bool do_read(struct run *run)
{
	uint64_t len, off;
	bool again;

	pick_range(run, MAX_IO_BYTES, &len, &off);
	do {
		int r = sv_store_read(run->store, run->buf, len, off);

		if (r == 0 && memcmp(run->buf, run->disk + off, len) != 0)
			return failed(run, "other data at %" PRIu64 " + %" PRIu64, off, len);
		if (!returned(run, "read", r, &again))
			return false;
	} while (again);
	return true;
}

static bool do_call(struct run *run, unsigned which)
{
	unsigned cleaned;
	bool again;

	do {
		int r = which == 0   ? sv_store_flush(run->store)
			: which == 1 ? sv_store_checkpoint(run->store)
				     : sv_store_clean(run->store, 3, &cleaned);

		if (!returned(run,
			      which == 0   ? "flush"
			      : which == 1 ? "checkpoint"
					   : "clean",
			      r, &again))
			return false;
	} while (again);
	return true;
}

/* Pulled between two calls, told by whoever watches the hardware. */
static bool do_pull(struct run *run)
{
	struct dev_crash_cut cut = cut_of(run, DEV_CRASH_AFTER, 0, prng_next(&run->rng) >> 40);

	sv_store_detach(run->store);
	dev_crash_power_off(run->medium, &cut);
	return use_detached(run) && plug(run);
}

static bool one_op(struct run *run)
{
	uint64_t at = prng_below(&run->rng, 100);

	if (at < 58)
		return do_write(run);
	if (at < 72)
		return do_call(run, 0);
	if (at < 78)
		return do_discard(run);
	if (at < 88)
		return do_read(run);
	if (at < 95)
		return do_call(run, 2);
	if (at < 98 || run->pull.when == DEV_CRASH_NEVER)
		return do_call(run, 1);
	return do_pull(run);
}

/* ---- a run ---- */

static bool same_disk(struct run *run, const char *when)
{
	for (uint64_t off = 0; off < run->geometry->disk_bytes; off += MAX_IO_BYTES) {
		uint64_t len = run->geometry->disk_bytes - off;
		int r;

		len = len < MAX_IO_BYTES ? len : MAX_IO_BYTES;
		r = sv_store_read(run->store, run->buf, len, off);
		if (r < 0)
			return failed(run, "%s: read at %" PRIu64 ": %s", when, off, strerror(-r));
		for (uint64_t i = 0; i < len; i += 512)
			if (memcmp(run->buf + i, run->disk + off + i, 512) != 0)
				return failed(run, "%s: the sector at %" PRIu64 " is another", when,
					      off + i);
	}
	return true;
}

static void on_finding(void *context, const struct sv_finding *finding)
{
	failed(context, "check: %s at %" PRIu64, finding->what, finding->off_bytes);
}

static bool sound(struct run *run)
{
	int r = sv_store_check(run->store, true, on_finding, run, NULL);

	return r == 0 ? run->why[0] == '\0' : failed(run, "check: %s", strerror(-r));
}

static bool close_store(struct run *run)
{
	int r = sv_store_close(run->store);

	run->store = NULL;
	return r == 0 ? true : failed(run, "close: %s", strerror(-r));
}

/* What is there after it all, in this session and in the next. */
static bool judge(struct run *run)
{
	struct sv_recovery recovery;
	int r;

	do { /* a pull behind the last write shows with the next call */
		if (!do_call(run, 1))
			return false;
		sv_dev_close(dev_crash_open(run->medium, NULL)); /* none is armed any more */
		r = sv_store_flush(run->store);
	} while (r == -ENODEV);
	if (!same_disk(run, "in the end") || !sound(run) || !close_store(run))
		return false;
	if (!open_store(run, NULL, &r))
		return failed(run, "open: %s: %s", strerror(-r), sv_store_why());
	sv_store_recovery(run->store, &recovery);
	if (!recovery.clean || recovery.lost_flushed_batches)
		return failed(run, "the next open finds an unclean end");
	return same_disk(run, "opened again") && sound(run) && close_store(run);
}

static void prepare(struct run *run, const struct runner_config *config, const struct pull *pull)
{
	const struct runner_geometry *g = &runner_geometries[config->geometry];
	struct sv_geometry geometry = {.size_bytes = 1024 * KIB,
				       .max_bytes = g->place_bytes,
				       .erase_bytes = g->erase_bytes,
				       .page_bytes = g->page_bytes,
				       .sector_bytes = g->page_bytes > 4096 ? 4096 : 512};

	*run = (struct run){.config = *config, .geometry = g, .pull = *pull};
	run->rng.state = config->seed;
	run->medium = dev_crash_create(&geometry);
	run->disk = calloc(1, g->disk_bytes + MAX_IO_BYTES);
	run->buf = aligned_alloc(4096, 4 * MAX_IO_BYTES);
	assert_true(run->disk && run->buf);
}

static void finish(struct run *run)
{
	sv_store_abandon(run->store);
	dev_crash_destroy(run->medium);
	free(run->disk);
	free(run->buf);
}

/* A session before (so that there is something to lose), then one in which the stick is pulled. */
static bool work(struct run *run, uint64_t *ret_writes)
{
	struct dev_crash_cut cut = cut_of(run, run->pull.when, run->pull.write, run->pull.seed);
	struct dev_crash_cut quiet = cut_of(run, DEV_CRASH_NEVER, 0, 3); /* lies are remembered */
	struct pull pull = run->pull;
	int r;

	run->pull.when = DEV_CRASH_NEVER;
	if (runner_format(run->geometry, run->medium) < 0 || !open_store(run, &quiet, &r))
		return failed(run, "the first session");
	for (unsigned i = 0; i < run->config.ops / 3; i++)
		if (!one_op(run))
			return failed(run, "the first session");
	if (!close_store(run))
		return false;
	run->pull = pull;
	if (!open_store(run, &cut, &r)) {
		/* A pull during an open is a power cut: a stick that lies may lose what it had. */
		if (r != -ENODEV || !open_store(run, &quiet, &r))
			return failed(run, "open: %s: %s", strerror(-r), sv_store_why());
		if (run->config.mode != RUNNER_PLAIN)
			(void)sv_store_read(run->store, run->disk, run->geometry->disk_bytes, 0);
	}
	for (unsigned i = 0; i < run->config.ops; i++)
		if (!one_op(run))
			return failed(run, "in operation %u", i);
	*ret_writes = dev_crash_writes(run->medium);
	return judge(run);
}

static bool parks; /* of the runs to come */

static bool one_run(const struct runner_config *config, const struct pull *pull,
		    uint64_t *ret_writes)
{
	struct run run;
	bool good;

	prepare(&run, config, pull);
	run.parks = parks;
	good = work(&run, ret_writes);
	runs_done++;
	if (!good)
		print_error("store_yank: %s\n  replay: unit-store_yank --geometry=%u --mode=%s "
			    "--seed=%" PRIu64 " --ops=%u --pull=%s:%" PRIu64 ":%" PRIu64 "%s\n",
			    run.why, config->geometry, mode_names[config->mode], config->seed,
			    config->ops, when_names[pull->when], pull->write, pull->seed,
			    parks ? " --park" : "");
	finish(&run);
	return good;
}

/* At every write, one way or the other; `every`: at so many of them. */
static bool pull_everywhere(const struct runner_config *config, unsigned every)
{
	struct pull pull = {.when = DEV_CRASH_NEVER};
	struct prng rng = {config->seed ^ 0x9a};
	uint64_t writes = 0, ignored;
	bool good = one_run(config, &pull, &writes);

	for (uint64_t write = 1; good && write <= writes; write += every)
		for (unsigned when = 1; good && when <= 3; when++) {
			pull = (struct pull){(enum dev_crash_when)when, write,
					     prng_next(&rng) >> 40};
			good = one_run(config, &pull, &ignored);
		}
	return good;
}

static void nothing_is_lost(enum runner_mode mode)
{
	uint64_t runs = runs_done, pulls = pulls_done, second = second_pulls;

	did_all = (struct sv_reattach){0};
	for (unsigned geometry = 0; geometry < runner_geometry_count; geometry++) {
		struct runner_config config = {
			.geometry = geometry, .mode = mode, .seed = 11 + geometry, .ops = 90};

		assert_true(pull_everywhere(&config, 3 * effort_step()));
	}
	print_message("store_yank %s: %" PRIu64 " runs, %" PRIu64 " pulls, %" PRIu64
		      " of them again before it was attached; %" PRIu64 " KiB right, %" PRIu64
		      " KiB written again, %" PRIu64 " KiB of that flushed before\n",
		      mode_names[mode], runs_done - runs, pulls_done - pulls, second_pulls - second,
		      did_all.verified_bytes / 1024, did_all.rewritten_bytes / 1024,
		      did_all.missing_bytes / 1024);
	assert_true(did_all.rewritten_bytes > 0 && second_pulls > second);
}

static void test_plain(void **state)
{
	(void)state;
	nothing_is_lost(RUNNER_PLAIN);
	assert_int_equal(did_all.missing_bytes, 0);
}

static void test_liar(void **state)
{
	(void)state;
	nothing_is_lost(RUNNER_LIAR);
	assert_true(did_all.missing_bytes > 0);
}

static void test_paired(void **state)
{
	(void)state;
	nothing_is_lost(RUNNER_PAIRED);
	assert_true(did_all.missing_bytes > 0);
}

static void parked(enum runner_mode mode)
{
	uint64_t runs = runs_done, pulls = pulls_done, second = second_pulls, cut = opens_cut;

	parks = true;
	did_all = (struct sv_reattach){0};
	unsealed_bytes = 0;
	for (unsigned geometry = 0; geometry < runner_geometry_count; geometry++) {
		struct runner_config config = {
			.geometry = geometry, .mode = mode, .seed = 31 + geometry, .ops = 60};

		assert_true(pull_everywhere(&config, 7));
	}
	parks = false;
	print_message("store_yank parked, %s: %" PRIu64 " runs, parked %" PRIu64
		      " times; the way back cut %" PRIu64 " times while writing back, %" PRIu64
		      " behind; %" PRIu64 " KiB written again, %" PRIu64
		      " KiB that were in no append\n",
		      mode_names[mode], runs_done - runs, pulls_done - pulls, second_pulls - second,
		      opens_cut - cut, did_all.rewritten_bytes / 1024, unsealed_bytes / 1024);
	assert_true(did_all.rewritten_bytes > 0 && second_pulls > second && unsealed_bytes > 0);
}

static void test_parked(void **state)
{
	(void)state;
	parked(RUNNER_PLAIN);
	assert_true(opens_cut > 0);
}

static void test_parked_liar(void **state)
{
	(void)state;
	parked(RUNNER_LIAR);
}

static void test_parked_paired(void **state)
{
	(void)state;
	parked(RUNNER_PAIRED);
}

/* ---- command line ---- */

static bool take_number(const char *arg, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);

	if (strncmp(arg, name, len) != 0)
		return false;
	*ret = strtoull(arg + len, NULL, 10);
	return true;
}

static int take_args(int argc, char **argv)
{
	uint64_t geometry = 0, seed = 1, ops = 100, seeds = 1, ignored;
	struct runner_config config = {0};
	struct pull pull = {0};
	bool good = true;

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		for (unsigned m = 0; m < RUNNER_MODES; m++)
			if (!strncmp(arg, "--mode=", 7) && !strcmp(arg + 7, mode_names[m]))
				config.mode = (enum runner_mode)m;
		for (unsigned w = 1; w <= 3; w++)
			if (!strncmp(arg, "--pull=", 7) &&
			    !strncmp(arg + 7, when_names[w], strlen(when_names[w])) &&
			    sscanf(strchr(arg, ':'), ":%" SCNu64 ":%" SCNu64, &pull.write,
				   &pull.seed) == 2)
				pull.when = (enum dev_crash_when)w;
		parks |= strcmp(arg, "--park") == 0;
		(void)(take_number(arg, "--geometry=", &geometry) ||
		       take_number(arg, "--seed=", &seed) || take_number(arg, "--ops=", &ops) ||
		       take_number(arg, "--seeds=", &seeds));
	}
	config.geometry = (unsigned)geometry % runner_geometry_count;
	config.ops = (unsigned)ops;
	for (config.seed = seed; good && config.seed < seed + seeds; config.seed++)
		good = pull.when ? one_run(&config, &pull, &ignored) : pull_everywhere(&config, 1);
	printf("%" PRIu64 " runs, %" PRIu64 " pulls, %" PRIu64 " second ones\n", runs_done,
	       pulls_done, second_pulls + opens_cut);
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),	    cmocka_unit_test(test_liar),
		cmocka_unit_test(test_paired),	    cmocka_unit_test(test_parked),
		cmocka_unit_test(test_parked_liar), cmocka_unit_test(test_parked_paired),
	};

	if (argc > 1)
		return take_args(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
