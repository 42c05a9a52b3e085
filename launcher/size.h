/* SPDX-License-Identifier: GPL-2.0-or-later */
/* size.h: sizes as people write them (64G, 512M) and as tables show them (1.5 GiB). */
#ifndef LAUNCHER_SIZE_H
#define LAUNCHER_SIZE_H

#include <stddef.h>
#include <stdint.h>

/*
 * "4096", "64K", "512M", "64G", "2T", also "64GiB": K, M, G and T are powers of 1024, of either
 * case. Returns 0 or -EINVAL (not a size) or -ERANGE (more than 64 bits hold).
 */
int size_parse(const char *text, uint64_t *ret_bytes);

/* The shortest text that size_parse reads back as the same number: "64G", "1536M", "4097". */
const char *size_exact(uint64_t bytes, char *buf, size_t buf_bytes);

/* For people, three digits and a unit: "1.50 GiB", "512 B". */
const char *size_human(uint64_t bytes, char *buf, size_t buf_bytes);

#endif
