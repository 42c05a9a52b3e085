/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flashsim_media.c: fakes, sparse sizes, backing files, and recordings that replay to the image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsim_random.h"
#include "stick.h"

#define MIB (UINT64_C(1) << 20)
#define SECTOR 512u

static struct fsim_stick *make_stick(const struct fsim_config *config, uint64_t *ret_handle)
{
	struct fsim_stick *stick;
	assert_int_equal(fsim_stick_new(config, &stick), 0);
	assert_int_equal(fsim_stick_open(stick, ret_handle), 0);
	return stick;
}

/* Writes the number of each MiB at its start, then says what every MiB reads as (0: lost). */
static void probe_fake(enum fsim_fake fake, uint64_t real, uint64_t wrap, uint64_t found[16])
{
	struct fsim_config config = {
		.profile = fsim_profile_find("P2"),
		.size_bytes = 16 * MIB,
		.fake = fake,
		.real_bytes = real,
		.wrap_bytes = wrap,
	};
	uint64_t handle, sector[SECTOR / 8] = {0};
	struct fsim_stick *stick = make_stick(&config, &handle);
	for (uint64_t i = 0; i < 16; i++) {
		sector[0] = i + 1;
		assert_int_equal(fsim_stick_write(stick, handle, sector, SECTOR, i * MIB), 0);
	}
	for (uint64_t i = 0; i < 16; i++) {
		assert_int_equal(fsim_stick_read(stick, handle, sector, SECTOR, i * MIB), 0);
		found[i] = sector[0];
	}
	assert_true((fsim_stick_peek(stick, SECTOR, 0) != NULL) == (fake == FSIM_GOOD));
	fsim_stick_free(stick);
}

static void fakes(void **state)
{
	uint64_t found[16];
	(void)state;
	probe_fake(FSIM_GOOD, 0, 0, found);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(found[i], i + 1);
	probe_fake(FSIM_BAD, 0, 0, found);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(found[i], 0);
	probe_fake(FSIM_LIMBO, 5 * MIB, 0, found);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(found[i], i < 5 ? i + 1 : 0);
	probe_fake(FSIM_WRAPAROUND, 4 * MIB, 0, found);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(found[i], 12 + i % 4 + 1);
	probe_fake(FSIM_CHAIN, 5 * MIB, 8 * MIB, found);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(found[i], i % 8 < 5 ? 8 + i % 8 + 1 : 0);
}

static void bad_configurations(void **state)
{
	struct fsim_config config = {.profile = fsim_profile_find("P2"), .size_bytes = 16 * MIB};
	struct fsim_stick *stick;
	(void)state;
	config.fake = FSIM_WRAPAROUND;
	config.real_bytes = 5 * MIB;
	assert_int_equal(fsim_stick_new(&config, &stick), -EINVAL);
	config.fake = FSIM_LIMBO;
	config.real_bytes = 32 * MIB;
	assert_int_equal(fsim_stick_new(&config, &stick), -EINVAL);
	config.fake = FSIM_GOOD;
	config.size_bytes = 4096;
	assert_int_equal(fsim_stick_new(&config, &stick), -EINVAL);
}

static void requests_out_of_range(void **state)
{
	struct fsim_config config = {.profile = fsim_profile_find("P2"), .size_bytes = 16 * MIB};
	uint64_t handle;
	uint8_t buf[1024];
	struct fsim_stick *stick = make_stick(&config, &handle);
	(void)state;
	assert_int_equal(fsim_stick_write(stick, handle, buf, SECTOR, 16 * MIB), -EINVAL);
	assert_int_equal(fsim_stick_write(stick, handle, buf, 1024, 16 * MIB - SECTOR), -EINVAL);
	assert_int_equal(fsim_stick_write(stick, handle, buf, 100, 0), -EINVAL);
	assert_int_equal(fsim_stick_read(stick, handle, buf, SECTOR, 100), -EINVAL);
	fsim_stick_free(stick);
}

static long resident_kib(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

/* The largest stick there is costs no more than what is written on it. */
static void large_is_sparse(void **state)
{
	struct fsim_config config = {.profile = fsim_profile_find("P7")};
	uint64_t handle, seed = 1;
	static uint8_t buf[4096];
	long before = resident_kib();
	struct fsim_stick *stick = make_stick(&config, &handle);
	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(fsim_stick_write(stick, handle, buf, sizeof(buf),
						  fsim_random_below(&seed, 1000000) * 4096),
				 0);
	assert_true(fsim_stick_size(stick) > UINT64_C(255000000000));
	assert_true(resident_kib() - before < 64 * 1024);
	fsim_stick_free(stick);
}

static void backing_file_stays(void **state)
{
	char path[] = "/tmp/flashsim-backing-XXXXXX";
	uint8_t buf[SECTOR], got[SECTOR];
	struct stat st;
	uint64_t handle;
	(void)state;
	close(mkstemp(path));
	struct fsim_config config = {
		.profile = fsim_profile_find("P2"),
		.size_bytes = 64 * MIB,
		.backing_path = path,
	};
	struct fsim_stick *stick = make_stick(&config, &handle);
	memset(buf, 0x3c, sizeof(buf));
	assert_int_equal(fsim_stick_write(stick, handle, buf, SECTOR, 40 * MIB), 0);
	fsim_stick_free(stick);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 64 * MIB);
	assert_true(st.st_blocks * 512 < (off_t)MIB);
	stick = make_stick(&config, &handle);
	assert_int_equal(fsim_stick_read(stick, handle, got, SECTOR, 40 * MIB), 0);
	assert_memory_equal(got, buf, SECTOR);
	fsim_stick_free(stick);
	unlink(path);
}

