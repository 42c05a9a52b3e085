/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_file.c: what is parked comes back; another key, a cut and a flipped bit are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "park_file.h"

enum { BYTES = 200000 };

struct box {
	char path[64], path_new[72];
	uint8_t key[PARK_KEY_BYTES];
	uint8_t bytes[BYTES], got[BYTES + 1];
};

static int setup(void **state)
{
	struct box *box = calloc(1, sizeof(*box));

	snprintf(box->path, sizeof(box->path), "/tmp/park-test-%d", (int)getpid());
	snprintf(box->path_new, sizeof(box->path_new), "%s.new", box->path);
	for (size_t i = 0; i < BYTES; i++)
		box->bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	memset(box->key, 7, sizeof(box->key));
	*state = box;
	return 0;
}

static int teardown(void **state)
{
	struct box *box = *state;

	unlink(box->path);
	unlink(box->path_new);
	free(box);
	return 0;
}

static void park(struct box *box, size_t count)
{
	struct park_writer *w;
	size_t step = 1;

	unlink(box->path);
	assert_int_equal(park_writer_begin(box->path, box->key, &w), 0);
	for (size_t at = 0; at < count; at += step, step = step * 3 % 70001) {
		step = count - at < step ? count - at : step;
		assert_int_equal(park_write(w, box->bytes + at, step), 0);
	}
	assert_int_equal(access(box->path, F_OK), -1);
	assert_int_equal(park_writer_end(w), 0);
	assert_int_equal(access(box->path_new, F_OK), -1);
}

/* How reading it all ends; *ret_count: how much was right until then. */
static int unpark(struct box *box, size_t *ret_count)
{
	struct park_reader *r;
	size_t have = 0, got = 1;
	int rc = park_reader_begin(box->path, box->key, &r);

	*ret_count = 0;
	if (rc < 0)
		return rc;
	while (rc == 0 && got > 0) {
		rc = park_read(r, box->got + have, sizeof(box->got) - have, &got);
		have += rc == 0 ? got : 0;
	}
	park_reader_end(r);
	assert_memory_equal(box->got, box->bytes, have); /* never anything else */
	*ret_count = have;
	return rc;
}

static void what_is_parked_comes_back(void **state)
{
	static const size_t counts[] = {0, 1, 65535, 65536, 65537, 131072, BYTES};
	struct box *box = *state;
	size_t got;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		park(box, counts[i]);
		assert_int_equal(unpark(box, &got), 0);
		assert_int_equal(got, counts[i]);
	}
}

static void only_its_key_opens_it(void **state)
{
	struct box *box = *state;
	struct stat st;
	char *text;
	size_t bytes, got;

	park(box, BYTES);
	assert_int_equal(stat(box->path, &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
	assert_int_equal(file_read(box->path, 1 << 20, &text, &bytes), 0);
	assert_null(memmem(text, bytes, box->bytes + 1000, 16));
	free(text);
	box->key[3] ^= 1;
	assert_int_equal(unpark(box, &got), -EACCES);
	unlink(box->path);
	assert_int_equal(unpark(box, &got), -ENOENT);
	assert_int_equal(file_replace(box->path, box->path, 60), 0);
	assert_int_equal(unpark(box, &got), -EMEDIUMTYPE);
}

static void a_cut_or_a_flipped_bit_is_refused(void **state)
{
	struct box *box = *state;
	char *text;
	size_t bytes, got;

	park(box, BYTES);
	assert_int_equal(file_read(box->path, 1 << 20, &text, &bytes), 0);
	for (size_t cut = 0; cut < bytes; cut += cut < 200 ? 1 : 9973) {
		assert_int_equal(truncate(box->path, 0), 0);
		assert_int_equal(file_replace(box->path, text, cut), 0);
		assert_true(unpark(box, &got) < 0);
	}
	for (size_t at = 0; at < bytes; at += at < 200 ? 1 : 9973) {
		text[at] ^= 0x10;
		assert_int_equal(file_replace(box->path, text, bytes), 0);
		assert_true(unpark(box, &got) < 0);
		text[at] ^= 0x10;
	}
	free(text);
}

static void nothing_is_overwritten_and_nothing_left(void **state)
{
	struct box *box = *state;
	struct park_writer *w;

	park(box, 5);
	assert_int_equal(park_writer_begin(box->path, box->key, &w), -EEXIST);
	unlink(box->path);
	assert_int_equal(park_writer_begin(box->path, box->key, &w), 0);
	park_writer_abandon(w);
	assert_int_equal(access(box->path, F_OK), -1);
	assert_int_equal(access(box->path_new, F_OK), -1);
	assert_true(park_writer_begin("/nowhere/at/all", box->key, &w) < 0);
}

#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOXED(what_is_parked_comes_back),
		BOXED(only_its_key_opens_it),
		BOXED(a_cut_or_a_flipped_bit_is_refused),
		BOXED(nothing_is_overwritten_and_nothing_left),
	};

	return cmocka_run_group_tests_name("park_file", tests, NULL, NULL);
}
