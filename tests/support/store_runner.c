/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_runner.c: random work on a store, recorded once and cut at any write. */
#include "store_runner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store_impl.h"

/*
 * Operations are numbered; a write or discard makes a new state of the model. What a cut may leave
 * of them is judged in store_cut.c.
 *
 * Some verbs run inside others: a hook of the medium is called before its writes and flushes, while
 * a batch is being sealed, a segment cleaned or a root written, and reads, writes and discards from
 * in there, as another thread would at that moment, only the same every time. Not inside an
 * operation that is making states itself, and no flush: it would wait for the seal that it is in.
 *
 * ENOSPC is an answer, not a failure: what of the write was taken is read back. Flush, discard,
 * open and close may not give it, nor may a flush where cleaning or a root did.
 */
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define MAX_IO_BYTES (64 * KIB)
#define CLOCK_S 1735689600 /* 2025 */
#define NESTED_MOST 6u
#define NESTED_BYTES (8 * KIB)
/* A nested write may not wait for a batch to drain: so much is free of the smallest one. */
#define NESTED_DIRTY_BYTES (96 * KIB)

const struct runner_geometry runner_geometries[] = {
	{"64K/4K", 64 * KIB, 4 * KIB, 64 * KIB, 16 * MIB, 1 * MIB, 128 * KIB, 256 * KIB, 0, 0,
	 SV_BIRTHS_MEASURED},
	{"256K/16K", 256 * KIB, 16 * KIB, 128 * KIB, 40 * MIB, 2 * MIB, 512 * KIB, MIB, 0, 0,
	 SV_BIRTHS_MEASURED},
	{"128K/4K", 128 * KIB, 4 * KIB, 32 * KIB, 24 * MIB, MIB + 512, 64 * KIB, 128 * KIB, 0, 0,
	 SV_BIRTHS_MEASURED},
	{"tight", 64 * KIB, 4 * KIB, 64 * KIB, 5 * MIB, 1 * MIB, 128 * KIB, 256 * KIB, 0, 0,
	 SV_BIRTHS_MEASURED},
	{"full", 64 * KIB, 4 * KIB, 64 * KIB, 4 * MIB, 3 * MIB, 128 * KIB, 256 * KIB, 0, 0,
	 SV_BIRTHS_MEASURED},
	{"grows", 64 * KIB, 4 * KIB, 64 * KIB, 12 * MIB, 2 * MIB, 64 * KIB, 128 * KIB, 3 * MIB,
	 320 * KIB, SV_BIRTHS_MEASURED},
	{"64K/4K born", 64 * KIB, 4 * KIB, 64 * KIB, 16 * MIB, 1 * MIB, 128 * KIB, 256 * KIB, 0, 0,
	 SV_BIRTHS_TRIED},
	{"256K/16K born", 256 * KIB, 16 * KIB, 128 * KIB, 40 * MIB, 2 * MIB, 512 * KIB, MIB, 0, 0,
	 SV_BIRTHS_TRIED},
	{"tight born", 64 * KIB, 4 * KIB, 64 * KIB, 5 * MIB, 1 * MIB, 128 * KIB, 256 * KIB, 0, 0,
	 SV_BIRTHS_TRIED},
	{"full born", 64 * KIB, 4 * KIB, 64 * KIB, 4 * MIB, 3 * MIB, 128 * KIB, 256 * KIB, 0, 0,
	 SV_BIRTHS_TRIED},
	{"tiny", 64 * KIB, 4 * KIB, 64 * KIB, 4 * MIB, 1 * MIB, 64 * KIB, 128 * KIB,
	 3 * MIB + 256 * KIB, 64 * KIB, SV_BIRTHS_MEASURED},
};
/* The last one is for sequences. */
const unsigned runner_geometry_count = sizeof(runner_geometries) / sizeof(runner_geometries[0]) - 1;
const unsigned runner_tiny = sizeof(runner_geometries) / sizeof(runner_geometries[0]) - 1;

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

/* The clock stands still, so that a run repeats to the last bit: headers carry the time. */
time_t time(time_t *ret_time)
{
	if (ret_time != NULL)
		*ret_time = CLOCK_S;
	return CLOCK_S;
}

bool runner_failed(struct runner *run, const char *format, ...)
{
	va_list args;

	if (run->why[0] == '\0') {
		va_start(args, format);
		vsnprintf(run->why, sizeof(run->why), format, args);
		va_end(args);
	}
	return false;
}

