/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_bootset.c: a store's boot set over cuts, swept ahead of a guest, and packed. */
/*
 *	unit-store_bootset [--cut=none|linear|exhaustive]
 *
 * linear: a cut inside each write, on an honest stick; exhaustive (without an argument): before,
 * inside and behind each, also on sticks that lie and that tear.
 */
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "dev_crash.h"
#include "effort.h"
#include "prng.h"
#include "store_impl.h"

#define BLOCKS 2048u
#define DISK_BYTES (BLOCKS * SV_BLOCK_BYTES)
#define SET_BLOCKS 700u
#define LIE_BYTES (64u << 10)
#define MIB (1u << 20)

enum { CUT_NONE, CUT_LINEAR, CUT_EXHAUSTIVE };
static int cut_mode = CUT_EXHAUSTIVE;

struct world {
	struct dev_crash *medium;
	struct sv_store *st;
	uint8_t *disk;		   /* what it must hold */
	uint64_t need[SET_BLOCKS]; /* blocks, in the order in which a start reads them */
	struct prng rng;
};

static struct sv_store *open_with(struct dev_crash *medium, const struct sv_open_options *opts)
{
	struct sv_store *st;

	assert_int_equal(sv_store_open(dev_crash_open(medium, NULL), opts, &st), 0);
	return st;
}

/* Hardly any memory for units, so that what is read was swept or came from the stick. */
static void open_manual(struct world *w)
{
	const struct sv_open_options opts = {
		.manual = true, .boot_set = true, .cache_ram_bytes = 1, .seed = prng_next(&w->rng)};

	w->st = open_with(w->medium, &opts);
	w->st->boot_pack.worth_ratio = 2;
}

static void write_block(struct world *w, uint64_t lba)
{
	uint8_t *block = w->disk + lba * SV_BLOCK_BYTES;

	prng_fill(&w->rng, block, SV_BLOCK_BYTES);
	if (lba % 3)
		memset(block, (int)(lba % 251), SV_BLOCK_BYTES / 2); /* shrinks */
	assert_int_equal(sv_store_write(w->st, block, SV_BLOCK_BYTES, lba * SV_BLOCK_BYTES), 0);
}

static void expect_block(struct world *w, uint64_t lba)
{
	uint8_t block[SV_BLOCK_BYTES];

	assert_int_equal(sv_store_read(w->st, block, sizeof(block), lba * SV_BLOCK_BYTES), 0);
	assert_memory_equal(block, w->disk + lba * SV_BLOCK_BYTES, sizeof(block));
}

static void expect_disk(struct sv_store *st, const uint8_t *disk)
{
	static uint8_t buf[DISK_BYTES];

	assert_int_equal(sv_store_read(st, buf, DISK_BYTES, 0), 0);
	assert_memory_equal(buf, disk, DISK_BYTES);
}

static void shuffle(struct prng *rng, uint64_t *v, unsigned count)
{
	for (unsigned i = count; i > 1; i--) {
		unsigned k = (unsigned)prng_below(rng, i);
		uint64_t t = v[i - 1];

		v[i - 1] = v[k];
		v[k] = t;
	}
}

/* A disk full of data, written in any order, so that nothing lies where its neighbour does. */
static struct world *begin(uint64_t seed)
{
	struct sv_geometry geo = {.size_bytes = 48 * MIB, .max_bytes = 48 * MIB};
	struct sv_format_params params = {.size_bytes = DISK_BYTES,
					  .segment_bytes = 256 << 10,
					  .page_bytes = 4096,
					  .lie_window_bytes = LIE_BYTES,
					  .checkpoint_bytes = MIB};
	struct world *w = calloc(1, sizeof(*w));
	uint64_t all[BLOCKS];
	struct sv_dev *dev;

	assert_non_null(w);
	w->rng.state = seed;
	w->disk = calloc(1, DISK_BYTES);
	w->medium = dev_crash_create(&geo);
	dev = dev_crash_open(w->medium, NULL);
	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	for (unsigned i = 0; i < BLOCKS; i++)
		all[i] = i;
	shuffle(&w->rng, all, BLOCKS);
	open_manual(w);
	for (unsigned i = 0; i < BLOCKS; i++) {
		write_block(w, all[i]);
		if (i % 64 == 63)
			assert_int_equal(sv_store_flush(w->st), 0);
	}
	shuffle(&w->rng, all, BLOCKS);
	memcpy(w->need, all, sizeof(w->need));
	assert_int_equal(sv_store_close(w->st), 0);
	return w;
}

