/* SPDX-License-Identifier: GPL-2.0-or-later */
/* golden_life.c: the life of the store in tests/golden/stores, and what its disk then holds. */
#include "golden_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_life.h"

/*
 * One list of writes and discards, drawn from a generator of random numbers with a fixed seed, is
 * carried out on a store and on an array of bytes. The list must never change: images of every
 * version of the format are compared with it. Blocks are text, so that an image packs well even
 * where they are stored raw.
 */
#define SEED 20250101u
#define BLOCKS (GOLDEN_DISK_BYTES / SV_BLOCK_BYTES) /* whole ones */
#define MAP_RAM_BYTES (1u << 20)

/* Where the life happens: either may be NULL. */
struct life {
	struct sv_store *store;
	uint8_t *disk;
	struct prng rng;
	unsigned version;
};

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "the golden store cannot be made: %s (%s)\n", what, sv_store_why());
	abort();
}

static void fill(uint8_t *buf, uint64_t off, size_t len, unsigned version)
{
	for (size_t i = 0; i < len; i += 16) {
		char text[32];

		snprintf(text, sizeof(text), "%08llx no.%03u\n",
			 (unsigned long long)(off + i) / SV_BLOCK_BYTES, version % 1000);
		memcpy(buf + i, text, 16);
	}
}

static void life_write(struct life *l, uint64_t off, size_t len)
{
	uint8_t buf[16 * SV_BLOCK_BYTES];

	l->version++;
	fill(buf, off, len, l->version);
	if (l->disk != NULL)
		memcpy(l->disk + off, buf, len);
	if (l->store != NULL)
		must(sv_store_write(l->store, buf, len, off) == 0, "write");
}

static void life_discard(struct life *l, uint64_t off, size_t len)
{
	if (l->disk != NULL)
		memset(l->disk + off, 0, len);
	if (l->store != NULL)
		must(sv_store_discard(l->store, len, off) == 0, "discard");
}

static void life_flush(struct life *l)
{
	if (l->store != NULL)
		must(sv_store_flush(l->store) == 0, "flush");
}

static void random_write(struct life *l)
{
	uint64_t lba = prng_below(&l->rng, BLOCKS - 16);
	size_t len = (1 + prng_below(&l->rng, 8)) * SV_BLOCK_BYTES;

	if (prng_one_in(&l->rng, 8))
		life_discard(l, lba * SV_BLOCK_BYTES, len);
	else if (prng_one_in(&l->rng, 8)) /* not whole blocks */
		life_write(l, lba * SV_BLOCK_BYTES + 512, 3 * SV_BLOCK_BYTES / 2);
	else
		life_write(l, lba * SV_BLOCK_BYTES, len);
}

static void work(struct life *l, unsigned writes)
{
	for (unsigned i = 0; i < writes; i++) {
		random_write(l);
		if (i % 8 == 7)
			life_flush(l);
	}
	life_write(l, GOLDEN_DISK_BYTES - 512, 512);
	life_flush(l);
}

static int open_as(struct store_image *image, bool read_only, enum sv_codec codec,
		   enum sv_births births, struct sv_store **ret_store)
{
	const struct life_way way = {.host = "golden",
				     .batch_bytes = 128 << 10,
				     .map_ram_bytes = MAP_RAM_BYTES,
				     .codec = codec,
				     .births = births,
				     .seed = SEED + codec};

	return life_open(&way, image, read_only, ret_store);
}

int golden_open(struct store_image *image, bool read_only, enum sv_codec codec,
		struct sv_store **ret_store)
{
	return open_as(image, read_only, codec, SV_BIRTHS_MEASURED, ret_store);
}

/* The list itself. `begin` and `end` are called around the sessions of a store. */
static void live(struct life *l, void (*begin)(struct life *l, unsigned session, void *ctx),
		 void (*end)(struct life *l, unsigned session, void *ctx), void *ctx)
{
	static const unsigned writes[3] = {60, 120, 60};

	l->rng.state = SEED;
	for (unsigned session = 0; session < 3; session++) {
		if (begin != NULL)
			begin(l, session, ctx);
		work(l, writes[session]);
		if (end != NULL)
			end(l, session, ctx);
	}
}

