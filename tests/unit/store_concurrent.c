/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_concurrent.c: power cuts under threads that write, discard, flush, read and clean at once.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "crash_farm.h"
#include "crash_log.h"
#include "store_runner.h"

/*
 * Real threads, the keeper among them, on a medium that records what it is told in the order in
 * which it is told. Each writer has blocks of its own, in chunks that lie between those of others,
 * so that units, leaves and batches are shared. A *step* is what happens to the disk at once: one
 * block of a write, or a whole discard. When an operation begins and ends, one clock is read, which
 * counts; and how many writes the medium had recorded. Then, for a cut at any device write:
 *
 *  T1  What each writer finds is its disk after some number p of its steps: one prefix a writer.
 *  T2  All steps that had returned before a flush began are in, if it returned before the cut.
 *  T3  No step is in that began after the cut.
 *  T4  The prefixes fit together: with a step all steps are in that had returned before it began.
 *
 * T1 and T4 say exactly that the disk is a state it can have had: sets of steps that are closed
 * downwards under "returned before it began" are the prefixes of the orders in which the steps may
 * have happened. The smallest p that fits is raised until all fit, or there are none. Where a stick
 * loses what it had flushed, T2 counts the flushes whose writes all survived (crash_oracle.c); the
 * loss must be said where it can be known, and nothing may be said where nothing was lost.
 *
 *  T5  A read finds the block as it was after some step between those that had returned when it
 *      began and those that had begun when it ended.
 *
 *   unit-store_concurrent --seed=N --geometry=N --mode=N [--seeds=N]
 * runs one kind of it again; threads take turns as they like, so the bytes are other ones.
 */
#define WRITERS 3u
#define CHUNK 8u  /* blocks */
#define CHUNKS 8u /* of each writer */
#define EACH (CHUNK * CHUNKS)
#define BLOCKS (WRITERS * EACH)
#define OPS 80u
#define STEPS_MOST (OPS * CHUNK)
#define READS 400u
#define FLUSHES 4000u
/* Of the runner; the last one has blocks that are born apart. */
static const unsigned geometries[] = {0, 1, 2, 6};
#define GEOMETRIES 4u
#define SEEDS 1u

struct step {
	uint32_t first, count; /* of the writer's own blocks */
	uint32_t version;      /* 0: discarded */
	uint64_t start, end;   /* by the clock */
	uint64_t begun_writes; /* what the medium had recorded then */
};

struct writer {
	struct world *w;
	uint32_t number;
	struct step step[STEPS_MOST];
	uint32_t count;
};

struct flush {
	uint64_t start, end_writes;
};

struct read {
	uint64_t start, end;
	uint32_t writer, block, version;
};

struct world {
	unsigned geometry;
	enum runner_mode mode;
	uint64_t seed;
	struct dev_crash *medium;
	struct sv_store *store;
	struct crash_oracle oracle;
	atomic_uint_fast64_t clock;
	atomic_uint writing;
	struct writer writer[WRITERS];
	struct flush flush[FLUSHES];
	uint32_t flushes;
	struct read read[READS];
	uint32_t reads;
	atomic_bool failed;
	char why[300];
};

