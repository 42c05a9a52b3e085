/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_turns.c: a guest's read waits for one piece of other work, and other work goes on. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "dev_pass.h"
#include "dev_ram.h"
#include "prng.h"
#include "store_impl.h"

/*
 * A stick in real time: one command at a time, in the order in which they come, each with a fixed
 * cost and a rate. It counts what reads meet: how many writes *began* between a read's coming and
 * its turn. Without R1 a part of 4 MiB is one command of 130 ms; without R2 readers that never
 * pause keep a flush for ever.
 */
#define COST_US 300u
#define BYTES_MS 30000u /* of a write; reads cost no more than their command */
#define DISK_BYTES (48u << 20)
#define HALF (DISK_BYTES / 2)
#define READERS 3u

struct stick {
	struct dev_pass pass;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	uint64_t next, now; /* tickets */
	bool slow;
	uint64_t writes, longest, long_ones; /* those that take longer than any piece should */
	uint64_t reads, waited, overtaken;   /* overtaken: of the reads, those that met R1 broken */
	bool hold_streams;		     /* long reads last until a short one was there */
	uint64_t held, missed;
};

static struct stick *stick_of(struct sv_dev *dev)
{
	return (struct stick *)dev;
}

static void sleep_us(uint64_t us)
{
	struct timespec t = {.tv_sec = (time_t)(us / 1000000),
			     .tv_nsec = (long)(us % 1000000 * 1000)};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static void take_turn(struct stick *s)
{
	uint64_t ticket = s->next++;

	while (s->now != ticket)
		pthread_cond_wait(&s->turn, &s->lock);
}

static void end_turn(struct stick *s, uint64_t took_us)
{
	pthread_mutex_unlock(&s->lock);
	if (s->slow)
		sleep_us(took_us);
	pthread_mutex_lock(&s->lock);
	s->now++;
	pthread_cond_broadcast(&s->turn);
	pthread_mutex_unlock(&s->lock);
}

/* A stream's read goes on until a short one has been there, two seconds at most. */
static void hold_stream(struct stick *s)
{
	uint64_t before = s->reads;
	unsigned ms = 0;

	s->held++;
	for (; s->reads == before && ms < 2000; ms++) {
		pthread_mutex_unlock(&s->lock);
		sleep_us(1000);
		pthread_mutex_lock(&s->lock);
	}
	if (s->reads == before)
		s->missed++;
}

static int stick_read(struct sv_dev *dev, void *buf, size_t len, uint64_t off)
{
	struct stick *s = stick_of(dev);
	uint64_t before;

	pthread_mutex_lock(&s->lock);
	if (s->hold_streams) {
		if (len > (64 << 10))
			hold_stream(s);
		else
			s->reads++;
		pthread_mutex_unlock(&s->lock);
		return dev_pass_read(dev, buf, len, off);
	}
	before = s->writes;
	s->waited += s->next != s->now;
	take_turn(s);
	s->reads++;
	s->overtaken += s->writes != before;
	end_turn(s, COST_US);
	return dev_pass_read(dev, buf, len, off);
}

static int stick_write(struct sv_dev *dev, const void *buf, size_t len, uint64_t off)
{
	struct stick *s = stick_of(dev);

	pthread_mutex_lock(&s->lock);
	take_turn(s);
	s->writes++;
	s->longest = s->longest > len ? s->longest : len;
	s->long_ones += s->slow && len > 25 * BYTES_MS;
	end_turn(s, COST_US + len * 1000 / BYTES_MS);
	return dev_pass_write(dev, buf, len, off);
}

static const struct sv_dev_ops stick_ops = {
	.read = stick_read,
	.write = stick_write,
	.flush = dev_pass_flush,
	.discard = dev_pass_discard,
	.grow = dev_pass_grow,
	.geometry = dev_pass_geometry,
	.close = dev_pass_close,
};

struct world {
	struct stick *stick;
	struct sv_store *store;
	atomic_bool stop;
	atomic_uint_fast64_t reads, read_limit;
};

static void fill_blocks(struct sv_store *store, uint64_t from, uint64_t to, uint64_t seed)
{
	static uint8_t buf[1 << 20];
	struct prng rng = {.state = seed};

	for (uint64_t at = from; at < to; at += sizeof(buf)) {
		prng_fill(&rng, buf, sizeof(buf));
		assert_int_equal(sv_store_write(store, buf, sizeof(buf), at), 0);
	}
}

static void open_world(struct world *w)
{
	const struct sv_geometry geo = {.size_bytes = 256 << 20, .max_bytes = 256 << 20};
	const struct sv_format_params params = {.size_bytes = DISK_BYTES};
	const struct sv_open_options opts = {.cache_ram_bytes = 1, .unit_bytes = 4096};
	struct stick *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	memset(w, 0, sizeof(*w));
	s->pass.dev = (struct sv_dev){&stick_ops, "slow"};
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->turn, NULL);
	assert_int_equal(sv_dev_ram_create(&geo, &s->pass.inner), 0);
	assert_int_equal(sv_store_format(&s->pass.dev, &params), 0);
	assert_int_equal(sv_store_open(&s->pass.dev, &opts, &w->store), 0);
	w->stick = s;
	fill_blocks(w->store, 0, DISK_BYTES, 1);
	assert_int_equal(sv_store_flush(w->store), 0);
	s->slow = true;
	s->longest = 0;
}

static void close_world(struct world *w)
{
	w->stick->slow = false;
	assert_int_equal(sv_store_close(w->store), 0);
}

