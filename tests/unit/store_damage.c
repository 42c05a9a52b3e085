/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_damage.c: a damaged byte anywhere gives the right data or an error, never other data. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "effort.h"
#include "prng.h"
#include "stickvm/place.h"
#include "stickvm/store.h"

/*
 * A disk is written over and over, with discards and cleaning, and closed. Then, in copies of its
 * medium, bytes are damaged one place at a time, and everything is read. For each block:
 *  - the newest content, or EIO; where the whole store is refused, an error is enough;
 *  - older content only if opening said that flushed batches are lost, as it may of the newest.
 * A failure prints the damaged offset.
 */
#define DISK_BYTES (UINT64_C(2) << 20)
#define PLACE_BYTES (UINT64_C(12) << 20)
#define BLOCKS (DISK_BYTES / SV_BLOCK_BYTES)
#define ROUNDS 1000

struct medium {
	char path[64];
	uint8_t *bytes; /* of the undamaged one */
	size_t size;
	uint32_t version[BLOCKS]; /* the newest of each block; 0: discarded */
};

struct counts {
	unsigned refused, errors, right, older;
};

/* What version `version` of a block holds: half of it noise, so that it is stored compressed. */
static void block_content(uint8_t *buf, uint64_t lba, uint32_t version)
{
	struct prng rng = {.state = lba << 32 | version};

	memset(buf, 0, SV_BLOCK_BYTES);
	if (version == 0)
		return;
	prng_fill(&rng, buf, SV_BLOCK_BYTES / (1 + lba % 2));
	memcpy(buf, &version, sizeof(version));
}

static struct sv_store *open_store(const char *path, bool read_only, int *ret_error)
{
	struct sv_open_options opts = {
		.read_only = read_only, .manual = true, .batch_bytes = 512u << 10, .host = "test"};
	struct sv_store *st = NULL;
	struct sv_dev *dev;

	*ret_error = sv_place_open(path, read_only, &dev);
	if (*ret_error < 0)
		return NULL;
	*ret_error = sv_store_open(dev, &opts, &st);
	if (*ret_error < 0) {
		sv_dev_close(dev);
		return NULL;
	}
	return st;
}

static void write_block(struct medium *m, struct sv_store *st, uint64_t lba, uint32_t version)
{
	uint8_t buf[SV_BLOCK_BYTES];

	block_content(buf, lba, version);
	assert_int_equal(sv_store_write(st, buf, sizeof(buf), lba * sizeof(buf)), 0);
	m->version[lba] = version;
}

/* Several times what the place holds: segments were cleaned and used again. */
static void live_a_life(struct medium *m, struct sv_store *st)
{
	struct prng rng = {.state = 11};
	unsigned cleaned;

	for (uint32_t step = 1; step <= 6000; step++) {
		uint64_t lba = prng_below(&rng, BLOCKS);

		write_block(m, st, lba, step);
		if (prng_one_in(&rng, 40)) {
			assert_int_equal(sv_store_discard(st, SV_BLOCK_BYTES, lba * SV_BLOCK_BYTES),
					 0);
			m->version[lba] = 0;
		}
		if (prng_one_in(&rng, 50))
			assert_int_equal(sv_store_flush(st), 0);
		if (prng_one_in(&rng, 300))
			assert_int_equal(sv_store_clean(st, 2, &cleaned), 0);
	}
}

static void read_medium(struct medium *m)
{
	int fd = open(m->path, O_RDONLY);

	assert_true(fd >= 0);
	m->size = (size_t)lseek(fd, 0, SEEK_END);
	m->bytes = malloc(m->size);
	assert_non_null(m->bytes);
	assert_int_equal(pread(fd, m->bytes, m->size, 0), m->size);
	close(fd);
}

