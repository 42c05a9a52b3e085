/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file.h: small files read whole and replaced whole, on any file system that a stick may have. */
#ifndef LAUNCHER_FILE_H
#define LAUNCHER_FILE_H

#include <stddef.h>

#include "err.h"

/* Reads a whole file of at most `max_bytes` (-EFBIG), with a NUL behind it. The caller frees the
 * text. 0 or a negative errno. */
int file_read(const char *path, size_t max_bytes, char **ret_text, size_t *ret_bytes);

/* The same of a file on a stick, which may come from anyone: a link is not followed (-ELOOP). */
int file_read_own(const char *path, size_t max_bytes, char **ret_text, size_t *ret_bytes);

/*
 * Replaces (or makes) a file: after a power cut it holds the old text or the new one, never a
 * mixture. Written beside it under another name, fsynced, renamed, and the folder fsynced where
 * the file system can. No link is followed, neither there nor at NAME.new. 0 or a negative errno;
 * nothing is left behind on failure.
 */
int file_replace(const char *path, const char *text, size_t bytes);
/* The same for its owner alone (0600), where the file system knows owners. */
int file_replace_secret(const char *path, const char *text, size_t bytes);

/* fsync of a folder; file systems that cannot (some FUSE ones) count as done. */
int file_sync_folder(const char *path);

/* Removes a folder and all that is in it; stays on its file system and follows no link.
 * A missing one is no error. 0 or a negative errno. */
int file_remove_tree(const char *path);

/* The exit status, and what to do next, for an errno (negative) of reading or writing the stick:
 * EXIT_NO_STICK where the medium went away, else EXIT_FAILED. */
enum exit_status file_status(int rc);
const char *file_advice(int rc);

/* printf into memory that the caller frees; NULL without memory. */
char *file_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
