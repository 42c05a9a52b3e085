/* SPDX-License-Identifier: GPL-2.0-or-later */
/* anchor.c: fuzz target: the anchor's decoder; what it takes is encoded as it was. */
#include <errno.h>
#include <string.h>

#include "digest.h"
#include "format.h"
#include "fuzz.h"

#define HASHED_BYTES (SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t raw[SV_ANCHOR_BYTES] = "svANCHOR\1", again[SV_ANCHOR_BYTES];
	struct sv_anchor a, b;
	int r;

	/* As it is; then with the magic and the hash made right. */
	memcpy(again, raw, sizeof(raw));
	memcpy(again, data, size < sizeof(again) ? size : sizeof(again));
	(void)sv_anchor_decode(again, &a);
	memcpy(raw + 8, data, size < HASHED_BYTES - 8 ? size : HASHED_BYTES - 8);
	sv_hash128(raw, HASHED_BYTES, raw + HASHED_BYTES);
	r = sv_anchor_decode(raw, &a);
	fuzz_must(r == 0 || r == -EPROTONOSUPPORT);
	fuzz_must(memchr(a.host, 0, sizeof(a.host)) != NULL);
	if (r < 0)
		return 0;
	sv_anchor_encode(&a, again);
	fuzz_must(sv_anchor_decode(again, &b) == 0);
	fuzz_must(memcmp(&a.root, &b.root, sizeof(a.root)) == 0);
	fuzz_must(a.segment_bytes == b.segment_bytes && a.gate_seq == b.gate_seq);
	return 0;
}
