/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unit_codec.c: units make the round trip, and verify as what they are and nothing else. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "prng.h"
#include "unit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MOST_BYTES (SV_UNIT_MAX_BLOCKS * SV_BLOCK_BYTES)

static const uint8_t store_id[SV_STORE_ID_BYTES] = "0123456789abcde";

/* A sealed unit with what it was made from. */
struct sealed {
	struct sv_binding bind;
	struct sv_unit unit;
	uint32_t stored;
	uint8_t *bytes; /* exactly `stored`, so that ASan sees a step too far */
	uint8_t *blocks;
};

struct sample {
	const char *name;
	enum sv_codec codec;
	uint16_t kind;
	unsigned blocks;
};

static const struct sample samples[] = {
	{"raw", SV_CODEC_NONE, SV_UNIT_DATA, 1},       {"raw run", SV_CODEC_NONE, SV_UNIT_DATA, 3},
	{"lz4", SV_CODEC_LZ4, SV_UNIT_DATA, 1},	       {"lz4 run", SV_CODEC_LZ4, SV_UNIT_DATA, 16},
	{"lz4 full", SV_CODEC_LZ4, SV_UNIT_DATA, 64},  {"zstd", SV_CODEC_ZSTD, SV_UNIT_DATA, 1},
	{"zstd run", SV_CODEC_ZSTD, SV_UNIT_DATA, 33}, {"page", SV_CODEC_NONE, SV_UNIT_PAGE, 0},
};

/* Compressible, but no two blocks alike. */
static void fill_text(uint8_t *bytes, size_t len, uint64_t seed)
{
	struct prng rng = {seed};

	for (size_t i = 0; i < len; i++)
		bytes[i] = i % 64 ? (uint8_t) "stickvm"[i % 7] : (uint8_t)prng_next(&rng);
}

static struct sealed seal(const struct sample *sample)
{
	struct sealed s = {.bind = {.store_id = store_id,
				    .generation = UINT64_C(0x1122334455667788),
				    .place = 0x123450,
				    .subject = sample->kind == SV_UNIT_PAGE
						       ? sv_page_subject(SV_TREE_MAP, 2, 77)
						       : 640},
			   .unit = {.codec = (uint8_t)sample->codec,
				    .kind = sample->kind,
				    .blocks = (uint8_t)sample->blocks}};
	size_t len = sample->kind == SV_UNIT_PAGE ? SV_PAGE_BYTES : sample->blocks * SV_BLOCK_BYTES;
	uint8_t *room = malloc(SV_UNIT_HEAD_BYTES + MOST_BYTES + 2 * SV_GRAIN_BYTES);
	size_t end;

	s.blocks = malloc(len);
	assert_true(room && s.blocks);
	fill_text(s.blocks, len, 7);
	if (sample->codec == SV_CODEC_NONE) {
		memcpy(room + SV_UNIT_HEAD_BYTES, s.blocks, len);
		s.unit.payload_bytes = (uint32_t)len;
	} else {
		s.unit.payload_bytes =
			sv_compress(sample->codec, s.blocks, sample->blocks,
				    room + SV_UNIT_HEAD_BYTES, SV_UNIT_MAX_BYTES - 16);
		assert_in_range(s.unit.payload_bytes, 1, len * 3 / 4);
	}
	end = SV_UNIT_HEAD_BYTES + s.unit.payload_bytes;
	memset(room + end, 0xee, 2 * SV_GRAIN_BYTES);
	s.stored = sv_unit_seal(&s.bind, &s.unit, room);
	assert_int_equal(s.stored % SV_GRAIN_BYTES, 0);
	assert_in_range(s.stored - end, 0, SV_GRAIN_BYTES - 1);
	assert_int_equal(room[s.stored], 0xee);
	s.bytes = malloc(s.stored);
	assert_non_null(s.bytes);
	memcpy(s.bytes, room, s.stored);
	free(room);
	return s;
}

static void sealed_free(struct sealed *s)
{
	free(s->bytes);
	free(s->blocks);
}

static int verify(const struct sealed *s)
{
	struct sv_unit got;

	return sv_unit_verify(&s->bind, s->bytes, s->stored, &got);
}