const char *const runner_op_names[RUNNER_OPS] = {
	"open",	 "write",   "discard", "flush", "read",	 "checkpoint", "clean",
	"close", "abandon", "zero",    "seek",	"small", "over"};

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
			i, runner_op_names[op->kind], op->off_bytes, op->len_bytes, op->state,
			op->writes);
	}
}

static bool refused(struct runner *run, const char *what, int r)
{
	explain_ops(run, run->model.floor);
	return runner_failed(run, "%s: %s", what, strerror(-r));
}

bool runner_open(struct runner *run, const struct dev_crash_cut *cut, int *ret_error)
{
	const struct sv_open_options options = {
		.manual = true,
		.batch_bytes = 256 * KIB,
		.map_ram_bytes = 256 * KIB,
		.host = "runner",
		.births = run->geometry->births,
		.seed = prng_next(&run->rng) | 1,
	};
	struct sv_dev *dev;
	int r;

	if (run->geometry->grow_bytes != 0) {
		run->max_bytes += run->geometry->grow_bytes;
		if (run->max_bytes > run->geometry->place_bytes)
			run->max_bytes = run->geometry->place_bytes;
		dev_crash_set_max(run->medium, run->max_bytes);
	}
	dev = dev_crash_open(run->medium, cut);
	r = sv_store_open(dev, &options, &run->store);

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
			return runner_failed(run, "read at %" PRIu64 ": %s", at, strerror(-r));
	}
	return true;
}

/* The whole disk is a state in [from, to]. */
bool runner_check_disk(struct runner *run, size_t from, size_t to, size_t *ret_state)
{
	if (!read_disk(run))
		return false;
	if (model_find(&run->model, run->disk, from, to, ret_state))
		return true;
	if (run->why[0] == '\0') {
		model_explain(&run->model, run->disk, from, to, stderr);
		explain_ops(run, from);
	}
	return runner_failed(run, "the disk is no state in [%zu, %zu]", from, to);
}

static void on_finding(void *context, const struct sv_finding *finding)
{
	runner_failed(context, "check: %s at %" PRIu64 " + %" PRIu64 ", place %" PRIx64,
		      finding->what, finding->off_bytes, finding->len_bytes, finding->place_bytes);
}

/* What would be written again after a pull is of the generation that its segment has now: nothing
 * of a group that was refused. */
static bool check_kept(struct runner *run)
{
	struct sv_store *s = run->store;

	for (uint32_t n = 0; s->retain.mem != NULL && n < s->retain.count; n++) {
		const struct sv_kept *kept = sv_retain_nth(s, n);
		uint64_t segment = kept->place / s->anchor.segment_bytes;
		uint8_t *bytes = must(malloc(kept->len_bytes));
		struct sv_head h = {0};

		sv_retain_copy(s, kept, bytes);
		if (sv_head_decode(bytes, kept->len_bytes, &h) < 0 ||
		    h.generation != s->segs.v[segment].usage.generation)
			runner_failed(run, "what is kept for %" PRIx64 " is not its segment's",
				      kept->place);
		free(bytes);
	}
	return run->why[0] == '\0';
}

