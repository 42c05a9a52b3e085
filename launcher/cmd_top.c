/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cmd_top.c: `top`: a live view of the disks that are mounted on this host.
 *
 * It reads their status.json once a second and holds nothing open, so it works while a stick is
 * away, and hinders nobody. On a terminal it draws with ncurses; elsewhere it prints a line a disk
 * a second until it is ended; --once and --json look for one second and end.
 */
#include <curses.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "size.h"
#include "top.h"
#include "ui.h"
#include "verbs.h"

#define MOUNTS "/proc/self/mountinfo"
#define SECOND_MS 1000

/* The columns: each at least as wide as what may stand in it, 80 in all with 14 for the name. */
#define COLUMNS 9
static const char *const titles[COLUMNS] = {"VM",     "STATE", ">READ/s", ">WRITE/s", ">STICK/s",
					    ">TIMES", ">HIT",  ">DIRTY",  ">CLEANER"};
static const int widths[COLUMNS] = {14, 10, 9, 9, 9, 6, 5, 9, 9};

struct cells {
	char text[COLUMNS][80];
};

static void rate_text(double bytes, char text[80])
{
	if (bytes < 0)
		snprintf(text, 80, "-");
	else
		size_human((uint64_t)bytes, text, 80);
}

static void fill(const struct top_sample *before, const struct top_sample *now, unsigned i,
		 struct cells *ret)
{
	const struct top_vm *vm = &now->vm[i];
	struct top_rates r = top_rate(before, now, i);

	snprintf(ret->text[0], 80, "%s", vm->name);
	snprintf(ret->text[1], 80, "%s", vm->state);
	rate_text(r.guest_read, ret->text[2]);
	rate_text(r.guest_written, ret->text[3]);
	rate_text(r.stick_written, ret->text[4]);
	snprintf(ret->text[5], 80, r.times < 0 ? "-" : "%.2f", r.times);
	snprintf(ret->text[6], 80, r.hits < 0 ? "-" : "%.0f%%", 100 * r.hits);
	size_human(vm->dirty_bytes, ret->text[7], 80);
	if (r.cleaner > 0)
		rate_text(r.cleaner, ret->text[8]);
	else
		snprintf(ret->text[8], 80, "idle");
}

/* ---- without a screen ---- */

static void wait_a_second(void)
{
	nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
}

static int print_once(const struct args *args, const struct top_sample *before,
		      const struct top_sample *now)
{
	struct ui_table *table;

	if (args_has(args, "json"))
		return ui_json(args, json_pack("{s:o}", "vms", top_json(before, now)));
	table = ui_table_new(COLUMNS, titles);
	for (unsigned i = 0; i < now->count; i++) {
		const char *row[COLUMNS];
		struct cells cells;

		fill(before, now, i, &cells);
		for (unsigned k = 0; k < COLUMNS; k++)
			row[k] = cells.text[k];
		ui_table_row(table, row);
	}
	ui_table_print(table, stdout);
	return EXIT_DONE;
}

static void print_lines(const struct top_sample *before, const struct top_sample *now)
{
	for (unsigned i = 0; i < now->count; i++) {
		struct cells c;

		fill(before, now, i, &c);
		printf("%s %s read=%s/s write=%s/s stick=%s/s times=%s hit=%s dirty=%s "
		       "cleaner=%s\n",
		       c.text[0], c.text[1], c.text[2], c.text[3], c.text[4], c.text[5], c.text[6],
		       c.text[7], c.text[8]);
	}
	fflush(stdout);
}

/* ---- on a screen ---- */

struct screen {
	struct top_sample before, now;
	unsigned chosen;
};

/* A cell at `x`; returns where the next one begins. What is too long is cut. */
static int put_cell(int y, int x, int column, const char *text, const char *title)
{
	int width = widths[column];

	if (x + width <= COLS)
		mvprintw(y, x, title[0] == '>' ? "%*.*s" : "%-*.*s", width, width - 1, text);
	return x + width;
}

static void draw_row(int y, const struct cells *cells)
{
	int x = 0;

	for (int i = 0; i < COLUMNS; i++)
		x = put_cell(y, x, i, cells->text[i], titles[i]);
}

static void draw_titles(int y)
{
	int x = 0;

	attron(A_BOLD);
	for (int i = 0; i < COLUMNS; i++)
		x = put_cell(y, x, i, titles[i] + (titles[i][0] == '>'), titles[i]);
	attroff(A_BOLD);
}

/* "label  [######----]  text" */
static void draw_bar(int y, const char *label, double part, const char *text)
{
	int width = COLS - 50 > 40 ? 40 : COLS - 50, full;

	if (y >= LINES - 1)
		return;
	mvprintw(y, 0, "%-16.16s", label);
	if (width >= 10) {
		full = (int)(part * width + 0.5);
		addch('[');
		for (int i = 0; i < width; i++)
			addch(i < full ? '#' : '-');
		addstr("]  ");
	}
	printw("%.*s", COLS - getcurx(stdscr) - 1, text);
}

