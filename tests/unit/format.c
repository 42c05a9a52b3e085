/* SPDX-License-Identifier: GPL-2.0-or-later */
/* format.c: anchors and headers lie as FORMAT.md says, make the round trip, refuse damage. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_ram.h"
#include "digest.h"
#include "format.h"
#include "prng.h"

/*
 * A structure as a table: where each member lies in the bytes and in memory. From it come the
 * distinct values, the check of the layout (so that encode and decode cannot be wrong alike), the
 * check of the round trip, and the check that all other bytes are zero.
 */
struct field {
	const char *name;
	size_t off, size, member;
	bool text; /* bytes in their order; else a number */
};

#define NUM(off_, type, m)                                                                         \
	{                                                                                          \
#m, (off_), sizeof(((type *)NULL)->m), offsetof(type, m), false                    \
	}
#define RAW(off_, type, m)                                                                         \
	{                                                                                          \
#m, (off_), sizeof(((type *)NULL)->m), offsetof(type, m), true                     \
	}
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct field anchor_fields[] = {
	NUM(16, struct sv_anchor, features.incompat),
	NUM(24, struct sv_anchor, features.ro_compat),
	NUM(32, struct sv_anchor, features.compat),
	RAW(40, struct sv_anchor, store_id),
	NUM(56, struct sv_anchor, segment_bytes),
	NUM(60, struct sv_anchor, page_bytes),
	NUM(64, struct sv_anchor, lie_window_bytes),
	NUM(72, struct sv_anchor, checkpoint_bytes),
	NUM(80, struct sv_anchor, anchor_seq),
	NUM(88, struct sv_anchor, log_bytes),
	NUM(96, struct sv_anchor, created_s),
	NUM(104, struct sv_anchor, root.segment),
	NUM(108, struct sv_anchor, root.offset),
	NUM(112, struct sv_anchor, root.generation),
	NUM(120, struct sv_anchor, root.seq),
	RAW(128, struct sv_anchor, root.hash),
	NUM(144, struct sv_anchor, epoch),
	NUM(152, struct sv_anchor, opening.segment),
	NUM(156, struct sv_anchor, opening.offset),
	NUM(160, struct sv_anchor, opening.generation),
	NUM(168, struct sv_anchor, opening.seq),
	RAW(176, struct sv_anchor, opening.hash),
	RAW(192, struct sv_anchor, before_opening),
	NUM(208, struct sv_anchor, gate_seq),
	RAW(216, struct sv_anchor, host),
	NUM(280, struct sv_anchor, since_s),
	NUM(352, struct sv_anchor, named_log_bytes),
};

static const struct field head_fields[] = {
	NUM(8, struct sv_head, head_bytes),
	NUM(12, struct sv_head, payload_offset),
	NUM(16, struct sv_head, payload_bytes),
	NUM(20, struct sv_head, total_bytes),
	NUM(24, struct sv_head, flags),
	NUM(28, struct sv_head, records),
	RAW(32, struct sv_head, store_id),
	NUM(48, struct sv_head, epoch),
	NUM(56, struct sv_head, seq),
	NUM(64, struct sv_head, flushed_seq),
	NUM(72, struct sv_head, log_bytes),
	NUM(80, struct sv_head, generation),
	NUM(88, struct sv_head, time_s),
	NUM(96, struct sv_head, segment),
	NUM(100, struct sv_head, offset),
	NUM(104, struct sv_head, next_segment),
	NUM(108, struct sv_head, after_segment),
	RAW(112, struct sv_head, prev_hash),
	NUM(128, struct sv_head, payload_digest),
	NUM(136, struct sv_head, ledger.guest_written_bytes),
	NUM(144, struct sv_head, ledger.guest_read_bytes),
	NUM(152, struct sv_head, ledger.guest_discarded_bytes),
	NUM(160, struct sv_head, ledger.stick_written_bytes),
	NUM(168, struct sv_head, ledger.stick_read_bytes),
	NUM(176, struct sv_head, ledger.payload_bytes),
	NUM(184, struct sv_head, ledger.padding_bytes),
	NUM(192, struct sv_head, ledger.metadata_bytes),
	NUM(200, struct sv_head, ledger.cleaner_bytes),
	NUM(208, struct sv_head, ledger.convert_bytes),
	NUM(216, struct sv_head, ledger.state_bytes),
	NUM(224, struct sv_head, ledger.coalesced_bytes),
	NUM(232, struct sv_head, ledger.noop_skipped_bytes),
	NUM(240, struct sv_head, ledger.zero_skipped_bytes),
	NUM(248, struct sv_head, ledger.compression_saved_bytes),
	NUM(256, struct sv_head, ledger.flushes),
	NUM(264, struct sv_head, ledger.batches),
	NUM(272, struct sv_head, ledger.checkpoints),
	NUM(280, struct sv_head, ledger.segments_cleaned),
	NUM(288, struct sv_head, ledger.sessions),
	NUM(296, struct sv_head, ledger.unclean_detaches),
	NUM(304, struct sv_head, ledger.first_used_s),
	NUM(312, struct sv_head, prev_epoch),
};

