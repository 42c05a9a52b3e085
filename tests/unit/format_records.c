/* SPDX-License-Identifier: GPL-2.0-or-later */
/* format_records.c: records, the segment table and map entries, byte by byte as in FORMAT.md. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "format.h"

/* Puts and gets a record; its bytes are `want` numbers of the sizes given. */
static void trip_record(const struct sv_record *rec, size_t bytes, struct sv_record *ret_got,
			uint8_t *ret_bytes)
{
	uint8_t room[SV_REC_SESSION_BYTES + 16];
	struct sv_cur put = sv_cur_over(room, sizeof(room)), get = sv_cur_over(room, bytes);
	struct sv_cur small = sv_cur_over(room, bytes - 1);

	memset(room, 0xee, sizeof(room));
	sv_record_put(&put, rec);
	assert_false(put.bad);
	assert_int_equal(put.off, bytes);
	for (size_t i = bytes; i < sizeof(room); i++)
		assert_int_equal(room[i], 0xee);
	assert_int_equal(sv_record_get(&get, ret_got), 0);
	assert_int_equal(get.off, bytes);
	assert_int_equal(sv_record_get(&small, ret_got), -EBADMSG);
	get = sv_cur_over(room, bytes);
	assert_int_equal(sv_record_get(&get, ret_got), 0);
	memcpy(ret_bytes, room, bytes);
}

static void data_record(void **state)
{
	static const uint8_t want[SV_REC_DATA_BYTES] = {
		1, 3, 0, 0, 0x20, 0x30, 0, 0, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01};
	struct sv_record rec = {.type = SV_REC_DATA,
				.blocks = 3,
				.stored_bytes = 0x3020,
				.lba = UINT64_C(0x0102030405060708)};
	struct sv_record got;
	uint8_t bytes[SV_REC_DATA_BYTES];

	(void)state;
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_memory_equal(bytes, want, sizeof(want));
	assert_int_equal(got.type, rec.type);
	assert_int_equal(got.blocks, rec.blocks);
	assert_int_equal(got.stored_bytes, rec.stored_bytes);
	assert_int_equal(got.lba, rec.lba);
}

static void discard_record(void **state)
{
	static const uint8_t want[SV_REC_DISCARD_BYTES] = {
		2, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0, 0, 0, 0};
	struct sv_record rec = {
		.type = SV_REC_DISCARD, .lba = UINT64_C(0x0102030405060708), .count = 0x15161718};
	struct sv_record got;
	uint8_t bytes[SV_REC_DISCARD_BYTES];

	(void)state;
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_memory_equal(bytes, want, sizeof(want));
	assert_int_equal(got.type, rec.type);
	assert_int_equal(got.lba, rec.lba);
	assert_int_equal(got.count, rec.count);
}

static void move_record(void **state)
{
	static const uint8_t want[SV_REC_MOVE_BYTES] = {
		3,    2,    5,	  7,	0x10, 0x20, 0,	  0,	0x41, 7,    6,	  5,	4,    3,
		2,    1,    0x10, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x20, 0x27, 0x26, 0x25,
		0x24, 0x23, 0x22, 0x21, 0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31};
	struct sv_record rec = {.type = SV_REC_MOVE,
				.blocks = 2,
				.old_index = 5,
				.new_index = 7,
				.stored_bytes = 0x2010,
				.lba = UINT64_C(0x0102030405060741),
				.old_place = UINT64_C(0x1112131415161710),
				.new_place = UINT64_C(0x2122232425262720),
				.check = UINT64_C(0x3132333435363738)};
	struct sv_record got;
	uint8_t bytes[SV_REC_MOVE_BYTES];

	(void)state;
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_memory_equal(bytes, want, sizeof(want));
	assert_int_equal(got.type, rec.type);
	assert_int_equal(got.blocks, rec.blocks);
	assert_int_equal(got.old_index, rec.old_index);
	assert_int_equal(got.new_index, rec.new_index);
	assert_int_equal(got.stored_bytes, rec.stored_bytes);
	assert_int_equal(got.lba, rec.lba);
	assert_int_equal(got.old_place, rec.old_place);
	assert_int_equal(got.new_place, rec.new_place);
	assert_int_equal(got.check, rec.check);
}

