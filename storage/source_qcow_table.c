/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qcow_table.c: walks the L1 and L2 tables of a qcow image and checks every entry. */
#include "source_qcow_table.h"

#include <errno.h>
#include <stdlib.h>

/*
 * An L1 entry is the offset of an L2 table; an L2 entry says where one cluster is. Bit 63 of both
 * means "reference count is one" in versions 2 and 3 and is dropped.
 *
 * L2 entry, version 1:   bit 63 compressed: length in the cluster_bits bits below, then offset
 *           2 and 3:     bit 62 compressed: number of further sectors in the cluster_bits - 8 bits
 *                        below, then offset, to the byte
 *           plain:       offset of the cluster, aligned to it; 0: not here
 *           3:           bit 0: reads as zeros
 *           extended L2: a second word with a bit for each of 32 subclusters that is in the file
 *                        (low half), or reads as zeros (high half)
 */
#define NO_INDEX UINT64_MAX
#define SUBCLUSTERS 32u

int qcow_damaged(const struct qcow_header *header, uint64_t index, const char *what,
		 struct sv_source_error *err)
{
	return source_fail(err, -EBADMSG,
			   "is damaged or truncated at byte %llu of its disk: %s; copy it again or "
			   "look at it with qemu-img check",
			   (unsigned long long)(index << header->cluster_bits), what);
}

uint64_t qcow_used_bytes(const struct qcow_header *header, uint64_t index)
{
	uint64_t rest = header->size_bytes - (index << header->cluster_bits);
	uint64_t whole = qcow_cluster_bytes(header);

	return rest < whole ? rest : whole;
}

int qcow_table_init(struct qcow_table *table, const struct source_file *file,
		    const struct qcow_header *header)
{
	*table = (struct qcow_table){
		.file = file,
		.header = header,
		.data_bytes = file->bytes,
		.l1_index = NO_INDEX,
		.l2 = malloc((size_t)qcow_l2_bytes(header)),
	};
	return table->l2 ? 0 : -ENOMEM;
}

void qcow_table_free(struct qcow_table *table)
{
	free(table->l2);
	table->l2 = NULL;
}

/* Loads the L2 table of an L1 entry, or finds that there is none. */
static int load_l2(struct qcow_table *t, uint64_t l1_index, struct sv_source_error *err)
{
	const struct qcow_header *h = t->header;
	uint64_t first = l1_index << h->l2_bits;
	uint64_t l2_bytes = qcow_l2_bytes(h);
	uint8_t raw[8];

	if (l1_index == t->l1_index)
		return 0;
	t->l1_index = NO_INDEX;
	if (source_file_read(t->file, raw, sizeof(raw), h->l1_off_bytes + 8 * l1_index) < 0)
		return qcow_damaged(h, first, "its L1 table cannot be read", err);
	uint64_t entry = qcow_get64(raw);
	if (h->version > 1)
		entry &= ~(UINT64_C(1) << 63);
	t->l2_present = entry != 0;
	if (entry != 0) {
		/* A table of qcow 1 may be larger than a cluster, and is aligned to that. */
		uint64_t align =
			qcow_cluster_bytes(h) < l2_bytes ? qcow_cluster_bytes(h) : l2_bytes;
		if (entry % align != 0 || entry > t->file->bytes ||
		    l2_bytes > t->file->bytes - entry)
			return qcow_damaged(h, first, "an L2 table lies outside the file", err);
		if (source_file_read(t->file, t->l2, (size_t)l2_bytes, entry) < 0)
			return qcow_damaged(h, first, "an L2 table cannot be read", err);
	}
	t->l1_index = l1_index;
	return 0;
}

static int decode_packed(const struct qcow_table *t, uint64_t index, uint64_t entry,
			 struct qcow_place *ret_place, struct sv_source_error *err)
{
	const struct qcow_header *h = t->header;
	struct qcow_place p = {.kind = QCOW_PACKED};
	uint64_t end_bytes = t->file->bytes;

