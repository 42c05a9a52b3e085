/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_file.h: an encrypted file on the host that holds a frozen VM. */
#ifndef LAUNCHER_PARK_FILE_H
#define LAUNCHER_PARK_FILE_H

#include <stddef.h>
#include <stdint.h>

enum { PARK_KEY_BYTES = 32 };

/*
 * A stream of bytes under a key, in pieces that are authenticated one by one and in their order
 * (libsodium's secretstream: XChaCha20-Poly1305). The end is marked: a file that was cut anywhere
 * is refused. All return 0 or a negative errno.
 */
struct park_writer;
struct park_reader;

/* Writes beside `path`, which is there, whole and durable, only after park_writer_end. -EEXIST:
 * there is one already. */
int park_writer_begin(const char *path, const uint8_t key[PARK_KEY_BYTES],
		      struct park_writer **ret_writer);
int park_write(struct park_writer *writer, const void *bytes, size_t count);
/* Ends and frees it; on failure nothing is left of the file. */
int park_writer_end(struct park_writer *writer);
/* Frees it and removes what was written. Takes NULL. */
void park_writer_abandon(struct park_writer *writer);

/* -ENOENT; -EMEDIUMTYPE: not such a file; -EACCES: another key, or damaged from the start. */
int park_reader_begin(const char *path, const uint8_t key[PARK_KEY_BYTES],
		      struct park_reader **ret_reader);
/* Up to `count` bytes, 0 only at the marked end; -EBADMSG: damaged or cut. */
int park_read(struct park_reader *reader, void *buf, size_t count, size_t *ret_count);
/* Exactly `count`, else -EBADMSG. */
int park_read_all(struct park_reader *reader, void *buf, size_t count);
void park_reader_end(struct park_reader *reader);

#endif
