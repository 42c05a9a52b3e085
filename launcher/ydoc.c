/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ydoc.c: reads YAML through libyaml's events, which know the line and the place of everything. */
#include "ydoc.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "file.h"

#define MAX_FILE_BYTES (1u << 20)
#define MAX_DEPTH 4
#define MAX_ENTRIES 8192u /* each is compared with all before it */

/* Where the reader is: the mappings around it, and the key that waits for its value. */
struct reader {
	struct ydoc *doc;
	struct err *err;
	char prefix[MAX_DEPTH + 1][128];
	unsigned depth; /* 0: outside of the mapping */
	char key[128];
	unsigned key_line;
	bool have_key;
	bool done;
	size_t chars, bytes; /* the same place in the text, so far into it */
};

void ydoc_free(struct ydoc *doc)
{
	for (size_t i = 0; i < doc->count; i++) {
		free(doc->entries[i].key);
		free(doc->entries[i].value);
	}
	free(doc->entries);
	free(doc->path);
	free(doc->text);
	*doc = (struct ydoc){0};
}

const struct ydoc_entry *ydoc_find(const struct ydoc *doc, const char *key)
{
	for (size_t i = 0; i < doc->count; i++) {
		if (strcmp(doc->entries[i].key, key) == 0)
			return &doc->entries[i];
	}
	return NULL;
}

/* libyaml counts characters (a byte order mark is one), the text is bytes: walks the UTF-8. It is
 * asked for places that ascend, so that all of them take one walk. */
static size_t byte_of_char(struct reader *rd, size_t index)
{
	const struct ydoc *doc = rd->doc;

	if (index < rd->chars)
		rd->chars = rd->bytes = 0;
	while (rd->chars < index && rd->bytes < doc->text_bytes) {
		do {
			rd->bytes++;
		} while (rd->bytes < doc->text_bytes &&
			 ((unsigned char)doc->text[rd->bytes] & 0xc0) == 0x80);
		rd->chars++;
	}
	return rd->bytes;
}

static int fail_at(struct reader *rd, size_t line, const char *what)
{
	return err_set(rd->err, EXIT_FAILED, "%s:%zu: %s", rd->doc->path, line + 1, what);
}

static int add_entry(struct reader *rd, const yaml_event_t *event)
{
	struct ydoc *doc = rd->doc;
	const struct ydoc_entry *twin = ydoc_find(doc, rd->key);
	struct ydoc_entry *grown;

	if (twin)
		return err_set(rd->err, EXIT_FAILED,
			       "%s:%u: '%s' is set on line %u already; keep "
			       "one of the two",
			       doc->path, rd->key_line, rd->key, twin->line);
	if (doc->count == MAX_ENTRIES)
		return fail_at(rd, event->start_mark.line, "more settings than any file of ours");
	grown = realloc(doc->entries, (doc->count + 1) * sizeof(*grown));
	if (!grown)
		return err_set(rd->err, EXIT_FAILED, "%s: out of memory", doc->path);
	doc->entries = grown;
	grown += doc->count++;
	*grown = (struct ydoc_entry){
		.key = strdup(rd->key),
		.value = strdup((const char *)event->data.scalar.value),
		.line = rd->key_line,
		.begin = byte_of_char(rd, event->start_mark.index),
	};
	grown->end = byte_of_char(rd, event->end_mark.index);
	rd->have_key = false;
	if (!grown->key || !grown->value)
		return err_set(rd->err, EXIT_FAILED, "%s: out of memory", doc->path);
	return 0;
}

static int on_scalar(struct reader *rd, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	const char *prefix = rd->prefix[rd->depth];
	int len;

	if (rd->depth == 0)
		return fail_at(rd, event->start_mark.line, "not a setting; write 'name: value'");
	if (strlen(text) != event->data.scalar.length)
		return fail_at(rd, event->start_mark.line, "a NUL in a setting; remove it");
	if (rd->have_key)
		return add_entry(rd, event);
	len = snprintf(rd->key, sizeof(rd->key), "%s%s%s", prefix, *prefix ? "." : "", text);
	if (len < 0 || (size_t)len >= sizeof(rd->key))
		return fail_at(rd, event->start_mark.line, "a name of more than 127 bytes");
	rd->key_line = (unsigned)event->start_mark.line + 1;
	rd->have_key = true;
	return 0;
}

static int on_mapping(struct reader *rd, const yaml_event_t *event)
{
	if (rd->depth > 0 && !rd->have_key)
		return fail_at(rd, event->start_mark.line, "a mapping where a name should stand");
	if (rd->depth == MAX_DEPTH)
		return fail_at(rd, event->start_mark.line, "nested too deeply");
	rd->depth++;
	snprintf(rd->prefix[rd->depth], sizeof(rd->prefix[0]), "%s", rd->have_key ? rd->key : "");
	rd->have_key = false;
	return 0;
}

static int on_event(struct reader *rd, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		return on_scalar(rd, event);
	case YAML_MAPPING_START_EVENT:
		return on_mapping(rd, event);
	case YAML_MAPPING_END_EVENT:
		rd->depth--;
		return 0;
	case YAML_SEQUENCE_START_EVENT:
		return fail_at(rd, event->start_mark.line, "a list; settings are 'name: value'");
	case YAML_ALIAS_EVENT:
		return fail_at(rd, event->start_mark.line,
			       "an alias (*); write the value out, in "
			       "quotes if it begins with a star");
	case YAML_STREAM_END_EVENT:
		rd->done = true;
		return 0;
	default:
		return 0;
	}
}

