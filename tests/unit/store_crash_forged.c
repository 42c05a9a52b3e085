/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_crash_forged.c: what lies behind the end, or under a unit, from another past is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "image_edit.h"
#include "prng.h"
#include "stickvm/store.h"
#include "unit.h"

/*
 * A batch of a branch that was given up, with the right sequence number and a later epoch, and a
 * unit that lay at the same place in an earlier life of its segment, for the same block: random
 * cuts hardly ever leave either. So they are made by hand, with every other check right.
 */
#define KIB 1024u
#define PLACE_BYTES (8u << 20)
#define WRITES 8u
#define MOST_BATCHES 256u

struct world {
	struct store_image image;
	struct edit_batch chain[MOST_BATCHES];
	unsigned batches;
};

static void content(uint8_t *buf, uint64_t version)
{
	struct prng rng = {version};

	prng_fill(&rng, buf, SV_BLOCK_BYTES);
}

static struct sv_store *open_image(struct store_image *image, bool read_only)
{
	struct sv_open_options opts = {
		.manual = true, .read_only = read_only, .batch_bytes = 128 * KIB, .host = "forged"};
	struct sv_store *store;
	int r = sv_store_open(image_dev(image), &opts, &store);

	if (r < 0)
		fail_msg("open: %s: %s", strerror(-r), sv_store_why());
	return store;
}

/* Block 0 has versions 1 to WRITES, each in a batch of its own. */
static void world_make(struct world *w, bool closed)
{
	const struct sv_format_params params = {.size_bytes = 1u << 20,
						.segment_bytes = 64 * KIB,
						.page_bytes = 4 * KIB,
						.lie_window_bytes = 64 * KIB,
						.checkpoint_bytes = 256 * KIB};
	uint8_t block[SV_BLOCK_BYTES];
	struct sv_store *store;
	struct sv_dev *dev;

	*w = (struct world){.batches = 0};
	image_zeros(PLACE_BYTES, &w->image);
	dev = image_dev(&w->image);
	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	store = open_image(&w->image, false);
	for (uint64_t version = 1; version <= WRITES; version++) {
		content(block, version);
		assert_int_equal(sv_store_write(store, block, sizeof(block), 0), 0);
		assert_int_equal(sv_store_flush(store), 0);
	}
	if (closed)
		assert_int_equal(sv_store_close(store), 0);
	else
		sv_store_abandon(store);
	image_look(&w->image);
	w->batches = image_chain(&w->image, w->chain, MOST_BATCHES);
}

/* The version that reads now; 0 where it cannot be read. */
static int read_version(struct world *w, uint64_t *ret_version)
{
	struct sv_store *store = open_image(&w->image, true);
	uint8_t got[SV_BLOCK_BYTES], want[SV_BLOCK_BYTES];
	int r = sv_store_read(store, got, sizeof(got), 0);

	sv_store_abandon(store);
	*ret_version = 0;
	for (uint64_t version = 1; r == 0 && version <= WRITES; version++) {
		content(want, version);
		if (memcmp(got, want, sizeof(got)) == 0)
			*ret_version = version;
	}
	return r;
}

/* The newest unit of block 0. */
static struct edit_batch *newest(struct world *w, struct edit_unit *ret_unit)
{
	for (unsigned i = w->batches; i-- > 0;)
		for (unsigned k = 0; image_record(&w->image, &w->chain[i], k, ret_unit); k++)
			if (ret_unit->rec.type == SV_REC_DATA)
				return &w->chain[i];
	fail_msg("no data in the chain");
	return NULL;
}

static void a_batch_of_another_branch_is_no_successor(void **state)
{
	struct edit_batch *batch;
	struct edit_unit unit;
	struct world w;
	uint64_t version;

	(void)state;
	world_make(&w, false);
	assert_int_equal(read_version(&w, &version), 0);
	assert_int_equal(version, WRITES);
	batch = newest(&w, &unit);
	batch->head.prev_hash[3] ^= 1;
	sv_head_encode(&batch->head, w.image.bytes + batch->place);
	assert_int_equal(read_version(&w, &version), 0);
	assert_int_equal(version, WRITES - 1);
	store_image_free(&w.image);
}

static void an_old_unit_in_a_reused_segment_is_damage(void **state)
{
	struct sv_unit old = {
		.blocks = 1, .codec = SV_CODEC_NONE, .kind = SV_UNIT_DATA, .payload_bytes = 4096};
	struct edit_batch *batch;
	struct edit_unit unit;
	struct sv_anchor anchor;
	struct world w;
	uint64_t version;
	uint8_t *at;

	(void)state;
	world_make(&w, true);
	assert_int_equal(read_version(&w, &version), 0);
	assert_int_equal(version, WRITES);
	batch = newest(&w, &unit);
	anchor = image_anchor(&w.image, 0);
	at = w.image.bytes + unit.place;
	content(at + SV_UNIT_HEAD_BYTES, 1);
	for (unsigned life = 0; life < 2; life++) {
		const struct sv_binding bind = {.store_id = anchor.store_id,
						.generation = batch->head.generation - life,
						.place = unit.place,
						.subject = 0};

		assert_int_equal(sv_unit_seal(&bind, &old, at), unit.rec.stored_bytes);
		/* With the right generation it would be read: all else about it is right. */
		assert_int_equal(read_version(&w, &version), life == 0 ? 0 : -EIO);
		assert_int_equal(version, life == 0 ? 1 : 0);
	}
	store_image_free(&w.image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_of_another_branch_is_no_successor),
		cmocka_unit_test(an_old_unit_in_a_reused_segment_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
