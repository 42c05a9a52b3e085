/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpu.c: what the engine costs the processor: writes into a stick that takes no time, and lz4. */
#include <errno.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dev_ram.h"
#include "fsim_random.h"
#include "stickvm/store.h"

/*
 *	bench-cpu [BYTES [ROUNDS [words|halves|random]]]
 *
 * For each kind of data: BYTES of it in order, 1 MiB each, into a store whose device forgets what
 * it is told, and a flush at the end; and the same bytes through lz4 alone, 64 KiB at a time, in
 * one thread. Rounds in turn, the median of each. All by the time that processors spent, so that
 * others on the machine do not count. Then blocks of 4 KiB: written at random, and read again from
 * memory. Prints one JSON object a kind.
 */
#define LARGE_BYTES (1u << 20)
#define UNIT_BYTES (64u << 10)
#define BLOCK_BYTES 4096u
#define POOL_BYTES (32u << 20)
#define ROUNDS_MOST 31
#define READ_SPAN (4u << 20)

enum kind { WORDS, HALVES, RANDOM, KINDS };

static const char *const kind_names[KINDS] = {"words", "halves", "random"};

/* Drops what lies behind the start once `forget` is set. */
struct null_dev {
	struct sv_dev dev;
	struct sv_dev *inner;
	bool forget;
};

static struct null_dev *self(struct sv_dev *dev)
{
	return (struct null_dev *)dev;
}

static int null_read(struct sv_dev *dev, void *buf, size_t len, uint64_t off)
{
	return sv_dev_read(self(dev)->inner, buf, len, off);
}

static int null_write(struct sv_dev *dev, const void *buf, size_t len, uint64_t off)
{
	return self(dev)->forget ? 0 : sv_dev_write(self(dev)->inner, buf, len, off);
}

static int null_flush(struct sv_dev *dev)
{
	(void)dev;
	return 0;
}

static int null_discard(struct sv_dev *dev, uint64_t off, uint64_t len)
{
	(void)dev, (void)off, (void)len;
	return 0;
}

static int null_grow(struct sv_dev *dev, uint64_t size)
{
	return sv_dev_grow(self(dev)->inner, size);
}

static int null_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	return sv_dev_geometry(self(dev)->inner, ret_geometry);
}

static void null_close(struct sv_dev *dev)
{
	sv_dev_close(self(dev)->inner);
	free(dev);
}

static const struct sv_dev_ops null_ops = {
	.read = null_read,
	.write = null_write,
	.flush = null_flush,
	.discard = null_discard,
	.grow = null_grow,
	.geometry = null_geometry,
	.close = null_close,
};

struct bench {
	uint8_t *pool;
	uint64_t bytes;
	unsigned rounds;
	struct null_dev *dev;
	struct sv_store *store;
};

/* Of the processor, all threads together: what one idle processor would take for it. */
static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Words of a small vocabulary, the frequent ones short, as text and programs have them. */
static void fill_words(uint8_t *buf, size_t len_bytes)
{
	uint64_t random = 1, vocabulary = 2;
	static uint8_t word[1024][12];

	for (size_t i = 0; i < sizeof(word) / sizeof(word[0]); i++)
		for (size_t j = 0; j < sizeof(word[0]); j++)
			word[i][j] = (uint8_t)('a' + fsim_random_below(&vocabulary, 26));
	for (size_t at = 0; at < len_bytes;) {
		uint64_t rank = fsim_random_below(&random, 1024);
		uint64_t which = fsim_random_below(&random, rank + 1);
		size_t n = 5 + which * 7 / 1024;

		n = n < len_bytes - at ? n : len_bytes - at;
		memcpy(buf + at, word[which], n);
		at += n;
		if (at < len_bytes)
			buf[at++] = ' ';
	}
}

static void fill(uint8_t *buf, size_t len_bytes, enum kind kind)
{
	uint64_t random = 3;

	if (kind == WORDS) {
		fill_words(buf, len_bytes);
		return;
	}
	for (size_t at = 0; at < len_bytes; at += sizeof(uint64_t)) {
		uint64_t value = fsim_random(&random);

		if (kind == HALVES && at % 64 >= 32)
			value = 0x2020202020202020u;
		memcpy(buf + at, &value, sizeof(value));
	}
}

static int open_store(struct bench *b)
{
	const struct sv_geometry geo = {.size_bytes = b->bytes * 2 + (UINT64_C(1) << 30),
					.max_bytes = b->bytes * 2 + (UINT64_C(1) << 30)};
	const struct sv_format_params params = {.size_bytes = b->bytes};
	const struct sv_open_options options = {.host = "bench-cpu"};
	int r;

	b->dev = calloc(1, sizeof(*b->dev));
	if (!b->dev)
		return -ENOMEM;
	b->dev->dev = (struct sv_dev){&null_ops, "null"};
	r = sv_dev_ram_create(&geo, &b->dev->inner);
	if (r == 0)
		r = sv_store_format(&b->dev->dev, &params);
	if (r == 0)
		r = sv_store_open(&b->dev->dev, &options, &b->store);
	return r;
}

