/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk_make.h: a new VM's files on the stick: its disk, what is imported into it, its ISO. */
#ifndef LAUNCHER_DISK_MAKE_H
#define LAUNCHER_DISK_MAKE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "stick.h"
#include "stickvm/source.h"
#include "ui.h"
#include "vm.h"

/*
 * A VM in the making. Its folder is made first and its settings are written last, so one that is
 * not complete is no VM. Until then disk_make_undo takes away what was made, and nothing else.
 *
 * SIGINT, SIGTERM and SIGHUP are blocked meanwhile and looked at between two requests: no
 * handler, no global, and nothing half-made stays behind.
 */
struct disk_make {
	struct stick *stick;
	const struct vm *vm;
	char *folder; /* .../vms/NAME */
	char *place;  /* of the disk */
	bool made_folder;
	bool made_place;
	atomic_bool cancel;
	sigset_t signals;
	struct ui_progress progress;
};

/* Makes the VM's folder. EXIT_FAILED where there is one of that name. The caller calls
 * disk_make_undo (on failure) and disk_make_free in any case. */
int disk_make_start(struct disk_make *dm, struct stick *stick, const struct vm *vm,
		    struct err *err);

/* Makes the disk, imports `source` (may be NULL) into it and closes it. `from` is the image's
 * name for messages. */
int disk_make_disk(struct disk_make *dm, struct sv_source *source, const char *from,
		   struct err *err);

/* Copies a file into the VM's folder as `name`. */
int disk_make_copy(struct disk_make *dm, const char *from, const char *name, struct err *err);

void disk_make_undo(struct disk_make *dm);
void disk_make_free(struct disk_make *dm);

#endif