/* A member more must be written into the tables above, and into FORMAT.md. */
_Static_assert(sizeof(struct sv_anchor) == 280, "a member of the anchor came or went");
_Static_assert(sizeof(struct sv_ledger) == 22 * 8, "a member of the ledger came or went");
_Static_assert(sizeof(struct sv_head) == 328, "a member of the header came or went");

/* Distinct values without a zero byte, so that a lost or swapped byte shows. */
static void fill(void *members, const struct field *fields, size_t count, uint64_t seed)
{
	struct prng rng = {seed};

	for (size_t i = 0; i < count; i++) {
		uint8_t *at = (uint8_t *)members + fields[i].member;

		prng_fill(&rng, at, fields[i].size);
		for (size_t k = 0; k < fields[i].size; k++)
			at[k] |= 1;
	}
}

static uint64_t number(const uint8_t *member, size_t size)
{
	uint32_t v32;
	uint64_t v64;

	if (size == sizeof(v32)) {
		memcpy(&v32, member, sizeof(v32));
		return v32;
	}
	assert_int_equal(size, sizeof(v64));
	memcpy(&v64, member, sizeof(v64));
	return v64;
}

static void assert_lies(const uint8_t *bytes, const void *members, const struct field *f)
{
	const uint8_t *member = (const uint8_t *)members + f->member;
	uint64_t value = 0;

	if (f->text) {
		assert_memory_equal(bytes + f->off, member, f->size);
		return;
	}
	for (size_t k = f->size; k > 0; k--)
		value = value << 8 | bytes[f->off + k - 1];
	if (value != number(member, f->size))
		fail_msg("%s does not lie at %zu", f->name, f->off);
}

/* All members where the table says; [from, to) is zero where the table has nothing. */
static void assert_layout(const uint8_t *bytes, size_t from, size_t to, const void *members,
			  const struct field *fields, size_t count)
{
	uint8_t *rest = malloc(to);

	assert_non_null(rest);
	memcpy(rest, bytes, to);
	for (size_t i = 0; i < count; i++) {
		assert_lies(bytes, members, &fields[i]);
		memset(rest + fields[i].off, 0, fields[i].size);
	}
	for (size_t i = from; i < to; i++)
		if (rest[i])
			fail_msg("byte %zu is %02x and belongs to nothing", i, rest[i]);
	free(rest);
}

static void assert_same(const void *a, const void *b, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp((const uint8_t *)a + fields[i].member,
			   (const uint8_t *)b + fields[i].member, fields[i].size) != 0)
			fail_msg("%s did not make the round trip", fields[i].name);
}

static struct sv_anchor sample_anchor(void)
{
	struct sv_anchor a = {.features = {0}};

	fill(&a, anchor_fields, COUNT(anchor_fields), 1);
	a.features = (struct sv_features){.compat = UINT64_C(0x8000000000000001)};
	a.host[SV_HOST_BYTES - 1] = '\0';
	return a;
}

static void put_le(uint8_t *bytes, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
}

static void anchor_check_again(uint8_t *bytes)
{
	sv_hash128(bytes, SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES,
		   bytes + SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES);
}

