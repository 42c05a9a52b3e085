/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune.c: one fact at a time: exactly the decisions that name it change; and what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_case.h"
#include "tune.h"

/*
 * One fact changed, on the good host of plan_case (after `first` was set as well, where a
 * decision looks at the fact only then), for the usual VM. `rows`: what must change, separated
 * by commas, "" for nothing. Written by hand: it must agree with the table's own names.
 */
struct change {
	const char *fact, *value;
	const char *rows;
	const char *first, *first_value;
};

static const struct change changes[] = {
	{"host.kernel", "\"5.15.0\"", "transport", NULL, NULL},
	{"host.cpu_model", "\"another\"", "", NULL, NULL},
	{"host.cpu_flags", "\"sse4_2\"", "accel,cpu", NULL, NULL},
	{"host.cpus", "1", "cores,io threads", NULL, NULL},
	{"host.mem_bytes", "1073741824", "host cache", NULL, NULL},
	{"host.mem_free_bytes", "536870912", "memory,map memory", NULL, NULL},
	{"host.io_uring", "false", "aio", NULL, NULL},
	{"host.fuse", "false", "transport", NULL, NULL},
	{"host.x11", "\":0\"", "display,sandbox", NULL, NULL},
	{"host.wayland", "\"wayland-0\"", "display,sandbox", NULL, NULL},
	{"host.terminal", "false", "serial", NULL, NULL},
	{"host.ssh_port", "2230", "ssh port", NULL, NULL},
	{"host.scratch_folder", "\"/var/tmp\"", "scratch", NULL, NULL},
	{"host.scratch_free_bytes", "7", "scratch", NULL, NULL},
	{"host.cache_folder", "\"/var/cache/stickvm\"", "host cache", NULL, NULL},
	{"host.cache_free_bytes", "1000000000", "host cache", NULL, NULL},
	{"host.cache_on_stick", "true", "host cache", NULL, NULL},
	{"kvm.verdict", "\"too-slow\"", "accel,cpu", NULL, NULL},
	{"kvm.loops_per_s", "700000000", "accel", NULL, NULL},
	{"qemu.path", "\"/opt/qemu\"", "qemu", NULL, NULL},
	{"qemu.version", "\"6.2.0\"", "qemu,cpu", "kvm.verdict", "\"absent\""},
	{"qemu.displays", "\"none\"", "display,sandbox", "host.x11", "\":0\""},
	{"qemu.io_uring", "false", "aio", NULL, NULL},
	{"qemu.sandbox", "false", "sandbox", NULL, NULL},
	{"firmware.code", "\"/other/code.fd\"", "firmware", NULL, NULL},
	{"firmware.vars", "\"/other/vars.fd\"", "firmware", NULL, NULL},
	{"stick.path", "\"/mnt\"", "", NULL, NULL},
	{"stick.node", "\"/dev/sdx\"", "", NULL, NULL},
	{"stick.usb", "false", "stick link", NULL, NULL},
	{"stick.vendor", "\"Other\"", "", NULL, NULL},
	{"stick.product", "\"Other\"", "", NULL, NULL},
	{"stick.usb_id", "\"1234:5678\"", "stick link", NULL, NULL},
	{"stick.port", "\"4-2\"", "stick link", NULL, NULL},
	{"stick.hubs", "\"Some Hub\"", "stick link", NULL, NULL},
	{"stick.speed_mbps", "480", "stick link,batch size", NULL, NULL},
	{"stick.usb_version", "512", "stick link", "stick.speed_mbps", "480"},
	{"stick.driver", "\"usb-storage\"", "stick link,durability", NULL, NULL},
	{"stick.power_ma", "100", "", NULL, NULL},
	{"stick.removable", "false", "", NULL, NULL},
	{"stick.fs", "\"exfat\"", "place", NULL, NULL},
	{"stick.mount_point", "\"/mnt\"", "", NULL, NULL},
	{"stick.mount_options", "\"rw,sync\"", "place", NULL, NULL},
	{"stick.read_only", "true", "place", NULL, NULL},
	{"stick.size_bytes", "null", "place", NULL, NULL},
	{"stick.free_bytes", "1000000", "place", NULL, NULL},
	{"stick.read_rate", "20000000", "unit size", "stick.random_read_us", "735"},
	{"stick.write_rate", "8790000", "batch size", NULL, NULL},
	{"stick.random_read_us", "735", "unit size", "stick.read_rate", "20000000"},
};

