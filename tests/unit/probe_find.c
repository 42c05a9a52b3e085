/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_find.c: geometry from samples alone, published ones and made up; what is kept of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../launcher/stick.h" /* flashsim has one as well */
#include "file.h"
#include "measured.h"
#include "probe_find.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1) << 20)

/* What reads across borders cost more, in us, for 4 KiB, 8 KiB, 16 KiB, ...: as published. */
static void borders(const double *diffs_us, size_t count, double base_us, uint64_t *ret_page,
		    uint64_t *ret_unit)
{
	struct probe_level levels[24];

	for (size_t i = 0; i < count; i++)
		levels[i] = (struct probe_level){4096ull << i, (uint64_t)(base_us * 1000),
						 (int64_t)(diffs_us[i] * 1000), 5000};
	probe_find_borders(levels, count, ret_page, ret_unit);
}

/* The card of flashbench's README: 16 KiB and 4 MiB, says its author. */
static void flashbench_card(void **state)
{
	static const double diffs[] = {5.85, 53.3, 148, 157, 159, 165, 171, 165,
				       169,  171,  317, 299, 302, 294, 300, 324};
	uint64_t page, unit;

	(void)state;
	borders(diffs, 16, 745, &page, &unit);
	assert_int_equal(page, 16 * KIB);
	assert_int_equal(unit, 4 * MIB);
}

/* A stick of flashbench's mailing list: "clearly 8 MB, page size is not clear". */
static void flashbench_stick(void **state)
{
	static const double diffs[] = {24,   22,   20,	 22,   26,  18.7, 32.6,
				       35.1, 32.2, 21.2, 44.2, 219, 211,  200};
	uint64_t page, unit;

	(void)state;
	borders(diffs, 14, 660, &page, &unit);
	assert_int_equal(page, 0);
	assert_int_equal(unit, 8 * MIB);
}

/* No step is an answer. */
static void flat(void **state)
{
	static const double diffs[] = {3, -4, 9, 2, -7, 5, 1, 8, -3, 2, 6, -1, 4, 0};
	uint64_t page, unit;

	(void)state;
	borders(diffs, 14, 300, &page, &unit);
	assert_int_equal(page, 0);
	assert_int_equal(unit, 0);
	/* the host was busy during some levels */
	borders((const double[]){3, -90, 140, 60, -20, 150, 30, 210, 80, -10, 190, 120, 40, 230},
		14, 1000, &page, &unit);
	assert_int_equal(page, 0);
	assert_int_equal(unit, 0);
	borders(diffs, 2, 300, &page, &unit);
	assert_int_equal(page + unit, 0);
}

static size_t walk(struct probe_sample *samples, size_t count, uint64_t stride, uint64_t unit,
		   uint64_t phase)
{
	for (size_t i = 0; i < count; i++)
		samples[i] = (struct probe_sample){
			i * stride, 4096,
			i * stride % unit == phase ? 70000000 : 200000 + i % 7 * 9000};
	return count;
}

static void units(void **state)
{
	struct probe_sample s[64];
	struct probe_unit unit;

	(void)state;
	unit = probe_find_unit(s, walk(s, 64, MIB, 8 * MIB, 3 * MIB), MIB);
	assert_int_equal(unit.unit_bytes, 8 * MIB);
	assert_int_equal(unit.phase_bytes, 3 * MIB);
	assert_true(unit.clear && unit.slow_ns == 70000000);
	/* the first places were free, and somebody else wrote twice */
	walk(s, 64, MIB, 4 * MIB, 0);
	s[0].ns = s[4].ns = s[8].ns = 200000;
	s[17].ns = s[34].ns = 90000000;
	unit = probe_find_unit(s, 64, MIB);
	assert_int_equal(unit.unit_bytes, 4 * MIB);
	/* slow now and then is no unit */
	walk(s, 64, MIB, 4096 * MIB, 1);
	s[3].ns = s[9].ns = s[10].ns = s[31].ns = s[50].ns = 50000000;
	assert_int_equal(probe_find_unit(s, 64, MIB).unit_bytes, 0);
	assert_int_equal(probe_find_unit(s, 3, MIB).unit_bytes, 0);
}

static void open_units(void **state)
{
	const uint64_t third[] = {70, 69, 21}, never[] = {70, 71, 69, 70}, free_place[] = {70, 1};

	(void)state;
	assert_int_equal(probe_find_open(third, 3, 70), 3);
	assert_int_equal(probe_find_open(never, 4, 70), 0);
	assert_int_equal(probe_find_open(free_place, 2, 70), -1);
}