static void end(struct world *w)
{
	dev_crash_destroy(w->medium);
	free(w->disk);
	free(w);
}

static void read_needed(struct world *w, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		expect_block(w, w->need[i]);
}

/* One start, after which the set is what it read. */
static struct world *begin_with_set(uint64_t seed)
{
	struct world *w = begin(seed);

	open_manual(w);
	read_needed(w, 0, SET_BLOCKS);
	assert_int_equal(sv_store_close(w->st), 0);
	return w;
}

static bool set_is(const struct sv_store *st, const uint64_t *lba, unsigned count)
{
	unsigned n = 0;

	if (st->boot.blocks != count)
		return false;
	for (uint32_t i = 0; i < st->boot.count; i++)
		for (uint32_t k = 0; k < st->boot.v[i].blocks; k++)
			if (st->boot.v[i].lba + k != lba[n++])
				return false;
	return true;
}

/* ---- kept ---- */

static void it_is_kept(void **state)
{
	struct world *w = begin_with_set(1);
	const struct sv_open_options other = {.manual = true};
	uint64_t wrote;

	(void)state;
	open_manual(w);
	assert_true(set_is(w->st, w->need, SET_BLOCKS));
	read_needed(w, SET_BLOCKS / 2, SET_BLOCKS);
	sv_store_abandon(w->st); /* this run is lost, the set is not (B4) */
	open_manual(w);
	assert_true(set_is(w->st, w->need, SET_BLOCKS));
	assert_int_equal(w->st->boot.runs, 1);
	expect_block(w, w->need[0]);
	assert_int_equal(sv_store_close(w->st), 0); /* too little for a start */
	w->st = open_with(w->medium, &other);	    /* no guest */
	assert_true(set_is(w->st, w->need, SET_BLOCKS));
	expect_disk(w->st, w->disk);
	assert_int_equal(sv_store_close(w->st), 0);
	open_manual(w);
	assert_true(set_is(w->st, w->need, SET_BLOCKS));
	read_needed(w, SET_BLOCKS / 2, SET_BLOCKS);
	wrote = w->st->ledger.stick_written_bytes;
	assert_int_equal(sv_store_close(w->st), 0);
	open_manual(w);
	assert_true(set_is(w->st, w->need + SET_BLOCKS / 2, SET_BLOCKS / 2));
	assert_in_range(w->st->ledger.stick_written_bytes - wrote, 1, MIB);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

static const struct dev_crash_cut modes[] = {
	{.when = DEV_CRASH_INSIDE},
	{.when = DEV_CRASH_INSIDE, .liar_bytes = LIE_BYTES / 2},
	{.when = DEV_CRASH_INSIDE, .paired_bytes = 16 << 10},
};

/* Calls `look` for what each cut of what was recorded leaves. */
static unsigned each_cut(struct world *w, void look(struct world *w, struct dev_crash *fork))
{
	uint64_t writes = dev_crash_recorded(w->medium);
	bool all = cut_mode == CUT_EXHAUSTIVE;
	unsigned cuts = 0;

	for (unsigned m = 0; cut_mode && m < (all ? 3u : 1u); m++)
		for (uint64_t k = 1; k <= writes; k += effort_step())
			for (int when = all ? DEV_CRASH_BEFORE : DEV_CRASH_INSIDE;
			     when <= (all ? DEV_CRASH_AFTER : DEV_CRASH_INSIDE); when++) {
				struct dev_crash_cut cut = modes[m];
				struct dev_crash *fork;

				cut.when = (enum dev_crash_when)when;
				cut.write = k;
				cut.seed = prng_next(&w->rng);
				fork = dev_crash_fork(w->medium, &cut);
				look(w, fork);
				dev_crash_destroy(fork);
				cuts++;
			}
	return cuts;
}

static unsigned with_old, with_new;

static void old_set_or_new(struct world *w, struct dev_crash *fork)
{
	const struct sv_open_options opts = {.manual = true, .boot_set = true, .seed = 9};
	struct sv_store *st = open_with(fork, &opts);
	bool is_old = set_is(st, w->need, SET_BLOCKS);

	with_old += is_old;
	with_new += !is_old;
	assert_true(is_old || set_is(st, w->need + SET_BLOCKS / 2, SET_BLOCKS / 2));
	expect_disk(st, w->disk);
	sv_store_abandon(st);
}

/* B4: a cut while a session ends leaves one set or the other. */
static void one_set_or_the_other(void **state)
{
	struct world *w = begin_with_set(2);
	unsigned cuts;

	(void)state;
	open_manual(w);
	for (unsigned i = 0; i < 64; i++) /* what may be lied about is not what is looked at */
		write_block(w, w->need[i]);
	assert_int_equal(sv_store_close(w->st), 0);
	open_manual(w);
	read_needed(w, SET_BLOCKS / 2, SET_BLOCKS);
	dev_crash_record(w->medium);
	assert_int_equal(sv_store_close(w->st), 0);
	cuts = each_cut(w, old_set_or_new);
	print_message("%u cuts: %u left the old set, %u the new\n", cuts, with_old, with_new);
	end(w);
}

/* ---- swept ---- */

static uint64_t stick_reads(const struct world *w)
{
	return atomic_load(&w->st->tally.stick_read);
}

static unsigned sweep_some(struct world *w, unsigned pieces)
{
	unsigned done;

	assert_int_equal(sv_sweep_some(w->st, pieces, &done), 0);
	return done;
}

/* What was swept is served from memory, and once it was let go no more. */
static void it_serves(void **state)
{
	struct world *w = begin_with_set(3);
	struct sv_sweep_stats stats;
	uint64_t before;

	(void)state;
	open_manual(w);
	assert_true(sweep_some(w, 100000) > 3);
	assert_int_equal(sweep_some(w, 1), 0);
	before = stick_reads(w);
	read_needed(w, 0, SET_BLOCKS);
	assert_int_equal(stick_reads(w), before);
	sv_sweep_stats(w->st, &stats);
	assert_true(stats.served_units >= SET_BLOCKS / 2 && stats.set_bytes <= stats.read_bytes);
	expect_disk(w->st, w->disk);
	sv_sweep_forget(w->st);
	read_needed(w, 0, 10);
	assert_true(stick_reads(w) > before);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

/* Segments are rewritten and reused while their old units are in memory: W3. */
static void it_never_serves_what_was(void **state)
{
	struct world *w = begin_with_set(4);
	uint64_t generation[192];
	unsigned done, reused = 0;

	(void)state;
	open_manual(w);
	sweep_some(w, 6);
	for (unsigned i = 0; i < w->st->segs.count; i++)
		generation[i] = w->st->segs.v[i].usage.generation;
	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < BLOCKS; i++)
			if (prng_below(&w->rng, 3))
				write_block(w, prng_below(&w->rng, BLOCKS));
		assert_int_equal(sv_store_flush(w->st), 0);
		assert_int_equal(sv_store_checkpoint(w->st), 0);
		assert_int_equal(sv_store_clean(w->st, 4, &done), 0);
		sweep_some(w, 2);
		read_needed(w, round * 50, round * 50 + 50);
	}
	for (unsigned i = 0; i < w->st->segs.count; i++)
		reused += generation[i] && generation[i] != w->st->segs.v[i].usage.generation;
	assert_true(reused > 10);
	sweep_some(w, 100000);
	expect_disk(w->st, w->disk);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

/* W5: at the bound nothing more is read until something was used. */
static void memory_is_bounded(void **state)
{
	struct world *w = begin_with_set(5);
	struct sv_sweep *sweep;
	unsigned rounds = 0;

	(void)state;
	open_manual(w);
	sweep = &w->st->sweep;
	sweep->most_bytes = 600 << 10;
	sweep_some(w, 100000);
	assert_in_range(sweep->held_bytes, 600 << 10, (600 << 10) + MIB);
	assert_int_equal(sweep_some(w, 10), 0);
	for (unsigned i = 0; i < SET_BLOCKS; i += 10) {
		read_needed(w, i, i + 10);
		rounds += sweep_some(w, 100000) > 0;
		assert_true(sweep->held_bytes < (600 << 10) + MIB);
	}
	assert_true(rounds > 0);
	sv_sweep_forget(w->st);
	assert_int_equal(sweep->held_bytes, 0);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

/* What this host has is not read from the stick. */
static void what_is_cached_is_not_swept(void **state)
{
	static const uint8_t key[SV_CACHE_KEY_BYTES] = {7};
	char dir[] = "/tmp/bootset-cache-XXXXXX";
	struct world *w = begin_with_set(12);
	const struct sv_open_options opts = {.manual = true,
					     .boot_set = true,
					     .cache_ram_bytes = 1,
					     .cache_key = key,
					     .cache_dir = dir,
					     .cache_bytes = 64 * MIB};
	struct sv_sweep_stats stats[2];

	(void)state;
	assert_non_null(mkdtemp(dir));
	for (unsigned i = 0; i < 2; i++) {
		w->st = open_with(w->medium, &opts);
		sweep_some(w, 100000);
		sv_sweep_stats(w->st, &stats[i]);
		read_needed(w, 0, SET_BLOCKS);
		assert_int_equal(sv_store_close(w->st), 0);
	}
	/* But for the segment that the log goes on in, which has another lineage now. */
	assert_true(stats[0].set_bytes > MIB && stats[1].set_bytes < stats[0].set_bytes / 4);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	end(w);
}

static void sleep_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* W4: a guest that needs other blocks has the stick to itself. */
static void a_useless_set_makes_room(void **state)
{
	struct world *w = begin_with_set(6);
	bool needed[BLOCKS] = {false};
	unsigned others = 0;

	(void)state;
	for (unsigned i = 0; i < SET_BLOCKS; i++)
		needed[w->need[i]] = true;
	open_manual(w);
	assert_int_equal(sweep_some(w, 1), 1);
	for (uint64_t lba = 0; lba < BLOCKS && others < 400; lba++)
		if (!needed[lba]) {
			expect_block(w, lba);
			others++;
		}
	assert_int_equal(sweep_some(w, 1), 0);
	sleep_ms(60); /* it paused */
	assert_true(sweep_some(w, 1) > 0);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

/* With its thread: a guest reads beside it, and the stick goes away under it. */
static void with_threads(void **state)
{
	const struct sv_open_options opts = {.boot_set = true, .cache_ram_bytes = 1};
	struct world *w = begin_with_set(7);
	struct sv_sweep_stats stats;

	(void)state;
	w->st = open_with(w->medium, &opts);
	do /* memory is faster than a thread begins */
		sv_sweep_stats(w->st, &stats);
	while (!stats.read_bytes);
	read_needed(w, 0, SET_BLOCKS);
	sv_sweep_stats(w->st, &stats);
	assert_true(stats.served_units > 0);
	expect_disk(w->st, w->disk);
	assert_int_equal(sv_store_close(w->st), 0);
	for (unsigned i = 0; i < 8; i++) {
		w->st = open_with(w->medium, &opts);
		if (i % 4)
			read_needed(w, 0, i * 20);
		sv_store_detach(w->st);
		sv_store_abandon(w->st);
	}
	open_manual(w);
	expect_disk(w->st, w->disk);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

/* ---- packed ---- */

static uint64_t cost_of(struct world *w)
{
	static struct sv_set_unit units[BLOCKS];
	uint32_t extent = 0, count;
	uint64_t end = 0;

	assert_int_equal(sv_set_units(w->st, &extent, units, BLOCKS, &count), 0);
	return sv_set_cost(w->st, units, count, &end);
}

/* Ends the recording, as a guest that has settled does. */
static bool pack_step(struct world *w, bool (*go_on)(struct sv_store *st))
{
	bool done;

	sv_boot_finish(w->st);
	pthread_mutex_lock(&w->st->cleaning);
	assert_int_equal(sv_boot_pack(w->st, go_on, &done), 0);
	pthread_mutex_unlock(&w->st->cleaning);
	return done;
}

static void expect_whole(struct sv_store *st);

static void packing_pays(void **state)
{
	struct world *w = begin_with_set(8);
	uint64_t before, wrote, cost, set_bytes = 0;

	(void)state;
	open_manual(w);
	cost = cost_of(w);
	before = w->st->ledger.cleaner_bytes;
	while (pack_step(w, NULL))
		;
	wrote = w->st->ledger.cleaner_bytes - before;
	for (unsigned i = 0; i < SET_BLOCKS; i++)
		set_bytes += SV_RAW_UNIT_BYTES;
	print_message("a sweep costs %u KiB, then %u; %u KiB were written\n",
		      (unsigned)(cost >> 10), (unsigned)(cost_of(w) >> 10),
		      (unsigned)(wrote >> 10));
	assert_true(wrote > MIB && wrote < set_bytes + set_bytes / 8); /* K2 */
	assert_true(cost_of(w) < cost / 2);
	assert_int_equal(w->st->boot.packed_bytes, wrote);
	expect_disk(w->st, w->disk);
	expect_whole(w->st);
	assert_int_equal(sv_store_close(w->st), 0);

	/* The same set is not packed again, wherever it lies. */
	open_manual(w);
	expect_disk(w->st, w->disk);
	assert_false(pack_step(w, NULL));
	for (unsigned i = 0; i < SET_BLOCKS; i++)
		write_block(w, w->need[(i * 7) % SET_BLOCKS]);
	assert_int_equal(sv_store_close(w->st), 0);
	open_manual(w);
	w->st->boot_pack.worth_ratio = 1; /* whatever it costs */
	before = w->st->ledger.cleaner_bytes;
	assert_false(pack_step(w, NULL));
	assert_int_equal(w->st->ledger.cleaner_bytes, before);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

static void found(void *ctx, const struct sv_finding *finding)
{
	(void)ctx;
	fail_msg("%s", finding->what);
}

static void expect_whole(struct sv_store *st)
{
	assert_int_equal(sv_store_check(st, true, found, NULL, NULL), 0);
}

static unsigned calls_left;

static bool a_few(struct sv_store *st)
{
	(void)st;
	return calls_left && calls_left--;
}

/* K4: given up at any request, it goes on where it was, and writes little twice. */
static void packing_is_interrupted(void **state)
{
	struct world *w = begin_with_set(9);
	uint64_t before, wrote;
	unsigned steps = 0;

	(void)state;
	open_manual(w);
	before = w->st->ledger.cleaner_bytes;
	while (w->st->boot_pack.state != SV_PACK_DONE) {
		calls_left = 1 + steps % 200;
		pack_step(w, a_few);
		assert_true(++steps < 2000);
	}
	wrote = w->st->ledger.cleaner_bytes - before;
	print_message("%u steps, %u KiB\n", steps, (unsigned)(wrote >> 10));
	assert_true(steps > 20 && wrote > MIB);
	assert_true(wrote < SET_BLOCKS * SV_RAW_UNIT_BYTES / 4 * 6);
	expect_disk(w->st, w->disk);
	expect_whole(w->st);
	assert_int_equal(sv_store_close(w->st), 0);
	end(w);
}

static void the_same_disk(struct world *w, struct dev_crash *fork)
{
	const struct sv_open_options opts = {.manual = true, .boot_set = true, .seed = 9};
	struct sv_store *st = open_with(fork, &opts);

	expect_disk(st, w->disk);
	expect_whole(st);
	sv_store_abandon(st);
}

/* A cut at any write of it leaves the disk as it was. */
static void cut_while_packing(void **state)
{
	struct world *w = begin_with_set(10);

	(void)state;
	open_manual(w);
	dev_crash_record(w->medium);
	while (pack_step(w, NULL))
		;
	assert_int_equal(sv_store_checkpoint(w->st), 0);
	assert_int_equal(sv_store_flush(w->st), 0);
	print_message("%u cuts\n", each_cut(w, the_same_disk));
	sv_store_abandon(w->st);
	end(w);
}

/* K3: a store without room to spare is left as it is. */
static void no_room_to_pack(void **state)
{
	struct world *w = begin_with_set(11);
	uint64_t before;

	(void)state;
	open_manual(w);
	before = w->st->ledger.cleaner_bytes;
	w->st->segs.limit = w->st->segs.count;
	w->st->segs.free -= sv_min64(w->st->segs.free, 1000);
	assert_false(pack_step(w, NULL));
	assert_int_equal(w->st->ledger.cleaner_bytes, before);
	sv_store_abandon(w->st);
	end(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_kept),
		cmocka_unit_test(one_set_or_the_other),
		cmocka_unit_test(it_serves),
		cmocka_unit_test(it_never_serves_what_was),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(what_is_cached_is_not_swept),
		cmocka_unit_test(a_useless_set_makes_room),
		cmocka_unit_test(with_threads),
		cmocka_unit_test(packing_pays),
		cmocka_unit_test(packing_is_interrupted),
		cmocka_unit_test(cut_while_packing),
		cmocka_unit_test(no_room_to_pack),
	};
	static const char *const names[] = {"--cut=none", "--cut=linear", "--cut=exhaustive"};

	for (int i = 1; i < argc; i++)
		for (int m = 0; m < 3; m++)
			if (strcmp(argv[i], names[m]) == 0)
				cut_mode = m;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
