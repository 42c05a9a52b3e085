/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flashsim_power.c: what a pulled plug keeps, drops and shreds; handles that stay dead; faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dev_flashsim.h"

#define SECTOR 512u
#define WRITE_BYTES (64u * 1024)
#define SECTORS (WRITE_BYTES / SECTOR)
#define STICK_BYTES (UINT64_C(64) << 20)

/* What is found of a range: sectors with the new content, with the old one, with neither. */
struct found {
	unsigned fresh, old, garbage;
};

static struct fsim_stick *make_stick(const struct fsim_cut *cut, uint64_t seed)
{
	struct fsim_config config = {
		.profile = fsim_profile_find("P2"),
		.size_bytes = STICK_BYTES,
		.seed = seed,
		.cut = *cut,
	};
	struct fsim_stick *stick;
	assert_int_equal(fsim_stick_new(&config, &stick), 0);
	return stick;
}

static uint64_t open_stick(struct fsim_stick *stick)
{
	uint64_t handle;
	assert_int_equal(fsim_stick_open(stick, &handle), 0);
	return handle;
}

static int put(struct fsim_stick *stick, uint64_t handle, uint64_t off, uint8_t value)
{
	uint8_t buf[WRITE_BYTES];
	memset(buf, value, sizeof(buf));
	return fsim_stick_write(stick, handle, buf, sizeof(buf), off);
}

static struct found look(struct fsim_stick *stick, uint64_t off, uint8_t fresh, uint8_t old)
{
	uint8_t buf[WRITE_BYTES], want_fresh[SECTOR], want_old[SECTOR];
	struct found found = {0};
	memset(want_fresh, fresh, SECTOR);
	memset(want_old, old, SECTOR);
	assert_int_equal(fsim_stick_read(stick, open_stick(stick), buf, sizeof(buf), off), 0);
	for (unsigned i = 0; i < SECTORS; i++) {
		const uint8_t *sector = buf + i * SECTOR;
		if (memcmp(sector, want_fresh, SECTOR) == 0)
			found.fresh++;
		else if (memcmp(sector, want_old, SECTOR) == 0)
			found.old++;
		else
			found.garbage++;
	}
	return found;
}

/* Writes 1 everywhere, flushes, writes 2 to the second half, pulls the plug, plugs in. */
static void write_and_cut(struct fsim_stick *stick)
{
	uint64_t handle = open_stick(stick);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(put(stick, handle, i * WRITE_BYTES, 1), 0);
	assert_int_equal(fsim_stick_flush(stick, handle), 0);
	for (uint64_t i = 8; i < 16; i++)
		assert_int_equal(put(stick, handle, i * WRITE_BYTES, 2), 0);
	assert_int_equal(fsim_stick_unplug(stick), 0);
	assert_int_equal(fsim_stick_plug(stick, 0), 0);
}

static struct found look_over(struct fsim_stick *stick, uint64_t from, uint64_t to, uint8_t fresh,
			      uint8_t old)
{
	struct found sum = {0};
	for (uint64_t i = from; i < to; i++) {
		struct found one = look(stick, i * WRITE_BYTES, fresh, old);
		sum.fresh += one.fresh;
		sum.old += one.old;
		sum.garbage += one.garbage;
	}
	return sum;
}

static void cut_keeps_all(void **state)
{
	struct fsim_cut cut = {.track = true};
	struct fsim_stick *stick = make_stick(&cut, 1);
	(void)state;
	write_and_cut(stick);
	assert_int_equal(look_over(stick, 0, 8, 1, 0).fresh, 8 * SECTORS);
	assert_int_equal(look_over(stick, 8, 16, 2, 1).fresh, 8 * SECTORS);
	fsim_stick_free(stick);
}

static void cut_drops_all(void **state)
{
	struct fsim_cut cut = {.track = true, .drop_percent = 100};
	struct fsim_stick *stick = make_stick(&cut, 1);
	(void)state;
	write_and_cut(stick);
	assert_int_equal(look_over(stick, 0, 8, 1, 0).fresh, 8 * SECTORS);
	assert_int_equal(look_over(stick, 8, 16, 2, 1).old, 8 * SECTORS);
	fsim_stick_free(stick);
}

