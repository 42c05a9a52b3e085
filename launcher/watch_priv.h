/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watch_priv.h: what the parts of the watch share: the mount that holds a path. */
#ifndef LAUNCHER_WATCH_PRIV_H
#define LAUNCHER_WATCH_PRIV_H

#include <sys/types.h>

#include "watch.h"

static inline const char *watch_mountinfo(const struct watch_host *host)
{
	return host && host->mountinfo ? host->mountinfo : "/proc/self/mountinfo";
}

static inline const char *watch_sys(const struct watch_host *host)
{
	return host && host->sys ? host->sys : "/sys";
}

static inline const char *watch_dev(const struct watch_host *host)
{
	return host && host->dev ? host->dev : "/dev";
}

struct watch_mount {
	char *point, *root, *source;
	dev_t device; /* as mountinfo has it: anonymous (major 0) for FUSE */
};

/* The mount that holds `path` (absolute): the deepest, of equal ones the last. -1: none. The
 * caller frees. */
int watch_mount_of(const char *path, const struct watch_host *host, struct watch_mount *ret_mount);
void watch_mount_free(struct watch_mount *mount);
/* False where its device is gone, whatever it still gives from memory. May hang as long as that
 * device does. */
bool watch_mount_lives(const struct watch_mount *mount, const struct watch_host *host);

#endif
