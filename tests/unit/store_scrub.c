/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_scrub.c: rot is found while nobody reads, and nobody is kept from reading. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "image_edit.h"
#include "prng.h"
#include "store_impl.h"

#define DISK_BYTES (2u << 20)
#define PLACE_BYTES (16u << 20)
#define BLOCKS 200u

static void make(struct store_image *image)
{
	const struct sv_format_params params = {.size_bytes = DISK_BYTES,
						.segment_bytes = 64 << 10,
						.page_bytes = 4096,
						.lie_window_bytes = 64 << 10,
						.checkpoint_bytes = 256 << 10};
	const struct sv_open_options opts = {.manual = true, .batch_bytes = 128 << 10};
	static uint8_t block[SV_BLOCK_BYTES];
	struct prng rng = {.state = 3};
	struct sv_store *store;
	struct sv_dev *dev;

	image_zeros(PLACE_BYTES, image);
	dev = image_dev(image);
	assert_int_equal(sv_store_format(dev, &params), 0);
	assert_int_equal(sv_store_open(dev, &opts, &store), 0);
	for (unsigned i = 0; i < BLOCKS; i++) {
		prng_fill(&rng, block, sizeof(block));
		assert_int_equal(sv_store_write(store, block, sizeof(block), i * 2 * sizeof(block)),
				 0);
	}
	assert_int_equal(sv_store_close(store), 0);
	image_look(image);
}

/* A byte of the unit of a block, by the map. */
static void rot_block(struct store_image *image, uint64_t lba)
{
	const struct sv_open_options opts = {.manual = true, .read_only = true};
	struct sv_page leaf;
	struct sv_store *store;

	assert_int_equal(sv_store_open(image_dev(image), &opts, &store), 0);
	assert_int_equal(sv_copy_page(store, 0, lba / SV_PAGE_ENTRIES, &leaf), 0);
	image_flip(image, sv_entry_place(leaf.e[lba % SV_PAGE_ENTRIES]) + 700);
	sv_store_abandon(store);
}

static void a_pass_finds_what_is_bad(void **state)
{
	const struct sv_open_options opts = {.manual = true, .read_only = true};
	struct store_image image;
	struct sv_status status;
	struct sv_store *store;
	unsigned steps = 0;

	(void)state;
	make(&image);
	rot_block(&image, 0);
	rot_block(&image, 2);
	rot_block(&image, 250);
	assert_int_equal(sv_store_open(image_dev(&image), &opts, &store), 0);
	while (store->scrub.passes < 2 && steps++ < 100)
		assert_int_equal(sv_scrub_step(store), 0);
	assert_int_equal(store->scrub.passes, 2);
	sv_store_status(store, &status);
	assert_int_equal(status.scrub_bad_blocks, 3); /* not once a pass */
	assert_int_equal(status.scrub_bad_off_bytes, 0);
	assert_int_equal(status.scrubbed_bytes, 2 * 7 * 64 * SV_BLOCK_BYTES);
	sv_store_abandon(store);
	store_image_free(&image);
}

static uint64_t scrubbed(struct sv_store *store)
{
	struct sv_status status;

	sv_store_status(store, &status);
	return status.scrubbed_bytes;
}

static void wait_for_scrub(struct sv_store *store, uint64_t more_than)
{
	for (unsigned i = 0; i < 200 && scrubbed(store) <= more_than; i++)
		usleep(50 * 1000);
	assert_true(scrubbed(store) > more_than);
}

/* The keeper does it when the guest rests, and not before. */
static void the_keeper_waits_for_rest(void **state)
{
	const struct sv_open_options opts = {.batch_bytes = 128 << 10};
	static uint8_t block[SV_BLOCK_BYTES];
	struct store_image image;
	struct sv_store *store;
	uint64_t before;

	(void)state;
	make(&image);
	assert_int_equal(sv_store_open(image_dev(&image), &opts, &store), 0);
	pthread_mutex_lock(&store->lock);
	store->scrub.idle_ms = 600;
	pthread_mutex_unlock(&store->lock);
	wait_for_scrub(store, 0);
	/* A guest that reads now and then has the stick to itself; one step may be under way. */
	assert_int_equal(sv_store_read(store, block, sizeof(block), 0), 0);
	usleep(250 * 1000);
	before = scrubbed(store);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(sv_store_read(store, block, sizeof(block), 0), 0);
		usleep(100 * 1000);
	}
	assert_int_equal(scrubbed(store), before);
	wait_for_scrub(store, before);
	assert_int_equal(sv_store_close(store), 0);
	store_image_free(&image);
}

/* Tools and tests decide themselves when something is read. */
static void nothing_happens_where_it_is_off(void **state)
{
	const struct sv_open_options opts = {.manual = true};
	struct store_image image;
	struct sv_store *store;

	(void)state;
	make(&image);
	assert_int_equal(sv_store_open(image_dev(&image), &opts, &store), 0);
	store->scrub.idle_ms = 1;
	usleep(300 * 1000);
	assert_int_equal(scrubbed(store), 0);
	sv_store_abandon(store);
	store_image_free(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pass_finds_what_is_bad),
		cmocka_unit_test(the_keeper_waits_for_rest),
		cmocka_unit_test(nothing_happens_where_it_is_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
