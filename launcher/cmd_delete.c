/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_delete.c: `delete`: a VM and its disk go, its counters stay with the stick. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "consent.h"
#include "file.h"
#include "stickvm/place.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"
#include "vm_store.h"

/* What is known of the store before it goes. */
struct last_words {
	bool known;
	uint8_t id[SV_STORE_ID_BYTES];
	struct sv_ledger ledger;
	struct sv_history history;
};

static int ask(const struct args *args, const char *name, struct err *err)
{
	char question[128];

	if (args_has(args, "yes"))
		return 0;
	if (!ui_interactive())
		return err_set(err, EXIT_USAGE,
			       "%s: its disk would be lost, and there is nobody "
			       "to ask; add --yes",
			       name);
	snprintf(question, sizeof(question), "Delete the VM %s and its disk for good?", name);
	if (!ui_ask(question))
		return err_set(err, EXIT_FAILED, "%s: not deleted", name);
	return 0;
}

/* Reads the counters. A damaged store can be deleted all the same, one in use cannot. */
static int listen(const struct stick *stick, const struct vm *vm, struct last_words *words,
		  struct err *err)
{
	static const struct sv_open_options quiet = {.read_only = true, .manual = true};
	struct sv_store *store;
	struct sv_status status;

	if (vm_store_open(stick, vm, &quiet, &store, err) < 0)
		return err->status == EXIT_LOCKED ? -1 : 0;
	sv_store_status(store, &status);
	sv_store_history(store, &words->history);
	sv_store_abandon(store);
	words->known = true;
	memcpy(words->id, status.store_id, sizeof(words->id));
	words->ledger = status.ledger;
	return 0;
}

static int remove_disk(const struct stick *stick, const struct vm *vm, struct err *err)
{
	char *path = vm_store_path(stick, vm);
	int rc = path ? sv_place_remove(path) : -ENOMEM;

	if (rc == -EBUSY)
		err_set(err, EXIT_LOCKED,
			"%s: the disk is in use; end that first ('stickvm stop', "
			"'stickvm umount')",
			vm->name);
	else if (rc < 0 && rc != -ENOENT && rc != -EMEDIUMTYPE && rc != -ENOTEMPTY)
		err_set(err, file_status(rc), "%s: %s cannot be removed: %s; %s", vm->name,
			path ? path : "disk", strerror(-rc), file_advice(rc));
	else
		err->status = EXIT_DONE;
	free(path);
	return err->status == EXIT_DONE ? 0 : -1;
}

/*
 * The counters are noted under the store's id before anything goes, and moved to the sum of the
 * deleted ones at the very end: a crash in between leaves them counted, and once.
 */
static int delete_vm(const struct args *args, struct stick *stick, const struct vm *vm,
		     struct err *err)
{
	struct last_words words = {0};
	char *folder;
	int rc;

	if (listen(stick, vm, &words, err) < 0)
		return -1;
	if (words.known && stick_note_last(stick, words.id, vm->name, &words.ledger, &words.history,
					   false, err) < 0)
		return -1;
	if (remove_disk(stick, vm, err) < 0)
		return -1;
	folder = stick_vm_path(stick, vm->name, NULL);
	rc = folder ? file_remove_tree(folder) : -ENOMEM;
	if (rc < 0)
		err_set(err, file_status(rc), "%s: %s cannot be removed: %s; %s", vm->name,
			folder ? folder : "", strerror(-rc), file_advice(rc));
	free(folder);
	if (rc < 0)
		return -1;
	if (!words.known) {
		ui_warn(args,
			"%s: its disk could not be read, so the stick's ledger has its "
			"counters as of its last session",
			vm->name);
		return 0;
	}
	return stick_note(stick, words.id, vm->name, &words.ledger, true, err);
}

int cmd_delete(const struct args *args)
{
	struct stick stick;
	struct vm vm = {0};
	struct err err;
	char *name = NULL;
	int rc;

	if (stick_open(args->stick, &stick, &err) < 0)
		return ui_fail(args, &err);
	rc = stick_pick(&stick, args_operand(args, 0), &name, &err);
	if (rc == 0 && vm_pick_load(&stick, name, &vm, &err) < 0) {
		/* Settings that cannot be read are no reason to keep a VM: its folder is known. */
		ui_warn(args, "%s", err.text);
		vm.name = strdup(name);
		rc = vm.name ? 0 : err_set(&err, EXIT_FAILED, "out of memory");
	}
	if (rc == 0)
		rc = consent_ask(args, &stick, &vm, NULL, &err);
	if (rc == 0)
		rc = ask(args, name, &err);
	if (rc == 0)
		rc = delete_vm(args, &stick, &vm, &err);
	if (rc == 0)
		printf("Deleted %s.\n", name);
	free(name);
	vm_free(&vm);
	stick_free(&stick);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
