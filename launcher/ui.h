/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ui.h: how the verbs speak: one error line, tables, colour, progress, JSON, questions. */
#ifndef LAUNCHER_UI_H
#define LAUNCHER_UI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"
#include "opts.h"

/* Prints "stickvm VERB: text" to standard error; returns the exit status, to be returned. */
int ui_fail(const struct args *args, const struct err *err);
/* "stickvm VERB: warning: text" to standard error. */
void ui_warn(const struct args *args, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints the value, indented, to standard output, and releases it. EXIT_DONE or EXIT_FAILED. */
int ui_json(const struct args *args, json_t *value);

/*
 * A table with columns as wide as their widest cell. Cells are copied. A leading '>' in a title
 * aligns its column to the right. Without memory it prints what it has.
 */
struct ui_table;
struct ui_table *ui_table_new(unsigned columns, const char *const *titles);
void ui_table_row(struct ui_table *t, const char *const *cells);
/* Prints and frees; titles are bold on a terminal. */
void ui_table_print(struct ui_table *t, FILE *out);
/* Frees one that is not to be printed. Takes NULL. */
void ui_table_free(struct ui_table *t);

/* Asks on the terminal and waits for y or n; false without a terminal. */
bool ui_ask(const char *question);
/* Whether there is someone to ask: standard input and standard error are a terminal. */
bool ui_interactive(void);

/*
 * A progress bar on standard error, only on a terminal and only once a second has passed:
 * "importing  42 %  1.2 of 2.9 GiB  35 MiB/s  0:48 left". `end` takes it off the screen.
 */
struct ui_progress {
	const char *what;
	bool terminal;
	bool shown;
	double start_s;
	double last_s;
};
void ui_progress_start(struct ui_progress *p, const char *what);
void ui_progress_step(struct ui_progress *p, uint64_t done_bytes, uint64_t total_bytes);
void ui_progress_end(struct ui_progress *p);

/* Local time as "2024-05-17 08:30", "-" for 0. */
const char *ui_time(uint64_t unix_s, char *buf, size_t buf_bytes);

#endif
