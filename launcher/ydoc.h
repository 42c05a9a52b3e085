/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ydoc.h: a settings file as a flat list of keys, each with its line and its place in the text. */
#ifndef LAUNCHER_YDOC_H
#define LAUNCHER_YDOC_H

#include <stddef.h>

#include "err.h"

/*
 * Settings files are YAML mappings of scalars, nested where that reads better; sequences, aliases
 * and tags have no use here and are refused. A nested key is written "geometry.page". The text is
 * kept, so that a value can be replaced with everything around it, comments included, untouched.
 */
struct ydoc_entry {
	char *key;
	char *value;
	unsigned line;	   /* of the key, from 1 */
	size_t begin, end; /* of the value in the text, in bytes, quotes included */
};

struct ydoc {
	char *path;
	char *text;
	size_t text_bytes;
	struct ydoc_entry *entries;
	size_t count;
};

/* An error names the file and the line. The document is the caller's: ydoc_free. A missing file
 * is an error as well; `err->status` is EXIT_NO_STICK where the medium is gone. */
int ydoc_read(const char *path, struct ydoc *ret_doc, struct err *err);
/* Takes an emptied struct as well. */
void ydoc_free(struct ydoc *doc);

/* Borrowed; NULL where there is none. */
const struct ydoc_entry *ydoc_find(const struct ydoc *doc, const char *key);

/* Replaces the value of an entry in the text, or adds a line at its end where there is none.
 * The entries' places are not valid afterwards: call it from the last entry to the first.
 * 0 or -ENOMEM. */
int ydoc_replace(struct ydoc *doc, const struct ydoc_entry *entry, const char *value);
int ydoc_append(struct ydoc *doc, const char *key, const char *value);
/* Takes the line of an entry out of the text, the same way. */
int ydoc_remove(struct ydoc *doc, const struct ydoc_entry *entry);

/* A value as YAML must have it: plain where that is safe, else in double quotes. The caller
 * frees it; NULL without memory. */
char *ydoc_quote(const char *value);

#endif
