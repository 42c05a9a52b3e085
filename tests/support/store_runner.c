/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_runner.c: random work on a store, recorded once and cut at any write. */
#include "store_runner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The oracle. Operations are numbered; a write or discard makes a new state of the model. A cut at
 * device write k falls into the operation that made it: everything before had returned. So the
 * disk that recovery brings back must be one of the states from the floor (the last flush, close
 * or open that had returned) to the one that the interrupted operation was making.
 *
 * On a medium that lies, or shreds neighbours of a torn write, an older state is right as well, if
 * something flushed was really lost. Recovery can only say so where a later batch survived to tell
 * of the flush: when the newest ones are gone, so is what is known of them. Both are counted.
 *
 * After that the store is used: a second cut during the recovery must not lose or bring back
 * anything, and more work and another cut must be survived.
 */
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define MAX_IO_BYTES (64 * KIB)
#define MORE_OPS 12u

const struct runner_geometry runner_geometries[] = {
	{"64K/4K", 64 * KIB, 4 * KIB, 64 * KIB, 16 * MIB, 1 * MIB, 128 * KIB, 256 * KIB},
	{"256K/16K", 256 * KIB, 16 * KIB, 128 * KIB, 40 * MIB, 2 * MIB, 512 * KIB, MIB},
	{"128K/4K", 128 * KIB, 4 * KIB, 32 * KIB, 24 * MIB, MIB + 512, 64 * KIB, 128 * KIB},
	{"tight", 64 * KIB, 4 * KIB, 64 * KIB, 5 * MIB, 1 * MIB, 128 * KIB, 256 * KIB},
};
const unsigned runner_geometry_count = sizeof(runner_geometries) / sizeof(runner_geometries[0]);

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static bool failed(struct runner *run, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool failed(struct runner *run, const char *format, ...)
{
	va_list args;

	if (run->why[0] == '\0') {
		va_start(args, format);
		vsnprintf(run->why, sizeof(run->why), format, args);
		va_end(args);
	}
	return false;
}

static const char *const kind_names[RUNNER_OPS] = {
	"open", "write", "discard", "flush", "read", "checkpoint", "clean", "close", "abandon"};

/* The operations since the floor, so that a failure can be read without a debugger. */
static void explain_ops(const struct runner *run, size_t from)
{
	size_t i = run->op_count;
	struct sv_status status;

	if (run->store != NULL) {
		sv_store_status(run->store, &status);
		fprintf(stderr,
			"  epoch %" PRIu64 " seq %" PRIu64 ", %" PRIu64 " segments, %" PRIu64
			" can be written, %" PRIu64 " KiB live of %" PRIu64 "\n",
			status.epoch, status.seq, status.segments, status.free_segments,
			status.used_bytes / 1024, status.capacity_bytes / 1024);
	}

	while (i > 0 && run->ops[i - 1].state >= from)
		i--;
	for (; i < run->op_count; i++) {
		const struct runner_op *op = &run->ops[i];

		fprintf(stderr,
			"  op %zu: %s %" PRIu64 " + %" PRIu64 " -> state %zu, device write %" PRIu64
			"\n",
			i, kind_names[op->kind], op->off_bytes, op->len_bytes, op->state,
			op->writes);
	}
}

static bool refused(struct runner *run, const char *what, int r)
{
	explain_ops(run, run->model.floor);
	return failed(run, "%s: %s", what, strerror(-r));
}

static bool open_store(struct runner *run, const struct dev_crash_cut *cut, int *ret_error)
{
	const struct sv_open_options options = {
		.manual = true,
		.batch_bytes = 256 * KIB,
		.map_ram_bytes = 256 * KIB,
		.host = "runner",
		.seed = prng_next(&run->rng) | 1,
	};
	struct sv_dev *dev = dev_crash_open(run->medium, cut);
	int r = sv_store_open(dev, &options, &run->store);

	*ret_error = r;
	if (r < 0) {
		sv_dev_close(dev);
		run->store = NULL;
		return false;
	}
	sv_store_recovery(run->store, &run->recovery);
	return true;
}

static bool read_disk(struct runner *run)
{
	uint64_t size_bytes = run->model.size_bytes;
	int r;

	for (uint64_t at = 0; at < size_bytes; at += MAX_IO_BYTES) {
		uint64_t len = size_bytes - at < MAX_IO_BYTES ? size_bytes - at : MAX_IO_BYTES;

		r = sv_store_read(run->store, run->disk + at, len, at);
		if (r < 0)
			return failed(run, "read at %" PRIu64 ": %s", at, strerror(-r));
	}
	return true;
}

/* The whole disk is a state in [from, to]. */
static bool check_disk(struct runner *run, size_t from, size_t to, size_t *ret_state)
{
	if (!read_disk(run))
		return false;
	if (model_find(&run->model, run->disk, from, to, ret_state))
		return true;
	if (run->why[0] == '\0') {
		model_explain(&run->model, run->disk, from, to, stderr);
		explain_ops(run, from);
	}
	return failed(run, "the disk is no state in [%zu, %zu]", from, to);
}

static void on_finding(void *context, const struct sv_finding *finding)
{
	failed(context, "check: %s at %" PRIu64 " + %" PRIu64 ", place %" PRIx64, finding->what,
	       finding->off_bytes, finding->len_bytes, finding->place_bytes);
}

static bool check_structure(struct runner *run, bool deep)
{
	int r = sv_store_check(run->store, deep, on_finding, run, NULL);

	return r == 0 ? run->why[0] == '\0' : failed(run, "check: %s", strerror(-r));
}

/* ---- operations ---- */

static void pick_range(struct runner *run, uint64_t max_bytes, struct runner_op *op)
{
	uint64_t size_bytes = run->model.size_bytes, hot = size_bytes / 8;
	uint64_t unit = prng_one_in(&run->rng, 3) ? 512 : 4096;
	uint64_t span = prng_one_in(&run->rng, 2) ? hot : size_bytes;
	uint64_t len = unit * (1 + prng_below(&run->rng,
					      prng_one_in(&run->rng, 6) ? max_bytes / unit : 6));
	uint64_t off = unit * prng_below(&run->rng, span / unit);

	op->off_bytes = off;
	op->len_bytes = len < size_bytes - off ? len : size_bytes - off;
}

static void fill(struct runner *run, uint64_t len_bytes, uint64_t off_bytes)
{
	switch (prng_below(&run->rng, 8)) {
	case 0:
		memset(run->buf, 0, len_bytes);
		break;
	case 1: /* what is there already */
		model_read(&run->model, run->buf, len_bytes, off_bytes);
		break;
	case 2:
	case 3: /* compresses well, and tells versions apart */
		memset(run->buf, (int)prng_below(&run->rng, 250) + 1, len_bytes);
		for (uint64_t at = 0; at < len_bytes; at += 512)
			prng_fill(&run->rng, run->buf + at, 16);
		break;
	default:
		prng_fill(&run->rng, run->buf, len_bytes);
	}
}

static bool do_write(struct runner *run, struct runner_op *op)
{
	int r;

	pick_range(run, MAX_IO_BYTES, op);
	fill(run, op->len_bytes, op->off_bytes);
	model_write(&run->model, run->buf, op->len_bytes, op->off_bytes);
	r = sv_store_write(run->store, run->buf, op->len_bytes, op->off_bytes);
	return r == 0 ? true : refused(run, "write", r);
}

static bool do_discard(struct runner *run, struct runner_op *op)
{
	uint64_t most = run->model.size_bytes / (prng_one_in(&run->rng, 8) ? 1 : 16);
	int r;

	pick_range(run, most, op);
	model_discard(&run->model, op->len_bytes, op->off_bytes);
	r = sv_store_discard(run->store, op->len_bytes, op->off_bytes);
	return r == 0 ? true : refused(run, "discard", r);
}

static bool do_read(struct runner *run, struct runner_op *op)
{
	int r;

	pick_range(run, MAX_IO_BYTES, op);
	r = sv_store_read(run->store, run->buf, op->len_bytes, op->off_bytes);
	if (r < 0)
		return failed(run, "read at %" PRIu64 ": %s", op->off_bytes, strerror(-r));
	model_read(&run->model, run->disk, op->len_bytes, op->off_bytes);
	if (memcmp(run->buf, run->disk, op->len_bytes) != 0)
		return failed(run, "read at %" PRIu64 " + %" PRIu64 " gives other data",
			      op->off_bytes, op->len_bytes);
	return true;
}

static bool do_flush(struct runner *run)
{
	int r = sv_store_flush(run->store);

	if (r < 0)
		return refused(run, "flush", r);
	model_flushed(&run->model);
	return true;
}

static bool do_clean(struct runner *run)
{
	unsigned cleaned;
	int r = sv_store_clean(run->store, 1 + (unsigned)prng_below(&run->rng, 6), &cleaned);

	return r == 0 ? true : refused(run, "clean", r);
}

static bool do_checkpoint(struct runner *run)
{
	int r = sv_store_checkpoint(run->store);

	return r == 0 ? true : refused(run, "checkpoint", r);
}

static bool do_open(struct runner *run)
{
	size_t state;
	int r;

	if (!open_store(run, NULL, &r))
		return failed(run, "open: %s: %s", strerror(-r), sv_store_why());
	if (!check_disk(run, run->model.floor, run->model.count - 1, &state))
		return false;
	if (run->recovery.lost_flushed_batches > 0)
		return failed(run, "open reports flushed batches as lost");
	if (state != run->model.count - 1)
		model_return_to(&run->model, state);
	model_flushed(&run->model); /* what a reader was shown stays */
	return check_structure(run, false);
}

static bool do_close(struct runner *run)
{
	int r;

	sv_store_status(run->store, &run->last);
	r = sv_store_close(run->store);
	run->store = NULL;
	if (r < 0)
		return refused(run, "close", r);
	model_flushed(&run->model);
	return true;
}

static void do_abandon(struct runner *run)
{
	if (run->store == NULL)
		return;
	sv_store_status(run->store, &run->last);
	sv_store_abandon(run->store);
	run->store = NULL;
}

static enum runner_op_kind pick_kind(struct runner *run)
{
	static const struct {
		enum runner_op_kind kind;
		unsigned weight;
	} kinds[] = {
		{RUNNER_WRITE, 56}, {RUNNER_FLUSH, 17},	 {RUNNER_DISCARD, 6},
		{RUNNER_READ, 8},   {RUNNER_CLEAN, 6},	 {RUNNER_CHECKPOINT, 3},
		{RUNNER_CLOSE, 2},  {RUNNER_ABANDON, 2},
	};
	uint64_t at = prng_below(&run->rng, 100);
	size_t i = 0;

	if (run->store == NULL)
		return RUNNER_OPEN;
	while (at >= kinds[i].weight)
		at -= kinds[i++].weight;
	return kinds[i].kind;
}

static bool do_op(struct runner *run, struct runner_op *op)
{
	switch (op->kind) {
	case RUNNER_OPEN:
		return do_open(run);
	case RUNNER_WRITE:
		return do_write(run, op);
	case RUNNER_DISCARD:
		return do_discard(run, op);
	case RUNNER_FLUSH:
		return do_flush(run);
	case RUNNER_READ:
		return do_read(run, op);
	case RUNNER_CHECKPOINT:
		return do_checkpoint(run);
	case RUNNER_CLEAN:
		return do_clean(run);
	case RUNNER_CLOSE:
		return do_close(run);
	case RUNNER_ABANDON:
		do_abandon(run);
		return true;
	case RUNNER_OPS:
		break;
	}
	abort();
}

static bool one_op(struct runner *run)
{
	struct runner_op op = {.kind = pick_kind(run), .floor = run->model.floor};
	bool good = do_op(run, &op);

	op.writes = dev_crash_recorded(run->medium);
	op.state = run->model.count - 1;
	if (run->op_count == run->op_capacity) {
		run->op_capacity = run->op_capacity * 2 + 64;
		run->ops = must(realloc(run->ops, run->op_capacity * sizeof(*run->ops)));
	}
	run->ops[run->op_count++] = op;
	return good;
}

static bool work(struct runner *run, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!one_op(run))
			return failed(run, "in operation %u", i);
	return true;
}

