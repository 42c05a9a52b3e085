/* SPDX-License-Identifier: GPL-2.0-or-later */
/* scratch.h: the scratch disk: a file of the host without a name, gone with its last user. */
#ifndef LAUNCHER_SCRATCH_H
#define LAUNCHER_SCRATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/*
 * The folder of this host where it can be: the first of $XDG_CACHE_HOME, ~/.cache, $TMPDIR and
 * /var/tmp that can be written, keeps data on a medium (not in memory) and is not on the stick
 * that is mounted on, or is, the folder `stick` (may be NULL). The caller frees it; NULL: there is
 * none. Writes nothing.
 */
char *scratch_folder(const char *stick, uint64_t *ret_free_bytes);

/*
 * Makes it: sparse, all zeros, and without a name, so that no crash leaves it behind. It is open
 * as the number SCRATCH_FD, closed on exec; whoever starts QEMU lets that one through.
 */
enum { SCRATCH_FD = 900 };
int scratch_make(const char *folder, uint64_t size_bytes, struct err *err);
/* Lets go of it; QEMU's own remains. Nothing where there is none. */
void scratch_close(void);

#endif
