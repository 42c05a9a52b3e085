/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watch.c: a stick is seen to leave, and is found again elsewhere; a sleep is told from none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <umockdev.h>
#include <unistd.h>

#include "../../launcher/stick.h" /* flashsim has one as well */
#include "clock.h"
#include "file.h"
#include "testbed.h"
#include "watch.h"

struct box {
	char folder[64];
	char mountinfo[96];
	struct watch_host host;
	UMockdevTestbed *bed;
};

static int setup(void **state)
{
	struct box *box = calloc(1, sizeof(*box));

	snprintf(box->folder, sizeof(box->folder), "/tmp/watch-test-XXXXXX");
	assert_non_null(mkdtemp(box->folder));
	snprintf(box->mountinfo, sizeof(box->mountinfo), "%s/mountinfo", box->folder);
	box->bed = umockdev_testbed_new();
	box->host.mountinfo = box->mountinfo;
	*state = box;
	return 0;
}

static int teardown(void **state)
{
	struct box *box = *state;

	g_clear_object(&box->bed);
	file_remove_tree(box->folder);
	free(box);
	return 0;
}

static void write_mounts(const struct box *box, const char *text)
{
	assert_int_equal(file_replace(box->mountinfo, text, strlen(text)), 0);
}

/* A disk with its node in /dev; its path in sysfs is the caller's. */
static char *plug_in(struct box *box, const char *name, const char *dev, const char *diskseq)
{
	char *text = file_path(
		"P: /devices/virtual/block/%s\nN: %s\nE: DEVNAME=/dev/%s\nE: DEVTYPE=disk\n"
		"E: SUBSYSTEM=block\nA: dev=%s\nA: size=2048\nA: diskseq=%s\n\n",
		name, name, name, dev, diskseq);
	char *path = file_path("/sys/devices/virtual/block/%s", name);

	assert_true(umockdev_testbed_add_from_string(box->bed, text, NULL));
	free(text);
	return path;
}

static bool pumped(struct watch *watch, int timeout_ms)
{
	struct pollfd polls[WATCH_POLLS];
	size_t count = watch_polls(watch, polls);

	return poll(polls, count, timeout_ms) > 0 && watch_pump(watch, polls, count);
}

static void a_device_that_leaves_is_gone(void **state)
{
	struct box *box = *state;
	char *stick = plug_in(box, "loop7", "7:7", "41");
	char *other = plug_in(box, "sdy", "8:32", "42");
	struct watch *watch = watch_new("/dev/loop7", &box->host);

	assert_non_null(watch);
	assert_false(watch_gone(watch));
	umockdev_testbed_uevent(box->bed, other, "remove");
	assert_true(pumped(watch, 2000));
	umockdev_testbed_remove_device(box->bed, other);
	assert_false(watch_gone(watch));
	umockdev_testbed_uevent(box->bed, stick, "remove");
	umockdev_testbed_remove_device(box->bed, stick);
	assert_true(pumped(watch, 2000));
	assert_true(watch_gone(watch));
	watch_free(watch);
	free(stick);
	free(other);
}

/* Pulled and plugged in again between two looks: the number is the same, the disk is not. */
static void a_number_that_is_used_again_is_another_device(void **state)
{
	struct box *box = *state;
	char *stick = plug_in(box, "loop7", "7:7", "41");
	struct watch *watch = watch_new("/dev/loop7", &box->host);

	umockdev_testbed_set_attribute(box->bed, stick, "diskseq", "43");
	assert_true(watch_gone(watch));
	watch_free(watch);
	/* A kernel without these numbers: nothing to compare. */
	umockdev_testbed_set_attribute(box->bed, stick, "diskseq", "");
	watch = watch_new("/dev/loop7", &box->host);
	assert_false(watch_gone(watch));
	watch_free(watch);
	free(stick);
}

/* exfat-fuse and ntfs-3g: the folder's number is of no device. (/proc's is of none either.) */
static void a_fuse_mount_is_its_source(void **state)
{
	struct box *box = *state;
	char *stick = plug_in(box, "loop7", "7:7", "41");
	struct watch *watch;

	write_mounts(box, "22 1 0:99 / /proc rw - fuseblk /dev/loop7 rw\n");
	watch = watch_new("/proc", &box->host);
	assert_false(watch_gone(watch));
	umockdev_testbed_set_attribute(box->bed, stick, "diskseq", "50");
	assert_true(watch_gone(watch));
	watch_free(watch);
	write_mounts(box, "22 1 0:99 / /proc rw - fuse.sshfs host:/share rw\n");
	watch = watch_new("/proc", &box->host);
	umockdev_testbed_set_attribute(box->bed, stick, "diskseq", "51");
	umockdev_testbed_remove_device(box->bed, stick);
	assert_false(watch_gone(watch));
	watch_free(watch);
	free(stick);
}

