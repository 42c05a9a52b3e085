/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_store.c: a VM's disk opened and closed; errnos of the engine as lines for a person. */
#include "vm_store.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consent.h"
#include "file.h"
#include "lock_holder.h"
#include "park_home.h"
#include "stickvm/place.h"

char *vm_store_path(const struct stick *stick, const struct vm *vm)
{
	return vm->place ? strdup(vm->place) : stick_vm_path(stick, vm->name, "disk");
}

void vm_store_host(char ret_host[64])
{
	uint32_t digest = 2166136261u; /* FNV-1a: the id itself is not to be spread */
	char name[48] = "";
	char *id = NULL;
	size_t bytes = 0;

	gethostname(name, sizeof(name) - 1);
	if (file_read("/etc/machine-id", 256, &id, &bytes) < 0)
		bytes = 0;
	for (size_t i = 0; i < bytes && isxdigit((unsigned char)id[i]); i++)
		digest = (digest ^ (unsigned char)id[i]) * 16777619u;
	free(id);
	snprintf(ret_host, 64, "%s#%08x", name[0] ? name : "unknown", digest);
}

static int fail_locked(struct err *err, const struct vm *vm, const char *path)
{
	char who[160];
	const bool known = lock_holder(path, who, sizeof(who));

	return err_set(err, EXIT_LOCKED,
		       "%s: the disk is in use by another process%s%s%s; end it with 'stickvm "
		       "stop' or 'stickvm umount' first",
		       vm->name, known ? " (" : "", known ? who : "", known ? ")" : "");
}

int vm_store_fail_place(struct err *err, const struct vm *vm, const char *path, int rc)
{
	switch (rc) {
	case -ENOENT:
		return err_set(err, EXIT_NO_STICK,
			       "%s: the disk %s is not there; plug in the "
			       "stick that holds it",
			       vm->name, path);
	case -EBUSY:
		return fail_locked(err, vm, path);
	case -EMEDIUMTYPE:
		return err_set(err, EXIT_DAMAGE,
			       "%s: %s holds no disk of stickvm; restore it from "
			       "a backup, or delete the VM",
			       vm->name, path);
	case -EPROTONOSUPPORT:
		return err_set(err, EXIT_FAILED,
			       "%s: the disk was written by a newer stickvm; use "
			       "that version",
			       vm->name);
	case -EBADMSG:
	case -EUCLEAN:
		return err_set(err, EXIT_DAMAGE,
			       "%s: the headers of %s are damaged; nothing was "
			       "changed, restore it from a backup",
			       vm->name, path);
	default:
		return err_set(err, file_status(rc), "%s: %s cannot be opened: %s; %s", vm->name,
			       path, strerror(-rc), file_advice(rc));
	}
}

/* What an errno of sv_store_open means for the user; why: sv_store_why. */
static int fail_store(struct err *err, const struct vm *vm, const char *why, int rc)
{
	switch (rc) {
	case -EMEDIUMTYPE:
		return err_set(err, EXIT_DAMAGE,
			       "%s: no disk was found: %s; restore it from a "
			       "backup, or delete the VM",
			       vm->name, why);
	case -EPROTONOSUPPORT:
		return err_set(err, EXIT_FAILED,
			       "%s: the disk needs a newer stickvm: %s; use that "
			       "version",
			       vm->name, why);
	case -EUCLEAN:
	case -EBADMSG:
		return err_set(err, EXIT_DAMAGE,
			       "%s: the disk is damaged: %s; nothing was "
			       "changed, see 'stickvm help check'",
			       vm->name, why);
	case -EBUSY:
		return vm_store_fail_place(err, vm, "", rc);
	default:
		return err_set(err, file_status(rc), "%s: the disk cannot be opened: %s%s%s; %s",
			       vm->name, strerror(-rc), why[0] ? ": " : "", why, file_advice(rc));
	}
}

