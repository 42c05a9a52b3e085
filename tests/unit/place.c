/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place.c: a place is laid out, grown, written, locked, damaged, and read back. */
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
#include "prng.h"

/*
 * Runs in a folder of its own under $STICKVM_TEST_DIR (default /tmp), so that tests/cli/place_fs.sh
 * can run it on any file system. What needs a special one is asked for by name:
 *   STICKVM_TEST_SMALL=1      the file system is small: fill it up
 *   STICKVM_TEST_IMAGE=FILE   it lies in this image of a whole medium: look where segments are
 *   STICKVM_TEST_RAW=DEVICE   a block device to lay a raw place out on
 *   STICKVM_TEST_STEADY=KIND  measure what a flush costs on ext4, exfat, ntfs or raw
 *   STICKVM_TEST_READ_ONLY=DIR  a place on a file system that is mounted read-only
 */
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define SEGMENT (64 * KIB)

struct spot {
	char base[200]; /* a fresh folder */
	char path[240]; /* a place in it, not made yet */
};

static const struct sv_place_params small_params = {
	.segment_bytes = SEGMENT,
	.page_bytes = 16 * KIB,
	.erase_bytes = 32 * KIB,
	.open_units = 3,
	.container_bytes = MIB,
};

static int enter_spot(void **state)
{
	struct spot *spot = calloc(1, sizeof(*spot));
	const char *where = getenv("STICKVM_TEST_DIR");

	snprintf(spot->base, sizeof(spot->base), "%s/place.XXXXXX", where ? where : "/tmp");
	if (mkdtemp(spot->base) == NULL)
		return -1;
	snprintf(spot->path, sizeof(spot->path), "%s/disk", spot->base);
	*state = spot;
	return 0;
}

static int leave_spot(void **state)
{
	struct spot *spot = *state;
	int r = sv_place_remove(spot->path);

	if (r < 0 && r != -ENOENT && r != -ENOTDIR)
		return -1;
	unlink(spot->path);
	r = rmdir(spot->base);
	free(spot);
	return r;
}

static struct sv_dev *open_ok(const char *path, bool read_only)
{
	struct sv_dev *dev = NULL;

	assert_int_equal(sv_place_open(path, read_only, &dev), 0);
	return dev;
}

static struct sv_geometry geometry_of(struct sv_dev *dev)
{
	struct sv_geometry geometry;

	assert_int_equal(sv_dev_geometry(dev, &geometry), 0);
	return geometry;
}

static void *block_buffer(size_t len_bytes)
{
	void *buf = aligned_alloc(4096, len_bytes);

	assert_non_null(buf);
	return buf;
}

/* Content that says where it belongs. */
static void fill_from(void *buf, size_t len_bytes, uint64_t off_bytes, uint64_t version)
{
	uint64_t *words = buf;

	for (size_t i = 0; i < len_bytes / 8; i++)
		words[i] = (off_bytes + i * 8) ^ version << 48;
}

static void write_range(struct sv_dev *dev, uint64_t off_bytes, size_t len_bytes, uint64_t version)
{
	void *buf = block_buffer(len_bytes);

	fill_from(buf, len_bytes, off_bytes, version);
	assert_int_equal(sv_dev_write(dev, buf, len_bytes, off_bytes), 0);
	free(buf);
}

static void check_range(struct sv_dev *dev, uint64_t off_bytes, size_t len_bytes, uint64_t version)
{
	void *want = block_buffer(len_bytes), *got = block_buffer(len_bytes);

	fill_from(want, len_bytes, off_bytes, version);
	assert_int_equal(sv_dev_read(dev, got, len_bytes, off_bytes), 0);
	assert_memory_equal(want, got, len_bytes);
	free(want);
	free(got);
}

/* A place that has grown to `size_bytes`, every byte of it written and flushed. */
static void make_filled(const struct spot *spot, uint64_t size_bytes)
{
	struct sv_dev *dev;

	assert_int_equal(sv_place_create(spot->path, &small_params), 0);
	dev = open_ok(spot->path, false);
	assert_int_equal(sv_dev_grow(dev, size_bytes), 0);
	for (uint64_t at = 0; at < size_bytes; at += 8 * SEGMENT)
		write_range(dev, at, 8 * SEGMENT, 1);
	assert_int_equal(sv_dev_flush(dev), 0);
	sv_dev_close(dev);
}

static void container_path(const struct spot *spot, const char *name, char (*ret_path)[300])
{
	snprintf(*ret_path, sizeof(*ret_path), "%s/%s", spot->path, name);
}

static int container_open(const struct spot *spot, const char *name)
{
	char path[300];
	int fd;

	container_path(spot, name, &path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	return fd;
}

static void damage(const struct spot *spot, const char *name, uint64_t off_bytes)
{
	int fd = container_open(spot, name);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)off_bytes), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)off_bytes), 1);
	assert_int_equal(fsync(fd), 0);
	close(fd);
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

#define SPOT_TEST(name) cmocka_unit_test_setup_teardown(name, enter_spot, leave_spot)

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
	const struct CMUnitTest tests[] = {
		SPOT_TEST(fresh_place_is_empty),
		SPOT_TEST(params_are_judged),
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
		SPOT_TEST(threads_work_while_it_grows),
	};
	int r = special_tests();

	return r >= 0 ? r : cmocka_run_group_tests(tests, NULL, NULL);
}
