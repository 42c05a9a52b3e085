/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick.c: the stick's file and its ledger, the VMs on it, and which plugged-in stick is meant. */
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
#include "file.h"
#include "mountinfo.h"
#include "mounts.h"
#include "testbed.h"

struct box {
	char folder[64];
	char mountinfo[96];
	UMockdevTestbed *bed;
};

static int setup(void **state)
{
	struct box *box = calloc(1, sizeof(*box));

	snprintf(box->folder, sizeof(box->folder), "/tmp/stick-test-XXXXXX");
	assert_non_null(mkdtemp(box->folder));
	snprintf(box->mountinfo, sizeof(box->mountinfo), "%s/mountinfo", box->folder);
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

static struct sv_ledger ledger_of(uint64_t written, uint64_t sessions, uint64_t first_s)
{
	return (struct sv_ledger){.guest_written_bytes = written,
				  .stick_written_bytes = 2 * written,
				  .sessions = sessions,
				  .first_used_s = first_s};
}

static struct sv_ledger total_of(const struct stick *stick)
{
	struct sv_ledger total = {0};

	for (size_t i = 0; i < stick->entry_count; i++)
		ledger_add(&total, &stick->entries[i].ledger);
	return total;
}

static void init_makes_it_once(void **state)
{
	struct box *box = *state;
	struct stick first;
	struct stick second;
	struct err err;
	bool fresh;

	assert_false(stick_prepared(box->folder));
	assert_int_equal(stick_init(box->folder, &first, &fresh, &err), 0);
	assert_true(fresh);
	assert_true(stick_prepared(box->folder));
	assert_int_equal(strlen(first.uuid), 36);
	assert_int_equal(stick_init(box->folder, &second, &fresh, &err), 0);
	assert_false(fresh);
	assert_string_equal(first.uuid, second.uuid);
	assert_int_equal(first.created_s, second.created_s);
	stick_free(&first);
	stick_free(&second);
	assert_int_equal(stick_init("/nowhere/at/all", &first, &fresh, &err), -1);
	assert_int_equal(err.status, EXIT_NO_STICK);
}

static void init_leaves_what_is_in_its_way(void **state)
{
	struct box *box = *state;
	char *path = file_path("%s/stickvm", box->folder);
	char *vms = file_path("%s/vms", path);
	struct stick stick;
	struct err err;
	bool fresh;

	assert_int_equal(file_replace(path, "a file", 6), 0);
	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), -1);
	assert_non_null(strstr(err.text, "a file is in the way"));
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(unlink(path), 0);
	/* One level down: the folder that was there stays, and nothing comes beside the file. */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(file_replace(vms, "a file", 6), 0);
	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), -1);
	assert_int_equal(access(vms, F_OK), 0);
	assert_false(stick_prepared(box->folder));
	free(vms);
	free(path);
}

static void the_ledger_outlives_its_vms(void **state)
{
	struct box *box = *state;
	const uint8_t one[16] = {1};
	const uint8_t two[16] = {2};
	struct sv_ledger a = ledger_of(1000, 1, 500);
	struct sv_ledger b = ledger_of(70, 2, 400);
	struct stick stick;
	struct err err;
	bool fresh;

	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), 0);
	assert_int_equal(stick_note(&stick, one, "vm", &a, false, &err), 0);
	assert_int_equal(stick_note(&stick, two, "other", &b, false, &err), 0);
	assert_int_equal(total_of(&stick).guest_written_bytes, 1070);
	assert_int_equal(total_of(&stick).first_used_s, 400);
	/* Noted again it is not counted again; counters only rise. */
	a.guest_written_bytes = 3000;
	assert_int_equal(stick_note(&stick, one, "vm", &a, false, &err), 0);
	a.guest_written_bytes = 10;
	assert_int_equal(stick_note(&stick, one, "vm", &a, false, &err), 0);
	assert_int_equal(total_of(&stick).guest_written_bytes, 3070);
	/* Deleted, and another VM of the same name: both stay in the sum. */
	assert_int_equal(stick_note(&stick, one, "vm", &a, true, &err), 0);
	assert_int_equal(total_of(&stick).guest_written_bytes, 3070);
	assert_int_equal(stick.entry_count, 2);
	assert_int_equal(stick_note(&stick, one, "vm", &b, false, &err), 0);
	assert_int_equal(stick_note(&stick, two, "other", &b, true, &err), 0);
	assert_int_equal(total_of(&stick).guest_written_bytes, 3140);
	assert_int_equal(total_of(&stick).sessions, 5);
	stick_free(&stick);
	assert_int_equal(stick_load(box->folder, &stick, &err), 0);
	assert_int_equal(total_of(&stick).guest_written_bytes, 3140);
	assert_int_equal(total_of(&stick).stick_written_bytes, 2 * 1000 + 2 * 140);
	stick_free(&stick);
}

