/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_yank_refuse.c: what comes back is not what was pulled: refused, and nothing is written;
 * also where what was pulled is parked: then its disk can still be read. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "box.h"
#include "dev_crash.h"
#include "format.h"
#include "prng.h"
#include "stickvm/park.h"

#define KIB UINT64_C(1024)
#define DISK_BYTES (1024 * KIB)
#define PLACE_BYTES (16 * 1024 * KIB)
#define WINDOW_BYTES (128 * KIB)

struct fixture {
	struct dev_crash *medium;
	struct sv_store *store;
	struct prng rng;
	uint8_t disk[DISK_BYTES], got[DISK_BYTES];
};

static struct dev_crash *new_medium(uint8_t id)
{
	const struct sv_geometry geometry = {.size_bytes = 1024 * KIB,
					     .max_bytes = PLACE_BYTES,
					     .erase_bytes = 64 * KIB,
					     .page_bytes = 4 * KIB,
					     .sector_bytes = 512};
	struct sv_format_params params = {.size_bytes = DISK_BYTES,
					  .segment_bytes = 64 * KIB,
					  .page_bytes = 4 * KIB,
					  .lie_window_bytes = WINDOW_BYTES,
					  .checkpoint_bytes = 256 * KIB,
					  .id = {id}};
	struct dev_crash *medium = dev_crash_create(&geometry);
	struct sv_dev *dev = dev_crash_open(medium, NULL);

	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	return medium;
}

static int open_on(struct dev_crash *medium, const struct dev_crash_cut *cut, bool read_only,
		   uint64_t seed, struct sv_store **ret_store)
{
	const struct sv_open_options options = {.manual = true,
						.read_only = read_only,
						.batch_bytes = 256 * KIB,
						.map_ram_bytes = 256 * KIB,
						.host = "refuse",
						.seed = seed};
	struct sv_dev *dev = dev_crash_open(medium, cut);
	int r = sv_store_open(dev, &options, ret_store);

	if (r < 0)
		sv_dev_close(dev);
	return r;
}

static void write_some(struct fixture *f, uint64_t bytes)
{
	for (uint64_t done = 0; done < bytes; done += 8 * KIB) {
		uint64_t off = 4 * KIB * prng_below(&f->rng, DISK_BYTES / (4 * KIB) - 1);

		prng_fill(&f->rng, f->disk + off, 8 * KIB);
		assert_int_equal(sv_store_write(f->store, f->disk + off, 8 * KIB, off), 0);
		if (done % (32 * KIB) == 0)
			assert_int_equal(sv_store_flush(f->store), 0);
	}
}

static void write_whole_block(struct fixture *f, uint64_t lba)
{
	prng_fill(&f->rng, f->disk + lba * 4 * KIB, 4 * KIB);
	assert_int_equal(sv_store_write(f->store, f->disk + lba * 4 * KIB, 4 * KIB, lba * 4 * KIB),
			 0);
}

/* A store at work; the last writes are acknowledged, and not flushed. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->rng.state = 7;
	f->medium = new_medium(1);
	assert_int_equal(open_on(f->medium, NULL, false, 3, &f->store), 0);
	write_some(f, 256 * KIB);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sv_store_abandon(f->store);
	dev_crash_destroy(f->medium);
	free(f);
	return 0;
}

/* All bytes of a medium; the caller frees. */
static uint8_t *image_of(struct dev_crash *medium, uint64_t *ret_bytes)
{
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	struct sv_geometry geometry;
	uint8_t *bytes;

	assert_int_equal(sv_dev_geometry(dev, &geometry), 0);
	bytes = aligned_alloc(4096, geometry.size_bytes);
	assert_non_null(bytes);
	assert_int_equal(sv_dev_read(dev, bytes, geometry.size_bytes, 0), 0);
	sv_dev_close(dev);
	*ret_bytes = geometry.size_bytes;
	return bytes;
}

/* Tries to go on with a medium; where that is refused it is as it was. */
static int reattach(struct fixture *f, struct dev_crash *medium)
{
	uint64_t before_bytes, after_bytes;
	uint8_t *before = image_of(medium, &before_bytes), *after;
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	struct sv_status status;
	int r = sv_store_reattach(f->store, dev, NULL);

	if (r < 0) {
		sv_dev_close(dev);
		after = image_of(medium, &after_bytes);
		assert_true(after_bytes == before_bytes && memcmp(before, after, after_bytes) == 0);
		free(after);
		assert_true(strlen(sv_store_why()) > 0);
		sv_store_status(f->store, &status);
		assert_int_equal(status.state, SV_DETACHED);
	}
	free(before);
	return r;
}

