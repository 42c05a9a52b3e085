/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ui.c: tables, times, and errors as the terminal gets them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ui.h"
#include "verbs.h"

static void a_table_is_as_wide_as_its_cells(void **state)
{
	static const char *const titles[] = {"NAME", ">SIZE", "X"};
	const char *const one[] = {"\xc3\xa9t\xc3\xa9", "1 B", "last"}; /* three characters */
	const char *const two[] = {"longer", "1000 KiB", ""};
	struct ui_table *table = ui_table_new(3, titles);
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = tmpfile();

	(void)state;
	ui_table_row(table, one);
	ui_table_row(table, two);
	ui_table_print(table, out);
	bytes = (size_t)ftell(out);
	rewind(out);
	text = calloc(1, bytes + 1);
	assert_int_equal(fread(text, 1, bytes, out), bytes);
	assert_string_equal(text, "NAME        SIZE  X\n"
				  "\xc3\xa9t\xc3\xa9          1 B  last\n"
				  "longer  1000 KiB  \n");
	free(text);
	fclose(out);
	ui_table_free(NULL);
	ui_table_free(ui_table_new(3, titles));
}

/* What the function says on standard error; the caller frees it. */
static char *said(const struct args *args, const struct err *err, int *ret_status)
{
	FILE *file = tmpfile();
	int keep = dup(STDERR_FILENO);
	char *text;
	long bytes;

	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	*ret_status = ui_fail(args, err);
	fflush(stderr);
	dup2(keep, STDERR_FILENO);
	close(keep);
	fseek(file, 0, SEEK_END);
	bytes = ftell(file);
	rewind(file);
	text = calloc(1, (size_t)bytes + 1);
	assert_int_equal(fread(text, 1, (size_t)bytes, file), bytes);
	fclose(file);
	return text;
}

static void an_error_is_one_line(void **state)
{
	struct args args = {.verb = verb_find(verbs, "create")};
	struct err err = {.status = EXIT_LOCKED};
	int status;
	char *text;

	(void)state;
	snprintf(err.text, sizeof(err.text), "a\nb\033[2J: \xc3\xa9; do this");
	text = said(&args, &err, &status);
	assert_string_equal(text, "stickvm create: a?b?[2J: \xc3\xa9; do this\n");
	assert_int_equal(status, EXIT_LOCKED);
	free(text);
	args.verb = NULL;
	text = said(&args, &err, &status);
	assert_memory_equal(text, "stickvm: a?", 11);
	free(text);
}

static void a_bar_is_for_a_terminal_and_a_second(void **state)
{
	struct ui_progress p;

	(void)state;
	ui_progress_start(&p, "importing");
	p.terminal = false;
	p.start_s -= 10;
	ui_progress_step(&p, 1, 2);
	assert_false(p.shown);
	p.terminal = true;
	p.start_s += 10;
	p.last_s -= 10;
	ui_progress_step(&p, 1, 2);
	assert_false(p.shown); /* not a second yet */
	p.start_s -= 10;
	ui_progress_step(&p, 0, 0);
	assert_false(p.shown); /* nothing to divide by */
	ui_progress_step(&p, 1, 2);
	assert_true(p.shown);
	ui_progress_end(&p);
	assert_false(p.shown);
}

static void times(void **state)
{
	char buf[32];

	(void)state;
	setenv("TZ", "UTC", 1);
	tzset();
	assert_string_equal(ui_time(0, buf, sizeof(buf)), "-");
	assert_string_equal(ui_time(1700000000, buf, sizeof(buf)), "2023-11-14 22:13");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_as_wide_as_its_cells),
		cmocka_unit_test(an_error_is_one_line),
		cmocka_unit_test(a_bar_is_for_a_terminal_and_a_second),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
