/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_create.c: `create`: a new VM, its machine fixed from now on. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "consent.h"
#include "disk_make.h"
#include "file.h"
#include "ident.h"
#include "size.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"

#define DEFAULT_BYTES (UINT64_C(64) << 30)

/*
 * Every QEMU from 7.2 on (Debian 12) has this machine, and none may take it away for years: what
 * is created on a new host still runs on an older one.
 */
#define DEFAULT_MACHINE "pc-q35-7.2"

/* Ports for the guests' ssh: above the well-known ones, below those that Linux hands out. */
#define FIRST_PORT 20000
#define LAST_PORT 31999

/* Whether this host has what the model roam-v3 needs. */
static bool host_is_v3(void)
{
#if defined(__x86_64__)
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") &&
	       __builtin_cpu_supports("fma");
#else
	return false;
#endif
}

/* A port that no other VM of the stick has. */
static uint16_t free_port(const struct stick *stick)
{
	char **names = NULL;
	size_t count = 0;
	struct err ignored;
	uint32_t port = ident_number(FIRST_PORT, LAST_PORT);

	if (stick_vms(stick, &names, &count, &ignored) < 0)
		return (uint16_t)port;
	for (size_t i = 0; i < count; i++) {
		struct vm other;

		if (vm_pick_load(stick, names[i], &other, &ignored) < 0)
			continue;
		if (other.ssh_port == port) { /* from the first VM again, with the next one */
			port = port == LAST_PORT ? FIRST_PORT : port + 1;
			i = (size_t)-1;
		}
		vm_free(&other);
	}
	stick_names_free(names, count);
	return (uint16_t)port;
}

/* A setting that an option gives in the file's own words; checked like the file. */
static int set_word(struct vm *vm, const struct args *args, const char *opt, const char *fallback,
		    struct err *err)
{
	return vm_set(vm, opt, args_text(args, opt, fallback), err);
}

static int fill_machine(struct vm *vm, const struct args *args, const struct stick *stick,
			struct err *err)
{
	bool windows = strcmp(args_text(args, "os", "linux"), "windows") == 0;

	vm->name = strdup(args_operand(args, 0));
	vm->uuid = ident_uuid();
	vm->mac = ident_mac();
	vm->created_s = (uint64_t)time(NULL);
	vm->ssh_port = free_port(stick);
	if (!vm->name || !vm->uuid || !vm->mac)
		return err_set(err, EXIT_FAILED, "out of memory");
	if (vm_set(vm, "machine", DEFAULT_MACHINE, err) < 0 ||
	    set_word(vm, args, "os", "linux", err) < 0 ||
	    set_word(vm, args, "cpu", host_is_v3() ? "roam-v3" : "roam", err) < 0 ||
	    set_word(vm, args, "cpus", "2", err) < 0 || set_word(vm, args, "ram", "4G", err) < 0 ||
	    set_word(vm, args, "bus", windows ? "sata" : "virtio-blk", err) < 0 ||
	    set_word(vm, args, "firmware", windows ? "uefi" : "bios", err) < 0)
		return -1;
	return 0;
}

static int check_size(uint64_t bytes, const char *whose, struct err *err)
{
	if (bytes % 512 != 0)
		return err_set(err, EXIT_USAGE,
			       "%s: %llu bytes are not a multiple of 512; choose "
			       "a size that is",
			       whose, (unsigned long long)bytes);
	if (bytes < SV_MIN_DISK_BYTES || bytes > SV_MAX_DISK_BYTES)
		return err_set(err, EXIT_USAGE,
			       "%s: %llu bytes cannot be a disk; allowed: 1M to "
			       "16T",
			       whose, (unsigned long long)bytes);
	return 0;
}

/* The image's size, which a larger --size grows; without an image --size or 64G. */
static int fill_size(struct vm *vm, const struct args *args, const struct sv_source *source,
		     struct err *err)
{
	uint64_t least = source ? source->size_bytes : 0;
	char a[32], b[32];

	if (source && least < SV_MIN_DISK_BYTES)
		least = SV_MIN_DISK_BYTES;
	vm->size_bytes = args_size(args, "size", source ? least : DEFAULT_BYTES);
	if (check_size(vm->size_bytes, args_has(args, "size") ? "--size" : "--from", err) < 0)
		return -1;
	if (vm->size_bytes < least)
		return err_set(err, EXIT_USAGE,
			       "--size: %s is less than the image's %s; leave it "
			       "out, or give more",
			       size_exact(vm->size_bytes, a, sizeof(a)),
			       size_exact(least, b, sizeof(b)));
	return 0;
}

/* The name of the copied ISO on the stick: its own where every file system takes it. */
static const char *iso_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	struct err ignored;

	if (vm_name_check(name, &ignored) < 0 || strcmp(name, "disk") == 0 ||
	    strncmp(name, "vm.yaml", 7) == 0)
		return "cd.iso";
	return name;
}

