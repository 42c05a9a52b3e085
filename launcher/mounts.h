/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mounts.h: the disks that are mounted on this host, and who serves them. */
#ifndef LAUNCHER_MOUNTS_H
#define LAUNCHER_MOUNTS_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "err.h"
#include "ledger.h"

/*
 * `stickvm mount` names its mounts "stickvm:NAME#PID" (shown by findmnt), so that `umount` knows
 * which process to wait for without a file that could be stale. What that process could not say
 * to anyone, since its parent had gone, it leaves in a file of its user's run-time folder.
 */
struct mount_info {
	char vm[72];
	pid_t pid; /* 0: not known (the mount of a running VM) */
};

/* What is mounted on exactly this folder; false: nothing of ours. Works for a dead mount too.
 * `mountinfo` is "/proc/self/mountinfo" but in tests. */
bool mounts_find(const char *mountinfo, const char *dir, struct mount_info *ret_info);

/* The counters of a store that is mounted on this host, from its status.json; false: it is not,
 * or not readable for this user. `ret_history` (may be NULL): its history.json, the caller's, or
 * NULL; untouched where the store is not found. */
bool mounts_ledger(const char *mountinfo, const char *store_id, struct sv_ledger *ret_ledger,
		   json_t **ret_history);

/* The absolute path of a folder that may be a dead mount; the caller frees it, NULL on failure. */
char *mounts_absolute(const char *dir);

/* How a mounted disk stands. */
struct mount_state {
	bool gone;		  /* its stick, and it was mounted for writing */
	uint64_t unwritten_bytes; /* and at most so many are not on it */
	uint64_t rot_blocks, rot_off_bytes;
};

/* Zeros where this user cannot look. Flushes first, so that a pull which nothing has noticed yet
 * shows. */
void mounts_state(const char *dir, struct mount_state *ret_state);

/* The words of a serving process to whoever ends its mount: its last ones, or, while its stick is
 * gone, how it stands. Leave them (this process's), or remove them. `dir`: the folder that it has
 * lost, since it was unmounted while its stick was gone; else NULL. */
void mounts_leave_words(const struct err *err, const char *dir);
void mounts_clear_words(void);
/* Read them; false where there are none. `take`: and remove them. */
bool mounts_words(pid_t pid, uid_t uid, bool take, struct err *ret_err);
/* The process of this user that has lost this folder; 0: none has. */
pid_t mounts_lost(const char *dir);

#endif
