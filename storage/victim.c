/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * victim.c: which segments are cleaned, and how fast what is in them dies.
 *
 * Terms: E is the part of a segment that holds nothing live. To win a byte by cleaning costs
 * (1-E)/E bytes of survivors. The *clock* is the guest's: bytes that it had stored. The *rate* of a
 * segment is how much of what lives in it dies while the clock moves on by one byte.
 *
 * V1  The victim is where waiting is worth least: the cost falls by rate x (1-E)/E^2 a byte of the
 *     clock, and the segment with the least of it goes first. Where all die alike that is the
 *     emptiest (greedy); where they do not, cold segments are cleaned fuller than hot ones, in the
 *     proportion in which an ideal split would share the room out.
 * V2  Rates are measured, not told: from deaths since a segment was closed, and once much of it
 *     died, from deaths since then (what is left of a mixture is the part that lives long). Where
 *     little was seen, the mean of the store counts: all alike.
 * V3  Nothing of it is on the stick but `last_seq`, which is there for the gate: at an open, a
 *     segment of which nothing died for long has been watched for as long.
 */
#include <errno.h>

#include "store_impl.h"

#define VISITS_MAX 4u
#define LEAST_EMPTY (1.0 / 1024)

/* What a pass would have to write of it. What the cleaner packed itself counts as full where small
 * units left room for records only: just what died since is to be won. */
static uint64_t burden(const struct sv_store *s, const struct sv_seg *seg)
{
	uint64_t live = (uint64_t)seg->usage.live_bytes + seg->self_live;
	uint64_t dense = sv_dense_bytes(s);

	return seg->packed && seg->packed < dense ? live + dense - seg->packed : live;
}

/* V2: deaths by bytes that lived through them, drawn towards the mean by a sixteenth of a
 * segment. */
static double rate_of(const struct sv_store *s, const struct sv_seg *seg)
{
	double live = seg->usage.live_bytes, began = seg->watched_live;
	double deaths = began > live ? began - live : 0;
	double passed = (double)(s->segs.clock - sv_min64(s->segs.clock, seg->watched_since));
	double weight = s->anchor.segment_bytes / 16.0;
	double mean = 1 / (double)sv_max64(s->segs.live_bytes, s->anchor.segment_bytes);

	if (seg->rate > 0)
		mean = seg->rate;
	return (deaths + weight) / ((began + live) / 2 * passed + weight / mean);
}

void sv_segs_watch(const struct sv_store *s, struct sv_seg *seg)
{
	uint64_t live = seg->usage.live_bytes, began = seg->watched_live;

	if (live <= began &&
	    (live > began - began / 4 || began - live < s->anchor.segment_bytes / 16))
		return;
	if (live <= began) /* else survivors came in: it begins anew */
		seg->rate = (float)rate_of(s, seg);
	seg->watched_live = (uint32_t)live;
	seg->watched_since = s->segs.clock;
}

static double worth(const struct sv_store *s, const struct sv_seg *seg, bool squeeze)
{
	double u = (double)burden(s, seg) / s->anchor.segment_bytes;
	double empty = 1 - u > LEAST_EMPTY ? 1 - u : LEAST_EMPTY;

	if (squeeze)
		return (double)seg->slack;
	return empty * empty / ((u > LEAST_EMPTY ? u : LEAST_EMPTY) * rate_of(s, seg));
}

static bool is_candidate(const struct sv_store *s, const struct sv_seg *seg, bool squeeze)
{
	uint64_t full = squeeze ? s->anchor.segment_bytes
				: sv_dense_bytes(s) - s->anchor.segment_bytes / 32;
	int64_t least = squeeze ? s->anchor.segment_bytes / 64 : INT64_MIN;
	unsigned visits = seg->usage.flags & SV_SEG_DAMAGED ? 1 : VISITS_MAX;

	return seg->role == SV_SEG_IDLE && (seg->usage.live_bytes || seg->self_live) &&
	       burden(s, seg) <= full && seg->slack >= least && seg->visits < visits &&
	       seg->visit_mark != (uint32_t)s->ledger.checkpoints + 1;
}

uint32_t sv_choose_victim(struct sv_store *s, const uint32_t *chosen, unsigned count, bool squeeze)
{
	uint32_t best = 0;
	double best_worth = 0;

	for (uint64_t i = 2; i < s->segs.count; i++) {
		struct sv_seg *seg = &s->segs.v[i];
		bool taken = false;
		double w;

		if (!is_candidate(s, seg, squeeze))
			continue;
		for (unsigned k = 0; k < count; k++)
			taken |= chosen[k] == i;
		if (taken)
			continue;
		sv_segs_watch(s, seg);
		w = worth(s, seg, squeeze);
		if (w > best_worth) {
			best_worth = w;
			best = (uint32_t)i;
		}
	}
	return best;
}

void sv_watch_all(struct sv_store *s)
{
	uint64_t a_batch = s->ledger.payload_bytes / sv_max64(s->ledger.batches, 1);

	s->segs.clock = s->ledger.payload_bytes;
	for (uint64_t i = 0; i < s->segs.count; i++) {
		struct sv_seg *seg = &s->segs.v[i];
		uint64_t quiet = s->log.seq - sv_min64(s->log.seq, seg->usage.last_seq);

		seg->watched_live = seg->usage.live_bytes;
		seg->watched_since =
			s->segs.clock - sv_min64(s->segs.clock, quiet * a_batch); /* V3 */
	}
}

/* One leaf; `*lba` moves behind it. */
static int slack_of_leaf(struct sv_store *s, uint64_t *lba, struct sv_need *need)
{
	struct sv_page *leaf;
	int r = sv_map_next(&s->map, *lba, lba, need);

	if (r < 0 || *lba >= s->blocks)
		return r;
	r = sv_map_page(&s->map, 0, *lba / SV_PAGE_ENTRIES, false, &leaf, need);
	if (r < 0)
		return r;
	if (leaf)
		sv_leaf_slack(leaf, &s->segs);
	*lba = (*lba / SV_PAGE_ENTRIES + 1) * SV_PAGE_ENTRIES;
	return 0;
}

int sv_find_slack(struct sv_store *s)
{
	uint64_t lba = 0;
	int r = 0;

	if (s->slack_known)
		return 0;
	pthread_mutex_lock(&s->commit); /* the map stands still */
	pthread_mutex_lock(&s->lock);
	for (uint64_t i = 0; i < s->segs.count; i++)
		s->segs.v[i].slack = 0;
	while (r == 0 && lba < s->blocks) {
		struct sv_need need;

		r = slack_of_leaf(s, &lba, &need);
		if (r != -EAGAIN)
			continue;
		pthread_mutex_unlock(&s->lock);
		r = sv_fault_or_lose(s, &need); /* what is lost has no slack */
		pthread_mutex_lock(&s->lock);
	}
	s->slack_known = r == 0;
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->commit);
	return r;
}
