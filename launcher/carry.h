/* SPDX-License-Identifier: GPL-2.0-or-later */
/* carry.h: what executes while a VM runs is taken off the stick first. */
#ifndef LAUNCHER_CARRY_H
#define LAUNCHER_CARRY_H

#include <stdbool.h>

#include "carry_copy.h"
#include "err.h"

/* Whether a file lies on the stick whose folder this is: below it, or on the same mount where that
 * is not the host's root. False for one that cannot be looked at. */
bool carry_on_stick(const char *path, const char *stick_dir);

/*
 * Where this program, or a library that it uses, lies on the stick: copies all of them to the host,
 * in memory where that can be, compares the copies, and executes itself anew from there, so that a
 * pull cannot kill it. `program` is its argv[0]. Returns 0 where there is nothing to do (also in
 * the copy); does not return when it goes on as the copy; -1 when the copies cannot be made.
 * To be called while there is nothing to lose: no thread, no child, no store open.
 */
int carry_self(const char *stick_dir, const char *program, struct err *err);

/* The path of the program as it was started, where this is a copy; NULL: it is none. */
const char *carry_origin(void);

/*
 * The same for another program: the path of a copy to be executed in its stead, with the libraries
 * and modules that it needs beside it, or `path` itself where it does not lie on the stick. The
 * caller frees it. What was copied is in `copies`, also on failure: carry_end, which is due once
 * the program has started.
 */
int carry_program(const char *path, const char *stick_dir, struct carry_folder *copies,
		  char **ret_path, struct err *err);

#endif
