/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place.c: a place is laid out, grown, written, locked, damaged, and read back. */
#include "stickvm/place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
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
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "place_format.h"
#include "place_spot.h"
#include "prng.h"

static bool mounted_lazy(void)
{
	char text[65536];
	FILE *f = fopen("/proc/self/mountinfo", "r");
	size_t len;

	assert_non_null(f);
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = 0;
	fclose(f);
	return strstr(text, "lazytime") != NULL;
}

static void fresh_place_is_empty(void **state)
{
	const struct spot *spot = *state;
	struct sv_geometry geometry;
	struct sv_dev *dev;

	assert_int_equal(sv_place_open(spot->path, false, &dev), -ENOENT);
	assert_int_equal(sv_place_create(spot->path, &small_params), 0);
	assert_int_equal(sv_place_create(spot->path, &small_params), -EEXIST);
	dev = open_ok(spot->path, false);
	geometry = geometry_of(dev);
	assert_string_equal(dev->kind, "folder");
	assert_int_equal(geometry.size_bytes, 0);
	assert_true(geometry.max_bytes >= 8 * MIB);
	assert_int_equal(geometry.max_bytes % SEGMENT, 0);
	assert_int_equal(geometry.page_bytes, 16 * KIB);
	assert_int_equal(geometry.erase_bytes, 32 * KIB);
	assert_int_equal(geometry.open_units, 3);
	sv_dev_close(dev);
}

/* ext4 takes a file's times to its journal by itself, unless it is told to be lazy. */
static void settles_where_times_are_written(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev;
	struct statfs sfs;

	make_filled(spot, MIB);
	dev = open_ok(spot->path, false);
	assert_int_equal(statfs(spot->path, &sfs), 0);
	if (sfs.f_type != EXT4_SUPER_MAGIC)
		assert_false(geometry_of(dev).writes_times);
	else if (!mounted_lazy())
		assert_true(geometry_of(dev).writes_times);
	write_range(dev, 0, 64 * KIB, 7);
	assert_int_equal(sv_dev_settle(dev), 0);
	check_range(dev, 0, 64 * KIB, 7);
	assert_int_equal(sv_dev_settle(dev), 0);
	sv_dev_close(dev);
	dev = open_ok(spot->path, true);
	assert_int_equal(sv_dev_settle(dev), 0); /* nothing to do */
	sv_dev_close(dev);
}

static void params_are_judged(void **state)
{
	const struct spot *spot = *state;
	struct sv_place_params params = small_params;

	params.segment_bytes = 3000;
	assert_int_equal(sv_place_create(spot->path, &params), -EINVAL);
	params = small_params;
	params.erase_bytes = 48 * KIB;
	assert_int_equal(sv_place_create(spot->path, &params), -EINVAL);
	params = small_params;
	params.container_bytes = 128 * KIB;
	assert_int_equal(sv_place_create(spot->path, &params), -EINVAL);
	assert_int_equal(access(spot->path, F_OK), -1);
	assert_int_equal(sv_place_create("/proc/nowhere/disk", &small_params), -ENOENT);
	assert_int_equal(sv_place_create("/dev/null", &small_params), -EINVAL);
}

static void grows_writes_and_reads_back(void **state)
{
	const struct spot *spot = *state;
	const uint64_t size_bytes = 8 * MIB; /* in containers of less than 1 MiB */
	struct prng rng = {3};
	struct sv_dev *dev;
	uint64_t opened_bytes;

	make_filled(spot, size_bytes);
	dev = open_ok(spot->path, false);
	opened_bytes = geometry_of(dev).size_bytes;
	assert_true(opened_bytes >= size_bytes && opened_bytes % SEGMENT == 0);
	check_range(dev, 0, size_bytes, 1);
	for (uint64_t version = 2; version < 60; version++) { /* across pieces and containers */
		size_t len = 4096 * (1 + prng_below(&rng, 500));
		uint64_t off = 4096 * prng_below(&rng, (size_bytes - len) / 4096);

		write_range(dev, off, len, version);
		check_range(dev, off, len, version);
	}
	assert_int_equal(sv_dev_flush(dev), 0);
	assert_int_equal(sv_dev_grow(dev, opened_bytes + 3 * MIB), 0);
	write_range(dev, opened_bytes, 3 * MIB, 99);
	sv_dev_close(dev);
	dev = open_ok(spot->path, true);
	check_range(dev, opened_bytes, 3 * MIB, 99);
	assert_int_equal(sv_dev_grow(dev, opened_bytes + 16 * MIB), -EROFS);
	sv_dev_close(dev);
}

