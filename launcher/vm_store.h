/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_store.h: a VM's disk opened and closed, with the right line and status when that fails. */
#ifndef LAUNCHER_VM_STORE_H
#define LAUNCHER_VM_STORE_H

#include "stick.h"
#include "stickvm/store.h"
#include "vm.h"

/* The path of the place that holds the VM's disk: its `place`, else the folder disk/ beside its
 * settings. The caller frees it; NULL without memory. */
char *vm_store_path(const struct stick *stick, const struct vm *vm);

/* The name of this host in a session record, "debian#1a2b3c4d": the host's name, and a digest of
 * its machine id, since names are not unique. */
void vm_store_host(char ret_host[64]);

/*
 * Opens the store of a VM, recovering it. `opts` may be NULL; without a host in it this one's is
 * taken. On failure: missing or gone EXIT_NO_STICK, in use EXIT_LOCKED, damaged EXIT_DAMAGE, of
 * a newer version or not permitted EXIT_FAILED; for writing while the VM is parked on this host
 * EXIT_LOCKED. On success close it with vm_store_close. Starts
 * threads (unless opts->manual), so a daemon forks before.
 */
int vm_store_open(const struct stick *stick, const struct vm *vm,
		  const struct sv_open_options *opts, struct sv_store **ret_store, struct err *err);

/*
 * The same with a step in between: `step` (may be NULL) is called with the place, which it borrows,
 * before the store in it is opened. Does not ask whether the VM is parked on this host.
 */
typedef int vm_store_step(void *ctx, struct sv_dev *dev, struct err *err);
int vm_store_open_after(const struct stick *stick, const struct vm *vm,
			const struct sv_open_options *opts, vm_store_step *step, void *ctx,
			struct sv_store **ret_store, struct err *err);
/* Closes it; the store is gone afterwards in any case. *ret_last is what it said last, also on
 * failure. */
int vm_store_end(const struct vm *vm, struct sv_store *store, struct sv_status *ret_last,
		 struct err *err);
/* Takes those counters into the stick's ledger (unless it was opened read-only). They only rise, so
 * what was not noted once is by the next session's. */
int vm_store_note(struct stick *stick, const struct vm *vm, const struct sv_status *last,
		  struct err *err);
/* Closes it, and takes its counters into the stick's ledger (unless it was opened read-only).
 * The store is gone afterwards in any case. */
int vm_store_close(struct stick *stick, const struct vm *vm, struct sv_store *store,
		   struct err *err);

/* One line for a failed call of the engine on the disk of `vm`; returns -1. */
int vm_store_fail(struct err *err, const struct vm *vm, int rc);
/* Of sv_place_open: its status and line for the disk at `path`. */
int vm_store_fail_place(struct err *err, const struct vm *vm, const char *path, int rc);

#endif
