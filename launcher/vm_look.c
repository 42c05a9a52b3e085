/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_look.c: looks at a VM's disk without writing; says where room runs out. */
#include "vm_look.h"

#include <inttypes.h>
#include <stdio.h>

#include "run_control.h"
#include "size.h"
#include "vm_store.h"

enum { ASK_MS = 2000 };
/* A tenth of a large stick is room enough. */
#define PLENTY_BYTES (UINT64_C(8) << 30)

/* The session that has the disk knows best. */
static struct vm_look ask_session(const struct vm *vm)
{
	struct vm_look look = {.state = "in use"};
	json_t *reply = NULL;
	struct err ignored;
	bool running;

	if (control_ask(vm->uuid, json_pack("{s:s}", "do", "status"), ASK_MS, &reply, &running,
			&ignored) == 0) {
		look.used_bytes =
			(uint64_t)json_integer_value(json_object_get(reply, "used_bytes"));
		look.capacity_bytes =
			(uint64_t)json_integer_value(json_object_get(reply, "capacity_bytes"));
		look.rot_blocks =
			(uint64_t)json_integer_value(json_object_get(reply, "scrub_bad_blocks"));
		look.rot_off_bytes =
			(uint64_t)json_integer_value(json_object_get(reply, "scrub_bad_off_bytes"));
	}
	json_decref(reply);
	return look;
}

struct vm_look vm_look(const struct stick *stick, const struct vm *vm)
{
	static const struct sv_open_options quiet = {.read_only = true, .manual = true};
	struct sv_store *store;
	struct sv_status status;
	struct err err;

	if (vm_store_open(stick, vm, &quiet, &store, &err) < 0) {
		switch (err.status) {
		case EXIT_LOCKED:
			return ask_session(vm);
		case EXIT_DAMAGE:
			return (struct vm_look){.state = "damaged"};
		case EXIT_NO_STICK:
			return (struct vm_look){.state = "missing"};
		default:
			return (struct vm_look){.state = "unreadable"};
		}
	}
	sv_store_status(store, &status);
	sv_store_abandon(store);
	return (struct vm_look){.state = "stopped",
				.used_bytes = status.used_bytes,
				.capacity_bytes = status.capacity_bytes};
}

unsigned vm_look_percent(uint64_t used_bytes, uint64_t capacity_bytes)
{
	return capacity_bytes ? (unsigned)((double)used_bytes * 100 / (double)capacity_bytes) : 0;
}

bool vm_look_warn_disk(const char *name, uint64_t used_bytes, uint64_t capacity_bytes, char *text,
		       size_t text_bytes)
{
	char used[32], all[32];

	if (vm_look_percent(used_bytes, capacity_bytes) < VM_LOOK_WARN_PERCENT)
		return false;
	snprintf(
		text, text_bytes,
		"%s: %u %% of what its disk may take on the stick is used (%s of %s); delete files "
		"inside and trim (fstrim), or free space on the stick",
		name, vm_look_percent(used_bytes, capacity_bytes),
		size_human(used_bytes, used, sizeof(used)),
		size_human(capacity_bytes, all, sizeof(all)));
	return true;
}

bool vm_look_warn_stick(const char *dir, char *text, size_t text_bytes)
{
	uint64_t all_bytes = stick_fs_bytes(dir), free_bytes = stick_free_bytes(dir);
	char left[32], all[32];

	if (!all_bytes || free_bytes >= PLENTY_BYTES ||
	    vm_look_percent(all_bytes - free_bytes, all_bytes) < VM_LOOK_WARN_PERCENT)
		return false;
	snprintf(text, text_bytes,
		 "the stick's file system is %u %% full (%s of %s free): disks on it can hardly "
		 "grow",
		 vm_look_percent(all_bytes - free_bytes, all_bytes),
		 size_human(free_bytes, left, sizeof(left)),
		 size_human(all_bytes, all, sizeof(all)));
	return true;
}

const char *vm_look_rot_text(const char *name, uint64_t rot_blocks, uint64_t rot_off_bytes,
			     char *text, size_t text_bytes)
{
	char size[32];

	snprintf(
		text, text_bytes,
		"%s: rot was found on the stick: %s of the disk cannot be read any more, from byte "
		"%" PRIu64 " of it on; when it is not in use any more 'stickvm check --deep %s' "
		"names the files",
		name, size_human(rot_blocks * SV_BLOCK_BYTES, size, sizeof(size)), rot_off_bytes,
		name);
	return text;
}