static void make_medium(struct medium *m)
{
	struct sv_place_params place = {.segment_bytes = 64u << 10, .page_bytes = 4096};
	struct sv_format_params format = {.size_bytes = DISK_BYTES,
					  .segment_bytes = 64u << 10,
					  .page_bytes = 4096,
					  .lie_window_bytes = 128u << 10,
					  .checkpoint_bytes = 256u << 10};
	struct sv_store *st;
	struct sv_dev *dev;
	int error, fd;

	*m = (struct medium){.path = "/tmp/stickvm-damage.XXXXXX"};
	fd = mkstemp(m->path);
	assert_true(fd >= 0 && ftruncate(fd, PLACE_BYTES) == 0);
	close(fd);
	assert_int_equal(sv_place_create(m->path, &place), 0);
	assert_int_equal(sv_place_open(m->path, false, &dev), 0);
	assert_int_equal(sv_store_format(dev, &format), 0);
	sv_dev_close(dev);
	st = open_store(m->path, false, &error);
	assert_non_null(st);
	live_a_life(m, st);
	assert_int_equal(sv_store_close(st), 0);
	read_medium(m);
}

static void free_medium(struct medium *m)
{
	unlink(m->path);
	free(m->bytes);
}

static void put_bytes(const struct medium *m, const uint8_t *bytes, size_t len_bytes,
		      uint64_t off_bytes)
{
	int fd = open(m->path, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len_bytes, (off_t)off_bytes), len_bytes);
	close(fd);
}

/* A bit of one byte, or a sector of noise; false where that is what was there. */
static bool damage(const struct medium *m, uint64_t off_bytes, size_t len_bytes, struct prng *rng)
{
	uint8_t bad[512];

	memcpy(bad, m->bytes + off_bytes, len_bytes);
	if (len_bytes == 1)
		bad[0] ^= (uint8_t)(1u << prng_below(rng, 8));
	else
		prng_fill(rng, bad, len_bytes);
	put_bytes(m, bad, len_bytes, off_bytes);
	return memcmp(bad, m->bytes + off_bytes, len_bytes) != 0;
}

static bool check_block(const struct medium *m, struct sv_store *st, uint64_t lba, bool may_be_old,
			struct counts *counts)
{
	uint8_t got[SV_BLOCK_BYTES], want[SV_BLOCK_BYTES];
	int r = sv_store_read(st, got, sizeof(got), lba * sizeof(got));
	uint32_t version;

	if (r < 0) {
		counts->errors++;
		return r == -EIO;
	}
	block_content(want, lba, m->version[lba]);
	if (memcmp(got, want, sizeof(want)) == 0) {
		counts->right++;
		return true;
	}
	memcpy(&version, got, sizeof(version));
	block_content(want, lba, version);
	counts->older++;
	if (may_be_old && memcmp(got, want, sizeof(want)) == 0)
		return true;
	print_error("block %" PRIu64 " has version %" PRIu32 ", not %" PRIu32 "\n", lba, version,
		    m->version[lba]);
	return false;
}

static void check_disk(const struct medium *m, uint64_t off_bytes, struct counts *counts)
{
	struct sv_recovery recovery;
	int error;
	struct sv_store *st = open_store(m->path, true, &error);

	if (!st) {
		counts->refused++;
		return;
	}
	sv_store_recovery(st, &recovery);
	for (uint64_t lba = 0; lba < BLOCKS; lba++)
		if (!check_block(m, st, lba, recovery.lost_flushed_batches > 0, counts))
			fail_msg("after damage at %" PRIu64 " of %s", off_bytes, m->path);
	sv_store_abandon(st);
}

static void damage_anywhere(void **state)
{
	static const size_t lens[] = {1, 512};
	struct prng rng = {.state = 12};
	struct counts counts = {0};
	struct medium m;

	(void)state;
	make_medium(&m);
	check_disk(&m, 0, &counts);
	assert_int_equal(counts.right, BLOCKS);
	for (unsigned round = 0; round < ROUNDS / effort_step(); round++) {
		size_t len = lens[round % 2];
		uint64_t off = prng_below(&rng, m.size / 512) * 512;

		if (len == 1)
			off += prng_below(&rng, 512);
		if (damage(&m, off, len, &rng))
			check_disk(&m, off, &counts);
		put_bytes(&m, m.bytes + off, len, off); /* reading changed nothing else */
	}
	print_message("store_damage: blocks right %u, errors %u, older and said so %u; refused %u "
		      "times\n",
		      counts.right, counts.errors, counts.older, counts.refused);
	assert_true(counts.errors > 0); /* the damage does hit what is in use */
	free_medium(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(damage_anywhere)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
