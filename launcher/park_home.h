/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_home.h: where a parked VM lies on this host, and what of it lies on its stick. */
#ifndef LAUNCHER_PARK_HOME_H
#define LAUNCHER_PARK_HOME_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "park_file.h"
#include "stick.h"
#include "vm.h"

/*
 * On the host, for the user who ran the VM: $XDG_DATA_HOME/stickvm/parked/, else
 * ~/.local/share/stickvm/parked/, mode 0700, with
 *	UUID.park	a parked state (park_file.h); it is there or not, never in part
 *	UUID.agreed	empty: its user agreed once that this VM may be kept here
 * On the stick, in the VM's folder:
 *	park.key	the key of its parked states, made at its first run, mode 0600
 *	parked		the id of the parked state that was written back and that alone has opened
 *			the disk for writing since (parked_vm.c)
 */
struct park_home {
	char *dir, *path, *agreed;
};

/* Makes nothing; EXIT_FAILED where there is no such folder. The caller frees it. */
int park_home_name(const char *uuid, struct park_home *ret_home, struct err *err);
void park_home_free(struct park_home *home); /* takes an emptied one */
/* Makes the folder, durable. */
int park_home_make(const struct park_home *home, struct err *err);
/* Whether this host keeps a parked state of the VM. */
bool park_home_holds(const char *uuid);
/* Whether its user agreed; notes that it was so. */
bool park_home_agreed(const struct park_home *home);
void park_home_agree(const struct park_home *home);

/* The VM's key, from its folder on the stick; made there where it is missing and `make`. */
int park_key_load(const struct stick *stick, const struct vm *vm, bool make,
		  uint8_t ret_key[PARK_KEY_BYTES], struct err *err);

/* The marker on the stick: sets it, durable; whether it is this id; takes it away. */
enum { PARK_ID_CHARS = 32 };
int park_marker_set(const struct stick *stick, const struct vm *vm, const char *id,
		    struct err *err);
bool park_marker_is(const struct stick *stick, const struct vm *vm, const char *id);
int park_marker_clear(const struct stick *stick, const struct vm *vm);

#endif
