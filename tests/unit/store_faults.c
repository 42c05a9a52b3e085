/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_faults.c: every call that can fail, fails once, and from then on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "dev_faulty.h"
#include "model_disk.h"
#include "prng.h"
#include "stickvm/store.h"

/*
 * For each verb, each kind of call (allocation, read, write, flush, growth), and N from 1: the
 * N-th call of that kind inside the verb fails, once or for good, until a run of the verb has no
 * failure left. After each:
 *  F1  what the verb returned is 0 or the error that was injected;
 *  F2  what can be read is the state before the verb or one that it was making;
 *  F3  what is accepted from then on is kept: a write and a flush that return 0 are there after
 *      the store was opened again, whatever failed before;
 *  F4  when the power fails then, the store opens again without the fault, and its disk is one
 *      state at or after the last flush that returned 0.
 * The build with the sanitizers finds what leaks.
 *
 * Allocations of the engine are counted here; those of other libraries are their own.
 * test-link: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign,--wrap=mmap64
 *
 * unit-store_faults --verb=N --call=N --nth=N --for-good=0|1 replays one.
 */
#define KIB 1024u
#define DISK_BYTES (1024 * KIB)
#define SEGMENT_BYTES (64 * KIB)
#define START_BYTES (512 * KIB)
#define MOST_BYTES (5120 * KIB)
#define BIG_BYTES (200 * KIB)
#define FILL_BYTES (50 * KIB)
#define NTH_MOST 3000u
#define FULL_MOST_BYTES (3072 * KIB)
#define UNIT_BYTES (32 * KIB) /* eight blocks that shrink to half: one unit */
#define FULL_FROM (512 * KIB) /* units before it, most of them dead; raw blocks behind it */
#define NEAR_BYTES (64 * KIB)

enum call { CALL_ALLOC, CALL_READ, CALL_WRITE, CALL_FLUSH, CALL_GROW, CALLS };
static const char *const call_names[CALLS] = {"allocation", "read", "write", "flush", "growth"};

/* ---- allocations ---- */

static struct {
	uint64_t calls, nth, failed;
	bool armed, for_good;
} allocs;

static bool alloc_fails(void)
{
	if (!allocs.armed)
		return false;
	allocs.calls++;
	if (allocs.calls != allocs.nth && !(allocs.for_good && allocs.calls > allocs.nth))
		return false;
	allocs.failed++;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **ret, size_t align, size_t size);
void *__real_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_posix_memalign(void **ret, size_t align, size_t size);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);

void *__wrap_malloc(size_t size)
{
	return alloc_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return alloc_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return alloc_fails() ? NULL : __real_realloc(old, size);
}

int __wrap_posix_memalign(void **ret, size_t align, size_t size)
{
	return alloc_fails() ? ENOMEM : __real_posix_memalign(ret, align, size);
}

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return alloc_fails() ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, off);
}

/* ---- a medium that allocates nothing ---- */

/*
 * `stable` is what is left when the power goes. A flush that fails loses what it should have
 * written, and a later one does not bring it back: so kernels do it.
 */
#define SECTOR_BYTES 512u
struct medium {
	uint8_t bytes[MOST_BYTES], stable[MOST_BYTES];
	bool dirty[MOST_BYTES / SECTOR_BYTES];
	uint64_t size_bytes, most_bytes;
	uint64_t failed_flushes; /* that were noticed */
	const struct dev_faulty *faults;
};

static void notice_failed_flush(struct medium *medium)
{
	uint64_t failed = medium->faults->rules[DEV_FAULTY_FLUSH].failed;

	if (failed > medium->failed_flushes)
		memset(medium->dirty, 0, sizeof(medium->dirty));
	medium->failed_flushes = failed;
}

struct mem_dev {
	struct sv_dev dev;
	struct medium *medium;
};

static struct medium *medium_of(struct sv_dev *dev)
{
	return ((struct mem_dev *)dev)->medium;
}

static int mem_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	memcpy(buf, medium_of(dev)->bytes + off_bytes, len_bytes);
	return 0;
}

static int mem_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct medium *medium = medium_of(dev);

	notice_failed_flush(medium);
	memcpy(medium->bytes + off_bytes, buf, len_bytes);
	memset(medium->dirty + off_bytes / SECTOR_BYTES, 1, len_bytes / SECTOR_BYTES);
	return 0;
}

