/* SPDX-License-Identifier: GPL-2.0-or-later */
/* consent.h: what a stick's settings may name on this host: files of its own, or agreed to here. */
#ifndef LAUNCHER_CONSENT_H
#define LAUNCHER_CONSENT_H

#include "opts.h"
#include "stick.h"
#include "vm.h"

/*
 * Whether the VM's disk may be opened where its settings say: below the stick's folder, on another
 * partition of the same device, or at a place that was agreed to on this host. -1 with err
 * (EXIT_FAILED). Every opening of a disk goes through this; it asks nobody.
 */
int consent_disk(const struct stick *stick, const struct vm *vm, struct err *err);

/* The same for a VM's disk and CD-ROM, where there is somebody to ask: asks on a terminal, or
 * agrees where the verb was given --allow-outside. `iso` is its path, or NULL: it is not opened. */
int consent_ask(const struct args *args, const struct stick *stick, const struct vm *vm,
		const char *iso, struct err *err);

/* What a user has just named on this host is agreed to: place or ISO of the settings, as far as
 * they lie off the stick. A failure to remember it is no failure of the verb: it will be asked
 * again. */
void consent_remember(const struct stick *stick, const struct vm *vm, bool place, bool iso);

#endif
