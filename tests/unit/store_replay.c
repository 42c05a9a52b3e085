/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_replay.c: replay with less memory than the last session had, and over a damaged map. */
#include <errno.h>
#include <inttypes.h>
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

/*
 * A disk whose blocks lie far apart: each has a leaf of the map to itself, or shares it with one
 * more. Block n is block n * 64 of the disk, its neighbour the one behind.
 */
#define PLACE_BYTES (UINT64_C(160) << 20)
#define LEAVES 12000u
#define STRIDE (64u * SV_BLOCK_BYTES)
#define DISK_BYTES ((uint64_t)LEAVES * STRIDE)
#define LITTLE_RAM 1u /* the store takes the least that it can work with */
#define MUCH_RAM (64u << 20)
#define LIE_BYTES (128u << 10)
#define BATCHES_MOST 20000u

static void content(uint8_t *buf, uint64_t n, unsigned version)
{
	struct prng rng = {.state = n << 8 | version};

	memset(buf, 0, SV_BLOCK_BYTES);
	prng_fill(&rng, buf, 64); /* the rest compresses away */
}

static struct sv_store *open_store(struct store_image *image, uint64_t map_ram_bytes,
				   bool read_only)
{
	const struct sv_open_options options = {.manual = true,
						.read_only = read_only,
						.batch_bytes = 256u << 10,
						.map_ram_bytes = map_ram_bytes,
						.host = "replay",
						.seed = 7};
	struct sv_store *store = NULL;
	int r = sv_store_open(image_dev(image), &options, &store);

	if (r < 0)
		print_error("open: %s: %s\n", strerror(-r), sv_store_why());
	assert_int_equal(r, 0);
	return store;
}

static struct sv_store *make(struct store_image *image, uint64_t map_ram_bytes)
{
	const struct sv_format_params params = {.size_bytes = DISK_BYTES,
						.segment_bytes = 256u << 10,
						.page_bytes = 4096,
						.lie_window_bytes = LIE_BYTES,
						.checkpoint_bytes = 32u << 20,
						.id = {9}};
	struct sv_dev *dev;

	image_zeros(PLACE_BYTES, image);
	dev = image_dev(image);
	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	image_look(image);
	return open_store(image, map_ram_bytes, false);
}

static void put(struct sv_store *store, uint64_t n, unsigned neighbour, unsigned version)
{
	uint8_t buf[SV_BLOCK_BYTES];

	content(buf, n, version);
	assert_int_equal(
		sv_store_write(store, buf, sizeof(buf), n * STRIDE + neighbour * SV_BLOCK_BYTES),
		0);
}

static void expect(struct sv_store *store, uint64_t n, unsigned neighbour, unsigned version)
{
	uint8_t got[SV_BLOCK_BYTES], want[SV_BLOCK_BYTES];

	content(want, n, version);
	assert_int_equal(
		sv_store_read(store, got, sizeof(got), n * STRIDE + neighbour * SV_BLOCK_BYTES), 0);
	if (memcmp(got, want, sizeof(want)) != 0)
		fail_msg("block %u of leaf %" PRIu64 " is not version %u", neighbour, n, version);
}

static void expect_lost(struct sv_store *store, uint64_t n, unsigned neighbour)
{
	uint8_t got[SV_BLOCK_BYTES];

	assert_int_equal(
		sv_store_read(store, got, sizeof(got), n * STRIDE + neighbour * SV_BLOCK_BYTES),
		-EIO);
}

static uint64_t map_bytes(struct sv_store *store)
{
	struct sv_status status;

	sv_store_status(store, &status);
	return status.map_ram_bytes;
}

static uint64_t roots(struct sv_store *store)
{
	struct sv_status status;

	sv_store_status(store, &status);
	return status.ledger.checkpoints;
}

/* Many leaves become dirty between two roots; then a host with little memory opens the store. */
static void replay_takes_the_memory_that_it_needs(void **state)
{
	struct store_image image;
	struct sv_store *store = make(&image, MUCH_RAM);
	uint64_t dirty_bytes, roots_before;

	(void)state;
	roots_before = roots(store);
	for (uint64_t n = 0; n < LEAVES; n++)
		put(store, n * 7919 % LEAVES, 0, 1);
	assert_int_equal(sv_store_flush(store), 0);
	assert_int_equal(roots(store), roots_before); /* or there would be nothing to replay */
	dirty_bytes = map_bytes(store);
	sv_store_abandon(store);

	store = open_store(&image, LITTLE_RAM, true);
	for (uint64_t n = 0; n < LEAVES; n += 11)
		expect(store, n, 0, 1);
	sv_store_abandon(store);

	store = open_store(&image, LITTLE_RAM, false);
	for (uint64_t n = 0; n < LEAVES; n++)
		expect(store, n, 0, 1);
	assert_true(map_bytes(store) < dirty_bytes / 2); /* it went back to its own bound */
	for (uint64_t n = 0; n < LEAVES; n += 5)
		put(store, n, 0, 2);
	assert_int_equal(sv_store_close(store), 0);

	store = open_store(&image, LITTLE_RAM, false);
	for (uint64_t n = 0; n < LEAVES; n++)
		expect(store, n, 0, n % 5 ? 1 : 2);
	sv_store_abandon(store);
	store_image_free(&image);
}

