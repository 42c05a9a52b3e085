/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv.h: from a plan and a VM's settings to QEMU's command line; pure. */
#ifndef LAUNCHER_ARGV_H
#define LAUNCHER_ARGV_H

#include <stddef.h>

#include "plan.h"
#include "vm.h"

/* A growing list of texts, NULL-terminated once there is one. Owned by whoever has the struct. */
struct argv {
	char **items;
	size_t count;
};

/* The files and sockets of a session; absolute. Those that the plan does not need may be NULL. */
struct argv_paths {
	const char *disk;	   /* the FUSE file */
	const char *firmware_vars; /* the session's copy of the VM's own */
	const char *iso;	   /* NULL: the CD-ROM drive is empty or absent */
	const char *qmp;	   /* stickvm listens on it; QEMU connects */
	const char *agent;	   /* QEMU listens on it; for the guest agent's users */
	const char *serial;	   /* stickvm listens on it under --serial stdio */
	const char *screen;	   /* QEMU listens on it for VNC or SPICE viewers */
	bool incoming;		   /* nothing starts: the machine comes through the monitor */
};

/* The name of the root disk's node in QEMU, which its events carry. */
#define ARGV_DISK_NODE "disk0"
/* And of what is in the CD-ROM drive. */
#define ARGV_CD_NODE "cd0"

/*
 * Builds the command line. `extra` are words from the user, appended as they are. The result is
 * the caller's: argv_free.
 */
void argv_build(const struct plan *plan, const struct vm *vm, const struct argv_paths *paths,
		const char *const *extra, size_t extra_count, struct argv *ret_argv);
void argv_free(struct argv *argv);

/* As one would type it into a shell, an option and its value on a line. The caller's. */
char *argv_to_text(const struct argv *argv);

#endif
