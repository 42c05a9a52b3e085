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
/* Ends it, after a last look for a stick that is gone; stick->dir is where the stick is now. -1
 * with err: it is gone, and what is lost. Takes NULL. */
int mount_stick_end(struct mount_stick *pulls, struct stick *stick, struct err *err);

#endif
