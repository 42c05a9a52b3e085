/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm.h: a VM's settings: its machine, fixed at create and changed only by set. */
#ifndef LAUNCHER_VM_H
#define LAUNCHER_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/*
 * The VM's name is the name of its folder, and is not in the file.
 * On the stick: stickvm/vms/NAME/vm.yaml (this), stickvm/vms/NAME/disk/ (the store, see
 * stickvm/place.h), stickvm/vms/NAME/ (firmware variables, a copied ISO).
 * All strings are owned by the struct; NULL means "not set".
 */
enum vm_os { VM_OS_LINUX, VM_OS_WINDOWS, VM_OS_OTHER };
enum vm_bus { VM_BUS_VIRTIO_BLK, VM_BUS_VIRTIO_SCSI, VM_BUS_NVME, VM_BUS_SATA, VM_BUS_USB };
enum vm_firmware { VM_FW_BIOS, VM_FW_UEFI };
enum vm_cpu { VM_CPU_ROAM, VM_CPU_ROAM_V3, VM_CPU_HOST };
enum vm_policy { VM_POLICY_STICK, VM_POLICY_HOST };

struct vm {
	char *name;
	char *uuid;    /* of the machine, canonical text */
	char *mac;     /* "52:54:00:xx:xx:xx" */
	char *machine; /* QEMU's versioned name, "pc-q35-7.2" */
	enum vm_os os;
	enum vm_bus bus; /* of the root disk */
	enum vm_firmware firmware;
	enum vm_cpu cpu;
	enum vm_policy policy;
	uint64_t ram_bytes;
	uint32_t cpus;
	uint16_t ssh_port;	/* forwarded on loopback */
	uint64_t size_bytes;	/* of the root disk */
	char *place;		/* a raw partition or device; NULL: the folder disk/ beside this */
	uint64_t scratch_bytes; /* of a disk on the host for swap and temporary files; 0: none */
	char *cache;		/* on the host's disk: "auto", "off" or a size; NULL: auto */
	char *iso;		/* absolute, or relative to the VM's folder; NULL: none */
	uint64_t created_s;	/* Unix time */
};

/* Parses and checks a settings file; an error names file, line and what is allowed.
 * On success the strings in `ret_vm` are the caller's: vm_free. */
int vm_load(const char *path, struct vm *ret_vm, struct err *err);
/* Writes it whole or not at all (new file, fsync, rename). Where the file is there already, its
 * comments, order and layout are kept and only the values that changed are replaced. */
int vm_save(const char *path, const struct vm *vm, struct err *err);

/* Sets one setting by its name in the file, checked like the file. `fixed` settings (size, uuid)
 * are refused with what to do instead. An empty value clears a setting that may be absent. */
int vm_set(struct vm *vm, const char *key, const char *value, struct err *err);

/* One setting as the file holds it; -ENOENT past the last, -ENODATA where it is not set. `index`
 * counts from 0. Both texts are written in full or cut to the buffers. */
struct vm_setting {
	char key[16];
	char value[4096];
	const char *allowed; /* what may stand there, for a person */
	bool fixed;	     /* set refuses it */
};
int vm_get(const struct vm *vm, unsigned index, struct vm_setting *ret_setting);
/* The words of the enums, as the file and the options have them. */
const char *vm_os_text(enum vm_os os);
const char *vm_bus_text(enum vm_bus bus);
const char *vm_firmware_text(enum vm_firmware firmware);
const char *vm_cpu_text(enum vm_cpu cpu);
const char *vm_policy_text(enum vm_policy policy);

/* The setting `cache`: *ret_auto, or at most so many bytes (0: off). -EINVAL. */
int vm_cache_parse(const char *text, bool *ret_auto, uint64_t *ret_bytes);

/* Takes an emptied struct as well. */
void vm_free(struct vm *vm);

/* 0 where `name` can name a VM: 1 to 64 of [A-Za-z0-9._-], not starting with '.' or '-'. */
int vm_name_check(const char *name, struct err *err);

#endif
