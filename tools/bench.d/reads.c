/* SPDX-License-Identifier: GPL-2.0-or-later */
/* reads.c: cold reads through the engine on a simulated stick's virtual clock, against raw ones. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev_flashsim.h"
#include "fsim_random.h"
#include "stickvm/store.h"

/*
 *	bench-reads PROFILE [SPAN_BYTES [COUNT [UNIT_BYTES]]]
 *
 * For each kind of data the disk is written in full, closed and opened again, so that nothing is in
 * memory; then COUNT random blocks are read one by one, and then everything in order. The same
 * reads of the stick itself are the measure. UNIT_BYTES 0 (the default) is what follows from the
 * stick's own figures (sv_unit_bytes); CPU time is not on the clock. Prints a JSON object a kind.
 */
#define BLOCK_BYTES 4096u
#define SEQUENTIAL_BYTES (1u << 20)
#define NS_PER_S 1e9

static const struct kind {
	const char *name;
	bool halves;	/* it compresses to a half */
	bool rewritten; /* half of it once more, at random */
	bool packed;	/* by the cleaner */
} kinds[] = {
	{"imported", false, false, false},
	{"imported, halves", true, false, false},
	{"randomly written", false, true, false},
	{"randomly written, halves", true, true, false},
	{"packed", false, true, true},
	{"packed, halves", true, true, true},
};

struct bench {
	const struct fsim_profile *profile;
	uint64_t span_bytes, count;
	uint32_t unit_bytes;
	struct fsim_stick *stick;
	struct sv_store *store;
	uint8_t *buf; /* SEQUENTIAL_BYTES */
	uint64_t random;
};

static double seconds(struct bench *b)
{
	struct fsim_counters c;

	fsim_stick_counters(b->stick, &c);
	return (double)c.busy_ns / NS_PER_S;
}

/* Random bytes; of compressible ones, half of each 64 repeat what stands before. */
static void fill(struct bench *b, const struct kind *kind, size_t len_bytes)
{
	for (size_t at = 0; at < len_bytes; at += sizeof(uint64_t)) {
		uint64_t value = fsim_random(&b->random);

		if (kind->halves && at % 64 >= 32)
			value = 0x2020202020202020u;
		memcpy(b->buf + at, &value, sizeof(value));
	}
}

static int new_stick(struct bench *b)
{
	const struct fsim_config config = {
		.profile = b->profile, .size_bytes = b->span_bytes * 4, .seed = 1};

	fsim_stick_free(b->stick);
	b->stick = NULL;
	return fsim_stick_new(&config, &b->stick);
}

static int open_store(struct bench *b)
{
	const struct sv_open_options options = {
		.manual = true, .unit_bytes = b->unit_bytes, .host = "bench-reads"};
	struct sv_dev *dev;
	int r = fsim_dev_open(b->stick, true, &dev);

	if (r < 0)
		return r;
	r = sv_store_open(dev, &options, &b->store);
	if (r < 0)
		sv_dev_close(dev);
	return r;
}

static int make_store(struct bench *b)
{
	const struct sv_format_params params = {.size_bytes = b->span_bytes};
	struct sv_dev *dev;
	int r = new_stick(b);

	if (r == 0)
		r = fsim_dev_open(b->stick, true, &dev);
	if (r < 0)
		return r;
	r = sv_store_format(dev, &params);
	sv_dev_close(dev);
	return r < 0 ? r : open_store(b);
}

static int write_all(struct bench *b, const struct kind *kind)
{
	uint64_t blocks = b->span_bytes / BLOCK_BYTES;
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < b->span_bytes; at += SEQUENTIAL_BYTES) {
		fill(b, kind, SEQUENTIAL_BYTES);
		r = sv_store_write(b->store, b->buf, SEQUENTIAL_BYTES, at);
	}
	for (uint64_t i = 0; r == 0 && kind->rewritten && i < blocks / 2; i++) {
		fill(b, kind, BLOCK_BYTES);
		r = sv_store_write(b->store, b->buf, BLOCK_BYTES,
				   fsim_random_below(&b->random, blocks) * BLOCK_BYTES);
		if (r == 0 && i % 64 == 63)
			r = sv_store_flush(b->store);
	}
	if (r == 0 && kind->packed) {
		unsigned cleaned;

		r = sv_store_flush(b->store);
		if (r == 0)
			r = sv_store_checkpoint(b->store);
		if (r == 0)
			r = sv_store_clean(b->store, 1000, &cleaned);
	}
	return r;
}