/* Folders that were tried, in order, as one text. */
struct tried {
	char text[1024];
	const char *take;
};

static bool take(void *ctx, const char *path)
{
	struct tried *tried = ctx;
	const size_t used = strlen(tried->text);

	snprintf(tried->text + used, sizeof(tried->text) - used, "%s ", path);
	return tried->take && strcmp(path, tried->take) == 0;
}

static void assert_tried(struct tried *tried, const char *folder, const char *const names[])
{
	char want[1024] = "";

	for (size_t i = 0; names[i]; i++) {
		const size_t used = strlen(want);

		snprintf(want + used, sizeof(want) - used, "%s/%s ", folder, names[i]);
	}
	assert_string_equal(tried->text, want);
}

static void make_stick(const struct box *box, const char *name, const char *uuid)
{
	char *dir = file_path("%s/%s", box->folder, name);
	char *yaml = file_path("%s/stickvm/stick.yaml", dir);
	char *text = file_path("uuid: %s\ncreated: 7\n", uuid);
	struct stick stick;
	struct err err;
	bool fresh;

	mkdir(dir, 0700);
	assert_int_equal(stick_init(dir, &stick, &fresh, &err), 0);
	stick_free(&stick);
	assert_int_equal(file_replace(yaml, text, strlen(text)), 0);
	free(text);
	free(yaml);
	free(dir);
}

static struct watch_home home_of(const struct box *box, const char *name)
{
	char *dir = file_path("%s/%s", box->folder, name);
	struct watch_home home;

	assert_int_equal(watch_home_of(dir, "u-1", &box->host, &home), 0);
	free(dir);
	return home;
}

static void set_mounts(const struct box *box, const char *fmt_with_four)
{
	char *text = file_path(fmt_with_four, box->folder, box->folder, box->folder, box->folder);

	write_mounts(box, text);
	free(text);
}

static void a_stick_is_found_at_another_mount_point(void **state)
{
	struct box *box = *state;
	struct tried tried = {.take = NULL};
	struct watch_home home;

	make_stick(box, "one", "u-1");
	make_stick(box, "two", "u-2");
	make_stick(box, "three", "u-1");
	make_stick(box, "net", "u-1");
	set_mounts(box, "22 1 8:17 / %s/one rw - ext4 /dev/sdx1 rw\n");
	home = home_of(box, "one");
	assert_string_equal(home.inside, "/");
	set_mounts(box, "22 1 8:33 / %s/two rw - ext4 /dev/sdy1 rw\n"
			"23 1 8:49 / %s/three rw - ext4 /dev/sdz1 rw\n"
			"24 1 0:50 / %s/net rw - nfs host:/x rw\n"
			"25 1 8:49 /stickvm %s/two rw - ext4 /dev/sdz1 rw\n");
	assert_false(watch_each_home(&home, &box->host, take, &tried));
	/* The old one first; another stick, and what no disk of this host holds, never. */
	assert_tried(&tried, box->folder, (const char *const[]){"one", "three", NULL});
	tried = (struct tried){.take = home.dir};
	assert_true(watch_each_home(&home, &box->host, take, &tried));
	assert_tried(&tried, box->folder, (const char *const[]){"one", NULL});
	watch_home_free(&home);
}

/* The stick's folder may be one below the mount point, and the mount one of a part. */
static void a_folder_of_a_stick_is_found_by_its_path_inside(void **state)
{
	struct box *box = *state;
	struct tried tried = {.take = NULL};
	struct watch_home home;

	make_stick(box, "old", "u-1");
	set_mounts(box, "22 1 8:17 /deep %s/old rw - ext4 /dev/sdx1 rw\n");
	home = home_of(box, "old");
	assert_string_equal(home.inside, "/deep");
	watch_home_free(&home);
	set_mounts(box, "22 1 8:17 / %s rw - ext4 /dev/sdx1 rw\n");
	home = home_of(box, "old");
	assert_string_equal(home.inside, "/old");
	home.dir[strlen(home.dir) - 1] = 'x'; /* not there any more */
	make_stick(box, "new", "u-1");
	make_stick(box, "new/old", "u-1");
	set_mounts(box, "22 1 8:17 / %s/new rw - ext4 /dev/sdy1 rw\n"
			"23 1 8:17 /other %s/new rw - ext4 /dev/sdy1 rw\n"
			"24 1 8:17 /old %s/new rw - ext4 /dev/sdy1 rw\n"
			"25 1 8:17 /ol %s/new rw - ext4 /dev/sdy1 rw\n");
	assert_false(watch_each_home(&home, &box->host, take, &tried));
	assert_tried(&tried, box->folder, (const char *const[]){"new/old", "new", NULL});
	watch_home_free(&home);
}

