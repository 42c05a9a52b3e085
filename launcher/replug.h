/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replug.h: a stick that was pulled is found again, wherever it is mounted now. */
#ifndef LAUNCHER_REPLUG_H
#define LAUNCHER_REPLUG_H

#include "stick.h"
#include "stickvm/store.h"
#include "vm.h"

/*
 * Looks once for the disk of `vm`, whose store is detached: where it was, then below every device
 * that is mounted, by the stick's own id; a disk with a place of its own only there. Gives it to
 * the store; stick->dir is where it is now. `mountinfo` is "/proc/self/mountinfo" but in tests.
 * 0; -ENOENT: not found; else what sv_store_reattach said of the one that was found (-ESTALE:
 * asking again is of no use).
 */
int replug_try(const char *mountinfo, struct stick *stick, const struct vm *vm, bool read_only,
	       struct sv_store *store, struct sv_reattach *ret);

#endif
