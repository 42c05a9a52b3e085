/* SPDX-License-Identifier: GPL-2.0-or-later */
/* repair.h: between the parts of a repair: what was found, and the state made from it. */
#ifndef STORAGE_REPAIR_H
#define STORAGE_REPAIR_H

#include "scan.h"
#include "stickvm/repair.h"
#include "store_impl.h"

struct sv_repair {
	const struct sv_repair_options *opts;
	struct sv_repair_result result;
	struct sv_store *s;
	struct sv_scan scan;
	struct sv_chain chain;
	size_t end;	     /* of the chain: what lies behind it was not accepted */
	size_t base;	     /* in the chain: replay goes on behind it */
	bool base_known;     /* there is a root to start from */
	uint64_t anchor_seq; /* the newest that was seen */
};

/* ---- repair_load.c: the newest state that can be proven, in memory ---- */
int sv_repair_load(struct sv_repair *r);

/* ---- repair_base.c: the root to start from ---- */
/* Sets the map to the best root, and base, base_known; without one all is lost. */
int sv_repair_base(struct sv_repair *r);
/* The disk's size from whatever root is left; -EUCLEAN. */
int sv_repair_size(struct sv_repair *r);
/* What the map refers to now: bytes of each segment (NULL: not asked), mapped blocks, bytes of the
 * disk under pages that are lost. */
struct sv_tree_sum {
	uint64_t *live;
	uint64_t mapped, lost_bytes;
};
int sv_tree_sum(struct sv_store *s, struct sv_tree_sum *sum);

#endif
