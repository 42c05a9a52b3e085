/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * repair_base.c: the root that a repair starts from.
 *
 * Any root in the proven chain would do, since what follows it is replayed: an older one only
 * means more of that. But pages may be damaged, or lie in segments that were used again since. So
 * the newest root under which no page is missing is taken, or else the one with the least missing.
 *
 * A root that is lost itself can be told from the pages before it: a checkpoint writes them from
 * the leaves up to the top, as batches that hold nothing else, and the root right behind.
 */
#include <errno.h>
#include <stdlib.h>

#include "repair.h"

#define CANDIDATES 16u

struct candidate {
	size_t at; /* replay begins behind this batch */
	struct sv_root root;
};

static struct sv_cur records_of(const uint8_t *raw, const struct sv_found *f)
{
	return sv_cur_over((uint8_t *)raw + SV_HEAD_FIXED_BYTES,
			   f->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
}

static int read_root(struct sv_repair *r, const struct sv_found *f, struct sv_root *ret_root)
{
	struct sv_record rec;
	struct sv_cur c;
	uint8_t *raw;
	int e = sv_scan_raw(r->s->dev, &r->s->geo, f, &raw);

	if (e < 0)
		return e;
	c = records_of(raw, f);
	e = -EBADMSG;
	for (uint32_t i = 0; e < 0 && i < f->records && sv_record_get(&c, &rec) == 0; i++)
		if (rec.type == SV_REC_ROOT) {
			*ret_root = rec.root;
			e = 0;
		}
	free(raw);
	return e;
}

int sv_repair_size(struct sv_repair *r)
{
	const struct sv_found *best = NULL;
	struct sv_root root = {.size_bytes = r->opts->size_bytes};

	for (size_t i = 0; i < r->scan.count; i++)
		if (r->scan.v[i].flags & SV_BATCH_ROOT && (!best || r->scan.v[i].seq > best->seq))
			best = &r->scan.v[i];
	if (best)
		(void)read_root(r, best, &root);
	if (!root.size_bytes || root.size_bytes % 512 || root.size_bytes > SV_MAX_DISK_BYTES) {
		sv_why("no root is left that says how large the disk is");
		return -EUCLEAN;
	}
	r->s->size_bytes = root.size_bytes;
	r->s->blocks = (root.size_bytes + SV_BLOCK_BYTES - 1) / SV_BLOCK_BYTES;
	return 0;
}

/* ---- a root from the pages before it ---- */

/* 1: the batch holds pages and nothing else; *ret_top is set where the map's top is one of them. */
static int only_pages(struct sv_repair *r, const struct sv_found *f, unsigned top_level,
		      uint64_t *ret_top)
{
	uint64_t place = f->place + f->payload_offset;
	bool only = f->records > 0;
	struct sv_record rec;
	struct sv_cur c;
	uint8_t *raw;
	int e = sv_scan_raw(r->s->dev, &r->s->geo, f, &raw);

	if (e < 0)
		return e == -EIO ? 0 : e;
	c = records_of(raw, f);
	for (uint32_t i = 0; only && i < f->records; i++) {
		only = sv_record_get(&c, &rec) == 0 && rec.type == SV_REC_PAGE;
		if (only && rec.tree == SV_TREE_MAP && rec.level == top_level && !*ret_top)
			*ret_top = sv_entry_make(place, 0, rec.stored_bytes);
		place += only ? rec.stored_bytes : 0;
	}
	free(raw);
	return only;
}

/* 1, and the root that must have been before chain.v[at]; 0: it cannot be told. */
static int lost_root(struct sv_repair *r, size_t at, struct candidate *ret)
{
	unsigned top_level = sv_map_top_level(&r->s->map);
	uint64_t top = 0;

	for (size_t i = at; i-- > 0;) {
		int e = 0;

		if (i + 1 == at || !r->chain.after_lost_root[i + 1])
			e = only_pages(r, r->chain.v[i], top_level, &top);
		if (e < 0)
			return e;
		if (e == 0)
			break;
	}
	*ret = (struct candidate){.at = at - 1, .root.map_top = top};
	return top != 0;
}

/* ---- the tree under a root ---- */

static int sum_page(struct sv_store *s, unsigned level, uint64_t index, struct sv_tree_sum *sum);

static void add_live(struct sv_store *s, struct sv_tree_sum *sum, uint64_t entry)
{
	uint64_t segment = sv_entry_place(entry) / s->anchor.segment_bytes;

	if (sum->live && segment >= 2 && segment < s->segs.count)
		sum->live[segment] += sv_entry_stored(entry);
}

static void sum_leaf(struct sv_store *s, const struct sv_page *page, struct sv_tree_sum *sum)
{
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		bool counted = false;

		if (page->e[i] == SV_ENTRY_LOST)
			sum->lost_bytes += SV_BLOCK_BYTES;
		if (!page->e[i] || page->e[i] == SV_ENTRY_LOST)
			continue;
		sum->mapped++;
		for (unsigned k = 0; k < i; k++)
			counted |= sv_entry_same_unit(page->e[k], page->e[i]);
		if (!counted)
			add_live(s, sum, page->e[i]);
	}
}