static void pull(struct fixture *f)
{
	sv_store_detach(f->store);
	dev_crash_power_off(f->medium, &(struct dev_crash_cut){.seed = 5});
}

static void assert_disk(struct fixture *f)
{
	assert_int_equal(sv_store_read(f->store, f->got, DISK_BYTES, 0), 0);
	assert_memory_equal(f->got, f->disk, DISK_BYTES);
}

/* Goes on, closes, opens again: all is there. */
static void assert_whole(struct fixture *f)
{
	int r;

	assert_disk(f);
	r = sv_store_close(f->store);
	f->store = NULL;
	assert_int_equal(r, 0);
	assert_int_equal(open_on(f->medium, NULL, false, 9, &f->store), 0);
	assert_disk(f);
}

static void same_stick(void **state)
{
	struct fixture *f = *state;
	struct sv_dev *dev;

	dev = dev_crash_open(f->medium, NULL);
	assert_int_equal(sv_store_reattach(f->store, dev, NULL), -EALREADY);
	sv_dev_close(dev);
	pull(f);
	assert_int_equal(reattach(f, f->medium), 0);
	assert_whole(f);
}

/* The host slept: the same device, nothing lost, nothing to be written. */
static void slept(void **state)
{
	struct fixture *f = *state;
	struct sv_reattach did;
	struct sv_dev *dev;

	assert_int_equal(sv_store_flush(f->store), 0);
	sv_store_detach(f->store);
	dev = dev_crash_open(f->medium, NULL);
	assert_int_equal(sv_store_reattach(f->store, dev, &did), 0);
	assert_true(did.verified_bytes >= WINDOW_BYTES && did.rewritten_bytes == 0);
	assert_int_equal(dev_crash_writes(f->medium), 0);
	assert_whole(f);
}

static void another_session(void **state)
{
	struct fixture *f = *state;
	struct sv_store *other;
	uint8_t block[4096] = {1};

	pull(f);
	assert_int_equal(open_on(f->medium, NULL, false, 4, &other), 0);
	assert_int_equal(sv_store_write(other, block, 4096, 0), 0);
	assert_int_equal(sv_store_close(other), 0);
	assert_int_equal(reattach(f, f->medium), -ESTALE);
}

/* The first batch of a later session than ours on a medium, where it lies; 0: none. */
static uint64_t later_opening(struct fixture *f)
{
	uint64_t bytes, found = 0;
	uint8_t *image = image_of(f->medium, &bytes);
	struct sv_status status;

	sv_store_status(f->store, &status);
	for (uint64_t at = 128 * KIB; at < bytes; at += 4 * KIB) {
		struct sv_head h;

		if (sv_head_decode(image + at, 4 * KIB, &h) == 0 && h.flags & SV_BATCH_OPEN &&
		    h.epoch >> SV_EPOCH_SALT_BITS > status.epoch)
			found = at;
	}
	free(image);
	return found;
}

/* The stick lost how it began; its anchors still tell. */
static void another_session_half_lost(void **state)
{
	struct fixture *f = *state;
	struct sv_store *other;

	pull(f);
	assert_int_equal(open_on(f->medium, NULL, false, 4, &other), 0);
	sv_store_abandon(other);
	dev_crash_corrupt(f->medium, later_opening(f) + 100, 1);
	assert_int_equal(later_opening(f), 0);
	assert_int_equal(reattach(f, f->medium), -ESTALE);
}

/*
 * Another session began, and the stick was pulled from that host, too, at any of its writes. If
 * anything of it can be found, it counts; if not, it never was.
 */
static void another_session_cut_short(void **state)
{
	unsigned refused = 0, went_on = 0, opened = 0;

	(void)state;
	for (uint64_t at = 0; at < 3 * 24; at++) {
		struct fixture *f;
		struct dev_crash_cut cut = {
			.when = DEV_CRASH_BEFORE + at % 3, .write = 1 + at / 3, .seed = at};
		struct sv_store *other = NULL;
		int r;

		setup((void **)&f);
		pull(f);
		r = open_on(f->medium, &cut, false, 4, &other);
		sv_store_abandon(other);
		if (!dev_crash_dead(f->medium))
			dev_crash_power_off(f->medium, &cut);
		if (r == 0) { /* it was served from there */
			assert_int_equal(reattach(f, f->medium), -ESTALE);
			refused++;
		} else {
			bool there = later_opening(f) != 0;

			r = reattach(f, f->medium);
			assert_true(r == -ESTALE || (r == 0 && !there));
			opened += there;
			refused += r < 0;
			went_on += r == 0;
			if (r == 0)
				assert_whole(f);
		}
		teardown((void **)&f);
	}
	assert_true(refused > 0 && went_on > 0 && opened > 0);
}

