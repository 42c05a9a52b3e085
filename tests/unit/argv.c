/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv.c: QEMU's command lines against golden files; the machine is the same on every host. */
/*
 * tests/golden/NAME.argv holds one word a line. With UPDATE_GOLDEN=1 in the environment they are
 * written anew instead; look at the difference before committing it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "argv.h"
#include "plan_case.h"
#include "tune.h"

struct golden {
	const char *name;
	enum vm_os os;
	enum vm_bus bus;
	enum vm_firmware firmware;
	enum vm_cpu cpu;
	struct wishes wishes;
	const char *iso;
	uint64_t scratch_bytes;
	const char *fact, *value; /* changed on the good host */
	const char *extra;	  /* one word of the user's */
	const char *dir;	  /* of the session; NULL: the usual one */
};

static const struct golden goldens[] = {
	{.name = "linux-blk-uefi-kvm", .cpu = VM_CPU_ROAM_V3, .firmware = VM_FW_UEFI},
	{.name = "linux-blk-bios-tcg-serial-stdio",
	 .wishes = {.serial = "stdio"},
	 .fact = "kvm.verdict",
	 .value = "\"too-slow\""},
	{.name = "windows-sata-uefi-iso-gtk",
	 .os = VM_OS_WINDOWS,
	 .bus = VM_BUS_SATA,
	 .firmware = VM_FW_UEFI,
	 .iso = "/media/stick/stickvm/vms/web/setup.iso",
	 .fact = "host.x11",
	 .value = "\":0\""},
	{.name = "linux-scsi-uefi-vnc",
	 .bus = VM_BUS_VIRTIO_SCSI,
	 .firmware = VM_FW_UEFI,
	 .wishes = {.display = WISH_VNC}},
	{.name = "other-nvme-bios-spice",
	 .os = VM_OS_OTHER,
	 .bus = VM_BUS_NVME,
	 .wishes = {.display = WISH_SPICE}},
	{.name = "linux-usb-bios-host-cpu", .bus = VM_BUS_USB, .cpu = VM_CPU_HOST},
	{.name = "linux-blk-bios-old-qemu",
	 .fact = "qemu.sandbox",
	 .value = "false",
	 .wishes = {.accel = WISH_TCG}},
	{.name = "linux-blk-bios-threads", .fact = "host.io_uring", .value = "false"},
	{.name = "linux-blk-bios-no-port", .fact = "host.ssh_port", .value = "null"},
	{.name = "scratch-blk", .scratch_bytes = UINT64_C(8) << 30},
	{.name = "scratch-scsi", .bus = VM_BUS_VIRTIO_SCSI, .scratch_bytes = UINT64_C(8) << 30},
	{.name = "scratch-nvme", .bus = VM_BUS_NVME, .scratch_bytes = UINT64_C(8) << 30},
	{.name = "scratch-sata", .bus = VM_BUS_SATA, .scratch_bytes = UINT64_C(8) << 30},
	{.name = "scratch-usb", .bus = VM_BUS_USB, .scratch_bytes = UINT64_C(8) << 30},
	{.name = "commas-and-extra-words",
	 .wishes = {.serial = "/tmp/a,b"},
	 .iso = "/media/my, stick/x.iso",
	 .extra = "-snapshot",
	 .dir = "/run/user/1000/a,b"},
};

/* The paths of a session in a folder, as run_dir names them. */
struct session_paths {
	char disk[128], vars[128], qmp[128], agent[128], serial[128], screen[128];
	struct argv_paths paths;
};

static void name_paths(const char *dir, const char *iso, struct session_paths *p)
{
	snprintf(p->disk, sizeof p->disk, "%s/disk/disk.raw", dir);
	snprintf(p->vars, sizeof p->vars, "/media/stick/stickvm/vms/web/uefi-vars.fd");
	snprintf(p->qmp, sizeof p->qmp, "%s/qmp.sock", dir);
	snprintf(p->agent, sizeof p->agent, "%s/agent.sock", dir);
	snprintf(p->serial, sizeof p->serial, "%s/serial.sock", dir);
	snprintf(p->screen, sizeof p->screen, "%s/screen.sock", dir);
	p->paths = (struct argv_paths){
		.disk = p->disk,
		.firmware_vars = p->vars,
		.iso = iso,
		.qmp = p->qmp,
		.agent = p->agent,
		.serial = p->serial,
		.screen = p->screen,
	};
}

