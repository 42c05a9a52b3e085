/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doc_table.c: the tables of FORMAT.md, read from it, to take bytes apart with. */
#include "doc_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *doc_load(const char *path)
{
	FILE *file = fopen(path, "rb");
	char *text = NULL;
	size_t room = 0;
	ssize_t len = -1;

	if (file == NULL)
		return NULL;
	len = getdelim(&text, &room, '\0', file);
	fclose(file);
	if (len < 0) {
		free(text);
		return NULL;
	}
	return text;
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end == NULL ? line + strlen(line) : end + 1;
}

static bool parse_row(const char *line, struct doc_row *ret_row)
{
	struct doc_row row;
	size_t len;

	if (sscanf(line, "| %u | %u | %39[^|\n]|", &row.off, &row.size, row.name) != 3)
		return false;
	for (len = strlen(row.name); len > 0 && row.name[len - 1] == ' '; len--)
		row.name[len - 1] = '\0';
	*ret_row = row;
	return true;
}

bool doc_table_find(const char *page, const char *title, struct doc_table *ret_table)
{
	struct doc_table table = {.count = 0};
	size_t len = strlen(title);
	const char *line = page;

	while (*line != '\0' && (strncmp(line, "### ", 4) != 0 ||
				 strncmp(line + 4, title, len) != 0 || line[4 + len] != '\n'))
		line = next_line(line);
	if (*line == '\0')
		return false;
	for (line = next_line(line); *line != '\0' && *line != '|'; line = next_line(line))
		if (*line == '#')
			return false;
	for (; *line == '|' && table.count < DOC_ROWS; line = next_line(line))
		table.count += parse_row(line, &table.rows[table.count]);
	snprintf(table.title, sizeof(table.title), "%s", title);
	*ret_table = table;
	return table.count > 0;
}

unsigned doc_table_bytes(const struct doc_table *table)
{
	const struct doc_row *last = &table->rows[table->count - 1];

	return last->off + last->size;
}

const struct doc_row *doc_row_of(const struct doc_table *table, const char *name)
{
	for (unsigned i = 0; i < table->count; i++)
		if (strcmp(table->rows[i].name, name) == 0)
			return &table->rows[i];
	return NULL;
}

uint64_t doc_number(const uint8_t *bytes, unsigned size)
{
	uint64_t value = 0;

	while (size > 0)
		value = value << 8 | bytes[--size];
	return value;
}
