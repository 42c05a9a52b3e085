/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountinfo.h: the lines of /proc/self/mountinfo. */
#ifndef LAUNCHER_MOUNTINFO_H
#define LAUNCHER_MOUNTINFO_H

#include <stdbool.h>

/* One line; texts are unescaped and borrowed for the call. */
struct mountinfo {
	unsigned major, minor;
	const char *root;   /* the folder of the file system that is mounted */
	const char *point;  /* where */
	const char *fs;	    /* "ext4", "fuseblk", "fuse.stickvm" */
	const char *source; /* "/dev/sdb1", "stickvm:deb" */
};

/* Calls `each` for every line, in order, until it returns false. A file that cannot be read has
 * no lines. */
void mountinfo_each(const char *path, bool (*each)(void *ctx, const struct mountinfo *mi),
		    void *ctx);

#endif
