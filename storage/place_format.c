/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_format.c: the header of a container, as it lies on the medium. See FORMAT.md. */
#include "place_format.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

/*
 * One copy, all numbers little-endian:
 *
 *   offset size name             meaning
 *        0    8 magic            "SVPLACE\0"
 *        8    4 version          1
 *       12    4 header_bytes     H = 136 + 16 * piece_count: this copy, its check included
 *       16   16 id               of the place
 *       32    4 index            of the container
 *       36    4 flags            bit 0 raw, 1 sealed, 2 fallocated; others 0
 *       40    8 generation       counts the rewrites of this header, from 1
 *       48    8 base_bytes       address of the container's first byte of data
 *       56    8 container_bytes  largest file; 0 if raw
 *       64    8 max_bytes        of the place; 0: no limit
 *       72    4 segment_bytes    > 0, a multiple of 4096
 *       76    4 page_bytes       0: unknown
 *       80    4 erase_bytes      0: unknown, else segment_bytes is a multiple of it
 *       84    4 open_units       0: unknown
 *       88    4 piece_count      0 to 512
 *       92    4 incompatible     feature bits: refuse if any is unknown
 *       96    4 ro_compatible    feature bits: open only for reading if any is unknown
 *      100    4 compatible       feature bits: ignore what is unknown
 *      104   24 -                zeros
 *      128 16*n pieces           each: 8 file_bytes, 8 len_bytes
 *    H - 8    8 check            XXH3-64 of the H - 8 bytes before it
 *
 * Magic, version, header_bytes and the place of the check never move: so a newer version that is
 * whole can be told from damage.
 */
#define MAGIC "SVPLACE"
#define FIXED_BYTES 128u
#define CHECK_BYTES 8u
#define PIECE_BYTES 16u
#define KNOWN_FLAGS (PLACE_RAW | PLACE_SEALED | PLACE_FALLOCATED)

/* A cursor never leaves its bounds: what would be outside reads as 0 and sets `failed`. */
struct cursor {
	uint8_t *at;
	size_t left_bytes;
	bool failed;
};

static void put(struct cursor *cursor, uint64_t value, size_t size_bytes)
{
	assert(cursor->left_bytes >= size_bytes);
	for (size_t i = 0; i < size_bytes; i++)
		cursor->at[i] = (uint8_t)(value >> (8 * i));
	cursor->at += size_bytes;
	cursor->left_bytes -= size_bytes;
}

static void put_bytes(struct cursor *cursor, const void *bytes, size_t size_bytes)
{
	assert(cursor->left_bytes >= size_bytes);
	memcpy(cursor->at, bytes, size_bytes);
	cursor->at += size_bytes;
	cursor->left_bytes -= size_bytes;
}

static uint64_t get(struct cursor *cursor, size_t size_bytes)
{
	uint64_t value = 0;

	if (cursor->left_bytes < size_bytes) {
		cursor->failed = true;
		return 0;
	}
	for (size_t i = 0; i < size_bytes; i++)
		value |= (uint64_t)cursor->at[i] << (8 * i);
	cursor->at += size_bytes;
	cursor->left_bytes -= size_bytes;
	return value;
}

static uint32_t get32(struct cursor *cursor)
{
	return (uint32_t)get(cursor, 4);
}

static void get_bytes(struct cursor *cursor, void *bytes, size_t size_bytes)
{
	if (cursor->left_bytes < size_bytes) {
		cursor->failed = true;
		return;
	}
	memcpy(bytes, cursor->at, size_bytes);
	cursor->at += size_bytes;
	cursor->left_bytes -= size_bytes;
}

static size_t header_bytes_of(uint32_t piece_count)
{
	return FIXED_BYTES + piece_count * (size_t)PIECE_BYTES + CHECK_BYTES;
}

void place_header_encode(const struct place_header *header, uint8_t *ret_bytes)
{
	size_t size_bytes = header_bytes_of(header->piece_count);
	struct cursor cursor = {ret_bytes, PLACE_HEADER_COPY_BYTES, false};

	assert(header->piece_count <= PLACE_HEADER_MAX_PIECES);
	memset(ret_bytes, 0, PLACE_HEADER_COPY_BYTES);
	put_bytes(&cursor, MAGIC, 8);
	put(&cursor, PLACE_VERSION, 4);
	put(&cursor, size_bytes, 4);
	put_bytes(&cursor, header->id, sizeof(header->id));
	put(&cursor, header->index, 4);
	put(&cursor, header->flags, 4);
	put(&cursor, header->generation, 8);
	put(&cursor, header->base_bytes, 8);
	put(&cursor, header->container_bytes, 8);
	put(&cursor, header->max_bytes, 8);
	put(&cursor, header->segment_bytes, 4);
	put(&cursor, header->page_bytes, 4);
	put(&cursor, header->erase_bytes, 4);
	put(&cursor, header->open_units, 4);
	put(&cursor, header->piece_count, 4);
	put(&cursor, 0, 4); /* incompatible features: none yet */
	put(&cursor, header->ro_compatible, 4);
	put(&cursor, 0, 4);
	cursor.at = ret_bytes + FIXED_BYTES;
	cursor.left_bytes = PLACE_HEADER_COPY_BYTES - FIXED_BYTES;
	for (uint32_t i = 0; i < header->piece_count; i++) {
		put(&cursor, header->pieces[i].file_bytes, 8);
		put(&cursor, header->pieces[i].len_bytes, 8);
	}
	put(&cursor, XXH3_64bits(ret_bytes, size_bytes - CHECK_BYTES), CHECK_BYTES);
}

