/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_layout.c: a container's header survives the trip, and segments lie where they should. */
#include "place_layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "prng.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define AREA PLACE_HEADER_AREA_BYTES

static struct place_header sample(void)
{
	struct place_header header = {
		.index = 3,
		.flags = PLACE_SEALED | PLACE_FALLOCATED,
		.generation = 7,
		.base_bytes = 12 * 1024 * MIB,
		.container_bytes = 4096 * MIB - AREA,
		.max_bytes = 64 * 1024 * MIB,
		.segment_bytes = 8 * MIB,
		.page_bytes = 16 * KIB,
		.erase_bytes = 4 * MIB,
		.open_units = 2,
		.piece_count = 2,
		.pieces = {{1 * MIB, 80 * MIB}, {83 * MIB, 8 * MIB}},
	};

	memcpy(header.id, "0123456789abcdef", 16);
	return header;
}

static void assert_same(const struct place_header *a, const struct place_header *b)
{
	assert_memory_equal(a->id, b->id, 16);
	assert_int_equal(a->index, b->index);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->base_bytes, b->base_bytes);
	assert_int_equal(a->container_bytes, b->container_bytes);
	assert_int_equal(a->max_bytes, b->max_bytes);
	assert_int_equal(a->segment_bytes, b->segment_bytes);
	assert_int_equal(a->page_bytes, b->page_bytes);
	assert_int_equal(a->erase_bytes, b->erase_bytes);
	assert_int_equal(a->open_units, b->open_units);
	assert_int_equal(a->ro_compatible, b->ro_compatible);
	assert_int_equal(a->piece_count, b->piece_count);
	for (uint32_t i = 0; i < a->piece_count; i++) {
		assert_int_equal(a->pieces[i].file_bytes, b->pieces[i].file_bytes);
		assert_int_equal(a->pieces[i].len_bytes, b->pieces[i].len_bytes);
	}
}

static void header_makes_the_trip(void **state)
{
	static uint8_t bytes[PLACE_HEADER_COPY_BYTES];
	struct place_header header = sample(), got;

	(void)state;
	header.ro_compatible = 5;
	place_header_encode(&header, bytes);
	assert_int_equal(place_header_decode(bytes, &got), 0);
	assert_same(&header, &got);
	for (header.piece_count = 0; header.piece_count < PLACE_HEADER_MAX_PIECES;
	     header.piece_count++)
		header.pieces[header.piece_count] =
			(struct place_piece){AREA + header.piece_count * 7 * MIB, 4 * MIB};
	header.segment_bytes = 4 * MIB;
	place_header_encode(&header, bytes);
	assert_int_equal(place_header_decode(bytes, &got), 0);
	assert_same(&header, &got);
}

/* The layout of FORMAT.md, byte by byte: a change of it is a new version. */
static void header_lies_as_documented(void **state)
{
	static uint8_t bytes[PLACE_HEADER_COPY_BYTES];
	struct place_header header = sample();
	static const struct {
		size_t at, len;
		uint64_t value;
	} fields[] = {
		{8, 4, 1},
		{12, 4, 168},
		{32, 4, 3},
		{36, 4, 6},
		{40, 8, 7},
		{48, 8, 12 * 1024 * MIB},
		{56, 8, 4096 * MIB - AREA},
		{64, 8, 64 * 1024 * MIB},
		{72, 4, 8 * MIB},
		{76, 4, 16 * KIB},
		{80, 4, 4 * MIB},
		{84, 4, 2},
		{88, 4, 2},
		{92, 4, 0},
		{96, 4, 0},
		{100, 4, 0},
		{128, 8, MIB},
		{136, 8, 80 * MIB},
		{144, 8, 83 * MIB},
		{152, 8, 8 * MIB},
	};

	(void)state;
	place_header_encode(&header, bytes);
	assert_memory_equal(bytes, "SVPLACE", 8);
	assert_memory_equal(bytes + 16, "0123456789abcdef", 16);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		uint64_t value = 0;

		for (size_t j = fields[i].len; j > 0; j--)
			value = value << 8 | bytes[fields[i].at + j - 1];
		assert_int_equal(value, fields[i].value);
	}
	for (size_t i = 104; i < 128; i++)
		assert_int_equal(bytes[i], 0);
	for (size_t i = 168; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
}