/* Random blocks of the disk, or of the stick where `dev` is given. */
static int random_reads(struct bench *b, struct sv_dev *dev, double *ret_iops)
{
	uint64_t random = 5;
	int r = 0;

	fsim_stick_reset_counters(b->stick);
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		uint64_t at = fsim_random_below(&random, b->span_bytes / BLOCK_BYTES) * BLOCK_BYTES;

		r = dev ? sv_dev_read(dev, b->buf, BLOCK_BYTES, at)
			: sv_store_read(b->store, b->buf, BLOCK_BYTES, at);
	}
	*ret_iops = (double)b->count / seconds(b);
	return r;
}

static int sequential_reads(struct bench *b, struct sv_dev *dev, double *ret_mb_s)
{
	int r = 0;

	fsim_stick_reset_counters(b->stick);
	for (uint64_t at = 0; r == 0 && at < b->span_bytes; at += SEQUENTIAL_BYTES)
		r = dev ? sv_dev_read(dev, b->buf, SEQUENTIAL_BYTES, at)
			: sv_store_read(b->store, b->buf, SEQUENTIAL_BYTES, at);
	*ret_mb_s = (double)b->span_bytes / 1e6 / seconds(b);
	return r;
}

static int open_again(struct bench *b)
{
	int r = sv_store_close(b->store);

	return r < 0 ? r : open_store(b);
}

static int measure(struct bench *b, const struct kind *kind, double raw_iops, double raw_mb_s)
{
	double iops = 0, mb_s = 0;
	int r = make_store(b), closed;

	if (r == 0)
		r = write_all(b, kind);
	if (r == 0)
		r = open_again(b);
	if (r < 0)
		return r;
	r = random_reads(b, NULL, &iops);
	if (r == 0)
		r = open_again(b);
	if (r < 0)
		return r;
	r = sequential_reads(b, NULL, &mb_s);
	closed = sv_store_close(b->store);
	printf("{\"stick\": \"%s\", \"data\": \"%s\", \"unit_bytes\": %" PRIu32
	       ", \"raw_iops\": %.2f, \"iops\": %.2f, \"ratio\": %.3f, \"raw_mb_s\": %.2f"
	       ", \"mb_s\": %.2f, \"sequential_ratio\": %.3f}\n",
	       b->profile->id, kind->name, b->unit_bytes, raw_iops, iops, iops / raw_iops, raw_mb_s,
	       mb_s, mb_s / raw_mb_s);
	return r < 0 ? r : closed;
}

static int run(struct bench *b)
{
	double raw_iops = 0, raw_mb_s = 0;
	struct sv_dev *dev;
	int r = new_stick(b);

	if (r == 0)
		r = fsim_dev_open(b->stick, true, &dev);
	if (r < 0)
		return r;
	r = random_reads(b, dev, &raw_iops);
	if (r == 0)
		r = sequential_reads(b, dev, &raw_mb_s);
	sv_dev_close(dev);
	if (!b->unit_bytes)
		b->unit_bytes = sv_unit_bytes(NS_PER_S / raw_iops, raw_mb_s * 1e6);
	for (size_t i = 0; r == 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		r = measure(b, &kinds[i], raw_iops, raw_mb_s);
	return r;
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise)
{
	return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	struct bench b = {
		.profile = argc > 1 ? fsim_profile_find(argv[1]) : NULL,
		.span_bytes = argument(argc, argv, 2, UINT64_C(512) << 20),
		.count = argument(argc, argv, 3, 20000),
		.unit_bytes = (uint32_t)argument(argc, argv, 4, 0),
		.random = 1,
	};
	int r;

	if (b.profile == NULL || b.span_bytes % SEQUENTIAL_BYTES != 0 || b.span_bytes == 0) {
		fprintf(stderr, "usage: bench-reads PROFILE [SPAN_BYTES [COUNT [UNIT_BYTES]]]\n");
		return 2;
	}
	b.buf = aligned_alloc(BLOCK_BYTES, SEQUENTIAL_BYTES);
	r = b.buf != NULL ? run(&b) : -ENOMEM;
	if (r < 0)
		fprintf(stderr, "bench-reads: %s: %s\n", b.profile->id, strerror(-r));
	fsim_stick_free(b.stick);
	free(b.buf);
	return r < 0;
}
