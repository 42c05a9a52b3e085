/* SPDX-License-Identifier: GPL-2.0-or-later */
/* facts_stick.c: facts about the stick behind a path: its file system, its USB link. */
/*
 * From a path to a block device: stat() gives the device's number on most file systems; on FUSE
 * ones (exfat-fuse, ntfs-3g) the number is anonymous, and the mount's source is the device.
 * From there udev's parents: the disk, the USB interface (its driver tells UAS from Bulk-Only),
 * the USB device, its hubs, the root hub.
 */
#include "facts.h"

#include <ctype.h>
#include <libudev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

/* One line of mountinfo; the texts point into a copy of the line. */
struct mount_line {
	char *point, *options, *fs, *source;
};

/* Undoes the octal escapes of the kernel ("\040") in place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && isdigit(from[2]) &&
		    isdigit(from[3])) {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* "22 27 0:21 / /proc rw,relatime shared:1 - proc proc rw": ID parent dev root point options
 * tags... - fs source superblock-options. */
static bool mount_line_parse(char *line, struct mount_line *ret_mount)
{
	struct mount_line mount = {0};
	char *save = NULL, *word = strtok_r(line, " ", &save);
	int index = 0;

	for (; word && strcmp(word, "-") != 0; word = strtok_r(NULL, " ", &save), index++) {
		if (index == 4)
			mount.point = word;
		else if (index == 5)
			mount.options = word;
	}
	mount.fs = word ? strtok_r(NULL, " ", &save) : NULL;
	mount.source = mount.fs ? strtok_r(NULL, " ", &save) : NULL;
	if (!mount.source || !mount.options)
		return false;
	unescape(mount.point);
	unescape(mount.source);
	*ret_mount = mount;
	return true;
}

