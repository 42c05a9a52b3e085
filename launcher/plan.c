/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plan.c: a plan as text for people and as JSON for scripts. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

const struct decision *plan_find(const struct plan *plan, const char *name)
{
	for (size_t i = 0; i < plan->count; i++)
		if (strcmp(plan->decisions[i].name, name) == 0)
			return &plan->decisions[i];
	return NULL;
}

int plan_check(const struct plan *plan, struct err *err)
{
	for (size_t i = 0; i < plan->count; i++) {
		const struct decision *row = &plan->decisions[i];

		if (row->level == PLAN_REFUSED)
			return err_set(err, row->status, "%s", row->reason);
	}
	return 0;
}

static const char *level_name(enum plan_level level)
{
	static const char *const names[] = {
		[PLAN_PLAIN] = "plain",
		[PLAN_NOTE] = "note",
		[PLAN_REFUSED] = "refused",
	};

	return names[level];
}

json_t *plan_to_json(const struct plan *plan)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < plan->count; i++) {
		const struct decision *row = &plan->decisions[i];
		json_t *facts = json_array();

		for (const char *const *name = row->facts; *name; name++)
			json_array_append_new(facts, json_string(*name));
		json_array_append_new(rows,
				      json_pack("{s:s, s:s, s:s, s:o, s:s}", "name", row->name,
						"value", row->value, "reason", row->reason, "facts",
						facts, "level", level_name(row->level)));
	}
	return rows;
}

enum { NAME_COLUMNS = 14, VALUE_COLUMNS = 30, MIN_REASON_COLUMNS = 24 };

/* The length of the longest piece of `text` that ends before a blank and fits. */
static size_t line_len(const char *text, size_t columns)
{
	size_t best = 0;

	for (size_t i = 0; i <= columns; i++) {
		if (text[i] == '\0')
			return i;
		if (text[i] == ' ')
			best = i;
	}
	return best ? best : columns;
}

static void print_row(FILE *out, const struct decision *row, size_t reason_columns)
{
	static const char *const marks[] = {
		[PLAN_PLAIN] = " ", [PLAN_NOTE] = "!", [PLAN_REFUSED] = "X"};
	const int indent = 2 + NAME_COLUMNS + VALUE_COLUMNS;
	const char *reason = row->reason;
	bool first = true;

	fprintf(out, "%s %-*s%-*s", marks[row->level], NAME_COLUMNS, row->name, VALUE_COLUMNS - 1,
		row->value);
	/* A value that does not fit has its reason below. */
	if (strlen(row->value) > VALUE_COLUMNS - 2)
		fprintf(out, "\n%*s", indent - 1, "");
	do {
		size_t len = line_len(reason, reason_columns);

		fprintf(out, first ? " %.*s\n" : "%*s%.*s\n", first ? (int)len : indent,
			first ? reason : "", (int)len, reason);
		first = false;
		reason += len + (reason[len] == ' ');
	} while (*reason);
}

char *plan_to_text(const struct plan *plan, unsigned width)
{
	const size_t used = 2 + NAME_COLUMNS + VALUE_COLUMNS;
	const size_t columns =
		width > used + MIN_REASON_COLUMNS ? width - used : MIN_REASON_COLUMNS;
	char *text = NULL;
	size_t text_bytes = 0;
	FILE *out = open_memstream(&text, &text_bytes);

	if (!out)
		return NULL;
	for (size_t i = 0; i < plan->count; i++)
		print_row(out, &plan->decisions[i], columns);
	return fclose(out) == 0 ? text : NULL;
}
