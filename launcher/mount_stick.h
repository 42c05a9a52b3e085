/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount_stick.h: the stick under a mounted disk: its leaving is seen, and it is found again. */
#ifndef LAUNCHER_MOUNT_STICK_H
#define LAUNCHER_MOUNT_STICK_H

#include "stick.h"
#include "stickvm/store.h"
#include "vm.h"

struct mount_stick;

/* Looks after the stick of an open store in a thread of its own. All are borrowed until the end.
 * While the stick is gone it leaves words for `umount` (mounts.h). NULL: it cannot. */
struct mount_stick *mount_stick_start(struct sv_store *store, const struct stick *stick,
				      const struct vm *vm, bool read_only);
/* The mount is over. Where its stick is gone and something is not on it, waits until the stick is
 * back (or was used elsewhere), or `give_up_fd` is readable. `say` is told so before it waits; so
 * is who asks for the folder `dir` (mounts_lost). Takes NULL. */
void mount_stick_wait(struct mount_stick *pulls, const char *dir, int give_up_fd,
		      void (*say)(void *ctx, const struct err *err), void *ctx);
/* Ends it, after a last look for a stick that is gone; stick->dir is where the stick is now. -1
 * with err: it is gone, and what is lost. Takes NULL. */
int mount_stick_end(struct mount_stick *pulls, struct stick *stick, struct err *err);

#endif
