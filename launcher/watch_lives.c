/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watch_lives.c: whether the device below a mount still answers, not only the host's memory. */
/*
 * A mount whose device is gone still gives what is in the page cache: its own, or for a file system
 * in FUSE that of its daemon's device. So it is asked twice:
 *  L1  sysfs has no such device: dead. A number or a name is not used again while a mount or a
 *      daemon holds the device open, so one that is there is not another one.
 *  L2  a block of the device, read past the page cache (O_DIRECT), fails as from one that is gone:
 *      dead. Whoever may not open the device does not know, and believes L1.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "file.h"
#include "watch_priv.h"

enum { BLOCK_BYTES = 4096 };

static bool in_sysfs(dev_t device, const struct watch_host *host)
{
	char *all = file_path("%s/dev/block", watch_sys(host));
	char *one = file_path("%s/dev/block/%u:%u", watch_sys(host), major(device), minor(device));
	const bool there = !all || !one || access(all, F_OK) < 0 || access(one, F_OK) == 0 ||
			   (errno != ENOENT && errno != ENOTDIR);

	free(all);
	free(one);
	return there;
}

static bool means_gone(int error)
{
	return error == EIO || error == ENXIO || error == ENODEV || error == ENOMEDIUM;
}

static bool answers(const char *node)
{
	const int fd = open(node, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
	void *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
	bool gone = fd < 0 && means_gone(errno);

	if (fd >= 0 && block)
		gone = pread(fd, block, BLOCK_BYTES, 0) < 0 && means_gone(errno);
	if (fd >= 0)
		close(fd);
	free(block);
	return !gone;
}

bool watch_mount_lives(const struct watch_mount *mount, const struct watch_host *host)
{
	struct stat node;
	const bool has_node = strncmp(mount->source, "/dev/", 5) == 0 &&
			      stat(mount->source, &node) == 0 && S_ISBLK(node.st_mode);

	/* Where the number is anonymous (FUSE, btrfs) the source is the device. */
	if (major(mount->device) != 0 && !in_sysfs(mount->device, host))
		return false; /* L1 */
	if (!has_node)
		return major(mount->device) != 0 || strncmp(mount->source, "/dev/", 5) != 0;
	if (major(mount->device) != 0 && node.st_rdev != mount->device)
		return true; /* the name is not the device's: nothing to ask */
	return in_sysfs(node.st_rdev, host) && answers(mount->source); /* L2 */
}
