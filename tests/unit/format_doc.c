/* SPDX-License-Identifier: GPL-2.0-or-later */
/* format_doc.c: FORMAT.md is true: its tables take a store apart, its dump is that store. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bootset.h"
#include "doc_table.h"
#include "history.h"
#include "small_store.h"
#include "stickvm/store.h"

/*
 * unit-format_doc           compares
 * unit-format_doc --write   puts the dump into FORMAT.md
 */
#define DOC_PATH TEST_DIR "/../storage/FORMAT.md"
#define DUMP_HEADING "# A small store, byte by byte\n"
#define DUMP_BEGIN "```text\n"
#define DUMP_END "```\n"

/* What is being taken apart. Every byte that is printed, or known to be zero, is covered. */
struct dump {
	const char *page; /* FORMAT.md */
	const uint8_t *bytes;
	uint8_t *covered;
	FILE *out;
};

static const struct {
	const char *title;
	unsigned bytes;
} structures[] = {
	{"Anchor", SV_ANCHOR_CHECKED_BYTES},
	{"Link", 40},
	{"Batch header", SV_HEAD_FIXED_BYTES},
	{"Ledger", sizeof(struct sv_ledger)},
	{"DATA", SV_REC_DATA_BYTES},
	{"DISCARD", SV_REC_DISCARD_BYTES},
	{"MOVE", SV_REC_MOVE_BYTES},
	{"PAGE", SV_REC_PAGE_BYTES},
	{"ROOT", SV_REC_ROOT_BYTES},
	{"SESSION", SV_REC_SESSION_BYTES},
	{"SEGMENT", SV_REC_SEGMENT_BYTES},
	{"BORN", SV_REC_BORN_BYTES},
	{"HISTORY", SV_HISTORY_FIXED_BYTES},
	{"Counts", sizeof(struct sv_counts)},
	{"Span", SV_HISTORY_SPAN_BYTES},
	{"Past session", SV_HISTORY_SESSION_BYTES},
	{"Past host", SV_HISTORY_HOST_BYTES},
	{"Slow segment", SV_HISTORY_SLOW_BYTES},
	{"BOOT SET", SV_BOOT_FIXED_BYTES},
	{"Unit", SV_UNIT_HEAD_BYTES},
	{"Usage", SV_USAGE_BYTES},
	{"Container header", 128},
};

static const char *const record_titles[] = {NULL,   "DATA", "DISCARD", "MOVE",
					    "PAGE", "ROOT", "SESSION", "SEGMENT"};

static struct doc_table table_of(const struct dump *d, const char *title)
{
	struct doc_table table;

	if (!doc_table_find(d->page, title, &table))
		fail_msg("FORMAT.md has no table \"%s\"", title);
	return table;
}

/* ---- lines ---- */

static void cover(struct dump *d, uint32_t at, uint32_t len)
{
	memset(d->covered + at, 1, len);
}

static void hex_line(struct dump *d, uint32_t at, uint32_t len, const char *what)
{
	char hex[49];

	for (uint32_t i = 0; i < len; i++)
		snprintf(hex + 3 * (size_t)i, 4, "%02x ", d->bytes[at + i]);
	hex[3 * len - 1] = '\0';
	if (*what)
		fprintf(d->out, "%06x  %-47s  %s\n", at, hex, what);
	else
		fprintf(d->out, "%06x  %s\n", at, hex);
	cover(d, at, len);
}

/* As many lines as it takes; those like the one before are one star. */
static void hex_lines(struct dump *d, uint32_t at, uint32_t len, const char *what)
{
	bool starred = false;

	for (uint32_t i = 0; i < len; i += 16) {
		uint32_t n = len - i < 16 ? len - i : 16;

		if (i > 0 && n == 16 &&
		    memcmp(d->bytes + at + i, d->bytes + at + i - 16, 16) == 0) {
			if (!starred)
				fprintf(d->out, "*\n");
			starred = true;
			cover(d, at + i, n);
			continue;
		}
		hex_line(d, at + i, n, i ? "" : what);
		starred = false;
	}
}

/* ---- fields ---- */

