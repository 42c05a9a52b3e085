/* SPDX-License-Identifier: GPL-2.0-or-later */
/* golden_stores.c: stores of every version of the format open for ever, or fail as they must. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_damage.h"
#include "golden_life.h"

/*
 * tests/golden/stores/expected has a line for each image: its name, what opening gives, and a part
 * of what sv_store_why must then say. All that open are compared block by block with the life that
 * made them, read-only and (on a copy) writable, and again after that session; what `eio=` names
 * gives EIO and nothing else does.
 *
 * `unit-golden_stores --write` makes all images of this version anew: only before a version is
 * released. Afterwards its images stay, and others are added: `--write PART` makes those with that
 * in their name.
 */
#define STORES TEST_DIR "/golden/stores/"
#define LINES_MAX 64u

struct expected {
	char name[64];
	int error;		     /* of opening for writing */
	int ro_error;		     /* of opening for reading */
	char why[128];		     /* a part of it */
	bool disk;		     /* its disk is that of golden_life */
	bool lost;		     /* opening tells of a loss */
	uint64_t eio_first, eio_end; /* blocks; equal: none */
};

static struct expected table[LINES_MAX];
static unsigned table_len;
static uint8_t disk[GOLDEN_DISK_BYTES];

static int error_named(const char *word)
{
	static const struct {
		const char *name;
		int value;
	} names[] = {{"ok", 0},
		     {"EBADMSG", -EBADMSG},
		     {"EUCLEAN", -EUCLEAN},
		     {"EMEDIUMTYPE", -EMEDIUMTYPE},
		     {"EPROTONOSUPPORT", -EPROTONOSUPPORT}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(word, names[i].name) == 0)
			return names[i].value;
	fail_msg("expected: '%s' is no error", word);
	return 0;
}

/* "name  ok|ERROR[/ro=ok]  [empty] [lost] [eio=FIRST-END] [: why]" */
static void take_line(char *line, struct expected *e)
{
	char *why = strstr(line, " : "), *save = NULL, *word;

	*e = (struct expected){.disk = true};
	if (why != NULL) {
		*why = '\0';
		snprintf(e->why, sizeof(e->why), "%s", why + 3);
		e->why[strcspn(e->why, "\n")] = '\0';
	}
	word = strtok_r(line, " \t\n", &save);
	snprintf(e->name, sizeof(e->name), "%s", word);
	word = strtok_r(NULL, " \t\n", &save);
	assert_non_null(word);
	e->error = e->ro_error = error_named(word);
	while ((word = strtok_r(NULL, " \t\n", &save)) != NULL) {
		unsigned long long first, end;

		if (sscanf(word, "eio=%llu-%llu", &first, &end) == 2) {
			e->eio_first = first;
			e->eio_end = end;
		} else if (strcmp(word, "read-only-opens") == 0) {
			e->ro_error = 0;
		} else if (strcmp(word, "empty") == 0) {
			e->disk = false;
		} else if (strcmp(word, "lost") == 0) {
			e->lost = true;
		} else {
			fail_msg("expected: %s: '%s' has no meaning", e->name, word);
		}
	}
}

static void read_table(void)
{
	FILE *file = fopen(STORES "expected", "r");
	char line[512];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (line[0] != '#' && line[0] != '\n') {
			assert_true(table_len < LINES_MAX);
			take_line(line, &table[table_len++]);
		}
	fclose(file);
	assert_true(table_len > 0);
}

static void load(const struct expected *e, struct store_image *ret_image)
{
	char path[512];

	snprintf(path, sizeof(path), STORES "%s.zst", e->name);
	if (!image_load(path, ret_image))
		fail_msg("%s cannot be read", path);
}

/* Every block is what the life left there, or gives EIO where that is expected. */
static void compare_disk(const struct expected *e, struct sv_store *store, const uint8_t *want)
{
	struct sv_status status;

	sv_store_status(store, &status);
	assert_int_equal(status.size_bytes, GOLDEN_DISK_BYTES);
	for (uint64_t off = 0; off < GOLDEN_DISK_BYTES; off += SV_BLOCK_BYTES) {
		uint64_t left = GOLDEN_DISK_BYTES - off, lba = off / SV_BLOCK_BYTES;
		size_t len = left < SV_BLOCK_BYTES ? (size_t)left : SV_BLOCK_BYTES;
		int wanted = lba >= e->eio_first && lba < e->eio_end ? -EIO : 0;
		uint8_t got[SV_BLOCK_BYTES];
		int r = sv_store_read(store, got, len, off);

		if (r != wanted)
			fail_msg("%s: block %llu: %d in place of %d", e->name,
				 (unsigned long long)lba, r, wanted);
		if (r == 0 && memcmp(got, want + off, len) != 0)
			fail_msg("%s: block %llu has other bytes", e->name,
				 (unsigned long long)lba);
	}
}

struct found {
	uint64_t first, end; /* blocks that findings name */
	unsigned count;
};

static void on_finding(void *ctx, const struct sv_finding *f)
{
	struct found *found = ctx;
	uint64_t first = f->off_bytes / SV_BLOCK_BYTES;
	uint64_t end = (f->off_bytes + f->len_bytes + SV_BLOCK_BYTES - 1) / SV_BLOCK_BYTES;

	if (f->kind == SV_FOUND_ANCHOR)
		return; /* one of two, as the image's name says */
	if (found->count == 0 || first < found->first)
		found->first = first;
	if (end > found->end)
		found->end = end;
	found->count++;
}