bool runner_check_structure(struct runner *run, bool deep)
{
	int r = sv_store_check(run->store, deep, on_finding, run, NULL);

	if (r == 0 && !check_kept(run))
		return false;
	return r == 0 ? run->why[0] == '\0' : runner_failed(run, "check: %s", strerror(-r));
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

/* A write that found no room took some of its blocks, in order, or none. */
static bool settle_full(struct runner *run, size_t before, uint64_t len_bytes, uint64_t off_bytes)
{
	uint8_t *got = run->disk;
	size_t state;
	int r = sv_store_read(run->store, got, len_bytes, off_bytes);

	if (r < 0)
		return runner_failed(run, "read after ENOSPC: %s", strerror(-r));
	if (!model_find_range(&run->model, got, len_bytes, off_bytes, before, &state))
		return runner_failed(run, "a write that found no room left something else");
	model_truncate(&run->model, state);
	run->full++;
	return true;
}

/* Writes run->buf; the model knows of it before, for a cut inside. */
static bool put(struct runner *run, const struct runner_op *op, const char *what)
{
	size_t before = run->model.count - 1;
	int r;

	model_write(&run->model, run->buf, op->len_bytes, op->off_bytes);
	r = sv_store_write(run->store, run->buf, op->len_bytes, op->off_bytes);
	if (r == -ENOSPC)
		return settle_full(run, before, op->len_bytes, op->off_bytes);
	return r == 0 ? true : refused(run, what, r);
}

static bool do_write(struct runner *run, struct runner_op *op)
{
	pick_range(run, MAX_IO_BYTES, op);
	fill(run, op->len_bytes, op->off_bytes);
	return put(run, op, "write");
}

/* The last block of a disk may be a part of one. */
static void end_within(struct runner_op *op, uint64_t size_bytes)
{
	if (op->off_bytes >= size_bytes)
		op->off_bytes = op->off_bytes / 4096 * 4096;
	op->len_bytes = sv_min64(op->len_bytes, size_bytes - op->off_bytes);
}

/* Less than a block: the rest of it is read and written back. */
static bool do_small(struct runner *run, struct runner_op *op)
{
	uint64_t sectors = 1 + prng_below(&run->rng, 7);

	pick_range(run, 4096, op);
	op->off_bytes = op->off_bytes / 4096 * 4096 + 512 * prng_below(&run->rng, 8 - sectors);
	op->len_bytes = 512 * sectors;
	end_within(op, run->model.size_bytes);
	fill(run, op->len_bytes, op->off_bytes);
	return put(run, op, "small write");
}

/* What was written last, again. */
static bool do_over(struct runner *run, struct runner_op *op)
{
	size_t i = run->op_count;

	while (i > 0 && run->ops[i - 1].kind != RUNNER_WRITE)
		i--;
	if (i == 0)
		return do_write(run, op);
	op->off_bytes = run->ops[i - 1].off_bytes;
	op->len_bytes = run->ops[i - 1].len_bytes;
	prng_fill(&run->rng, run->buf, op->len_bytes);
	return put(run, op, "overwrite");
}

/* Zeros as data: what write-zeroes becomes where it may not discard. */
static bool do_zero(struct runner *run, struct runner_op *op)
{
	pick_range(run, MAX_IO_BYTES, op);
	memset(run->buf, 0, op->len_bytes);
	return put(run, op, "write of zeros");
}

static bool discard(struct runner *run, const struct runner_op *op)
{
	size_t before = run->model.count - 1;
	int r;

	model_discard(&run->model, op->len_bytes, op->off_bytes);
	r = sv_store_discard(run->store, op->len_bytes, op->off_bytes);
	if (r == -ENOSPC && (op->off_bytes | op->len_bytes) % 4096 != 0) /* its ragged ends */
		return settle_full(run, before, op->len_bytes, op->off_bytes);
	return r == 0 ? true : refused(run, "discard", r);
}

static bool do_discard(struct runner *run, struct runner_op *op)
{
	pick_range(run, run->model.size_bytes / (prng_one_in(&run->rng, 8) ? 1 : 16), op);
	return discard(run, op);
}

static bool compare(struct runner *run, const struct runner_op *op, uint8_t *got, uint8_t *want)
{
	int r = sv_store_read(run->store, got, op->len_bytes, op->off_bytes);

	if (r < 0)
		return runner_failed(run, "read at %" PRIu64 ": %s", op->off_bytes, strerror(-r));
	model_read(&run->model, want, op->len_bytes, op->off_bytes);
	if (memcmp(got, want, op->len_bytes) != 0)
		return runner_failed(run, "read at %" PRIu64 " + %" PRIu64 " gives other data",
				     op->off_bytes, op->len_bytes);
	return true;
}

static bool do_read(struct runner *run, struct runner_op *op)
{
	pick_range(run, MAX_IO_BYTES, op);
	return compare(run, op, run->buf, run->disk);
}

/* What is said to be a hole must read as zeros. */
static bool do_seek(struct runner *run, struct runner_op *op)
{
	uint64_t data_bytes = run->model.size_bytes;
	int r;

	pick_range(run, MAX_IO_BYTES, op);
	r = sv_store_seek(run->store, SV_SEEK_DATA, op->off_bytes, &data_bytes);
	if (r < 0 && r != -ENXIO)
		return refused(run, "seek", r);
	op->len_bytes = data_bytes - op->off_bytes;
	if (op->len_bytes > MAX_IO_BYTES)
		op->len_bytes = MAX_IO_BYTES;
	model_read(&run->model, run->buf, op->len_bytes, op->off_bytes);
	for (uint64_t i = 0; i < op->len_bytes; i++)
		if (run->buf[i] != 0)
			return runner_failed(run, "data at %" PRIu64 " is said to be a hole",
					     op->off_bytes + i);
	return true;
}

/* ---- verbs inside others ---- */

static void nested_range(struct runner *run, struct runner_op *op)
{
	pick_range(run, NESTED_BYTES, op);
	if (op->len_bytes > NESTED_BYTES)
		op->len_bytes = NESTED_BYTES;
}

/* Called before each write and flush of the device. */
static void nested(void *context)
{
	struct runner *run = context;
	struct runner_op op = {0};
	uint8_t got[NESTED_BYTES], want[NESTED_BYTES];
	struct sv_status status;
	bool space;

	if (run->nested_left == 0 || !prng_one_in(&run->rng, 2))
		return;
	run->nested_left--;
	sv_store_status(run->store, &status);
	nested_range(run, &op);
	/* Where space is short a write looks for some, which waits for what is under way. */
	pthread_mutex_lock(&run->store->lock);
	space = sv_has_space(run->store, 2 * NESTED_BYTES / SV_BLOCK_BYTES);
	pthread_mutex_unlock(&run->store->lock);
	if (!space || status.dirty_bytes > NESTED_DIRTY_BYTES || prng_one_in(&run->rng, 3)) {
		compare(run, &op, got, want);
	} else if (prng_one_in(&run->rng, 4)) {
		discard(run, &op);
	} else {
		fill(run, op.len_bytes, op.off_bytes);
		put(run, &op, "nested write");
	}
	run->nested++;
}

static bool do_flush(struct runner *run)
{
	size_t promised = run->model.count - 1;
	int r = sv_store_flush(run->store);

	if (r < 0)
		return refused(run, "flush", r);
	model_flushed_to(&run->model, promised); /* not what was written meanwhile */
	return true;
}

/* Cleaning and roots may find no room; what was acknowledged must (B2). */
static bool still_flushes(struct runner *run)
{
	run->full++;
	return do_flush(run);
}

static bool do_clean(struct runner *run)
{
	unsigned cleaned;
	int r = sv_store_clean(run->store, 1 + (unsigned)prng_below(&run->rng, 6), &cleaned);

	return r == -ENOSPC ? still_flushes(run) : r == 0 ? true : refused(run, "clean", r);
}

static bool do_checkpoint(struct runner *run)
{
	int r = sv_store_checkpoint(run->store);

	return r == -ENOSPC ? still_flushes(run) : r == 0 ? true : refused(run, "checkpoint", r);
}

static bool do_open(struct runner *run)
{
	size_t state;
	int r;

	if (!runner_open(run, NULL, &r))
		return runner_failed(run, "open: %s: %s", strerror(-r), sv_store_why());
	if (!runner_check_disk(run, run->model.floor, run->model.count - 1, &state))
		return false;
	if (run->recovery.lost_flushed_batches > 0 && !run->unsaid)
		return runner_failed(run, "open reports flushed batches as lost");
	if (state != run->model.count - 1)
		model_return_to(&run->model, state);
	model_flushed(&run->model); /* what a reader was shown stays */
	return runner_check_structure(run, false);
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

void runner_abandon(struct runner *run)
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
		{RUNNER_WRITE, 46},  {RUNNER_SMALL, 4}, {RUNNER_OVER, 3},  {RUNNER_FLUSH, 17},
		{RUNNER_DISCARD, 6}, {RUNNER_READ, 6},	{RUNNER_CLEAN, 6}, {RUNNER_CHECKPOINT, 3},
		{RUNNER_ZERO, 3},    {RUNNER_SEEK, 2},	{RUNNER_CLOSE, 2}, {RUNNER_ABANDON, 2},
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
		runner_abandon(run);
		return true;
	case RUNNER_ZERO:
		return do_zero(run, op);
	case RUNNER_SEEK:
		return do_seek(run, op);
	case RUNNER_SMALL:
		return do_small(run, op);
	case RUNNER_OVER:
		return do_over(run, op);
	case RUNNER_OPS:
		break;
	}
	abort();
}