static void another_store(void **state)
{
	struct fixture *f = *state;
	struct dev_crash *other = new_medium(2);

	pull(f);
	assert_int_equal(reattach(f, other), -EMEDIUMTYPE);
	dev_crash_destroy(other);
	assert_int_equal(reattach(f, f->medium), 0);
	assert_whole(f);
}

static void no_store(void **state)
{
	struct fixture *f = *state;
	const struct sv_geometry geometry = {.size_bytes = 8192 * KIB, .sector_bytes = 512};
	struct dev_crash *other = dev_crash_create(&geometry);

	pull(f);
	assert_int_equal(reattach(f, other), -EMEDIUMTYPE);
	dev_crash_destroy(other);
	assert_int_equal(reattach(f, f->medium), 0);
	assert_whole(f);
}

/* A copy made before: what was written between it and the window is on no stick but the first. */
static void older_copy(void **state)
{
	struct fixture *f = *state;
	struct dev_crash *copy = dev_crash_clone(f->medium);

	write_some(f, 4 * WINDOW_BYTES);
	pull(f);
	assert_int_equal(reattach(f, copy), -EUCLEAN);
	dev_crash_destroy(copy);
	assert_int_equal(reattach(f, f->medium), 0);
	assert_whole(f);
}

/* Both anchors are gone: the log itself says whose it is, and they are written again. */
static void anchors_gone(void **state)
{
	struct fixture *f = *state;

	pull(f);
	for (unsigned i = 0; i < 2; i++)
		dev_crash_corrupt(f->medium, i * 64 * KIB + 100, 0x5a);
	assert_int_equal(reattach(f, f->medium), 0);
	assert_whole(f);
}

static void read_only(void **state)
{
	struct fixture *f = *state;
	struct sv_store *other;
	int r = sv_store_close(f->store);

	f->store = NULL;
	assert_int_equal(r, 0);
	assert_int_equal(open_on(f->medium, NULL, true, 3, &f->store), 0);
	pull(f);
	assert_int_equal(sv_store_read(f->store, f->got, DISK_BYTES, 0), -ENODEV);
	assert_int_equal(reattach(f, f->medium), 0);
	assert_disk(f);
	pull(f);
	assert_int_equal(open_on(f->medium, NULL, false, 4, &other), 0);
	assert_int_equal(sv_store_close(other), 0);
	assert_int_equal(reattach(f, f->medium), -ESTALE);
}

/* ---- parked ---- */

/* The store is gone; what it had is in the box. */
static void park(struct fixture *f, struct box *box)
{
	assert_int_equal(sv_store_park_begin(f->store), -EALREADY);
	assert_int_equal(sv_store_park(f->store, box_put, box), -EINVAL);
	pull(f);
	write_whole_block(f, 3);
	assert_int_equal(sv_store_park_begin(f->store), 0);
	assert_int_equal(sv_store_park(f->store, box_put, box), 0);
	sv_store_abandon(f->store);
	f->store = NULL;
}

static int overlay(void *ctx, const void *bytes, uint64_t len_bytes, uint64_t off_bytes)
{
	struct fixture *f = ctx;

	if (bytes)
		memcpy(f->got + off_bytes, bytes, len_bytes);
	else
		memset(f->got + off_bytes, 0, len_bytes);
	return 0;
}

/* The disk of the parked session as it can be read now; how many blocks of it are gone. */
static unsigned view_disk(struct fixture *f, const struct sv_parked *parked)
{
	const struct sv_open_options options = {.manual = true, .read_only = true};
	struct sv_dev *below = dev_crash_open(f->medium, NULL), *view;
	unsigned gone = 0;

	assert_int_equal(sv_parked_view(parked, below, &view), 0);
	assert_int_equal(sv_store_open(view, &options, &f->store), 0);
	for (uint64_t at = 0; at < DISK_BYTES; at += 4 * KIB) {
		int r = sv_store_read(f->store, f->got + at, 4 * KIB, at);

		assert_true(r == 0 || r == -EIO);
		if (r < 0) /* never other data */
			memcpy(f->got + at, f->disk + at, 4 * KIB);
		gone += r < 0;
	}
	assert_int_equal(sv_parked_each(parked, overlay, f), 0);
	assert_memory_equal(f->got, f->disk, DISK_BYTES);
	sv_store_abandon(f->store);
	f->store = NULL;
	sv_dev_close(below);
	return gone;
}

static struct sv_parked *parked_of(struct box *box)
{
	struct sv_parked *parked;

	box->at = 0;
	assert_int_equal(sv_parked_read(box_get, box, &parked), 0);
	return parked;
}