static bool fixed_part_sane(const struct place_header *header)
{
	uint32_t segment = header->segment_bytes;

	if (segment == 0 || segment % 4096 != 0)
		return false;
	if (header->erase_bytes % 4096 != 0 ||
	    (header->erase_bytes != 0 && segment % header->erase_bytes != 0))
		return false;
	if ((header->flags & ~(uint32_t)KNOWN_FLAGS) != 0 || header->generation == 0)
		return false;
	if ((header->flags & PLACE_RAW) != 0)
		return header->index == 0 && header->container_bytes == 0;
	return header->container_bytes > PLACE_HEADER_AREA_BYTES;
}

/* Pieces ascend, do not overlap, hold whole segments, and stay off the header. */
static bool pieces_sane(const struct place_header *header)
{
	uint64_t end_bytes = PLACE_HEADER_AREA_BYTES;

	for (uint32_t i = 0; i < header->piece_count; i++) {
		const struct place_piece *piece = &header->pieces[i];

		if (piece->file_bytes < end_bytes || piece->file_bytes % 4096 != 0 ||
		    piece->len_bytes == 0 || piece->len_bytes % header->segment_bytes != 0 ||
		    piece->file_bytes > INT64_MAX ||
		    piece->len_bytes > INT64_MAX - piece->file_bytes)
			return false;
		end_bytes = piece->file_bytes + piece->len_bytes;
	}
	return header->container_bytes == 0 || end_bytes <= header->container_bytes;
}

static int decode_body(struct cursor *cursor, uint32_t version, size_t size_bytes,
		       struct place_header *header)
{
	uint32_t incompatible;

	get_bytes(cursor, header->id, sizeof(header->id));
	header->index = get32(cursor);
	header->flags = get32(cursor);
	header->generation = get(cursor, 8);
	header->base_bytes = get(cursor, 8);
	header->container_bytes = get(cursor, 8);
	header->max_bytes = get(cursor, 8);
	header->segment_bytes = get32(cursor);
	header->page_bytes = get32(cursor);
	header->erase_bytes = get32(cursor);
	header->open_units = get32(cursor);
	header->piece_count = get32(cursor);
	incompatible = get32(cursor);
	header->ro_compatible = get32(cursor);
	(void)get32(cursor);
	if (version > PLACE_VERSION || incompatible != 0)
		return -EPROTONOSUPPORT;
	if (version == 0 || header->piece_count > PLACE_HEADER_MAX_PIECES ||
	    size_bytes != header_bytes_of(header->piece_count))
		return -EBADMSG;
	(void)get(cursor, 8);
	(void)get(cursor, 8);
	(void)get(cursor, 8);
	for (uint32_t i = 0; i < header->piece_count; i++) {
		header->pieces[i].file_bytes = get(cursor, 8);
		header->pieces[i].len_bytes = get(cursor, 8);
	}
	return cursor->failed ? -EBADMSG : 0;
}

int place_header_decode(const uint8_t *bytes, struct place_header *ret_header)
{
	struct cursor cursor = {(uint8_t *)(uintptr_t)bytes, PLACE_HEADER_COPY_BYTES, false};
	struct place_header header = {0};
	struct cursor check;
	uint32_t version, size_bytes;
	uint8_t magic[8] = {0};
	int r;

	get_bytes(&cursor, magic, sizeof(magic));
	if (memcmp(magic, MAGIC, sizeof(magic)) != 0)
		return -EMEDIUMTYPE;
	version = get32(&cursor);
	size_bytes = get32(&cursor);
	if (size_bytes < header_bytes_of(0) || size_bytes > PLACE_HEADER_COPY_BYTES)
		return -EBADMSG;
	check = (struct cursor){cursor.at + size_bytes - CHECK_BYTES - 16, CHECK_BYTES, false};
	if (get(&check, CHECK_BYTES) != XXH3_64bits(bytes, size_bytes - CHECK_BYTES))
		return -EBADMSG;
	cursor.left_bytes = size_bytes - CHECK_BYTES - 16;
	r = decode_body(&cursor, version, size_bytes, &header);
	if (r < 0)
		return r;
	if (!fixed_part_sane(&header) || !pieces_sane(&header))
		return -EBADMSG;
	*ret_header = header;
	return 0;
}

/* Which of two failures tells more: a newer version, then damage, then no header at all. */
static int worse(int a, int b)
{
	if (a == -EPROTONOSUPPORT || b == -EPROTONOSUPPORT)
		return -EPROTONOSUPPORT;
	return a == -EBADMSG || b == -EBADMSG ? -EBADMSG : -EMEDIUMTYPE;
}

int place_header_choose(const uint8_t *area, struct place_header *ret_header, bool (*ret_whole)[2])
{
	struct place_header first = {0}, second = {0};
	int r0 = place_header_decode(area, &first);
	int r1 = place_header_decode(area + PLACE_HEADER_COPY_BYTES, &second);

	if (r0 < 0 && r1 < 0)
		return worse(r0, r1);
	*ret_header = r1 < 0 || (r0 == 0 && first.generation >= second.generation) ? first : second;
	(*ret_whole)[0] = r0 == 0 && first.generation == ret_header->generation;
	(*ret_whole)[1] = r1 == 0 && second.generation == ret_header->generation;
	return 0;
}

uint64_t place_header_data_bytes(const struct place_header *header)
{
	uint64_t sum_bytes = 0;

	for (uint32_t i = 0; i < header->piece_count; i++)
		sum_bytes += header->pieces[i].len_bytes;
	return sum_bytes;
}