/* ---- a recorded run ---- */

static bool format(struct runner *run)
{
	const struct runner_geometry *geometry = run->geometry;
	struct sv_format_params params = {
		.size_bytes = geometry->disk_bytes,
		.segment_bytes = geometry->segment_bytes,
		.page_bytes = geometry->page_bytes,
		.lie_window_bytes = geometry->lie_window_bytes,
		.checkpoint_bytes = geometry->checkpoint_bytes,
		.id = {1},
	};
	struct sv_dev *dev = dev_crash_open(run->medium, NULL);
	int r = sv_store_format(dev, &params);

	sv_dev_close(dev);
	return r == 0 ? true : failed(run, "format: %s", strerror(-r));
}

static void prepare(struct runner *run, const struct runner_config *config)
{
	size_t bytes;

	run->config = *config;
	run->geometry = &runner_geometries[config->geometry];
	run->rng.state = config->seed;
	bytes = (run->geometry->disk_bytes + MAX_IO_BYTES + 4095) & ~(size_t)4095;

	run->disk = must(aligned_alloc(4096, bytes));
	run->buf = must(aligned_alloc(4096, bytes));
}

bool runner_record(const struct runner_config *config, struct runner *ret_runner)
{
	struct runner *run = ret_runner;
	struct sv_geometry geometry = {0};
	bool good;

	*run = (struct runner){0};
	prepare(run, config);
	geometry.size_bytes = MIB;
	geometry.max_bytes = run->geometry->place_bytes;
	geometry.erase_bytes = run->geometry->erase_bytes;
	geometry.page_bytes = run->geometry->page_bytes;
	geometry.sector_bytes = run->geometry->page_bytes > 4096 ? 4096 : 512;
	run->medium = dev_crash_create(&geometry);
	model_init(&run->model, run->geometry->disk_bytes);
	good = format(run);
	dev_crash_record(run->medium);
	good = good && work(run, config->ops);
	if (good && run->store != NULL)
		good = check_disk(run, run->model.count - 1, run->model.count - 1, &(size_t){0}) &&
		       check_structure(run, true);
	do_abandon(run);
	return good;
}

