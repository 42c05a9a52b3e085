/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plugged.c: the USB sticks that are plugged in, through udev, and where they are mounted. */
#include <errno.h>
#include <libudev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "file.h"
#include "mountinfo.h"
#include "stick.h"

void plugged_free(struct plugged *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].node);
		free(list[i].model);
		free(list[i].fs);
		free(list[i].label);
		free(list[i].mount_dir);
	}
	free(list);
}

/* The device that mounted_at looks for, and what it found. */
struct looking {
	const char *node;
	dev_t devnum;
	char *dir;
};

/* A FUSE mount (exfat-fuse, ntfs-3g) has a number of its own: its source names the device. */
static bool look(void *ctx, const struct mountinfo *mi)
{
	struct looking *l = ctx;

	if (strcmp(mi->root, "/") == 0 &&
	    ((mi->major == major(l->devnum) && mi->minor == minor(l->devnum)) ||
	     strcmp(mi->source, l->node) == 0))
		l->dir = strdup(mi->point);
	return l->dir == NULL;
}

/* Where a device is mounted with its root: the caller frees it; NULL: nowhere. */
static char *mounted_at(const char *mountinfo, const char *node, dev_t devnum)
{
	struct looking l = {.node = node, .devnum = devnum};

	mountinfo_each(mountinfo, look, &l);
	return l.dir;
}

/* What udev's rules call "Extreme_Pro" for people. */
static char *model_of(struct udev_device *dev)
{
	const char *vendor = udev_device_get_property_value(dev, "ID_VENDOR");
	const char *model = udev_device_get_property_value(dev, "ID_MODEL");
	char *text = file_path("%s%s%s", vendor ? vendor : "", vendor && model ? " " : "",
			       model ? model : "");

	for (char *p = text; p && *p; p++) {
		if (*p == '_')
			*p = ' ';
	}
	return text;
}

static char *copy_property(struct udev_device *dev, const char *name)
{
	const char *value = udev_device_get_property_value(dev, name);

	return value ? strdup(value) : NULL;
}

static bool is_usb_storage(struct udev_device *dev)
{
	const char *bus = udev_device_get_property_value(dev, "ID_BUS");

	if (bus && strcmp(bus, "usb") == 0)
		return true;
	return udev_device_get_parent_with_subsystem_devtype(dev, "usb", "usb_device") != NULL;
}

static bool is_partition(struct udev_device *dev)
{
	const char *type = udev_device_get_devtype(dev);

	return type && strcmp(type, "partition") == 0;
}

/* A whole disk counts only where it holds a file system itself: else its partitions do. */
static bool counts(struct udev_device *dev)
{
	if (!udev_device_get_devnode(dev) || !is_usb_storage(dev))
		return false;
	return is_partition(dev) || udev_device_get_property_value(dev, "ID_FS_TYPE") != NULL ||
	       !udev_device_get_property_value(dev, "ID_PART_TABLE_TYPE");
}

static int add(const char *mountinfo, struct udev_device *dev, struct plugged **list, size_t *count)
{
	struct plugged *grown = realloc(*list, (*count + 1) * sizeof(*grown));
	const char *sectors = udev_device_get_sysattr_value(dev, "size");
	const char *node = udev_device_get_devnode(dev);

	if (!grown)
		return -ENOMEM;
	*list = grown;
	grown += *count;
	*grown = (struct plugged){
		.node = strdup(node),
		.model = model_of(dev),
		.fs = copy_property(dev, "ID_FS_TYPE"),
		.label = copy_property(dev, "ID_FS_LABEL"),
		.mount_dir = mounted_at(mountinfo, node, udev_device_get_devnum(dev)),
		.size_bytes = sectors ? strtoull(sectors, NULL, 10) * 512 : 0,
	};
	(*count)++;
	if (!grown->node || !grown->model)
		return -ENOMEM;
	grown->prepared = grown->mount_dir && stick_prepared(grown->mount_dir);
	return 0;
}

static int scan(const char *mountinfo, struct udev *udev, struct udev_enumerate *all,
		struct plugged **list, size_t *count)
{
	struct udev_list_entry *entry;
	int rc = 0;

	udev_enumerate_add_match_subsystem(all, "block");
	udev_enumerate_scan_devices(all);
	udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(all))
	{
		struct udev_device *dev =
			udev_device_new_from_syspath(udev, udev_list_entry_get_name(entry));

		if (dev && rc == 0 && counts(dev))
			rc = add(mountinfo, dev, list, count);
		udev_device_unref(dev);
	}
	return rc;
}

int plugged_list(const char *mountinfo, struct plugged **ret_list, size_t *ret_count)
{
	struct udev *udev = udev_new();
	struct udev_enumerate *all = udev ? udev_enumerate_new(udev) : NULL;
	struct plugged *list = NULL;
	size_t count = 0;
	int rc = all ? scan(mountinfo, udev, all, &list, &count) : -ENOMEM;

	udev_enumerate_unref(all);
	udev_unref(udev);
	if (rc < 0) {
		plugged_free(list, count);
		return rc;
	}
	*ret_list = list;
	*ret_count = count;
	return 0;
}

/* The best of the links that udev made for a device: by partition, by file system, by device. */
static char *best_link(struct udev_device *dev)
{
	static const char *const folders[] = {"/dev/disk/by-partuuid/", "/dev/disk/by-id/"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		struct udev_list_entry *link;

		udev_list_entry_foreach(link, udev_device_get_devlinks_list_entry(dev))
		{
			const char *name = udev_list_entry_get_name(link);

			if (strncmp(name, folders[i], strlen(folders[i])) == 0)
				return strdup(name);
		}
	}
	return NULL;
}

char *plugged_stable_name(const char *node)
{
	struct stat st;
	struct udev *udev = udev_new();
	struct udev_device *dev = NULL;
	char *name = NULL;

	if (udev && stat(node, &st) == 0 && S_ISBLK(st.st_mode))
		dev = udev_device_new_from_devnum(udev, 'b', st.st_rdev);
	if (dev)
		name = best_link(dev);
	udev_device_unref(dev);
	udev_unref(udev);
	return name ? name : realpath(node, NULL);
}
