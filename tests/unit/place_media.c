/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_media.c: places on media of many kinds, and used by many threads at once. */
#include "stickvm/place.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "place_format.h"
#include "place_spot.h"
#include "prng.h"

/*
 * What needs a special medium is asked for by name, by tests/cli/place_fs.sh:
 *   STICKVM_TEST_SMALL=1      the file system is small: fill it up
 *   STICKVM_TEST_IMAGE=FILE   it lies in this image of a whole medium: look where segments are
 *   STICKVM_TEST_RAW=DEVICE   a block device to lay a raw place out on
 *   STICKVM_TEST_STEADY=KIND  measure what a flush costs on ext4, exfat, ntfs or raw
 *   STICKVM_TEST_READ_ONLY=DIR  a place on a file system that is mounted read-only
 */
struct worker {
	struct sv_dev *dev;
	uint64_t from_bytes;
	int failed;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	uint8_t *want = aligned_alloc(4096, SEGMENT), *got = aligned_alloc(4096, SEGMENT);

	for (uint64_t i = 0; i < 300; i++) {
		uint64_t at = worker->from_bytes + i % 8 * SEGMENT;

		fill_from(want, SEGMENT, at, i);
		worker->failed |= sv_dev_write(worker->dev, want, SEGMENT, at);
		if (i % 50 == 0)
			worker->failed |= sv_dev_flush(worker->dev);
		worker->failed |= sv_dev_read(worker->dev, got, SEGMENT, at);
		worker->failed |= memcmp(want, got, SEGMENT);
	}
	free(want);
	free(got);
	return NULL;
}

