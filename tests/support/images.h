/* SPDX-License-Identifier: GPL-2.0-or-later */
/* images.h: disk images for tests: made with QEMU's tools, told apart by the hash of their disk. */
#ifndef TESTS_SUPPORT_IMAGES_H
#define TESTS_SUPPORT_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stickvm/source.h"

/* A new private folder, the working directory from then on. images_end goes back and removes it
 * with all files in it. For cmocka's group set-up and tear-down. */
int images_begin(void **state);
int images_end(void **state);

/* Runs a program from $PATH with the words of a printf-like line, split at spaces; a
 * tab is a space inside a word. Returns its exit status. `run` demands 0. */
int run_status(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * A raw file with every kind of content, by `seed`: about half are holes (of 64 KiB and more, 4 KiB
 * and less), the rest random bytes, text that compresses, and written zeros.
 */
void make_raw(const char *path, uint64_t size_bytes, uint32_t seed);
/* Overwrites, or appends to, a part of a file. */
void patch(const char *path, uint64_t off_bytes, const void *bytes, size_t len_bytes);
uint64_t file_bytes(const char *path);

/* The hash of a disk. `raw_hash` reads a file; `source_hash` reads with requests of `step` bytes.
 */
uint64_t raw_hash(const char *path);
uint64_t source_hash(struct sv_source *src, size_t step);

/* Bytes that the source calls data. Demands that runs add up to the size, and that what is called
 * a hole reads as zeros. */
uint64_t source_data_bytes(struct sv_source *src);
/* Bytes of blocks of 64 KiB that are not zero in a raw file. */
uint64_t raw_data_bytes(const char *path);

#endif
