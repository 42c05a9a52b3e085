/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qemu.h: a qemu-nbd of our own, started for one image, and the socket it serves. */
#ifndef STORAGE_SOURCE_QEMU_H
#define STORAGE_SOURCE_QEMU_H

#include <sys/types.h>

#include "source_impl.h"

struct qemu_process {
	pid_t pid;
	int said_fd; /* what it wrote to standard error, in memory */
};

/*
 * Starts the program at `path` with `argv` so that it serves the other end of the connected socket
 * `ret_socket` (systemd's socket activation). Nothing is left on any file system, and the process
 * ends by itself when the socket is closed, however this one ends.
 */
int qemu_process_start(const char *path, const char *const argv[], struct qemu_process *ret_process,
		       int *ret_socket, struct sv_source_error *err);
/* Ends and reaps it. What it said last, without names and JSON, goes to `text` (may be NULL). */
void qemu_process_end(struct qemu_process *process, char *text, size_t text_size);

/* The path of `name` along $PATH, to be freed; NULL: not there. A name with a slash is taken as
 * it is, if it can be executed. */
char *qemu_program_find(const char *name);

#endif
