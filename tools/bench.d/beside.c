/* SPDX-License-Identifier: GPL-2.0-or-later */
/* beside.c: what a guest's read waits for beside writes, and a write beside flushes; no FUSE. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dev_flashsim.h"
#include "fsim_random.h"
#include "stickvm/store.h"

/*
 *	bench-beside PROFILE [SECONDS [SPAN_BYTES]]
 *
 * The library on a simulated stick that takes its time. The disk is written in full before, at full
 * speed. Then, for SECONDS each:
 *	reads	one thread reads random blocks of the second half, one by one, while another one
 *		writes the first half in order, 1 MiB each, without a pause; the same on the stick
 *		itself, without a store, stands beside it
 *	writes	one thread writes a block every 2 ms while another one writes 1 MiB and flushes it,
 *		over and over
 * Prints one JSON object: milliseconds, and what the other thread did meanwhile.
 */
#define BLOCK_BYTES 4096u
#define LARGE_BYTES (1u << 20)
#define SAMPLES (1u << 20)
#define PAUSE_US 2000u

struct bench {
	struct fsim_stick *stick;
	struct sv_store *store;
	struct sv_dev *dev; /* without a store */
	uint64_t span_bytes;
	double seconds;
	atomic_bool stop;
	atomic_uint_fast64_t bytes;   /* of the thread beside */
	atomic_uint_fast64_t flushes; /* and what they took */
	atomic_uint_fast64_t flush_us;
	uint32_t *took_us;
	size_t count;
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void scramble(uint8_t *buf, size_t len_bytes, uint64_t *random)
{
	for (size_t at = 0; at < len_bytes; at += sizeof(uint64_t)) {
		uint64_t value = fsim_random(random);

		memcpy(buf + at, &value, sizeof(value));
	}
}

static int put(struct bench *b, const uint8_t *buf, size_t len_bytes, uint64_t off_bytes)
{
	return b->store ? sv_store_write(b->store, buf, len_bytes, off_bytes)
			: sv_dev_write(b->dev, buf, len_bytes, off_bytes);
}

static int get(struct bench *b, uint8_t *buf, size_t len_bytes, uint64_t off_bytes)
{
	return b->store ? sv_store_read(b->store, buf, len_bytes, off_bytes)
			: sv_dev_read(b->dev, buf, len_bytes, off_bytes);
}

/* In order over the first half, until told to stop; flushes each where `flush` says so. */
static void write_on(struct bench *b, bool flush)
{
	uint8_t *buf = aligned_alloc(BLOCK_BYTES, LARGE_BYTES);
	uint64_t random = 7, at = 0;
	int r = buf ? 0 : -ENOMEM;

	while (r == 0 && !atomic_load(&b->stop)) {
		double start;

		scramble(buf, LARGE_BYTES, &random);
		r = put(b, buf, LARGE_BYTES, at % (b->span_bytes / 2));
		at += LARGE_BYTES;
		atomic_fetch_add(&b->bytes, LARGE_BYTES);
		if (r < 0 || !flush)
			continue;
		start = now_s();
		r = sv_store_flush(b->store);
		atomic_fetch_add(&b->flushes, 1);
		atomic_fetch_add(&b->flush_us, (uint64_t)((now_s() - start) * 1e6));
	}
	if (r < 0)
		fprintf(stderr, "bench-beside: the thread beside: %s\n", strerror(-r));
	free(buf);
}

static void *writer(void *arg)
{
	write_on(arg, false);
	return NULL;
}

static void *flusher(void *arg)
{
	write_on(arg, true);
	return NULL;
}

static int by_time(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Single blocks of the second half, each one timed. */
static int blocks(struct bench *b, bool write)
{
	static uint8_t buf[BLOCK_BYTES] __attribute__((aligned(BLOCK_BYTES)));
	uint64_t half = b->span_bytes / 2, random = 11;
	double end = now_s() + b->seconds;
	int r = 0;

	b->count = 0;
	while (r == 0 && b->count < SAMPLES && now_s() < end) {
		uint64_t at = half + fsim_random_below(&random, half / BLOCK_BYTES) * BLOCK_BYTES;
		double start;

		if (write) {
			usleep(PAUSE_US);
			scramble(buf, sizeof(buf), &random);
		}
		start = now_s();
		r = write ? put(b, buf, sizeof(buf), at) : get(b, buf, sizeof(buf), at);
		b->took_us[b->count++] = (uint32_t)((now_s() - start) * 1e6);
	}
	qsort(b->took_us, b->count, sizeof(*b->took_us), by_time);
	return r;
}

static double quantile_ms(const struct bench *b, double share)
{
	size_t at = (size_t)((double)b->count * share);

	return b->count ? b->took_us[at < b->count ? at : b->count - 1] / 1e3 : 0;
}

static int measure(struct bench *b, const char *name, void *(*beside)(void *), bool write)
{
	double start = now_s(), took;
	pthread_t thread;
	int r;

	atomic_store(&b->stop, false);
	atomic_store(&b->bytes, 0);
	r = -pthread_create(&thread, NULL, beside, b);
	if (r < 0)
		return r;
	sleep(1); /* what waits in memory is full */
	r = blocks(b, write);
	atomic_store(&b->stop, true);
	took = now_s() - start;
	pthread_join(thread, NULL);
	printf(", \"%s\": {\"count\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f"
	       ", \"beside_mb_s\": %.2f}",
	       name, b->count, quantile_ms(b, 0.5), quantile_ms(b, 0.99), quantile_ms(b, 1),
	       (double)atomic_load(&b->bytes) / 1e6 / took);
	return r;
}

static int fill(struct bench *b)
{
	uint8_t *buf = aligned_alloc(BLOCK_BYTES, LARGE_BYTES);
	uint64_t random = 3;
	int r = buf ? 0 : -ENOMEM;

	for (uint64_t at = 0; r == 0 && at < b->span_bytes; at += LARGE_BYTES) {
		scramble(buf, LARGE_BYTES, &random);
		r = put(b, buf, LARGE_BYTES, at);
	}
	free(buf);
	return r == 0 && b->store ? sv_store_flush(b->store) : r;
}

static int on_the_stick(struct bench *b)
{
	int r = fsim_dev_open(b->stick, true, &b->dev);

	if (r < 0)
		return r;
	r = fill(b);
	fsim_stick_latency(b->stick, true);
	if (r == 0)
		r = measure(b, "reads_raw", writer, false);
	fsim_stick_latency(b->stick, false);
	sv_dev_close(b->dev);
	return r;
}

static int on_a_store(struct bench *b)
{
	const struct sv_format_params params = {.size_bytes = b->span_bytes};
	const struct sv_open_options options = {.cache_ram_bytes = 1, .host = "bench-beside"};
	int r = fsim_dev_open(b->stick, true, &b->dev), closed;

	if (r == 0)
		r = sv_store_format(b->dev, &params);
	if (r == 0)
		r = sv_store_open(b->dev, &options, &b->store);
	if (r < 0)
		return r;
	r = fill(b);
	fsim_stick_latency(b->stick, true);
	if (r == 0)
		r = measure(b, "reads", writer, false);
	if (r == 0)
		r = measure(b, "writes", flusher, true);
	if (atomic_load(&b->flushes))
		printf(", \"flushes\": %" PRIu64 ", \"flush_ms\": %.1f",
		       (uint64_t)atomic_load(&b->flushes),
		       (double)atomic_load(&b->flush_us) / 1e3 / (double)atomic_load(&b->flushes));
	fsim_stick_latency(b->stick, false);
	closed = sv_store_close(b->store);
	return r < 0 ? r : closed;
}

static int run(struct bench *b, const struct fsim_profile *profile)
{
	const struct fsim_config config = {
		.profile = profile, .size_bytes = b->span_bytes * 4, .seed = 1};
	int r;

	b->took_us = malloc(SAMPLES * sizeof(*b->took_us));
	r = b->took_us ? fsim_stick_new(&config, &b->stick) : -ENOMEM;
	printf("{\"stick\": \"%s\"", profile->id);
	if (r == 0)
		r = on_the_stick(b);
	if (r == 0)
		r = on_a_store(b);
	printf("}\n");
	fsim_stick_free(b->stick);
	free(b->took_us);
	return r;
}

int main(int argc, char **argv)
{
	const struct fsim_profile *profile = argc > 1 ? fsim_profile_find(argv[1]) : NULL;
	struct bench b = {
		.seconds = argc > 2 ? strtod(argv[2], NULL) : 10,
		.span_bytes = argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_C(512) << 20,
	};
	int r;

	if (!profile || b.span_bytes % (2 * LARGE_BYTES) || !b.span_bytes) {
		fprintf(stderr, "usage: bench-beside PROFILE [SECONDS [SPAN_BYTES]]\n");
		return 2;
	}
	r = run(&b, profile);
	if (r < 0)
		fprintf(stderr, "bench-beside: %s: %s\n", profile->id, strerror(-r));
	return r < 0;
}