static void page_record(void **state)
{
	static const uint8_t want[SV_REC_PAGE_BYTES] = {4, 1, 6, 0, 0x10, 2, 0, 0,
							8, 7, 6, 5, 4,	  3, 2, 0};
	struct sv_record rec = {.type = SV_REC_PAGE,
				.tree = SV_TREE_USAGE,
				.level = 6,
				.stored_bytes = SV_PAGE_UNIT_BYTES,
				.lba = UINT64_C(0x0002030405060708)};
	struct sv_record got;
	uint8_t bytes[SV_REC_PAGE_BYTES];

	(void)state;
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_memory_equal(bytes, want, sizeof(want));
	assert_int_equal(got.type, rec.type);
	assert_int_equal(got.tree, rec.tree);
	assert_int_equal(got.level, rec.level);
	assert_int_equal(got.stored_bytes, rec.stored_bytes);
	assert_int_equal(got.lba, rec.lba);
}

static void root_record(void **state)
{
	struct sv_record rec = {.type = SV_REC_ROOT,
				.root = {.size_bytes = 0x1101,
					 .map_top = 0x1202,
					 .usage_top = 0x1303,
					 .segments = 0x1404,
					 .mapped_blocks = 0x1505,
					 .as_of_seq = 0x1606}};
	const uint8_t type[8] = {5};
	struct sv_record got;
	uint8_t bytes[SV_REC_ROOT_BYTES];

	(void)state;
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_memory_equal(bytes, type, sizeof(type));
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(bytes[8 + 8 * i], i + 1);
		assert_int_equal(bytes[9 + 8 * i], i + 0x11);
	}
	for (unsigned i = 56; i < SV_REC_ROOT_BYTES; i++)
		assert_int_equal(bytes[i], 0);
	assert_int_equal(got.type, rec.type);
	assert_memory_equal(&got.root, &rec.root, sizeof(got.root));
}

static void session_record(void **state)
{
	struct sv_record rec = {.type = SV_REC_SESSION, .session.since_s = 0x66778899};
	static const uint8_t since[8] = {0x99, 0x88, 0x77, 0x66};
	struct sv_record got;
	uint8_t bytes[SV_REC_SESSION_BYTES];

	(void)state;
	memset(rec.session.host, 'n', sizeof(rec.session.host));
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_int_equal(bytes[0], 6);
	assert_memory_equal(bytes + 8, rec.session.host, SV_HOST_BYTES);
	assert_memory_equal(bytes + 72, since, sizeof(since));
	assert_int_equal(got.type, rec.type);
	assert_int_equal(got.session.since_s, rec.session.since_s);
	assert_int_equal(strlen(got.session.host), SV_HOST_BYTES - 1);
}

static void segment_record(void **state)
{
	static const uint8_t want[SV_REC_SEGMENT_BYTES] = {
		7, 0, 0, 0, 4,	  3,	2,    1,    8,	  7,	6,    5,
		4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x24, 0x23, 0x22, 0x21};
	struct sv_record rec = {.type = SV_REC_SEGMENT,
				.offset = 0x11121314,
				.bytes = 0x21222324,
				.segment = 0x01020304,
				.generation = UINT64_C(0x0102030405060708)};
	struct sv_record got;
	uint8_t bytes[SV_REC_SEGMENT_BYTES];

	(void)state;
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_memory_equal(bytes, want, sizeof(want));
	assert_int_equal(got.type, rec.type);
	assert_int_equal(got.segment, rec.segment);
	assert_int_equal(got.generation, rec.generation);
	assert_int_equal(got.offset, rec.offset);
	assert_int_equal(got.bytes, rec.bytes);
}