void runner_free(struct runner *run)
{
	do_abandon(run);
	dev_crash_destroy(run->medium);
	model_free(&run->model);
	free(run->ops);
	free(run->disk);
	free(run->buf);
	*run = (struct runner){0};
}

/* ---- a cut ---- */

static const struct runner_op *op_of_write(const struct runner *run, uint64_t write)
{
	size_t i = 0;

	while (i + 1 < run->op_count && run->ops[i].writes < write)
		i++;
	return &run->ops[i];
}

static bool judge_state(struct runner *run, size_t floor, size_t state, bool may_lose)
{
	if (state >= floor)
		return true;
	if (!may_lose)
		return failed(run, "state %zu is older than the last flush, %zu", state, floor);
	run->losses++;
	run->losses_said += run->recovery.lost_flushed_batches > 0;
	return true;
}

/* The medium lost or shredded something that was flushed. */
static bool lost_flushed(const struct dev_crash *medium)
{
	struct dev_crash_report report;

	dev_crash_last_report(medium, &report);
	return report.lied_sectors + report.paired_sectors > 0;
}

/* Opens after a cut; the disk must be a state from the floor (if it may lose: any) to `newest`. */
static bool recover(struct runner *run, size_t floor, size_t newest, bool may_lose,
		    size_t *ret_state)
{
	int r;

	if (!open_store(run, NULL, &r))
		return failed(run, "open after the cut: %s: %s", strerror(-r), sv_store_why());
	return check_disk(run, may_lose ? 0 : floor, newest, ret_state) &&
	       judge_state(run, floor, *ret_state, may_lose) && check_structure(run, false);
}