static void write_stick(const struct box *box, const char *text)
{
	char *path = file_path("%s/stickvm/stick.yaml", box->folder);

	assert_int_equal(file_replace(path, text, strlen(text)), 0);
	free(path);
}

static void its_file_is_read_and_errors_name_the_line(void **state)
{
	struct box *box = *state;
	struct stick stick;
	struct err err;
	bool fresh;

	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), 0);
	stick_free(&stick);
	write_stick(box, "uuid: u\ncreated: 7\ngeometry:\n  page: 16K\n  erase_unit: 8M\n"
			 "  open_units: 1\nledger:\n  aa:\n    vm: x\n    flushes: 3\n"
			 "    of_a_newer_version: 9\n");
	assert_int_equal(stick_load(box->folder, &stick, &err), 0);
	assert_int_equal(stick.page_bytes, 16384);
	assert_int_equal(stick.erase_bytes, 8 << 20);
	assert_int_equal(stick.open_units, 1);
	assert_int_equal(stick.created_s, 7);
	assert_int_equal(stick.entries[0].ledger.flushes, 3);
	assert_string_equal(stick.entries[0].vm, "x");
	stick_free(&stick);
	write_stick(box, "uuid: u\nledger:\n  aa:\n    flushes: many\n");
	assert_int_equal(stick_load(box->folder, &stick, &err), -1);
	assert_non_null(strstr(err.text, "stick.yaml:4: "));
	write_stick(box, "created: 7\n");
	assert_int_equal(stick_load(box->folder, &stick, &err), -1);
	assert_non_null(strstr(err.text, "uuid is missing"));
}

/* On FAT a power cut inside a rename can leave the new name alone. */
static void a_cut_rename_is_read_from_the_new_name(void **state)
{
	struct box *box = *state;
	char *path = file_path("%s/stickvm/stick.yaml", box->folder);
	char *fresh_path = file_path("%s.new", path);
	struct stick stick;
	struct err err;
	bool fresh;

	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), 0);
	stick_free(&stick);
	assert_int_equal(rename(path, fresh_path), 0);
	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), 0);
	assert_false(fresh);
	stick_free(&stick);
	free(path);
	free(fresh_path);
}

static void make_vm(const struct stick *stick, const char *name, bool with_settings)
{
	char *folder = stick_vm_path(stick, name, NULL);
	char *settings = stick_vm_path(stick, name, "vm.yaml");

	assert_int_equal(mkdir(folder, 0700), 0);
	if (with_settings)
		assert_int_equal(file_replace(settings, "x: 1\n", 5), 0);
	free(folder);
	free(settings);
}

static void a_vm_is_picked(void **state)
{
	struct box *box = *state;
	struct stick stick;
	struct err err;
	char *name;
	bool fresh;

	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), 0);
	assert_int_equal(stick_pick(&stick, NULL, &name, &err), -1);
	assert_non_null(strstr(err.text, "no VM on this stick"));
	make_vm(&stick, "half-made", false); /* what a cut create leaves is no VM */
	make_vm(&stick, "b", true);
	assert_int_equal(stick_pick(&stick, NULL, &name, &err), 0);
	assert_string_equal(name, "b");
	free(name);
	make_vm(&stick, "a", true);
	assert_int_equal(stick_pick(&stick, NULL, &name, &err), -1);
	assert_int_equal(err.status, EXIT_USAGE);
	assert_non_null(strstr(err.text, "a, b"));
	assert_int_equal(stick_pick(&stick, "a", &name, &err), 0);
	free(name);
	assert_int_equal(stick_pick(&stick, "half-made", &name, &err), -1);
	assert_int_equal(err.status, EXIT_FAILED);
	assert_int_equal(stick_pick(&stick, "../vms/a", &name, &err), -1);
	assert_int_equal(err.status, EXIT_USAGE);
	stick_free(&stick);
}