static void anchor_makes_the_trip(void **state)
{
	static uint8_t bytes[SV_ANCHOR_BYTES];
	struct sv_anchor a = sample_anchor(), got;

	(void)state;
	memset(bytes, 0xee, sizeof(bytes));
	sv_anchor_encode(&a, bytes);
	assert_memory_equal(bytes, "svANCHOR", 8);
	assert_int_equal(bytes[8], SV_FORMAT_VERSION);
	bytes[8] = 0;
	assert_layout(bytes, 8, SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES, &a, anchor_fields,
		      COUNT(anchor_fields));
	for (size_t i = SV_ANCHOR_CHECKED_BYTES; i < SV_ANCHOR_BYTES; i++)
		assert_int_equal(bytes[i], 0);
	bytes[8] = SV_FORMAT_VERSION;
	assert_int_equal(sv_anchor_decode(bytes, &got), 0);
	assert_same(&a, &got, anchor_fields, COUNT(anchor_fields));
}

/* All of it is in one sector; what lies behind that sector is nobody's. */
static void anchor_is_one_sector(void **state)
{
	static uint8_t bytes[SV_ANCHOR_BYTES];
	struct sv_anchor a = sample_anchor(), got;

	(void)state;
	assert_int_equal(SV_ANCHOR_CHECKED_BYTES, 512);
	sv_anchor_encode(&a, bytes);
	memset(bytes + SV_ANCHOR_CHECKED_BYTES, 0xee, SV_ANCHOR_BYTES - SV_ANCHOR_CHECKED_BYTES);
	assert_int_equal(sv_anchor_decode(bytes, &got), 0);
	assert_same(&a, &got, anchor_fields, COUNT(anchor_fields));
}

/* A name that fills its field is cut, never run over. */
static void anchor_host_is_terminated(void **state)
{
	static uint8_t bytes[SV_ANCHOR_BYTES];
	struct sv_anchor a = sample_anchor(), got;

	(void)state;
	memset(a.host, 'h', sizeof(a.host));
	sv_anchor_encode(&a, bytes);
	assert_int_equal(sv_anchor_decode(bytes, &got), 0);
	assert_int_equal(strlen(got.host), SV_HOST_BYTES - 1);
}

static void anchor_refuses_every_flipped_bit(void **state)
{
	static uint8_t bytes[SV_ANCHOR_BYTES];
	struct sv_anchor a = sample_anchor(), got;

	(void)state;
	sv_anchor_encode(&a, bytes);
	memset(&got, 0x5a, sizeof(got));
	for (size_t bit = 0; bit < SV_ANCHOR_CHECKED_BYTES * 8; bit++) {
		/* Without its first eight bytes nothing says that it is an anchor at all. */
		int want = bit < 64 ? -EMEDIUMTYPE : -EBADMSG;

		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(sv_anchor_decode(bytes, &got), want);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t i = 0; i < sizeof(got); i++)
		assert_int_equal(((const uint8_t *)&got)[i], 0x5a);
}

static void anchor_of_another_version(void **state)
{
	static uint8_t bytes[SV_ANCHOR_BYTES];
	struct sv_anchor a = sample_anchor(), got;
	static const uint32_t versions[] = {0, 2, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < COUNT(versions); i++) {
		sv_anchor_encode(&a, bytes);
		put_le(bytes + 8, versions[i], 4);
		assert_int_equal(sv_anchor_decode(bytes, &got), -EBADMSG);
		anchor_check_again(bytes);
		assert_int_equal(sv_anchor_decode(bytes, &got), -EPROTONOSUPPORT);
	}
}

static void anchor_features(void **state)
{
	static uint8_t bytes[SV_ANCHOR_BYTES];
	struct sv_anchor a = sample_anchor(), got;

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		a.features = (struct sv_features){.incompat = UINT64_C(1) << bit};
		sv_anchor_encode(&a, bytes);
		assert_int_equal(sv_anchor_decode(bytes, &got), bit == 5 ? 0 : -EPROTONOSUPPORT);
		assert_int_equal(got.features.incompat, UINT64_C(1) << bit);
		a.features = (struct sv_features){.ro_compat = UINT64_C(1) << bit};
		sv_anchor_encode(&a, bytes);
		assert_int_equal(sv_anchor_decode(bytes, &got), 0);
		assert_int_equal(got.features.ro_compat, UINT64_C(1) << bit);
	}
}

/* ---- batch headers ---- */

#define HEAD_BYTES (SV_HEAD_FIXED_BYTES + SV_REC_DATA_BYTES + SV_REC_DISCARD_BYTES + SV_HASH_BYTES)