static int mem_flush(struct sv_dev *dev)
{
	struct medium *medium = medium_of(dev);

	notice_failed_flush(medium);
	for (size_t i = 0; i < medium->size_bytes / SECTOR_BYTES; i++)
		if (medium->dirty[i])
			memcpy(medium->stable + i * SECTOR_BYTES, medium->bytes + i * SECTOR_BYTES,
			       SECTOR_BYTES);
	memset(medium->dirty, 0, sizeof(medium->dirty));
	return 0;
}

static void power_off(struct medium *medium)
{
	memcpy(medium->bytes, medium->stable, sizeof(medium->bytes));
	memset(medium->dirty, 0, sizeof(medium->dirty));
}

static int mem_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	(void)dev;
	(void)off_bytes;
	(void)len_bytes;
	return 0;
}

static int mem_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	if (size_bytes > medium_of(dev)->most_bytes)
		return -ENOSPC;
	if (size_bytes > medium_of(dev)->size_bytes)
		medium_of(dev)->size_bytes = size_bytes;
	return 0;
}

static int mem_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	*ret_geometry = (struct sv_geometry){.size_bytes = medium_of(dev)->size_bytes,
					     .max_bytes = medium_of(dev)->most_bytes,
					     .sector_bytes = 512,
					     .page_bytes = 4 * KIB,
					     .erase_bytes = SEGMENT_BYTES};
	return 0;
}

static void mem_close(struct sv_dev *dev)
{
	free(dev);
}

static const struct sv_dev_ops mem_ops = {.read = mem_read,
					  .write = mem_write,
					  .flush = mem_flush,
					  .discard = mem_discard,
					  .grow = mem_grow,
					  .geometry = mem_geometry,
					  .close = mem_close};

/* ---- a store on it, beside a model ---- */

struct world {
	struct medium *medium;
	struct dev_faulty faults;
	struct sv_dev *dev; /* where the store has not got it */
	struct sv_store *store;
	struct model_disk model;
	uint8_t *buf, *disk;
};

/* Where a verb begins: a store that was just made, one that was closed, one that was not; one that
 * has room only for who rewrites units of which most blocks are dead. */
enum begin { FRESH, CLOSED, CRASHED, NEARLY_FULL, BEGINS };
static struct medium bases[BEGINS];
static struct model_disk base_models[BEGINS];

static struct sv_dev *new_dev(struct world *w)
{
	struct mem_dev *mem = calloc(1, sizeof(*mem));

	assert_non_null(mem);
	w->medium->faults = &w->faults;
	*mem = (struct mem_dev){{.ops = &mem_ops, .kind = "mem"}, w->medium};
	return dev_faulty_create(&mem->dev, &w->faults);
}

static int format_store(struct world *w)
{
	const struct sv_format_params params = {.size_bytes = DISK_BYTES,
						.segment_bytes = SEGMENT_BYTES,
						.page_bytes = 4 * KIB,
						.lie_window_bytes = 64 * KIB,
						.checkpoint_bytes = 128 * KIB,
						.id = {3}};

	return sv_store_format(w->dev, &params);
}

static int open_store(struct world *w, bool read_only)
{
	const struct sv_open_options options = {.read_only = read_only,
						.manual = true,
						.batch_bytes = 128 * KIB,
						.map_ram_bytes = 128 * KIB,
						.host = "faults",
						.seed = 1};
	int r = sv_store_open(w->dev, &options, &w->store);

	if (r == 0)
		w->dev = NULL;
	return r;
}

static int put(struct world *w, uint64_t len_bytes, uint64_t off_bytes, uint64_t seed)
{
	struct prng rng = {seed};

	prng_fill(&rng, w->buf, len_bytes);
	model_write(&w->model, w->buf, len_bytes, off_bytes);
	return sv_store_write(w->store, w->buf, len_bytes, off_bytes);
}

static void flushed(struct world *w)
{
	assert_int_equal(sv_store_flush(w->store), 0);
	model_flushed(&w->model);
}

/* Segments worth cleaning, holes, a part that is overwritten. */
static void session(struct world *w, uint64_t number)
{
	assert_int_equal(open_store(w, false), 0);
	for (uint64_t i = 0; i < 6; i++) {
		uint64_t off = (number * 5 + i) * 7 % 50 * 16 * KIB;

		assert_int_equal(put(w, 12 * KIB + i * 512, off, number * 100 + i), 0);
		flushed(w);
	}
	model_discard(&w->model, 32 * KIB, number * 64 * KIB);
	assert_int_equal(sv_store_discard(w->store, 32 * KIB, number * 64 * KIB), 0);
	flushed(w);
}