static void every_flipped_bit_is_found(void **state)
{
	static uint8_t bytes[PLACE_HEADER_COPY_BYTES];
	struct place_header header = sample(), got;

	(void)state;
	place_header_encode(&header, bytes);
	for (size_t bit = 0; bit < 168 * 8; bit++) {
		int want = bit < 64 ? -EMEDIUMTYPE : -EBADMSG;

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(place_header_decode(bytes, &got), want);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void put32(uint8_t *bytes, size_t at, uint32_t value)
{
	for (size_t i = 0; i < 4; i++)
		bytes[at + i] = (uint8_t)(value >> (8 * i));
}

static void check_again(uint8_t *bytes, size_t size_bytes)
{
	uint64_t check = XXH3_64bits(bytes, size_bytes - 8);

	put32(bytes, size_bytes - 8, (uint32_t)check);
	put32(bytes, size_bytes - 4, (uint32_t)(check >> 32));
}

/* What has a right check but wrong values: newer, or nonsense that would lead astray. */
static void values_are_judged(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
		int want;
	} cases[] = {
		{8, 2, -EPROTONOSUPPORT}, {92, 1, -EPROTONOSUPPORT},  {8, 0, -EBADMSG},
		{36, 8, -EBADMSG},	  {72, 0, -EBADMSG},	      {72, 5000, -EBADMSG},
		{80, 3 * MIB, -EBADMSG},  {80, 512, -EBADMSG},	      {88, 1, -EBADMSG},
		{88, 3, -EBADMSG},	  {88, 0xffffffff, -EBADMSG}, {128, 0, -EBADMSG},
		{136, 4096, -EBADMSG},	  {144, 64 * MIB, -EBADMSG},  {156, 0x7fffffff, -EBADMSG},
		{36, 7, -EBADMSG},	  {40, 0, -EBADMSG},
	};
	static uint8_t bytes[PLACE_HEADER_COPY_BYTES];
	struct place_header header = sample(), got;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		place_header_encode(&header, bytes);
		put32(bytes, cases[i].at, cases[i].value);
		check_again(bytes, 168);
		assert_int_equal(place_header_decode(bytes, &got), cases[i].want);
	}
}

static void the_newer_copy_counts(void **state)
{
	static uint8_t area[PLACE_HEADER_AREA_BYTES];
	uint8_t *second = area + PLACE_HEADER_COPY_BYTES;
	struct place_header header = sample(), got;
	bool whole[2];

	(void)state;
	place_header_encode(&header, area);
	header.generation = 8;
	place_header_encode(&header, second);
	assert_int_equal(place_header_choose(area, &got, &whole), 0);
	assert_int_equal(got.generation, 8);
	assert_false(whole[0]); /* whole, but old: to be written anew */
	assert_true(whole[1]);
	second[50] ^= 1;
	assert_int_equal(place_header_choose(area, &got, &whole), 0);
	assert_int_equal(got.generation, 7);
	assert_true(whole[0]);
	assert_false(whole[1]);
	area[50] ^= 1;
	assert_int_equal(place_header_choose(area, &got, &whole), -EBADMSG);
	memset(area, 0, PLACE_HEADER_COPY_BYTES);
	assert_int_equal(place_header_choose(area, &got, &whole), -EBADMSG);
	memset(second, 0, PLACE_HEADER_COPY_BYTES);
	assert_int_equal(place_header_choose(area, &got, &whole), -EMEDIUMTYPE);
}

static struct place_header empty(uint32_t segment_bytes, uint32_t erase_bytes)
{
	return (struct place_header){.generation = 1,
				     .container_bytes = 4096 * MIB,
				     .segment_bytes = segment_bytes,
				     .erase_bytes = erase_bytes};
}

/* A raw partition at 1 MiB, as partitioners make them. */
static void raw_begins_on_a_unit(void **state)
{
	struct place_header header = empty(8 * MIB, 4 * MIB);
	struct place_extent whole = {0, 1 * MIB, 100 * MIB};

	(void)state;
	assert_int_equal(place_layout_add_aligned(&header, &whole, 1, 100 * MIB), 0);
	assert_int_equal(header.piece_count, 1);
	assert_int_equal(header.pieces[0].file_bytes, 3 * MIB);
	assert_int_equal(header.pieces[0].len_bytes, 96 * MIB);
	assert_true(place_layout_is_aligned(&header, &whole, 1));
	whole.medium_bytes += 4096;
	assert_false(place_layout_is_aligned(&header, &whole, 1));
}

static void units_need_not_be_powers_of_two(void **state)
{
	struct place_header header = empty(24 * MIB, 24 * MIB);
	struct place_extent whole = {0, 1 * MIB, 100 * MIB};

	(void)state;
	assert_int_equal(place_layout_add_aligned(&header, &whole, 1, 100 * MIB), 0);
	assert_int_equal(header.pieces[0].file_bytes, 23 * MIB);
	assert_int_equal(header.pieces[0].len_bytes, 72 * MIB);
	assert_true(place_layout_is_aligned(&header, &whole, 1));
}