/* Check finds what was damaged, and nothing else. */
static void compare_check(const struct expected *e, struct sv_store *store)
{
	struct found found = {0};

	assert_int_equal(sv_store_check(store, true, on_finding, &found, NULL), 0);
	if (e->eio_first == e->eio_end && found.count > 0)
		fail_msg("%s: check finds something", e->name);
	if (e->eio_first < e->eio_end && (found.first > e->eio_first || found.end < e->eio_end))
		fail_msg("%s: check finds blocks %llu to %llu", e->name,
			 (unsigned long long)found.first, (unsigned long long)found.end);
}

static void compare_store(const struct expected *e, struct sv_store *store, const uint8_t *want)
{
	struct sv_recovery recovery;

	sv_store_recovery(store, &recovery);
	if ((recovery.lost_flushed_batches > 0) != e->lost)
		fail_msg("%s: %llu batches lost", e->name,
			 (unsigned long long)recovery.lost_flushed_batches);
	if (!e->lost)
		compare_disk(e, store, want);
	compare_check(e, store);
}

static void must_fail(const struct expected *e, int r, int wanted)
{
	if (r != wanted)
		fail_msg("%s: opening gives %d in place of %d (%s)", e->name, r, wanted,
			 sv_store_why());
	if (strstr(sv_store_why(), e->why) == NULL)
		fail_msg("%s: why is \"%s\", without \"%s\"", e->name, sv_store_why(), e->why);
}

static void check_reading(const struct expected *e, const struct store_image *image,
			  const uint8_t *want)
{
	struct store_image copy;
	struct sv_store *store;
	int r;

	image_copy(image, &copy);
	r = golden_open(&copy, true, SV_CODEC_LZ4, &store);
	if (e->ro_error < 0) {
		must_fail(e, r, e->ro_error);
	} else {
		if (r < 0)
			fail_msg("%s: opening gives %d (%s)", e->name, r, sv_store_why());
		compare_store(e, store, want);
		assert_int_equal(sv_store_close(store), 0);
	}
	assert_memory_equal(copy.bytes, image->bytes, image->len_bytes); /* nothing was written */
	store_image_free(&copy);
}

/* Opened, compared, a block written where nothing is damaged, closed, opened and compared. */
static void check_writing(const struct expected *e, const struct store_image *image, uint8_t *want)
{
	const uint64_t off = (uint64_t)(GOLDEN_DISK_BYTES / SV_BLOCK_BYTES - 2) * SV_BLOCK_BYTES;
	uint8_t block[SV_BLOCK_BYTES];
	struct expected after = *e;
	struct store_image copy;
	struct sv_store *store;
	int r;

	image_copy(image, &copy);
	r = golden_open(&copy, false, SV_CODEC_LZ4, &store);
	if (e->error < 0) {
		must_fail(e, r, e->error);
		assert_memory_equal(copy.bytes, image->bytes, image->len_bytes);
	} else {
		if (r < 0)
			fail_msg("%s: opening gives %d (%s)", e->name, r, sv_store_why());
		compare_store(e, store, want);
		memset(block, 0x77, sizeof(block));
		memcpy(want + off, block, sizeof(block));
		assert_int_equal(sv_store_write(store, block, sizeof(block), off), 0);
		assert_int_equal(sv_store_close(store), 0);
		after.lost = false;
		assert_int_equal(golden_open(&copy, true, SV_CODEC_LZ4, &store), 0);
		if (!e->lost)
			compare_store(&after, store, want);
		assert_int_equal(sv_store_close(store), 0);
	}
	store_image_free(&copy);
}

static void test_images(void **state)
{
	static uint8_t want[GOLDEN_DISK_BYTES];

	(void)state;
	read_table();
	golden_life_disk(disk);
	for (unsigned i = 0; i < table_len; i++) {
		struct store_image image;

		load(&table[i], &image);
		memset(want, 0, sizeof(want));
		if (table[i].disk)
			memcpy(want, disk, sizeof(want));
		check_reading(&table[i], &image, want);
		check_writing(&table[i], &image, want);
		store_image_free(&image);
	}
	print_message("%u images\n", table_len);
}

/* Every image that is made has a line, and is still made as the line says. */
static void test_table_is_whole(void **state)
{
	(void)state;
	for (unsigned i = 0; golden_damage_name(i) != NULL; i++) {
		bool found = false;

		for (unsigned k = 0; k < table_len; k++)
			found |= strcmp(table[k].name, golden_damage_name(i)) == 0;
		if (!found)
			fail_msg("%s has no line in expected", golden_damage_name(i));
	}
}

static int write_all(const char *part)
{
	for (unsigned i = 0; golden_damage_name(i) != NULL; i++) {
		struct store_image image;
		char path[512];

		if (strstr(golden_damage_name(i), part) == NULL)
			continue;
		golden_damage_make(i, &image);
		snprintf(path, sizeof(path), STORES "%s.zst", golden_damage_name(i));
		if (!image_save(&image, path)) {
			perror(path);
			return 1;
		}
		printf("%s\n", path);
		store_image_free(&image);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_images),
		cmocka_unit_test(test_table_is_whole),
	};

	if (argc >= 2 && strcmp(argv[1], "--write") == 0)
		return write_all(argc > 2 ? argv[2] : "");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