static bool listed(const char *rows, const char *row)
{
	const size_t len = strlen(row);

	while (*rows) {
		size_t here = strcspn(rows, ",");

		if (here == len && memcmp(rows, row, len) == 0)
			return true;
		rows += here + (rows[here] == ',');
	}
	return false;
}

static bool names_fact(const struct decision *row, const char *fact)
{
	for (const char *const *name = row->facts; *name; name++)
		if (strcmp(*name, fact) == 0)
			return true;
	return false;
}

static bool same(const struct decision *a, const struct decision *b)
{
	return a->level == b->level && strcmp(a->value, b->value) == 0 &&
	       strcmp(a->reason, b->reason) == 0;
}

static void check_change(const struct change *change)
{
	const struct wishes wishes = {0};
	const struct vm vm = plan_case_vm();
	struct facts before = plan_case_facts(), after;
	struct plan *old = calloc(1, sizeof *old), *new = calloc(1, sizeof *new);

	if (change->first)
		plan_case_set(&before, change->first, change->first_value);
	after = plan_case_facts();
	if (change->first)
		plan_case_set(&after, change->first, change->first_value);
	plan_case_set(&after, change->fact, change->value);
	tune(&before, &vm, &wishes, old);
	tune(&after, &vm, &wishes, new);
	assert_int_equal(old->count, new->count);
	for (size_t i = 0; i < old->count; i++) {
		const struct decision *row = &new->decisions[i];
		const bool changed = !same(&old->decisions[i], row);

		if (changed != listed(change->rows, row->name) ||
		    changed != names_fact(row, change->fact))
			fail_msg("%s = %s: row '%s' %s (%s: %s)", change->fact, change->value,
				 row->name, changed ? "changed" : "did not change", row->value,
				 row->reason);
	}
	facts_free(&before);
	facts_free(&after);
	free(old);
	free(new);
}

static void one_fact_at_a_time(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
		check_change(&changes[i]);
}

/* Every fact is changed above, and every fact that a row names exists. */
static void nothing_left_out(void **state)
{
	const struct wishes wishes = {0};
	const struct vm vm = plan_case_vm();
	struct facts facts = plan_case_facts();
	struct plan *plan = calloc(1, sizeof *plan);

	(void)state;
	for (size_t i = 0; i < facts_table_len; i++) {
		bool found = false;

		for (size_t j = 0; j < sizeof changes / sizeof changes[0]; j++)
			found = found || strcmp(changes[j].fact, facts_table[i].name) == 0;
		if (!found)
			fail_msg("no change of %s is tested", facts_table[i].name);
	}
	tune(&facts, &vm, &wishes, plan);
	for (size_t i = 0; i < plan->count; i++)
		for (const char *const *name = plan->decisions[i].facts; *name; name++)
			assert_non_null(facts_find(*name));
	facts_free(&facts);
	free(plan);
}

/* A plan for the good host with one change, and for the usual VM with wishes. */
struct world {
	struct facts facts;
	struct vm vm;
	struct wishes wishes;
	struct plan plan;
};

static struct world *world(const char *fact, const char *value)
{
	struct world *w = calloc(1, sizeof *w);

	w->facts = plan_case_facts();
	if (fact)
		plan_case_set(&w->facts, fact, value);
	w->vm = plan_case_vm();
	return w;
}

/* Plans, and returns the row. */
static const struct decision *decided(struct world *w, const char *name)
{
	const struct decision *row;

	tune(&w->facts, &w->vm, &w->wishes, &w->plan);
	row = plan_find(&w->plan, name);
	assert_non_null(row);
	return row;
}

static void done(struct world *w)
{
	facts_free(&w->facts);
	free(w);
}

