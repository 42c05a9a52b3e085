/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clean.c: what the cleaner costs: its part of write amplification, against theory. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clean_theory.h"
#include "dev_flashsim.h"
#include "dev_ram.h"
#include "fsim_random.h"
#include "store_impl.h"

/*
 *	bench-clean KEY=VALUE...
 *
 * Fills a disk, overwrites it `times` times with blocks that cannot be compressed, a flush behind
 * every `flush` of them, and prints one JSON object.
 *
 *   load=uniform|hot   every block alike, or 80 % of the writes to 20 % of the blocks
 *   u=0.7              live bytes / ((segments - reserve) x segment); the disk's size follows
 *   mib, segment, page, flush, times, lie, checkpoint, batch   the scale (segment .. batch in KiB)
 *   stick=P3           on a simulated stick: the longest request on its clock, too
 *   span=65536         MiB of a thin disk that is written at random, `times` times `mib` / 4 of it
 *   tail=0.5           part of the overwrites that is measured, at their end
 *   births=0           no block is born apart; 1: where the engine finds that it pays
 *
 * The reserve is what the engine keeps out of the guest's reach so that the log can always go on:
 * the anchors' segments, the heads and those they name, free ones, and those that hold nothing but
 * wait for the gate. `u_formula` takes the reserve that it promises (sv_reserve_segments, a
 * constant of the store), `u` what it had in fact, on average.
 */
#define BLOCK 4096u
#define KIB 1024u
#define NS_PER_S 1e9

struct bench {
	const char *load, *stick_id;
	double u, times, tail;
	uint64_t mib, segment, page, flush, lie, checkpoint, batch, blocks, span;
	struct fsim_stick *stick;
	struct sv_store *store;
	uint64_t random;
	double longest_s;
	double reserve_sum, samples;
	uint64_t reserve, births;
	double took_s; /* by the stick's clock, for what was measured */
};

static double now_s(struct bench *b)
{
	struct fsim_counters c;

	if (!b->stick)
		return 0;
	fsim_stick_counters(b->stick, &c);
	return (double)c.busy_ns / NS_PER_S;
}

static void note_time(struct bench *b, double since_s)
{
	double took_s = now_s(b) - since_s;

	if (took_s > b->longest_s)
		b->longest_s = took_s;
}

static int new_device(struct bench *b, struct sv_dev **ret_dev)
{
	struct sv_geometry geo = {.size_bytes = b->mib << 20,
				  .page_bytes = (uint32_t)(b->page * KIB),
				  .erase_bytes = (uint32_t)(b->segment * KIB)};
	struct fsim_config config = {.size_bytes = b->mib << 20, .seed = 1};
	int r;

	if (!b->stick_id)
		return sv_dev_ram_create(&geo, ret_dev);
	config.profile = fsim_profile_find(b->stick_id);
	if (!config.profile)
		return -EINVAL;
	r = fsim_stick_new(&config, &b->stick);
	return r < 0 ? r : fsim_dev_open(b->stick, true, ret_dev);
}

static int new_store(struct bench *b, uint64_t size_bytes)
{
	struct sv_format_params params = {.size_bytes = size_bytes,
					  .segment_bytes = (uint32_t)(b->segment * KIB),
					  .page_bytes = (uint32_t)(b->page * KIB),
					  .lie_window_bytes = b->lie * KIB,
					  .checkpoint_bytes = b->checkpoint * KIB};
	struct sv_open_options options = {.manual = true,
					  .batch_bytes = b->batch * KIB,
					  .host = "bench",
					  .births =
						  b->births ? SV_BIRTHS_MEASURED : SV_BIRTHS_NEVER,
					  .seed = 1};
	struct sv_dev *dev;
	int r = new_device(b, &dev);

	if (r < 0)
		return r;
	r = sv_store_format(dev, &params);
	if (r == 0)
		r = sv_store_open(dev, &options, &b->store);
	if (r < 0)
		sv_dev_close(dev);
	return r;
}

