/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err.h: what went wrong, for a person, and the exit status that says so to a script. */
#ifndef LAUNCHER_ERR_H
#define LAUNCHER_ERR_H

/* Exit statuses of the contract (cli.md). */
enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_STICK = 3,
	EXIT_DAMAGE = 4,
	EXIT_LOCKED = 5,
	EXIT_PASSPHRASE = 6,
	EXIT_NO_RESUME = 7,
	EXIT_INTERRUPTED = 130,
};

/*
 * Filled where the name of the file or thing is known; only cmd_*.c prints it, as one line
 * "stickvm VERB: what: why; what to do".
 */
struct err {
	enum exit_status status;
	char text[512]; /* "what: why; what to do" */
};

/* Fills `err` (printf-like) and returns -1, so that a caller can `return err_set(...)`. */
int err_set(struct err *err, enum exit_status status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
