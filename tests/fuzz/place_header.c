/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_header.c: fuzz target: a container's header, and what is computed from its pieces. */
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "fuzz.h"
#include "place_format.h"
#include "place_layout.h"

static void look_at(const struct place_header *h)
{
	static uint8_t again[PLACE_HEADER_COPY_BYTES];
	static struct place_header other;
	uint64_t used = place_layout_used(h), data = place_header_data_bytes(h);

	fuzz_must(h->piece_count <= PLACE_HEADER_MAX_PIECES && h->segment_bytes > 0);
	fuzz_must(data <= used && data % h->segment_bytes == 0 && used <= INT64_MAX);
	place_header_encode(h, again);
	fuzz_must(place_header_decode(again, &other) == 0);
	fuzz_must(memcmp(h->pieces, other.pieces, h->piece_count * sizeof(h->pieces[0])) == 0);
	place_layout_trim(&other, data / 2);
	fuzz_must(place_header_data_bytes(&other) <= data / 2 || data == 0);
	(void)place_layout_add_linear(&other, INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t area[PLACE_HEADER_AREA_BYTES];
	static struct place_header header;
	bool whole[2];
	uint64_t check;
	uint32_t bytes;

	memset(area, 0, sizeof(area));
	memcpy(area, data, size < sizeof(area) ? size : sizeof(area));
	if (place_header_choose(area, &header, &whole) == 0)
		look_at(&header);
	memcpy(area, "SVPLACE", 8);
	bytes = area[12] | (uint32_t)area[13] << 8;
	if (bytes < 136 || bytes > PLACE_HEADER_COPY_BYTES)
		return 0;
	check = XXH3_64bits(area, bytes - 8);
	for (unsigned i = 0; i < 8; i++)
		area[bytes - 8 + i] = (uint8_t)(check >> (8 * i));
	if (place_header_decode(area, &header) == 0)
		look_at(&header);
	return 0;
}