static bool is_zero(const uint8_t *bytes, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

static bool one_of(const char *name, const char *const *names)
{
	for (; *names; names++)
		if (strcmp(name, *names) == 0)
			return true;
	return false;
}

static void entry_text(uint64_t e, char *ret_text, size_t room)
{
	snprintf(ret_text, room, "place 0x%llx, index %u, %u bytes%s",
		 (unsigned long long)sv_entry_place(e), sv_entry_index(e), sv_entry_stored(e),
		 e & SV_ENTRY_SINGLE ? ", single" : "");
}

static void flags_text(uint64_t flags, char *ret_text, size_t room)
{
	static const char *const names[] = {"MORE", "ROOT", "OPEN", "CLOSE", "APART", "REFUSED"};
	size_t len = 0;

	ret_text[0] = '\0';
	for (unsigned i = 0; i < 6; i++)
		if (flags >> i & 1)
			len += (size_t)snprintf(ret_text + len, room - len, "%s%s",
						len ? " + " : "", names[i]);
}

/* What a number says, by the name of its field. */
static void value_text(const struct doc_table *t, const struct doc_row *row, uint64_t v,
		       char *ret_text, size_t room)
{
	static const char *const in_hex[] = {"epoch", "generation", "payload_digest", "check",
					     NULL};
	static const char *const entries[] = {"map_top", "usage_top", NULL};

	if (one_of(row->name, in_hex))
		snprintf(ret_text, room, "0x%016llx", (unsigned long long)v);
	else if (one_of(row->name, entries))
		entry_text(v, ret_text, room);
	else if (strcmp(row->name, "flags") == 0 && strcmp(t->title, "Batch header") == 0)
		flags_text(v, ret_text, room);
	else if (strcmp(row->name, "type") == 0)
		snprintf(ret_text, room, "%s", t->title);
	else
		snprintf(ret_text, room, "%llu", (unsigned long long)v);
}

static void field(struct dump *d, const struct doc_table *t, const struct doc_row *row,
		  const char *prefix, uint32_t at)
{
	static const char *const texts[] = {"magic", "host", NULL};
	char value[80] = "", line[160];
	uint32_t len = row->size;

	if (one_of(row->name, texts)) {
		len = (uint32_t)strnlen((const char *)d->bytes + at, row->size);
		snprintf(value, sizeof(value), "\"%.*s\"", (int)len, d->bytes + at);
		cover(d, at, row->size);
	} else if (row->size <= 8) {
		value_text(t, row, doc_number(d->bytes + at, row->size), value, sizeof(value));
	}
	snprintf(line, sizeof(line), "%s%s%s%s", prefix, row->name, *value ? " " : "", value);
	hex_lines(d, at, len, line);
}

/* A structure by its table; fields that are zero are left out, types are not. */
static void structure(struct dump *d, const char *title, const char *prefix, uint32_t at)
{
	static const char *const kept[] = {"type", "codec", NULL};
	struct doc_table t = table_of(d, title);

	for (unsigned i = 0; i < t.count; i++) {
		const struct doc_row *row = &t.rows[i];
		uint32_t where = at + row->off;
		bool zero = is_zero(d->bytes + where, row->size);
		bool link = !strcmp(title, "Anchor") &&
			    (!strcmp(row->name, "root") || !strcmp(row->name, "opening"));

		if (strcmp(row->name, "-") == 0 && !zero)
			fail_msg("%s: byte %u is reserved and not zero", title, row->off);
		if (zero && !one_of(row->name, kept))
			cover(d, where, row->size);
		else if (link || strcmp(row->name, "ledger") == 0) {
			char inner[24];

			snprintf(inner, sizeof(inner), "%s.", row->name);
			structure(d, link ? "Link" : "Ledger", inner, where);
		} else {
			field(d, &t, row, prefix, where);
		}
	}
}

static uint64_t value_at(const struct dump *d, const char *title, const char *name, uint32_t at)
{
	struct doc_table t = table_of(d, title);
	const struct doc_row *row = doc_row_of(&t, name);

	if (!row) {
		print_error("FORMAT.md: %s has no field \"%s\"\n", title, name);
		abort();
	}
	return doc_number(d->bytes + at + row->off, row->size);
}

/* ---- the parts of a batch ---- */

static void map_page(struct dump *d, uint32_t at)
{
	char value[80], line[120];

	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		uint64_t e = doc_number(d->bytes + at + 8 * i, 8);

		if (!e) {
			cover(d, at + 8 * i, 8);
			continue;
		}
		entry_text(e, value, sizeof(value));
		snprintf(line, sizeof(line), "entry %u: %s", i, value);
		hex_line(d, at + 8 * i, 8, line);
	}
}

static void usage_page(struct dump *d, uint32_t at)
{
	for (uint32_t i = 0; i < SV_USAGE_PER_PAGE; i++) {
		char prefix[24];

		snprintf(prefix, sizeof(prefix), "segment %u: ", i);
		structure(d, "Usage", prefix, at + i * SV_USAGE_BYTES);
	}
}