static void good_host(void **state)
{
	struct world *w = world(NULL, NULL);
	struct err err;

	(void)state;
	decided(w, "accel");
	assert_int_equal(plan_check(&w->plan, &err), 0);
	for (size_t i = 0; i < w->plan.count; i++)
		assert_int_equal(w->plan.decisions[i].level, PLAN_PLAIN);
	assert_int_equal(w->plan.accel, PLAN_KVM);
	assert_int_equal(w->plan.aio, PLAN_IO_URING);
	assert_true(w->plan.iothread);
	assert_true(w->plan.stop_on_error);
	assert_int_equal(w->plan.batch_bytes, 16 << 20);
	assert_int_equal(w->plan.batch_age_ms, 2000);
	assert_int_equal(w->plan.map_ram_bytes, 36 << 20);
	assert_int_equal(w->plan.display, PLAN_NO_DISPLAY);
	assert_int_equal(w->plan.queues, 2);
	assert_int_equal(w->plan.ssh_port, 2222);
	assert_string_equal(plan_find(&w->plan, "cache")->value, "direct");
	assert_string_equal(plan_find(&w->plan, "discard")->value, "unmap");
	done(w);
}

static void broken_kvm_gives_tcg(void **state)
{
	struct world *w = world("kvm.verdict", "\"too-slow\"");
	const struct decision *row;

	(void)state;
	plan_case_set(&w->facts, "kvm.loops_per_s", "2000000");
	row = decided(w, "accel");
	assert_string_equal(row->value, "tcg");
	assert_int_equal(row->level, PLAN_NOTE);
	assert_string_equal(row->reason,
			    "KVM is here but too slow: a test guest ran 2 million loops/s instead "
			    "of some 1000; emulation is slower");
	w->wishes.accel = WISH_KVM;
	row = decided(w, "accel");
	assert_int_equal(row->level, PLAN_REFUSED);
	w->wishes.accel = WISH_TCG;
	assert_int_equal(decided(w, "accel")->level, PLAN_PLAIN);
	done(w);
}

static void every_verdict_but_works_gives_tcg(void **state)
{
	static const char *const verdicts[] = {"\"absent\"", "\"denied\"",  "\"broken\"",
					       "\"hangs\"",  "\"unknown\"", "null"};

	(void)state;
	for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
		struct world *w = world("kvm.verdict", verdicts[i]);

		assert_string_equal(decided(w, "accel")->value, "tcg");
		done(w);
	}
}

static void cpu_models(void **state)
{
	struct world *w = world(NULL, NULL);

	(void)state;
	assert_string_equal(decided(w, "cpu")->value,
			    "Haswell-v2,-pcid,-x2apic,-tsc-deadline,-invpcid,vendor=GenuineIntel,"
			    "enforce");
	w->vm.cpu = VM_CPU_ROAM;
	assert_string_equal(decided(w, "cpu")->value, "Westmere-v1,vendor=GenuineIntel,enforce");
	w->vm.cpu = VM_CPU_HOST;
	assert_string_equal(decided(w, "cpu")->value, "host");
	w->wishes.accel = WISH_TCG;
	assert_string_equal(decided(w, "cpu")->value, "max");
	done(w);
	/* Without AVX2 a v3 guest is emulated, a v2 one is not. */
	w = world("host.cpu_flags", "\"cx16 lahf_lm popcnt ssse3 sse4_1 sse4_2 aes pclmulqdq\"");
	assert_string_equal(decided(w, "accel")->value, "tcg");
	assert_non_null(strstr(decided(w, "accel")->reason, "lacks avx"));
	w->vm.cpu = VM_CPU_ROAM;
	assert_string_equal(decided(w, "accel")->value, "kvm");
	done(w);
	/* QEMU before 7.2 has no AVX2 under TCG. */
	w = world("qemu.version", "\"7.1.0\"");
	w->vm.machine = (char[]){"pc-q35-7.0"};
	assert_int_equal(decided(w, "cpu")->level, PLAN_PLAIN);
	w->wishes.accel = WISH_TCG;
	assert_int_equal(decided(w, "cpu")->level, PLAN_REFUSED);
	done(w);
}

