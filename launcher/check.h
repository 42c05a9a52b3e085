/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check.h: what the parts of `check` share: ranges that are damaged, and whose files they are. */
#ifndef LAUNCHER_CHECK_H
#define LAUNCHER_CHECK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "stick.h"
#include "stickvm/repair.h"
#include "stickvm/store.h"
#include "vm.h"

/* Bytes [off, off + len) of the disk. */
struct check_range {
	uint64_t off_bytes, len_bytes;
};

/* ---- check_parts.c ---- */
#define CHECK_MOST_PARTS 64u
/* Where file systems may lie: partitions of an MBR or GPT, else the whole disk as number 0. */
struct check_part {
	unsigned number;
	uint64_t off_bytes, len_bytes;
};
typedef int check_read(void *ctx, void *buf, size_t len_bytes, uint64_t off_bytes);
/* Returns how many. What cannot be read or makes no sense is left out. */
unsigned check_parts(check_read *read, void *ctx, uint64_t disk_bytes,
		     struct check_part ret_parts[CHECK_MOST_PARTS]);
/* The block size of an ext2, 3 or 4 file system at this place; 0: there is none. */
unsigned check_ext_block_bytes(check_read *read, void *ctx, uint64_t off_bytes);

/* ---- check_names.c ---- */
/*
 * The files that lie on these ranges, of every ext2, 3 and 4 file system on the disk: an array of
 * {"partition", "path"}, the caller's. *ret_why: one clause where that could not be found out
 * (debugfs is missing, ...), else NULL; borrowed for ever. The store is open, read-only.
 */
json_t *check_names(struct sv_store *store, const struct check_range *ranges, size_t count,
		    const char **ret_why);

/* ---- check_repair.c ---- */
/*
 * Mends what a check found (`kinds`, of enum sv_finding_kind; or the store does not open): a
 * rebuild from the batches where the map or the chain needs it, else what opening for writing
 * renews. Nothing is done that would leave more blocks unreadable than `lost_bytes` now are.
 * *ret_text: what was done, for a person, the caller's; NULL: nothing. 0 or -1.
 */
struct check_repair_plan {
	unsigned kinds;
	bool opens;
	uint64_t lost_bytes; /* that give EIO now, for want of a map */
};
int check_repair(struct stick *stick, const struct vm *vm, const struct check_repair_plan *plan,
		 json_t *json, char **ret_text, struct err *err);

#endif
