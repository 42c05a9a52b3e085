/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_qemu.h: QEMU as a child process: started, its last words kept, waited for. */
#ifndef LAUNCHER_RUN_QEMU_H
#define LAUNCHER_RUN_QEMU_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"

enum { QEMU_WORDS_BYTES = 4096 };

struct run_qemu {
	pid_t pid;		      /* 0: not started, or waited for */
	int words_fd;		      /* its standard error, non-blocking; -1: ended */
	char words[QEMU_WORDS_BYTES]; /* the newest of it, NUL-terminated */
	size_t words_len;
	bool ended;
	int status; /* of waitpid, once ended */
};

/*
 * Starts it in a session of its own, so that a terminal's Ctrl-C does not reach it, with nothing
 * to read, its standard error kept here, and with every signal as usual. It is killed when the
 * calling thread ends. Standard output stays the caller's, and it keeps `kept_fd` (-1: none), open
 * under the same number.
 */
int run_qemu_start(char *const argv[], int kept_fd, struct run_qemu *ret_qemu, struct err *err);

/* Takes what it said since. */
void run_qemu_listen(struct run_qemu *qemu);

/* Whether it has ended; takes its last words then. Never blocks. */
bool run_qemu_ended(struct run_qemu *qemu);

/* SIGKILL. */
void run_qemu_kill(const struct run_qemu *qemu);

/* Whether it ended by itself with success. */
bool run_qemu_fine(const struct run_qemu *qemu);

/* "ended with status 1", "was killed by signal 9 (Killed)". */
void run_qemu_explain(const struct run_qemu *qemu, char *text, size_t text_bytes);

/* Closes what is open; the process must have ended. Takes an emptied struct. */
void run_qemu_free(struct run_qemu *qemu);

#endif