static void refusals(void **state)
{
	struct world *w = world("qemu.path", "null");
	struct err err;

	(void)state;
	assert_int_equal(decided(w, "qemu")->level, PLAN_REFUSED);
	assert_int_equal(plan_check(&w->plan, &err), -1);
	assert_int_equal(err.status, EXIT_FAILED);
	assert_non_null(strstr(err.text, "apt install qemu-system-x86"));
	done(w);
	w = world("firmware.code", "null");
	assert_int_equal(decided(w, "firmware")->level, PLAN_REFUSED);
	w->vm.firmware = VM_FW_BIOS;
	assert_int_equal(decided(w, "firmware")->level, PLAN_PLAIN);
	assert_null(w->plan.firmware_code);
	done(w);
	w = world("host.fuse", "false");
	assert_int_equal(decided(w, "transport")->level, PLAN_REFUSED);
	done(w);
	w = world("stick.read_only", "true");
	assert_int_equal(decided(w, "place")->level, PLAN_REFUSED);
	done(w);
	w = world(NULL, NULL);
	w->vm.machine = (char[]){"pc-q35-8.1"};
	assert_int_equal(decided(w, "qemu")->level, PLAN_REFUSED);
	w->vm.machine = (char[]){"pc-i440fx-7.2"};
	assert_int_equal(decided(w, "qemu")->level, PLAN_REFUSED);
	w->vm.machine = (char[]){"pc-q35-6.2"};
	assert_int_equal(decided(w, "qemu")->level, PLAN_PLAIN);
	done(w);
}

/* The figures of the design, for P1 to P6: a cold random read costs at most 1.25 times raw. */
static void measured_stick(void **state)
{
	static const struct {
		const char *read_rate, *random_us, *write_rate;
		unsigned unit_kib, batch_mib;
	} sticks[] = {
		{"13500000", "859", "8600000", 7, 16},	  {"20000000", "735", "8790000", 8, 16},
		{"136000000", "960", "98000000", 36, 16}, {"123000000", "684", "59000000", 25, 16},
		{"226000000", "285", "35000000", 20, 16}, {"386000000", "283", "353000000", 31, 16},
	};

	(void)state;
	for (size_t i = 0; i < sizeof sticks / sizeof sticks[0]; i++) {
		struct world *w = world("stick.read_rate", sticks[i].read_rate);

		plan_case_set(&w->facts, "stick.random_read_us", sticks[i].random_us);
		plan_case_set(&w->facts, "stick.write_rate", sticks[i].write_rate);
		decided(w, "unit size");
		assert_in_range(w->plan.unit_bytes, (sticks[i].unit_kib - 1) * 1024,
				(sticks[i].unit_kib + 1) * 1024);
		assert_int_equal(w->plan.batch_bytes, sticks[i].batch_mib << 20);
		done(w);
	}
}

static void usb3_stick_in_usb2_port(void **state)
{
	struct world *w = world("stick.speed_mbps", "480");
	const struct decision *row = decided(w, "stick link");

	(void)state;
	assert_int_equal(row->level, PLAN_NOTE);
	assert_string_equal(row->reason,
			    "the stick can do USB 3 but the link runs at 480 Mbit/s: "
			    "try another port, cable or hub (0781:5588 uas, port 2-1)");
	assert_string_equal(decided(w, "batch size")->value, "16.0 MiB");
	plan_case_set(&w->facts, "stick.usb_version", "512");
	assert_int_equal(decided(w, "stick link")->level, PLAN_PLAIN);
	done(w);
}

static void buses(void **state)
{
	struct world *w = world(NULL, NULL);

	(void)state;
	for (enum vm_bus bus = VM_BUS_VIRTIO_BLK; bus <= VM_BUS_USB; bus++) {
		const bool virtio = bus == VM_BUS_VIRTIO_BLK || bus == VM_BUS_VIRTIO_SCSI;

		w->vm.bus = bus;
		decided(w, "errors");
		assert_int_equal(w->plan.stop_on_error, bus != VM_BUS_NVME);
		assert_int_equal(w->plan.iothread, virtio);
	}
	w->vm.cpus = 16;
	decided(w, "queues");
	assert_int_equal(w->plan.queues, 4);
	done(w);
}