/* Units of eight blocks of which one is left: what the others took comes free only when the unit is
 * written anew. */
static void put_dead_units(struct world *w)
{
	struct prng rng = {5};

	for (uint64_t off = 0; off < FULL_FROM; off += 512) /* half of it zeros */
		prng_fill(&rng, memset(w->buf + off, 0, 512), 256);
	model_write(&w->model, w->buf, FULL_FROM, 0);
	assert_int_equal(sv_store_write(w->store, w->buf, FULL_FROM, 0), 0);
	flushed(w);
	for (uint64_t off = 0; off < FULL_FROM; off += UNIT_BYTES) {
		model_discard(&w->model, UNIT_BYTES - 4 * KIB, off + 4 * KIB);
		assert_int_equal(sv_store_discard(w->store, UNIT_BYTES - 4 * KIB, off + 4 * KIB),
				 0);
	}
	flushed(w);
}

/* Those, and raw blocks until little is free. */
static void fill_nearly(struct world *w)
{
	uint64_t at = FULL_FROM;
	struct sv_status st;

	assert_int_equal(open_store(w, false), 0);
	put_dead_units(w);
	for (;; at += 8 * KIB) {
		assert_int_equal(sv_store_checkpoint(w->store), 0);
		sv_store_status(w->store, &st);
		if (st.used_bytes + 24 * KIB > st.capacity_bytes)
			break;
		assert_true(at < DISK_BYTES - NEAR_BYTES);
		assert_int_equal(put(w, 8 * KIB, at, at), 0);
		flushed(w);
	}
	assert_int_equal(sv_store_close(w->store), 0);
	w->dev = new_dev(w);
}

static void make_base(enum begin begin)
{
	struct world w = {.medium = &bases[begin]};

	w.medium->size_bytes = START_BYTES;
	w.medium->most_bytes = begin == NEARLY_FULL ? FULL_MOST_BYTES : MOST_BYTES;
	w.buf = calloc(1, DISK_BYTES);
	model_init(&w.model, DISK_BYTES);
	w.dev = new_dev(&w);
	assert_int_equal(format_store(&w), 0);
	if (begin == NEARLY_FULL)
		fill_nearly(&w);
	for (uint64_t number = 0; (begin == CLOSED || begin == CRASHED) && number < 3; number++) {
		session(&w, number);
		if (number == 1 || begin == CLOSED)
			assert_int_equal(sv_store_close(w.store), 0);
		else
			sv_store_abandon(w.store);
		w.dev = new_dev(&w);
	}
	sv_dev_close(w.dev);
	power_off(w.medium);
	model_fork(&w.model, w.model.count - 1, &base_models[begin]);
	model_free(&w.model);
	free(w.buf);
}

/* ---- the verbs ---- */

static int verb_format(struct world *w)
{
	return format_store(w);
}

static int verb_open(struct world *w)
{
	return open_store(w, false);
}

static int verb_open_read_only(struct world *w)
{
	return open_store(w, true);
}

static int verb_write(struct world *w)
{
	return sv_store_write(w->store, w->buf, BIG_BYTES, 100 * KIB);
}

/* The last blocks of the disk: they have room, though it must be looked for. */
static int verb_write_near(struct world *w)
{
	return sv_store_write(w->store, w->buf, NEAR_BYTES, DISK_BYTES - NEAR_BYTES);
}

static int verb_small(struct world *w)
{
	return sv_store_write(w->store, w->buf, 1024, 112 * KIB + 512);
}

static int verb_discard(struct world *w)
{
	return sv_store_discard(w->store, 300 * KIB, 64 * KIB);
}

static int verb_flush(struct world *w)
{
	return sv_store_flush(w->store);
}

static int verb_read(struct world *w)
{
	return sv_store_read(w->store, w->disk, DISK_BYTES, 0);
}

static int verb_seek(struct world *w)
{
	uint64_t off = 0;
	int r = 0;

	for (enum sv_seek what = SV_SEEK_DATA; r == 0; what = !what)
		r = sv_store_seek(w->store, what, off, &off);
	return r == -ENXIO ? 0 : r;
}