static int parse(struct reader *rd, yaml_parser_t *parser)
{
	while (!rd->done) {
		yaml_event_t event;
		int rc;

		if (!yaml_parser_parse(parser, &event))
			return err_set(rd->err, EXIT_FAILED, "%s:%zu: %s; write 'name: value'",
				       rd->doc->path, parser->problem_mark.line + 1,
				       parser->problem ? parser->problem : "not YAML");
		rc = on_event(rd, &event);
		yaml_event_delete(&event);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* On FAT a power cut between the two halves of a rename can leave only the new name. */
static int read_text(const char *path, struct ydoc *doc)
{
	int rc = file_read_own(path, MAX_FILE_BYTES, &doc->text, &doc->text_bytes);
	char *fresh;

	if (rc != -ENOENT)
		return rc;
	fresh = file_path("%s.new", path);
	if (fresh && file_read_own(fresh, MAX_FILE_BYTES, &doc->text, &doc->text_bytes) == 0)
		rc = 0;
	free(fresh);
	return rc;
}

int ydoc_read(const char *path, struct ydoc *ret_doc, struct err *err)
{
	struct ydoc doc = {0};
	struct reader rd = {.doc = &doc, .err = err};
	yaml_parser_t parser;
	int rc = read_text(path, &doc);

	if (rc == -ELOOP)
		return err_set(err, EXIT_FAILED,
			       "%s: is a link, which a stick may use to have a file of this host "
			       "read; put a copy of the file in its place",
			       path);
	if (rc < 0)
		return err_set(err, file_status(rc), "%s: cannot be read: %s", path, strerror(-rc));
	doc.path = strdup(path);
	if (!doc.path || !yaml_parser_initialize(&parser)) {
		ydoc_free(&doc);
		return err_set(err, EXIT_FAILED, "%s: out of memory", path);
	}
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)doc.text, doc.text_bytes);
	rc = parse(&rd, &parser);
	yaml_parser_delete(&parser);
	if (rc < 0) {
		ydoc_free(&doc);
		return rc;
	}
	*ret_doc = doc;
	return 0;
}

static int splice(struct ydoc *doc, size_t begin, size_t end, const char *with)
{
	size_t with_bytes = strlen(with);
	char *text = malloc(doc->text_bytes - (end - begin) + with_bytes + 1);

	if (!text)
		return -ENOMEM;
	memcpy(text, doc->text, begin);
	memcpy(text + begin, with, with_bytes);
	memcpy(text + begin + with_bytes, doc->text + end, doc->text_bytes - end);
	doc->text_bytes += with_bytes - (end - begin);
	text[doc->text_bytes] = '\0';
	free(doc->text);
	doc->text = text;
	return 0;
}

int ydoc_replace(struct ydoc *doc, const struct ydoc_entry *entry, const char *value)
{
	char *quoted = ydoc_quote(value);
	bool glued = entry->begin > 0 && doc->text[entry->begin - 1] == ':';
	char *spaced = quoted ? file_path("%s%s", glued ? " " : "", quoted) : NULL;
	int rc = spaced ? splice(doc, entry->begin, entry->end, spaced) : -ENOMEM;

	free(quoted);
	free(spaced);
	return rc;
}

int ydoc_append(struct ydoc *doc, const char *key, const char *value)
{
	bool newline = doc->text_bytes == 0 || doc->text[doc->text_bytes - 1] == '\n';
	char *quoted = ydoc_quote(value);
	char *line = quoted ? file_path("%s%s: %s\n", newline ? "" : "\n", key, quoted) : NULL;
	int rc = line ? splice(doc, doc->text_bytes, doc->text_bytes, line) : -ENOMEM;

	free(quoted);
	free(line);
	return rc;
}

int ydoc_remove(struct ydoc *doc, const struct ydoc_entry *entry)
{
	size_t begin = entry->begin;
	size_t end = entry->end;

	while (begin > 0 && doc->text[begin - 1] != '\n')
		begin--;
	while (end < doc->text_bytes && doc->text[end] != '\n')
		end++;
	return splice(doc, begin, end < doc->text_bytes ? end + 1 : end, "");
}

static bool plain_is_safe(const char *value)
{
	static const char *const words[] = {"",	  "null", "~",	 "true", "false", "yes",
					    "no", "on",	  "off", "y",	 "n"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(value, words[i]) == 0)
			return false;
	}
	if (!isalnum((unsigned char)value[0]) && value[0] != '/')
		return false;
	for (const char *p = value; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr("._/+-", *p))
			return false;
	}
	return true;
}

char *ydoc_quote(const char *value)
{
	char *quoted = malloc(4 * strlen(value) + 3);
	char *out = quoted;

	if (!quoted)
		return NULL;
	if (plain_is_safe(value)) {
		memcpy(quoted, value, strlen(value) + 1);
		return quoted;
	}
	*out++ = '"';
	for (const char *p = value; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '"' || c == '\\')
			*out++ = '\\';
		if (c < 0x20 || c == 0x7f)
			out += snprintf(out, 5, "\\x%02x", c);
		else
			*out++ = (char)c;
	}
	*out++ = '"';
	*out = '\0';
	return quoted;
}
