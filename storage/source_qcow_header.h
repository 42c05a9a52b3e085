/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qcow_header.h: the header of a qcow or qcow2 image, checked, and who can read the rest. */
#ifndef STORAGE_SOURCE_QCOW_HEADER_H
#define STORAGE_SOURCE_QCOW_HEADER_H

#include "source_impl.h"

struct qcow_header {
	uint32_t version;      /* 1 to 3 */
	uint32_t cluster_bits; /* 9 to 21 */
	uint32_t l2_bits;      /* entries of an L2 table; 5 to 18 */
	uint64_t size_bytes;   /* of the disk, checked */
	uint64_t l1_off_bytes;
	uint32_t l1_entries; /* as many as the disk needs; the table lies inside the file */
	bool extended_l2;    /* entries of 16 bytes */
	char backing[SOURCE_NAME_BYTES];   /* "": none */
	char backing_format[32];	   /* "": not said */
	char data_file[SOURCE_NAME_BYTES]; /* "": the clusters are in the image */
	const char *needs_qemu;		   /* what libqcow cannot read, a clause; NULL: nothing */
};

/* Reads and checks. The L1 table is bounded by 32 MiB, as in QEMU. */
int qcow_header_read(const struct source_file *file, struct qcow_header *ret_header,
		     struct sv_source_error *err);

/* Whether libqcow would find the L2 tables: false for most qcow 1 overlays. */
int qcow_tables_aligned(const struct source_file *file, const struct qcow_header *header,
			bool *ret_aligned, struct sv_source_error *err);

/* Big-endian, as all of both formats is. */
uint32_t qcow_get32(const uint8_t *p);
uint64_t qcow_get64(const uint8_t *p);

static inline uint64_t qcow_cluster_bytes(const struct qcow_header *h)
{
	return UINT64_C(1) << h->cluster_bits;
}

static inline uint64_t qcow_entry_bytes(const struct qcow_header *h)
{
	return h->extended_l2 ? 16 : 8;
}

static inline uint64_t qcow_l2_bytes(const struct qcow_header *h)
{
	return qcow_entry_bytes(h) << h->l2_bits;
}

#endif