static int verb_checkpoint(struct world *w)
{
	return sv_store_checkpoint(w->store);
}

static int verb_clean(struct world *w)
{
	unsigned cleaned;

	return sv_store_clean(w->store, 8, &cleaned);
}

static void no_finding(void *context, const struct sv_finding *finding)
{
	*(const char **)context = finding->what;
}

static int verb_check(struct world *w)
{
	const char *what = NULL;

	return sv_store_check(w->store, true, no_finding, &what, NULL);
}

static int verb_close(struct world *w)
{
	struct sv_store *store = w->store;

	w->store = NULL;
	return sv_store_close(store);
}

/* So much, with so many flushes, that the place has to grow. */
static int verb_fill(struct world *w)
{
	int r = 0;

	for (uint64_t off = 0; r == 0 && off < BIG_BYTES; off += FILL_BYTES) {
		r = sv_store_write(w->store, w->buf + off, FILL_BYTES, off);
		for (int i = 0; r == 0 && i < 6; i++) {
			r = sv_store_write(w->store, w->buf, 50 * KIB, 800 * KIB);
			if (r == 0)
				r = sv_store_flush(w->store);
		}
	}
	return r;
}

enum needs { NEEDS_DEV, NEEDS_STORE, NEEDS_DIRTY };

static const struct verb {
	const char *name;
	int (*run)(struct world *w);
	enum needs needs;
	enum begin begin;
	uint64_t write_bytes, write_at; /* what it writes, for the model */
	uint64_t discard_bytes, discard_at;
	bool promises; /* 0 means that everything is durable */
	bool formats;
} verbs[] = {
	{"format", verb_format, NEEDS_DEV, CRASHED, 0, 0, 0, 0, false, true},
	{"open", verb_open, NEEDS_DEV, CRASHED, 0, 0, 0, 0, false, false},
	{"open fresh", verb_open, NEEDS_DEV, FRESH, 0, 0, 0, 0, false, false},
	{"open closed", verb_open, NEEDS_DEV, CLOSED, 0, 0, 0, 0, false, false},
	{"open read-only", verb_open_read_only, NEEDS_DEV, CRASHED, 0, 0, 0, 0, false, false},
	{"write", verb_write, NEEDS_STORE, CLOSED, BIG_BYTES, 100 * KIB, 0, 0, false, false},
	{"small write", verb_small, NEEDS_STORE, CLOSED, 1024, 112 * KIB + 512, 0, 0, false, false},
	{"discard", verb_discard, NEEDS_DIRTY, CLOSED, 0, 0, 300 * KIB, 64 * KIB, false, false},
	{"flush", verb_flush, NEEDS_DIRTY, CLOSED, 0, 0, 0, 0, true, false},
	{"read", verb_read, NEEDS_STORE, CLOSED, 0, 0, 0, 0, false, false},
	{"seek", verb_seek, NEEDS_STORE, CLOSED, 0, 0, 0, 0, false, false},
	{"checkpoint", verb_checkpoint, NEEDS_DIRTY, CLOSED, 0, 0, 0, 0, false, false},
	{"clean", verb_clean, NEEDS_DIRTY, CLOSED, 0, 0, 0, 0, false, false},
	{"check", verb_check, NEEDS_STORE, CLOSED, 0, 0, 0, 0, false, false},
	{"fill", verb_fill, NEEDS_STORE, FRESH, 0, 0, 0, 0, true, false},
	{"write, nearly full", verb_write_near, NEEDS_STORE, NEARLY_FULL, NEAR_BYTES,
	 DISK_BYTES - NEAR_BYTES, 0, 0, false, false},
	{"close", verb_close, NEEDS_DIRTY, CLOSED, 0, 0, 0, 0, true, false},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

/* ---- one fault ---- */

struct fault {
	unsigned verb;
	enum call call;
	uint64_t nth;
	bool for_good;
};

static int injected(enum call call)
{
	return call == CALL_ALLOC ? -ENOMEM : call == CALL_GROW ? -ENOSPC : -EIO;
}

static struct dev_faulty_rule *rule_of(struct world *w, enum call call)
{
	static const enum dev_faulty_call calls[CALLS] = {
		[CALL_READ] = DEV_FAULTY_READ,
		[CALL_WRITE] = DEV_FAULTY_WRITE,
		[CALL_FLUSH] = DEV_FAULTY_FLUSH,
		[CALL_GROW] = DEV_FAULTY_GROW,
	};

	return &w->faults.rules[calls[call]];
}

static void arm(struct world *w, const struct fault *f)
{
	if (f->call == CALL_ALLOC) {
		allocs.calls = allocs.failed = 0;
		allocs.nth = f->nth;
		allocs.for_good = f->for_good;
		allocs.armed = true;
	} else {
		*rule_of(w, f->call) = (struct dev_faulty_rule){
			.nth = f->nth, .for_good = f->for_good, .error = -injected(f->call)};
	}
}

/* Whether anything failed; the fault goes on (for good) or is over. */
static bool hit(struct world *w, const struct fault *f)
{
	return f->call == CALL_ALLOC ? allocs.failed > 0 : rule_of(w, f->call)->failed > 0;
}

static void disarm(struct world *w, const struct fault *f)
{
	notice_failed_flush(w->medium);
	if (f->call == CALL_ALLOC)
		allocs.armed = false;
	else
		*rule_of(w, f->call) = (struct dev_faulty_rule){0};
}

#define fault_fail(f, ...)                                                                         \
	do {                                                                                       \
		print_error("%s, %s %llu fails%s: ", verbs[(f)->verb].name, call_names[(f)->call], \
			    (unsigned long long)(f)->nth, (f)->for_good ? " for good" : "");       \
		print_error(__VA_ARGS__);                                                          \
		fail_msg("replay: unit-store_faults --verb=%u --call=%u --nth=%llu --for-good=%d", \
			 (f)->verb, (f)->call, (unsigned long long)(f)->nth, (f)->for_good);       \
	} while (0)

static void prepare(struct world *w, const struct fault *f)
{
	const struct verb *verb = &verbs[f->verb];

	*w = (struct world){.buf = calloc(1, DISK_BYTES), .disk = calloc(1, DISK_BYTES)};
	w->medium = malloc(sizeof(*w->medium));
	assert_non_null(w->medium);
	*w->medium = bases[verb->begin];
	model_fork(&base_models[verb->begin], 0, &w->model);
	if (verb->formats)
		w->medium->size_bytes = SEGMENT_BYTES;
	w->dev = new_dev(w);
	if (verb->needs >= NEEDS_STORE)
		assert_int_equal(open_store(w, false), 0);
	if (verb->needs == NEEDS_DIRTY) {
		assert_int_equal(put(w, 40 * KIB, 200 * KIB, 7), 0);
		assert_int_equal(put(w, 1536, 512, 8), 0);
	}
}

/* The states that the verb is making: known before it runs. */
static void expect(struct world *w, const struct verb *verb)
{
	struct prng rng = {99};

	prng_fill(&rng, w->buf, BIG_BYTES);
	if (verb->write_bytes > 0)
		model_write(&w->model, w->buf, verb->write_bytes, verb->write_at);
	for (uint64_t off = 0; verb->run == verb_fill && off < BIG_BYTES; off += FILL_BYTES) {
		model_write(&w->model, w->buf + off, FILL_BYTES, off);
		model_write(&w->model, w->buf, 50 * KIB, 800 * KIB);
	}
	if (verb->discard_bytes > 0)
		model_discard(&w->model, verb->discard_bytes, verb->discard_at);
}

static bool block_is_legal(const struct world *w, size_t from, uint64_t at)
{
	for (size_t i = from; i < w->model.count; i++)
		if (image_equals(&w->model.states[i], w->disk + at, SV_BLOCK_BYTES, at))
			return true;
	return false;
}

/* F2: reads with the fault still there may fail, but not lie. Returns whether all could be read,
 * and then which state it is. */
static bool look(struct world *w, const struct fault *f, size_t from, size_t *ret_state)
{
	bool all = true;

	for (uint64_t at = 0; at < DISK_BYTES; at += SV_BLOCK_BYTES) {
		if (sv_store_read(w->store, w->disk + at, SV_BLOCK_BYTES, at) < 0)
			all = false;
		else if (!block_is_legal(w, from, at))
			fault_fail(f, "the block at %llu is of no legal state\n",
				   (unsigned long long)at);
	}
	if (all && !model_find(&w->model, w->disk, from, w->model.count - 1, ret_state))
		fault_fail(f, "the disk is no legal state\n");
	return all;
}

/* F3: goes on with whatever is still possible. */
static void go_on(struct world *w, const struct fault *f, size_t before)
{
	size_t state;
	bool all = look(w, f, before, &state);

	if (f->for_good) {
		allocs.armed = false; /* of the model's own; the device's faults go on */
		if (!all)
			return;
	}
	if (!all)
		fault_fail(f, "not all can be read, though nothing fails any more\n");
	model_truncate(&w->model, state);
	if (put(w, 8 * KIB, 700 * KIB, 11) < 0)
		return; /* what of it was taken is known when the store is opened again */
	if (sv_store_flush(w->store) == 0)
		model_flushed(&w->model);
}

/* F4 */
static void open_again(struct world *w, const struct fault *f)
{
	size_t state;
	int r;

	sv_dev_close(w->dev);
	power_off(w->medium);
	w->dev = new_dev(w);
	r = open_store(w, false);
	if (r < 0)
		fault_fail(f, "does not open again: %s: %s\n", strerror(-r), sv_store_why());
	if (!look(w, f, w->model.floor, &state))
		fault_fail(f, "not all can be read after it was opened again\n");
	r = verb_check(w);
	if (r < 0)
		fault_fail(f, "check: %s\n", strerror(-r));
	sv_store_abandon(w->store);
	w->store = NULL;
}

static void free_world(struct world *w)
{
	sv_store_abandon(w->store);
	sv_dev_close(w->dev);
	model_free(&w->model);
	free(w->medium);
	free(w->buf);
	free(w->disk);
}

/* False: the fault was never met. */
static bool run_fault(const struct fault *f)
{
	const struct verb *verb = &verbs[f->verb];
	size_t before;
	struct world w;
	bool met;
	int r;

	prepare(&w, f);
	before = w.model.count - 1;
	expect(&w, verb);
	arm(&w, f);
	r = verb->run(&w);
	met = hit(&w, f);
	if (!f->for_good)
		disarm(&w, f);
	if (r < 0 && (!met || r != injected(f->call)))
		fault_fail(f, "returned %s\n", strerror(-r));
	if (r == 0 && verb->promises)
		model_flushed(&w.model);
	if (w.store != NULL && !verb->formats && verb->run != verb_open_read_only)
		go_on(&w, f, before);
	disarm(&w, f);
	if (f->for_good && w.store != NULL && f->nth % 2 == 0)
		(void)verb_close(&w);
	sv_store_abandon(w.store);
	w.store = NULL;
	if (!verb->formats)
		open_again(&w, f);
	free_world(&w);
	return met;
}

static void each_call_fails(void **state)
{
	unsigned met = 0;

	(void)state;
	for (struct fault f = {0}; f.verb < VERBS; f.verb++) {
		unsigned of_verb = 0;

		for (f.call = 0; f.call < CALLS; f.call++)
			for (int good = 0; good < 2; good++) {
				f.for_good = good;
				for (f.nth = 1; run_fault(&f); f.nth++) {
					of_verb++;
					assert_true(f.nth < NTH_MOST);
				}
			}
		print_message("%-18s %u faults\n", verbs[f.verb].name, of_verb);
		met += of_verb;
	}
	print_message("store_faults: %u faults\n", met);
	assert_true(met > 500);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_call_fails)};
	struct fault f = {.nth = 0};
	unsigned for_good = 0, call = 0;
	int r = 0;

	for (enum begin begin = FRESH; begin < BEGINS; begin++)
		make_base(begin);
	for (int i = 1; i < argc; i++)
		if (sscanf(argv[i], "--verb=%u", &f.verb) != 1 &&
		    sscanf(argv[i], "--call=%u", &call) != 1 &&
		    sscanf(argv[i], "--nth=%lu", &f.nth) != 1 &&
		    sscanf(argv[i], "--for-good=%u", &for_good) != 1)
			return 2;
	f.call = (enum call)call;
	f.for_good = for_good != 0;
	if (argc > 1 && f.verb < VERBS && call < CALLS)
		printf("store_faults: %s\n", run_fault(&f) ? "met, and good" : "not met");
	else
		r = cmocka_run_group_tests(tests, NULL, NULL);
	for (enum begin begin = FRESH; begin < BEGINS; begin++)
		model_free(&base_models[begin]);
	return r;
}
