/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtual.c: the engine on a simulated stick's virtual clock, against what the stick can do. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev_flashsim.h"
#include "fsim_random.h"
#include "stickvm/store.h"

/*
 *	bench-virtual PROFILE [STICK_BYTES [SPAN_BYTES [COUNT]]]
 *
 * No FUSE, no loop device, no sleeping: how much of the stick's time the engine turns into guest
 * writes. The limit is what a perfect log would do for 16 random 4 KiB writes and a flush: one
 * aligned append of 80 KiB (the data and a page for the header) and a flush, one after another.
 * The disk is written in full once before; the data cannot be compressed. CPU time is not on the
 * virtual clock. Prints one JSON object.
 */
#define BLOCK_BYTES 4096u
#define WRITES_PER_FLUSH 16u
#define APPEND_BYTES (80u << 10)
#define SEQUENTIAL_BYTES (1u << 20)
#define NS_PER_S 1e9

struct bench {
	const struct fsim_profile *profile;
	uint64_t stick_bytes, span_bytes, count;
	struct fsim_stick *stick;
	struct sv_store *store;
	uint8_t *buf; /* SEQUENTIAL_BYTES */
	uint64_t random;
};

struct result {
	double limit_iops, iops;
	double stick_write_mb_s, write_mb_s, stick_read_mb_s, read_mb_s;
	double erases_per_gib, write_amplification;
	uint64_t ledger_bytes, simulator_bytes;
};

static void scramble(struct bench *b, size_t len_bytes)
{
	for (size_t at = 0; at < len_bytes; at += sizeof(uint64_t)) {
		uint64_t value = fsim_random(&b->random);
		memcpy(b->buf + at, &value, sizeof(value));
	}
}

/* Starts a measurement; stop_clock gives the virtual seconds since. */
static void start_clock(struct bench *b)
{
	fsim_stick_reset_counters(b->stick);
}

static double stop_clock(struct bench *b)
{
	struct fsim_counters c;
	fsim_stick_counters(b->stick, &c);
	return (double)c.busy_ns / NS_PER_S;
}

static int new_stick(struct bench *b, struct sv_dev **ret_dev)
{
	struct fsim_config config = {
		.profile = b->profile,
		.size_bytes = b->stick_bytes,
		.seed = 1,
	};
	fsim_stick_free(b->stick);
	b->stick = NULL;
	int r = fsim_stick_new(&config, &b->stick);
	return r < 0 ? r : fsim_dev_open(b->stick, true, ret_dev);
}

/* What the stick itself does: appends, and large requests in order. */
static int measure_stick(struct bench *b, struct result *res)
{
	struct sv_dev *dev;
	int r = new_stick(b, &dev);
	if (r < 0)
		return r;
	uint64_t appends = b->count / WRITES_PER_FLUSH, bytes = 0;
	start_clock(b);
	for (uint64_t i = 0; r == 0 && i < appends; i++) {
		r = sv_dev_write(dev, b->buf, APPEND_BYTES, i * APPEND_BYTES % b->span_bytes);
		if (r == 0)
			r = sv_dev_flush(dev);
	}
	res->limit_iops = (double)(appends * WRITES_PER_FLUSH) / stop_clock(b);
	start_clock(b);
	for (; r == 0 && bytes < b->span_bytes; bytes += SEQUENTIAL_BYTES)
		r = sv_dev_write(dev, b->buf, SEQUENTIAL_BYTES, bytes);
	res->stick_write_mb_s = (double)bytes / 1e6 / stop_clock(b);
	start_clock(b);
	for (bytes = 0; r == 0 && bytes < b->span_bytes; bytes += SEQUENTIAL_BYTES)
		r = sv_dev_read(dev, b->buf, SEQUENTIAL_BYTES, bytes);
	res->stick_read_mb_s = (double)bytes / 1e6 / stop_clock(b);
	sv_dev_close(dev);
	return r;
}

static int open_store(struct bench *b)
{
	struct sv_format_params params = {.size_bytes = b->span_bytes};
	struct sv_open_options options = {.manual = true, .host = "bench-virtual"};
	struct sv_dev *dev;
	int r = new_stick(b, &dev);
	if (r < 0)
		return r;
	r = sv_store_format(dev, &params);
	if (r == 0)
		r = sv_store_open(dev, &options, &b->store);
	if (r < 0)
		sv_dev_close(dev);
	return r;
}

