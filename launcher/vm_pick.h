/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_pick.h: the stick and the VM that a command line means. */
#ifndef LAUNCHER_VM_PICK_H
#define LAUNCHER_VM_PICK_H

#include "opts.h"
#include "stick.h"
#include "vm.h"

struct vm_pick {
	struct stick stick;
	struct vm vm;
};

/* Finds the stick (args->stick), the VM `name` (NULL: the only one), and reads its settings. On
 * success the caller frees with vm_pick_free. */
int vm_pick(const struct args *args, const char *name, struct vm_pick *ret_pick, struct err *err);
void vm_pick_free(struct vm_pick *pick);

/* Reads the settings of one VM of the stick. */
int vm_pick_load(const struct stick *stick, const char *name, struct vm *ret_vm, struct err *err);

/*
 * The names that a verb over "one VM or all" means: the one of `name`, else all of the stick's.
 * The caller: stick_names_free.
 */
int vm_pick_names(const struct stick *stick, const char *name, char ***ret_names, size_t *ret_count,
		  struct err *err);

#endif