/* A partition of a USB stick as udev shows it. */
static void plug_in(struct box *box, const char *disk, unsigned minor, const char *model)
{
	char *usb_name = file_path("usb-%s", disk);
	char *part_name = file_path("%s1", disk);
	char *disk_node = file_path("/dev/%s", disk);
	char *part_node = file_path("/dev/%s1", disk);
	char *part_dev = file_path("8:%u", minor);
	gchar *usb, *whole, *part;

	if (!box->bed)
		box->bed = umockdev_testbed_new();
	usb = umockdev_testbed_add_device(box->bed, "usb", usb_name, NULL, "idVendor", "0781", NULL,
					  "DEVTYPE", "usb_device", NULL);
	whole = umockdev_testbed_add_device(box->bed, "block", disk, usb, "size", "31457280", "dev",
					    "8:0", NULL, "DEVTYPE", "disk", "DEVNAME", disk_node,
					    "ID_BUS", "usb", "ID_PART_TABLE_TYPE", "dos", NULL);
	part = umockdev_testbed_add_device(
		box->bed, "block", part_name, whole, "size", "31455232", "dev", part_dev, NULL,
		"DEVTYPE", "partition", "DEVNAME", part_node, "ID_BUS", "usb", "ID_FS_TYPE",
		"exfat", "ID_FS_LABEL", "STICK", "ID_VENDOR", "SanDisk", "ID_MODEL", model, "MAJOR",
		"8", "MINOR", part_dev + 2, NULL);
	g_free(usb);
	g_free(whole);
	g_free(part);
	free(usb_name);
	free(part_name);
	free(disk_node);
	free(part_node);
	free(part_dev);
}

static void write_mounts(const struct box *box, const char *text)
{
	assert_int_equal(file_replace(box->mountinfo, text, strlen(text)), 0);
}

static void no_stick_plugged_in(void **state)
{
	struct box *box = *state;
	struct stick stick;
	struct err err;

	box->bed = umockdev_testbed_new();
	write_mounts(box, "");
	assert_int_equal(stick_open_plugged(box->mountinfo, &stick, &err), -1);
	assert_int_equal(err.status, EXIT_NO_STICK);
	assert_non_null(strstr(err.text, "no stick is plugged in"));
}

static void the_only_prepared_stick_is_taken(void **state)
{
	struct box *box = *state;
	char *mounts = file_path("22 1 8:17 / %s rw - exfat /dev/sdx1 rw\n", box->folder);
	struct plugged *list;
	size_t count;
	struct stick stick;
	struct err err;
	bool fresh;

	plug_in(box, "sdx", 17, "Extreme_Pro");
	write_mounts(box, "");
	assert_int_equal(stick_open_plugged(box->mountinfo, &stick, &err), -1);
	assert_non_null(strstr(err.text, "/dev/sdx1"));
	assert_non_null(strstr(err.text, "not mounted"));
	write_mounts(box, mounts);
	assert_int_equal(stick_open_plugged(box->mountinfo, &stick, &err), -1);
	assert_non_null(strstr(err.text, "stickvm init"));
	assert_non_null(strstr(err.text, box->folder));
	assert_int_equal(stick_init(box->folder, &stick, &fresh, &err), 0);
	stick_free(&stick);
	assert_int_equal(stick_open_plugged(box->mountinfo, &stick, &err), 0);
	assert_string_equal(stick.dir, box->folder);
	stick_free(&stick);
	assert_int_equal(plugged_list(box->mountinfo, &list, &count), 0);
	assert_int_equal(count, 1); /* the partition; its disk holds no file system */
	assert_string_equal(list[0].node, "/dev/sdx1");
	assert_string_equal(list[0].model, "SanDisk Extreme Pro");
	assert_string_equal(list[0].fs, "exfat");
	assert_string_equal(list[0].label, "STICK");
	assert_int_equal(list[0].size_bytes, UINT64_C(31455232) * 512);
	assert_true(list[0].prepared);
	plugged_free(list, count);
	free(mounts);
}

