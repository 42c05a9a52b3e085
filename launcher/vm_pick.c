/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_pick.c: the stick and the VM that a command line means. */
#include "vm_pick.h"

#include <stdlib.h>

int vm_pick_load(const struct stick *stick, const char *name, struct vm *ret_vm, struct err *err)
{
	char *path = stick_vm_path(stick, name, "vm.yaml");
	int rc = path ? stick_holds(stick, name, err) : err_set(err, EXIT_FAILED, "out of memory");

	if (rc == 0)
		rc = vm_load(path, ret_vm, err);
	free(path);
	return rc;
}

int vm_pick(const struct args *args, const char *name, struct vm_pick *ret_pick, struct err *err)
{
	struct vm_pick pick = {0};
	char *picked = NULL;

	if (stick_open(args->stick, &pick.stick, err) < 0)
		return -1;
	if (stick_pick(&pick.stick, name, &picked, err) < 0 ||
	    vm_pick_load(&pick.stick, picked, &pick.vm, err) < 0) {
		free(picked);
		vm_pick_free(&pick);
		return -1;
	}
	free(picked);
	*ret_pick = pick;
	return 0;
}

void vm_pick_free(struct vm_pick *pick)
{
	vm_free(&pick->vm);
	stick_free(&pick->stick);
}

int vm_pick_names(const struct stick *stick, const char *name, char ***ret_names, size_t *ret_count,
		  struct err *err)
{
	char **names;

	if (!name)
		return stick_vms(stick, ret_names, ret_count, err);
	names = calloc(1, sizeof(*names));
	if (!names)
		return err_set(err, EXIT_FAILED, "out of memory");
	if (stick_pick(stick, name, &names[0], err) < 0) {
		free(names);
		return -1;
	}
	*ret_names = names;
	*ret_count = 1;
	return 0;
}
