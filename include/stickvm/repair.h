/* SPDX-License-Identifier: GPL-2.0-or-later */
/* repair.h: a store made usable again from the batches alone, where its anchors or roots are gone.
 */
#ifndef STICKVM_REPAIR_H
#define STICKVM_REPAIR_H

#include "stickvm/store.h"

struct sv_repair_options {
	const char *host;    /* who repairs; NULL: unknown */
	uint64_t size_bytes; /* of the disk, for the case that no root is left to say it; 0 */
	bool dry_run;	     /* look, and write nothing */
	/* Called before bytes in use are overwritten, which only anchors are. A negative errno from
	 * it ends the repair with nothing overwritten. May be NULL. */
	int (*save)(void *ctx, uint64_t place_bytes, const void *bytes, size_t len_bytes);
	void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes); /* may be NULL */
	void *ctx;
	uint64_t seed; /* as in sv_open_options */
};

struct sv_repair_result {
	uint64_t last_seq;   /* the newest batch of the chain */
	uint64_t batches;    /* of the chain that was proven, from first to last */
	uint64_t base_seq;   /* the root that the map was taken from; 0: from no root at all */
	uint64_t replayed;   /* batches behind it */
	uint64_t dropped;    /* batches behind the last that is whole, which no flush had covered */
	unsigned mended;     /* headers with one bad bit */
	unsigned lost_roots; /* roots in the chain that are gone, and were not needed */
	uint64_t lost_bytes; /* of the disk: where nobody knows what it held; they give EIO */
	uint64_t written_bytes;
};

/*
 * Looks for every batch on the device, takes the newest chain that they prove, the best root in
 * it, and what follows that root, and writes the state so found as a new session: into segments
 * that hold nothing, then both anchors. What cannot be proven gives EIO, never older data. A cut
 * at any moment leaves a store that can be repaired again. `dev` is borrowed.
 * -EMEDIUMTYPE: no batch was found; -ENOSPC: there is no free segment to write to; -EUCLEAN: the
 * disk's size is not known; sv_store_why says so. With any error nothing that was in use was
 * changed.
 */
int sv_store_repair(struct sv_dev *dev, const struct sv_repair_options *opts,
		    struct sv_repair_result *ret_result);

/*
 * Writes anew what lies in segments with a bad header (SV_FOUND_HEADER): it can be read, but the
 * cleaner cannot move it. What cannot be read stays. The store is open for writing, and nobody
 * else uses it. *ret_blocks: how many were written.
 */
int sv_store_rescue(struct sv_store *st, uint64_t *ret_blocks);

#endif
