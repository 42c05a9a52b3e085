/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_init.c: `init`: prepare a stick, or list those that are plugged in. */
#include <string.h>
#include <sys/xattr.h>

#include "probe_place.h"
#include "probe_stick.h"
#include "size.h"
#include "stick.h"
#include "ui.h"
#include "verbs.h"

/* What a raw partition gains over files, said once, when it still can be chosen. */
static const char advice[] =
	"For the disk of a VM a raw partition is best ('stickvm create NAME --place /dev/sdX2'):\n"
	"its writes lie on the stick's erase units, and no file system adds writes of its own.\n"
	"In files it works as well; ext4 is the best file system for that, exFAT and NTFS are\n"
	"slower and wear the stick more.\n";

static const char ntfs_advice[] =
	"On NTFS mount it with '-o delay_mtime': else ntfs-3g writes metadata with every write.\n";

/* ntfs-3g shows NTFS's own attributes; the kernel calls it "fuseblk" as it does exfat-fuse. */
static bool is_ntfs_3g(const char *dir)
{
	return getxattr(dir, "system.ntfs_attrib", NULL, 0) >= 0;
}

static json_t *stick_json(const struct stick *stick, bool fresh, const struct probe_stick *probe)
{
	json_t *json =
		json_pack("{s:s, s:s, s:b, s:I, s:I, s:I}", "dir", stick->dir, "uuid", stick->uuid,
			  "fresh", fresh, "created", (json_int_t)stick->created_s, "capacity_bytes",
			  (json_int_t)stick_capacity(stick->dir), "free_bytes",
			  (json_int_t)stick_free_bytes(stick->dir));

	json_object_set_new(json, "probe", probe ? probe_stick_json(probe) : json_null());
	return json;
}

/* A short look at a fresh stick, where it is one: what it finds is used by the first VM already.
 * A stick that cannot be measured can be used all the same. */
static bool look_at(const struct args *args, struct stick *stick, struct probe_stick *ret_probe,
		    struct err *err)
{
	struct facts facts = {0};
	bool is_stick;

	facts_gather_stick(stick->dir, &facts);
	is_stick = probe_place_is_stick(stick->dir, facts.stick_node);
	facts_free(&facts);
	if (args_has(args, "no-probe") || !is_stick)
		return false;
	if (probe_stick(stick->dir, stick, false, true, ret_probe, err) == 0)
		return true;
	if (err->status != EXIT_INTERRUPTED)
		ui_warn(args, "it was not measured: %s", err->text);
	return false;
}

static int prepare(const struct args *args, const char *dir)
{
	struct probe_stick probe;
	struct stick stick;
	struct err err = {0};
	char room[32];
	bool fresh, probed;
	int status = EXIT_DONE;

	if (stick_init(dir, &stick, &fresh, &err) < 0)
		return ui_fail(args, &err);
	probed = fresh && look_at(args, &stick, &probe, &err);
	if (err.status == EXIT_INTERRUPTED) {
		status = ui_fail(args, &err);
	} else if (args_has(args, "json")) {
		status = ui_json(args, stick_json(&stick, fresh, probed ? &probe : NULL));
	} else if (fresh) {
		printf("Prepared %s (stick %s, %s free).\n%s%s", stick.dir, stick.uuid,
		       size_human(stick_free_bytes(stick.dir), room, sizeof(room)), advice,
		       is_ntfs_3g(stick.dir) ? ntfs_advice : "");
		if (probed)
			putchar('\n');
		if (probed)
			probe_stick_print(&probe);
	} else {
		printf("%s was prepared already (stick %s); nothing was changed.\n", stick.dir,
		       stick.uuid);
	}
	if (probed)
		probe_stick_free(&probe);
	stick_free(&stick);
	return status;
}

static int list_json(const struct args *args, const struct plugged *list, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++) {
		json_array_append_new(array, json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:I, s:b}",
						       "node", list[i].node, "model", list[i].model,
						       "fs", list[i].fs, "label", list[i].label,
						       "mount_dir", list[i].mount_dir, "size_bytes",
						       (json_int_t)list[i].size_bytes, "prepared",
						       list[i].prepared));
	}
	return ui_json(args, json_pack("{s:o}", "sticks", array));
}

static void list_table(const struct plugged *list, size_t count)
{
	static const char *const titles[] = {"DEVICE",	   "MODEL", ">SIZE",   "FILE SYSTEM",
					     "MOUNTED AT", "LABEL", "PREPARED"};
	struct ui_table *table = ui_table_new(7, titles);

	for (size_t i = 0; i < count; i++) {
		const struct plugged *p = &list[i];
		char size[32];
		const char *cells[] = {p->node,
				       p->model,
				       size_human(p->size_bytes, size, sizeof(size)),
				       p->fs ? p->fs : "-",
				       p->mount_dir ? p->mount_dir : "-",
				       p->label ? p->label : "-",
				       p->prepared ? "yes" : "no"};

		ui_table_row(table, cells);
	}
	ui_table_print(table, stdout);
}

static int list_plugged(const struct args *args)
{
	struct plugged *list;
	struct err err;
	size_t count;
	int status = EXIT_DONE;
	int rc = plugged_list("/proc/self/mountinfo", &list, &count);

	if (rc < 0) {
		err_set(&err, EXIT_FAILED,
			"the sticks cannot be listed: %s; give the folder where "
			"the stick is mounted",
			strerror(-rc));
		return ui_fail(args, &err);
	}
	if (args_has(args, "json")) {
		status = list_json(args, list, count);
	} else if (count == 0) {
		printf("No USB stick is plugged in. Any folder can be prepared: stickvm init "
		       "DIR\n");
	} else {
		list_table(list, count);
		printf("Prepare one that is mounted: stickvm init DIR\n");
	}
	plugged_free(list, count);
	return status;
}

int cmd_init(const struct args *args)
{
	const char *dir = args_operand(args, 0);

	if (!dir)
		dir = args->stick;
	return dir ? prepare(args, dir) : list_plugged(args);
}
