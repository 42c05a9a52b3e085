/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick.h: the stick: where it is, its identity and life-long ledger, the VMs on it. */
#ifndef LAUNCHER_STICK_H
#define LAUNCHER_STICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "ledger.h"
#include "measured.h"
#include "stickvm/history.h"
#include "vm.h"

/*
 * On the stick, below the folder where it is mounted:
 *	stickvm/stick.yaml       identity, measured geometry, ledger (this file)
 *	stickvm/vms/NAME/vm.yaml a VM's settings (vm.h)
 *	stickvm/vms/NAME/disk/   its store (stickvm/place.h)
 * The ledger has an entry for each store that ever lived on the stick, by its id, as of the last
 * reading; those of deleted VMs are summed up under "deleted". So the stick's total is the sum
 * of all entries, whatever became of the VMs.
 */
struct stick_entry {
	char id[40]; /* the store's id in hex, or "deleted" */
	char vm[72]; /* the VM's name when it was last seen */
	struct sv_ledger ledger;
	struct sv_history *history; /* of a store that is deleted, or being so; NULL: none here */
};

struct stick {
	char *dir; /* absolute; where the stick is mounted */
	char *uuid;
	uint64_t created_s;
	uint32_t page_bytes; /* measured; 0: not yet */
	uint32_t erase_bytes;
	uint32_t open_units;
	struct measured measured; /* by the newest probe; at_s 0: none */
	struct measured_history history;
	struct stick_entry *entries;
	size_t entry_count;
};

/*
 * Finds the stick as the contract says: `option` (--stick; may be NULL), $STICKVM_STICK, the
 * stick that the program was started from, the only plugged-in one that was prepared. Reads its
 * identity. EXIT_NO_STICK where there is none, with the candidates in the text.
 * On success the struct is the caller's: stick_free.
 */
int stick_open(const char *option, struct stick *ret_stick, struct err *err);
/* The last of these alone; `mountinfo` is "/proc/self/mountinfo" but in tests. */
int stick_open_plugged(const char *mountinfo, struct stick *ret_stick, struct err *err);
/* The stick in this folder and no other. */
int stick_load(const char *dir, struct stick *ret_stick, struct err *err);
void stick_free(struct stick *stick);

/*
 * Prepares a folder: layout and identity. Where that is there already nothing is written, and
 * *ret_fresh is false. A failure half-way removes what was made.
 */
int stick_init(const char *dir, struct stick *ret_stick, bool *ret_fresh, struct err *err);

/* Names of the VMs, sorted; the caller frees each and the array (stick_names_free). */
int stick_vms(const struct stick *stick, char ***ret_names, size_t *ret_count, struct err *err);
void stick_names_free(char **names, size_t count);

/* The name of the VM that is meant: `name` (may be NULL: the only one there is), which must
 * exist. The caller frees it. EXIT_FAILED, with the VMs that there are in the text. */
int stick_pick(const struct stick *stick, const char *name, char **ret_name, struct err *err);

/* ".../stickvm/vms/NAME" plus "/FILE" where that is not NULL. The caller frees it. */
char *stick_vm_path(const struct stick *stick, const char *name, const char *file);

/*
 * 0 where a VM's folder (`name`; "": that of all VMs; NULL: the stick's own) lies on the stick, or
 * nothing is there. A stick may come from anyone: a link in place of a folder would have files of
 * the host read, and written.
 */
int stick_holds(const struct stick *stick, const char *name, struct err *err);

/*
 * Takes a store's counters into the stick's ledger: reads stick.yaml anew under a lock, raises
 * the entry of `id`, writes it. `deleted`: the entry is summed up under "deleted" instead.
 */
int stick_note(struct stick *stick, const uint8_t id[SV_STORE_ID_BYTES], const char *vm,
	       const struct sv_ledger *ledger, bool deleted, struct err *err);
/* Takes a probe's figures in the same way; sizes and units that are 0 leave what is known. */
struct stick_geometry {
	uint32_t page_bytes, erase_bytes, open_units;
};
int stick_note_probe(struct stick *stick, const struct measured *measured,
		     const struct stick_geometry *geometry, struct err *err);
/* As stick_note, when the store is about to go: its history (may be NULL) is kept here, too, and
 * with `deleted` added to that of the others. */
int stick_note_last(struct stick *stick, const uint8_t id[SV_STORE_ID_BYTES], const char *vm,
		    const struct sv_ledger *ledger, const struct sv_history *history, bool deleted,
		    struct err *err);
/* As stick_note, in memory only: for a report on a stick that cannot be written. */
int stick_note_memory(struct stick *stick, const char *id, const char *vm,
		      const struct sv_ledger *ledger);
void stick_id_text(const uint8_t id[SV_STORE_ID_BYTES], char ret_text[40]);

/* The size of the whole device that holds the stick, or of its file system where no device is
 * visible; 0: unknown. */
uint64_t stick_capacity(const char *dir);
/* The size of its file system, and what is free on it; 0: unknown. */
uint64_t stick_fs_bytes(const char *dir);
uint64_t stick_free_bytes(const char *dir);

/* A stick that is plugged in, prepared or not; found through udev. */
struct plugged {
	char *node;	 /* "/dev/sdb1" */
	char *model;	 /* "SanDisk Extreme" */
	char *fs;	 /* "exfat"; NULL: none known */
	char *label;	 /* NULL: none */
	char *mount_dir; /* NULL: not mounted */
	uint64_t size_bytes;
	bool prepared;
};
/* Partitions (or whole devices without any) of USB mass storage. `mountinfo` is
 * "/proc/self/mountinfo" but in tests. 0 or a negative errno. The caller: plugged_free. */
int plugged_list(const char *mountinfo, struct plugged **ret_list, size_t *ret_count);
void plugged_free(struct plugged *list, size_t count);
/* A name of a block device that a re-plug does not change (/dev/disk/by-partuuid/...), else
 * `node` itself. The caller frees it. */
char *plugged_stable_name(const char *node);
/* Whether the folder is the root of a prepared stick. */
bool stick_prepared(const char *dir);

#endif
