/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_show.c: `show`: the settings of a VM. */
#include <errno.h>
#include <stdlib.h>

#include "size.h"
#include "ui.h"
#include "verbs.h"
#include "vm_look.h"
#include "vm_pick.h"

/* Sizes in bytes and numbers as numbers; what is not set is null. */
static json_t *settings_json(const struct vm *vm)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:I, s:s, s:s, s:s, s:s?, s:s, s:s?, s:i, s:s, s:s, "
			 "s:I, s:s?, s:I, s:I}",
			 "name", vm->name, "machine", vm->machine, "cpu", vm_cpu_text(vm->cpu),
			 "cpus", (int)vm->cpus, "ram_bytes", (json_int_t)vm->ram_bytes, "os",
			 vm_os_text(vm->os), "firmware", vm_firmware_text(vm->firmware), "bus",
			 vm_bus_text(vm->bus), "iso", vm->iso, "policy", vm_policy_text(vm->policy),
			 "cache", vm->cache, "ssh_port", (int)vm->ssh_port, "mac", vm->mac, "uuid",
			 vm->uuid, "size_bytes", (json_int_t)vm->size_bytes, "place", vm->place,
			 "created", (json_int_t)vm->created_s, "scratch_bytes",
			 (json_int_t)vm->scratch_bytes);
}

static void print_settings(const struct vm *vm)
{
	static const char *const titles[] = {"SETTING", "VALUE", "ALLOWED"};
	struct ui_table *table = ui_table_new(3, titles);
	struct vm_setting s;
	char when[32];
	int rc;

	for (unsigned i = 0; (rc = vm_get(vm, i, &s)) != -ENOENT; i++) {
		const char *cells[] = {s.key, rc == 0 ? s.value : "-",
				       s.fixed ? "(fixed)" : s.allowed};

		if (i == 0)
			printf("%s, created %s\n\n", vm->name,
			       ui_time(vm->created_s, when, sizeof(when)));
		ui_table_row(table, cells);
	}
	ui_table_print(table, stdout);
}

/* What the disk takes on the stick, of what it may. */
static void print_room(const struct vm_look *look)
{
	char used[32], all[32];

	if (look->used_bytes && look->capacity_bytes)
		printf("its disk takes %s of %s on the stick (%u %%)\n",
		       size_human(look->used_bytes, used, sizeof(used)),
		       size_human(look->capacity_bytes, all, sizeof(all)),
		       vm_look_percent(look->used_bytes, look->capacity_bytes));
}

static void warn(const struct args *args, const struct vm_pick *pick, const struct vm_look *look)
{
	char text[384];

	if (vm_look_warn_disk(pick->vm.name, look->used_bytes, look->capacity_bytes, text,
			      sizeof(text)))
		ui_warn(args, "%s", text);
	if (look->rot_blocks)
		ui_warn(args, "%s",
			vm_look_rot_text(pick->vm.name, look->rot_blocks, look->rot_off_bytes, text,
					 sizeof(text)));
	if (vm_look_warn_stick(pick->stick.dir, text, sizeof(text)))
		ui_warn(args, "%s", text);
}

int cmd_show(const struct args *args)
{
	struct vm_pick pick;
	struct vm_look look;
	struct err err;
	char *folder;
	int status = EXIT_DONE;

	if (vm_pick(args, args_operand(args, 0), &pick, &err) < 0)
		return ui_fail(args, &err);
	look = vm_look(&pick.stick, &pick.vm);
	folder = stick_vm_path(&pick.stick, pick.vm.name, NULL);
	if (args_has(args, "json")) {
		json_t *json = settings_json(&pick.vm);

		json_object_set_new(json, "folder", json_string(folder));
		json_object_set_new(json, "state", json_string(look.state));
		json_object_set_new(json, "used_bytes", json_integer((json_int_t)look.used_bytes));
		json_object_set_new(json, "capacity_bytes",
				    json_integer((json_int_t)look.capacity_bytes));
		json_object_set_new(json, "scrub_bad_blocks",
				    json_integer((json_int_t)look.rot_blocks));
		status = ui_json(args, json);
	} else {
		print_settings(&pick.vm);
		printf("\nin %s/vm.yaml\n", folder);
		print_room(&look);
	}
	warn(args, &pick, &look);
	free(folder);
	vm_pick_free(&pick);
	return status;
}
