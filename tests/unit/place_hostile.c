/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_hostile.c: a folder of containers leads nowhere else, whatever lies in it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "place_format.h"
#include "place_spot.h"

#define SPACE (8 * MIB)

/* Moves the first container out of the folder, and says where to. */
static void move_out(const struct spot *spot, char (*ret_inside)[300], char (*ret_outside)[300])
{
	container_path(spot, "store.000", ret_inside);
	snprintf(*ret_outside, sizeof(*ret_outside), "%s/outside", spot->base);
	assert_int_equal(rename(*ret_inside, *ret_outside), 0);
}

/* Takes what a test put there away, and the container back in. */
static void move_back(const char *inside, const char *outside)
{
	assert_int_equal(remove(inside), 0);
	assert_int_equal(rename(outside, inside), 0);
}

static void expect(const struct spot *spot, int value)
{
	struct sv_dev *dev;

	assert_int_equal(sv_place_open(spot->path, true, &dev), value);
	assert_int_equal(sv_place_open(spot->path, false, &dev), value);
}

/* Otherwise a whole and valid container: only where it lies is wrong. */
static void link_is_no_container(void **state)
{
	const struct spot *spot = *state;
	char inside[300], outside[300];

	make_filled(spot, SPACE);
	move_out(spot, &inside, &outside);
	assert_int_equal(symlink(outside, inside), 0);
	expect(spot, -EBADMSG);
	assert_int_equal(unlink(inside), 0);
	assert_int_equal(symlink("../outside", inside), 0);
	expect(spot, -EBADMSG);
	move_back(inside, outside);
	sv_dev_close(open_ok(spot->path, true));
}

static void pipe_does_not_hang(void **state)
{
	const struct spot *spot = *state;
	char inside[300], outside[300];

	make_filled(spot, SPACE);
	move_out(spot, &inside, &outside);
	assert_int_equal(mkfifo(inside, 0600), 0);
	alarm(20);
	expect(spot, -EBADMSG);
	alarm(0);
	move_back(inside, outside);
}

/* A file system that has device nodes could bring one of the host's disks. */
static void device_is_no_container(void **state)
{
	const struct spot *spot = *state;
	char inside[300], outside[300];

	make_filled(spot, SPACE);
	move_out(spot, &inside, &outside);
	assert_int_equal(mknod(inside, S_IFCHR | 0600, makedev(1, 5)), 0); /* zeros for ever */
	expect(spot, -EBADMSG);
	move_back(inside, outside);
}

static void folder_is_no_container(void **state)
{
	const struct spot *spot = *state;
	char inside[300], outside[300];
	struct sv_dev *dev;

	make_filled(spot, SPACE);
	move_out(spot, &inside, &outside);
	assert_int_equal(mkdir(inside, 0700), 0);
	assert_int_equal(sv_place_open(spot->path, true, &dev), -EBADMSG);
	assert_int_equal(sv_place_open(spot->path, false, &dev), -EISDIR);
	move_back(inside, outside);
}

/* Growing makes its next container anew, and not through a link that waits under its name. */
static void link_is_not_grown_through(void **state)
{
	const struct spot *spot = *state;
	char fresh[300], outside[300];
	struct sv_dev *dev;
	struct stat st;

	make_filled(spot, SPACE / 2);
	container_path(spot, "store.new", &fresh);
	snprintf(outside, sizeof(outside), "%s/outside", spot->base);
	assert_int_equal(symlink(outside, fresh), 0);
	dev = open_ok(spot->path, false);
	assert_int_equal(sv_dev_grow(dev, SPACE), 0);
	sv_dev_close(dev);
	assert_int_equal(stat(outside, &st), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SPOT_TEST(link_is_no_container),      SPOT_TEST(pipe_does_not_hang),
		SPOT_TEST(device_is_no_container),    SPOT_TEST(folder_is_no_container),
		SPOT_TEST(link_is_not_grown_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
