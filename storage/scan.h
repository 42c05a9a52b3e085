/* SPDX-License-Identifier: GPL-2.0-or-later */
/* scan.h: every batch header on a device, found without anchors; and the chain that they form. */
#ifndef STORAGE_SCAN_H
#define STORAGE_SCAN_H

#include "format.h"

/* A header that verifies by itself. */
struct sv_found {
	uint64_t place, seq, epoch, flushed_seq, log_bytes, generation, time_s;
	uint64_t checkpoints; /* of its ledger */
	uint32_t segment, offset, next_segment;
	uint32_t head_bytes, payload_offset, payload_bytes, total_bytes, flags, records;
	uint8_t store_id[SV_STORE_ID_BYTES];
	uint8_t prev_hash[SV_HASH_BYTES], hash[SV_HASH_BYTES];
	bool set_aside;	  /* not in the chain: on nothing that was promised */
	uint32_t bad_bit; /* plus one: of the header, turned to make it verify; 0: none */
};

struct sv_scan {
	struct sv_found *v;
	size_t count, capacity;
	uint8_t *written; /* one for each SV_SCAN_GRAIN of the device: holds more than zeros */
	uint64_t grains;
	uint64_t unreadable_bytes;
	unsigned mended;
};
#define SV_SCAN_GRAIN (64u << 10) /* the smallest segment */

typedef void sv_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

/*
 * Reads the whole device. A header with one bad bit is found all the same: the bit is turned back
 * when the hash, 128 bits, then says that it is right. -ENOMEM, -ENODEV; what cannot be read is
 * passed over.
 */
int sv_scan_run(struct sv_dev *dev, const struct sv_geometry *geo, sv_progress *progress, void *ctx,
		struct sv_scan *ret_scan);
void sv_scan_free(struct sv_scan *scan);
/* The header with its records, right where a bit was bad; the caller frees it. */
int sv_scan_raw(struct sv_dev *dev, const struct sv_geometry *geo, const struct sv_found *found,
		uint8_t **ret_raw);

/* What identifies a store, from its headers alone: zero fields are not known. */
struct sv_identity {
	uint8_t store_id[SV_STORE_ID_BYTES];
	bool id_known;
	uint32_t segment_bytes, page_bytes;
};
/* Fills what is not known, and drops the headers that are not of this store, or do not lie where
 * they say. -EMEDIUMTYPE: there are none. */
int sv_scan_identify(struct sv_scan *scan, struct sv_identity *id);

/* Whether x is the newer of two batches, each by itself. */
bool sv_found_is_newer(const struct sv_found *x, const struct sv_found *y);

/* Batches that prove each other, ascending, up to the newest one. */
struct sv_chain {
	const struct sv_found **v;
	bool *after_lost_root; /* between it and the one before, one batch is missing: a root */
	size_t count;
};
/*
 * The newest chain: the tip is of the newest epoch; each batch names its predecessor's hash. One
 * that is missing is passed over only where the ledgers on both sides prove that it was a root,
 * which changes nothing in the map. `proven_seq`: up to which batch an anchor says that all was
 * flushed; 0.
 */
int sv_chain_build(struct sv_scan *scan, uint64_t proven_seq, struct sv_chain *ret_chain);
void sv_chain_free(struct sv_chain *chain);

#endif