void golden_life_disk(uint8_t *ret_disk)
{
	struct life l = {.disk = ret_disk};

	memset(ret_disk, 0, GOLDEN_DISK_BYTES);
	live(&l, NULL, NULL, NULL);
}

struct making {
	struct store_image *image;
	enum golden_end end;
};

static void begin_session(struct life *l, unsigned session, void *ctx)
{
	static const enum sv_codec codecs[3] = {SV_CODEC_LZ4, SV_CODEC_NONE, SV_CODEC_ZSTD};
	struct making *m = ctx;
	enum sv_births births = m->end < GOLDEN_BORN ? SV_BIRTHS_MEASURED : SV_BIRTHS_TRIED;

	must(open_as(m->image, false, codecs[session], births, &l->store) == 0, "open");
}

/* The payload of a batch, or of what was born for it: of the batch apart that it names. */
static void shred(struct store_image *image, const struct edit_batch *batch, bool born)
{
	uint64_t place = batch->place + batch->head.payload_offset;
	uint32_t len = batch->head.payload_bytes;
	struct edit_unit u;

	for (unsigned i = 0; born && image_record(image, batch, i, &u); i++)
		if (u.rec.type == SV_REC_BORN) {
			place = u.rec.new_place;
			len = u.rec.stored_bytes;
		}
	must(len > 0 && (!born || place != batch->place + batch->head.payload_offset),
	     "the batch to be torn");
	memset(image->bytes + place, 0xa5, len);
}

/* The batch that is torn was never in the list: nothing of it may be seen. */
static void tear(struct life *l, struct making *m)
{
	uint8_t buf[4 * SV_BLOCK_BYTES];
	struct edit_batch chain[1024];
	const struct edit_batch *last;
	unsigned count;

	fill(buf, 0, sizeof(buf), 9999);
	for (unsigned i = 0; i < 4; i++) {
		buf[i * SV_BLOCK_BYTES] ^= (uint8_t)i;
		must(sv_store_write(l->store, buf, sizeof(buf), i * 5 * SV_BLOCK_BYTES) == 0,
		     "write");
	}
	must(sv_store_flush(l->store) == 0, "flush");
	count = image_chain(m->image, chain, 1024);
	must(count > 1, "the batch to be torn");
	last = &chain[count - 1];
	shred(m->image, last, m->end == GOLDEN_BORN_TORN);
}

static void end_session(struct life *l, unsigned session, void *ctx)
{
	struct making *m = ctx;
	unsigned cleaned;

	if (session == 1) {
		must(sv_store_checkpoint(l->store) == 0, "checkpoint");
		must(sv_store_clean(l->store, 6, &cleaned) == 0 && cleaned > 0, "clean");
		must(sv_store_flush(l->store) == 0, "flush");
	}
	if (session < 2 || m->end == GOLDEN_CLOSED || m->end == GOLDEN_BORN) {
		must(sv_store_close(l->store) == 0, "close");
		return;
	}
	if (m->end == GOLDEN_TORN || m->end == GOLDEN_BORN_TORN)
		tear(l, m);
	sv_store_abandon(l->store);
}

void golden_life_make(enum golden_end end, struct store_image *ret_image)
{
	struct sv_format_params params = {.size_bytes = GOLDEN_DISK_BYTES,
					  .segment_bytes = GOLDEN_SEGMENT_BYTES,
					  .page_bytes = 4096,
					  .lie_window_bytes = 128 << 10,
					  .checkpoint_bytes = 256 << 10,
					  .id = "the golden store"};
	struct making m = {ret_image, end};
	struct life l = {.store = NULL};
	struct sv_dev *dev;

	image_zeros(GOLDEN_PLACE_BYTES, ret_image);
	dev = image_dev(ret_image);
	must(sv_store_format(dev, &params) == 0, "format");
	sv_dev_close(dev);
	image_look(ret_image);
	live(&l, begin_session, end_session, &m);
}