static struct sv_head sample_head(uint8_t *bytes)
{
	struct sv_record data = {
		.type = SV_REC_DATA, .blocks = 3, .stored_bytes = 4112, .lba = 0x70707};
	struct sv_record discard = {.type = SV_REC_DISCARD, .lba = 5, .count = 6};
	struct sv_cur c =
		sv_cur_over(bytes + SV_HEAD_FIXED_BYTES, SV_REC_DATA_BYTES + SV_REC_DISCARD_BYTES);
	struct sv_head h = {.head_bytes = 0};

	fill(&h, head_fields, COUNT(head_fields), 2);
	h.head_bytes = HEAD_BYTES;
	h.payload_offset = 4096;
	h.payload_bytes = 4112;
	h.total_bytes = 16384;
	sv_record_put(&c, &data);
	sv_record_put(&c, &discard);
	assert_false(c.bad);
	return h;
}

static void head_makes_the_trip(void **state)
{
	static uint8_t bytes[HEAD_BYTES];
	struct sv_head h, got;

	(void)state;
	memset(bytes, 0xee, sizeof(bytes));
	h = sample_head(bytes);
	sv_head_encode(&h, bytes);
	assert_memory_equal(bytes, "svBATCH1", 8);
	assert_layout(bytes, 8, SV_HEAD_FIXED_BYTES, &h, head_fields, COUNT(head_fields));
	assert_memory_equal(bytes + HEAD_BYTES - SV_HASH_BYTES, h.hash, SV_HASH_BYTES);
	assert_int_equal(sv_head_decode(bytes, sizeof(bytes), &got), 0);
	assert_same(&h, &got, head_fields, COUNT(head_fields));
	assert_memory_equal(h.hash, got.hash, SV_HASH_BYTES);
	memset(&got, 0, sizeof(got));
	assert_int_equal(sv_head_peek(bytes, sizeof(bytes), &got), 0);
	assert_same(&h, &got, head_fields, COUNT(head_fields));
}

/* Fixed part, records and hash: all of it is bound. */
static void head_refuses_every_flipped_bit(void **state)
{
	static uint8_t bytes[HEAD_BYTES];
	struct sv_head h = sample_head(bytes), got;

	(void)state;
	sv_head_encode(&h, bytes);
	memset(&got, 0x5a, sizeof(got));
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(sv_head_decode(bytes, sizeof(bytes), &got), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t i = 0; i < sizeof(got); i++)
		assert_int_equal(((const uint8_t *)&got)[i], 0x5a);
}

static void head_cut_short(void **state)
{
	static uint8_t bytes[HEAD_BYTES];
	struct sv_head h = sample_head(bytes), got;

	(void)state;
	sv_head_encode(&h, bytes);
	for (size_t len = 0; len < HEAD_BYTES; len++) {
		/* A buffer of its own, so that ASan sees a step too far. */
		uint8_t *cut = malloc(len ? len : 1);

		assert_non_null(cut);
		memcpy(cut, bytes, len);
		assert_int_equal(sv_head_decode(cut, len, &got), -EBADMSG);
		if (len < SV_HEAD_FIXED_BYTES)
			assert_int_equal(sv_head_peek(cut, len, &got), -EBADMSG);
		free(cut);
	}
}

/* Sizes that contradict each other are refused although the hash is right. */
static void head_sizes_must_agree(void **state)
{
	static const struct {
		uint32_t head, offset, payload, total;
		int want;
	} cases[] = {
		{HEAD_BYTES, HEAD_BYTES + 8, 16, 8192, 0},
		{HEAD_BYTES, 4096, 4096, 8192, 0},
		{HEAD_BYTES, 4096, 4112, 8192, -EBADMSG},
		{HEAD_BYTES, HEAD_BYTES - 8, 16, 8192, -EBADMSG},
		{HEAD_BYTES, 8192, 0, 4096, -EBADMSG},
		{HEAD_BYTES, 4104, 16, 8192, -EBADMSG},
		{HEAD_BYTES, 4096, 24, 8192, -EBADMSG},
		{HEAD_BYTES, 4096, UINT32_MAX - 15, 8192, -EBADMSG},
		{SV_HEAD_FIXED_BYTES + SV_HASH_BYTES - 16, 4096, 16, 8192, -EBADMSG},
	};

	(void)state;
	assert_int_equal((HEAD_BYTES + 8) % SV_GRAIN_BYTES, 0);
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint8_t bytes[HEAD_BYTES];
		struct sv_head h = sample_head(bytes), got;

		h.head_bytes = cases[i].head;
		h.payload_offset = cases[i].offset;
		h.payload_bytes = cases[i].payload;
		h.total_bytes = cases[i].total;
		sv_head_encode(&h, bytes);
		assert_int_equal(sv_head_decode(bytes, sizeof(bytes), &got), cases[i].want);
	}
}