static void end_store(struct bench *b)
{
	sv_store_abandon(b->store);
	fsim_stick_free(b->stick);
	b->store = NULL;
	b->stick = NULL;
}

/* A store of the size at which the data comes to u; the reserve depends a little on the size. */
static int size_store(struct bench *b)
{
	uint64_t size = b->mib << 19;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < 3; i++) {
		double room;

		if (b->store)
			end_store(b);
		r = new_store(b, size);
		if (r < 0)
			break;
		b->reserve = sv_reserve_segments(b->store);
		room = (double)(b->store->segs.limit - b->reserve) * (double)b->segment * KIB;
		b->blocks = size / BLOCK;
		size = (uint64_t)(b->u * room / (SV_RAW_UNIT_BYTES + 528.0 / 63)) * BLOCK;
	}
	return r;
}

static void sample(struct bench *b)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < b->store->segs.count; i++) {
		const struct sv_seg *seg = &b->store->segs.v[i];

		n += seg->role != SV_SEG_IDLE || (!seg->usage.live_bytes && !seg->self_live);
	}
	b->reserve_sum += (double)n;
	b->samples++;
}

static int write_block(struct bench *b, uint64_t lba)
{
	uint64_t block[BLOCK / sizeof(uint64_t)];
	double since_s = now_s(b);
	int r;

	for (unsigned i = 0; i < BLOCK / sizeof(uint64_t); i++)
		block[i] = fsim_random(&b->random);
	r = sv_store_write(b->store, block, BLOCK, lba * BLOCK);
	if (r == -ENOSPC && sv_store_grace(b->store, true) == 0) /* a sixteenth of a small place */
		r = sv_store_write(b->store, block, BLOCK, lba * BLOCK);
	note_time(b, since_s);
	return r;
}

static uint64_t pick(struct bench *b)
{
	uint64_t hot = b->blocks / 5;

	if (strcmp(b->load, "uniform") == 0)
		return fsim_random_below(&b->random, b->blocks);
	if (fsim_random_below(&b->random, 5) > 0) /* hot blocks lie all over the disk */
		return fsim_random_below(&b->random, hot) * 5;
	hot = fsim_random_below(&b->random, b->blocks - hot - 1);
	return hot / 4 * 5 + 1 + hot % 4;
}

static int overwrite(struct bench *b, uint64_t count, bool in_order)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < count; i++) {
		r = write_block(b, in_order ? i : pick(b));
		if (r == 0 && i % b->flush == b->flush - 1) {
			double since_s = now_s(b);

			r = sv_store_flush(b->store);
			note_time(b, since_s);
			sample(b);
		}
	}
	return r;
}

static void print(struct bench *b, const struct sv_ledger *from, const struct sv_ledger *to)
{
	double payload = (double)(to->payload_bytes - from->payload_bytes);
	double part = (double)(to->cleaner_bytes - from->cleaner_bytes) / payload;
	double room = (double)b->store->segs.count - b->reserve_sum / b->samples;
	double live = (double)b->store->segs.live_bytes / ((double)b->segment * KIB);
	double u = live / room, u0 = live / (double)(b->store->segs.count - b->reserve);
	bool hot = strcmp(b->load, "uniform") != 0;
	double stick = (double)(to->stick_written_bytes - from->stick_written_bytes);
	double dense = 1 - (double)(to->padding_bytes - from->padding_bytes) / stick;
	double want = hot ? ideal_split(u, 0.2, 0.8) : greedy_part(u);
	double want0 = hot ? ideal_split(u0, 0.2, 0.8) : greedy_part(u0);

	want = isfinite(want) ? want : -1; /* none: a thin disk; and JSON knows no other */

	printf("{\"load\": \"%s\", \"segments\": %" PRIu64 ", \"reserve\": %" PRIu64
	       ", \"reserve_used\": %.1f, \"u_promised\": %.4f, \"u\": %.4f, \"part\": %.4f"
	       ", \"ideal_promised\": %.4f, \"ideal\": %.4f, \"ratio_promised\": %.3f"
	       ", \"ratio\": %.3f, \"metadata\": %.4f, \"padding\": %.4f, \"wa\": %.4f"
	       ", \"mb_s\": %.3f, \"longest_s\": %.3f, \"density\": %.3f, \"ratio_dense\": %.3f}\n",
	       b->load, b->store->segs.count, b->reserve, b->reserve_sum / b->samples, u0, u, part,
	       want0, want, part / want0, part / want,
	       (double)(to->metadata_bytes - from->metadata_bytes) / payload,
	       (double)(to->padding_bytes - from->padding_bytes) / payload, stick / payload,
	       b->took_s > 0 ? payload / 1e6 / b->took_s : 0, b->longest_s, dense,
	       part / (hot ? ideal_split(u / dense, 0.2, 0.8) : greedy_part(u / dense)));
}

