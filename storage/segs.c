/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * segs.c: the segment table. A segment is free if and only if it has no role, holds nothing live
 * and ended before the gate or was never written (G2; why that is enough: DESIGN S1 to S4).
 *
 *   virgin --alloc--> head/apart --role idle--> used --last live byte goes--> pending
 *      free <--the gate passes last_seq-- pending
 *
 * G3  The table is on the stick, and so is the map that takes bytes off its counts: a store with
 *     right checks can have two that contradict each other. Counts then stay within their bounds
 *     and `wrong` is set, for good: nothing is written any more (log.c), so nothing is reused.
 */
#include "segs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "digest.h"

#define MOST_SEGMENTS (UINT64_C(1) << 17) /* a tebibyte of 8 MiB; memory is taken when touched */

static bool is_empty(const struct sv_seg *s)
{
	return s->role == SV_SEG_IDLE && s->usage.live_bytes == 0 && s->self_live == 0;
}

static bool is_free(const struct sv_segs *segs, const struct sv_seg *s)
{
	return is_empty(s) && (s->usage.generation == 0 || s->usage.last_seq < segs->gate_seq);
}

unsigned sv_segs_levels(uint64_t count)
{
	unsigned levels = 1;
	uint64_t pages = (count + SV_USAGE_PER_PAGE - 1) / SV_USAGE_PER_PAGE;

	for (; pages > 1; levels++)
		pages = (pages + SV_PAGE_ENTRIES - 1) / SV_PAGE_ENTRIES;
	return levels;
}

uint64_t sv_segs_pages(uint64_t count, unsigned level)
{
	uint64_t pages = (count + SV_USAGE_PER_PAGE - 1) / SV_USAGE_PER_PAGE;

	for (unsigned l = 0; l < level; l++)
		pages = (pages + SV_PAGE_ENTRIES - 1) / SV_PAGE_ENTRIES;
	return pages ? pages : 1;
}

int sv_segs_init(struct sv_segs *segs, uint32_t segment_bytes, uint64_t count, uint64_t limit)
{
	uint64_t most = sv_max64(limit, MOST_SEGMENTS);

	*segs = (struct sv_segs){.segment_bytes = segment_bytes, .limit = limit, .most = most};
	segs->v = calloc(most, sizeof(*segs->v));
	if (!segs->v)
		return -ENOMEM;
	for (unsigned l = 0; l < sv_segs_levels(most); l++) {
		uint64_t pages = sv_segs_pages(most, l);

		segs->level[l].where = calloc(pages, sizeof(uint64_t));
		segs->level[l].dirty = calloc(pages, 1);
		segs->level[l].pages = pages;
		if (!segs->level[l].where || !segs->level[l].dirty) {
			sv_segs_free(segs);
			return -ENOMEM;
		}
	}
	for (uint64_t i = 0; i < limit && i < 2; i++)
		segs->v[i].role = SV_SEG_FIXED;
	sv_segs_set_count(segs, count);
	return 0;
}

void sv_segs_free(struct sv_segs *segs)
{
	for (unsigned l = 0; l < SV_MAX_LEVELS; l++) {
		free(segs->level[l].where);
		free(segs->level[l].dirty);
	}
	free(segs->v);
	*segs = (struct sv_segs){0};
}

void sv_segs_touch(struct sv_segs *segs, uint64_t segment)
{
	uint64_t page = segment / SV_USAGE_PER_PAGE;

	for (unsigned l = 0; l < segs->levels; l++, page /= SV_PAGE_ENTRIES)
		segs->level[l].dirty[page] = 1;
}

void sv_segs_set_count(struct sv_segs *segs, uint64_t count)
{
	unsigned levels = sv_segs_levels(count);

	assert(count <= segs->limit && count >= segs->count);
	segs->count = count;
	if (levels != segs->levels) {
		/* A level more: all of it is new, and what is below it has no parent yet. */
		segs->levels = levels;
		for (uint64_t i = 0; i < count; i += SV_USAGE_PER_PAGE)
			sv_segs_touch(segs, i);
	}
	sv_segs_recount(segs);
}

void sv_segs_recount(struct sv_segs *segs)
{
	segs->free = segs->pending = 0;
	for (uint64_t i = 0; i < segs->count; i++) {
		if (is_free(segs, &segs->v[i]))
			segs->free++;
		else if (is_empty(&segs->v[i]))
			segs->pending++;
	}
}