static void displays(void **state)
{
	struct world *w = world("host.x11", "\":0\"");

	(void)state;
	assert_string_equal(decided(w, "display")->value, "gtk");
	assert_false(w->plan.sandbox_resources);
	w->wishes.detach = true;
	assert_string_equal(decided(w, "display")->value, "none");
	assert_true(w->plan.sandbox_resources);
	w->wishes.detach = false;
	plan_case_set(&w->facts, "qemu.displays", "\"none sdl\"");
	assert_string_equal(decided(w, "display")->value, "sdl");
	plan_case_set(&w->facts, "qemu.displays", "\"none\"");
	assert_string_equal(decided(w, "display")->value, "none");
	assert_int_equal(decided(w, "display")->level, PLAN_NOTE);
	w->wishes.display = WISH_GTK;
	assert_int_equal(decided(w, "display")->level, PLAN_REFUSED);
	w->wishes.display = WISH_VNC;
	assert_int_equal(decided(w, "display")->level, PLAN_PLAIN);
	w->wishes.display = WISH_SPICE;
	assert_int_equal(decided(w, "display")->level, PLAN_REFUSED);
	done(w);
	w = world(NULL, NULL);
	w->wishes.display = WISH_SDL; /* no screen */
	assert_int_equal(decided(w, "display")->level, PLAN_REFUSED);
	done(w);
}

static void serial_ports(void **state)
{
	struct world *w = world(NULL, NULL);

	(void)state;
	decided(w, "serial");
	assert_int_equal(w->plan.serial, PLAN_SERIAL_NULL);
	w->wishes.serial = "stdio";
	decided(w, "serial");
	assert_int_equal(w->plan.serial, PLAN_SERIAL_STDIO);
	w->wishes.serial = "/tmp/stdio";
	decided(w, "serial");
	assert_int_equal(w->plan.serial, PLAN_SERIAL_FILE);
	assert_string_equal(w->plan.serial_file, "/tmp/stdio");
	done(w);
}

