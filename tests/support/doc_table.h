/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doc_table.h: the tables of FORMAT.md, read from it, to take bytes apart with. */
#ifndef TEST_DOC_TABLE_H
#define TEST_DOC_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOC_ROWS 48u

struct doc_row {
	unsigned off, size;
	char name[40]; /* "-": zero, reserved */
};

/* A table "| offset | size | name | ..." under a heading "### TITLE". */
struct doc_table {
	char title[40];
	struct doc_row rows[DOC_ROWS];
	unsigned count;
};

/* The page as text, NUL-terminated; the caller's. NULL if it cannot be read. */
char *doc_load(const char *path);
/* False where the heading, or a table under it, is missing. Rows whose offset or size is no plain
 * number are left out. */
bool doc_table_find(const char *page, const char *title, struct doc_table *ret_table);
/* Bytes of the structure, going by its last row. */
unsigned doc_table_bytes(const struct doc_table *table);
/* NULL if there is none of that name. */
const struct doc_row *doc_row_of(const struct doc_table *table, const char *name);
/* A little-endian number of up to 8 bytes. */
uint64_t doc_number(const uint8_t *bytes, unsigned size);

#endif