int vm_store_fail(struct err *err, const struct vm *vm, int rc)
{
	if (rc == -EBADMSG || rc == -EUCLEAN)
		return err_set(err, EXIT_DAMAGE,
			       "%s: the disk is damaged; see 'stickvm help "
			       "check'",
			       vm->name);
	return err_set(err, file_status(rc), "%s: the disk failed: %s; %s", vm->name, strerror(-rc),
		       file_advice(rc));
}

/* Whoever writes to a disk that is parked here would end what is parked; and a mark of another
 * host's parked state that is on its way back says that nobody has (K2 in parked_vm.c). */
static int respect_parked(const struct stick *stick, const struct vm *vm, struct err *err)
{
	int rc;

	if (vm->uuid && park_home_holds(vm->uuid))
		return err_set(err, EXIT_LOCKED,
			       "%s: it is parked on this host; go on with 'stickvm run %s', or "
			       "discard that with 'stickvm run %s --cold'",
			       vm->name, vm->name, vm->name);
	rc = park_marker_clear(stick, vm);
	return rc < 0 ? err_set(err, file_status(rc),
				"%s: the mark of a parked state cannot be "
				"removed: %s; %s",
				vm->name, strerror(-rc), file_advice(rc))
		      : 0;
}

int vm_store_open(const struct stick *stick, const struct vm *vm,
		  const struct sv_open_options *opts, struct sv_store **ret_store, struct err *err)
{
	if ((!opts || !opts->read_only) && respect_parked(stick, vm, err) < 0)
		return -1;
	return vm_store_open_after(stick, vm, opts, NULL, NULL, ret_store, err);
}

int vm_store_open_after(const struct stick *stick, const struct vm *vm,
			const struct sv_open_options *opts, vm_store_step *step, void *ctx,
			struct sv_store **ret_store, struct err *err)
{
	struct sv_open_options mine = opts ? *opts : (struct sv_open_options){0};
	char *path = vm_store_path(stick, vm);
	struct sv_dev *dev = NULL;
	char host[64];
	int rc;

	if (!path)
		return err_set(err, EXIT_FAILED, "%s: out of memory", vm->name);
	if (consent_disk(stick, vm, err) < 0) {
		free(path);
		return -1;
	}
	vm_store_host(host);
	if (!mine.host)
		mine.host = host;
	if (mine.batch_bytes == 0)
		mine.batch_bytes = measured_batch_bytes(stick->measured.write_rate);
	if (mine.unit_bytes == 0)
		mine.unit_bytes = measured_unit_bytes(stick->measured.read_rate,
						      stick->measured.random_read_us);
	rc = sv_place_open(path, mine.read_only, &dev);
	if (rc < 0) {
		vm_store_fail_place(err, vm, path, rc);
		free(path);
		return -1;
	}
	free(path);
	if (step && step(ctx, dev, err) < 0) {
		sv_dev_close(dev);
		return -1;
	}
	rc = sv_store_open(dev, &mine, ret_store);
	if (rc < 0) {
		sv_dev_close(dev);
		return fail_store(err, vm, sv_store_why(), rc);
	}
	return 0;
}

int vm_store_end(const struct vm *vm, struct sv_store *store, struct sv_status *ret_last,
		 struct err *err)
{
	int rc;

	sv_store_flush(store); /* an error shows up again in close */
	sv_store_status(store, ret_last);
	rc = sv_store_close(store);
	return rc < 0 ? vm_store_fail(err, vm, rc) : 0;
}

int vm_store_note(struct stick *stick, const struct vm *vm, const struct sv_status *last,
		  struct err *err)
{
	if (last->state == SV_READ_ONLY)
		return 0;
	return stick_note(stick, last->store_id, vm->name, &last->ledger, false, err);
}

int vm_store_close(struct stick *stick, const struct vm *vm, struct sv_store *store,
		   struct err *err)
{
	struct sv_status last;

	if (vm_store_end(vm, store, &last, err) < 0)
		return -1;
	return vm_store_note(stick, vm, &last, err);
}