/* What is found in a dead mount's memory is not the stick. */
static void a_mount_without_its_device_is_passed_over(void **state)
{
	struct box *box = *state;
	struct tried tried = {.take = NULL};
	struct watch_home home;
	char *dead, *lives, *other;

	make_stick(box, "one", "u-1");
	make_stick(box, "two", "u-1");
	make_stick(box, "three", "u-1");
	set_mounts(box, "22 1 8:16 / %s/one rw - ext4 /dev/sdx rw\n"
			"23 1 8:32 / %s/two rw - ext4 /dev/sdy rw\n"
			"24 1 0:90 / %s/three rw - fuseblk /dev/sdz rw\n");
	dead = plug_in(box, "sdx", "8:16", "1");
	lives = plug_in(box, "sdy", "8:32", "2");
	other = plug_in(box, "sdz", "8:48", "3");
	home = home_of(box, "one");
	assert_false(watch_each_home(&home, &box->host, take, &tried));
	assert_tried(&tried, box->folder, (const char *const[]){"one", "two", "three", NULL});
	umockdev_testbed_uevent(box->bed, dead, "remove");
	umockdev_testbed_remove_device(box->bed, dead);
	umockdev_testbed_uevent(box->bed, other, "remove");
	umockdev_testbed_remove_device(box->bed, other);
	tried = (struct tried){.take = NULL};
	assert_false(watch_each_home(&home, &box->host, take, &tried));
	assert_tried(&tried, box->folder, (const char *const[]){"two", NULL});
	watch_home_free(&home);
	free(dead);
	free(lives);
	free(other);
}

static void a_raw_place_is_looked_for_by_its_size(void **state)
{
	struct box *box = *state;
	struct tried tried = {.take = NULL};
	char *one = plug_in(box, "sdx", "8:16", "1");
	char *two = plug_in(box, "sdy", "8:32", "2");

	umockdev_testbed_set_attribute(box->bed, two, "size", "4096");
	assert_false(
		watch_each_node("/nowhere/by-partuuid/x", 2048 * 512, &box->host, take, &tried));
	assert_string_equal(tried.text, "/dev/sdx ");
	tried = (struct tried){.take = NULL};
	assert_false(watch_each_node(box->folder, 4096 * 512, &box->host, take, &tried));
	assert_non_null(strstr(tried.text, box->folder)); /* its own name first */
	assert_non_null(strstr(tried.text, " /dev/sdy "));
	tried = (struct tried){.take = box->folder};
	assert_true(watch_each_node(box->folder, 4096 * 512, &box->host, take, &tried));
	assert_null(strstr(tried.text, "/dev/sdy"));
	tried = (struct tried){.take = NULL};
	assert_false(watch_each_node("/nowhere", 0, &box->host, take, &tried));
	assert_string_equal(tried.text, "");
	free(one);
	free(two);
}

static void a_sleep_is_told_from_a_slow_look(void **state)
{
	struct clock_sleep clock = {.slept_ms = 100};

	(void)state;
	assert_int_equal(clock_sleep_between(&clock, 5100, 5000), 0);
	assert_int_equal(clock_sleep_between(&clock, 9100, 9003), 0); /* a pause between the two */
	assert_int_equal(clock_sleep_between(&clock, 9500, 9003), 0); /* 397 more: too short */
	assert_int_equal(clock_sleep_between(&clock, 40100, 10000), 30000);
	assert_int_equal(clock_sleep_between(&clock, 41100, 11000), 0); /* told once */
	/* A look that was held up for 10 s between the readings is none, nor is the next one. */
	assert_int_equal(clock_sleep_between(&clock, 42100, 22000), 0);
	assert_int_equal(clock_sleep_between(&clock, 53100, 23000), 0);
	clock_sleep_init(&clock);
	assert_int_equal(clock_sleep_look(&clock), 0);
}

#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOXED(a_device_that_leaves_is_gone),
		BOXED(a_number_that_is_used_again_is_another_device),
		BOXED(a_fuse_mount_is_its_source),
		BOXED(a_stick_is_found_at_another_mount_point),
		BOXED(a_folder_of_a_stick_is_found_by_its_path_inside),
		BOXED(a_mount_without_its_device_is_passed_over),
		BOXED(a_raw_place_is_looked_for_by_its_size),
		cmocka_unit_test(a_sleep_is_told_from_a_slow_look),
	};

	(void)argc;
	testbed_restart(argv);
	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
