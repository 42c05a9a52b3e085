/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bootset_codec.c: the record that a root carries a boot set in. An extent is its distance from
 * the end of the one before it (zigzag), its blocks less one, both in groups of seven bits, and a
 * byte of runs.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "bootset.h"

static void put_varint(struct sv_cur *c, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		sv_put8(c, (uint8_t)(v | 0x80));
	sv_put8(c, (uint8_t)v);
}

/* As short as it could be, and no more than 63 bits. */
static uint64_t get_varint(struct sv_cur *c)
{
	uint64_t v = 0;
	uint8_t b;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		b = sv_get8(c);
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b & 0x80)
			continue;
		if (!b && shift)
			break;
		return v;
	}
	c->bad = true;
	return 0;
}

static void put_extent(struct sv_cur *c, const struct sv_boot_extent *e, uint64_t from)
{
	uint64_t ahead = e->lba >= from ? (e->lba - from) * 2 : (from - e->lba) * 2 - 1;

	put_varint(c, ahead);
	put_varint(c, e->blocks - 1);
	sv_put8(c, e->runs);
}

/* How many extents go into `bytes` behind the fixed part, and what they take. */
static uint32_t extents_in(const struct sv_boot_set *set, uint32_t bytes, uint32_t *ret_used)
{
	uint64_t from = 0;
	uint32_t used = 0;
	uint32_t i;

	for (i = 0; i < set->count; i++) {
		uint8_t buf[SV_BOOT_EXTENT_BYTES];
		struct sv_cur c = sv_cur_over(buf, sizeof(buf));

		put_extent(&c, &set->v[i], from);
		assert(!c.bad);
		if (used + c.off > bytes)
			break;
		used += (uint32_t)c.off;
		from = set->v[i].lba + set->v[i].blocks;
	}
	*ret_used = used;
	return i;
}

uint32_t sv_boot_record_bytes(const struct sv_boot_set *set, uint32_t limit)
{
	uint32_t used;

	if (!set->count || limit < SV_BOOT_FIXED_BYTES + SV_BOOT_EXTENT_BYTES)
		return 0;
	limit = (uint32_t)sv_align_down(limit, SV_REC_HEAD_BYTES);
	extents_in(set, limit - SV_BOOT_FIXED_BYTES, &used);
	return (uint32_t)sv_align_up(SV_BOOT_FIXED_BYTES + used, SV_REC_HEAD_BYTES);
}

void sv_boot_put(struct sv_cur *c, const struct sv_boot_set *set, uint32_t bytes)
{
	size_t end = c->off + bytes;
	uint64_t from = 0;
	uint32_t used, extents = extents_in(set, bytes - SV_BOOT_FIXED_BYTES, &used);

	sv_put8(c, SV_REC_BOOT_SET);
	sv_put8(c, 0);
	sv_put16(c, 0);
	sv_put32(c, bytes);
	sv_put32(c, extents);
	sv_put32(c, set->runs);
	sv_put64(c, set->packed_bytes);
	sv_put64(c, set->packed_check);
	for (uint32_t i = 0; i < extents; i++) {
		put_extent(c, &set->v[i], from);
		from = set->v[i].lba + set->v[i].blocks;
	}
	while (!c->bad && c->off < end)
		sv_put8(c, 0);
}

static int get_extent(struct sv_cur *c, struct sv_boot_set *set, uint64_t *from)
{
	uint64_t ahead = get_varint(c), more = get_varint(c);
	uint64_t distance = ahead / 2 + ahead % 2;
	uint8_t runs = sv_get8(c);
	uint64_t lba = ahead % 2 ? *from - distance : *from + distance;

	if (c->bad || (ahead % 2 && distance > *from) || more >= SV_BOOT_BLOCKS || !runs ||
	    runs >> set->runs || lba > UINT64_C(1) << 52)
		return -EBADMSG;
	*from = lba + more + 1;
	return sv_boot_add(set, lba, (uint32_t)more + 1, runs);
}

int sv_boot_get(struct sv_cur *c, struct sv_boot_set *ret_set)
{
	struct sv_boot_set set = {0};
	uint64_t from = 0;
	uint32_t extents = sv_get32(c);
	int r = 0;

	set.runs = sv_get32(c);
	set.packed_bytes = sv_get64(c);
	set.packed_check = sv_get64(c);
	if (c->bad || set.runs > SV_BOOT_RUNS)
		return -EBADMSG;
	for (uint32_t i = 0; r == 0 && i < extents; i++)
		r = get_extent(c, &set, &from);
	if (r < 0) {
		sv_boot_free(&set);
		return r == -ENOMEM ? r : -EBADMSG;
	}
	sv_boot_free(ret_set);
	*ret_set = set;
	return 0;
}

void sv_boot_take(struct sv_boot_set *set, const struct sv_head *head, const uint8_t *raw)
{
	struct sv_cur c = sv_cur_over((uint8_t *)raw + SV_HEAD_FIXED_BYTES,
				      head->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_record rec;

	if (!(head->flags & SV_BATCH_ROOT))
		return;
	sv_boot_free(set);
	while (sv_record_get(&c, &rec) == 0) {
		if (rec.type != SV_REC_BOOT_SET)
			continue;
		c.len = c.off;
		c.off -= rec.stored_bytes - SV_REC_HEAD_BYTES;
		(void)sv_boot_get(&c, set); /* one that makes no sense is as good as none */
		return;
	}
}