/* Of those that make no states themselves. */
static bool can_nest(enum runner_op_kind kind)
{
	return kind == RUNNER_FLUSH || kind == RUNNER_CLEAN || kind == RUNNER_CHECKPOINT;
}

bool runner_op(struct runner *run, enum runner_op_kind kind)
{
	struct runner_op op = {
		.kind = kind, .floor = run->model.floor, .from = run->model.count - 1};
	bool good;

	if (can_nest(kind))
		run->nested_left = (unsigned)prng_below(&run->rng, NESTED_MOST);
	good = do_op(run, &op) && run->why[0] == '\0';
	run->nested_left = 0;
	op.writes = dev_crash_recorded(run->medium);
	op.state = run->model.count - 1;
	if (run->op_count == run->op_capacity) {
		run->op_capacity = run->op_capacity * 2 + 64;
		run->ops = must(realloc(run->ops, run->op_capacity * sizeof(*run->ops)));
	}
	run->ops[run->op_count++] = op;
	return good;
}

bool runner_work(struct runner *run, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!runner_op(run, pick_kind(run)))
			return runner_failed(run, "in operation %u", i);
	return true;
}

/* ---- a recorded run ---- */

struct sv_format_params runner_format_params(const struct runner_geometry *geometry)
{
	return (struct sv_format_params){.size_bytes = geometry->disk_bytes,
					 .segment_bytes = geometry->segment_bytes,
					 .page_bytes = geometry->page_bytes,
					 .lie_window_bytes = geometry->lie_window_bytes,
					 .checkpoint_bytes = geometry->checkpoint_bytes};
}

