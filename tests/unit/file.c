/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file.c: files replaced whole, on sticks that come from anyone. */
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

struct place {
	char folder[64];
	char *path, *fresh, *other; /* a file, the name it is written under first, a stranger */
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	snprintf(p->folder, sizeof(p->folder), "/tmp/file-test-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	p->path = file_path("%s/a", p->folder);
	p->fresh = file_path("%s/a.new", p->folder);
	p->other = file_path("%s/other", p->folder);
	assert_int_equal(file_replace(p->other, "mine", 4), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	file_remove_tree(p->folder);
	free(p->path);
	free(p->fresh);
	free(p->other);
	free(p);
	return 0;
}

static void assert_text(const char *path, const char *text)
{
	char *got;
	size_t bytes;

	assert_int_equal(file_read_own(path, 64, &got, &bytes), 0);
	assert_string_equal(got, text);
	free(got);
}

static void no_link_is_followed(void **state)
{
	struct place *p = *state;
	char *got;
	size_t bytes;

	/* At the name that is written first, and at the file's own. */
	assert_int_equal(symlink(p->other, p->fresh), 0);
	assert_int_equal(file_replace(p->path, "new", 3), 0);
	assert_text(p->path, "new");
	assert_text(p->other, "mine");
	assert_int_equal(access(p->fresh, F_OK), -1);
	assert_int_equal(unlink(p->path), 0);
	assert_int_equal(symlink(p->other, p->path), 0);
	assert_int_equal(file_read_own(p->path, 64, &got, &bytes), -ELOOP);
	assert_int_equal(file_replace(p->path, "newer", 5), 0);
	assert_text(p->path, "newer");
	assert_text(p->other, "mine");
	/* One that leads nowhere makes nothing there. */
	assert_int_equal(unlink(p->other), 0);
	assert_int_equal(symlink(p->other, p->fresh), 0);
	assert_int_equal(file_replace(p->path, "newest", 6), 0);
	assert_text(p->path, "newest");
	assert_int_equal(access(p->other, F_OK), -1);
}

/* A hard link to a file of the host's, were it on one file system. */
static void another_name_of_a_file_is_not_written_to(void **state)
{
	struct place *p = *state;

	assert_int_equal(link(p->other, p->fresh), 0);
	assert_int_equal(file_replace(p->path, "new", 3), 0);
	assert_text(p->other, "mine");
	assert_text(p->path, "new");
}

/* What a cut left under the new name, beside the file or alone. */
static void what_a_cut_left_is_no_obstacle(void **state)
{
	struct place *p = *state;
	struct stat st;

	assert_int_equal(file_replace(p->path, "old", 3), 0);
	assert_int_equal(file_replace(p->fresh, "half", 4), 0);
	assert_int_equal(file_replace(p->path, "new", 3), 0);
	assert_text(p->path, "new");
	assert_int_equal(rename(p->path, p->fresh), 0);
	assert_int_equal(file_replace_secret(p->path, "secret", 6), 0);
	assert_text(p->path, "secret");
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(access(p->fresh, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_link_is_followed, setup, teardown),
		cmocka_unit_test_setup_teardown(another_name_of_a_file_is_not_written_to, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_a_cut_left_is_no_obstacle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