static struct argv build(const struct golden *g)
{
	struct facts facts = plan_case_facts();
	struct vm vm = plan_case_vm();
	struct plan *plan = calloc(1, sizeof *plan);
	struct session_paths paths;
	struct argv argv;

	if (g->fact)
		plan_case_set(&facts, g->fact, g->value);
	vm.os = g->os;
	vm.bus = g->bus;
	vm.firmware = g->firmware;
	vm.cpu = g->cpu;
	vm.scratch_bytes = g->scratch_bytes;
	name_paths(g->dir ? g->dir : "/run/user/1000/stickvm/5f0c1a52-7a35-4d0e-9a30-0f2d6f9f7c11",
		   g->iso, &paths);
	tune(&facts, &vm, &g->wishes, plan);
	argv_build(plan, &vm, &paths.paths, &g->extra, g->extra ? 1 : 0, &argv);
	facts_free(&facts);
	free(plan);
	return argv;
}

static char *lines(const struct argv *argv)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	for (size_t i = 0; i < argv->count; i++)
		fprintf(out, "%s\n", argv->items[i]);
	fclose(out);
	return text;
}

static void compare(const char *name, const char *text)
{
	char path[512], *golden = NULL;
	size_t bytes = 0;
	FILE *file;

	snprintf(path, sizeof path, TEST_DIR "/golden/%s.argv", name);
	if (getenv("UPDATE_GOLDEN")) {
		file = fopen(path, "w");
		assert_non_null(file);
		fputs(text, file);
		fclose(file);
		return;
	}
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s is missing; UPDATE_GOLDEN=1 makes it", path);
	assert_true(getdelim(&golden, &bytes, '\0', file) > 0);
	fclose(file);
	assert_string_equal(text, golden);
	free(golden);
}

static void golden_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
		struct argv argv = build(&goldens[i]);
		char *text = lines(&argv);

		compare(goldens[i].name, text);
		free(text);
		argv_free(&argv);
	}
}

/* What the guest sees: devices and machine, without the links to back ends. */
static char *machine_of(const struct argv *argv)
{
	static const char *const guest[] = {"-device",	"-m",	"-smp", "-uuid",
					    "-machine", "-rtc", "-boot"};
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	for (size_t i = 0; i + 1 < argv->count; i++)
		for (size_t j = 0; j < sizeof guest / sizeof guest[0]; j++)
			if (strcmp(argv->items[i], guest[j]) == 0)
				fprintf(out, "%s %s\n", guest[j], argv->items[i + 1]);
	fclose(out);
	/* An I/O thread is a back end. */
	for (char *at = strstr(text, ",iothread=io0"); at; at = strstr(text, ",iothread=io0"))
		memmove(at, at + 13, strlen(at + 13) + 1);
	return text;
}

/* Hosts as unlike as can be, and ISO in or out of the drive aside: one machine. */
static void same_machine_everywhere(void **state)
{
	(void)state;
	for (enum vm_bus bus = VM_BUS_VIRTIO_BLK; bus <= VM_BUS_USB; bus++) {
		const struct golden here = {.bus = bus, .cpu = VM_CPU_ROAM};
		const struct golden poor = {.bus = bus,
					    .wishes = {.accel = WISH_TCG, .serial = "stdio"},
					    .fact = "host.cpus",
					    .value = "1"};
		const struct golden screen = {.bus = bus, .fact = "host.x11", .value = "\":0\""};
		struct argv a = build(&here), b = build(&poor), c = build(&screen);
		char *x = machine_of(&a), *y = machine_of(&b), *z = machine_of(&c);

		assert_string_equal(x, y);
		assert_string_equal(x, z);
		free(x);
		free(y);
		free(z);
		argv_free(&a);
		argv_free(&b);
		argv_free(&c);
	}
}

/* The printed command is the command, to a shell. */
static void shell_text(void **state)
{
	const char *const words[] = {"/usr/bin/qemu", "-name", "a b", "it's", "", "$x",
				     "plain=1,y",     NULL};
	const struct argv argv = {.items = (char **)words, .count = 7};
	char *text = argv_to_text(&argv);

	(void)state;
	assert_string_equal(text, "/usr/bin/qemu \\\n\t-name 'a b' 'it'\\''s' '' '$x' plain=1,y\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_files),
		cmocka_unit_test(same_machine_everywhere),
		cmocka_unit_test(shell_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