/* A reader of the dm-log-writes format of its own, from the description of the format. */
static uint64_t get_u64(const uint8_t *from)
{
	uint64_t value;
	memcpy(&value, from, sizeof(value));
	return le64toh(value);
}

struct replayed {
	uint64_t writes, flushes, marks;
};

static void replay(const char *path, uint8_t *image, uint64_t image_bytes, const char *until_mark,
		   struct replayed *ret)
{
	uint8_t head[SECTOR];
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fread(head, SECTOR, 1, file), 1);
	assert_int_equal(get_u64(head), UINT64_C(0x6a736677736872));
	assert_int_equal(get_u64(head + 8), 1);
	assert_int_equal(get_u64(head + 24) & UINT32_MAX, SECTOR);
	*ret = (struct replayed){0};
	for (uint64_t left = get_u64(head + 16); left > 0; left--) {
		assert_int_equal(fread(head, SECTOR, 1, file), 1);
		uint64_t off = get_u64(head) * SECTOR, len = get_u64(head + 8) * SECTOR;
		uint64_t flags = get_u64(head + 16);
		ret->flushes += (flags & 1) != 0;
		ret->marks += (flags & 8) != 0;
		if (flags & 8 && until_mark != NULL && strcmp((char *)head + 32, until_mark) == 0)
			break;
		if (len == 0)
			continue;
		assert_true(off + len <= image_bytes);
		assert_int_equal(fread(image + off, len, 1, file), 1);
		ret->writes++;
	}
	if (until_mark == NULL)
		assert_int_equal(fgetc(file), EOF);
	fclose(file);
}

static void recording_replays(void **state)
{
	char path[] = "/tmp/flashsim-record-XXXXXX";
	const uint64_t size = 16 * MIB;
	struct fsim_config config = {.profile = fsim_profile_find("P2"), .size_bytes = size};
	uint64_t handle, seed = 23;
	uint8_t *image = calloc(1, size), *at_mark = malloc(size), *got = malloc(size);
	struct replayed seen;
	(void)state;
	close(mkstemp(path));
	struct fsim_stick *stick = make_stick(&config, &handle);
	assert_int_equal(fsim_stick_mark(stick, "too early"), -ENOENT);
	assert_int_equal(fsim_stick_record(stick, path), 0);
	for (int i = 0; i < 200; i++) {
		uint64_t words[1024], len = (1 + fsim_random_below(&seed, 16)) * SECTOR;
		uint64_t off = fsim_random_below(&seed, (size - len) / SECTOR) * SECTOR;
		for (size_t w = 0; w < 1024; w++)
			words[w] = fsim_random(&seed);
		assert_int_equal(fsim_stick_write(stick, handle, words, len, off), 0);
		if (i % 20 == 19)
			assert_int_equal(fsim_stick_flush(stick, handle), 0);
		if (i == 99) {
			assert_int_equal(fsim_stick_mark(stick, "half"), 0);
			assert_int_equal(fsim_stick_read(stick, handle, at_mark, size, 0), 0);
		}
	}
	assert_int_equal(fsim_stick_record(stick, NULL), 0);
	assert_int_equal(fsim_stick_read(stick, handle, got, size, 0), 0);
	replay(path, image, size, NULL, &seen);
	assert_int_equal(seen.writes, 200);
	assert_int_equal(seen.flushes, 10);
	assert_int_equal(seen.marks, 1);
	assert_memory_equal(image, got, size);
	memset(image, 0, size);
	replay(path, image, size, "half", &seen);
	assert_int_equal(seen.writes, 100);
	assert_memory_equal(image, at_mark, size);
	fsim_stick_free(stick);
	free(image);
	free(at_mark);
	free(got);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fakes),
		cmocka_unit_test(bad_configurations),
		cmocka_unit_test(requests_out_of_range),
		cmocka_unit_test(large_is_sparse),
		cmocka_unit_test(backing_file_stays),
		cmocka_unit_test(recording_replays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
