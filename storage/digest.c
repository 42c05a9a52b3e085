/* SPDX-License-Identifier: GPL-2.0-or-later */
/* digest.c: XXH3 behind two functions, so that one file knows the library. */
#include "digest.h"

#include <string.h>
#include <xxhash.h>

void sv_hash128(const void *data, size_t len_bytes, uint8_t *ret_hash)
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, len_bytes));
	memcpy(ret_hash, canonical.digest, sizeof(canonical.digest));
}

uint64_t sv_hash64(const void *data, size_t len_bytes, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len_bytes, seed);
}
