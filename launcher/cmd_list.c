/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_list.c: `list`: the VMs on the stick. */
#include <stdlib.h>

#include "size.h"
#include "ui.h"
#include "verbs.h"
#include "vm_look.h"
#include "vm_pick.h"

static void add_row(struct ui_table *table, const struct vm *vm, const struct vm_look *look)
{
	char size[32], used[32], ram[32], cpus[16];
	const char *cells[] = {vm->name,
			       look->state,
			       size_human(vm->size_bytes, size, sizeof(size)),
			       look->used_bytes ? size_human(look->used_bytes, used, sizeof(used))
						: "-",
			       size_human(vm->ram_bytes, ram, sizeof(ram)),
			       cpus,
			       vm_os_text(vm->os)};

	snprintf(cpus, sizeof(cpus), "%u", vm->cpus);
	ui_table_row(table, cells);
}

static json_t *known(uint64_t bytes)
{
	return bytes ? json_integer((json_int_t)bytes) : json_null();
}

static json_t *row_json(const struct vm *vm, const struct vm_look *look)
{
	return json_pack("{s:s, s:s, s:I, s:o, s:o, s:I, s:I, s:i, s:s, s:s}", "name", vm->name,
			 "state", look->state, "size_bytes", (json_int_t)vm->size_bytes,
			 "used_bytes", known(look->used_bytes), "capacity_bytes",
			 known(look->capacity_bytes), "scrub_bad_blocks",
			 (json_int_t)look->rot_blocks, "ram_bytes", (json_int_t)vm->ram_bytes,
			 "cpus", (int)vm->cpus, "os", vm_os_text(vm->os), "uuid", vm->uuid);
}

/* One VM into the table and the array; false where its settings cannot be read. */
static bool list_one(const struct args *args, const struct stick *stick, const char *name,
		     struct ui_table *table, json_t *array)
{
	struct vm_look look;
	struct err err;
	struct vm vm;
	char text[384];

	if (vm_pick_load(stick, name, &vm, &err) < 0) {
		const char *cells[] = {name, "unreadable", "-", "-", "-", "-", "-"};

		ui_fail(args, &err);
		ui_table_row(table, cells);
		json_array_append_new(array,
				      json_pack("{s:s, s:s}", "name", name, "state", "unreadable"));
		return false;
	}
	look = vm_look(stick, &vm);
	add_row(table, &vm, &look);
	json_array_append_new(array, row_json(&vm, &look));
	if (vm_look_warn_disk(vm.name, look.used_bytes, look.capacity_bytes, text, sizeof(text)))
		ui_warn(args, "%s", text);
	if (look.rot_blocks)
		ui_warn(args, "%s",
			vm_look_rot_text(vm.name, look.rot_blocks, look.rot_off_bytes, text,
					 sizeof(text)));
	vm_free(&vm);
	return true;
}

static int list_all(const struct args *args, const struct stick *stick, char **names, size_t count)
{
	static const char *const titles[] = {"NAME",	"STATE", ">DISK", ">USED",
					     ">MEMORY", ">CPUS", "OS"};
	struct ui_table *table = ui_table_new(7, titles);
	json_t *array = json_array();
	int status = EXIT_DONE;

	for (size_t i = 0; i < count; i++) {
		if (!list_one(args, stick, names[i], table, array))
			status = EXIT_FAILED;
	}
	if (args_has(args, "json")) {
		int rc = ui_json(args, json_pack("{s:s, s:O}", "stick", stick->uuid, "vms", array));

		status = rc != EXIT_DONE ? rc : status;
	} else if (count > 0) {
		ui_table_print(table, stdout);
		table = NULL;
	} else {
		printf("No VM on this stick yet. Make one: stickvm create NAME\n");
	}
	json_decref(array);
	ui_table_free(table);
	return status;
}

int cmd_list(const struct args *args)
{
	struct stick stick;
	struct err err;
	char **names;
	size_t count;
	char text[256];
	int status;

	if (stick_open(args->stick, &stick, &err) < 0)
		return ui_fail(args, &err);
	if (stick_vms(&stick, &names, &count, &err) < 0) {
		stick_free(&stick);
		return ui_fail(args, &err);
	}
	status = list_all(args, &stick, names, count);
	if (vm_look_warn_stick(stick.dir, text, sizeof(text)))
		ui_warn(args, "%s", text);
	stick_names_free(names, count);
	stick_free(&stick);
	return status;
}