static void units_make_the_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct sealed s = seal(&samples[i]);
		size_t len = samples[i].blocks * SV_BLOCK_BYTES;
		uint8_t *out = malloc(len ? len : 1);
		struct sv_unit got;

		assert_non_null(out);
		assert_int_equal(sv_unit_verify(&s.bind, s.bytes, s.stored, &got), 0);
		assert_int_equal(got.check, s.unit.check);
		assert_int_equal(got.payload_bytes, s.unit.payload_bytes);
		assert_int_equal(got.blocks, samples[i].blocks);
		assert_int_equal(got.codec, samples[i].codec);
		assert_int_equal(got.kind, samples[i].kind);
		if (samples[i].kind == SV_UNIT_PAGE) {
			assert_memory_equal(s.bytes + SV_UNIT_HEAD_BYTES, s.blocks, SV_PAGE_BYTES);
		} else {
			assert_int_equal(sv_unit_expand(&got, s.bytes, out), 0);
			assert_memory_equal(out, s.blocks, len);
		}
		free(out);
		sealed_free(&s);
	}
}

/* The head lies as FORMAT.md says; the padding is zero. */
static void unit_head_lies_as_documented(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct sealed s = seal(&samples[i]);
		struct sv_cur c = sv_cur_over(s.bytes, s.stored);

		assert_int_equal(sv_get64(&c), s.unit.check);
		assert_int_equal(sv_get32(&c), s.unit.payload_bytes);
		assert_int_equal(s.bytes[12], samples[i].blocks);
		assert_int_equal(s.bytes[13], samples[i].codec);
		assert_int_equal(s.bytes[14], samples[i].kind);
		assert_int_equal(s.bytes[15], 0);
		for (uint32_t k = SV_UNIT_HEAD_BYTES + s.unit.payload_bytes; k < s.stored; k++)
			assert_int_equal(s.bytes[k], 0);
		sealed_free(&s);
	}
}

/* Head and payload are bound; only the padding behind the payload is nobody's. */
static void every_flipped_bit_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct sealed s = seal(&samples[i]);
		size_t end = SV_UNIT_HEAD_BYTES + s.unit.payload_bytes;
		size_t step = end > 8192 ? 61 : 1; /* long ones are sampled */

		for (size_t bit = 0; bit < end * 8; bit += bit < 1024 ? 1 : step) {
			s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (verify(&s) != -EBADMSG)
				fail_msg("%s: bit %zu is not bound", samples[i].name, bit);
			s.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (size_t at = end; at < s.stored; at++) {
			s.bytes[at] ^= 0xff;
			assert_int_equal(verify(&s), 0);
			s.bytes[at] ^= 0xff;
		}
		sealed_free(&s);
	}
}

/* S4: whatever else the bytes could be taken for, they do not verify as it. */
static void a_unit_is_bound_to_its_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct sealed s = seal(&samples[i]);
		const struct sv_binding good = s.bind;
		uint8_t other[SV_STORE_ID_BYTES];

		for (unsigned bit = 0; bit < 64; bit++) {
			s.bind = good;
			s.bind.generation ^= UINT64_C(1) << bit;
			assert_int_equal(verify(&s), -EBADMSG);
			s.bind = good;
			s.bind.place ^= UINT64_C(1) << bit;
			assert_int_equal(verify(&s), -EBADMSG);
			s.bind = good;
			s.bind.subject ^= UINT64_C(1) << bit;
			assert_int_equal(verify(&s), -EBADMSG);
		}
		for (unsigned bit = 0; bit < 8 * SV_STORE_ID_BYTES; bit++) {
			memcpy(other, store_id, sizeof(other));
			other[bit / 8] ^= (uint8_t)(1u << bit % 8);
			s.bind = good;
			s.bind.store_id = other;
			assert_int_equal(verify(&s), -EBADMSG);
		}
		s.bind = good;
		assert_int_equal(verify(&s), 0);
		sealed_free(&s);
	}
}

/* The record says how long a unit is; a unit of another length is none. */
static void a_unit_has_the_length_it_was_recorded_with(void **state)
{
	struct sealed s = seal(&samples[2]);
	uint8_t *longer = calloc(1, s.stored + 16);
	struct sv_unit got;

	(void)state;
	assert_non_null(longer);
	memcpy(longer, s.bytes, s.stored);
	for (uint32_t len = 0; len < s.stored; len++)
		assert_int_equal(sv_unit_verify(&s.bind, s.bytes, len, &got), -EBADMSG);
	assert_int_equal(sv_unit_verify(&s.bind, longer, s.stored + 16, &got), -EBADMSG);
	free(longer);
	sealed_free(&s);
}