static void born_record(void **state)
{
	static const uint8_t want[SV_REC_BORN_BYTES] = {
		17,   3,    0,	  0,	0x10, 0x10, 0,	  0,	7,    0x07, 0x07,
		0,    0,    0,	  0,	0,    0x10, 0,	  2,	1,    0,    0,
		0x22, 0x11, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	struct sv_record rec = {.type = SV_REC_BORN,
				.blocks = 3,
				.stored_bytes = 4112,
				.lba = 0x70707,
				.new_place = UINT64_C(0x1122000001020010),
				.check = UINT64_C(0x1122334455667788)};
	uint8_t bytes[SV_REC_BORN_BYTES];
	struct sv_record got;

	(void)state;
	trip_record(&rec, sizeof(bytes), &got, bytes);
	assert_memory_equal(bytes, want, sizeof(want));
	assert_int_equal(got.type, rec.type);
	assert_int_equal(got.blocks, rec.blocks);
	assert_int_equal(got.stored_bytes, rec.stored_bytes);
	assert_int_equal(got.lba, rec.lba);
	assert_int_equal(got.new_place, rec.new_place);
	assert_int_equal(got.check, rec.check);
}

static int get_record(struct sv_record rec)
{
	uint8_t bytes[SV_REC_SESSION_BYTES];
	struct sv_cur put = sv_cur_over(bytes, sizeof(bytes)), get = put;

	sv_record_put(&put, &rec);
	return sv_record_get(&get, &rec);
}

#define DATA(...) ((struct sv_record){.type = SV_REC_DATA, __VA_ARGS__})
#define MOVE(...) ((struct sv_record){.type = SV_REC_MOVE, .stored_bytes = 4112, __VA_ARGS__})
#define BORN(...) ((struct sv_record){.type = SV_REC_BORN, .stored_bytes = 4112, __VA_ARGS__})
#define PAGE(...) ((struct sv_record){.type = SV_REC_PAGE, .stored_bytes = 528, __VA_ARGS__})
#define DISCARD(...) ((struct sv_record){.type = SV_REC_DISCARD, __VA_ARGS__})

/* Each rule of FORMAT.md, at its edge and one step behind it. */
static void records_must_make_sense(void **state)
{
	(void)state;
	assert_int_equal(get_record(DATA(.blocks = 1, .stored_bytes = 32)), 0);
	assert_int_equal(get_record(DATA(.blocks = 1, .stored_bytes = 16)), -EBADMSG);
	assert_int_equal(get_record(DATA(.blocks = 1, .stored_bytes = 40)), -EBADMSG);
	assert_int_equal(get_record(DATA(.blocks = 64, .stored_bytes = SV_UNIT_MAX_BYTES)), 0);
	assert_int_equal(get_record(DATA(.blocks = 64, .stored_bytes = SV_UNIT_MAX_BYTES + 16)),
			 -EBADMSG);
	assert_int_equal(get_record(DATA(.blocks = 0, .stored_bytes = 32)), -EBADMSG);
	assert_int_equal(get_record(DATA(.blocks = 2, .lba = 62, .stored_bytes = 32)), 0);
	assert_int_equal(get_record(DATA(.blocks = 2, .lba = 63, .stored_bytes = 32)), -EBADMSG);
	assert_int_equal(get_record(DATA(.blocks = 65, .stored_bytes = 32)), -EBADMSG);

	assert_int_equal(get_record(MOVE(.blocks = 2, .old_index = 62, .new_index = 62)), 0);
	assert_int_equal(get_record(MOVE(.blocks = 2, .old_index = 63)), -EBADMSG);
	assert_int_equal(get_record(MOVE(.blocks = 2, .new_index = 63)), -EBADMSG);
	assert_int_equal(get_record(MOVE(.blocks = 0)), -EBADMSG);
	assert_int_equal(get_record(MOVE(.blocks = 1, .old_place = 8)), -EBADMSG);
	assert_int_equal(get_record(MOVE(.blocks = 1, .new_place = 8)), -EBADMSG);
	assert_int_equal(get_record(MOVE(.blocks = 2, .lba = 127)), -EBADMSG);

	assert_int_equal(get_record(BORN(.blocks = 2, .lba = 62)), 0);
	assert_int_equal(get_record(BORN(.blocks = 2, .lba = 63)), -EBADMSG);
	assert_int_equal(get_record(BORN(.blocks = 0)), -EBADMSG);
	assert_int_equal(get_record(BORN(.blocks = 1, .new_place = 8)), -EBADMSG);

	assert_int_equal(get_record(PAGE(.tree = 1, .level = 7)), 0);
	assert_int_equal(get_record(PAGE(.tree = 2)), -EBADMSG);
	assert_int_equal(get_record(PAGE(.level = 8)), -EBADMSG);

	assert_int_equal(get_record(DISCARD(.count = 1)), 0);
	assert_int_equal(get_record(DISCARD(.count = 0)), -EBADMSG);
	assert_int_equal(get_record(DISCARD(.lba = UINT64_MAX - 1, .count = 1)), 0);
	assert_int_equal(get_record(DISCARD(.lba = UINT64_MAX, .count = 1)), -EBADMSG);
}

static void unknown_record_types_are_refused(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		uint8_t bytes[128] = {(uint8_t)type};
		struct sv_cur c = sv_cur_over(bytes, sizeof(bytes));
		struct sv_record rec;

		if ((type >= SV_REC_DATA && type <= SV_REC_SEGMENT) || type == SV_REC_DAMAGE ||
		    type == SV_REC_LOSS)
			continue;
		assert_int_equal(sv_record_get(&c, &rec), -EBADMSG);
	}
}

/* What a later version adds from 128 on is passed over by its length, if that makes sense. */
static void later_records_are_skipped(void **state)
{
	static const struct {
		uint32_t len_bytes;
		bool good;
	} cases[] = {{8, true},	 {16, true},  {128, true},  {0, false},
		     {4, false}, {12, false}, {136, false}, {UINT32_MAX - 7, false}};

	(void)state;
	for (unsigned type = SV_REC_SKIPPABLE; type < 256; type += 127)
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			uint8_t bytes[128] = {(uint8_t)type};
			struct sv_cur put = sv_cur_over(bytes + 4, 4);
			struct sv_cur c = sv_cur_over(bytes, sizeof(bytes));
			struct sv_record rec;

			sv_put32(&put, cases[i].len_bytes);
			assert_int_equal(sv_record_get(&c, &rec), cases[i].good ? 0 : -EBADMSG);
			if (cases[i].good)
				assert_int_equal(c.off, cases[i].len_bytes);
		}
}

