/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scan_chain.c: from headers found anywhere to the newest chain that they prove.
 *
 * H1  A batch is the predecessor of another if and only if its hash is the one that the other
 *     names. So the chain is walked backwards from its tip, and branches that a recovery refused
 *     are never entered.
 * H2  The tip is of the newest epoch, and of that the newest batch: an epoch begins only where
 *     recovery gave up what was behind (DESIGN, O1).
 * H3  A batch that is missing is passed over only if it was a root: the two around it, of one
 *     epoch, are two numbers apart, and the ledger of the second counts one checkpoint more. A
 *     checkpoint is counted once its root is appended, so the missing one was that root.
 * H4  Where a batch is missing that no flush is known to have covered, what follows it is what a
 *     cut left of writes that were never promised: it is set aside, and the tip is looked for
 *     again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

static int by_seq(const void *a, const void *b)
{
	const struct sv_found *x = a, *y = b;

	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* H2 */
bool sv_found_is_newer(const struct sv_found *x, const struct sv_found *y)
{
	if (sv_epoch_ordinal(x->epoch) != sv_epoch_ordinal(y->epoch))
		return sv_epoch_is_later(x->epoch, y->epoch);
	return x->seq != y->seq ? x->seq > y->seq : x->log_bytes > y->log_bytes;
}

static const struct sv_found *find_tip(const struct sv_scan *scan)
{
	const struct sv_found *tip = NULL;

	for (size_t i = 0; i < scan->count; i++)
		if (!(scan->v[i].flags & SV_BATCH_APART) && !scan->v[i].set_aside &&
		    (!tip || sv_found_is_newer(&scan->v[i], tip)))
			tip = &scan->v[i];
	return tip;
}

/* The first header with this number or a larger one; the scan is sorted. */
static size_t lower_bound(const struct sv_scan *scan, uint64_t seq)
{
	size_t low = 0, high = scan->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (scan->v[middle].seq < seq)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct sv_found *predecessor(const struct sv_scan *scan, const struct sv_found *f)
{
	for (size_t i = lower_bound(scan, f->seq - 1);
	     i < scan->count && scan->v[i].seq == f->seq - 1; i++)
		if (!(scan->v[i].flags & SV_BATCH_APART) && scan->v[i].epoch <= f->epoch &&
		    memcmp(scan->v[i].hash, f->prev_hash, SV_HASH_BYTES) == 0)
			return &scan->v[i];
	return NULL;
}

/* H3 */
static const struct sv_found *before_lost_root(const struct sv_scan *scan, const struct sv_found *f)
{
	const struct sv_found *found = NULL;

	if (f->seq < 3)
		return NULL;
	for (size_t i = lower_bound(scan, f->seq - 2);
	     i < scan->count && scan->v[i].seq == f->seq - 2; i++) {
		const struct sv_found *x = &scan->v[i];

		if (x->flags & (SV_BATCH_APART | SV_BATCH_MORE) || x->epoch != f->epoch ||
		    x->checkpoints + (x->flags & SV_BATCH_ROOT ? 2 : 1) != f->checkpoints)
			continue;
		if (found)
			return NULL;
		found = x;
	}
	return found;
}

static void reverse(struct sv_chain *c)
{
	for (size_t i = 0; i < c->count / 2; i++) {
		size_t k = c->count - 1 - i;
		const struct sv_found *f = c->v[i];
		bool lost = c->after_lost_root[i];

		c->v[i] = c->v[k];
		c->after_lost_root[i] = c->after_lost_root[k];
		c->v[k] = f;
		c->after_lost_root[k] = lost;
	}
}

/* The chain that ends in this tip, newest first. */
static void walk_back(struct sv_scan *scan, const struct sv_found *f, struct sv_chain *c)
{
	c->count = 0;
	while (f && c->count < scan->count) {
		const struct sv_found *before = predecessor(scan, f);

		c->v[c->count] = f;
		c->after_lost_root[c->count] = false;
		if (!before && (before = before_lost_root(scan, f)) != NULL)
			c->after_lost_root[c->count] = true;
		c->count++;
		f = before;
	}
}

/* H4: true, and the batches are set aside, where what they build on was never promised. */
static bool set_aside(struct sv_scan *scan, const struct sv_chain *c, uint64_t proven_seq)
{
	const struct sv_found *first = c->v[c->count - 1];

	if (first->seq <= 1)
		return false;
	for (size_t i = 0; i < c->count; i++) {
		const struct sv_found *f = c->v[i];

		proven_seq = sv_max64(proven_seq,
				      f->flags & SV_BATCH_CLOSE ? f->seq - 1 : f->flushed_seq);
	}
	if (proven_seq >= first->seq - 1)
		return false;
	for (size_t i = 0; i < c->count; i++)
		scan->v[c->v[i] - scan->v].set_aside = true;
	return true;
}

int sv_chain_build(struct sv_scan *scan, uint64_t proven_seq, struct sv_chain *ret_chain)
{
	struct sv_chain c = {0};
	const struct sv_found *tip;

	if (!scan->count)
		return -EMEDIUMTYPE;
	qsort(scan->v, scan->count, sizeof(scan->v[0]), by_seq);
	c.v = calloc(scan->count, sizeof(*c.v));
	c.after_lost_root = calloc(scan->count, sizeof(*c.after_lost_root));
	if (!c.v || !c.after_lost_root) {
		sv_chain_free(&c);
		return -ENOMEM;
	}
	do {
		tip = find_tip(scan);
		if (tip)
			walk_back(scan, tip, &c);
	} while (tip && set_aside(scan, &c, proven_seq));
	if (!tip) {
		sv_chain_free(&c);
		return -EMEDIUMTYPE;
	}
	reverse(&c);
	*ret_chain = c;
	return 0;
}

void sv_chain_free(struct sv_chain *chain)
{
	free(chain->v);
	free(chain->after_lost_root);
	*chain = (struct sv_chain){0};
}