static void cut_mixes(void **state)
{
	struct fsim_cut cut = {.track = true, .drop_percent = 30, .garbage_percent = 20};
	struct fsim_stick *stick = make_stick(&cut, 1);
	(void)state;
	write_and_cut(stick);
	assert_int_equal(look_over(stick, 0, 8, 1, 0).fresh, 8 * SECTORS);
	struct found found = look_over(stick, 8, 16, 2, 1);
	print_message("mixed: %u new, %u old, %u garbage\n", found.fresh, found.old, found.garbage);
	assert_in_range(found.fresh, 8 * SECTORS * 40 / 100, 8 * SECTORS * 60 / 100);
	assert_in_range(found.old, 8 * SECTORS * 20 / 100, 8 * SECTORS * 40 / 100);
	assert_in_range(found.garbage, 8 * SECTORS * 10 / 100, 8 * SECTORS * 30 / 100);
	fsim_stick_free(stick);
}

/* Three versions of one place: in order the last is left; reordered, any of them may be. */
static void cut_reorders(void **state)
{
	unsigned last[4] = {0};
	(void)state;
	for (uint64_t seed = 0; seed < 30; seed++) {
		struct fsim_cut cut = {.track = true, .reorder = true};
		struct fsim_stick *stick = make_stick(&cut, seed);
		uint64_t handle = open_stick(stick);
		for (uint8_t version = 1; version <= 3; version++)
			assert_int_equal(put(stick, handle, 0, version), 0);
		assert_int_equal(fsim_stick_unplug(stick), 0);
		assert_int_equal(fsim_stick_plug(stick, 0), 0);
		for (uint8_t version = 1; version <= 3; version++)
			last[version] += look(stick, 0, version, 0).fresh == SECTORS;
		fsim_stick_free(stick);
	}
	assert_int_equal(last[1] + last[2] + last[3], 30);
	assert_true(last[1] > 0 && last[2] > 0 && last[3] > 0);
}

/* A liar drops what was flushed, within its window and not beyond, and never makes garbage. */
static void cut_lies(void **state)
{
	struct fsim_cut cut = {.track = true, .lie_bytes = 4 * WRITE_BYTES};
	unsigned dropped = 0;
	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct fsim_stick *stick = make_stick(&cut, seed);
		uint64_t handle = open_stick(stick);
		for (uint64_t i = 0; i < 16; i++) {
			assert_int_equal(put(stick, handle, i * WRITE_BYTES, 1), 0);
			assert_int_equal(fsim_stick_flush(stick, handle), 0);
		}
		assert_int_equal(fsim_stick_unplug(stick), 0);
		assert_int_equal(fsim_stick_plug(stick, 0), 0);
		assert_int_equal(look_over(stick, 0, 12, 1, 0).fresh, 12 * SECTORS);
		struct found found = look_over(stick, 12, 16, 1, 0);
		assert_int_equal(found.garbage, 0);
		dropped += found.old;
		fsim_stick_free(stick);
	}
	assert_true(dropped > 10 * 4 * SECTORS / 5);
}

/* A torn write takes what was programmed just before it in its unit along, though flushed. */
static void cut_shreds_pairs(void **state)
{
	struct fsim_cut cut = {.track = true, .paired_bytes = WRITE_BYTES / 2};
	struct fsim_stick *stick = make_stick(&cut, 5);
	uint64_t handle = open_stick(stick), other_unit = UINT64_C(16) << 20;
	(void)state;
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(put(stick, handle, i * WRITE_BYTES, 1), 0);
	assert_int_equal(put(stick, handle, other_unit, 1), 0);
	assert_int_equal(fsim_stick_flush(stick, handle), 0);
	fsim_stick_unplug_at_write(stick, 1);
	assert_int_equal(put(stick, handle, 3 * WRITE_BYTES, 1), -ENODEV);
	assert_int_equal(fsim_stick_plug(stick, 0), 0);
	assert_int_equal(look_over(stick, 0, 2, 1, 0).fresh, 2 * SECTORS);
	struct found before = look(stick, 2 * WRITE_BYTES, 1, 0);
	assert_int_equal(before.fresh, SECTORS / 2);
	assert_int_equal(before.garbage, SECTORS / 2);
	assert_int_equal(look(stick, other_unit, 1, 0).fresh, SECTORS);
	fsim_stick_free(stick);
}

