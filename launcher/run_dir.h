/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_dir.h: the private folder of a running VM on this host: sockets and the mount. */
#ifndef LAUNCHER_RUN_DIR_H
#define LAUNCHER_RUN_DIR_H

#include <stddef.h>

#include "err.h"

/* A socket's path holds this many bytes, its NUL included (sun_path). */
enum { RUN_PATH_BYTES = 108 };

/* Where everything of one running VM lies; absolute. */
struct run_dir {
	char dir[RUN_PATH_BYTES];
	char mount[RUN_PATH_BYTES];   /* the folder where the disk is mounted */
	char disk[RUN_PATH_BYTES];    /* disk.raw in it */
	char control[RUN_PATH_BYTES]; /* stickvm's own socket */
	char qmp[RUN_PATH_BYTES];
	char agent[RUN_PATH_BYTES];
	char serial[RUN_PATH_BYTES];
	char screen[RUN_PATH_BYTES];
	char park[RUN_PATH_BYTES]; /* a machine on its way out of QEMU, or into it */
	char vars[RUN_PATH_BYTES]; /* the firmware's variables, as QEMU has them */
	char log[RUN_PATH_BYTES];  /* what a detached run said; stays behind it */
};

/*
 * Names the folder of the VM with this UUID without making anything: in $XDG_RUNTIME_DIR, else in
 * /run/user/UID, else in /tmp/stickvm-UID, the first in which a folder can be made and sockets'
 * paths fit.
 */
int run_dir_name(const char *uuid, struct run_dir *ret_dir, struct err *err);

/*
 * Makes the folder, readable by its owner alone, and empties it of what a killed session left
 * (a dead mount, sockets). The caller holds the store's lock, so that no living session of this
 * VM can be there.
 */
int run_dir_make(const struct run_dir *dir, struct err *err);
/* Removes it and what is in it but the log. */
void run_dir_remove(const struct run_dir *dir);

/*
 * Calls `found` with the path of each control socket that a session of this VM may have, those of
 * other users too where the caller may look there; until it returns 0. Returns 0 then, else -1.
 */
int run_dir_find_control(const char *uuid, int (*found)(void *ctx, const char *path), void *ctx);
/* The same for the sessions of all VMs: for who has no stick that would tell the UUID. */
int run_dir_each_control(int (*found)(void *ctx, const char *path), void *ctx);

#endif
