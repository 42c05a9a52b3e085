/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_yaml.c: fuzz target: a VM's settings file, loaded, changed, saved and loaded again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "fuzz.h"
#include "vm.h"

/* A setting that the file has can be printed and set to what it is. */
static void set_all(struct vm *vm)
{
	struct vm_setting setting;
	struct err err = {0};
	int r;

	for (unsigned i = 0; (r = vm_get(vm, i, &setting)) != -ENOENT; i++)
		if (r == 0 && !setting.fixed && strlen(setting.value) < sizeof(setting.value) - 1)
			fuzz_must(vm_set(vm, setting.key, setting.value, &err) == 0);
	fuzz_must(vm_set(vm, "cpus", vm->cpus == 3 ? "4" : "3", &err) == 0);
}

/* What is saved keeps the rest of the file and says the same. */
static void save(const char *path, struct vm *vm)
{
	struct err err = {0};
	struct vm again;

	set_all(vm);
	if (vm_save(path, vm, &err) < 0)
		return; /* a layout that cannot be kept is refused, and nothing was changed */
	fuzz_must(vm_load(path, &again, &err) == 0);
	fuzz_must(again.cpus == vm->cpus && again.size_bytes == vm->size_bytes);
	fuzz_must((again.iso == NULL) == (vm->iso == NULL));
	fuzz_must(vm->iso == NULL || strcmp(again.iso, vm->iso) == 0);
	vm_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *path = file_path("%s/vm.yaml", fuzz_folder());
	struct err err = {0};
	struct vm vm;

	fuzz_must(path != NULL);
	fuzz_put_file(path, data, size);
	if (vm_load(path, &vm, &err) == 0) {
		save(path, &vm);
		vm_free(&vm);
	} else {
		fuzz_must(err.status != EXIT_DONE && err.text[0] != '\0');
	}
	free(path);
	return 0;
}
