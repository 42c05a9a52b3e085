/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_set.c: `set`: change settings of a VM, all of those given or none. */
#include <stdlib.h>
#include <string.h>

#include "consent.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"

static int set_one(struct vm *vm, const char *word, struct err *err)
{
	const char *equals = strchr(word, '=');
	char key[64];

	if (!equals || equals == word || (size_t)(equals - word) >= sizeof(key))
		return err_set(err, EXIT_USAGE,
			       "'%.64s': write it KEY=VALUE; 'stickvm show' lists "
			       "the keys",
			       word);
	snprintf(key, sizeof(key), "%.*s", (int)(equals - word), word);
	return vm_set(vm, key, equals + 1, err);
}

int cmd_set(const struct args *args)
{
	struct vm_pick pick;
	struct err err;
	char *path;
	bool names_iso = false;
	int rc = 0;

	if (vm_pick(args, args_operand(args, 0), &pick, &err) < 0)
		return ui_fail(args, &err);
	for (unsigned i = 1; i < args->operand_count && rc == 0; i++) {
		rc = set_one(&pick.vm, args->operands[i], &err);
		names_iso |= strncmp(args->operands[i], "iso=", 4) == 0;
	}
	path = stick_vm_path(&pick.stick, pick.vm.name, "vm.yaml");
	if (rc == 0)
		rc = path ? vm_save(path, &pick.vm, &err)
			  : err_set(&err, EXIT_FAILED, "out of memory");
	free(path);
	if (rc == 0)
		consent_remember(&pick.stick, &pick.vm, false, names_iso);
	vm_pick_free(&pick);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
