/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_fat.c: a place on FAT32: no file of 4 GiB, nothing reserved, no holes.
 *
 * FAT32 is played by this process: the file system says that it is FAT (statfs), reserving is
 * refused (and a hole would show in the blocks), and files end at 4 GiB - 1 (RLIMIT_FSIZE).
 *
 * test-link: -Wl,--wrap=fstatfs64,--wrap=fallocate64
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cmocka.h>

#include "place_spot.h"

#define FAT_LARGEST ((UINT64_C(4) << 30) - 1)

static bool is_fat; /* else only the limit is FAT's: 5 GiB of zeros take too long to write */

int __real_fstatfs64(int fd, struct statfs64 *ret_fs);
int __wrap_fstatfs64(int fd, struct statfs64 *ret_fs);
int __real_fallocate64(int fd, int mode, off64_t off, off64_t len);
int __wrap_fallocate64(int fd, int mode, off64_t off, off64_t len);

int __wrap_fstatfs64(int fd, struct statfs64 *ret_fs)
{
	const int r = __real_fstatfs64(fd, ret_fs);

	if (r == 0 && is_fat)
		ret_fs->f_type = MSDOS_SUPER_MAGIC;
	return r;
}

int __wrap_fallocate64(int fd, int mode, off64_t off, off64_t len)
{
	if (!is_fat)
		return __real_fallocate64(fd, mode, off, len);
	errno = EOPNOTSUPP;
	return -1;
}

static unsigned containers(const struct spot *spot, uint64_t *ret_largest, uint64_t *ret_holes)
{
	unsigned count = 0;

	*ret_largest = *ret_holes = 0;
	for (;; count++) {
		char name[32], path[300];
		struct stat st;

		snprintf(name, sizeof(name), "store.%03u", count);
		container_path(spot, name, &path);
		if (stat(path, &st) < 0)
			return count;
		if ((uint64_t)st.st_size > *ret_largest)
			*ret_largest = (uint64_t)st.st_size;
		if (st.st_blocks * 512 < st.st_size)
			*ret_holes += (uint64_t)(st.st_size - st.st_blocks * 512);
	}
}

static void no_file_reaches_4_gib(void **state)
{
	const struct spot *spot = *state;
	const struct sv_place_params params = {.segment_bytes = 8 * MIB};
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	const struct rlimit fat = {FAT_LARGEST, RLIM_INFINITY};
	const uint64_t size_bytes = 5 * KIB * MIB;
	uint64_t largest, holes;
	struct rlimit old;
	struct sv_dev *dev;

	is_fat = false;
	sigaction(SIGXFSZ, &ignore, NULL); /* EFBIG, as FAT says it */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &fat), 0);
	assert_int_equal(sv_place_create(spot->path, &params), 0);
	dev = open_ok(spot->path, false);
	assert_int_equal(sv_dev_grow(dev, size_bytes), 0);
	assert_int_equal(containers(spot, &largest, &holes), 2);
	assert_true(largest <= FAT_LARGEST);
	assert_true(largest > FAT_LARGEST - 16 * MIB); /* not many small ones */
	for (uint64_t off = 0; off < size_bytes; off += 500 * MIB)
		write_range(dev, off, 64 * KIB, 1);
	write_range(dev, largest - 8 * MIB, 16 * MIB, 2); /* from one file into the next */
	assert_int_equal(sv_dev_flush(dev), 0);
	sv_dev_close(dev);
	dev = open_ok(spot->path, false);
	check_range(dev, 500 * MIB, 64 * KIB, 1);
	check_range(dev, largest - 8 * MIB, 16 * MIB, 2);
	sv_dev_close(dev);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
}

static void what_cannot_be_reserved_is_written(void **state)
{
	const struct spot *spot = *state;
	uint64_t largest, holes;
	struct sv_dev *dev;

	is_fat = true;
	assert_int_equal(sv_place_create(spot->path, &small_params), 0);
	dev = open_ok(spot->path, false);
	assert_int_equal(sv_dev_grow(dev, 3 * MIB), 0);
	assert_true(containers(spot, &largest, &holes) > 2);
	assert_int_equal(holes, 0);
	assert_false(geometry_of(dev).first_write_costs);
	write_range(dev, 0, 3 * MIB, 1);
	assert_int_equal(sv_dev_flush(dev), 0);
	assert_int_equal(sv_dev_grow(dev, 6 * MIB), 0);
	sv_dev_close(dev);
	(void)containers(spot, &largest, &holes);
	assert_int_equal(holes, 0);
	dev = open_ok(spot->path, true);
	check_range(dev, 0, 3 * MIB, 1);
	sv_dev_close(dev);
	is_fat = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SPOT_TEST(no_file_reaches_4_gib),
		SPOT_TEST(what_cannot_be_reserved_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