static int begin(struct bench *b, uint64_t *ret_count)
{
	int r = b->span ? new_store(b, b->span << 20) : size_store(b);

	if (r < 0)
		return r;
	b->reserve = sv_reserve_segments(b->store);
	*ret_count = (uint64_t)((double)b->blocks * b->times);
	if (!b->span)
		return overwrite(b, b->blocks, true);
	b->blocks = (b->span << 20) / BLOCK;
	*ret_count = (uint64_t)((double)((b->mib << 18) / BLOCK) * b->times);
	return 0;
}

static int run(struct bench *b)
{
	struct sv_status from, to;
	uint64_t count;
	double since_s;
	int r = begin(b, &count);

	b->longest_s = 0;
	if (r == 0)
		r = overwrite(b, (uint64_t)((double)count * (1 - b->tail)), false);
	b->reserve_sum = b->samples = 0;
	since_s = now_s(b);
	sv_store_status(b->store, &from);
	if (r == 0)
		r = overwrite(b, (uint64_t)((double)count * b->tail), false);
	sv_store_status(b->store, &to);
	b->took_s = now_s(b) - since_s;
	if (r == 0)
		print(b, &from.ledger, &to.ledger);
	return r;
}

static bool argument(struct bench *b, const char *arg)
{
	const struct {
		const char *key;
		uint64_t *n;
		double *x;
		const char **text;
	} keys[] = {{"load=", .text = &b->load},
		    {"stick=", .text = &b->stick_id},
		    {"u=", .x = &b->u},
		    {"times=", .x = &b->times},
		    {"tail=", .x = &b->tail},
		    {"mib=", .n = &b->mib},
		    {"segment=", .n = &b->segment},
		    {"page=", .n = &b->page},
		    {"flush=", .n = &b->flush},
		    {"lie=", .n = &b->lie},
		    {"checkpoint=", .n = &b->checkpoint},
		    {"batch=", .n = &b->batch},
		    {"seed=", .n = &b->random},
		    {"births=", .n = &b->births},
		    {"span=", .n = &b->span}};

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t len = strlen(keys[i].key);

		if (strncmp(arg, keys[i].key, len) != 0)
			continue;
		if (keys[i].text)
			*keys[i].text = arg + len;
		else if (keys[i].x)
			*keys[i].x = strtod(arg + len, NULL);
		else
			*keys[i].n = strtoull(arg + len, NULL, 10);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct bench b = {.load = "uniform",
			  .u = 0.7,
			  .times = 10,
			  .tail = 0.5,
			  .mib = 512,
			  .segment = 256,
			  .page = 4,
			  .flush = 64,
			  .lie = 2048,
			  .checkpoint = 4096,
			  .batch = 2048,
			  .births = 1,
			  .random = 1};
	int r;

	for (int i = 1; i < argc; i++)
		if (!argument(&b, argv[i])) {
			fprintf(stderr, "bench-clean: what is %s?\n", argv[i]);
			return 2;
		}
	r = run(&b);
	if (r < 0)
		fprintf(stderr, "bench-clean: %s\n", strerror(-r));
	end_store(&b);
	return r < 0;
}
