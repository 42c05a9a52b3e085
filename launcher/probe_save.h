/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_save.h: what a test of capacity writes over, kept on this host until it is back. */
#ifndef LAUNCHER_PROBE_SAVE_H
#define LAUNCHER_PROBE_SAVE_H

#include "err.h"
#include "probe_fake.h"

/*
 * One file a stick, under $XDG_STATE_HOME/stickvm (else ~/.local/state/stickvm), named by what
 * the stick is known by. It is removed when everything is back; one that is there when a test
 * begins is of a run that was cut short.
 */
struct probe_save;

/* `name`: any text; what cannot be in a file name is replaced. -EEXIST: a run was cut short. */
int probe_save_open(const char *name, uint64_t size_bytes, uint64_t seed,
		    struct probe_save **ret_save);
/* For struct probe_saver. */
struct probe_saver probe_save_saver(struct probe_save *save);
/* Frees it; `done`: everything is back, and the file is removed. Takes NULL. */
void probe_save_close(struct probe_save *save, bool done);

/* Where the file of this stick is or would be; the caller frees it. */
char *probe_save_path(const char *name);
/* Whether a run was cut short. */
bool probe_save_pending(const char *name);
/* Puts back what that run wrote over, and removes the file. -ESTALE: it is of a stick of another
 * size; -EBADMSG: its end is missing, so nothing had been written to the stick: removed. */
int probe_save_restore(const char *name, uint64_t size_bytes, const struct probe_ops *ops,
		       void *ctx, uint64_t *ret_restored);

#endif