static void small_requests_reach_their_sectors(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev;
	uint32_t sector;

	make_filled(spot, MIB);
	dev = open_ok(spot->path, false);
	sector = geometry_of(dev).sector_bytes;
	write_range(dev, 5 * sector, sector, 7);
	check_range(dev, 5 * sector, sector, 7);
	check_range(dev, 4 * sector, sector, 1);
	check_range(dev, 6 * sector, sector, 1);
	sv_dev_close(dev);
}

static void max_bytes_is_a_limit(void **state)
{
	const struct spot *spot = *state;
	struct sv_place_params params = small_params;
	struct sv_dev *dev;

	params.max_bytes = 3 * MIB + 1000;
	assert_int_equal(sv_place_create(spot->path, &params), 0);
	dev = open_ok(spot->path, false);
	assert_int_equal(geometry_of(dev).max_bytes, 3 * MIB);
	assert_int_equal(sv_dev_grow(dev, 3 * MIB + SEGMENT), -ENOSPC);
	assert_int_equal(geometry_of(dev).size_bytes, 0);
	assert_int_equal(sv_dev_grow(dev, 3 * MIB), 0);
	assert_int_equal(geometry_of(dev).size_bytes, 3 * MIB);
	write_range(dev, 0, 3 * MIB, 1);
	assert_int_equal(sv_dev_grow(dev, 3 * MIB + SEGMENT), -ENOSPC);
	check_range(dev, 0, 3 * MIB, 1);
	sv_dev_close(dev);
}

static void one_damaged_header_copy_is_mended(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev;

	make_filled(spot, 4 * MIB);
	damage(spot, "store.000", 20);
	damage(spot, "store.001", PLACE_HEADER_COPY_BYTES + 60);
	dev = open_ok(spot->path, true);
	check_range(dev, 0, 4 * MIB, 1);
	sv_dev_close(dev);
	dev = open_ok(spot->path, false); /* writes the damaged copies anew */
	sv_dev_close(dev);
	damage(spot, "store.000", PLACE_HEADER_COPY_BYTES + 20);
	damage(spot, "store.001", 60);
	dev = open_ok(spot->path, true);
	check_range(dev, 0, 4 * MIB, 1);
	sv_dev_close(dev);
}

static void two_damaged_copies_are_refused(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev;

	make_filled(spot, 4 * MIB);
	damage(spot, "store.001", 20);
	damage(spot, "store.001", PLACE_HEADER_COPY_BYTES + 20);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
	damage(spot, "store.001", 20);
	dev = open_ok(spot->path, true);
	sv_dev_close(dev);
	damage(spot, "store.000", 2); /* no magic: not one of ours */
	damage(spot, "store.000", PLACE_HEADER_COPY_BYTES + 2);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EMEDIUMTYPE);
	damage(spot, "store.000", 2);
	damage(spot, "store.000", 100); /* one magic, but damaged */
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
}

