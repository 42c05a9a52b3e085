/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune.c: the one table of decisions: each with the facts it names, its value and its reason. */
/*
 * A row is a name, the facts that it names, and a function. The function is given a view of the
 * facts in which all others are unknown (facts_view), so:
 *  I1  a row depends on the facts that it names, on the VM's settings and on the wishes only;
 *  I2  a row sets its own fields of the plan only; where one value follows from another (the CPU
 *      from the accelerator), both rows name the same facts and call the same function.
 * The machine that the guest sees follows from the settings alone: a host chooses back ends, so
 * that a VM finds the same machine everywhere.
 */
#include "tune.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tune_rows.h"

enum { MAX_FACTS = 8 };

struct rule {
	const char *name;
	decide *decide;
	const char *facts[MAX_FACTS]; /* NULL-terminated */
};

static const struct rule rules[] = {
	{"qemu", decide_qemu, {"qemu.path", "qemu.version"}},
	{"accel", decide_accel, {"kvm.verdict", "kvm.loops_per_s", "host.cpu_flags"}},
	{"cpu", decide_cpu, {"kvm.verdict", "host.cpu_flags", "qemu.version"}},
	{"memory", decide_memory, {"host.mem_free_bytes"}},
	{"cores", decide_cores, {"host.cpus"}},
	{"firmware", decide_firmware, {"firmware.code", "firmware.vars"}},
	{"ssh port", decide_ssh_port, {"host.ssh_port"}},
	{"stick link",
	 decide_link,
	 {"stick.usb", "stick.speed_mbps", "stick.usb_version", "stick.driver", "stick.hubs",
	  "stick.port", "stick.usb_id"}},
	{"place",
	 decide_place,
	 {"stick.fs", "stick.mount_options", "stick.read_only", "stick.size_bytes",
	  "stick.free_bytes"}},
	{"transport", decide_transport, {"host.fuse", "host.kernel"}},
	{"cache", decide_cache, {NULL}},
	{"aio", decide_aio, {"host.io_uring", "qemu.io_uring"}},
	{"io threads", decide_iothread, {"host.cpus"}},
	{"queues", decide_queues, {NULL}},
	{"discard", decide_discard, {NULL}},
	{"detect-zeroes", decide_zeroes, {NULL}},
	{"errors", decide_errors, {NULL}},
	{"batch size", decide_batch_size, {"stick.speed_mbps", "stick.write_rate"}},
	{"unit size", decide_unit_size, {"stick.read_rate", "stick.random_read_us"}},
	{"batch age", decide_batch_age, {NULL}},
	{"map memory", decide_map_ram, {"host.mem_free_bytes"}},
	{"durability", decide_durability, {"stick.driver"}},
	{"host cache",
	 decide_host_cache,
	 {"host.cache_folder", "host.cache_free_bytes", "host.cache_on_stick", "host.mem_bytes"}},
	{"scratch", decide_scratch, {"host.scratch_folder", "host.scratch_free_bytes"}},
	{"display", decide_display, {"host.x11", "host.wayland", "qemu.displays"}},
	{"serial", decide_serial, {"host.terminal"}},
	{"sandbox", decide_sandbox, {"qemu.sandbox", "host.x11", "host.wayland", "qemu.displays"}},
};

#define RULE_COUNT (sizeof rules / sizeof rules[0])
_Static_assert(RULE_COUNT <= PLAN_MAX_DECISIONS, "a plan holds every decision");

void row_value(struct decision *row, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(row->value, sizeof row->value, fmt, args);
	va_end(args);
}

void row_reason(struct decision *row, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(row->reason, sizeof row->reason, fmt, args);
	va_end(args);
}

void row_note(struct decision *row, const char *fmt, ...)
{
	va_list args;

	row->level = PLAN_NOTE;
	va_start(args, fmt);
	vsnprintf(row->reason, sizeof row->reason, fmt, args);
	va_end(args);
}

void row_refuse(struct decision *row, enum exit_status status, const char *fmt, ...)
{
	va_list args;

	row->level = PLAN_REFUSED;
	row->status = status;
	va_start(args, fmt);
	vsnprintf(row->reason, sizeof row->reason, fmt, args);
	va_end(args);
}

void tune(const struct facts *facts, const struct vm *vm, const struct wishes *wishes,
	  struct plan *ret_plan)
{
	memset(ret_plan, 0, sizeof *ret_plan);
	for (size_t i = 0; i < RULE_COUNT; i++) {
		struct facts view = facts_view(facts, rules[i].facts); /* I1 */
		struct input in = {.facts = &view, .vm = vm, .wishes = wishes};
		struct decision *row = &ret_plan->decisions[ret_plan->count++];

		row->name = rules[i].name;
		row->facts = rules[i].facts;
		rules[i].decide(&in, ret_plan, row);
		assert(row->value[0] && row->reason[0]);
	}
}
