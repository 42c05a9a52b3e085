/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_folder.c: fuzz target: a folder of containers whose headers say anything, checks right. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "file.h"
#include "fuzz.h"
#include "place_format.h"
#include "stickvm/place.h"

#define CONTAINERS 3u
#define FILE_BYTES (512u << 10)
#define SEGMENT_BYTES (64u << 10)

/* A place of three containers of six segments each, the first two of them full. */
static void fill_header(struct place_header *h, uint32_t index)
{
	*h = (struct place_header){
		.index = index,
		.flags = index + 1 < CONTAINERS ? PLACE_SEALED : 0,
		.generation = 1,
		.base_bytes = index * UINT64_C(6) * SEGMENT_BYTES,
		.container_bytes = FILE_BYTES,
		.segment_bytes = SEGMENT_BYTES,
		.piece_count = 2,
		.pieces = {{PLACE_HEADER_AREA_BYTES, 4 * SEGMENT_BYTES},
			   {PLACE_HEADER_AREA_BYTES + 5 * SEGMENT_BYTES, 2 * SEGMENT_BYTES}}};
}

static void make_right(uint8_t *copy)
{
	uint32_t bytes = copy[12] | (uint32_t)copy[13] << 8;
	uint64_t check;

	if (bytes < 136 || bytes > PLACE_HEADER_COPY_BYTES)
		return;
	check = XXH3_64bits(copy, bytes - 8);
	for (unsigned i = 0; i < 8; i++)
		copy[bytes - 8 + i] = (uint8_t)(check >> (8 * i));
}

/* The whole space, its end included; and one more segment of it. */
static void use(struct sv_dev *dev)
{
	static _Alignas(4096) uint8_t buf[65536];
	struct sv_geometry geo;

	fuzz_must(sv_dev_geometry(dev, &geo) == 0);
	fuzz_must(geo.size_bytes <= CONTAINERS * FILE_BYTES);
	for (uint64_t off = 0; off + sizeof(buf) <= geo.size_bytes; off += sizeof(buf))
		fuzz_must(sv_dev_read(dev, buf, sizeof(buf), off) == 0);
	if (geo.size_bytes >= 4096)
		fuzz_must(sv_dev_write(dev, buf, 4096, geo.size_bytes - 4096) == 0);
	fuzz_must(sv_dev_flush(dev) == 0);
}

static void open_place(bool read_only)
{
	struct sv_dev *dev;

	if (sv_place_open(fuzz_folder(), read_only, &dev) < 0)
		return;
	if (!read_only)
		use(dev);
	sv_dev_close(dev);
}

/* Changes: container (1), offset (2), length (1), bytes. Bit 7 of the first: in the second copy. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t area[CONTAINERS][PLACE_HEADER_AREA_BYTES];
	static struct place_header header;
	struct fuzz_in in = {data, size};

	for (uint32_t i = 0; i < CONTAINERS; i++) {
		fill_header(&header, i);
		place_header_encode(&header, area[i]);
		place_header_encode(&header, area[i] + PLACE_HEADER_COPY_BYTES);
	}
	while (in.left > 0) {
		uint8_t which = fuzz_u8(&in);
		uint16_t off = fuzz_u16(&in) % 192;
		size_t len;
		const uint8_t *bytes = fuzz_bytes(&in, fuzz_u8(&in) % 17, &len);
		uint8_t *copy =
			area[which % CONTAINERS] + (which & 128 ? PLACE_HEADER_COPY_BYTES : 0);

		if (len > 0)
			memcpy(copy + off, bytes, len);
	}
	for (uint32_t i = 0; i < CONTAINERS; i++) {
		char *path = file_path("%s/store.%03u", fuzz_folder(), i);

		fuzz_must(path != NULL);
		make_right(area[i]);
		make_right(area[i] + PLACE_HEADER_COPY_BYTES);
		fuzz_put_file(path, area[i], PLACE_HEADER_AREA_BYTES);
		fuzz_must(truncate(path, FILE_BYTES) == 0);
		free(path);
	}
	open_place(true);
	open_place(false);
	return 0;
}