/* Whether the mount at `point` may hold `path`: equal, or a folder above it. */
static bool holds(const char *point, const char *path)
{
	const size_t len = strlen(point);

	if (strcmp(point, "/") == 0)
		return true;
	return strncmp(point, path, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static void take_mount(const struct mount_line *mount, struct facts *facts)
{
	facts_set_text(&facts->stick_mount_point, mount->point);
	facts_set_text(&facts->stick_mount_options, mount->options);
	facts_set_text(&facts->stick_fs, mount->fs);
	facts_set_text(&facts->stick_node, mount->source[0] == '/' ? mount->source : NULL);
}

bool facts_parse_mountinfo(const char *mountinfo, const char *path, struct facts *facts)
{
	char *copy = strdup(mountinfo), *save = NULL;
	size_t best_len = 0;

	/* The deepest mount point wins; of equal ones the last, which covers the others. */
	for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		struct mount_line mount;

		if (!mount_line_parse(line, &mount) || !holds(mount.point, path) ||
		    strlen(mount.point) < best_len)
			continue;
		best_len = strlen(mount.point);
		take_mount(&mount, facts);
	}
	free(copy);
	return best_len > 0;
}

static uint64_t attr_number(struct udev_device *dev, const char *name, int base)
{
	const char *text = udev_device_get_sysattr_value(dev, name);

	return text ? strtoull(text + strspn(text, " "), NULL, base) : 0;
}

/* " 3.20" is 0x0320: what it says, read as hexadecimal digits. */
static uint64_t usb_version(struct udev_device *dev)
{
	const char *text = udev_device_get_sysattr_value(dev, "version");
	unsigned major, minor;

	if (!text || sscanf(text, " %2x.%2x", &major, &minor) != 2)
		return 0;
	return (uint64_t)major << 8 | minor;
}

/* The hubs between the device and its root hub, outermost (nearest the root) first. */
static void take_hubs(struct udev_device *usb, struct facts *facts)
{
	char list[256] = "", joined[256];
	struct udev_device *hub =
		udev_device_get_parent_with_subsystem_devtype(usb, "usb", "usb_device");

	while (hub && strncmp(udev_device_get_sysname(hub), "usb", 3) != 0) {
		const char *product = udev_device_get_sysattr_value(hub, "product");

		snprintf(joined, sizeof joined, "%.120s%s%.120s", product ? product : "USB hub",
			 list[0] ? " > " : "", list);
		snprintf(list, sizeof list, "%s", joined);
		hub = udev_device_get_parent_with_subsystem_devtype(hub, "usb", "usb_device");
	}
	facts_set_text(&facts->stick_hubs, list);
}

/* Device texts are padded with blanks. */
static void set_trimmed(char **field, const char *text)
{
	char copy[128];
	size_t len;

	if (!text)
		return;
	snprintf(copy, sizeof copy, "%s", text + strspn(text, " "));
	for (len = strlen(copy); len > 0 && copy[len - 1] == ' '; len--)
		copy[len - 1] = '\0';
	facts_set_text(field, copy);
}

static void take_usb_device(struct udev_device *usb, struct facts *facts)
{
	const char *vendor = udev_device_get_sysattr_value(usb, "idVendor");
	const char *product = udev_device_get_sysattr_value(usb, "idProduct");
	char id[16];

	facts->stick_usb = FACT_YES;
	facts->stick_speed_mbps = attr_number(usb, "speed", 10);
	facts->stick_usb_version = usb_version(usb);
	facts->stick_power_ma = attr_number(usb, "bMaxPower", 10); /* "896mA" */
	set_trimmed(&facts->stick_vendor, udev_device_get_sysattr_value(usb, "manufacturer"));
	set_trimmed(&facts->stick_product, udev_device_get_sysattr_value(usb, "product"));
	facts_set_text(&facts->stick_port, udev_device_get_sysname(usb));
	if (vendor && product) {
		snprintf(id, sizeof id, "%.4s:%.4s", vendor, product);
		facts_set_text(&facts->stick_usb_id, id);
	}
	take_hubs(usb, facts);
}

static void take_disk(struct udev_device *dev, struct facts *facts)
{
	const char *type = udev_device_get_devtype(dev);
	struct udev_device *disk = dev, *interface, *usb;

	if (type && strcmp(type, "partition") == 0)
		disk = udev_device_get_parent_with_subsystem_devtype(dev, "block", "disk");
	if (disk) {
		const char *removable = udev_device_get_sysattr_value(disk, "removable");

		if (removable)
			facts->stick_removable = removable[0] == '1' ? FACT_YES : FACT_NO;
		if (attr_number(disk, "ro", 10) == 1)
			facts->stick_read_only = FACT_YES;
	}
	interface = udev_device_get_parent_with_subsystem_devtype(dev, "usb", "usb_interface");
	if (interface)
		facts_set_text(&facts->stick_driver, udev_device_get_driver(interface));
	usb = udev_device_get_parent_with_subsystem_devtype(dev, "usb", "usb_device");
	if (usb)
		take_usb_device(usb, facts);
	else
		facts->stick_usb = FACT_NO;
}

void facts_gather_usb(uint64_t devnum, struct facts *facts)
{
	struct udev *udev = udev_new();
	struct udev_device *dev = udev ? udev_device_new_from_devnum(udev, 'b', devnum) : NULL;

	if (dev) {
		const char *node = udev_device_get_devnode(dev);

		if (node)
			facts_set_text(&facts->stick_node, node);
		take_disk(dev, facts);
		udev_device_unref(dev);
	}
	if (udev)
		udev_unref(udev);
}

/* Reads a whole small file; the text is the caller's, NULL when it cannot be read. */
static char *read_text(const char *path)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *file = fopen(path, "re");

	if (!file)
		return NULL;
	if (getdelim(&text, &bytes, '\0', file) < 0) {
		free(text);
		text = NULL;
	}
	fclose(file);
	return text;
}

static void take_file_system(const char *path, struct facts *facts)
{
	struct statvfs fs;
	char *mountinfo = read_text("/proc/self/mountinfo");

	if (mountinfo)
		facts_parse_mountinfo(mountinfo, path, facts);
	free(mountinfo);
	if (statvfs(path, &fs) < 0)
		return;
	facts->stick_read_only = fs.f_flag & ST_RDONLY ? FACT_YES : FACT_NO;
	facts->stick_size_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	facts->stick_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* The block device below `path`; false where there is none. */
static bool block_device(const char *path, struct facts *facts, uint64_t *ret_devnum)
{
	struct stat st, node;

	if (stat(path, &st) < 0)
		return false;
	if (S_ISBLK(st.st_mode)) {
		*ret_devnum = st.st_rdev;
		return true;
	}
	take_file_system(path, facts);
	*ret_devnum = st.st_dev;
	if (major(st.st_dev) != 0)
		return true;
	if (!facts->stick_node || stat(facts->stick_node, &node) < 0 || !S_ISBLK(node.st_mode))
		return false;
	*ret_devnum = node.st_rdev;
	return true;
}

void facts_gather_stick(const char *path, struct facts *facts)
{
	char *real = realpath(path, NULL);
	uint64_t devnum;

	facts_set_text(&facts->stick_path, path);
	if (real && block_device(real, facts, &devnum))
		facts_gather_usb(devnum, facts);
	free(real);
}