static void *write_half(void *arg)
{
	struct world *w = arg;

	fill_blocks(w->store, 0, HALF, 2);
	assert_int_equal(sv_store_flush(w->store), 0);
	atomic_store(&w->stop, true);
	return NULL;
}

static void read_random(struct world *w, struct prng *rng, unsigned pause_us)
{
	uint8_t block[SV_BLOCK_BYTES];

	while (!atomic_load(&w->stop) && (!w->read_limit || w->reads < w->read_limit)) {
		uint64_t lba = prng_next(rng) % (HALF / SV_BLOCK_BYTES);

		assert_int_equal(
			sv_store_read(w->store, block, sizeof(block), HALF + lba * SV_BLOCK_BYTES),
			0);
		atomic_fetch_add(&w->reads, 1);
		if (pause_us)
			sleep_us(pause_us);
	}
}

static void a_read_waits_for_one_piece(void **state)
{
	struct prng rng = {.state = 5};
	struct world w;
	pthread_t thread;
	uint64_t longest_us;

	(void)state;
	open_world(&w);
	assert_int_equal(pthread_create(&thread, NULL, write_half, &w), 0);
	read_random(&w, &rng, 3000);
	pthread_join(thread, NULL);
	longest_us = COST_US + w.stick->longest * 1000 / BYTES_MS;
	print_message("%u reads, %u waited, %u were overtaken; longest write %u us\n",
		      (unsigned)w.stick->reads, (unsigned)w.stick->waited,
		      (unsigned)w.stick->overtaken, (unsigned)longest_us);
	assert_true(w.stick->waited >= 10);
	assert_true(longest_us <= 40000); /* what was learnt at full speed: a command of 1 MiB */
	assert_true(w.stick->long_ones <= 3); /* until it is seen that this is another stick now */
	/* R2 lets a write pass where this thread, not the stick, keeps a read back. */
	assert_true(w.stick->overtaken <= w.stick->reads / 50);
	close_world(&w);
}

static void *read_on(void *arg)
{
	struct world *w = arg;
	struct prng rng = {.state = (uint64_t)(uintptr_t)&rng};

	read_random(w, &rng, 0);
	return NULL;
}

static void readers_do_not_stop_a_flush(void **state)
{
	pthread_t thread[READERS];
	struct world w;

	(void)state;
	open_world(&w);
	w.read_limit = 20000; /* six seconds: where writes get no turn, it ends here */
	fill_blocks(w.store, 0, 4 << 20, 3);
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, read_on, &w), 0);
	assert_int_equal(sv_store_flush(w.store), 0);
	atomic_store(&w.stop, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	print_message("%u reads beside the flush\n", (unsigned)w.reads);
	assert_true(w.reads < w.read_limit / 2);
	close_world(&w);
}

static void *read_in_order(void *arg)
{
	struct world *w = arg;
	static uint8_t buf[64 << 10];

	for (uint64_t at = HALF; at < DISK_BYTES && !atomic_load(&w->stop); at += sizeof(buf))
		assert_int_equal(sv_store_read(w->store, buf, sizeof(buf), at), 0);
	atomic_store(&w->stop, true);
	return NULL;
}

/* No lock is held while a stream is read ahead (readahead.c, A2). */
static void a_stream_keeps_nobody_out(void **state)
{
	struct prng rng = {.state = 9};
	struct world w;
	pthread_t thread;

	(void)state;
	open_world(&w);
	w.stick->hold_streams = true;
	assert_int_equal(pthread_create(&thread, NULL, read_in_order, &w), 0);
	read_random(&w, &rng, 500);
	pthread_join(thread, NULL);
	print_message("%u reads of the stream, %u of them alone\n", (unsigned)w.stick->held,
		      (unsigned)w.stick->missed);
	assert_true(w.stick->held >= 10);
	assert_true(w.stick->missed <= 1); /* the last one may find nobody */
	w.stick->hold_streams = false;
	close_world(&w);
}

/* A command's cost and a byte's decide how long a piece is. */
static void pieces_follow_the_stick(void **state)
{
	static const struct {
		unsigned cost_us, bytes_ms;
		uint32_t max_io, least, most;
	} kinds[] = {
		{200, 8750, 120 << 10, 80 << 10, 112 << 10}, /* P1 */
		{200, 8750, 0, 64 << 10, 112 << 10},
		{1000, 13550, 0, 256 << 10, 336 << 10}, /* P0 */
		{150, 109800, 0, 768 << 10, 1 << 20},	/* P3 */
		{100, 365400, 0, 1 << 20, 1 << 20},	/* P6 */
	};

	(void)state;
	for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		struct sv_store *s = calloc(1, sizeof(*s));

		assert_non_null(s);
		s->geo.max_io_bytes = kinds[k].max_io;
		s->anchor.page_bytes = 16 << 10;
		sv_turns_init(s);
		for (unsigned i = 0; i < 20; i++) {
			uint32_t n = sv_turns_piece(s);
			/* One in three meets a merge. */
			sv_turns_took(s, n,
				      kinds[k].cost_us + n * 1000ull / kinds[k].bytes_ms +
					      (i % 3 == 2 ? 500000 : 0));
		}
		assert_in_range(sv_turns_piece(s), kinds[k].least, kinds[k].most);
		sv_turns_free(s);
		free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_waits_for_one_piece),
		cmocka_unit_test(readers_do_not_stop_a_flush),
		cmocka_unit_test(a_stream_keeps_nobody_out),
		cmocka_unit_test(pieces_follow_the_stick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