/* The newest copy of a page of the map. */
static uint64_t place_of_page(const struct store_image *image, unsigned level, uint64_t index)
{
	struct edit_batch *batches = calloc(BATCHES_MOST, sizeof(*batches));
	unsigned count = image_batches(image, batches, BATCHES_MOST);
	uint64_t place = 0, seq = 0;
	struct edit_unit unit;

	assert_true(count < BATCHES_MOST);
	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; image_record(image, &batches[i], k, &unit); k++)
			if (unit.rec.type == SV_REC_PAGE && unit.rec.tree == SV_TREE_MAP &&
			    unit.rec.level == level && unit.rec.lba == index &&
			    batches[i].head.seq >= seq) {
				place = unit.place;
				seq = batches[i].head.seq;
			}
	free(batches);
	assert_int_not_equal(place, 0);
	return place;
}

#define FEW 300u
#define BAD 130u /* the leaf that rots, and all leaves up to 191 with the page above it */

/* What is bad within lie_window counts as never written, and is another matter. */
static void leave_window(struct sv_store *store)
{
	uint8_t buf[SV_BLOCK_BYTES];
	struct prng rng = {3};

	for (uint64_t done = 0; done < 4 * LIE_BYTES; done += sizeof(buf)) {
		prng_fill(&rng, buf, sizeof(buf));
		assert_int_equal(sv_store_write(store, buf, sizeof(buf), FEW * STRIDE + done), 0);
		if (done % (64u << 10) == 0)
			assert_int_equal(sv_store_flush(store), 0);
	}
	assert_int_equal(sv_store_flush(store), 0);
}

/* Two blocks in each leaf, a root; then one of them again, and a crash. */
static void make_for_damage(struct store_image *image)
{
	struct sv_store *store = make(image, MUCH_RAM);

	for (uint64_t n = 0; n < FEW; n++) {
		put(store, n, 0, 1);
		put(store, n, 1, 3);
	}
	assert_int_equal(sv_store_flush(store), 0);
	assert_int_equal(sv_store_checkpoint(store), 0);
	for (uint64_t n = 0; n < FEW; n++)
		put(store, n, 0, 2);
	leave_window(store);
	sv_store_abandon(store);
}

/* What was written since the root is known from the chain; of the rest exactly what the page told
 * is lost, also behind another root and another open. */
static void look_at_damage(struct store_image *image, unsigned from, unsigned end)
{
	for (unsigned round = 0; round < 4; round++) {
		struct sv_store *store = open_store(image, LITTLE_RAM, round % 2 == 0);
		uint8_t hole[SV_BLOCK_BYTES];

		for (uint64_t n = 0; n < FEW; n++) {
			expect(store, n, 0, 2);
			if (n < from || n >= end)
				expect(store, n, 1, 3);
			else
				expect_lost(store, n, 1);
		}
		expect_lost(store, from, 2); /* whether it was a hole is not known either */
		assert_int_equal(sv_store_read(store, hole, sizeof(hole), 2 * SV_BLOCK_BYTES), 0);
		if (round == 1)
			assert_int_equal(sv_store_checkpoint(store), 0);
		if (round == 3) {
			put(store, from, 1, 4);
			expect(store, from, 1, 4);
			assert_int_equal(sv_store_discard(store, SV_BLOCK_BYTES,
							  from * STRIDE + 2 * SV_BLOCK_BYTES),
					 0);
			assert_int_equal(sv_store_read(store, hole, sizeof(hole),
						       from * STRIDE + 2 * SV_BLOCK_BYTES),
					 0);
			assert_int_equal(sv_store_close(store), 0);
		} else {
			sv_store_abandon(store);
		}
	}
}

static void a_rotten_leaf_costs_what_it_told(void **state)
{
	struct store_image image;

	(void)state;
	make_for_damage(&image);
	image_flip(&image, place_of_page(&image, 0, BAD) + 100);
	look_at_damage(&image, BAD, BAD + 1);
	store_image_free(&image);
}

static void a_rotten_page_above_it_costs_its_leaves(void **state)
{
	struct store_image image;

	(void)state;
	make_for_damage(&image);
	image_flip(&image, place_of_page(&image, 1, BAD / 64) + 100);
	look_at_damage(&image, BAD / 64 * 64, (BAD / 64 + 1) * 64);
	store_image_free(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_takes_the_memory_that_it_needs),
		cmocka_unit_test(a_rotten_leaf_costs_what_it_told),
		cmocka_unit_test(a_rotten_page_above_it_costs_its_leaves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