/* A unit as its record announces it; returns its stored bytes. */
static uint32_t unit(struct dump *d, uint32_t record, uint32_t at)
{
	bool page = d->bytes[record] == SV_REC_PAGE;
	const char *title = record_titles[d->bytes[record]];
	uint32_t stored = (uint32_t)value_at(d, title, "stored_bytes", record);
	uint32_t payload = (uint32_t)value_at(d, "Unit", "payload_bytes", at);

	fprintf(d->out, "  unit\n");
	structure(d, "Unit", "", at);
	if (page && value_at(d, "PAGE", "tree", record) == SV_TREE_USAGE)
		usage_page(d, at + SV_UNIT_HEAD_BYTES);
	else if (page)
		map_page(d, at + SV_UNIT_HEAD_BYTES);
	else
		hex_lines(d, at + SV_UNIT_HEAD_BYTES, payload, "payload");
	return stored;
}

static void batch(struct dump *d, unsigned number, uint32_t at)
{
	uint32_t records = (uint32_t)value_at(d, "Batch header", "records", at);
	uint32_t head = (uint32_t)value_at(d, "Batch header", "head_bytes", at);
	uint32_t place = at + (uint32_t)value_at(d, "Batch header", "payload_offset", at);
	uint32_t where = at + SV_HEAD_FIXED_BYTES;
	uint32_t found[8];

	fprintf(d->out, "\nbatch %u\n", number);
	structure(d, "Batch header", "", at);
	assert_in_range(records, 1, 8);
	for (uint32_t i = 0; i < records; i++) {
		unsigned type = d->bytes[where];
		struct doc_table t;

		assert_in_range(type, SV_REC_DATA, SV_REC_SEGMENT);
		t = table_of(d, record_titles[type]);
		fprintf(d->out, "  record\n");
		structure(d, record_titles[type], "", where);
		found[i] = where;
		where += doc_table_bytes(&t);
	}
	assert_int_equal(where, at + head - SV_HASH_BYTES);
	fprintf(d->out, "  end of the header\n");
	hex_line(d, where, SV_HASH_BYTES, "hash");
	for (uint32_t i = 0; i < records; i++)
		if (d->bytes[found[i]] == SV_REC_DATA || d->bytes[found[i]] == SV_REC_PAGE)
			place += unit(d, found[i], place);
}

static void anchors(struct dump *d)
{
	fprintf(d->out, "anchor in segment 0\n");
	structure(d, "Anchor", "", 0);
	assert_memory_equal(d->bytes, d->bytes + SMALL_SEGMENT_BYTES, SV_ANCHOR_BYTES);
	fprintf(d->out, "\nanchor in segment 1\n%06x  the same %u bytes\n", SMALL_SEGMENT_BYTES,
		SV_ANCHOR_CHECKED_BYTES);
	cover(d, SMALL_SEGMENT_BYTES, SV_ANCHOR_CHECKED_BYTES);
}

/* The dump of the small store as text; the caller frees it. */
static char *make_dump(const char *page)
{
	struct dump d = {.page = page};
	uint8_t *bytes = malloc(SMALL_STORE_BYTES);
	size_t len;
	char *text;

	d.covered = calloc(1, SMALL_STORE_BYTES);
	d.out = open_memstream(&text, &len);
	assert_true(bytes && d.covered && d.out);
	small_store_make(bytes);
	d.bytes = bytes;
	anchors(&d);
	for (unsigned i = 0; i < SMALL_BATCHES; i++)
		batch(&d, i + 1, 2 * SMALL_SEGMENT_BYTES + small_store_batch(i));
	assert_int_equal(fclose(d.out), 0);
	for (uint32_t i = 0; i < SMALL_STORE_BYTES; i++)
		if (bytes[i] && !d.covered[i])
			fail_msg("byte %06x is %02x and in no table", i, bytes[i]);
	free(bytes);
	free(d.covered);
	return text;
}

/* Where the dump stands in the page. */
static void find_dump(const char *page, const char **ret_begin, const char **ret_end)
{
	const char *begin = strstr(page, DUMP_HEADING);

	assert_non_null(begin);
	begin = strstr(begin, DUMP_BEGIN);
	assert_non_null(begin);
	*ret_begin = begin + strlen(DUMP_BEGIN);
	*ret_end = strstr(*ret_begin, DUMP_END);
	assert_non_null(*ret_end);
}

/* ---- tests ---- */

/* Each table lists all bytes of its structure, in order, without a gap. */
static void tables_have_no_gaps(void **state)
{
	struct dump d = {.page = *state};

	for (size_t i = 0; i < sizeof(structures) / sizeof(structures[0]); i++) {
		struct doc_table t = table_of(&d, structures[i].title);
		unsigned at = 0;

		for (unsigned k = 0; k < t.count; k++) {
			if (t.rows[k].off != at)
				fail_msg("%s: \"%s\" is said to lie at %u, not at %u", t.title,
					 t.rows[k].name, t.rows[k].off, at);
			at += t.rows[k].size;
		}
		if (at != structures[i].bytes)
			fail_msg("%s has %u bytes, not %u", t.title, at, structures[i].bytes);
	}
}

