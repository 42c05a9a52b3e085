/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_anchors.c: one anchor that was damaged is made anew alone (K5 in storage/checkpoint.c). */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "image_edit.h"
#include "prng.h"
#include "stickvm/store.h"

#define PLACE_BYTES (UINT64_C(32) << 20)
#define DISK_BYTES (UINT64_C(8) << 20)
#define SEGMENT_BYTES (256u << 10)
#define LIE_BYTES (512u << 10)
#define ROUND_BLOCKS 16u

static struct sv_store *open_store(struct store_image *image)
{
	const struct sv_open_options options = {.manual = true, .host = "anchors", .seed = 5};
	struct sv_store *store = NULL;

	assert_int_equal(sv_store_open(image_dev(image), &options, &store), 0);
	return store;
}

static void make(struct store_image *image)
{
	const struct sv_format_params params = {.size_bytes = DISK_BYTES,
						.segment_bytes = SEGMENT_BYTES,
						.page_bytes = 4096,
						.lie_window_bytes = LIE_BYTES,
						.checkpoint_bytes = LIE_BYTES,
						.id = {4}};
	struct sv_dev *dev;

	image_zeros(PLACE_BYTES, image);
	dev = image_dev(image);
	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	image_look(image);
}

/* A few blocks that do not compress, and a flush. */
static void work(struct sv_store *store, unsigned round)
{
	struct prng rng = {.state = round + 1};
	uint8_t buf[SV_BLOCK_BYTES];

	for (unsigned i = 0; i < ROUND_BLOCKS; i++) {
		uint64_t block = (round * ROUND_BLOCKS + i) % (DISK_BYTES / sizeof(buf));

		prng_fill(&rng, buf, sizeof(buf));
		assert_int_equal(sv_store_write(store, buf, sizeof(buf), block * sizeof(buf)), 0);
	}
	assert_int_equal(sv_store_flush(store), 0);
}

static uint64_t written_bytes(struct sv_store *store)
{
	struct sv_status status;

	sv_store_status(store, &status);
	return status.ledger.stick_written_bytes;
}

static bool is_whole(const struct store_image *image, unsigned which)
{
	struct sv_anchor a;

	return sv_anchor_decode(image->bytes + (uint64_t)which * image->segment_bytes, &a) == 0;
}

static uint8_t *anchor_at(struct store_image *image, unsigned which)
{
	return image->bytes + (uint64_t)which * image->segment_bytes;
}

/* A session with roots that settled, so that the next one would name a newer root at once. */
static void crash_a_session(struct store_image *image)
{
	struct sv_store *store = open_store(image);

	for (unsigned round = 0; round < 60; round++) {
		work(store, round);
		if (round % 10 == 9)
			assert_int_equal(sv_store_checkpoint(store), 0);
	}
	sv_store_abandon(store);
}

static void mends_one_alone(unsigned bad)
{
	uint8_t before[SV_ANCHOR_BYTES];
	struct store_image image;
	struct sv_store *store;
	uint64_t opened_bytes;
	unsigned rounds = 0;

	make(&image);
	crash_a_session(&image);
	assert_true(is_whole(&image, 0) && is_whole(&image, 1));
	image_flip(&image, (uint64_t)bad * image.segment_bytes + 40);
	assert_false(is_whole(&image, bad));
	memcpy(before, anchor_at(&image, !bad), sizeof(before));

	store = open_store(&image);
	assert_true(is_whole(&image, bad));
	assert_memory_equal(anchor_at(&image, !bad), before, sizeof(before));
	opened_bytes = written_bytes(store);
	while (memcmp(anchor_at(&image, !bad), before, sizeof(before)) == 0) {
		assert_true(rounds < 200);
		work(store, rounds++);
		assert_int_equal(sv_store_checkpoint(store), 0);
	}
	assert_true(written_bytes(store) - opened_bytes >= LIE_BYTES);
	assert_true(is_whole(&image, 0) && is_whole(&image, 1));
	assert_int_equal(image_anchor(&image, 0).anchor_seq, image_anchor(&image, 1).anchor_seq);
	assert_int_equal(sv_store_close(store), 0);

	/* Nothing is left of it: the next opening writes both. */
	memcpy(before, anchor_at(&image, !bad), sizeof(before));
	store = open_store(&image);
	assert_memory_not_equal(anchor_at(&image, !bad), before, sizeof(before));
	sv_store_abandon(store);
	store_image_free(&image);
}

static void the_first_is_mended_alone(void **state)
{
	(void)state;
	mends_one_alone(0);
}

static void the_second_is_mended_alone(void **state)
{
	(void)state;
	mends_one_alone(1);
}

/* Sessions that all crash, each with the other anchor damaged: both are whole again after each
 * opening. */
static void short_sessions_open_with_one(void **state)
{
	struct store_image image;

	(void)state;
	make(&image);
	crash_a_session(&image);
	for (unsigned session = 0; session < 8; session++) {
		struct sv_store *store;

		image_flip(&image, (uint64_t)(session % 2) * image.segment_bytes + 40);
		store = open_store(&image);
		work(store, session);
		sv_store_abandon(store);
		assert_true(is_whole(&image, 0) && is_whole(&image, 1));
	}
	store_image_free(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_is_mended_alone),
		cmocka_unit_test(the_second_is_mended_alone),
		cmocka_unit_test(short_sessions_open_with_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
