/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv.c: QEMU's command line, part by part. */
/*
 * What the guest sees (devices, their order and PCI addresses, queues, identifiers) follows from
 * the VM's settings only; what a host chose (accelerator, aio, threads, display, files) is in
 * back ends, which the guest cannot see. So the machine is the same on every host.
 *
 * PCI addresses on the root bus of q35, for ever:
 *   1 VGA   2 the disk's controller   3 network   4 USB   5 virtio-serial   6 random numbers
 *   7 the scratch disk, where there is one and the bus is PCI (virtio-blk, NVMe)
 * 1f.2 is the chipset's SATA controller: the root disk of a SATA machine is on port 0, the CD-ROM
 * drive on port 1, a scratch disk on port 2. The drive is there even when it is empty, except that
 * nothing is in it.
 */
#include "argv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"

enum { WORD_BYTES = 8192 };

static void add_copy(struct argv *argv, const char *text)
{
	char **items = realloc(argv->items, (argv->count + 2) * sizeof *items);
	char *copy = strdup(text);

	if (!items || !copy)
		abort();
	items[argv->count++] = copy;
	items[argv->count] = NULL;
	argv->items = items;
}

/* An option and its value, printf-like; an empty format adds the option alone. */
static void add(struct argv *argv, const char *option, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add(struct argv *argv, const char *option, const char *fmt, ...)
{
	char text[WORD_BYTES];
	va_list args;

	add_copy(argv, option);
	va_start(args, fmt);
	if (vsnprintf(text, sizeof text, fmt, args) >= (int)sizeof text)
		abort(); /* paths are at most 4096 bytes */
	va_end(args);
	add_copy(argv, text);
}

/* A path inside "key=value,key=value": QEMU takes a doubled comma for one. */
struct quoted {
	char text[WORD_BYTES / 2];
};

static struct quoted quote(const char *path)
{
	struct quoted q;
	size_t used = 0;

	for (; *path && used < sizeof q.text - 2; path++) {
		if (*path == ',')
			q.text[used++] = ',';
		q.text[used++] = *path;
	}
	q.text[used] = '\0';
	return q;
}

static void add_machine(struct argv *argv, const struct plan *plan, const struct vm *vm)
{
	const char *flash = vm->firmware == VM_FW_UEFI ? ",pflash0=fw-code,pflash1=fw-vars" : "";

	add(argv, "-name", "%s,debug-threads=on", vm->name);
	add_copy(argv, "-no-user-config");
	add_copy(argv, "-nodefaults");
	if (plan->sandbox)
		add(argv, "-sandbox",
		    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=%s",
		    plan->sandbox_resources ? "deny" : "allow");
	add(argv, "-machine", "%s%s", vm->machine, flash);
	add(argv, "-accel", "%s", plan->accel == PLAN_KVM ? "kvm" : "tcg");
	add(argv, "-cpu", "%s", plan->cpu);
	add(argv, "-m", "%" PRIu64 "M", vm->ram_bytes >> 20);
	add(argv, "-smp", "%" PRIu32 ",sockets=1,cores=%" PRIu32 ",threads=1", vm->cpus, vm->cpus);
	add(argv, "-uuid", "%s", vm->uuid);
	add(argv, "-rtc", "base=%s", vm->os == VM_OS_WINDOWS ? "localtime" : "utc");
	add(argv, "-boot", "strict=on");
}

static void add_firmware(struct argv *argv, const struct plan *plan, const struct argv_paths *paths)
{
	if (!plan->firmware_code)
		return;
	add(argv, "-blockdev",
	    "driver=raw,node-name=fw-code,read-only=on,file.driver=file,"
	    "file.filename=%s",
	    quote(plan->firmware_code).text);
	add(argv, "-blockdev", "driver=raw,node-name=fw-vars,file.driver=file,file.filename=%s",
	    quote(paths->firmware_vars).text);
}

static void add_disk_device(struct argv *argv, const struct plan *plan, const struct vm *vm)
{
	const char *errors = plan->stop_on_error ? ",rerror=stop,werror=stop" : "";
	const char *thread = plan->iothread ? ",iothread=io0" : "";
	/* Blocks of the engine, so that guests align to them. */
	const char *drive = "drive=" ARGV_DISK_NODE ",bootindex=1,logical_block_size=512,"
			    "physical_block_size=4096";

	switch (vm->bus) {
	case VM_BUS_VIRTIO_BLK:
		add(argv, "-device",
		    "virtio-blk-pci,id=root,addr=2,%s,num-queues=%u,queue-size=%u%s%s", drive,
		    plan->queues, plan->queue_entries, errors, thread);
		break;
	case VM_BUS_VIRTIO_SCSI:
		add(argv, "-device", "virtio-scsi-pci,id=scsi,addr=2,num_queues=%u%s", plan->queues,
		    thread);
		add(argv, "-device", "scsi-hd,id=root,bus=scsi.0,%s%s", drive, errors);
		break;
	case VM_BUS_NVME:
		add(argv, "-device", "nvme,id=root,addr=2,serial=%.20s,%s", vm->uuid, drive);
		break;
	case VM_BUS_SATA:
		add(argv, "-device", "ide-hd,id=root,bus=ide.0,%s%s", drive, errors);
		break;
	case VM_BUS_USB:
		add(argv, "-device", "usb-storage,id=root,bus=usb.0,port=1,%s%s", drive, errors);
		break;
	}
}

static void add_disk(struct argv *argv, const struct plan *plan, const struct vm *vm,
		     const struct argv_paths *paths)
{
	if (plan->iothread)
		add(argv, "-object", "iothread,id=io0");
	add(argv, "-blockdev",
	    "driver=file,node-name=disk0-file,cache.direct=on,cache.no-flush=off,aio=%s,"
	    "discard=unmap,filename=%s",
	    plan->aio == PLAN_IO_URING ? "io_uring" : "threads", quote(paths->disk).text);
	add(argv, "-blockdev",
	    "driver=raw,node-name=" ARGV_DISK_NODE ",cache.direct=on,discard=unmap,"
	    "detect-zeroes=off,file=disk0-file");
	add_disk_device(argv, plan, vm);
}

/*
 * On the VM's bus, behind everything that has its place. What it holds is worth nothing after the
 * session, so flushes are not waited for; its errors are the guest's own business, and never stop
 * the VM. -add-fd: scratch.c.
 */
static void add_scratch(struct argv *argv, const struct plan *plan, const struct vm *vm)
{
	const char *drive = "drive=scratch,serial=scratch,logical_block_size=512,"
			    "physical_block_size=4096";
	const char *errors = "rerror=report,werror=report";

	if (!plan->scratch_bytes)
		return;
	add(argv, "-add-fd", "fd=%d,set=1", SCRATCH_FD);
	add(argv, "-blockdev",
	    "driver=raw,node-name=scratch,discard=unmap,detect-zeroes=unmap,cache.no-flush=on,"
	    "file.driver=file,file.aio=threads,file.discard=unmap,file.locking=off,"
	    "file.filename=/dev/fdset/1");
	switch (vm->bus) {
	case VM_BUS_VIRTIO_BLK:
		add(argv, "-device", "virtio-blk-pci,id=scratch,addr=7,%s,num-queues=1,%s", drive,
		    errors);
		break;
	case VM_BUS_VIRTIO_SCSI:
		add(argv, "-device", "scsi-hd,id=scratch,bus=scsi.0,scsi-id=1,%s,%s", drive,
		    errors);
		break;
	case VM_BUS_NVME:
		add(argv, "-device", "nvme,id=scratch,addr=7,%s", drive);
		break;
	case VM_BUS_SATA:
		add(argv, "-device", "ide-hd,id=scratch,bus=ide.2,%s,%s", drive, errors);
		break;
	case VM_BUS_USB:
		add(argv, "-device", "usb-storage,id=scratch,bus=usb.0,port=3,%s,%s", drive,
		    errors);
		break;
	}
}

/*
 * An ISO is the installer's, on a bus that every installer sees. A read that fails as its stick is
 * pulled stops the VM and is done again (run_cd.c): SCSI can, but QEMU's AHCI aborts when it shall
 * do an ATAPI command again.
 */
static void add_cdrom(struct argv *argv, const struct argv_paths *paths)
{
	add(argv, "-device", "usb-bot,id=cdbus,bus=usb.0,port=4");
	if (paths->iso) {
		add(argv, "-blockdev",
		    "driver=raw,node-name=" ARGV_CD_NODE
		    ",read-only=on,file.driver=file,file.filename=%s",
		    quote(paths->iso).text);
		add(argv, "-device",
		    "scsi-cd,id=cd,bus=cdbus.0,drive=" ARGV_CD_NODE ",bootindex=2,rerror=stop");
	} else {
		add(argv, "-device", "scsi-cd,id=cd,bus=cdbus.0");
	}
}

static void add_network(struct argv *argv, const struct plan *plan, const struct vm *vm)
{
	if (plan->ssh_port)
		add(argv, "-netdev", "user,id=net0,hostfwd=tcp:127.0.0.1:%u-:22", plan->ssh_port);
	else
		add(argv, "-netdev", "user,id=net0");
	/* No boot ROM: a host may not have the file. */
	add(argv, "-device", "virtio-net-pci,id=net,addr=3,netdev=net0,romfile=,mac=%s", vm->mac);
}

static void add_serial(struct argv *argv, const struct plan *plan, const struct argv_paths *paths)
{
	switch (plan->serial) {
	case PLAN_SERIAL_NULL:
		add(argv, "-chardev", "null,id=serial0");
		break;
	case PLAN_SERIAL_STDIO:
		add(argv, "-chardev", "socket,id=serial0,path=%s", quote(paths->serial).text);
		break;
	case PLAN_SERIAL_FILE:
		add(argv, "-chardev", "file,id=serial0,path=%s", quote(plan->serial_file).text);
		break;
	}
	add(argv, "-device", "isa-serial,id=serial,chardev=serial0");
}

static void add_channels(struct argv *argv, const struct argv_paths *paths)
{
	add(argv, "-chardev", "socket,id=qmp,path=%s", quote(paths->qmp).text);
	add(argv, "-mon", "chardev=qmp,mode=control");
	add(argv, "-chardev", "socket,id=agent,server=on,wait=off,path=%s",
	    quote(paths->agent).text);
	add(argv, "-device", "virtio-serial-pci,id=vserial,addr=5,max_ports=8");
	add(argv, "-device",
	    "virtserialport,bus=vserial.0,nr=1,chardev=agent,name=org.qemu.guest_agent.0");
	add(argv, "-object", "rng-random,id=rng0,filename=/dev/urandom");
	add(argv, "-device", "virtio-rng-pci,id=rng,addr=6,rng=rng0");
}

static void add_screen(struct argv *argv, const struct plan *plan, const struct argv_paths *paths)
{
	/* Closing the window would pull the plug. */
	static const char *const names[] = {
		[PLAN_NO_DISPLAY] = "none",
		[PLAN_GTK] = "gtk,window-close=off",
		[PLAN_SDL] = "sdl,window-close=off",
		[PLAN_VNC] = "none",
		[PLAN_SPICE] = "none",
	};

	add(argv, "-device", "VGA,id=vga,addr=1");
	add(argv, "-device", "usb-tablet,id=tablet,bus=usb.0,port=2");
	add(argv, "-display", "%s", names[plan->display]);
	if (plan->display == PLAN_VNC)
		add(argv, "-vnc", "unix:%s", quote(paths->screen).text);
	else if (plan->display == PLAN_SPICE)
		add(argv, "-spice", "unix=on,disable-ticketing=on,addr=%s",
		    quote(paths->screen).text);
}

void argv_build(const struct plan *plan, const struct vm *vm, const struct argv_paths *paths,
		const char *const *extra, size_t extra_count, struct argv *ret_argv)
{
	struct argv argv = {0};

	add_copy(&argv, plan->qemu);
	add_machine(&argv, plan, vm);
	add_firmware(&argv, plan, paths);
	add(&argv, "-device", "qemu-xhci,id=usb,addr=4");
	add_disk(&argv, plan, vm, paths);
	add_scratch(&argv, plan, vm);
	add_cdrom(&argv, paths);
	add_network(&argv, plan, vm);
	add_serial(&argv, plan, paths);
	add_channels(&argv, paths);
	add_screen(&argv, plan, paths);
	if (paths->incoming)
		add(&argv, "-incoming", "defer");
	for (size_t i = 0; i < extra_count; i++)
		add_copy(&argv, extra[i]);
	*ret_argv = argv;
}

void argv_free(struct argv *argv)
{
	for (size_t i = 0; i < argv->count; i++)
		free(argv->items[i]);
	free(argv->items);
	memset(argv, 0, sizeof *argv);
}

/* In single quotes where a shell would take it for anything but one word. */
static void print_word(FILE *out, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-+=,./:@%";

	if (*word && word[strspn(word, plain)] == '\0') {
		fputs(word, out);
		return;
	}
	fputc('\'', out);
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", out);
		else
			fputc(*word, out);
	fputc('\'', out);
}

char *argv_to_text(const struct argv *argv)
{
	char *text = NULL;
	size_t text_bytes = 0;
	FILE *out = open_memstream(&text, &text_bytes);

	if (!out)
		return NULL;
	for (size_t i = 0; i < argv->count; i++) {
		if (i > 0)
			fputs(argv->items[i][0] == '-' ? " \\\n\t" : " ", out);
		print_word(out, argv->items[i]);
	}
	fputc('\n', out);
	return fclose(out) == 0 ? text : NULL;
}
