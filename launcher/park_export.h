/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_export.h: the disk of a parked VM as an image, also where others have gone on with it. */
#ifndef LAUNCHER_PARK_EXPORT_H
#define LAUNCHER_PARK_EXPORT_H

#include <stdint.h>

#include "err.h"
#include "stick.h"
#include "vm.h"

/*
 * Writes the disk as the VM that is parked on this host had it to the new file `path`: raw, with
 * holes where nothing is. Takes from the stick what both have in common, and the rest from the
 * parked state, which stays; writes nothing to the stick. Blocks that the stick no longer has are
 * zeros, and counted in *ret_bad.
 */
int park_export(const struct stick *stick, const struct vm *vm, const char *path, uint64_t *ret_bad,
		struct err *err);

#endif