/* Two extents out of phase: a piece in each, nothing across the border; then growth goes on. */
static void broken_runs_are_skipped(void **state)
{
	struct place_header header = empty(MIB, MIB);
	struct place_extent extents[3] = {
		{0, 10 * MIB + 64 * KIB, 10 * MIB},
		{10 * MIB, 31 * MIB - 128 * KIB, 5 * MIB},
		{15 * MIB, 36 * MIB - 128 * KIB, 8 * MIB},
	};

	(void)state;
	assert_int_equal(place_layout_add_aligned(&header, extents, 2, 15 * MIB), 0);
	assert_int_equal(header.piece_count, 2);
	assert_int_equal(header.pieces[0].file_bytes, MIB - 64 * KIB);
	assert_int_equal(header.pieces[0].len_bytes, 9 * MIB);
	assert_int_equal(header.pieces[1].file_bytes, 10 * MIB + 128 * KIB);
	assert_int_equal(header.pieces[1].len_bytes, 4 * MIB);
	assert_true(place_layout_is_aligned(&header, extents, 2));
	/* the third goes on in phase behind the second: its segments join the last piece */
	assert_int_equal(place_layout_add_aligned(&header, extents, 3, 23 * MIB), 0);
	assert_int_equal(header.piece_count, 2);
	assert_int_equal(header.pieces[1].len_bytes, 12 * MIB);
	assert_true(place_layout_is_aligned(&header, extents, 3));
	extents[2].medium_bytes += 4096;
	assert_false(place_layout_is_aligned(&header, extents, 3));
	place_layout_trim(&header, 10 * MIB);
	assert_int_equal(header.pieces[1].len_bytes, 1 * MIB);
	place_layout_trim(&header, 3 * MIB);
	assert_int_equal(header.piece_count, 1);
	assert_int_equal(header.pieces[0].len_bytes, 3 * MIB);
}

/* Whatever the extents: pieces are whole segments, on units, apart, and inside an extent run. */
static void random_extents(void **state)
{
	struct prng rng = {11};

	(void)state;
	for (int round = 0; round < 2000; round++) {
		struct place_header header = empty(256 * KIB, prng_one_in(&rng, 2) ? 64 * KIB : 0);
		struct place_extent extents[12];
		uint64_t file = 0, data;
		size_t count = 1 + prng_below(&rng, 12);

		for (size_t i = 0; i < count; i++) {
			extents[i].file_bytes = file;
			extents[i].medium_bytes = 4096 * prng_below(&rng, 100000);
			extents[i].len_bytes = 4096 * (1 + prng_below(&rng, 500));
			file += extents[i].len_bytes + (prng_one_in(&rng, 4) ? 4096 : 0);
			assert_true(place_layout_add_aligned(&header, extents, i + 1, file) == 0);
		}
		data = place_header_data_bytes(&header);
		assert_int_equal(data % header.segment_bytes, 0);
		assert_true(place_layout_is_aligned(&header, extents, count));
		assert_true(place_layout_used(&header) <= file + AREA);
		/* nothing that fits is left out: doing it again adds nothing */
		assert_int_equal(place_layout_add_aligned(&header, extents, count, file), 0);
		assert_int_equal(place_header_data_bytes(&header), data);
	}
}

static void too_many_pieces_is_said(void **state)
{
	struct place_header header = empty(64 * KIB, 0);
	static struct place_extent extents[PLACE_HEADER_MAX_PIECES + 2];
	size_t count = PLACE_HEADER_MAX_PIECES + 2;

	(void)state;
	for (size_t i = 0; i < count; i++)
		extents[i] =
			(struct place_extent){i * 128 * KIB, i * MIB + i % 2 * 4096, 128 * KIB};
	assert_int_equal(place_layout_add_aligned(&header, extents, count, count * 128 * KIB),
			 -EOVERFLOW);
	assert_int_equal(header.piece_count, PLACE_HEADER_MAX_PIECES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_makes_the_trip),
		cmocka_unit_test(header_lies_as_documented),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(values_are_judged),
		cmocka_unit_test(the_newer_copy_counts),
		cmocka_unit_test(raw_begins_on_a_unit),
		cmocka_unit_test(units_need_not_be_powers_of_two),
		cmocka_unit_test(broken_runs_are_skipped),
		cmocka_unit_test(random_extents),
		cmocka_unit_test(too_many_pieces_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
