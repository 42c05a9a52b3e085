/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unit.c: compression of units and the check that binds them to their place. */
#include "unit.h"

#include <assert.h>
#include <errno.h>
#include <lz4.h>
#include <zstd.h>

#include "digest.h"

/* zstd's level for what the cleaner keeps: cold data, written once more, read for long. */
#define COLD_LEVEL 3

static uint64_t unit_check(const struct sv_binding *b, const struct sv_unit *u,
			   const uint8_t *payload)
{
	uint8_t bound[48];
	struct sv_cur c = sv_cur_over(bound, sizeof(bound));

	sv_put_bytes(&c, b->store_id, SV_STORE_ID_BYTES);
	sv_put64(&c, b->generation);
	sv_put64(&c, b->place);
	sv_put64(&c, b->subject);
	sv_put32(&c, u->payload_bytes);
	sv_put8(&c, u->blocks);
	sv_put8(&c, u->codec);
	sv_put16(&c, u->kind);
	assert(!c.bad && c.off == sizeof(bound));
	return sv_hash64(payload, u->payload_bytes, sv_hash64(bound, sizeof(bound), 0));
}

uint64_t sv_payload_digest(uint64_t digest, uint64_t check)
{
	uint8_t raw[8];
	struct sv_cur c = sv_cur_over(raw, sizeof(raw));

	sv_put64(&c, check);
	return sv_hash64(raw, sizeof(raw), digest);
}

uint32_t sv_unit_seal(const struct sv_binding *bind, struct sv_unit *unit, uint8_t *dst)
{
	struct sv_cur c = sv_cur_over(dst, SV_UNIT_HEAD_BYTES);
	uint32_t stored = sv_unit_stored(unit->payload_bytes);
	uint32_t end = SV_UNIT_HEAD_BYTES + unit->payload_bytes;

	unit->check = unit_check(bind, unit, dst + SV_UNIT_HEAD_BYTES);
	sv_put64(&c, unit->check);
	sv_put32(&c, unit->payload_bytes);
	sv_put8(&c, unit->blocks);
	sv_put8(&c, unit->codec);
	sv_put16(&c, unit->kind);
	memset(dst + end, 0, stored - end);
	return stored;
}

uint32_t sv_compress(enum sv_codec codec, const uint8_t *src, unsigned blocks, uint8_t *dst,
		     uint32_t max_payload_bytes)
{
	size_t len = (size_t)blocks * SV_BLOCK_BYTES;
	size_t n;

	switch (codec) {
	case SV_CODEC_LZ4:
		return (uint32_t)LZ4_compress_default((const char *)src, (char *)dst, (int)len,
						      (int)max_payload_bytes);
	case SV_CODEC_ZSTD:
		n = ZSTD_compress(dst, max_payload_bytes, src, len, COLD_LEVEL);
		return ZSTD_isError(n) ? 0 : (uint32_t)n;
	default:
		return 0;
	}
}

uint32_t sv_unit_bytes(double read_ns, double bytes_s)
{
	/* A unit begins and ends inside sectors: a sector more than its own on the average. */
	double spare = read_ns * 0.25 * bytes_s / 1e9 - 512;
	double most = SV_BLOCK_BYTES + (spare > 1024 ? spare : 1024);

	if (!(most < SV_UNIT_MAX_BYTES))
		return SV_UNIT_MAX_BYTES;
	return (uint32_t)sv_align_down((uint64_t)most, SV_GRAIN_BYTES);
}

int sv_unit_verify(const struct sv_binding *bind, const uint8_t *src, uint32_t stored_bytes,
		   struct sv_unit *ret_unit)
{
	struct sv_cur c = sv_cur_over((uint8_t *)src, SV_UNIT_HEAD_BYTES);
	struct sv_unit u;

	if (stored_bytes < SV_UNIT_HEAD_BYTES)
		return -EBADMSG;
	u.check = sv_get64(&c);
	u.payload_bytes = sv_get32(&c);
	u.blocks = sv_get8(&c);
	u.codec = sv_get8(&c);
	u.kind = sv_get16(&c);
	if (u.payload_bytes > stored_bytes - SV_UNIT_HEAD_BYTES ||
	    sv_unit_stored(u.payload_bytes) != stored_bytes || u.blocks > SV_UNIT_MAX_BLOCKS ||
	    u.check != unit_check(bind, &u, src + SV_UNIT_HEAD_BYTES))
		return -EBADMSG;
	*ret_unit = u;
	return 0;
}

int sv_unit_expand(const struct sv_unit *unit, const uint8_t *src, uint8_t *dst)
{
	size_t len = (size_t)unit->blocks * SV_BLOCK_BYTES;
	const uint8_t *payload = src + SV_UNIT_HEAD_BYTES;

	switch (unit->codec) {
	case SV_CODEC_NONE:
		if (unit->payload_bytes != len)
			return -EBADMSG;
		memcpy(dst, payload, len);
		return 0;
	case SV_CODEC_LZ4:
		return LZ4_decompress_safe((const char *)payload, (char *)dst,
					   (int)unit->payload_bytes, (int)len) == (int)len
			       ? 0
			       : -EBADMSG;
	case SV_CODEC_ZSTD:
		return ZSTD_decompress(dst, len, payload, unit->payload_bytes) == len ? 0
										      : -EBADMSG;
	default:
		return -EBADMSG;
	}
}