static void cliffs(void **state)
{
	uint64_t pieces[40];
	struct probe_cliff cliff;

	(void)state;
	for (size_t i = 0; i < 40; i++)
		pieces[i] = i < 13 ? 45 + i % 3 : 84 + i % 5;
	pieces[5] = 200; /* the host looked away */
	cliff = probe_find_cliff(pieces, 40);
	assert_int_equal(cliff.pieces, 13);
	assert_in_range(cliff.before_ns, 45, 47);
	assert_in_range(cliff.after_ns, 84, 88);
	for (size_t i = 0; i < 40; i++)
		pieces[i] = i % 9 ? 45 : 120;
	assert_int_equal(probe_find_cliff(pieces, 40).pieces, 0);
}

static void fits(void **state)
{
	struct probe_sample s[30];
	double fix_ns, per_byte;

	(void)state;
	for (size_t i = 0; i < 30; i++) {
		s[i].len_bytes = 4 * KIB << (i % 3 * 2);
		s[i].ns = 150000 + s[i].len_bytes * 50 + (i == 7 ? 40000000 : 0);
	}
	assert_true(probe_fit(s, 30, &fix_ns, &per_byte));
	assert_in_range((uint64_t)fix_ns, 149000, 151000);
	assert_in_range((uint64_t)(per_byte * 100), 4990, 5010);
	assert_false(probe_fit(s, 1, &fix_ns, &per_byte));
}

static void slower(void **state)
{
	struct measured_history h = {0};
	struct measured now = {.at_s = 100, .link_mbps = 5000, .write_rate = 50, .read_rate = 100};

	(void)state;
	assert_null(measured_slower(&h, &now).what); /* nothing to compare with */
	for (uint64_t t = 1; t <= 3; t++)
		*history_at(&h, t) = (struct measured){
			.at_s = t, .link_mbps = 5000, .write_rate = 98 + t, .read_rate = 101};
	assert_string_equal(measured_slower(&h, &now).what, "write_rate");
	assert_int_equal(measured_slower(&h, &now).before, 100);
	now.write_rate = 76;
	assert_null(measured_slower(&h, &now).what);
	now.read_rate = 70;
	assert_string_equal(measured_slower(&h, &now).what, "read_rate");
	now.link_mbps = 480; /* another port: no verdict */
	assert_null(measured_slower(&h, &now).what);
	for (uint64_t t = 10; t < 30; t++)
		history_at(&h, t);
	assert_int_equal(h.count, MEASURED_HISTORY);
	assert_int_equal(history_newest(&h).at_s, 29);
}

/* Written, read again, and a probe that only read leaves what only writing tells. */
static void kept_on_the_stick(void **state)
{
	char dir[] = "/tmp/stickvm-kept.XXXXXX";
	struct measured first = {.at_s = 1700000000,
				 .read_rate = 20,
				 .write_rate = 9,
				 .random_read_us = 735,
				 .merge_us = 258000};
	struct measured second = {.at_s = 1700000100, .read_rate = 21};
	struct stick_geometry all = {16384, 4 << 20, 2}, none = {0};
	struct stick stick, again;
	struct err err;
	bool fresh;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(stick_init(dir, &stick, &fresh, &err), 0);
	assert_int_equal(stick_note_probe(&stick, &first, &all, &err), 0);
	assert_int_equal(stick_note_probe(&stick, &second, &none, &err), 0);
	assert_int_equal(stick_load(dir, &again, &err), 0);
	assert_int_equal(again.page_bytes, 16384);
	assert_int_equal(again.erase_bytes, 4 << 20);
	assert_int_equal(again.open_units, 2);
	assert_int_equal(again.measured.at_s, 1700000100);
	assert_int_equal(again.measured.read_rate, 21);
	assert_int_equal(again.measured.write_rate, 9);
	assert_int_equal(again.measured.merge_us, 258000);
	assert_int_equal(again.history.count, 2);
	assert_int_equal(again.history.entries[0].write_rate, 9);
	assert_int_equal(history_newest(&again.history).read_rate, 21);
	stick_free(&again);
	stick_free(&stick);
	assert_int_equal(file_remove_tree(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flashbench_card),
		cmocka_unit_test(flashbench_stick),
		cmocka_unit_test(flat),
		cmocka_unit_test(units),
		cmocka_unit_test(open_units),
		cmocka_unit_test(cliffs),
		cmocka_unit_test(fits),
		cmocka_unit_test(slower),
		cmocka_unit_test(kept_on_the_stick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
