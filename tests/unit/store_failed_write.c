/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_failed_write.c: a write that reached the medium whole, and was reported as failed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_pass.h"
#include "image_edit.h"
#include "prng.h"
#include "stickvm/store.h"

/*
 * L3 of log.c: what a failed write left behind must not be taken for the successor of the batch
 * before it, however much or little is appended next. Every write of a run fails once this way,
 * what was acknowledged is flushed again, and the store is opened as after a crash.
 */
#define PLACE_BYTES (32u << 20)
#define DISK_BYTES (1u << 20)
#define BLOCKS (DISK_BYTES / SV_BLOCK_BYTES)
#define MOST_BLOCKS 12u /* a part that goes to the next segment where it does not fit */

struct lying {
	struct dev_pass pass;
	uint64_t writes, fails_at;
};

static int lying_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct lying *l = (struct lying *)dev;
	int r = dev_pass_write(dev, buf, len_bytes, off_bytes);

	return ++l->writes == l->fails_at ? -EIO : r;
}

static const struct sv_dev_ops lying_ops = {
	.read = dev_pass_read,
	.write = lying_write,
	.flush = dev_pass_flush,
	.discard = dev_pass_discard,
	.grow = dev_pass_grow,
	.geometry = dev_pass_geometry,
	.close = dev_pass_close,
};

static struct lying *lying_new(struct store_image *image, uint64_t fails_at)
{
	struct lying *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	*l = (struct lying){
		.pass = {{&lying_ops, "lying"}, image_dev(image)},
		.fails_at = fails_at,
	};
	return l;
}

static struct sv_store *open_over(struct sv_dev *dev)
{
	const struct sv_open_options opts = {.manual = true, .batch_bytes = 256 << 10, .seed = 5};
	struct sv_store *store;

	assert_int_equal(sv_store_open(dev, &opts, &store), 0);
	return store;
}

/* Writes of one to twelve blocks with a flush behind each; a flush that fails is asked for again,
 * with a write more or without. Returns how many writes the device saw. */
static uint64_t run(struct store_image *image, uint8_t *disk, uint64_t fails_at,
		    unsigned *ret_failed)
{
	static uint8_t buf[MOST_BLOCKS * SV_BLOCK_BYTES];
	struct lying *l = lying_new(image, fails_at);
	struct sv_store *store = open_over(&l->pass.dev);
	struct prng rng = {.state = 11};
	uint64_t writes;

	for (unsigned i = 0; i < 120; i++) {
		unsigned blocks = prng_one_in(&rng, 2) ? MOST_BLOCKS : 1;
		uint64_t off = prng_below(&rng, BLOCKS - blocks) * SV_BLOCK_BYTES;
		int r;

		prng_fill(&rng, buf, blocks * SV_BLOCK_BYTES);
		memcpy(disk + off, buf, blocks * SV_BLOCK_BYTES);
		assert_int_equal(sv_store_write(store, buf, blocks * SV_BLOCK_BYTES, off), 0);
		r = sv_store_flush(store);
		if (r == 0)
			continue;
		assert_int_equal(r, -EIO);
		++*ret_failed;
		if (prng_one_in(&rng, 2)) /* the next part is another one, and larger */
			continue;
		assert_int_equal(sv_store_flush(store), 0);
	}
	assert_int_equal(sv_store_flush(store), 0);
	writes = l->writes;
	sv_store_abandon(store);
	return writes;
}

static void format(struct store_image *image)
{
	const struct sv_format_params params = {.size_bytes = DISK_BYTES,
						.segment_bytes = 1 << 20,
						.page_bytes = 4096,
						.lie_window_bytes = 1 << 20,
						.checkpoint_bytes = 2 << 20,
						.id = {1}};
	struct sv_dev *dev = image_dev(image);

	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
}

static void what_failed_is_no_successor(void **state)
{
	uint8_t *disk = calloc(1, DISK_BYTES), *got = calloc(1, DISK_BYTES);
	unsigned failed = 0;
	uint64_t writes = 1;

	(void)state;
	for (uint64_t n = 1; n <= writes; n++) {
		struct store_image image;
		struct sv_store *store;

		image_zeros(PLACE_BYTES, &image);
		format(&image);
		memset(disk, 0, DISK_BYTES);
		if (n < 5) { /* the opening itself: it may refuse */
			writes = run(&image, disk, 0, &failed);
		} else {
			run(&image, disk, n, &failed);
		}
		store = open_over(image_dev(&image));
		assert_int_equal(sv_store_read(store, got, DISK_BYTES, 0), 0);
		if (memcmp(got, disk, DISK_BYTES) != 0)
			fail_msg("after write %u failed, the disk is another one", (unsigned)n);
		assert_int_equal(sv_store_close(store), 0);
		store_image_free(&image);
	}
	assert_in_range(failed, writes / 2, writes);
	free(disk);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_failed_is_no_successor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