/* Even where acknowledged writes are safe, the one in flight is torn. */
static void write_in_flight_is_torn(void **state)
{
	struct fsim_cut cut = {.track = false};
	struct fsim_stick *stick = make_stick(&cut, 9);
	uint64_t handle = open_stick(stick);
	(void)state;
	fsim_stick_unplug_at_write(stick, 3);
	assert_int_equal(put(stick, handle, 0, 1), 0);
	assert_int_equal(put(stick, handle, WRITE_BYTES, 1), 0);
	assert_int_equal(put(stick, handle, 2 * WRITE_BYTES, 1), -ENODEV);
	assert_int_equal(fsim_stick_plug(stick, 0), 0);
	assert_int_equal(look_over(stick, 0, 2, 1, 0).fresh, 2 * SECTORS);
	struct found torn = look(stick, 2 * WRITE_BYTES, 1, 0);
	assert_true(torn.fresh > 0 && torn.old > 0 && torn.garbage > 0);
	fsim_stick_free(stick);
}

static void handles_die(void **state)
{
	struct fsim_cut cut = {.track = false};
	struct fsim_stick *stick = make_stick(&cut, 1);
	struct sv_dev *old, *fresh;
	struct sv_geometry geometry;
	static _Alignas(4096) uint8_t buf[4096];
	(void)state;
	assert_int_equal(fsim_dev_open(stick, true, &old), 0);
	assert_int_equal(sv_dev_write(old, buf, sizeof(buf), 0), 0);
	assert_int_equal(fsim_stick_plug(stick, 0), -EBUSY);
	assert_int_equal(fsim_stick_unplug(stick), 0);
	assert_int_equal(fsim_stick_unplug(stick), -ENODEV);
	assert_int_equal(fsim_dev_open(stick, true, &fresh), -ENODEV);
	assert_int_equal(fsim_stick_plug(stick, 480), 0);
	assert_int_equal(fsim_dev_open(stick, true, &fresh), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sv_dev_read(old, buf, sizeof(buf), 0), -ENODEV);
		assert_int_equal(sv_dev_write(old, buf, sizeof(buf), 0), -ENODEV);
		assert_int_equal(sv_dev_flush(old), -ENODEV);
		assert_int_equal(sv_dev_discard(old, 0, 4096), -ENODEV);
		assert_int_equal(sv_dev_geometry(old, &geometry), -ENODEV);
	}
	assert_int_equal(sv_dev_read(fresh, buf, sizeof(buf), 0), 0);
	sv_dev_close(old);
	sv_dev_close(fresh);
	fsim_stick_free(stick);
}

static void device_tells_geometry(void **state)
{
	struct fsim_cut cut = {.track = false};
	struct fsim_stick *stick = make_stick(&cut, 1);
	struct sv_dev *dev;
	struct sv_geometry g;
	(void)state;
	assert_int_equal(fsim_dev_open(stick, true, &dev), 0);
	assert_int_equal(sv_dev_geometry(dev, &g), 0);
	assert_int_equal(g.size_bytes, STICK_BYTES);
	assert_int_equal(g.page_bytes, 16384);
	assert_int_equal(g.erase_bytes, 4 << 20);
	assert_int_equal(g.open_units, 2);
	assert_true(g.alignment_known);
	assert_int_equal(sv_dev_grow(dev, STICK_BYTES), 0);
	assert_int_equal(sv_dev_grow(dev, STICK_BYTES + 4096), -ENOSPC);
	sv_dev_close(dev);
	assert_int_equal(fsim_dev_open(stick, false, &dev), 0);
	assert_int_equal(sv_dev_geometry(dev, &g), 0);
	assert_int_equal(g.page_bytes + g.erase_bytes + g.open_units, 0);
	assert_false(g.alignment_known);
	sv_dev_close(dev);
	fsim_stick_free(stick);
}