static int through_engine(struct bench *b, double *ret_mb_s)
{
	double start;
	int r = open_store(b);

	if (r < 0)
		return r;
	b->dev->forget = true;
	start = now_s();
	for (uint64_t at = 0; r == 0 && at < b->bytes; at += LARGE_BYTES)
		r = sv_store_write(b->store, b->pool + at % POOL_BYTES, LARGE_BYTES, at);
	if (r == 0)
		r = sv_store_flush(b->store);
	*ret_mb_s = (double)b->bytes / 1e6 / (now_s() - start);
	sv_store_abandon(b->store);
	return r;
}

static double through_lz4(struct bench *b, double *ret_ratio)
{
	static char out[LZ4_COMPRESSBOUND(UNIT_BYTES)];
	double start = now_s(), stored = 0;

	for (uint64_t at = 0; at < b->bytes; at += UNIT_BYTES)
		stored += LZ4_compress_default((const char *)b->pool + at % POOL_BYTES, out,
					       UNIT_BYTES, (int)sizeof(out));
	*ret_ratio = (double)b->bytes / stored;
	return (double)b->bytes / 1e6 / (now_s() - start);
}

/* Single blocks at random, then read from memory: microseconds each. */
static int blocks(struct bench *b, double *ret_write_us, double *ret_read_us)
{
	static uint8_t buf[BLOCK_BYTES];
	const uint64_t writes = 65536, reads = 262144;
	uint64_t random = 5;
	double start;
	int r = open_store(b);

	if (r < 0)
		return r;
	start = now_s();
	for (uint64_t i = 0; r == 0 && i < writes; i++)
		r = sv_store_write(b->store, b->pool + i * BLOCK_BYTES % POOL_BYTES, BLOCK_BYTES,
				   fsim_random_below(&random, b->bytes / BLOCK_BYTES) *
					   BLOCK_BYTES);
	if (r == 0)
		r = sv_store_flush(b->store);
	*ret_write_us = (now_s() - start) * 1e6 / (double)writes;
	for (uint64_t at = 0; r == 0 && at < READ_SPAN; at += LARGE_BYTES)
		r = sv_store_write(b->store, b->pool + at, LARGE_BYTES, at);
	if (r == 0)
		r = sv_store_flush(b->store);
	for (unsigned round = 0; round < 2; round++) { /* the first brings them into memory */
		start = now_s();
		for (uint64_t i = 0; r == 0 && i < reads; i++)
			r = sv_store_read(b->store, buf, BLOCK_BYTES,
					  fsim_random_below(&random, READ_SPAN / BLOCK_BYTES) *
						  BLOCK_BYTES);
		*ret_read_us = (now_s() - start) * 1e6 / (double)reads;
	}
	sv_store_abandon(b->store);
	return r;
}

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int measure(struct bench *b, enum kind kind)
{
	double engine[ROUNDS_MOST], lz4[ROUNDS_MOST], share[ROUNDS_MOST], ratio = 0;
	double write_us = 0, read_us = 0;
	int r = 0;

	fill(b->pool, POOL_BYTES, kind);
	for (unsigned i = 0; r == 0 && i < b->rounds; i++) {
		lz4[i] = through_lz4(b, &ratio);
		r = through_engine(b, &engine[i]);
		share[i] = engine[i] / lz4[i];
	}
	if (r == 0)
		r = blocks(b, &write_us, &read_us);
	if (r < 0)
		return r;
	qsort(engine, b->rounds, sizeof(*engine), by_size);
	qsort(lz4, b->rounds, sizeof(*lz4), by_size);
	qsort(share, b->rounds, sizeof(*share), by_size);
	printf("{\"data\": \"%s\", \"lz4_ratio\": %.2f, \"lz4_mb_s\": %.0f, \"engine_mb_s\": %.0f"
	       ", \"share\": %.3f, \"block_write_us\": %.2f, \"cached_read_us\": %.2f}\n",
	       kind_names[kind], ratio, lz4[b->rounds / 2], engine[b->rounds / 2],
	       share[b->rounds / 2], write_us, read_us);
	return 0;
}

int main(int argc, char **argv)
{
	struct bench b = {
		.bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : UINT64_C(1) << 30,
		.rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 5,
	};
	int r = 0;

	if (!b.bytes || b.bytes % POOL_BYTES || !b.rounds || b.rounds > ROUNDS_MOST) {
		fprintf(stderr, "usage: bench-cpu [BYTES [ROUNDS [KIND]]]\n");
		return 2;
	}
	b.pool = malloc(POOL_BYTES);
	for (enum kind kind = 0; r == 0 && kind < KINDS; kind++)
		if (argc < 4 || strcmp(argv[3], kind_names[kind]) == 0)
			r = b.pool ? measure(&b, kind) : -ENOMEM;
	if (r < 0)
		fprintf(stderr, "bench-cpu: %s\n", strerror(-r));
	free(b.pool);
	return r < 0;
}