static void the_dump_is_the_store(void **state)
{
	const char *page = *state, *have, *end;
	char *want = make_dump(page);
	unsigned line = 1;

	find_dump(page, &have, &end);
	for (const char *w = want; *w || have < end; w++, have++) {
		if (have >= end || *w != *have)
			fail_msg("line %u of the dump in FORMAT.md differs; see --write", line);
		line += *w == '\n';
	}
	assert_in_range(line, 100, 1000);
	free(want);
}

static void finding(void *ctx, const struct sv_finding *f)
{
	(void)ctx;
	fail_msg("check: %s at %llu", f->what, (unsigned long long)f->off_bytes);
}

static struct sv_store *open_small(const uint8_t *bytes, bool read_only)
{
	struct sv_open_options opts = {.manual = true, .read_only = read_only};
	struct sv_dev *dev = small_store_dev(bytes, SMALL_STORE_BYTES, 8 << 20);
	struct sv_store *store;

	if (sv_store_open(dev, &opts, &store) < 0)
		fail_msg("the small store does not open: %s", sv_store_why());
	return store;
}

static void assert_disk(struct sv_store *store, const uint8_t *want)
{
	uint8_t *got = malloc(SMALL_DISK_BYTES);

	assert_non_null(got);
	assert_int_equal(sv_store_check(store, true, finding, NULL, NULL), 0);
	assert_int_equal(sv_store_read(store, got, SMALL_DISK_BYTES, 0), 0);
	assert_memory_equal(got, want, SMALL_DISK_BYTES);
	free(got);
}

/* What is shown is a store, not only bytes: the engine reads it, and goes on with it. */
static void the_engine_reads_the_small_store(void **state)
{
	uint8_t *bytes = malloc(SMALL_STORE_BYTES), *disk = malloc(SMALL_DISK_BYTES);
	struct sv_recovery recovery;
	struct sv_status status;
	struct sv_store *store;

	(void)state;
	assert_true(bytes && disk);
	small_store_make(bytes);
	small_store_disk(disk);
	store = open_small(bytes, true);
	sv_store_recovery(store, &recovery);
	assert_true(recovery.clean);
	assert_int_equal(recovery.lost_flushed_batches, 0);
	assert_string_equal(recovery.last_host, "kitchen");
	sv_store_status(store, &status);
	assert_int_equal(status.seq, SMALL_BATCHES);
	assert_int_equal(status.ledger.sessions, 1);
	assert_int_equal(status.size_bytes, SMALL_DISK_BYTES);
	assert_disk(store, disk);
	assert_int_equal(sv_store_close(store), 0);
	store = open_small(bytes, false);
	memset(disk, 'w', 3 * SV_BLOCK_BYTES);
	assert_int_equal(sv_store_write(store, disk, 3 * SV_BLOCK_BYTES, 0), 0);
	assert_int_equal(sv_store_flush(store), 0);
	assert_int_equal(sv_store_checkpoint(store), 0);
	assert_disk(store, disk);
	assert_int_equal(sv_store_close(store), 0);
	free(bytes);
	free(disk);
}

/* ---- main ---- */

static int write_dump(const char *page)
{
	char *dump = make_dump(page);
	const char *begin, *end;
	FILE *file;

	find_dump(page, &begin, &end);
	file = fopen(DOC_PATH, "wb");
	if (!file || fwrite(page, 1, (size_t)(begin - page), file) != (size_t)(begin - page) ||
	    fputs(dump, file) < 0 || fputs(end, file) < 0 || fclose(file) != 0) {
		perror(DOC_PATH);
		return 1;
	}
	free(dump);
	return 0;
}

int main(int argc, char **argv)
{
	char *page = doc_load(DOC_PATH);
	int r;

	if (!page) {
		perror(DOC_PATH);
		return 1;
	}
	if (argc > 1 && strcmp(argv[1], "--write") == 0) {
		r = write_dump(page);
	} else {
		const struct CMUnitTest tests[] = {
			cmocka_unit_test_prestate(tables_have_no_gaps, page),
			cmocka_unit_test_prestate(the_dump_is_the_store, page),
			cmocka_unit_test(the_engine_reads_the_small_store),
		};

		r = cmocka_run_group_tests(tests, NULL, NULL);
	}
	free(page);
	return r;
}
