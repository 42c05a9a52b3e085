/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify_log.c: what lies on the device beside the map's own units: both anchors, the chain from
 * the root they name to the tail with all of its payload, the pages of the segment table, and the
 * headers over everything that is in use.
 *
 * V1  A unit that the map refers to is described by a header in its segment, or the cleaner cannot
 *     move it. So where the headers of a segment describe less than is live there, one is bad.
 * V2  Only what the chain from the root to the tail holds is read by a recovery: a dead unit there
 *     is told of, a dead unit elsewhere is nobody's.
 */
#include <errno.h>
#include <stdlib.h>

#include "verify.h"

static void tell(const struct sv_verify *v, enum sv_finding_kind kind, const char *what,
		 uint64_t place)
{
	struct sv_finding f = {.kind = kind, .what = what, .place_bytes = place};

	v->report(v->ctx, &f);
}

/* ---- anchors ---- */

static int check_anchor(const struct sv_verify *v, struct sv_walk *w, unsigned which)
{
	static const char *const bad[] = {"the first anchor does not verify",
					  "the second anchor does not verify"};
	static const char *const astray[] = {"the first anchor names a root that does not verify",
					     "the second anchor names a root that does not verify"};
	uint64_t place = (uint64_t)which * v->s->anchor.segment_bytes;
	struct sv_anchor a;
	struct sv_head h;
	uint8_t *data;
	int r = sv_walk_read(v->s, w, place, SV_ANCHOR_BYTES, &data);

	if (r == 0)
		r = sv_anchor_decode(data, &a);
	if (r == 0 && (memcmp(a.store_id, v->s->anchor.store_id, SV_STORE_ID_BYTES) != 0 ||
		       a.segment_bytes != v->s->anchor.segment_bytes))
		r = -EBADMSG;
	if (r == -EBADMSG || r == -EMEDIUMTYPE || r == -EIO) {
		tell(v, SV_FOUND_ANCHOR, bad[which], place);
		return 0;
	}
	if (r < 0)
		return r;
	r = sv_walk_head(v->s, w, a.root.segment, a.root.offset, &h);
	if (r == 0 && (h.seq != a.root.seq || memcmp(h.hash, a.root.hash, SV_HASH_BYTES) != 0))
		r = -EBADMSG;
	if (r == -EBADMSG || r == -EIO) {
		tell(v, SV_FOUND_CHAIN, astray[which],
		     sv_place(v->s, a.root.segment, a.root.offset));
		r = 0;
	}
	return r;
}

/* ---- what is in use ---- */

static int data_lives(const struct sv_verify *v, const struct sv_record *rec, uint64_t place)
{
	struct sv_page leaf;
	uint64_t first = rec->lba % SV_PAGE_ENTRIES;
	int r = sv_copy_page(v->s, 0, rec->lba / SV_PAGE_ENTRIES, &leaf);

	if (r < 0 || rec->lba >= v->s->blocks)
		return r == -EIO ? 0 : r;
	for (uint64_t i = first; i < first + rec->blocks && i < SV_PAGE_ENTRIES; i++)
		if (leaf.e[i] && sv_entry_place(leaf.e[i]) == place)
			return 1;
	return 0;
}

static int page_lives(const struct sv_verify *v, const struct sv_record *rec, uint64_t place)
{
	const struct sv_segs *segs = &v->s->segs;
	struct sv_page page;
	int r;

	if (rec->tree == SV_TREE_USAGE)
		return rec->level < segs->levels &&
		       rec->lba < sv_segs_pages(segs->count, rec->level) &&
		       sv_entry_place(segs->level[rec->level].where[rec->lba]) == place;
	if (rec->tree != SV_TREE_MAP || rec->level > sv_map_top_level(&v->s->map))
		return 0;
	r = sv_copy_page(v->s, rec->level, rec->lba, &page);
	if (r < 0)
		return r == -EIO ? 0 : r;
	return page.where && sv_entry_place(page.where) == place;
}

static int unit_lives(const struct sv_verify *v, const struct sv_record *rec, uint64_t place)
{
	return rec->type == SV_REC_PAGE ? page_lives(v, rec, place) : data_lives(v, rec, place);
}

