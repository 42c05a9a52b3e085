/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_ram.c: expanded units in memory: bounded, of their generation, and not for scans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cache_ram.h"
#include "prng.h"

#define BLOCK 4096u
#define UNIT_BLOCKS 16u

/* What block i of a unit holds. */
static void block_of(uint64_t place, uint64_t generation, unsigned i, uint8_t *ret_block)
{
	struct prng rng = {place * 31 + generation * 1000003 + i};

	prng_fill(&rng, ret_block, BLOCK);
}

static void put(struct sv_ram_cache *c, uint64_t place, uint64_t generation, unsigned blocks)
{
	static uint8_t data[64 * BLOCK];

	for (unsigned i = 0; i < blocks; i++)
		block_of(place, generation, i, data + (size_t)i * BLOCK);
	sv_ram_put(c, place, generation, blocks, data, 0, 1);
}

static bool get(struct sv_ram_cache *c, uint64_t place, uint64_t generation, unsigned i)
{
	uint8_t got[BLOCK], want[BLOCK];

	if (!sv_ram_get(c, place, generation, i, got))
		return false;
	block_of(place, generation, i, want);
	assert_memory_equal(got, want, BLOCK);
	return true;
}

static void a_generation_is_not_another(void **state)
{
	struct sv_ram_cache c;

	(void)state;
	assert_int_equal(sv_ram_init(&c, 1 << 20), 0);
	put(&c, 160, 1, 4);
	assert_true(get(&c, 160, 1, 3));
	assert_false(get(&c, 160, 1, 4)); /* it has four */
	assert_false(get(&c, 160, 2, 3));
	assert_false(get(&c, 176, 1, 3));
	put(&c, 160, 2, 5);
	assert_true(get(&c, 160, 2, 4));
	assert_true(get(&c, 160, 1, 3));
	sv_ram_free(&c);
}

static void memory_is_bounded(void **state)
{
	struct prng rng = {1};
	struct sv_ram_cache c;
	unsigned hits = 0;

	(void)state;
	assert_int_equal(sv_ram_init(&c, 1 << 20), 0);
	for (unsigned n = 0; n < 5000; n++) {
		uint64_t place = prng_below(&rng, 100) * 16;
		unsigned blocks = (unsigned)(place / 16 % 64) + 1;
		uint64_t generation = prng_below(&rng, 3);

		if (get(&c, place, generation, (unsigned)prng_below(&rng, blocks)))
			hits++;
		else
			put(&c, place, generation, blocks);
		assert_true(sv_s3_bytes(&c.s3) <= 1 << 20);
		assert_true(c.fresh <= c.slots_count + 1);
	}
	assert_true(hits > 50);
	assert_int_equal(sv_ram_hits(&c), hits);
	sv_ram_free(&c);
}

/* Units that are read block by block, once, leave what is used twice alone. */
static void a_scan_block_by_block_passes(void **state)
{
	struct sv_ram_cache c;
	unsigned there = 0;

	(void)state;
	assert_int_equal(sv_ram_init(&c, 4 << 20), 0);
	for (unsigned round = 0; round < 4; round++)
		for (uint64_t place = 0; place < 5; place++)
			if (!get(&c, place, 1, 0))
				put(&c, place, 1, UNIT_BLOCKS);
	for (uint64_t place = 100; place < 1000; place++) {
		put(&c, place, 1, UNIT_BLOCKS);
		for (unsigned i = 1; i < UNIT_BLOCKS; i++)
			assert_true(get(&c, place, 1, i));
	}
	for (uint64_t place = 0; place < 5; place++)
		there += get(&c, place, 1, 1);
	assert_int_equal(there, 5);
	sv_ram_free(&c);
}

static void none_is_none(void **state)
{
	struct sv_ram_cache c;

	(void)state;
	assert_int_equal(sv_ram_init(&c, 1), 0);
	put(&c, 160, 1, 4);
	assert_false(get(&c, 160, 1, 3));
	sv_ram_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_generation_is_not_another),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(a_scan_block_by_block_passes),
		cmocka_unit_test(none_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