static int sum_page(struct sv_store *s, unsigned level, uint64_t index, struct sv_tree_sum *sum)
{
	uint64_t span = SV_BLOCK_BYTES * SV_PAGE_ENTRIES;
	struct sv_page page;
	int r = sv_copy_page(s, level, index, &page);

	for (unsigned l = 0; l < level; l++)
		span *= SV_PAGE_ENTRIES;
	if (r == -EIO) {
		if (index * span < s->size_bytes)
			sum->lost_bytes += sv_min64(span, s->size_bytes - index * span);
		return 0;
	}
	if (r == 0 && level == 0)
		sum_leaf(s, &page, sum);
	for (unsigned i = 0; r == 0 && level && i < SV_PAGE_ENTRIES; i++) {
		add_live(s, sum, page.e[i]); /* the page itself, also where it is damaged */
		if (page.e[i])
			r = sum_page(s, level - 1, index * SV_PAGE_ENTRIES + i, sum);
	}
	return r;
}

int sv_tree_sum(struct sv_store *s, struct sv_tree_sum *sum)
{
	sum->mapped = sum->lost_bytes = 0;
	add_live(s, sum, s->map.top);
	return sum_page(s, sv_map_top_level(&s->map), 0, sum);
}

/* ---- the choice ---- */

/* Memory for the whole map, so that what is changed never has to be written in between. */
static int fresh_map(struct sv_repair *r, uint64_t top)
{
	struct sv_store *s = r->s;
	uint64_t pages = s->blocks / (SV_PAGE_ENTRIES - 1) + 64;
	int e;

	sv_map_free(&s->map);
	e = sv_map_init(&s->map, s->blocks,
			sv_min64(pages * sizeof(struct sv_page), UINT64_C(8) << 30));
	s->map.top = top;
	return e;
}

static bool top_in_place(const struct sv_store *s, uint64_t top)
{
	uint64_t segment = sv_entry_place(top) / s->anchor.segment_bytes;

	return top == 0 || top == SV_ENTRY_LOST || (segment >= 2 && segment < s->segs.count);
}

/* The candidate at chain.v[i]: 1, 0 for none, or an errno. */
static int candidate_at(struct sv_repair *r, size_t i, struct candidate *ret)
{
	if (r->chain.v[i]->flags & SV_BATCH_ROOT) {
		ret->at = i;
		if (read_root(r, r->chain.v[i], &ret->root) == 0 &&
		    ret->root.size_bytes == r->s->size_bytes &&
		    top_in_place(r->s, ret->root.map_top))
			return 1;
	}
	return i && r->chain.after_lost_root[i] ? lost_root(r, i, ret) : 0;
}

int sv_repair_base(struct sv_repair *r)
{
	struct candidate c, best = {.root.map_top = SV_ENTRY_LOST};
	uint64_t least = UINT64_MAX;
	unsigned tried = 0;
	int e = fresh_map(r, SV_ENTRY_LOST);

	for (size_t i = r->end; e == 0 && i-- > 0 && least && tried < CANDIDATES;) {
		struct sv_tree_sum sum = {.live = NULL};
		int found = candidate_at(r, i, &c);

		if (found <= 0) {
			e = found;
			continue;
		}
		tried++;
		e = fresh_map(r, c.root.map_top);
		if (e == 0)
			e = sv_tree_sum(r->s, &sum);
		if (e == 0 && sum.lost_bytes < least) {
			least = sum.lost_bytes;
			best = c;
			r->base_known = true;
		}
	}
	if (e < 0)
		return e;
	r->base = best.at;
	return fresh_map(r, best.root.map_top);
}
