/* SPDX-License-Identifier: GPL-2.0-or-later */
/* carry_copy.h: a private folder on the host with verified copies of files. */
#ifndef LAUNCHER_CARRY_COPY_H
#define LAUNCHER_CARRY_COPY_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

enum { CARRY_MAX_FILES = 256 };

/* Zeroed: no folder yet; the first copy makes it. */
struct carry_folder {
	char dir[128];
	char *names[CARRY_MAX_FILES]; /* what was copied, by its path */
	size_t count;
};

/* Copies a file and compares the copy with it. -1 with err. */
int carry_copy(struct carry_folder *folder, const char *path, struct err *err);
bool carry_has(const struct carry_folder *folder, const char *path);
/* The path of the copy of `path`; the caller frees it. */
char *carry_path(const struct carry_folder *folder, const char *path);
/* Lets the programs that are executed from now on find libraries in the folder first. */
void carry_library_path(const struct carry_folder *folder);
/* Removes a folder that this made, by its name; any other is left alone. */
void carry_remove(const char *dir);
/* Removes the folder, if there is one, and frees what the struct holds. */
void carry_end(struct carry_folder *folder);

#endif