/* ---- the chain ---- */

/* A live one was told of where the map leads to it. */
static int tell_unless_live(const struct sv_verify *v, const struct sv_record *rec, uint64_t place)
{
	int r = unit_lives(v, rec, place);

	if (r == 0)
		tell(v, SV_FOUND_CHAIN, "a unit in the chain does not verify", place);
	return r < 0 ? r : 0;
}

static bool unit_good(const struct sv_verify *v, struct sv_walk *w, const struct sv_binding *bind,
		      uint32_t stored, int *ret_error)
{
	struct sv_unit unit;
	uint8_t *data;
	int r = sv_walk_read(v->s, w, bind->place, stored, &data);

	*ret_error = r == -EBADMSG || r == -EIO ? 0 : r;
	return r == 0 && sv_unit_verify(bind, data, stored, &unit) == 0;
}

static int check_birth(const struct sv_verify *v, struct sv_walk *w, const struct sv_record *rec,
		       uint64_t generation)
{
	struct sv_binding bind = {.store_id = v->s->anchor.store_id,
				  .generation = generation,
				  .place = rec->new_place,
				  .subject = rec->lba};
	int r;

	if (unit_good(v, w, &bind, rec->stored_bytes, &r) || r < 0)
		return r;
	return tell_unless_live(v, rec, rec->new_place);
}

