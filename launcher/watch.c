/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watch.c: whether a block device is still there: udev's events, and a look at sysfs. */
/*
 * Events only say "look now"; what is believed is /sys/dev/block/MAJOR:MINOR. A stick that is
 * pulled and plugged in again between two looks may have the same number, so the kernel's running
 * number of disks (diskseq, since 5.15) is compared too. Where udev does not run, the session's
 * look every second finds the same a little later.
 */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <libudev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mountinfo.h"
#include "watch_priv.h"

struct watch {
	char *sys_path; /* of the device; NULL: none is known */
	uint64_t diskseq;
	struct udev *udev;
	struct udev_monitor *monitor;
	int mounts_fd; /* readable (POLLPRI) when a mount comes or goes; -1 */
};

static uint64_t number_in(const char *folder, const char *name)
{
	char path[512];
	unsigned long long number = 0;
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	in = fopen(path, "re");
	if (!in)
		return 0;
	if (fscanf(in, "%llu", &number) != 1)
		number = 0;
	fclose(in);
	return number;
}

/* A partition's is its disk's. 0: unknown. */
static uint64_t diskseq_of(const char *sys_path)
{
	const uint64_t own = number_in(sys_path, "diskseq");

	return own ? own : number_in(sys_path, "../diskseq");
}

/* The device below a path; 0: none is visible. A FUSE file system has an anonymous number, and the
 * mount's source is the device. */
static dev_t device_below(const char *path, const struct watch_host *host)
{
	struct watch_mount mount;
	struct stat st;
	dev_t number = 0;

	if (stat(path, &st) < 0)
		return 0;
	if (S_ISBLK(st.st_mode))
		return st.st_rdev;
	if (major(st.st_dev) != 0)
		return st.st_dev;
	if (watch_mount_of(path, host, &mount) < 0)
		return 0;
	if (stat(mount.source, &st) == 0 && S_ISBLK(st.st_mode))
		number = st.st_rdev;
	watch_mount_free(&mount);
	return number;
}

static void listen_to_udev(struct watch *watch)
{
	watch->udev = udev_new();
	if (watch->udev)
		watch->monitor = udev_monitor_new_from_netlink(watch->udev, "udev");
	if (!watch->monitor)
		return;
	if (udev_monitor_filter_add_match_subsystem_devtype(watch->monitor, "block", NULL) < 0 ||
	    udev_monitor_enable_receiving(watch->monitor) < 0) {
		udev_monitor_unref(watch->monitor);
		watch->monitor = NULL;
	}
}

struct watch *watch_new(const char *path, const struct watch_host *host)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	const dev_t device = device_below(path, host);

	if (!watch)
		return NULL;
	watch->mounts_fd = open(watch_mountinfo(host), O_RDONLY | O_CLOEXEC);
	listen_to_udev(watch);
	if (device && asprintf(&watch->sys_path, "%s/dev/block/%u:%u", watch_sys(host),
			       major(device), minor(device)) < 0)
		watch->sys_path = NULL;
	/* A number that sysfs does not know (overlayfs, btrfs) says nothing when it is missing. */
	if (watch->sys_path && access(watch->sys_path, F_OK) < 0) {
		free(watch->sys_path);
		watch->sys_path = NULL;
	}
	if (watch->sys_path)
		watch->diskseq = diskseq_of(watch->sys_path);
	return watch;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	udev_monitor_unref(watch->monitor);
	udev_unref(watch->udev);
	if (watch->mounts_fd >= 0)
		close(watch->mounts_fd);
	free(watch->sys_path);
	free(watch);
}

size_t watch_polls(const struct watch *watch, struct pollfd *polls)
{
	const int udev_fd = watch->monitor ? udev_monitor_get_fd(watch->monitor) : -1;

	polls[0] = (struct pollfd){.fd = udev_fd, .events = POLLIN};
	polls[1] = (struct pollfd){.fd = watch->mounts_fd, .events = POLLPRI};
	return WATCH_POLLS;
}

bool watch_pump(struct watch *watch, const struct pollfd *polls, size_t count)
{
	bool changed = count > 1 && (polls[1].revents & (POLLPRI | POLLERR)) != 0;
	struct udev_device *dev;

	/* Its socket does not block. */
	while (count > 0 && polls[0].revents &&
	       (dev = udev_monitor_receive_device(watch->monitor))) {
		udev_device_unref(dev);
		changed = true;
	}
	return changed;
}

bool watch_gone(const struct watch *watch)
{
	uint64_t diskseq;

	if (!watch->sys_path)
		return false;
	if (access(watch->sys_path, F_OK) < 0)
		return errno == ENOENT || errno == ENOTDIR;
	diskseq = diskseq_of(watch->sys_path);
	return diskseq && watch->diskseq && diskseq != watch->diskseq;
}
