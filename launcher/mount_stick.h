/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount_stick.h: the stick under a mounted disk: its leaving is seen, and it is found again. */
#ifndef LAUNCHER_MOUNT_STICK_H
#define LAUNCHER_MOUNT_STICK_H

#include "stick.h"
#include "stickvm/store.h"
#include "vm.h"

struct mount_stick;

enum mount_end {
	MOUNT_THERE, /* the store has its stick */
	MOUNT_GONE,
	MOUNT_STALE, /* it came back, and another session had been at the disk: no way back */
};

/* Looks after the stick of an open store in a thread of its own. All are borrowed until the end.
 * NULL: it cannot. */
struct mount_stick *mount_stick_start(struct sv_store *store, const struct stick *stick,
				      const struct vm *vm, bool read_only);
/* Ends it, after a last look for a stick that is gone; stick->dir is where the stick is now. Takes
 * NULL (MOUNT_THERE). */
enum mount_end mount_stick_end(struct mount_stick *pulls, struct stick *stick);

#endif
