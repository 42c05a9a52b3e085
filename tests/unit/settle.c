/* SPDX-License-Identifier: GPL-2.0-or-later */
/* settle.c: when the times of a store's files are written, and that a place does it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "dev_pass.h"
#include "dev_ram.h"
#include "prng.h"
#include "settle.h"
#include "stickvm/store.h"

/* Units that take a second each: at the end of the fourth, since the fifth would end too late. */
static void at_the_last_end_before_the_kernel(void **state)
{
	struct sv_settle settle = {0};
	uint64_t written = 0, now_ms = 5, settled_ms = 0;
	unsigned count = 0;

	(void)state;
	for (unsigned step = 0; step < 400; step++, now_ms += 100) {
		bool end = step % 10 == 9;

		written += 100;
		if (!sv_settle_due(&settle, written, step / 10, end, now_ms))
			continue;
		assert_true(end);
		if (count++)
			assert_in_range(now_ms - settled_ms, 3000, 4500);
		settled_ms = now_ms;
		sv_settle_done(&settle, written, now_ms);
	}
	assert_in_range(count, 9, 13);
}

/* Units that take half a minute each: just before the kernel. */
static void late_where_units_are_slow(void **state)
{
	struct sv_settle settle = {0};
	uint64_t written = 0;
	unsigned count = 0;

	(void)state;
	for (uint64_t now_ms = 1; now_ms < 21000; now_ms += 100) {
		written += 10;
		if (!sv_settle_due(&settle, written, 7, false, now_ms))
			continue;
		count++;
		sv_settle_done(&settle, written, now_ms);
	}
	assert_int_equal(count, 4);
}

static void never_where_nothing_was_written(void **state)
{
	struct sv_settle settle = {0};

	(void)state;
	assert_false(sv_settle_due(&settle, 0, 1, true, 1));
	assert_false(sv_settle_due(&settle, 0, 2, true, 100000));
	assert_false(sv_settle_due(&settle, 8, 2, false, 200000)); /* the clock starts here */
	assert_true(sv_settle_due(&settle, 8, 2, false, 204700));
	sv_settle_done(&settle, 8, 204700);
	assert_false(sv_settle_due(&settle, 8, 3, true, 900000));
}

/* ---- a store on a device whose file system writes times ---- */

static unsigned settled, flushed, settled_in_unit;
static uint64_t last_end;

#define UNIT_BYTES (256u << 10)
#define REST_BYTES (128u << 10)

static int count_flush(struct sv_dev *dev)
{
	flushed++;
	return dev_pass_flush(dev);
}

static int count_settle(struct sv_dev *dev)
{
	uint64_t into = last_end % UNIT_BYTES;

	settled++;
	settled_in_unit += into > 0 && into < UNIT_BYTES - REST_BYTES;
	return dev_pass_flush(dev);
}

static int note_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	last_end = off_bytes + len_bytes;
	return dev_pass_write(dev, buf, len_bytes, off_bytes);
}

static int times_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	int r = dev_pass_geometry(dev, ret_geometry);

	ret_geometry->writes_times = true;
	ret_geometry->erase_bytes = UNIT_BYTES;
	return r;
}

static const struct sv_dev_ops ops = {
	.read = dev_pass_read,
	.write = note_write,
	.flush = count_flush,
	.settle = count_settle,
	.discard = dev_pass_discard,
	.grow = dev_pass_grow,
	.geometry = times_geometry,
	.close = dev_pass_close,
};

static struct sv_dev *times_dev(void)
{
	const struct sv_geometry geometry = {.size_bytes = 64u << 20,
					     .max_bytes = 64u << 20,
					     .sector_bytes = 512,
					     .page_bytes = 4096,
					     .erase_bytes = UNIT_BYTES,
					     .alignment_known = true};
	struct dev_pass *pass = calloc(1, sizeof(*pass));

	assert_non_null(pass);
	pass->dev = (struct sv_dev){.ops = &ops, .kind = "times"};
	assert_int_equal(sv_dev_ram_create(&geometry, &pass->inner), 0);
	return &pass->dev;
}

/* Some hundred writes a unit, for a second more than the kernel would wait. */
static void a_store_does_it_at_a_units_end(void **state)
{
	const struct sv_format_params params = {.size_bytes = 16u << 20,
						.segment_bytes = UNIT_BYTES,
						.page_bytes = 4096,
						.lie_window_bytes = UNIT_BYTES,
						.checkpoint_bytes = 1u << 20};
	const struct sv_open_options options = {.host = "settle", .seed = 3};
	const struct timespec pause = {.tv_nsec = 10000000};
	struct sv_dev *dev = times_dev();
	struct sv_store *store = NULL;
	struct prng rng = {1};
	uint8_t buf[SV_BLOCK_BYTES];
	struct timespec begin, now;
	unsigned i = 0;

	(void)state;
	assert_int_equal(sv_store_format(dev, &params), 0);
	assert_int_equal(sv_store_open(dev, &options, &store), 0);
	settled = settled_in_unit = 0;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		prng_fill(&rng, buf, sizeof(buf));
		assert_int_equal(sv_store_write(store, buf, sizeof(buf),
						(uint64_t)(i++ * 7 % 4096) * sizeof(buf)),
				 0);
		assert_int_equal(sv_store_flush(store), 0);
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - begin.tv_sec < 7);
	assert_in_range(settled, 1, 2);
	assert_int_equal(settled_in_unit, 0);
	assert_true(flushed > i / 2);
	assert_int_equal(sv_store_close(store), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_the_last_end_before_the_kernel),
		cmocka_unit_test(late_where_units_are_slow),
		cmocka_unit_test(never_where_nothing_was_written),
		cmocka_unit_test(a_store_does_it_at_a_units_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
