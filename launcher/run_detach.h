/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_detach.h: a session in the background, whose start is waited for. */
#ifndef LAUNCHER_RUN_DETACH_H
#define LAUNCHER_RUN_DETACH_H

#include "err.h"

/*
 * Forks. In the parent: waits until the child says how it started, and returns 1 with the exit
 * status (and `err`, where it is not EXIT_DONE). In the child: returns 0, in a session of its
 * own, with standard input and output on /dev/null; it calls run_detached exactly once, or ends.
 * -1 when there can be no child.
 */
int run_detach(enum exit_status *ret_status, int *ret_fd, struct err *err);

/* In the child: tells the parent how it started (`err` NULL: well), and closes `fd`. From then on
 * standard error goes to `log`, a file that is made for this user alone. */
void run_detached(int fd, const struct err *err, const char *log);

#endif
