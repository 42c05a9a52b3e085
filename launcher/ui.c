/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ui.c: how the verbs speak to people and to scripts. */
#include "ui.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "size.h"

#define MAX_COLUMNS 12

static void speak(const struct args *args, const char *kind, const char *text)
{
	const char *verb = args->verb ? args->verb->name : NULL;

	fflush(stdout);
	fprintf(stderr, "stickvm%s%s: %s", verb ? " " : "", verb ? verb : "", kind);
	/* One line, whatever names and paths hold; nothing that moves the terminal's cursor. */
	for (const char *p = text; *p; p++)
		fputc((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p, stderr);
	fputc('\n', stderr);
}

int ui_fail(const struct args *args, const struct err *err)
{
	speak(args, "", err->text);
	return err->status;
}

void ui_warn(const struct args *args, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	speak(args, "warning: ", text);
}

int ui_json(const struct args *args, json_t *value)
{
	struct err err;
	int rc = value ? json_dumpf(value, stdout, JSON_INDENT(2)) : -1;

	json_decref(value);
	if (rc == 0 && putchar('\n') != EOF && fflush(stdout) == 0)
		return EXIT_DONE;
	err_set(&err, EXIT_FAILED, "standard output: the JSON could not be written");
	return ui_fail(args, &err);
}

struct ui_table {
	unsigned columns;
	unsigned rows; /* the titles are row 0 */
	bool right[MAX_COLUMNS];
	unsigned width[MAX_COLUMNS];
	char **cells;
};

static unsigned cell_width(const char *text)
{
	unsigned width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80; /* characters, not bytes */
	return width;
}

static void add_row(struct ui_table *t, const char *const *cells)
{
	char **grown;

	assert(t->columns > 0);
	grown = realloc(t->cells, (size_t)(t->rows + 1) * t->columns * sizeof(*grown));
	if (!grown)
		return;
	t->cells = grown;
	for (unsigned c = 0; c < t->columns; c++) {
		const char *text = t->rows == 0 && t->right[c] ? cells[c] + 1 : cells[c];
		unsigned width = cell_width(text);

		t->cells[t->rows * t->columns + c] = strdup(text);
		if (width > t->width[c])
			t->width[c] = width;
	}
	t->rows++;
}

struct ui_table *ui_table_new(unsigned columns, const char *const *titles)
{
	struct ui_table *t = calloc(1, sizeof(*t));

	if (!t || columns > MAX_COLUMNS) {
		free(t);
		return NULL;
	}
	t->columns = columns;
	for (unsigned c = 0; c < columns; c++)
		t->right[c] = titles[c][0] == '>';
	add_row(t, titles);
	return t;
}

void ui_table_row(struct ui_table *t, const char *const *cells)
{
	if (t && t->rows > 0)
		add_row(t, cells);
}

void ui_table_free(struct ui_table *t)
{
	for (size_t i = 0; t && i < (size_t)t->rows * t->columns; i++)
		free(t->cells[i]);
	if (t)
		free(t->cells);
	free(t);
}

static void print_row(const struct ui_table *t, unsigned row, FILE *out)
{
	for (unsigned c = 0; c < t->columns; c++) {
		const char *text = t->cells[row * t->columns + c];
		int pad = (int)t->width[c] - (int)cell_width(text ? text : "");
		bool last = c + 1 == t->columns;

		if (t->right[c])
			fprintf(out, "%*s%s", pad, "", text ? text : "");
		else
			fprintf(out, "%s%*s", text ? text : "", last ? 0 : pad, "");
		fputs(last ? "\n" : "  ", out);
	}
}

void ui_table_print(struct ui_table *t, FILE *out)
{
	bool bold;

	if (!t)
		return;
	bold = isatty(fileno(out)) && !getenv("NO_COLOR");
	for (unsigned row = 0; row < t->rows; row++) {
		if (row == 0 && bold)
			fputs("\033[1m", out);
		print_row(t, row, out);
		if (row == 0 && bold)
			fputs("\033[0m", out);
	}
	ui_table_free(t);
}

bool ui_interactive(void)
{
	return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool ui_ask(const char *question)
{
	char answer[16];

	if (!ui_interactive())
		return false;
	fflush(stdout);
	fprintf(stderr, "%s [y/N] ", question);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void ui_progress_start(struct ui_progress *p, const char *what)
{
	*p = (struct ui_progress){.what = what, .terminal = isatty(STDERR_FILENO)};
	p->start_s = now_s();
	p->last_s = p->start_s;
}

void ui_progress_step(struct ui_progress *p, uint64_t done_bytes, uint64_t total_bytes)
{
	double now = p->terminal ? now_s() : 0;
	double passed = now - p->start_s;
	char done[32], total[32], rate[32];
	uint64_t left_s;

	if (!p->terminal || passed < 1 || now - p->last_s < 0.2 || total_bytes == 0)
		return;
	p->last_s = now;
	p->shown = true;
	left_s = done_bytes > 0 ? (uint64_t)(passed * (double)(total_bytes - done_bytes) /
					     (double)done_bytes)
				: 0;
	fprintf(stderr, "\r%s %3u %%  %s of %s  %s/s  %" PRIu64 ":%02u left\033[K", p->what,
		(unsigned)(100.0 * (double)done_bytes / (double)total_bytes),
		size_human(done_bytes, done, sizeof(done)),
		size_human(total_bytes, total, sizeof(total)),
		size_human((uint64_t)((double)done_bytes / passed), rate, sizeof(rate)),
		left_s / 60, (unsigned)(left_s % 60));
}

void ui_progress_end(struct ui_progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}

const char *ui_time(uint64_t unix_s, char *buf, size_t buf_bytes)
{
	time_t when = (time_t)unix_s;
	struct tm tm;

	if (unix_s == 0 || !localtime_r(&when, &tm) ||
	    strftime(buf, buf_bytes, "%Y-%m-%d %H:%M", &tm) == 0)
		snprintf(buf, buf_bytes, "-");
	return buf;
}
