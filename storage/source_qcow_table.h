/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qcow_table.h: the L1 and L2 tables of a qcow image: where each cluster is, checked. */
#ifndef STORAGE_SOURCE_QCOW_TABLE_H
#define STORAGE_SOURCE_QCOW_TABLE_H

#include "source_qcow_header.h"

enum qcow_place_kind {
	QCOW_BELOW,  /* not in this image */
	QCOW_ZERO,   /* reads as zeros */
	QCOW_PLAIN,  /* in the file as it is; with extended L2 entries maybe only in part */
	QCOW_PACKED, /* compressed */
};

struct qcow_place {
	enum qcow_place_kind kind;
	uint64_t off_bytes; /* in the file */
	uint64_t len_bytes; /* PACKED: compressed; what lies behind the end of the file is cut */
};

struct qcow_table {
	const struct source_file *file;
	const struct qcow_header *header;
	uint64_t
		data_bytes; /* of the file that the clusters lie in: this one, or an external one */
	uint64_t l1_index;  /* of the table in `l2`; UINT64_MAX: none */
	bool l2_present;
	uint8_t *l2;
};

/* Both pointers are borrowed. */
int qcow_table_init(struct qcow_table *table, const struct source_file *file,
		    const struct qcow_header *header);
void qcow_table_free(struct qcow_table *table);

/* Where the cluster `index` is. -EBADMSG: an entry that cannot be, or that points to where the
 * file has ended already. */
int qcow_table_find(struct qcow_table *table, uint64_t index, struct qcow_place *ret_place,
		    struct sv_source_error *err);

/* Finds every cluster once: what QEMU is to read, because QEMU reads zeros behind a file's end. */
int qcow_table_check(struct qcow_table *table, struct sv_source_error *err);

/* How much of a cluster belongs to the disk. */
uint64_t qcow_used_bytes(const struct qcow_header *header, uint64_t index);

/* The clause for damage to a cluster. */
int qcow_damaged(const struct qcow_header *header, uint64_t index, const char *what,
		 struct sv_source_error *err);

#endif