	if (h->version == 1) {
		uint32_t shift = 63 - h->cluster_bits;
		p.len_bytes = (entry & ~(UINT64_C(1) << 63)) >> shift;
		p.off_bytes = entry & ((UINT64_C(1) << shift) - 1);
	} else {
		uint32_t shift = 62 - (h->cluster_bits - 8);
		uint64_t sectors = (entry & ((UINT64_C(1) << 62) - 1)) >> shift;
		p.off_bytes = entry & ((UINT64_C(1) << shift) - 1);
		p.len_bytes = (sectors + 1) * SECTOR_BYTES - p.off_bytes % SECTOR_BYTES;
		/* Whole sectors are counted; the stream, and the file, may end inside the last. */
		end_bytes += SECTOR_BYTES - 1;
	}
	if (p.len_bytes == 0 || p.off_bytes >= t->file->bytes ||
	    p.len_bytes > end_bytes - p.off_bytes)
		return qcow_damaged(h, index, "a compressed cluster lies outside the file", err);
	if (p.len_bytes > t->file->bytes - p.off_bytes)
		p.len_bytes = t->file->bytes - p.off_bytes;
	*ret_place = p;
	return 0;
}

/* How much of a cluster is in the file: up to its last subcluster there, or all that is used. */
static uint64_t bytes_here(const struct qcow_header *h, uint64_t index, const uint8_t *entry)
{
	uint64_t used = qcow_used_bytes(h, index);
	uint32_t allocated = h->extended_l2 ? qcow_get32(entry + 12) : 0;
	uint64_t here = 0;

	if (!h->extended_l2)
		return used;
	for (uint32_t i = 0; i < SUBCLUSTERS; i++)
		if (allocated >> i & 1)
			here = (i + 1) * (qcow_cluster_bytes(h) / SUBCLUSTERS);
	return here < used ? here : used;
}

static int decode_plain(const struct qcow_table *t, uint64_t index, const uint8_t *raw,
			struct qcow_place *ret_place, struct sv_source_error *err)
{
	const struct qcow_header *h = t->header;
	uint64_t off_bytes = qcow_get64(raw);
	bool zero = h->version > 1 && (off_bytes & 1);
	/* Offset 0 is a cluster like any other in an external data file. */
	bool present = off_bytes != 0;

	if (h->version > 1)
		off_bytes &= ~(UINT64_C(1) << 63 | 1);
	if (off_bytes % qcow_cluster_bytes(h) != 0 || (zero && (h->version == 2 || h->extended_l2)))
		return qcow_damaged(h, index, "an L2 entry is not valid", err);
	if (!h->data_file[0])
		present = off_bytes != 0;
	uint64_t need = present && !zero ? bytes_here(h, index, raw) : 0;
	if (need > 0 && (off_bytes > t->data_bytes || need > t->data_bytes - off_bytes))
		return qcow_damaged(h, index, "a cluster lies beyond the end of the file", err);
	ret_place->kind = zero ? QCOW_ZERO : present ? QCOW_PLAIN : QCOW_BELOW;
	ret_place->off_bytes = off_bytes;
	ret_place->len_bytes = need;
	return 0;
}

int qcow_table_find(struct qcow_table *table, uint64_t index, struct qcow_place *ret_place,
		    struct sv_source_error *err)
{
	const struct qcow_header *h = table->header;

	int r = load_l2(table, index >> h->l2_bits, err);
	if (r < 0)
		return r;
	if (!table->l2_present) {
		*ret_place = (struct qcow_place){.kind = QCOW_BELOW};
		return 0;
	}
	uint64_t in_table = index & ((UINT64_C(1) << h->l2_bits) - 1);
	const uint8_t *raw = table->l2 + qcow_entry_bytes(h) * in_table;
	if (qcow_get64(raw) >> (h->version == 1 ? 63 : 62) & 1)
		return decode_packed(table, index, qcow_get64(raw), ret_place, err);
	return decode_plain(table, index, raw, ret_place, err);
}

int qcow_table_check(struct qcow_table *table, struct sv_source_error *err)
{
	const struct qcow_header *h = table->header;
	uint64_t whole = qcow_cluster_bytes(h);
	uint64_t end = (h->size_bytes + whole - 1) / whole;
	uint64_t per_table = UINT64_C(1) << h->l2_bits;
	struct qcow_place place;

	for (uint64_t index = 0; index < end; index++) {
		int r = qcow_table_find(table, index, &place, err);
		if (r < 0)
			return r;
		if (!table->l2_present) /* the next table */
			index |= per_table - 1;
	}
	return 0;
}