/* Opens with a cut under way; then again. What the first open had shown must still be there. */
static bool recover_twice(struct runner *run, size_t floor, size_t newest, bool may_lose,
			  uint64_t seed, size_t *ret_state)
{
	struct dev_crash_cut cut = {
		.when = DEV_CRASH_INSIDE, .write = 1 + seed % 5, .seed = seed ^ 0x5eed};
	size_t shown = floor;
	bool opened;
	int r;

	opened = open_store(run, &cut, &r);
	if (!opened && r != -ENODEV)
		return failed(run, "open under a second cut: %s: %s", strerror(-r), sv_store_why());
	if (opened) {
		if (!check_disk(run, may_lose ? 0 : floor, newest, &shown))
			return false;
		do_abandon(run);
		dev_crash_power_off(run->medium, &cut);
		floor = newest = shown;
		may_lose = false;
	}
	if (!recover(run, floor, newest, may_lose, ret_state))
		return failed(run, "after a second cut (%s)", opened ? "opened" : "not opened");
	return true;
}

/* The store is used after the recovery, cut again, and used again. */
static bool go_on(struct runner *run, size_t state, uint64_t seed)
{
	struct dev_crash_cut cut = {.seed = seed ^ 0xc07};
	struct model_disk model;
	size_t floor, newest;

	model_fork(&run->model, state, &model);
	model_free(&run->model);
	run->model = model;
	run->rng.state = seed;
	if (!work(run, MORE_OPS))
		return failed(run, "after the recovery");
	floor = run->model.floor;
	newest = run->model.count - 1;
	do_abandon(run);
	dev_crash_power_off(run->medium, &cut);
	return recover(run, floor, newest, false, &state) || failed(run, "in a later cut");
}