static bool failed(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool failed(struct world *w, const char *format, ...)
{
	va_list args;

	if (!atomic_exchange(&w->failed, true)) {
		va_start(args, format);
		vsnprintf(w->why, sizeof(w->why), format, args);
		va_end(args);
	}
	return false;
}

/* Longer than what threads can have under way at once: DESIGN.md, "Moves". */
static uint64_t lie_window_bytes(const struct world *w)
{
	return 8 * (uint64_t)runner_geometries[geometries[w->geometry]].segment_bytes;
}

/* ---- blocks ---- */

static uint64_t lba_of(uint32_t writer, uint32_t block)
{
	return (block / CHUNK * WRITERS + writer) * CHUNK + block % CHUNK;
}

static void content(uint8_t *buf, uint64_t lba, uint32_t version)
{
	struct prng rng = {.state = lba << 32 | version};

	memset(buf, 0, SV_BLOCK_BYTES);
	if (version == 0)
		return;
	prng_fill(&rng, buf, version % 2 ? SV_BLOCK_BYTES : 512);
	memcpy(buf, &version, sizeof(version));
}

/* False: it is no version of this block at all. */
static bool version_of(const uint8_t *buf, uint64_t lba, uint32_t *ret_version)
{
	uint8_t want[SV_BLOCK_BYTES];
	uint32_t version;

	memcpy(&version, buf, sizeof(version));
	if (version > STEPS_MOST)
		return false;
	content(want, lba, version);
	*ret_version = version;
	return memcmp(buf, want, sizeof(want)) == 0;
}

/* ---- threads ---- */

static uint64_t tick(struct world *w)
{
	return atomic_fetch_add(&w->clock, 1);
}

static void pause_us(uint64_t us)
{
	struct timespec t = {.tv_nsec = (long)us * 1000};

	nanosleep(&t, NULL);
}

/* Lets others run while the medium is at work. */
static void hook(void *context)
{
	pause_us(20 + tick(context) % 7 * 20);
}

static int do_op(struct writer *me, const struct step *op)
{
	static _Thread_local uint8_t buf[CHUNK * SV_BLOCK_BYTES];
	uint64_t lba = lba_of(me->number, op->first);

	if (op->version == 0)
		return sv_store_discard(me->w->store, op->count * SV_BLOCK_BYTES,
					lba * SV_BLOCK_BYTES);
	for (uint32_t i = 0; i < op->count; i++)
		content(buf + i * SV_BLOCK_BYTES, lba + i, op->version + i);
	return sv_store_write(me->w->store, buf, op->count * SV_BLOCK_BYTES, lba * SV_BLOCK_BYTES);
}

static void *write_blocks(void *context)
{
	struct writer *me = context;
	struct world *w = me->w;
	struct prng rng = {w->seed * 16 + me->number};

	for (unsigned i = 0; i < OPS && !w->failed; i++) {
		struct step op = {.first = (uint32_t)prng_below(&rng, EACH)};
		uint32_t most = CHUNK - op.first % CHUNK, from = me->count;
		int r;

		op.count = 1 + (uint32_t)prng_below(&rng, most);
		op.version = prng_one_in(&rng, 6) ? 0 : from + 1;
		op.begun_writes = dev_crash_recorded(w->medium);
		op.start = tick(w);
		r = do_op(me, &op);
		op.end = tick(w);
		if (r < 0)
			failed(w, "writer %u: %s", me->number, strerror(-r));
		for (uint32_t k = 0; k < (op.version ? op.count : 1); k++) {
			struct step *step = &me->step[me->count++];

			*step = op;
			if (!op.version)
				continue;
			step->first += k;
			step->count = 1;
			step->version += k;
		}
		pause_us(prng_below(&rng, 2) * 1500);
	}
	atomic_fetch_sub(&w->writing, 1);
	return NULL;
}

static void *flush_often(void *context)
{
	struct world *w = context;

	while (w->writing > 0 && w->flushes < FLUSHES && !w->failed) {
		struct flush *flush = &w->flush[w->flushes++];
		int r;

		flush->start = tick(w);
		r = sv_store_flush(w->store);
		flush->end_writes = dev_crash_recorded(w->medium);
		if (r < 0)
			failed(w, "flush: %s", strerror(-r));
	}
	return NULL;
}

static void *read_blocks(void *context)
{
	struct world *w = context;
	struct prng rng = {w->seed ^ 0x4ead};
	uint8_t buf[SV_BLOCK_BYTES];

	for (; w->writing > 0 && w->reads < READS && !w->failed; w->reads++) {
		struct read *read = &w->read[w->reads];
		uint64_t lba;
		int r;

		read->writer = (uint32_t)prng_below(&rng, WRITERS);
		read->block = (uint32_t)prng_below(&rng, EACH);
		lba = lba_of(read->writer, read->block);
		read->start = tick(w);
		r = sv_store_read(w->store, buf, sizeof(buf), lba * sizeof(buf));
		read->end = tick(w);
		if (r < 0)
			failed(w, "read: %s", strerror(-r));
		else if (!version_of(buf, lba, &read->version))
			failed(w, "block %" PRIu64 " reads as what was never written", lba);
		pause_us(100);
	}
	return NULL;
}

static void *clean_and_checkpoint(void *context)
{
	struct world *w = context;
	struct prng rng = {w->seed ^ 0xc1ea};

	while (w->writing > 0 && !w->failed) {
		unsigned cleaned;
		int r = prng_one_in(&rng, 3) ? sv_store_checkpoint(w->store)
					     : sv_store_clean(w->store, 2, &cleaned);

		if (r < 0 && r != -EBUSY)
			failed(w, "clean or checkpoint: %s", strerror(-r));
	}
	return NULL;
}

static bool run_threads(struct world *w)
{
	pthread_t writer[WRITERS], other[3];
	void *(*const others[3])(void *) = {flush_often, read_blocks, clean_and_checkpoint};

	w->writing = WRITERS;
	for (uint32_t i = 0; i < WRITERS; i++) {
		w->writer[i].w = w;
		w->writer[i].number = i;
		if (pthread_create(&writer[i], NULL, write_blocks, &w->writer[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < 3; i++)
		if (pthread_create(&other[i], NULL, others[i], w) != 0)
			abort();
	for (uint32_t i = 0; i < WRITERS; i++)
		pthread_join(writer[i], NULL);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(other[i], NULL);
	return !w->failed;
}

/* ---- the oracle ---- */

static bool touches(const struct step *step, uint32_t block)
{
	return block >= step->first && block < step->first + step->count;
}

/* T5 */
static bool check_read(struct world *w, const struct read *read)
{
	const struct writer *writer = &w->writer[read->writer];
	uint32_t version = 0;

	for (uint32_t p = 0; p <= writer->count; p++) {
		bool still = p == writer->count || writer->step[p].end >= read->start;
		bool begun = p == 0 || writer->step[p - 1].start < read->end;

		if (p > 0 && touches(&writer->step[p - 1], read->block))
			version = writer->step[p - 1].version;
		if (still && begun && version == read->version)
			return true;
	}
	return failed(w, "a read of block %u of writer %u finds version %u, which it was not then",
		      read->block, read->writer, read->version);
}

struct found {
	uint32_t version[WRITERS][EACH];
	bool fits[WRITERS][STEPS_MOST + 1]; /* T1: the disk after so many steps */
	uint32_t low[WRITERS], high[WRITERS], p[WRITERS];
};

static void find_prefixes(const struct writer *writer, const uint32_t *got, bool *ret_fits)
{
	uint32_t now[EACH] = {0};
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < EACH; i++)
		wrong += got[i] != 0;
	ret_fits[0] = wrong == 0;
	for (uint32_t p = 0; p < writer->count; p++) {
		const struct step *step = &writer->step[p];

		for (uint32_t i = step->first; i < step->first + step->count; i++) {
			wrong -= now[i] != got[i];
			now[i] = step->version;
			wrong += now[i] != got[i];
		}
		ret_fits[p + 1] = wrong == 0;
	}
}

static uint32_t ended_before(const struct writer *writer, uint64_t time)
{
	uint32_t n = 0;

	while (n < writer->count && writer->step[n].end < time)
		n++;
	return n;
}

/* T2: of flushes that had returned when `writes` were recorded. T3: of steps that had begun. */
static void find_bounds(const struct world *w, uint64_t returned_writes, uint64_t seen_writes,
			struct found *f)
{
	uint64_t start = 0;

	for (uint32_t i = 0; i < w->flushes; i++)
		if (w->flush[i].end_writes <= returned_writes)
			start = w->flush[i].start;
	for (uint32_t t = 0; t < WRITERS; t++) {
		const struct writer *writer = &w->writer[t];

		f->low[t] = ended_before(writer, start);
		f->high[t] = writer->count;
		while (f->high[t] > 0 && writer->step[f->high[t] - 1].begun_writes >= seen_writes)
			f->high[t]--;
	}
}

/* The next prefix of a writer that fits, from `p` on. */
static bool raise_to(const struct found *f, uint32_t t, uint32_t p, uint32_t *ret_p)
{
	for (; p <= f->high[t]; p++)
		if (f->fits[t][p]) {
			*ret_p = p;
			return true;
		}
	return false;
}

/* T4: the smallest prefixes that fit together. */
static bool fit_together(struct world *w, struct found *f)
{
	bool changed = true;

	for (uint32_t t = 0; t < WRITERS; t++)
		if (!raise_to(f, t, f->low[t], &f->p[t]))
			return failed(w,
				      "what writer %u finds is not its disk after %u to %u steps",
				      t, f->low[t], f->high[t]);
	while (changed) {
		changed = false;
		for (uint32_t t = 0; t < WRITERS; t++) {
			if (f->p[t] == 0)
				continue;
			for (uint32_t u = 0; u < WRITERS; u++) {
				const struct step *newest = &w->writer[t].step[f->p[t] - 1];
				uint32_t need = ended_before(&w->writer[u], newest->start);

				if (f->p[u] >= need)
					continue;
				changed = true;
				if (!raise_to(f, u, need, &f->p[u]))
					return failed(w,
						      "step %u of writer %u is in, but not step %u "
						      "of writer %u, which had returned before",
						      f->p[t], t, need, u);
			}
		}
	}
	return true;
}

/* ---- cuts ---- */

static bool read_all(struct world *w, struct sv_store *store, struct found *f)
{
	uint8_t buf[SV_BLOCK_BYTES];

	for (uint32_t t = 0; t < WRITERS; t++)
		for (uint32_t i = 0; i < EACH; i++) {
			uint64_t lba = lba_of(t, i);
			int r = sv_store_read(store, buf, sizeof(buf), lba * sizeof(buf));

			if (r < 0)
				return failed(w, "read of block %" PRIu64 ": %s", lba,
					      strerror(-r));
			if (!version_of(buf, lba, &f->version[t][i]))
				return failed(w, "block %" PRIu64 " was never that", lba);
		}
	return true;
}

static uint64_t returned_before(const struct world *w, const struct dev_crash *fork,
				const struct dev_crash_cut *cut, struct crash_verdict *ret_verdict)
{
	size_t end = dev_crash_records_until(w->medium, cut);
	struct crash_window window;

	crash_log_window(dev_crash_log(w->medium), end, cut->liar_bytes, &window);
	crash_oracle_judge(&w->oracle, w->medium, fork, end, window.flushed, ret_verdict);
	return ret_verdict->flushed ? ret_verdict->intact_write : cut->write - 1;
}

static bool judge(struct world *w, const struct dev_crash *fork, const struct dev_crash_cut *cut,
		  struct sv_store *store)
{
	struct crash_verdict verdict;
	uint64_t returned = returned_before(w, fork, cut, &verdict);
	struct found *f = calloc(1, sizeof(*f));
	struct sv_recovery recovery;
	bool good, older = false;

	sv_store_recovery(store, &recovery);
	good = read_all(w, store, f);
	for (uint32_t t = 0; t < WRITERS; t++)
		find_prefixes(&w->writer[t], f->version[t], f->fits[t]);
	find_bounds(w, returned, cut->write - (cut->when == DEV_CRASH_BEFORE), f);
	good = good && fit_together(w, f);
	if (good && !verdict.flushed && recovery.lost_flushed_batches > 0)
		good = failed(w, "flushed batches are said to be lost; none was");
	find_bounds(w, cut->write - 1, UINT64_MAX, f);
	for (uint32_t t = 0; t < WRITERS; t++)
		older |= f->p[t] < f->low[t];
	if (good && older && verdict.told && recovery.lost_flushed_batches == 0)
		good = failed(w, "what was flushed is gone, what tells it survived, and nothing is "
				 "said");
	free(f);
	return good;
}

static bool one_cut(struct crash_farm *farm, struct world *w, const struct dev_crash_cut *cut)
{
	const struct sv_open_options options = {
		.manual = true,
		.batch_bytes = 256u << 10,
		.map_ram_bytes = 256u << 10,
		.host = "threads",
		.births = runner_geometries[geometries[w->geometry]].births,
		.seed = cut->seed | 1};
	struct dev_crash *fork = dev_crash_fork(w->medium, cut);
	uint64_t print = dev_crash_print(fork);
	struct dev_crash *whole = dev_crash_clone(fork); /* as the cut left it */
	struct sv_dev *dev = dev_crash_open(fork, NULL);
	struct sv_store *store = NULL;
	int r = sv_store_open(dev, &options, &store);
	bool good;

	if (r < 0) {
		sv_dev_close(dev);
		good = failed(w, "open: %s: %s", strerror(-r), sv_store_why());
	} else {
		good = judge(w, whole, cut, store);
		sv_store_abandon(store);
	}
	crash_farm_image(farm, print);
	dev_crash_destroy(fork);
	dev_crash_destroy(whole);
	return good;
}

static bool cut_everywhere(struct crash_farm *farm, struct world *w)
{
	const struct runner_geometry *g = &runner_geometries[geometries[w->geometry]];
	uint64_t writes = dev_crash_recorded(w->medium);
	struct prng rng = {w->seed ^ 0xc7};
	bool good = true;

	for (uint64_t write = 1; good && write <= writes + 1; write++)
		for (int i = 0; good && i < (write > writes ? 1 : 3); i++) {
			struct dev_crash_cut cut = {.write = write, .seed = prng_next(&rng) >> 40};

			cut.when = DEV_CRASH_BEFORE + (enum dev_crash_when)i;
			if (w->mode == RUNNER_LIAR)
				cut.liar_bytes = lie_window_bytes(w) * (1 + cut.seed % 4) / 4;
			if (w->mode == RUNNER_PAIRED)
				cut.paired_bytes = g->page_bytes * (uint32_t)(1 + cut.seed % 4);
			good = one_cut(farm, w, &cut);
			if (!good)
				print_error("cut %d at write %" PRIu64 " of %" PRIu64
					    ", seed %" PRIu64 "\n",
					    cut.when, write, writes, cut.seed);
		}
	return good;
}

/* ---- a run ---- */

static bool open_world(struct world *w)
{
	const struct runner_geometry *g = &runner_geometries[geometries[w->geometry]];
	struct sv_format_params params = runner_format_params(g);
	const struct sv_open_options options = {.batch_bytes = 256u << 10,
						.map_ram_bytes = 256u << 10,
						.batch_age_ms = 3,
						.host = "threads",
						.births = g->births,
						.seed = w->seed};
	const struct sv_geometry geometry = {.size_bytes = 1u << 20,
					     .max_bytes = g->place_bytes,
					     .erase_bytes = g->erase_bytes,
					     .page_bytes = g->page_bytes,
					     .sector_bytes = 512};
	struct sv_dev *dev;
	int r;

	params.lie_window_bytes = lie_window_bytes(w);
	w->medium = dev_crash_create(&geometry);
	dev = dev_crash_open(w->medium, NULL);
	r = sv_store_format(dev, &params);
	sv_dev_close(dev);
	dev_crash_record(w->medium);
	dev = dev_crash_open(w->medium, NULL);
	if (r == 0)
		r = sv_store_open(dev, &options, &w->store);
	return r == 0 ? true : failed(w, "format and open: %s", strerror(-r));
}

static bool run_job(struct crash_farm *farm, uint64_t number, void *context)
{
	struct crash_counts more = {.runs = 1};
	struct world *w = calloc(1, sizeof(*w));
	uint64_t reach;
	bool good;

	(void)context;
	w->mode = (enum runner_mode)(number % RUNNER_MODES);
	w->geometry = (unsigned)(number / RUNNER_MODES % GEOMETRIES);
	w->seed = 1 + number / RUNNER_MODES / GEOMETRIES;
	reach = lie_window_bytes(w) +
		4 * (uint64_t)runner_geometries[geometries[w->geometry]].segment_bytes;
	good = open_world(w);
	dev_crash_set_hook(w->medium, hook, w);
	good = good && run_threads(w);
	sv_store_abandon(w->store);
	if (good && (w->flushes < 5 || w->reads < 20)) /* a slow host is no reason to fail */
		good = failed(w, "too little happened at once");
	for (uint32_t i = 0; good && i < w->reads; i++)
		good = check_read(w, &w->read[i]);
	crash_oracle_read(w->medium, reach, &w->oracle);
	good = good && cut_everywhere(farm, w);
	if (!good)
		print_error("store_concurrent: %s\n  the same kind again: unit-store_concurrent "
			    "--seed=%" PRIu64 " --geometry=%u --mode=%u\n",
			    w->why, w->seed, w->geometry, w->mode);
	crash_farm_add(farm, &more);
	crash_oracle_free(&w->oracle);
	dev_crash_destroy(w->medium);
	free(w);
	return good;
}

static struct crash_farm *farm;

static void every_cut_under_threads(void **state)
{
	struct crash_counts counts;

	(void)state;
	assert_true(crash_farm_run(farm, 0, SEEDS * GEOMETRIES * RUNNER_MODES, run_job, NULL));
	crash_farm_say(farm, "store_concurrent");
	crash_farm_counts(farm, &counts);
	assert_true(counts.distinct > 1000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_cut_under_threads)};
	uint64_t seed = 1, seeds = 1;
	unsigned geometry = 0, mode = 0;
	bool good = true;
	int r = 0;

	for (int i = 1; i < argc; i++)
		if (sscanf(argv[i], "--seed=%" SCNu64, &seed) != 1 &&
		    sscanf(argv[i], "--seeds=%" SCNu64, &seeds) != 1 &&
		    sscanf(argv[i], "--geometry=%u", &geometry) != 1 &&
		    sscanf(argv[i], "--mode=%u", &mode) != 1)
			return 2;
	if (seed == 0 || geometry >= GEOMETRIES || mode >= RUNNER_MODES)
		return 2;
	farm = crash_farm_new(200000 * (seeds / 8 + 1));
	if (argc <= 1)
		r = cmocka_run_group_tests(tests, NULL, NULL);
	for (uint64_t i = 0; argc > 1 && good && i < seeds; i++)
		good = run_job(farm, ((seed - 1 + i) * GEOMETRIES + geometry) * RUNNER_MODES + mode,
			       NULL);
	if (argc > 1)
		crash_farm_say(farm, "store_concurrent");
	crash_farm_free(farm);
	return r != 0 || !good;
}
