/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev.c: the device in memory, and the decorators that the other tests rely on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_count.h"
#include "dev_faulty.h"
#include "dev_ram.h"
#include "prng.h"

#define MIB (UINT64_C(1) << 20)

static struct sv_dev *ram_new(uint64_t size_bytes, uint64_t max_bytes)
{
	struct sv_geometry geometry = {.size_bytes = size_bytes, .max_bytes = max_bytes};
	struct sv_dev *dev;

	assert_int_equal(sv_dev_ram_create(&geometry, &dev), 0);
	return dev;
}

static void ram_keeps_and_grows(void **state)
{
	struct sv_dev *dev = ram_new(MIB, UINT64_C(1) << 40);
	struct sv_geometry geometry;
	_Alignas(512) uint8_t wrote[4096], got[4096];
	struct prng rng = {1};

	(void)state;
	prng_fill(&rng, wrote, sizeof(wrote));
	assert_int_equal(sv_dev_write(dev, wrote, sizeof(wrote), MIB - 4096), 0);
	assert_int_equal(sv_dev_grow(dev, UINT64_C(1) << 39), 0);
	assert_int_equal(sv_dev_write(dev, wrote, 512, (UINT64_C(1) << 39) - 512), 0);
	assert_int_equal(sv_dev_read(dev, got, sizeof(got), MIB - 4096), 0);
	assert_memory_equal(wrote, got, sizeof(got));
	assert_int_equal(sv_dev_read(dev, got, 512, (UINT64_C(1) << 39) - 512), 0);
	assert_memory_equal(wrote, got, 512);
	assert_int_equal(sv_dev_grow(dev, UINT64_C(1) << 41), -ENOSPC);
	assert_int_equal(sv_dev_geometry(dev, &geometry), 0);
	assert_int_equal(geometry.size_bytes, UINT64_C(1) << 39);
	assert_int_equal(geometry.max_bytes, UINT64_C(1) << 40);
	assert_int_equal(geometry.sector_bytes, 512);
	assert_int_equal(sv_dev_discard(dev, MIB - 4096, 4096), 0);
	assert_int_equal(sv_dev_flush(dev), 0);
	sv_dev_close(dev);
	sv_dev_close(NULL);
}

static void count_counts(void **state)
{
	struct dev_counts counts = {0};
	struct sv_dev *dev = dev_count_create(ram_new(MIB, 2 * MIB), &counts);
	_Alignas(512) uint8_t bytes[1024] = {0};

	(void)state;
	assert_int_equal(sv_dev_write(dev, bytes, 1024, 0), 0);
	assert_int_equal(sv_dev_write(dev, bytes, 512, 512), 0);
	assert_int_equal(sv_dev_read(dev, bytes, 512, 0), 0);
	assert_int_equal(sv_dev_flush(dev), 0);
	assert_int_equal(sv_dev_discard(dev, 0, 4096), 0);
	assert_int_equal(sv_dev_grow(dev, 2 * MIB), 0);
	assert_int_equal(counts.writes, 2);
	assert_int_equal(counts.write_bytes, 1536);
	assert_int_equal(counts.reads, 1);
	assert_int_equal(counts.read_bytes, 512);
	assert_int_equal(counts.flushes, 1);
	assert_int_equal(counts.discard_bytes, 4096);
	assert_int_equal(counts.grows, 1);
	sv_dev_close(dev);
}

static void faulty_fails_once_or_for_good(void **state)
{
	struct dev_faulty faults = {0};
	struct sv_dev *dev = dev_faulty_create(ram_new(MIB, MIB), &faults);
	_Alignas(512) uint8_t ones[1024], got[1024];

	(void)state;
	memset(ones, 1, sizeof(ones));
	faults.rules[DEV_FAULTY_WRITE] = (struct dev_faulty_rule){.nth = 2, .error = EIO};
	faults.rules[DEV_FAULTY_FLUSH] =
		(struct dev_faulty_rule){.nth = 1, .for_good = true, .error = ENODEV};
	assert_int_equal(sv_dev_write(dev, ones, 1024, 0), 0);
	assert_int_equal(sv_dev_write(dev, ones, 1024, 4096), -EIO);
	assert_int_equal(sv_dev_write(dev, ones, 1024, 8192), 0);
	assert_int_equal(sv_dev_flush(dev), -ENODEV);
	assert_int_equal(sv_dev_flush(dev), -ENODEV);
	assert_int_equal(faults.rules[DEV_FAULTY_FLUSH].failed, 2);
	assert_int_equal(sv_dev_read(dev, got, 1024, 4096), 0);
	assert_memory_equal(got, ones, 512); /* half of the failed write arrived */
	assert_int_equal(got[512], 0);
	sv_dev_close(dev);
}

static void faulty_flips_and_bad_blocks(void **state)
{
	struct dev_faulty faults = {0};
	struct sv_dev *dev = dev_faulty_create(ram_new(MIB, MIB), &faults);
	_Alignas(512) uint8_t got[1024];

	(void)state;
	faults.flips[0].off_bytes = 700;
	faults.flips[0].mask = 0x10;
	faults.bad_off_bytes = 8192;
	faults.bad_len_bytes = 512;
	assert_int_equal(sv_dev_read(dev, got, 1024, 0), 0);
	assert_int_equal(got[700], 0x10);
	assert_int_equal(got[699] | got[701], 0);
	assert_int_equal(sv_dev_read(dev, got, 512, 0), 0);
	assert_int_equal(sv_dev_read(dev, got, 1024, 7680), -EIO);
	assert_int_equal(sv_dev_read(dev, got, 512, 7680), 0);
	assert_int_equal(sv_dev_read(dev, got, 512, 8704), 0);
	sv_dev_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ram_keeps_and_grows),
		cmocka_unit_test(count_counts),
		cmocka_unit_test(faulty_fails_once_or_for_good),
		cmocka_unit_test(faulty_flips_and_bad_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