bool runner_cut(struct runner *run, enum dev_crash_when when, uint64_t write, uint64_t seed)
{
	const struct runner_op *op = op_of_write(run, write);
	struct runner cut_run = {0};
	struct dev_crash_cut cut = {.when = when, .write = write, .seed = seed};
	size_t state;
	bool may_lose, good;

	if (run->config.mode == RUNNER_LIAR)
		cut.liar_bytes = run->geometry->lie_window_bytes * (1 + seed % 4) / 4;
	if (run->config.mode == RUNNER_PAIRED)
		cut.paired_bytes = run->geometry->page_bytes * (uint32_t)(1 + seed % 4);
	prepare(&cut_run, &run->config);
	cut_run.medium = dev_crash_fork(run->medium, &cut);
	may_lose = lost_flushed(cut_run.medium);
	cut_run.model = run->model; /* borrowed until it goes on */
	if (seed % 3 == 0)
		good = recover_twice(&cut_run, op->floor, op->state, may_lose, seed, &state);
	else
		good = recover(&cut_run, op->floor, op->state, may_lose, &state);
	cut_run.model = (struct model_disk){0};
	if (good) {
		model_fork(&run->model, state, &cut_run.model);
		good = go_on(&cut_run, 0, seed);
	}
	run->losses += cut_run.losses;
	run->losses_said += cut_run.losses_said;
	if (!good)
		failed(run, "%s (operation %zu of %zu, kind %u, floor %zu, newest %zu)",
		       cut_run.why, (size_t)(op - run->ops), run->op_count, op->kind, op->floor,
		       op->state);
	runner_free(&cut_run);
	return good;
}