static void threads_work_while_it_grows(void **state)
{
	const struct spot *spot = *state;
	struct worker workers[4];
	pthread_t threads[4];
	struct sv_dev *dev;

	make_filled(spot, 2 * MIB);
	dev = open_ok(spot->path, false);
	for (unsigned i = 0; i < 4; i++) {
		workers[i] = (struct worker){.dev = dev, .from_bytes = i * 8 * SEGMENT};
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (uint64_t size = 3 * MIB; size <= 7 * MIB; size += MIB)
		assert_int_equal(sv_dev_grow(dev, size), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(workers[i].failed, 0);
	}
	sv_dev_close(dev);
}

/* Fills the file system: what it promised is there, the end is -ENOSPC, and nothing is lost. */
static void a_full_file_system_is_said(void **state)
{
	const struct spot *spot = *state;
	struct sv_place_params params = {.segment_bytes = MIB};
	struct sv_geometry geometry;
	struct statvfs vfs;
	struct sv_dev *dev;

	assert_int_equal(sv_place_create(spot->path, &params), 0);
	dev = open_ok(spot->path, false);
	geometry = geometry_of(dev);
	assert_int_equal(sv_dev_grow(dev, geometry.max_bytes + MIB), -ENOSPC);
	assert_int_equal(sv_dev_grow(dev, geometry.max_bytes / MIB / 2 * MIB), 0);
	write_range(dev, 0, 8 * MIB, 1);
	assert_int_equal(sv_dev_grow(dev, geometry.max_bytes), 0);
	write_range(dev, geometry.max_bytes - 8 * MIB, 8 * MIB, 2);
	assert_int_equal(sv_dev_flush(dev), 0);
	assert_int_equal(statvfs(spot->base, &vfs), 0);
	/* the margin is left: a 64th of the file system, or nearly so */
	assert_true(vfs.f_bavail >= vfs.f_blocks / 64 * 3 / 4);
	assert_int_equal(sv_dev_grow(dev, geometry.max_bytes + 4 * geometry.max_bytes), -ENOSPC);
	sv_dev_close(dev);
	dev = open_ok(spot->path, true);
	check_range(dev, 0, 8 * MIB, 1);
	check_range(dev, geometry.max_bytes - 8 * MIB, 8 * MIB, 2);
	sv_dev_close(dev);
}

/* Writes a mark at the front of every segment, then looks for them on the medium itself. */
static void segments_lie_on_units_of_the_medium(void **state)
{
	const struct spot *spot = *state;
	struct sv_place_params params = {.segment_bytes = MIB, .erase_bytes = MIB};
	uint8_t *mark = block_buffer(4096), *got = block_buffer(MIB);
	int image = open(getenv("STICKVM_TEST_IMAGE"), O_RDONLY);
	unsigned found = 0;
	struct sv_dev *dev;
	ssize_t n;

	assert_true(image >= 0);
	prng_fill(&(struct prng){1234}, mark, 4096);
	assert_int_equal(sv_place_create(spot->path, &params), 0);
	dev = open_ok(spot->path, false);
	assert_int_equal(sv_dev_grow(dev, 100 * MIB), 0);
	assert_true(geometry_of(dev).alignment_known);
	for (uint64_t at = 0; at < 100 * MIB; at += MIB)
		assert_int_equal(sv_dev_write(dev, mark, 4096, at), 0);
	assert_int_equal(sv_dev_flush(dev), 0);
	sv_dev_close(dev);
	sync();
	for (off_t at = 0; (n = pread(image, got, MIB, at)) > 0; at += n)
		for (ssize_t i = 0; i + 4096 <= n; i += 4096) {
			if (memcmp(got + i, mark, 4096) != 0)
				continue;
			found++;
			assert_int_equal((uint64_t)(at + i) % MIB, 0);
		}
	assert_int_equal(found, 100);
	dev = open_ok(spot->path, true);
	assert_true(geometry_of(dev).alignment_known);
	sv_dev_close(dev);
	close(image);
	free(mark);
	free(got);
}

/* Of the block device that holds the place: what the host has asked it to write. */
struct traffic {
	uint64_t writes, bytes, flushes;
};

static struct traffic traffic_of(const char *path)
{
	struct traffic traffic = {0};
	char name[64], text[256] = {0};
	unsigned long long sectors, writes, flushes;
	struct stat st;
	FILE *file;

	assert_int_equal(stat(path, &st), 0);
	dev_t device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/stat", major(device), minor(device));
	file = fopen(name, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	assert_int_equal(sscanf(text,
				"%*u %*u %*u %*u %llu %*u %llu %*u %*u %*u %*u %*u %*u %*u %*u "
				"%llu",
				&writes, &sectors, &flushes),
			 3);
	traffic.writes = writes;
	traffic.bytes = sectors * 512;
	traffic.flushes = flushes;
	return traffic;
}

static void append_and_flush(struct sv_dev *dev, uint64_t from_bytes, unsigned count,
			     unsigned pause_ms)
{
	for (unsigned i = 0; i < count; i++) {
		write_range(dev, from_bytes + i * 80 * KIB, 80 * KIB, i);
		assert_int_equal(sv_dev_flush(dev), 0);
		if (pause_ms > 0)
			usleep(pause_ms * 1000);
	}
}

static void say_extra(const char *what, struct traffic before, struct traffic after,
		      uint64_t payload_bytes, double per)
{
	print_message("%s: %.2f writes, %.2f flushes, %.0f bytes beside the payload\n", what,
		      (double)(after.writes - before.writes) / per,
		      (double)(after.flushes - before.flushes) / per,
		      ((double)(after.bytes - before.bytes) - (double)payload_bytes) / per);
}

/*
 * Appends of 80 KiB with a flush each into segments that were written before: back to back, and
 * ten a second for 20 s, where the file system's own clock shows. On all but NTFS the
 * flushes must come without a write of metadata; there it is measured.
 */
static void steady_appends_touch_no_metadata(void **state)
{
	const char *kind = getenv("STICKVM_TEST_STEADY");
	const struct spot *spot = *state;
	const char *path = strcmp(kind, "raw") == 0 ? getenv("STICKVM_TEST_RAW") : spot->path;
	struct sv_place_params params = {.segment_bytes = MIB};
	struct traffic before, after;
	struct sv_dev *dev;

	assert_int_equal(sv_place_create(path, &params), 0);
	dev = open_ok(path, false);
	assert_int_equal(sv_dev_grow(dev, 64 * MIB), 0);
	write_range(dev, 0, 64 * MIB, 0);
	assert_int_equal(sv_dev_flush(dev), 0);
	sync();
	sleep(6); /* the journal's timer */
	before = traffic_of(path);
	append_and_flush(dev, 0, 400, 0);
	after = traffic_of(path);
	say_extra("each flush", before, after, 400 * 80 * KIB, 400);
	if (strcmp(kind, "ntfs") != 0) /* ntfs-3g writes the file's record with every write */
		assert_in_range(after.bytes - before.bytes - 400 * 80 * KIB, 0, 256 * KIB);
	before = traffic_of(path);
	append_and_flush(dev, 32 * MIB, 200, 100);
	after = traffic_of(path);
	say_extra("each 5 s at 10 flushes/s", before, after, 200 * 80 * KIB, 4);
	sv_dev_close(dev);
}

static void a_block_device_is_laid_out(void **state)
{
	const char *path = getenv("STICKVM_TEST_RAW");
	struct sv_place_params params = {.segment_bytes = MIB, .erase_bytes = MIB};
	struct sv_geometry geometry;
	struct sv_dev *dev, *second;
	uint64_t before, after;

	(void)state;
	assert_int_equal(sv_place_create(path, &params), 0);
	assert_int_equal(sv_place_create(path, &params), -EEXIST);
	dev = open_ok(path, false);
	geometry = geometry_of(dev);
	assert_true(geometry.alignment_known);
	assert_true(geometry.size_bytes >= 8 * MIB);
	assert_int_equal(sv_place_open(path, false, &second), -EBUSY);
	assert_int_equal(sv_place_open(path, true, &second), -EBUSY);
	assert_true(sv_place_host_written(path, &before));
	write_range(dev, 0, 8 * MIB, 3);
	assert_int_equal(sv_dev_flush(dev), 0);
	assert_true(sv_place_host_written(path, &after));
	assert_in_range(after - before, 8 * MIB, 9 * MIB);
	assert_int_equal(sv_dev_discard(dev, 4 * MIB, 4 * MIB), 0);
	check_range(dev, 0, 4 * MIB, 3);
	sv_dev_close(dev);
}

static void a_read_only_file_system_is_said(void **state)
{
	const char *path = getenv("STICKVM_TEST_READ_ONLY");
	char fresh[300];
	struct sv_dev *dev;

	(void)state;
	snprintf(fresh, sizeof(fresh), "%s-new", path);
	assert_int_equal(sv_place_create(fresh, NULL), -EROFS);
	assert_int_equal(sv_place_open(path, false, &dev), -EROFS);
	assert_int_equal(sv_place_remove(path), -EROFS);
	dev = open_ok(path, true);
	check_range(dev, 0, MIB, 1);
	assert_int_equal(sv_dev_grow(dev, 64 * MIB), -EROFS);
	sv_dev_close(dev);
}

/* Leaves a place behind for the read-only mount to come. */
static int leave_a_place(const char *path)
{
	struct spot spot;

	snprintf(spot.path, sizeof(spot.path), "%s", path);
	make_filled(&spot, MIB);
	return 0;
}

static int special_tests(void)
{
	const struct CMUnitTest small[] = {SPOT_TEST(a_full_file_system_is_said)};
	const struct CMUnitTest image[] = {SPOT_TEST(segments_lie_on_units_of_the_medium)};
	const struct CMUnitTest steady[] = {SPOT_TEST(steady_appends_touch_no_metadata)};
	const struct CMUnitTest raw[] = {cmocka_unit_test(a_block_device_is_laid_out)};
	const struct CMUnitTest frozen[] = {cmocka_unit_test(a_read_only_file_system_is_said)};

	if (getenv("STICKVM_TEST_LEAVE") != NULL)
		return leave_a_place(getenv("STICKVM_TEST_LEAVE"));
	if (getenv("STICKVM_TEST_STEADY") != NULL)
		return cmocka_run_group_tests(steady, NULL, NULL);
	if (getenv("STICKVM_TEST_SMALL") != NULL)
		return cmocka_run_group_tests(small, NULL, NULL);
	if (getenv("STICKVM_TEST_IMAGE") != NULL)
		return cmocka_run_group_tests(image, NULL, NULL);
	if (getenv("STICKVM_TEST_RAW") != NULL)
		return cmocka_run_group_tests(raw, NULL, NULL);
	if (getenv("STICKVM_TEST_READ_ONLY") != NULL)
		return cmocka_run_group_tests(frozen, NULL, NULL);
	return -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {SPOT_TEST(threads_work_while_it_grows)};
	int r = special_tests();

	return r >= 0 ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