static int check_payload(const struct sv_verify *v, struct sv_walk *w, const struct sv_walked *b)
{
	struct sv_cur c = sv_cur_over(b->raw + SV_HEAD_FIXED_BYTES,
				      b->raw_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_head h;
	uint64_t place, apart = 0;
	int r = sv_head_peek(b->raw, b->raw_bytes, &h);

	place = sv_place(v->s, b->segment, b->offset) + h.payload_offset;
	for (uint32_t i = 0; r == 0 && i < h.records; i++) {
		struct sv_binding bind = {.store_id = v->s->anchor.store_id,
					  .generation = b->generation,
					  .place = place};
		struct sv_record rec;

		if (sv_record_get(&c, &rec) < 0)
			return -EUCLEAN;
		if (rec.type == SV_REC_SEGMENT)
			apart = rec.generation;
		if (rec.type == SV_REC_BORN)
			r = check_birth(v, w, &rec, apart);
		if (rec.type != SV_REC_DATA && rec.type != SV_REC_PAGE)
			continue;
		bind.subject = rec.type == SV_REC_DATA
				       ? rec.lba
				       : sv_page_subject(rec.tree, rec.level, rec.lba);
		if (!unit_good(v, w, &bind, rec.stored_bytes, &r) && r == 0)
			r = tell_unless_live(v, &rec, place);
		place += rec.stored_bytes;
	}
	return r;
}

static int check_chain(const struct sv_verify *v, struct sv_walk *w)
{
	int r = sv_walk_chain(v->s, w);

	if (r == -EUCLEAN || r == -EBADMSG) {
		tell(v, SV_FOUND_CHAIN, "the chain does not lead to its end", UINT64_MAX);
		return w->buf ? 0 : r;
	}
	if (r == 0 && w->v[w->count - 1].seq != v->s->log.seq)
		tell(v, SV_FOUND_CHAIN, "the chain ends before its last batch",
		     sv_place(v->s, w->v[w->count - 1].segment, w->v[w->count - 1].offset));
	if (r == 0 && w->bad_moves)
		tell(v, SV_FOUND_CHAIN, "what the cleaner moved does not verify at its new place",
		     UINT64_MAX);
	for (size_t i = 0; r == 0 && i < w->count; i++)
		r = check_payload(v, w, &w->v[i]);
	return r;
}

/* ---- the segment table ---- */

static int check_table(const struct sv_verify *v, struct sv_walk *w)
{
	const struct sv_segs *segs = &v->s->segs;
	int r = 0;

	for (unsigned level = 0; level < segs->levels; level++)
		for (uint64_t i = 0; r == 0 && i < sv_segs_pages(segs->count, level); i++) {
			uint64_t entry = segs->level[level].where[i];
			struct sv_binding bind = {.store_id = v->s->anchor.store_id,
						  .place = sv_entry_place(entry),
						  .subject =
							  sv_page_subject(SV_TREE_USAGE, level, i)};

			if (!entry)
				continue;
			bind.generation =
				segs->v[bind.place / segs->segment_bytes].usage.generation;
			if (!unit_good(v, w, &bind, SV_PAGE_UNIT_BYTES, &r) && r == 0)
				tell(v, SV_FOUND_COUNT,
				     "a page of the segment table does not verify", bind.place);
		}
	return r;
}

/* ---- headers over what is in use ---- */

/* Adds what a batch describes and the map refers to. */
static int add_described(const struct sv_verify *v, const struct sv_head *h, const uint8_t *raw,
			 uint64_t *described)
{
	struct sv_cur c = sv_cur_over((uint8_t *)raw + SV_HEAD_FIXED_BYTES,
				      h->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	uint64_t place = sv_place(v->s, h->segment, h->offset) + h->payload_offset;

	for (uint32_t i = 0; i < h->records; i++) {
		struct sv_record rec;
		int r;

		if (sv_record_get(&c, &rec) < 0)
			return 0;
		if (rec.type != SV_REC_DATA && rec.type != SV_REC_PAGE)
			continue;
		r = unit_lives(v, &rec, place);
		if (r < 0)
			return r;
		if (r > 0)
			*described += rec.stored_bytes;
		place += rec.stored_bytes;
	}
	return 0;
}

static bool is_head(const struct sv_verify *v, const uint8_t *raw, uint32_t segment,
		    uint32_t offset, struct sv_head *h)
{
	return sv_head_decode(raw, v->s->anchor.segment_bytes - offset, h) == 0 &&
	       h->segment == segment && h->offset == offset &&
	       h->generation == v->s->segs.v[segment].usage.generation &&
	       h->total_bytes <= v->s->anchor.segment_bytes - offset &&
	       memcmp(h->store_id, v->s->anchor.store_id, SV_STORE_ID_BYTES) == 0;
}

static int check_heads(const struct sv_verify *v, struct sv_walk *w, uint32_t segment)
{
	uint32_t end = v->s->anchor.segment_bytes, bad_at = UINT32_MAX, behind = 0;
	uint64_t described = 0;
	uint8_t *data, *copy;
	int r = sv_walk_read(v->s, w, sv_place(v->s, segment, 0), end, &data);

	if (r < 0)
		return r == -EIO ? 0 : r; /* what cannot be read was told of unit by unit */
	copy = malloc(end);		  /* looking up pages of the map may read */
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, end);
	for (uint32_t at = 0; r == 0 && at + SV_HEAD_FIXED_BYTES < end;) {
		struct sv_head h;

		if (!is_head(v, copy + at, segment, at, &h)) {
			if (at == behind && bad_at == UINT32_MAX)
				bad_at = at;
			at += v->s->anchor.page_bytes;
			continue;
		}
		r = add_described(v, &h, copy + at, &described);
		at += h.total_bytes;
		behind = at;
	}
	if (r == 0 && described < v->live[segment] + v->s->segs.v[segment].self_live)
		tell(v, SV_FOUND_HEADER,
		     "a batch header does not verify: what it describes can be read, not moved",
		     sv_place(v->s, segment, bad_at == UINT32_MAX ? 0 : bad_at));
	free(copy);
	return r;
}

int sv_verify_log(const struct sv_verify *v)
{
	struct sv_walk w = {0};
	/* A walk looks for what may have to be written again: not while that is written. */
	bool walks = v->deep && v->s->opts.read_only;
	int r = walks ? check_chain(v, &w) : sv_walk_buf(v->s, &w);

	for (unsigned which = 0; r == 0 && which < 2; which++)
		r = check_anchor(v, &w, which);
	if (r == 0 && v->deep)
		r = check_table(v, &w);
	for (uint64_t i = 2; r == 0 && v->deep && i < v->s->segs.count; i++)
		if (v->live[i] || v->s->segs.v[i].self_live)
			r = check_heads(v, &w, (uint32_t)i);
	if (v->s->geo.damaged_headers)
		tell(v, SV_FOUND_CONTAINER, "a copy of a container's header does not verify",
		     UINT64_MAX);
	sv_walk_free(v->s, &w);
	return r;
}
