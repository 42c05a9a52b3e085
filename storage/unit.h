/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unit.h: a unit: adjacent blocks (or one map page) stored together under one check. */
#ifndef STORAGE_UNIT_H
#define STORAGE_UNIT_H

#include "format.h"

/* What a unit's check binds besides its bytes: an old unit in a reused segment, a unit at another
 * place, of another store or of other blocks never verifies (S4). */
struct sv_binding {
	const uint8_t *store_id;
	uint64_t generation; /* of the segment */
	uint64_t place;	     /* device address */
	uint64_t subject;    /* first block; for a page: sv_page_subject */
};

enum sv_unit_kind { SV_UNIT_DATA = 0, SV_UNIT_PAGE = 1 };

struct sv_unit {
	uint64_t check;
	uint32_t payload_bytes; /* as stored, without head and padding */
	uint8_t blocks;		/* DATA: how many; PAGE: 0 */
	uint8_t codec;		/* enum sv_codec */
	uint16_t kind;
};

static inline uint64_t sv_page_subject(unsigned tree, unsigned level, uint64_t index)
{
	return (uint64_t)tree << 60 | (uint64_t)level << 56 | index;
}

static inline uint32_t sv_unit_stored(uint32_t payload_bytes)
{
	return (uint32_t)sv_align_up(SV_UNIT_HEAD_BYTES + payload_bytes, SV_GRAIN_BYTES);
}

/* The digest of a batch's payload, carried on by one unit's check. */
uint64_t sv_payload_digest(uint64_t digest, uint64_t check);

/* Closes a unit whose payload lies at dst + SV_UNIT_HEAD_BYTES already: writes the head, zeroes
 * the padding, returns the bytes stored. */
uint32_t sv_unit_seal(const struct sv_binding *bind, struct sv_unit *unit, uint8_t *dst);

/* Compresses `blocks` adjacent blocks (contiguous in `src`) into dst, at most max_payload_bytes;
 * 0 when that is not possible. `dst` has room for max_payload_bytes. */
uint32_t sv_compress(enum sv_codec codec, const uint8_t *src, unsigned blocks, uint8_t *dst,
		     uint32_t max_payload_bytes);

/* Reads and verifies the unit at `src` (stored_bytes long): -EBADMSG where it does not verify.
 * Its head is returned; the payload follows it in `src`. */
int sv_unit_verify(const struct sv_binding *bind, const uint8_t *src, uint32_t stored_bytes,
		   struct sv_unit *ret_unit);
/* The blocks of a verified unit into `dst` (unit->blocks * 4096 bytes): -EBADMSG if it is none. */
int sv_unit_expand(const struct sv_unit *unit, const uint8_t *src, uint8_t *dst);

#endif