static int fill_iso(struct vm *vm, const struct args *args, struct err *err)
{
	const char *path = args_text(args, "iso", NULL);
	struct stat st;
	char *full;
	int rc;

	if (!path && args_has(args, "iso-link"))
		return err_set(err, EXIT_USAGE, "--iso-link: there is no --iso; name one");
	if (!path)
		return 0;
	full = realpath(path, NULL);
	if (!full || stat(full, &st) < 0 || access(full, R_OK) < 0) {
		rc = err_set(err, EXIT_FAILED, "%s: cannot be read: %s; nothing was made", path,
			     strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		rc = err_set(err, EXIT_FAILED, "%s: not an ISO image; name a file that is one",
			     path);
	} else {
		rc = vm_set(vm, "iso", args_has(args, "iso-link") ? full : iso_name(path), err);
	}
	free(full);
	return rc;
}

/* A partition or device (or a file that stands for one), which nobody may be using. */
static int fill_place(struct vm *vm, const struct args *args, struct err *err)
{
	const char *path = args_text(args, "place", NULL);
	struct stat st;
	int fd;

	if (!path)
		return 0;
	if (stat(path, &st) < 0)
		return err_set(err, EXIT_NO_STICK, "%s: %s; plug it in", path, strerror(errno));
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
		return err_set(err, EXIT_USAGE,
			       "%s: not a partition or device; without --place "
			       "the disk lies in files on the stick",
			       path);
	fd = open(path, O_RDWR | O_CLOEXEC | (S_ISBLK(st.st_mode) ? O_EXCL : 0));
	if (fd < 0 && errno == EBUSY)
		return err_set(err, EXIT_LOCKED, "%s: is in use; unmount it first", path);
	if (fd < 0)
		return err_set(err, EXIT_FAILED, "%s: cannot be opened: %s; %s", path,
			       strerror(errno), file_advice(-errno));
	close(fd);
	vm->place = plugged_stable_name(path);
	return vm->place ? 0 : err_set(err, EXIT_FAILED, "%s: %s", path, strerror(errno));
}

static int ask_place(const struct vm *vm, const struct args *args, struct err *err)
{
	char question[256];

	if (!vm->place || args_has(args, "yes"))
		return 0;
	if (!ui_interactive())
		return err_set(err, EXIT_USAGE,
			       "--place: everything on %s would be lost, and "
			       "there is nobody to ask; add --yes",
			       vm->place);
	snprintf(question, sizeof(question), "Everything on %s will be lost. Go on?", vm->place);
	return ui_ask(question)
		       ? 0
		       : err_set(err, EXIT_FAILED, "%s: not done; nothing was changed", vm->name);
}

static int open_source(const struct args *args, struct sv_source **ret_source, struct err *err)
{
	const char *path = args_text(args, "from", NULL);
	struct sv_source_error why = {""};
	int rc;

	*ret_source = NULL;
	if (!path)
		return 0;
	rc = sv_source_open(path, NULL, ret_source, &why);
	if (rc == 0)
		return 0;
	*ret_source = NULL;
	return err_set(err, rc == -EBUSY ? EXIT_LOCKED : EXIT_FAILED, "%s: %s", path,
		       why.text[0] ? why.text : strerror(-rc));
}

static void warn_size(const struct args *args, const struct vm *vm, const struct stick *stick)
{
	uint64_t has = vm->place ? 0 : stick_fs_bytes(stick->dir);
	char a[32], b[32];

	if (has > 0 && vm->size_bytes > has)
		ui_warn(args,
			"%s: the disk has %s, the stick only %s; when that is used up the "
			"guest's writes fail",
			vm->name, size_human(vm->size_bytes, a, sizeof(a)),
			size_human(has, b, sizeof(b)));
}

/* The files on the stick: the settings last, since they make it a VM. */
static int make_files(struct disk_make *dm, const struct args *args, struct sv_source *source,
		      struct err *err)
{
	const char *iso = args_text(args, "iso", NULL);
	char *settings;
	int rc;

	if (disk_make_disk(dm, source, args_text(args, "from", NULL), err) < 0)
		return -1;
	if (iso && !args_has(args, "iso-link") && disk_make_copy(dm, iso, dm->vm->iso, err) < 0)
		return -1;
	settings = file_path("%s/vm.yaml", dm->folder);
	rc = settings ? vm_save(settings, dm->vm, err) : err_set(err, EXIT_FAILED, "out of memory");
	free(settings);
	return rc;
}

static int make(const struct args *args, struct stick *stick, const struct vm *vm,
		struct sv_source *source, struct err *err)
{
	struct disk_make dm;
	int rc;

	warn_size(args, vm, stick);
	rc = disk_make_start(&dm, stick, vm, err);
	if (rc == 0)
		rc = make_files(&dm, args, source, err);
	if (rc < 0)
		disk_make_undo(&dm);
	disk_make_free(&dm);
	return rc;
}

static int create(const struct args *args, struct stick *stick, struct vm *vm, struct err *err)
{
	struct sv_source *source = NULL;
	int rc = vm_name_check(args_operand(args, 0), err);

	if (rc == 0)
		rc = fill_machine(vm, args, stick, err);
	if (rc == 0)
		rc = fill_iso(vm, args, err);
	if (rc == 0)
		rc = fill_place(vm, args, err);
	if (rc == 0)
		rc = open_source(args, &source, err);
	if (rc == 0)
		rc = fill_size(vm, args, source, err);
	if (rc == 0)
		rc = ask_place(vm, args, err);
	if (rc == 0) {
		consent_remember(stick, vm, true, true);
		rc = make(args, stick, vm, source, err);
	}
	sv_source_close(source);
	return rc;
}

int cmd_create(const struct args *args)
{
	struct stick stick;
	struct vm vm = {0};
	struct err err;
	char size[32], ram[32];
	int rc;

	if (stick_open(args->stick, &stick, &err) < 0)
		return ui_fail(args, &err);
	rc = create(args, &stick, &vm, &err);
	if (rc == 0)
		printf("Created %s: a disk of %s, %s of memory, %u cores. Start it: stickvm run "
		       "%s\n",
		       vm.name, size_human(vm.size_bytes, size, sizeof(size)),
		       size_human(vm.ram_bytes, ram, sizeof(ram)), vm.cpus, vm.name);
	vm_free(&vm);
	stick_free(&stick);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