static void nth_request_fails(void **state)
{
	struct fsim_cut cut = {.track = false};
	struct fsim_stick *stick = make_stick(&cut, 1);
	uint64_t handle = open_stick(stick);
	static const int expected[] = {0, 0, -EIO, -EIO, 0};
	uint8_t buf[4096];
	(void)state;
	fsim_stick_fail_write(stick, 3, 2, -EIO);
	fsim_stick_fail_read(stick, 3, 2, -EIO);
	for (uint64_t i = 0; i < 5; i++) {
		assert_int_equal(put(stick, handle, i * WRITE_BYTES, 1), expected[i]);
		assert_int_equal(fsim_stick_read(stick, handle, buf, sizeof(buf), 0), expected[i]);
	}
	assert_int_equal(look(stick, 2 * WRITE_BYTES, 1, 0).old, SECTORS);
	assert_int_equal(look(stick, 4 * WRITE_BYTES, 1, 0).fresh, SECTORS);
	fsim_stick_free(stick);
}

static void corruption_is_silent(void **state)
{
	struct fsim_cut cut = {.track = false};
	struct fsim_stick *stick = make_stick(&cut, 1);
	(void)state;
	assert_int_equal(put(stick, open_stick(stick), 0, 1), 0);
	assert_int_equal(fsim_stick_corrupt(stick, 700, 1), 0);
	struct found found = look(stick, 0, 1, 0);
	assert_int_equal(found.fresh, SECTORS - 1);
	assert_int_equal(found.garbage, 1);
	assert_int_equal(fsim_stick_corrupt(stick, STICK_BYTES, 1), -EINVAL);
	fsim_stick_free(stick);
}

static double now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* 200 reads of 0.735 ms each: in a row they take what the clock says, however late sleeps end. */
static void latency_is_real(void **state)
{
	struct fsim_cut cut = {.track = false};
	struct fsim_stick *stick = make_stick(&cut, 1);
	uint64_t handle = open_stick(stick);
	uint8_t buf[4096];
	struct fsim_counters c;
	(void)state;
	fsim_stick_latency(stick, true);
	double start = now_s();
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(fsim_stick_read(stick, handle, buf, sizeof(buf), i * 65536), 0);
	double took = now_s() - start;
	fsim_stick_counters(stick, &c);
	print_message("slept %.4f s for %.4f s\n", took, (double)c.busy_ns / 1e9);
	assert_true(took > 0.98 * (double)c.busy_ns / 1e9);
	assert_true(took < 3 * (double)c.busy_ns / 1e9); /* other work may hold this one up */
	fsim_stick_free(stick);
}

static void *slow_write(void *arg)
{
	struct fsim_stick *stick = arg;
	static int result;
	result = put(stick, open_stick(stick), 0, 1);
	return &result;
}

/* The plug is pulled while a command sleeps: it wakes at once, without success. */
static void pulled_while_asleep(void **state)
{
	struct fsim_cut cut = {.track = false};
	struct fsim_stick *stick = make_stick(&cut, 1);
	uint64_t handle = open_stick(stick);
	struct timespec pause = {.tv_nsec = 40000000};
	pthread_t thread;
	void *result;
	(void)state;
	/* Fill the open units, so that the next write merges for a quarter of a second. */
	assert_int_equal(put(stick, handle, 16 << 20, 7), 0);
	assert_int_equal(put(stick, handle, 32 << 20, 7), 0);
	fsim_stick_latency(stick, true);
	double start = now_s();
	assert_int_equal(pthread_create(&thread, NULL, slow_write, stick), 0);
	nanosleep(&pause, NULL);
	assert_int_equal(fsim_stick_unplug(stick), 0);
	pthread_join(thread, &result);
	assert_int_equal(*(int *)result, -ENODEV);
	assert_true(now_s() - start < 0.2);
	fsim_stick_latency(stick, false);
	assert_int_equal(fsim_stick_plug(stick, 0), 0);
	struct found torn = look(stick, 0, 1, 0);
	assert_true(torn.fresh > 0 && torn.old > 0 && torn.garbage > 0);
	fsim_stick_free(stick);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_keeps_all),
		cmocka_unit_test(cut_drops_all),
		cmocka_unit_test(cut_mixes),
		cmocka_unit_test(cut_reorders),
		cmocka_unit_test(cut_lies),
		cmocka_unit_test(cut_shreds_pairs),
		cmocka_unit_test(write_in_flight_is_torn),
		cmocka_unit_test(handles_die),
		cmocka_unit_test(device_tells_geometry),
		cmocka_unit_test(nth_request_fails),
		cmocka_unit_test(corruption_is_silent),
		cmocka_unit_test(latency_is_real),
		cmocka_unit_test(pulled_while_asleep),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
