/* SPDX-License-Identifier: GPL-2.0-or-later */
/* digest.h: the checks of headers and units (XXH3; they find rot, not tampering). */
#ifndef STORAGE_DIGEST_H
#define STORAGE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* 128 bits in canonical (big-endian) order. */
void sv_hash128(const void *data, size_t len_bytes, uint8_t *ret_hash);
uint64_t sv_hash64(const void *data, size_t len_bytes, uint64_t seed);

#endif