static void rewrite_header(const struct spot *spot, const char *name,
			   void (*change)(struct place_header *header))
{
	static uint8_t area[PLACE_HEADER_AREA_BYTES];
	static struct place_header header;
	int fd = container_open(spot, name);
	bool whole[2];

	assert_int_equal(pread(fd, area, sizeof(area), 0), (ssize_t)sizeof(area));
	assert_int_equal(place_header_choose(area, &header, &whole), 0);
	change(&header);
	place_header_encode(&header, area);
	place_header_encode(&header, area + PLACE_HEADER_COPY_BYTES);
	assert_int_equal(pwrite(fd, area, sizeof(area), 0), (ssize_t)sizeof(area));
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void foreign_id(struct place_header *header)
{
	header->id[0] ^= 1;
}

static void wrong_base(struct place_header *header)
{
	header->base_bytes += SEGMENT;
}

static void unknown_feature(struct place_header *header)
{
	header->ro_compatible = 1;
}

static void members_must_belong_together(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev;

	make_filled(spot, 4 * MIB);
	rewrite_header(spot, "store.002", foreign_id);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
	rewrite_header(spot, "store.002", foreign_id);
	rewrite_header(spot, "store.003", wrong_base);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
}

/* As if the file's extents had been out of phase: the second segment is left alone. */
static void split_first_piece(struct place_header *header)
{
	struct place_piece whole = header->pieces[0];

	header->piece_count = 2;
	header->pieces[0].len_bytes = SEGMENT;
	header->pieces[1] =
		(struct place_piece){whole.file_bytes + 2 * SEGMENT, whole.len_bytes - 2 * SEGMENT};
}

static void pieces_follow_each_other(void **state)
{
	const struct spot *spot = *state;
	uint64_t size_bytes, *words = block_buffer(SEGMENT);
	struct sv_dev *dev;
	int fd;

	make_filled(spot, MIB / 2);
	rewrite_header(spot, "store.000", split_first_piece);
	dev = open_ok(spot->path, false);
	size_bytes = geometry_of(dev).size_bytes;
	write_range(dev, 0, size_bytes, 5);
	check_range(dev, 0, size_bytes, 5);
	assert_int_equal(sv_dev_flush(dev), 0);
	check_range(dev, SEGMENT - 4096, 8192, 5);
	sv_dev_close(dev);
	fd = container_open(spot, "store.000");
	for (uint64_t at = 0; at < MIB; at += 4096) { /* the gap still holds what it held */
		if (pread(fd, words, 4096, (off_t)(PLACE_HEADER_AREA_BYTES + at)) == 4096 &&
		    words[0] == (SEGMENT ^ UINT64_C(1) << 48))
			break;
		assert_true(at < MIB - 4096);
	}
	close(fd);
	free(words);
}

static void a_feature_may_forbid_writing(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev;

	make_filled(spot, MIB);
	rewrite_header(spot, "store.000", unknown_feature);
	assert_int_equal(sv_place_open(spot->path, false, &dev), -EPROTONOSUPPORT);
	dev = open_ok(spot->path, true);
	check_range(dev, 0, MIB / 2, 1);
	sv_dev_close(dev);
}

static void a_missing_or_cut_container_is_damage(void **state)
{
	const struct spot *spot = *state;
	char path[300], aside[300];
	struct sv_dev *dev;

	make_filled(spot, 4 * MIB);
	container_path(spot, "store.002", &path);
	snprintf(aside, sizeof(aside), "%s/aside", spot->base);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
	assert_int_equal(rename(aside, path), 0);
	dev = open_ok(spot->path, true);
	sv_dev_close(dev);
	assert_int_equal(truncate(path, 200 * 1024), 0);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
}

/* What a cut may leave of a growth that had not returned, it must not keep from opening. */
static void an_interrupted_growth_is_taken_up(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev;
	uint64_t size_bytes;
	char path[300];
	struct stat st;
	int fd;

	assert_int_equal(sv_place_create(spot->path, &small_params), 0);
	dev = open_ok(spot->path, false);
	assert_int_equal(sv_dev_grow(dev, 5 * SEGMENT), 0);
	size_bytes = geometry_of(dev).size_bytes;
	write_range(dev, 0, size_bytes, 1);
	sv_dev_close(dev);
	container_path(spot, "store.000", &path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size + 300 * 1024), 0); /* longer than its pieces */
	fd = container_open(spot, "store.new"); /* a container that was being made */
	assert_int_equal(pwrite(fd, "half", 4, 0), 4);
	close(fd);
	fd = container_open(spot, "store.001"); /* and one whose header never came */
	assert_int_equal(ftruncate(fd, 65536), 0);
	close(fd);
	dev = open_ok(spot->path, false);
	assert_int_equal(geometry_of(dev).size_bytes, size_bytes);
	assert_int_equal(sv_dev_grow(dev, 3 * MIB), 0);
	write_range(dev, size_bytes, 3 * MIB - size_bytes, 1);
	check_range(dev, 0, 3 * MIB, 1);
	sv_dev_close(dev);
	dev = open_ok(spot->path, true);
	check_range(dev, 0, 3 * MIB, 1);
	sv_dev_close(dev);
}

/* Opens the place in a child, says so through a pipe, and waits for the end of another. */
static pid_t hold_in_child(const char *path, bool read_only, int *ret_hold_fd)
{
	int said[2], hold[2];
	char word = 'n';
	pid_t pid;

	assert_int_equal(pipe(said), 0);
	assert_int_equal(pipe(hold), 0);
	pid = fork();
	if (pid == 0) {
		struct sv_dev *dev;

		close(hold[1]);
		word = sv_place_open(path, read_only, &dev) == 0 ? 'y' : 'n';
		if (write(said[1], &word, 1) == 1)
			(void)!read(hold[0], &word, 1);
		_exit(0); /* without closing: as a crash would */
	}
	close(said[1]);
	close(hold[0]);
	assert_int_equal(read(said[0], &word, 1), 1);
	close(said[0]);
	assert_int_equal(word, 'y');
	*ret_hold_fd = hold[1];
	return pid;
}