static int write_back(struct sv_parked *parked, struct dev_crash *medium)
{
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	uint64_t before_bytes, after_bytes;
	uint8_t *before = image_of(medium, &before_bytes), *after;
	int r = sv_parked_write_back(parked, dev, NULL);

	sv_dev_close(dev);
	after = image_of(medium, &after_bytes);
	if (r < 0)
		assert_true(after_bytes == before_bytes && memcmp(before, after, after_bytes) == 0);
	free(before);
	free(after);
	return r;
}

/* Another session goes on, with so many KiB. */
static void go_on_elsewhere(struct fixture *f, uint64_t kib)
{
	struct sv_store *other;
	uint8_t block[4096] = {1};

	assert_int_equal(open_on(f->medium, NULL, false, 4, &other), 0);
	for (uint64_t at = 0; at < kib * KIB; at += 4096) {
		prng_fill(&f->rng, block, sizeof(block));
		assert_int_equal(sv_store_write(other, block, 4096, at % DISK_BYTES), 0);
	}
	assert_int_equal(sv_store_close(other), 0);
}

/* Refused; the disk as it was frozen is still all there, and then less and less of it. */
static void parked_and_another_session(void **state)
{
	struct fixture *f = *state;
	struct dev_crash *other = new_medium(2);
	struct box box = {0};
	struct sv_parked *parked;
	struct sv_dev *dev, *view;

	/* So that the other session follows the very batch that ours ended with. */
	assert_int_equal(sv_store_flush(f->store), 0);
	park(f, &box);
	parked = parked_of(&box);
	assert_int_equal(view_disk(f, parked), 0);
	go_on_elsewhere(f, 64);
	assert_int_equal(write_back(parked, f->medium), -ESTALE);
	assert_int_equal(view_disk(f, parked), 0);
	go_on_elsewhere(f, 32);
	assert_int_equal(write_back(parked, f->medium), -ESTALE);
	assert_int_equal(view_disk(f, parked), 0);
	assert_int_equal(write_back(parked, other), -EMEDIUMTYPE);
	dev = dev_crash_open(other, NULL);
	assert_int_equal(sv_parked_view(parked, dev, &view), -EMEDIUMTYPE);
	sv_dev_close(dev);
	dev_crash_destroy(other);
	sv_parked_free(parked);
	box_free(&box);
}

static void parked_and_an_older_copy(void **state)
{
	struct fixture *f = *state;
	struct dev_crash *copy = dev_crash_clone(f->medium);
	struct box box = {0};
	struct sv_parked *parked;

	write_some(f, 4 * WINDOW_BYTES);
	park(f, &box);
	parked = parked_of(&box);
	assert_int_equal(write_back(parked, copy), -EUCLEAN);
	dev_crash_destroy(copy);
	assert_int_equal(write_back(parked, f->medium), 0);
	assert_int_equal(open_on(f->medium, NULL, false, 4, &f->store), 0);
	assert_int_equal(sv_parked_apply(parked, f->store), 0);
	assert_whole(f);
	sv_parked_free(parked);
	box_free(&box);
}

/* Whatever comes instead of a stream is refused or taken, and harms nobody. */
static void parked_nonsense(void **state)
{
	struct fixture *f = *state;
	struct box box = {0};
	struct sv_parked *parked;

	park(f, &box);
	for (size_t cut = 0; cut < box.count; cut += cut < 400 ? 7 : 1999) {
		struct box part = {.bytes = box.bytes, .count = cut};

		assert_int_equal(sv_parked_read(box_get, &part, &parked), -EBADMSG);
	}
	for (size_t at = 0; at < box.count; at += at < 300 ? 3 : 4999)
		for (unsigned bit = 0; bit < 8; bit += 7) {
			box.bytes[at] ^= (uint8_t)(1u << bit);
			box.at = 0;
			if (sv_parked_read(box_get, &box, &parked) == 0) {
				struct dev_crash *copy = dev_crash_clone(f->medium);

				(void)write_back(parked, copy);
				sv_parked_free(parked);
				dev_crash_destroy(copy);
			}
			box.bytes[at] ^= (uint8_t)(1u << bit);
		}
	box_free(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(same_stick, setup, teardown),
		cmocka_unit_test_setup_teardown(slept, setup, teardown),
		cmocka_unit_test_setup_teardown(another_session, setup, teardown),
		cmocka_unit_test_setup_teardown(another_session_half_lost, setup, teardown),
		cmocka_unit_test(another_session_cut_short),
		cmocka_unit_test_setup_teardown(another_store, setup, teardown),
		cmocka_unit_test_setup_teardown(no_store, setup, teardown),
		cmocka_unit_test_setup_teardown(older_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(anchors_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(parked_and_another_session, setup, teardown),
		cmocka_unit_test_setup_teardown(parked_and_an_older_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(parked_nonsense, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