/* What the VM reads is kept on the host: by what is free and by wish. */
static void host_caches(void **state)
{
	static const struct {
		const char *fact, *json, *wish, *value, *reason;
	} cases[] = {
		{NULL, NULL, NULL, "8.00 GiB", "a quarter of what is free"},
		{"host.cache_free_bytes", "8589934592", NULL, "2.00 GiB", "(8.00 GiB free)"},
		{"host.mem_bytes", "1073741824", NULL, "1.00 GiB", "the host's memory"},
		{"host.cache_free_bytes", "100000000", NULL, "none", "only 95.4 MiB free"},
		{"host.cache_on_stick", "true", NULL, "none", "nothing would be gained"},
		{"host.cache_on_stick", "true", "64M", "64.0 MiB", "as set"},
		{"host.cache_folder", "null", NULL, "none", "no folder"},
		{"host.cache_folder", "null", "64M", "none", "no folder"},
		{NULL, NULL, "off", "none", "off, as set"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct world *w = world(cases[i].fact, cases[i].json);
		const struct decision *row;

		w->wishes.cache = cases[i].wish;
		row = decided(w, "host cache");
		assert_string_equal(row->value, cases[i].value);
		if (!strstr(row->reason, cases[i].reason))
			fail_msg("case %zu: %s", i, row->reason);
		assert_int_equal(row->level, PLAN_PLAIN);
		done(w);
	}
}

/* A wish of the command line goes before the VM's setting, and must be one. */
static void cache_wishes(void **state)
{
	static char set[] = "128M";
	struct world *w = world(NULL, NULL);
	struct err err;

	(void)state;
	w->vm.cache = set;
	assert_string_equal(decided(w, "host cache")->value, "128 MiB");
	w->wishes.cache = "off";
	assert_string_equal(decided(w, "host cache")->value, "none");
	w->wishes.cache = "much";
	decided(w, "host cache");
	assert_int_equal(plan_check(&w->plan, &err), -1);
	assert_int_equal(err.status, EXIT_USAGE);
	assert_non_null(strstr(err.text, "'much'"));
	done(w);
}

/* A scratch disk needs a folder and room; who has none is told of it. */
static void scratch_disks(void **state)
{
	struct world *w = world(NULL, NULL);
	struct err err;

	(void)state;
	assert_string_equal(decided(w, "scratch")->value, "none");
	assert_int_equal(w->plan.scratch_bytes, 0);
	w->vm.scratch_bytes = UINT64_C(8) << 30;
	assert_string_equal(decided(w, "scratch")->value, "8.00 GiB");
	assert_int_equal(w->plan.scratch_bytes, UINT64_C(8) << 30);
	plan_case_set(&w->facts, "host.scratch_free_bytes", "1000000");
	decided(w, "scratch");
	assert_int_equal(plan_check(&w->plan, &err), -1);
	assert_int_equal(w->plan.scratch_bytes, 0);
	plan_case_set(&w->facts, "host.scratch_folder", "null");
	decided(w, "scratch");
	assert_int_equal(plan_check(&w->plan, &err), -1);
	assert_non_null(strstr(err.text, "no folder"));
	done(w);
}

static void ports(void **state)
{
	struct world *w = world("host.ssh_port", "2223");

	(void)state;
	assert_int_equal(decided(w, "ssh port")->level, PLAN_NOTE);
	assert_int_equal(w->plan.ssh_port, 2223);
	plan_case_set(&w->facts, "host.ssh_port", "null");
	assert_int_equal(decided(w, "ssh port")->level, PLAN_NOTE);
	assert_int_equal(w->plan.ssh_port, 0);
	done(w);
}

/* Nothing known at all: rows still have a value and a reason, and QEMU is missed. */
static void knows_nothing(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	(void)state;
	w->vm = plan_case_vm();
	assert_int_equal(decided(w, "qemu")->level, PLAN_REFUSED);
	for (size_t i = 0; i < w->plan.count; i++)
		assert_true(w->plan.decisions[i].value[0] && w->plan.decisions[i].reason[0]);
	done(w);
}

static void prints(void **state)
{
	struct world *w = world("stick.speed_mbps", "480");
	json_t *json, *row;
	char *text, *save = NULL;

	(void)state;
	decided(w, "qemu");
	text = plan_to_text(&w->plan, 80);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		assert_true(strlen(line) <= 80 || strstr(line, "Haswell")); /* one word */
	free(text);
	text = plan_to_text(&w->plan, 200);
	assert_non_null(strstr(text, "! stick link    480 Mbit/s"));
	assert_non_null(strstr(text, "\n  cache         direct                        after one"));
	free(text);
	json = plan_to_json(&w->plan);
	assert_int_equal(json_array_size(json), w->plan.count);
	row = json_array_get(json, 0);
	assert_string_equal(json_string_value(json_object_get(row, "name")), "qemu");
	assert_string_equal(json_string_value(json_array_get(json_object_get(row, "facts"), 0)),
			    "qemu.path");
	assert_string_equal(json_string_value(json_object_get(row, "level")), "plain");
	json_decref(json);
	done(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_fact_at_a_time),
		cmocka_unit_test(nothing_left_out),
		cmocka_unit_test(good_host),
		cmocka_unit_test(broken_kvm_gives_tcg),
		cmocka_unit_test(every_verdict_but_works_gives_tcg),
		cmocka_unit_test(cpu_models),
		cmocka_unit_test(refusals),
		cmocka_unit_test(usb3_stick_in_usb2_port),
		cmocka_unit_test(measured_stick),
		cmocka_unit_test(buses),
		cmocka_unit_test(displays),
		cmocka_unit_test(serial_ports),
		cmocka_unit_test(host_caches),
		cmocka_unit_test(cache_wishes),
		cmocka_unit_test(scratch_disks),
		cmocka_unit_test(ports),
		cmocka_unit_test(knows_nothing),
		cmocka_unit_test(prints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