/* Mounted through FUSE (ntfs-3g): no number of the device, but its name; and a space in the path.
 */
static void two_prepared_sticks_are_candidates(void **state)
{
	struct box *box = *state;
	char *one = file_path("%s/one", box->folder);
	char *two = file_path("%s/two x", box->folder);
	char *mounts = file_path("22 1 8:17 / %s rw shared:1 - exfat /dev/sdx1 rw\n"
				 "23 1 0:99 / %s/two\\040x rw - fuseblk /dev/sdy1 rw\n",
				 one, box->folder);
	struct stick stick;
	struct err err;
	bool fresh;

	mkdir(one, 0700);
	mkdir(two, 0700);
	plug_in(box, "sdx", 17, "A");
	plug_in(box, "sdy", 33, "B");
	write_mounts(box, mounts);
	assert_int_equal(stick_init(one, &stick, &fresh, &err), 0);
	stick_free(&stick);
	assert_int_equal(stick_open_plugged(box->mountinfo, &stick, &err), 0);
	assert_string_equal(stick.dir, one);
	stick_free(&stick);
	assert_int_equal(stick_init(two, &stick, &fresh, &err), 0);
	stick_free(&stick);
	assert_int_equal(stick_open_plugged(box->mountinfo, &stick, &err), -1);
	assert_int_equal(err.status, EXIT_NO_STICK);
	assert_non_null(strstr(err.text, one));
	assert_non_null(strstr(err.text, two));
	assert_non_null(strstr(err.text, "--stick"));
	free(one);
	free(two);
	free(mounts);
}

static void mounts_of_ours_are_told(void **state)
{
	struct box *box = *state;
	struct mount_info info;

	write_mounts(box, "22 1 0:50 / /m\\040x rw - fuse.stickvm stickvm:deb#123 rw\n"
			  "23 1 0:51 / /run/y rw - fuse.stickvm stickvm:other rw\n"
			  "24 1 0:52 / /z rw - fuse.sshfs host:/z rw\n"
			  "25 1 0:53 / /z2 rw - fuse.stickvm stickvm:below#1 rw\n"
			  "26 1 0:54 / /z2 rw - tmpfs tmpfs rw\n"
			  "nonsense\n");
	assert_true(mounts_find(box->mountinfo, "/m x", &info));
	assert_string_equal(info.vm, "deb");
	assert_int_equal(info.pid, 123);
	assert_true(mounts_find(box->mountinfo, "/run/y", &info));
	assert_string_equal(info.vm, "other");
	assert_int_equal(info.pid, 0);
	assert_false(mounts_find(box->mountinfo, "/z", &info));
	assert_false(mounts_find(box->mountinfo, "/z2", &info)); /* hidden by another */
	assert_false(mounts_find(box->mountinfo, "/", &info));
	assert_false(mounts_find("/nowhere", "/m x", &info));
}

static void life_is_an_interval(void **state)
{
	struct sv_ledger ledger = {.guest_written_bytes = 500, .stick_written_bytes = 1500};
	double low, high;

	(void)state;
	assert_true(ledger_amplification(&ledger) == 3.0);
	ledger_life(&ledger, 1000, &low, &high);
	assert_true(low > 0.000499 && low < 0.000501); /* 1.5 overwrites of 3000 */
	assert_true(high > 0.00999 && high < 0.01001); /* twice 1.5 of 300 */
	ledger_life(&ledger, 0, &low, &high);
	assert_true(low == 0 && high == 0);
	ledger.guest_written_bytes = 0;
	assert_true(ledger_amplification(&ledger) == 0);
}

#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOXED(init_makes_it_once),
		BOXED(init_leaves_what_is_in_its_way),
		BOXED(the_ledger_outlives_its_vms),
		BOXED(its_file_is_read_and_errors_name_the_line),
		BOXED(a_cut_rename_is_read_from_the_new_name),
		BOXED(a_vm_is_picked),
		BOXED(no_stick_plugged_in),
		BOXED(the_only_prepared_stick_is_taken),
		BOXED(two_prepared_sticks_are_candidates),
		BOXED(mounts_of_ours_are_told),
		cmocka_unit_test(life_is_an_interval),
	};

	(void)argc;
	testbed_restart(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