/* Sealed rightly around something that is no unit of its codec: refused when it is expanded. */
static int expand_false(struct sv_unit unit, uint32_t payload_bytes, unsigned blocks)
{
	struct sealed s = seal(&samples[3]);
	uint8_t *out = malloc(MOST_BYTES);
	struct sv_unit got;
	int r;

	assert_non_null(out);
	unit.payload_bytes = payload_bytes ? payload_bytes : s.unit.payload_bytes;
	unit.blocks = (uint8_t)blocks;
	s.bytes = realloc(s.bytes, sv_unit_stored(unit.payload_bytes));
	assert_non_null(s.bytes);
	s.stored = sv_unit_seal(&s.bind, &unit, s.bytes);
	assert_int_equal(sv_unit_verify(&s.bind, s.bytes, s.stored, &got), 0);
	r = sv_unit_expand(&got, s.bytes, out);
	free(out);
	sealed_free(&s);
	return r;
}

static void a_false_payload_is_not_expanded(void **state)
{
	const struct sv_unit lz4 = {.codec = SV_CODEC_LZ4}, zstd = {.codec = SV_CODEC_ZSTD};
	const struct sv_unit raw = {.codec = SV_CODEC_NONE}, other = {.codec = 3};

	(void)state;
	assert_int_equal(expand_false(lz4, 0, 16), 0);
	assert_int_equal(expand_false(lz4, 0, 15), -EBADMSG);
	assert_int_equal(expand_false(lz4, 0, 17), -EBADMSG);
	assert_int_equal(expand_false(zstd, 0, 16), -EBADMSG);
	assert_int_equal(expand_false(raw, 0, 16), -EBADMSG);
	assert_int_equal(expand_false(raw, SV_BLOCK_BYTES, 1), 0);
	assert_int_equal(expand_false(raw, SV_BLOCK_BYTES - 1, 1), -EBADMSG);
	assert_int_equal(expand_false(raw, SV_BLOCK_BYTES, 2), -EBADMSG);
	assert_int_equal(expand_false(other, 0, 16), -EBADMSG);
}

static void more_blocks_than_a_unit_has_are_refused(void **state)
{
	struct sealed s = seal(&samples[4]);
	struct sv_unit unit = s.unit, got;

	(void)state;
	unit.blocks = SV_UNIT_MAX_BLOCKS + 1;
	s.stored = sv_unit_seal(&s.bind, &unit, s.bytes);
	assert_int_equal(sv_unit_verify(&s.bind, s.bytes, s.stored, &got), -EBADMSG);
	sealed_free(&s);
}

static void compression_keeps_its_bound(void **state)
{
	uint8_t *noise = malloc(16 * SV_BLOCK_BYTES), *out = malloc(16 * SV_BLOCK_BYTES);
	static const enum sv_codec codecs[] = {SV_CODEC_LZ4, SV_CODEC_ZSTD};
	struct prng rng = {3};

	(void)state;
	assert_true(noise && out);
	prng_fill(&rng, noise, 16 * SV_BLOCK_BYTES);
	for (size_t i = 0; i < COUNT(codecs); i++) {
		assert_int_equal(sv_compress(codecs[i], noise, 16, out, 15 * SV_BLOCK_BYTES), 0);
		memset(out, 0xee, 16 * SV_BLOCK_BYTES);
		fill_text(noise, SV_BLOCK_BYTES, 1);
		assert_in_range(sv_compress(codecs[i], noise, 1, out, 3000), 1, 3000);
		assert_int_equal(out[3000], 0xee);
		assert_int_equal(sv_compress(codecs[i], noise, 1, out, 20), 0);
		prng_fill(&rng, noise, SV_BLOCK_BYTES);
	}
	assert_int_equal(sv_compress(SV_CODEC_NONE, noise, 1, out, 3000), 0);
	free(noise);
	free(out);
}

/* Pages of different trees, levels and numbers never pass for each other. */
static void page_subjects_are_distinct(void **state)
{
	(void)state;
	assert_int_equal(sv_page_subject(SV_TREE_MAP, 0, 5), 5);
	assert_int_equal(sv_page_subject(SV_TREE_MAP, 7, 5), UINT64_C(7) << 56 | 5);
	assert_int_equal(sv_page_subject(SV_TREE_USAGE, 3, 5),
			 UINT64_C(1) << 60 | UINT64_C(3) << 56 | 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_make_the_round_trip),
		cmocka_unit_test(unit_head_lies_as_documented),
		cmocka_unit_test(every_flipped_bit_is_found),
		cmocka_unit_test(a_unit_is_bound_to_its_place),
		cmocka_unit_test(a_unit_has_the_length_it_was_recorded_with),
		cmocka_unit_test(a_false_payload_is_not_expanded),
		cmocka_unit_test(more_blocks_than_a_unit_has_are_refused),
		cmocka_unit_test(compression_keeps_its_bound),
		cmocka_unit_test(page_subjects_are_distinct),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