static void what_openings_tell(void **state)
{
	const struct sv_record recs[] = {{.type = SV_REC_DAMAGE, .seq = 0x1122334455667788},
					 {.type = SV_REC_LOSS, .count = 0x1122334455667788}};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint8_t want[16] = "\0\0\0\0\0\0\0\0\x88\x77\x66\x55\x44\x33\x22";
		uint8_t bytes[16];
		struct sv_record got;

		want[0] = (uint8_t)(15 + i);
		want[15] = 0x11;
		trip_record(&recs[i], sizeof(bytes), &got, bytes);
		assert_memory_equal(bytes, want, sizeof(want));
		assert_int_equal(got.seq, recs[i].seq);
		assert_int_equal(got.count, recs[i].count);
	}
}

static void usage_makes_the_trip(void **state)
{
	static const uint8_t want[SV_USAGE_BYTES] = {
		8,    7,    6,	  5,	4,    3,    2,	  1,	0x18, 0x17, 0x16, 0x15, 0x14, 0x13,
		0x12, 0x11, 0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31, 0x44, 0x43, 0x42, 0x41};
	const struct sv_usage u = {.generation = UINT64_C(0x0102030405060708),
				   .last_seq = UINT64_C(0x1112131415161718),
				   .live_bytes = 0x21222324,
				   .used_bytes = 0x31323334,
				   .flags = 0x41424344};
	uint8_t bytes[SV_USAGE_BYTES];
	struct sv_cur put = sv_cur_over(bytes, sizeof(bytes)), get = put;
	struct sv_usage got;

	(void)state;
	memset(bytes, 0xee, sizeof(bytes));
	sv_usage_put(&put, &u);
	assert_false(put.bad);
	assert_memory_equal(bytes, want, sizeof(want));
	got = sv_usage_get(&get);
	assert_int_equal(got.generation, u.generation);
	assert_int_equal(got.last_seq, u.last_seq);
	assert_int_equal(got.live_bytes, u.live_bytes);
	assert_int_equal(got.used_bytes, u.used_bytes);
	assert_int_equal(got.flags, u.flags);
	assert_int_equal(SV_USAGE_PER_PAGE * SV_USAGE_BYTES, SV_PAGE_BYTES);
}

static void entries_keep_their_parts(void **state)
{
	const uint64_t far = ((UINT64_C(1) << 42) - 1) * SV_GRAIN_BYTES;
	uint64_t e = sv_entry_make(far, 63, SV_UNIT_MAX_BYTES);

	(void)state;
	assert_int_equal(e, (UINT64_C(1) << 60) - 1);
	assert_int_equal(sv_entry_place(e | SV_ENTRY_SINGLE), far);
	assert_int_equal(sv_entry_index(e | SV_ENTRY_SINGLE), 63);
	assert_int_equal(sv_entry_stored(e | SV_ENTRY_SINGLE), SV_UNIT_MAX_BYTES);
	e = sv_entry_make(0x20010, 5, 528);
	assert_int_equal(e, 0x2001 | UINT64_C(5) << 42 | UINT64_C(32) << 48);
	assert_true(sv_entry_same_unit(e, sv_entry_make(0x20010, 6, 528)));
	assert_false(sv_entry_same_block(e, sv_entry_make(0x20010, 6, 528)));
	assert_true(sv_entry_same_block(e, sv_entry_make(0x20010, 5, 16) | SV_ENTRY_SINGLE));
	assert_false(sv_entry_same_unit(e, sv_entry_make(0x20020, 5, 528)));
	assert_false(sv_entry_same_unit(0, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_record),
		cmocka_unit_test(discard_record),
		cmocka_unit_test(move_record),
		cmocka_unit_test(page_record),
		cmocka_unit_test(root_record),
		cmocka_unit_test(session_record),
		cmocka_unit_test(segment_record),
		cmocka_unit_test(born_record),
		cmocka_unit_test(records_must_make_sense),
		cmocka_unit_test(unknown_record_types_are_refused),
		cmocka_unit_test(later_records_are_skipped),
		cmocka_unit_test(what_openings_tell),
		cmocka_unit_test(usage_makes_the_trip),
		cmocka_unit_test(entries_keep_their_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