/* ---- what opening makes of it ---- */

#define SEGMENT_BYTES (64u << 10)

/* A store in memory whose two anchors were changed; each open gets its own copy of the device. */
static int open_changed(struct sv_features features, uint32_t version, bool read_only)
{
	struct sv_geometry geo = {.size_bytes = 1 << 20, .max_bytes = 8 << 20};
	struct sv_format_params params = {.size_bytes = 1 << 20,
					  .segment_bytes = SEGMENT_BYTES,
					  .page_bytes = 4096,
					  .lie_window_bytes = 1,
					  .checkpoint_bytes = 1 << 18};
	struct sv_open_options opts = {.manual = true, .read_only = read_only};
	static _Alignas(4096) uint8_t bytes[SV_ANCHOR_BYTES];
	struct sv_store *store;
	struct sv_anchor a;
	struct sv_dev *dev;
	int r;

	assert_int_equal(sv_dev_ram_create(&geo, &dev), 0);
	assert_int_equal(sv_store_format(dev, &params), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(sv_dev_read(dev, bytes, sizeof(bytes), i * SEGMENT_BYTES), 0);
		assert_int_equal(sv_anchor_decode(bytes, &a), 0);
		a.features = features;
		sv_anchor_encode(&a, bytes);
		put_le(bytes + 8, version, 4);
		anchor_check_again(bytes);
		assert_int_equal(sv_dev_write(dev, bytes, sizeof(bytes), i * SEGMENT_BYTES), 0);
	}
	r = sv_store_open(dev, &opts, &store);
	if (r == 0)
		sv_store_abandon(store);
	else
		sv_dev_close(dev);
	return r;
}

static void opening_respects_features(void **state)
{
	const struct sv_features none = {0}, in = {.incompat = 4}, ro = {.ro_compat = 8};
	const struct sv_features any = {.compat = UINT64_MAX}, born = {.incompat = 32};

	(void)state;
	assert_int_equal(open_changed(none, SV_FORMAT_VERSION, false), 0);
	assert_int_equal(open_changed(any, SV_FORMAT_VERSION, false), 0);
	assert_int_equal(open_changed(in, SV_FORMAT_VERSION, false), -EPROTONOSUPPORT);
	assert_non_null(strstr(sv_store_why(), "incompatible bits 4"));
	assert_int_equal(open_changed(in, SV_FORMAT_VERSION, true), -EPROTONOSUPPORT);
	assert_int_equal(open_changed(born, SV_FORMAT_VERSION, false), 0);
	assert_int_equal(open_changed(ro, SV_FORMAT_VERSION, false), -EPROTONOSUPPORT);
	assert_non_null(strstr(sv_store_why(), "only read"));
	assert_int_equal(open_changed(ro, SV_FORMAT_VERSION, true), 0);
	assert_int_equal(open_changed(none, SV_FORMAT_VERSION + 1, false), -EPROTONOSUPPORT);
	assert_non_null(strstr(sv_store_why(), "newer version"));
	assert_int_equal(open_changed(none, SV_FORMAT_VERSION + 1, true), -EPROTONOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(anchor_makes_the_trip),
		cmocka_unit_test(anchor_is_one_sector),
		cmocka_unit_test(anchor_host_is_terminated),
		cmocka_unit_test(anchor_refuses_every_flipped_bit),
		cmocka_unit_test(anchor_of_another_version),
		cmocka_unit_test(anchor_features),
		cmocka_unit_test(head_makes_the_trip),
		cmocka_unit_test(head_refuses_every_flipped_bit),
		cmocka_unit_test(head_cut_short),
		cmocka_unit_test(head_sizes_must_agree),
		cmocka_unit_test(opening_respects_features),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