static int sequential(struct bench *b, struct result *res)
{
	int r = 0;
	uint64_t bytes = 0;
	start_clock(b);
	for (; r == 0 && bytes < b->span_bytes; bytes += SEQUENTIAL_BYTES) {
		scramble(b, SEQUENTIAL_BYTES);
		r = sv_store_write(b->store, b->buf, SEQUENTIAL_BYTES, bytes);
	}
	if (r == 0)
		r = sv_store_flush(b->store);
	res->write_mb_s = (double)bytes / 1e6 / stop_clock(b);
	start_clock(b);
	for (bytes = 0; r == 0 && bytes < b->span_bytes; bytes += SEQUENTIAL_BYTES)
		r = sv_store_read(b->store, b->buf, SEQUENTIAL_BYTES, bytes);
	res->read_mb_s = (double)bytes / 1e6 / stop_clock(b);
	return r;
}

static int random_writes(struct bench *b, struct result *res)
{
	struct sv_status before, after;
	struct fsim_counters c;
	uint64_t blocks = b->span_bytes / BLOCK_BYTES;
	int r = 0;

	sv_store_status(b->store, &before);
	start_clock(b);
	for (uint64_t i = 0; r == 0 && i < b->count; i++) {
		scramble(b, BLOCK_BYTES);
		r = sv_store_write(b->store, b->buf, BLOCK_BYTES,
				   fsim_random_below(&b->random, blocks) * BLOCK_BYTES);
		if (r == 0 && i % WRITES_PER_FLUSH == WRITES_PER_FLUSH - 1)
			r = sv_store_flush(b->store);
	}
	fsim_stick_counters(b->stick, &c);
	sv_store_status(b->store, &after);
	double guest_bytes = (double)b->count * BLOCK_BYTES;
	res->iops = (double)b->count / stop_clock(b);
	res->erases_per_gib = (double)c.erases / (guest_bytes / (1 << 30));
	res->write_amplification =
		(double)c.pages_programmed * b->profile->page_bytes / guest_bytes;
	res->simulator_bytes = c.written_bytes;
	res->ledger_bytes = after.ledger.stick_written_bytes - before.ledger.stick_written_bytes;
	return r;
}

static int measure_store(struct bench *b, struct result *res)
{
	int r = open_store(b);
	if (r < 0)
		return r;
	r = sequential(b, res);
	if (r == 0)
		r = random_writes(b, res);
	int closed = sv_store_close(b->store);
	return r < 0 ? r : closed;
}

static void print_result(const struct bench *b, const struct result *res)
{
	printf("{\"stick\": \"%s\", \"stick_bytes\": %" PRIu64 ", \"span_bytes\": %" PRIu64
	       ", \"count\": %" PRIu64 ", \"limit_iops\": %.2f, \"iops\": %.2f, \"ratio\": %.4f"
	       ", \"stick_write_mb_s\": %.3f, \"write_mb_s\": %.3f, \"stick_read_mb_s\": %.3f"
	       ", \"read_mb_s\": %.3f, \"erases_per_gib\": %.2f, \"write_amplification\": %.4f"
	       ", \"ledger_bytes\": %" PRIu64 ", \"simulator_bytes\": %" PRIu64 "}\n",
	       b->profile->id, b->stick_bytes, b->span_bytes, b->count, res->limit_iops, res->iops,
	       res->iops / res->limit_iops, res->stick_write_mb_s, res->write_mb_s,
	       res->stick_read_mb_s, res->read_mb_s, res->erases_per_gib, res->write_amplification,
	       res->ledger_bytes, res->simulator_bytes);
}

static uint64_t argument(int argc, char **argv, int index, uint64_t otherwise)
{
	return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
	struct bench b = {
		.profile = argc > 1 ? fsim_profile_find(argv[1]) : NULL,
		.stick_bytes = argument(argc, argv, 2, UINT64_C(4) << 30),
		.span_bytes = argument(argc, argv, 3, UINT64_C(1) << 30),
		.count = argument(argc, argv, 4, 262144),
		.random = 1,
	};
	struct result res = {0};
	if (b.profile == NULL || b.span_bytes % SEQUENTIAL_BYTES != 0 ||
	    b.count < WRITES_PER_FLUSH || b.span_bytes < APPEND_BYTES) {
		fprintf(stderr,
			"usage: bench-virtual PROFILE [STICK_BYTES [SPAN_BYTES [COUNT]]]\n");
		return 2;
	}
	b.buf = aligned_alloc(BLOCK_BYTES, SEQUENTIAL_BYTES);
	int r = b.buf != NULL ? measure_stick(&b, &res) : -ENOMEM;
	if (r == 0)
		r = measure_store(&b, &res);
	if (r == 0)
		print_result(&b, &res);
	else
		fprintf(stderr, "bench-virtual: %s: %s\n", b.profile->id, strerror(-r));
	fsim_stick_free(b.stick);
	free(b.buf);
	return r < 0;
}