/* The one place where counts of live bytes change; keeps free and pending right with them. */
static void change(struct sv_segs *segs, uint64_t place, int64_t delta, uint64_t seq, bool self)
{
	uint64_t i = place / segs->segment_bytes;
	struct sv_seg *s = &segs->v[i < segs->count ? i : 0];
	uint32_t *live = self ? &s->self_live : &s->usage.live_bytes;

	if (i >= segs->count || (int64_t)*live + delta < 0 ||
	    (int64_t)*live + delta > segs->segment_bytes) {
		segs->wrong = true; /* G3 */
		return;
	}
	if (is_empty(s))
		segs->pending -= !is_free(segs, s), segs->free -= is_free(segs, s);
	*live = (uint32_t)(*live + delta);
	segs->live_bytes = (uint64_t)((int64_t)segs->live_bytes + delta);
	if (seq > s->usage.last_seq)
		s->usage.last_seq = seq;
	if (is_empty(s))
		segs->pending += !is_free(segs, s), segs->free += is_free(segs, s);
	if (!self)
		sv_segs_touch(segs, i);
}

void sv_segs_live(struct sv_segs *segs, uint64_t place, int64_t delta_bytes, uint64_t seq)
{
	change(segs, place, delta_bytes, seq, false);
}

void sv_segs_self(struct sv_segs *segs, uint64_t place, int64_t delta_bytes, uint64_t seq)
{
	change(segs, place, delta_bytes, seq, true);
}

static int64_t slack_of(uint32_t stored, unsigned blocks)
{
	int64_t beyond = (int64_t)stored - (int64_t)blocks * SV_RAW_UNIT_BYTES;

	return blocks && beyond > 0 ? beyond : 0;
}

void sv_segs_slack(struct sv_segs *segs, uint64_t place, uint32_t stored, unsigned before,
		   unsigned blocks)
{
	uint64_t i = place / segs->segment_bytes;

	if (i < segs->count) /* G3 */
		segs->v[i].slack += slack_of(stored, blocks) - slack_of(stored, before);
}

void sv_segs_set_role(struct sv_segs *segs, uint32_t segment, enum sv_seg_role role)
{
	struct sv_seg *s = &segs->v[segment];

	if (is_empty(s))
		segs->pending -= !is_free(segs, s), segs->free -= is_free(segs, s);
	if (role == SV_SEG_IDLE) {
		s->watched_live = s->usage.live_bytes;
		s->watched_since = segs->clock;
	}
	s->role = (uint8_t)role;
	if (is_empty(s))
		segs->pending += !is_free(segs, s), segs->free += is_free(segs, s);
}

int sv_segs_alloc(struct sv_segs *segs, enum sv_seg_role role, uint32_t *ret_segment)
{
	uint64_t virgin = 0;

	for (uint64_t n = 0; n < segs->count; n++) {
		uint64_t i = (segs->cursor + n) % segs->count;
		const struct sv_usage *u = &segs->v[i].usage;

		if (!is_free(segs, &segs->v[i]))
			continue;
		if (u->generation == 0 && !(u->flags & SV_SEG_CONVERTED)) {
			if (!virgin)
				virgin = i;
			continue;
		}
		virgin = i;
		break;
	}
	if (!virgin)
		return -ENOSPC;
	segs->cursor = virgin + 1;
	sv_segs_set_role(segs, (uint32_t)virgin, role);
	*ret_segment = (uint32_t)virgin;
	return 0;
}

void sv_segs_begin(struct sv_segs *segs, uint32_t segment, uint64_t generation, uint64_t seq)
{
	struct sv_usage *u = &segs->v[segment].usage;

	assert(u->live_bytes == 0 && segs->v[segment].role != SV_SEG_IDLE); /* S1 */
	u->generation = generation;
	u->last_seq = seq;
	u->used_bytes = 0;
	u->flags = SV_SEG_CONVERTED;
	u->lineage = 0;
	segs->v[segment].slack = 0;
	segs->v[segment].packed = 0;
	segs->v[segment].bears = false;
	segs->v[segment].rate = 0;
	segs->v[segment].visits = 0;
	segs->v[segment].visit_mark = 0;
	sv_segs_touch(segs, segment);
}

void sv_segs_go_on(struct sv_segs *segs, uint32_t segment, const uint8_t *hash)
{
	struct sv_usage *u = &segs->v[segment].usage;

	u->lineage = (uint32_t)sv_hash64(hash, SV_HASH_BYTES, u->lineage) | 1u;
	sv_segs_touch(segs, segment);
}

void sv_segs_set_gate(struct sv_segs *segs, uint64_t gate_seq)
{
	if (gate_seq == segs->gate_seq)
		return;
	segs->gate_seq = gate_seq;
	sv_segs_recount(segs);
}
