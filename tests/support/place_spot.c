/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_spot.c: a fresh folder for the tests of places, and what they do with one. */
#include "place_spot.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

const struct sv_place_params small_params = {
	.segment_bytes = SEGMENT,
	.page_bytes = 16 * KIB,
	.erase_bytes = 32 * KIB,
	.open_units = 3,
	.container_bytes = MIB,
};

int enter_spot(void **state)
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

int leave_spot(void **state)
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

struct sv_dev *open_ok(const char *path, bool read_only)
{
	struct sv_dev *dev = NULL;

	assert_int_equal(sv_place_open(path, read_only, &dev), 0);
	return dev;
}

struct sv_geometry geometry_of(struct sv_dev *dev)
{
	struct sv_geometry geometry;

	assert_int_equal(sv_dev_geometry(dev, &geometry), 0);
	return geometry;
}

void *block_buffer(size_t len_bytes)
{
	void *buf = aligned_alloc(4096, (len_bytes + 4095) / 4096 * 4096);

	assert_non_null(buf);
	return buf;
}

/* Content that says where it belongs. */
void fill_from(void *buf, size_t len_bytes, uint64_t off_bytes, uint64_t version)
{
	uint64_t *words = buf;

	for (size_t i = 0; i < len_bytes / 8; i++)
		words[i] = (off_bytes + i * 8) ^ version << 48;
}

void write_range(struct sv_dev *dev, uint64_t off_bytes, size_t len_bytes, uint64_t version)
{
	void *buf = block_buffer(len_bytes);

	fill_from(buf, len_bytes, off_bytes, version);
	assert_int_equal(sv_dev_write(dev, buf, len_bytes, off_bytes), 0);
	free(buf);
}

void check_range(struct sv_dev *dev, uint64_t off_bytes, size_t len_bytes, uint64_t version)
{
	void *want = block_buffer(len_bytes), *got = block_buffer(len_bytes);

	fill_from(want, len_bytes, off_bytes, version);
	assert_int_equal(sv_dev_read(dev, got, len_bytes, off_bytes), 0);
	assert_memory_equal(want, got, len_bytes);
	free(want);
	free(got);
}

/* A place that has grown to `size_bytes`, every byte of it written and flushed. */
void make_filled(const struct spot *spot, uint64_t size_bytes)
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

void container_path(const struct spot *spot, const char *name, char (*ret_path)[300])
{
	snprintf(*ret_path, sizeof(*ret_path), "%s/%s", spot->path, name);
}

int container_open(const struct spot *spot, const char *name)
{
	char path[300];
	int fd;

	container_path(spot, name, &path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	return fd;
}

void damage(const struct spot *spot, const char *name, uint64_t off_bytes)
{
	int fd = container_open(spot, name);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, (off_t)off_bytes), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)off_bytes), 1);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}