static void draw_chosen(const struct screen *s, int y)
{
	const struct top_vm *vm = &s->now.vm[s->chosen];
	struct top_rates r = top_rate(&s->before, &s->now, s->chosen);
	char a[32], b[32], text[96];
	double part = vm->capacity_bytes ? (double)vm->used_bytes / (double)vm->capacity_bytes : 0;
	double segments =
		(double)(vm->free_segments > vm->segments ? vm->free_segments : vm->segments);

	if (y < LINES - 1)
		mvprintw(y, 0, "%.*s", COLS - 1, vm->name);
	snprintf(text, sizeof(text), "%s of %s", size_human(vm->used_bytes, a, sizeof(a)),
		 size_human(vm->capacity_bytes, b, sizeof(b)));
	draw_bar(y + 1, "in use", part > 1 ? 1 : part, text);
	snprintf(text, sizeof(text), "%" PRIu64 ", %" PRIu64 " there", vm->free_segments,
		 vm->segments);
	draw_bar(y + 2, "free segments", segments > 0 ? (double)vm->free_segments / segments : 0,
		 text);
	snprintf(text, sizeof(text),
		 vm->cached || r.hits >= 0 ? "of what was read last second"
					   : "nothing was read, or no cache");
	draw_bar(y + 3, "cache hits", r.hits < 0 ? 0 : r.hits, text);
	snprintf(text, sizeof(text), "flushes %.1f/s, read from the stick %s/s", r.flushes,
		 size_human((uint64_t)r.stick_read, a, sizeof(a)));
	if (y + 4 < LINES - 1)
		mvprintw(y + 4, 0, "%.*s", COLS - 1, text);
}

static void draw(struct screen *s)
{
	time_t now = time(NULL);
	char clock[16];
	struct tm tm;
	int y = 2, below = LINES >= 16 ? 7 : 1; /* lines for the chosen one */

	if (s->chosen >= s->now.count)
		s->chosen = s->now.count ? s->now.count - 1 : 0;
	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&now, &tm));
	erase();
	mvprintw(0, 0, "%.*s", COLS - 1, "stickvm top");
	mvprintw(0, 14, "%s  %u mounted", clock, s->now.count);
	if (COLS > 60)
		mvprintw(0, COLS - 25, "up/down chooses, q quits");
	draw_titles(y++);
	for (unsigned i = 0; i < s->now.count && y < LINES - below; i++, y++) {
		struct cells cells;

		fill(&s->before, &s->now, i, &cells);
		if (i == s->chosen)
			attron(A_REVERSE);
		draw_row(y, &cells);
		attroff(A_REVERSE);
	}
	if (s->now.count)
		draw_chosen(s, y + 1);
	else
		mvprintw(y + 1, 0, "%.*s", COLS - 1, "No disk is mounted or runs on this host.");
	refresh();
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Keys until the next sample is due; false: quit. */
static bool keys(struct screen *s)
{
	int64_t left;

	while ((left = s->now.at_ms + SECOND_MS - now_ms()) > 0) {
		timeout((int)left);
		switch (getch()) {
		case 'q':
		case 'Q':
			return false;
		case KEY_UP:
			s->chosen -= s->chosen > 0;
			break;
		case KEY_DOWN:
			s->chosen++;
			break;
		case KEY_RESIZE:
			break;
		default: /* also when the time is over */
			continue;
		}
		draw(s);
	}
	return true;
}

static void run_screen(struct screen *s, const char *name)
{
	initscr();
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	do {
		s->before = s->now;
		top_read(MOUNTS, name, &s->now);
		draw(s);
	} while (keys(s));
	endwin();
}

static int fail_nothing(const struct args *args, const char *name)
{
	struct err err;

	err_set(&err, EXIT_FAILED,
		"%s: not mounted and not running on this host; 'stickvm list' shows the VMs of the "
		"stick",
		name ? name : "no disk");
	return ui_fail(args, &err);
}

int cmd_top(const struct args *args)
{
	const char *name = args_operand(args, 0);
	bool once = args_has(args, "once") || args_has(args, "json");
	struct screen *s = calloc(1, sizeof(*s));
	int status = EXIT_DONE;

	if (!s)
		abort();
	top_read(MOUNTS, name, &s->now);
	if (!s->now.count && (name || !isatty(STDOUT_FILENO) || once)) {
		free(s);
		return fail_nothing(args, name);
	}
	if (!once && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
		run_screen(s, name);
		free(s);
		return EXIT_DONE;
	}
	do {
		s->before = s->now;
		wait_a_second();
		top_read(MOUNTS, name, &s->now);
		if (once)
			status = print_once(args, &s->before, &s->now);
		else
			print_lines(&s->before, &s->now);
	} while (!once && s->now.count && !ferror(stdout));
	free(s);
	return status;
}
