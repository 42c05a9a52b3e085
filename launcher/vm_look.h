/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_look.h: what a short look at a VM's disk tells, and warnings where room runs out. */
#ifndef LAUNCHER_VM_LOOK_H
#define LAUNCHER_VM_LOOK_H

#include <stddef.h>

#include "stick.h"
#include "vm.h"

/* From this share on it is warned: of what a disk may take, and of the stick's file system. */
enum { VM_LOOK_WARN_PERCENT = 90 };

struct vm_look {
	const char *state;	 /* "stopped", "in use", "damaged", "missing", "unreadable" */
	uint64_t used_bytes;	 /* on the stick; 0: unknown */
	uint64_t capacity_bytes; /* what it may take there, growth included; 0: unknown */
	uint64_t rot_blocks;	 /* found by a session while nobody read them */
	uint64_t rot_off_bytes;	 /* the first of them, in the disk */
};

/* Opens the disk for reading; a running VM's session is asked instead. */
struct vm_look vm_look(const struct stick *stick, const struct vm *vm);

/* How much of it is used, 0 where unknown. */
unsigned vm_look_percent(uint64_t used_bytes, uint64_t capacity_bytes);

/* Puts a warning into `text` where the disk is nearly full; false: it is not. */
bool vm_look_warn_disk(const char *name, uint64_t used_bytes, uint64_t capacity_bytes, char *text,
		       size_t text_bytes);
/* The same for the file system of the stick. */
bool vm_look_warn_stick(const char *dir, char *text, size_t text_bytes);
/* What was found to have rotted, in one line. */
const char *vm_look_rot_text(const char *name, uint64_t rot_blocks, uint64_t rot_off_bytes,
			     char *text, size_t text_bytes);

#endif