static void release_child(pid_t pid, int hold_fd)
{
	close(hold_fd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_writer_is_alone(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev, *second;
	int hold_fd;
	pid_t pid;

	make_filled(spot, MIB);
	pid = hold_in_child(spot->path, false, &hold_fd);
	assert_int_equal(sv_place_open(spot->path, false, &dev), -EBUSY);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBUSY);
	assert_int_equal(sv_place_remove(spot->path), -EBUSY);
	release_child(pid, hold_fd);
	dev = open_ok(spot->path, false); /* the dead hold nothing */
	assert_int_equal(sv_place_open(spot->path, false, &second), -EBUSY);
	sv_dev_close(dev);
}

static void readers_share(void **state)
{
	const struct spot *spot = *state;
	struct sv_dev *dev, *writer;
	int hold_fd;
	pid_t pid;

	make_filled(spot, MIB);
	pid = hold_in_child(spot->path, true, &hold_fd);
	dev = open_ok(spot->path, true);
	check_range(dev, 0, MIB / 2, 1);
	assert_int_equal(sv_place_open(spot->path, false, &writer), -EBUSY);
	release_child(pid, hold_fd);
	sv_dev_close(dev);
	dev = open_ok(spot->path, false);
	sv_dev_close(dev);
}

static void removal_takes_all_but_what_is_not_ours(void **state)
{
	const struct spot *spot = *state;
	char path[300];
	int fd;

	make_filled(spot, 4 * MIB);
	fd = container_open(spot, "store.new");
	close(fd);
	fd = container_open(spot, "notes.txt");
	close(fd);
	assert_int_equal(sv_place_remove(spot->path), -ENOTEMPTY);
	container_path(spot, "store.003", &path);
	assert_int_equal(access(path, F_OK), -1);
	container_path(spot, "notes.txt", &path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(sv_place_remove(spot->path), 0);
	assert_int_equal(sv_place_remove(spot->path), -ENOENT);
}

static void a_file_serves_as_a_raw_device(void **state)
{
	const struct spot *spot = *state;
	struct sv_place_params params = {.segment_bytes = MIB};
	struct sv_geometry geometry;
	struct sv_dev *dev;
	int fd = open(spot->path, O_RDWR | O_CREAT, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)(MIB + MIB / 2)), 0);
	assert_int_equal(sv_place_create(spot->path, &params), -ENOSPC);
	assert_int_equal(ftruncate(fd, (off_t)(9 * MIB)), 0);
	assert_int_equal(sv_place_open(spot->path, false, &dev), -EMEDIUMTYPE);
	assert_int_equal(sv_place_create(spot->path, &params), 0);
	assert_int_equal(sv_place_create(spot->path, &params), -EEXIST);
	dev = open_ok(spot->path, false);
	geometry = geometry_of(dev);
	assert_string_equal(dev->kind, "raw");
	assert_int_equal(geometry.size_bytes, 8 * MIB);
	assert_int_equal(geometry.max_bytes, 8 * MIB);
	assert_false(geometry.alignment_known);
	assert_false(geometry.first_write_costs);
	assert_int_equal(sv_dev_grow(dev, 8 * MIB), 0);
	assert_int_equal(sv_dev_grow(dev, 9 * MIB), -ENOSPC);
	write_range(dev, 0, 8 * MIB, 4);
	assert_int_equal(sv_dev_discard(dev, 0, MIB), 0);
	assert_int_equal(sv_dev_flush(dev), 0);
	sv_dev_close(dev);
	dev = open_ok(spot->path, true);
	check_range(dev, MIB, 7 * MIB, 4);
	assert_int_equal(sv_place_remove(spot->path), -EBUSY);
	sv_dev_close(dev);
	assert_int_equal(sv_place_remove(spot->path), 0);
	assert_int_equal(sv_place_remove(spot->path), -EMEDIUMTYPE);
	assert_int_equal(sv_place_create(spot->path, &params), 0);
	assert_int_equal(ftruncate(fd, (off_t)(5 * MIB)), 0);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SPOT_TEST(fresh_place_is_empty),
		SPOT_TEST(params_are_judged),
		SPOT_TEST(settles_where_times_are_written),
		SPOT_TEST(grows_writes_and_reads_back),
		SPOT_TEST(small_requests_reach_their_sectors),
		SPOT_TEST(max_bytes_is_a_limit),
		SPOT_TEST(one_damaged_header_copy_is_mended),
		SPOT_TEST(two_damaged_copies_are_refused),
		SPOT_TEST(members_must_belong_together),
		SPOT_TEST(pieces_follow_each_other),
		SPOT_TEST(a_feature_may_forbid_writing),
		SPOT_TEST(a_missing_or_cut_container_is_damage),
		SPOT_TEST(an_interrupted_growth_is_taken_up),
		SPOT_TEST(a_writer_is_alone),
		SPOT_TEST(readers_share),
		SPOT_TEST(removal_takes_all_but_what_is_not_ours),
		SPOT_TEST(a_file_serves_as_a_raw_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