int runner_format(const struct runner_geometry *geometry, struct dev_crash *medium)
{
	struct sv_format_params params = runner_format_params(geometry);
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	int r;

	params.id[0] = 1;
	r = sv_store_format(dev, &params);
	sv_dev_close(dev);
	return r;
}

void runner_prepare(struct runner *run, const struct runner_config *config)
{
	size_t bytes;

	run->config = *config;
	run->geometry = &runner_geometries[config->geometry];
	run->rng.state = config->seed;
	run->max_bytes = run->geometry->start_bytes != 0 ? run->geometry->start_bytes
							 : run->geometry->place_bytes;
	bytes = (run->geometry->disk_bytes + MAX_IO_BYTES + 4095) & ~(size_t)4095;

	run->disk = must(aligned_alloc(4096, bytes));
	run->buf = must(aligned_alloc(4096, bytes));
	run->unreadable = must(calloc(bytes / 4096, sizeof(*run->unreadable)));
}

/* A formatted store on a new medium, closed; what follows is recorded. */
static bool begin(struct runner *run, const struct runner_config *config)
{
	struct sv_geometry geometry = {0};
	bool good;
	int r;

	*run = (struct runner){0};
	runner_prepare(run, config);
	geometry.size_bytes = MIB;
	geometry.max_bytes = run->max_bytes;
	geometry.erase_bytes = run->geometry->erase_bytes;
	geometry.page_bytes = run->geometry->page_bytes;
	geometry.sector_bytes = run->geometry->page_bytes > 4096 ? 4096 : 512;
	run->medium = dev_crash_create(&geometry);
	model_init(&run->model, run->geometry->disk_bytes);
	r = runner_format(run->geometry, run->medium);
	good = r == 0 ? true : runner_failed(run, "format: %s", strerror(-r));
	dev_crash_record(run->medium);
	dev_crash_set_hook(run->medium, nested, run);
	return good;
}

/* Looks at the store as it is now, and leaves it. */
static bool finish(struct runner *run, bool good)
{
	size_t newest = run->model.count - 1;

	if (good && run->store != NULL)
		good = runner_check_disk(run, newest, newest, &newest) &&
		       runner_check_structure(run, true);
	runner_abandon(run);
	crash_oracle_read(run->medium, runner_reach_bytes(run), &run->oracle);
	run->born = run->oracle.born;
	return good;
}

bool runner_record(const struct runner_config *config, struct runner *ret_runner)
{
	bool good = begin(ret_runner, config) && runner_work(ret_runner, config->ops);

	return finish(ret_runner, good);
}

static bool sequence(struct runner *run, const enum runner_op_kind *kinds, unsigned count)
{
	bool good = true;

	for (unsigned i = 0; good && i < count; i++) {
		if (run->store == NULL && kinds[i] != RUNNER_OPEN)
			good = runner_op(run, RUNNER_OPEN);
		if (good && (kinds[i] != RUNNER_OPEN || run->store == NULL))
			good = runner_op(run, kinds[i]);
	}
	return good;
}

bool runner_record_sequence(const struct runner_config *config, const enum runner_op_kind *prefix,
			    unsigned prefix_count, const enum runner_op_kind *kinds, unsigned count,
			    struct runner *ret_runner)
{
	bool good = begin(ret_runner, config) && sequence(ret_runner, prefix, prefix_count);

	ret_runner->first_write = dev_crash_recorded(ret_runner->medium) + 1;
	return finish(ret_runner, good && sequence(ret_runner, kinds, count));
}

void runner_free(struct runner *run)
{
	runner_abandon(run);
	dev_crash_destroy(run->medium);
	model_free(&run->model);
	crash_oracle_free(&run->oracle);
	free(run->ops);
	free(run->disk);
	free(run->buf);
	free(run->unreadable);
	*run = (struct runner){0};
}
