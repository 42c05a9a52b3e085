/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * repair_load.c: the newest state that the batches on a device prove, in memory.
 *
 * Y1  The tail is where recovery would have it: behind the last batch that a flush is known to
 *     cover, payload that does not verify ends the log; before it, it is damage, and costs its own
 *     blocks (-EIO when they are read).
 * Y2  A segment has the generation of the newest header in it, or what the segment table of the
 *     base says where that is newer, or where there is no header.
 * Y3  A move is left out only where its target does not verify, the segment of that was not used
 *     again since, and the old place does verify. Both hold the same bytes (M1), so it is only a
 *     matter of which is still there.
 * Y4  Counts of live bytes are made anew from the map, before the replay and after it.
 */
#include <errno.h>
#include <stdlib.h>

#include "repair.h"

/* ---- who it is ---- */

/* An anchor that verifies, or does with one bit turned back. */
static int read_anchor(struct sv_repair *r, uint64_t place, struct sv_anchor *ret)
{
	uint8_t *buf;
	int e;

	if (place + SV_ANCHOR_BYTES > r->s->geo.size_bytes)
		return -EBADMSG;
	if (posix_memalign((void **)&buf, 4096, SV_ANCHOR_BYTES))
		return -ENOMEM;
	e = sv_dev_read(r->s->dev, buf, SV_ANCHOR_BYTES, place);
	if (e == 0)
		e = sv_anchor_decode(buf, ret);
	for (unsigned i = 0;
	     (e == -EBADMSG || e == -EMEDIUMTYPE) && place == 0 && i < SV_ANCHOR_CHECKED_BYTES * 8;
	     i++) {
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		e = sv_anchor_decode(buf, ret);
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	free(buf);
	return e == -EMEDIUMTYPE ? -EBADMSG : e;
}

static void take_anchor(struct sv_repair *r, const struct sv_anchor *a, struct sv_identity *id)
{
	if (a->anchor_seq < r->anchor_seq)
		return;
	r->anchor_seq = a->anchor_seq;
	r->s->anchor = *a;
	memcpy(id->store_id, a->store_id, SV_STORE_ID_BYTES);
	id->id_known = true;
	id->segment_bytes = a->segment_bytes;
	id->page_bytes = a->page_bytes;
}

static bool sane(const struct sv_repair *r, const struct sv_anchor *a)
{
	uint32_t page = a->page_bytes;

	return page >= 4096 && (page & (page - 1)) == 0 && a->segment_bytes >= 65536 &&
	       a->segment_bytes <= 1u << 30 && a->segment_bytes % page == 0 &&
	       a->checkpoint_bytes && r->s->geo.size_bytes / a->segment_bytes >= 4;
}

/* -EPROTONOSUPPORT: of a newer version, which knows better how to repair it. */
static int read_anchors(struct sv_repair *r, struct sv_identity *id)
{
	struct sv_anchor a;
	uint64_t step = SV_ANCHOR_SEARCH_STEP;

	for (uint64_t at = 0; at <= SV_ANCHOR_SEARCH_END; at += step) {
		int e = read_anchor(r, at, &a);

		if (e == -ENODEV || e == -ENOMEM)
			return e;
		if (at && (e == 0 || e == -EPROTONOSUPPORT) && a.segment_bytes != at)
			continue;
		if (e == -EPROTONOSUPPORT || (e == 0 && a.features.ro_compat)) {
			sv_why("it was made by a newer version, which must repair it");
			return -EPROTONOSUPPORT;
		}
		if (e == 0 && sane(r, &a))
			take_anchor(r, &a, id);
	}
	return 0;
}

/* Without an anchor: the identity from the headers, the rest as a new store would have it. */
static void make_anchor(struct sv_repair *r, const struct sv_identity *id)
{
	struct sv_anchor *a = &r->s->anchor;
	uint64_t small = r->s->geo.max_bytes / 32;

	if (a->segment_bytes == id->segment_bytes &&
	    memcmp(a->store_id, id->store_id, SV_STORE_ID_BYTES) == 0)
		return;
	*a = (struct sv_anchor){.segment_bytes = id->segment_bytes, .page_bytes = id->page_bytes};
	memcpy(a->store_id, id->store_id, SV_STORE_ID_BYTES);
	a->lie_window_bytes = sv_min64(64u << 20, small);
	a->checkpoint_bytes = sv_max64(sv_min64(128u << 20, small), a->segment_bytes);
	a->created_s = sv_now_s();
}

static int identify(struct sv_repair *r)
{
	struct sv_identity id = {.id_known = false};
	int e = read_anchors(r, &id);

	if (e == 0)
		e = sv_scan_run(r->s->dev, &r->s->geo, r->opts->progress, r->opts->ctx, &r->scan);
	if (e == 0)
		e = sv_scan_identify(&r->scan, &id);
	if (e == -EMEDIUMTYPE)
		sv_why("there is no batch of a store here");
	if (e == 0) {
		make_anchor(r, &id);
		e = sv_chain_build(&r->scan, r->s->anchor.opening.seq, &r->chain);
	}
	for (size_t i = 0; e == 0 && i < r->chain.count; i++) {
		r->result.mended += r->chain.v[i]->bad_bit != 0;
		r->result.lost_roots += r->chain.after_lost_root[i];
	}
	return e;
}

/* ---- units ---- */

static bool unit_reads(struct sv_repair *r, const struct sv_binding *bind, uint32_t stored,
		       struct sv_unit *ret_unit)
{
	struct sv_scratch *x = sv_scratch_get(r->s);
	uint8_t *data;
	bool good = bind->place < r->s->geo.size_bytes &&
		    stored <= r->s->geo.size_bytes - bind->place &&
		    sv_read_raw(r->s, x, bind->place, stored, false, &data) == 0 &&
		    sv_unit_verify(bind, data, stored, ret_unit) == 0;

	sv_scratch_put(r->s, x);
	return good;
}

static bool unit_good(struct sv_repair *r, const struct sv_binding *bind, uint32_t stored)
{
	struct sv_unit unit;

	return unit_reads(r, bind, stored, &unit);
}

/* Z2 (DESIGN, "Born apart"): it counts with the payload of the batch. */
static bool birth_good(struct sv_repair *r, const struct sv_record *rec, uint64_t generation)
{
	struct sv_binding bind = {.store_id = r->s->anchor.store_id,
				  .generation = generation,
				  .place = rec->new_place,
				  .subject = rec->lba};
	struct sv_unit unit;

	return unit_reads(r, &bind, rec->stored_bytes, &unit) && unit.check == rec->check;
}

static bool payload_good(struct sv_repair *r, const struct sv_found *f, const uint8_t *raw)
{
	struct sv_cur c = sv_cur_over((uint8_t *)raw + SV_HEAD_FIXED_BYTES,
				      f->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	uint64_t at = f->place + f->payload_offset, generation = 0;

	for (uint32_t i = 0; i < f->records; i++) {
		struct sv_binding bind = {.store_id = r->s->anchor.store_id,
					  .generation = f->generation,
					  .place = at};
		struct sv_record rec;

		if (sv_record_get(&c, &rec) < 0)
			return false;
		if (rec.type == SV_REC_SEGMENT)
			generation = rec.generation;
		if (rec.type == SV_REC_BORN && !birth_good(r, &rec, generation))
			return false;
		if (rec.type != SV_REC_DATA && rec.type != SV_REC_PAGE)
			continue;
		bind.subject = rec.type == SV_REC_DATA
				       ? rec.lba
				       : sv_page_subject(rec.tree, rec.level, rec.lba);
		if (!unit_good(r, &bind, rec.stored_bytes))
			return false;
		at += rec.stored_bytes;
	}
	return true;
}

/* ---- the tail ---- */

/* Y1 */
static int find_end(struct sv_repair *r)
{
	const struct sv_found *last = r->chain.v[r->chain.count - 1];
	uint64_t flushed = last->flags & SV_BATCH_CLOSE ? last->seq : last->flushed_seq;
	size_t end = r->chain.count;
	int e = 0;

	for (size_t i = 0; e == 0 && i < end; i++) {
		uint8_t *raw;

		if (r->chain.v[i]->seq <= flushed)
			continue;
		e = sv_scan_raw(r->s->dev, &r->s->geo, r->chain.v[i], &raw);
		if (e < 0)
			return e;
		if (!payload_good(r, r->chain.v[i], raw))
			end = i;
		free(raw);
	}
	while (end && r->chain.v[end - 1]->flags & SV_BATCH_MORE)
		end--;
	if (!end) {
		sv_why("no batch is whole");
		return -EMEDIUMTYPE;
	}
	r->result.dropped = r->chain.count - end;
	r->end = end;
	return e;
}

/* ---- segments ---- */

static bool holds_something(const struct sv_repair *r, uint64_t segment)
{
	uint64_t grains = r->s->anchor.segment_bytes / SV_SCAN_GRAIN;
	uint64_t first = segment * r->s->anchor.segment_bytes / SV_SCAN_GRAIN;

	for (uint64_t i = 0; i <= grains; i++)
		if (first + i < r->scan.grains && r->scan.written[first + i])
			return true;
	return false;
}

/* Y2, the first half. What is full of unknown bytes is not free until the log has moved on. */
static int fill_segments(struct sv_repair *r)
{
	struct sv_segs *segs = &r->s->segs;
	const struct sv_found **newest = calloc(segs->limit, sizeof(const struct sv_found *));

	if (!newest)
		return -ENOMEM;
	for (size_t i = 0; i < r->scan.count; i++) {
		const struct sv_found *f = &r->scan.v[i];

		if (f->segment < segs->count &&
		    (!newest[f->segment] || sv_found_is_newer(f, newest[f->segment])))
			newest[f->segment] = f;
	}
	for (uint64_t i = 2; i < segs->count; i++) {
		struct sv_usage *u = &segs->v[i].usage;

		if (!newest[i] && !holds_something(r, i))
			continue;
		u->generation = newest[i] ? newest[i]->generation : 1;
		u->last_seq = newest[i] ? newest[i]->seq : r->chain.v[r->end - 1]->seq;
		u->used_bytes = r->s->anchor.segment_bytes;
		u->flags = SV_SEG_CONVERTED;
		sv_segs_go_on(segs, (uint32_t)i,
			      newest[i] ? newest[i]->hash : r->chain.v[r->end - 1]->hash);
	}
	free(newest);
	return 0;
}

/* Y2, the second half: segments of which every header is gone. */
static void take_generation(struct sv_repair *r, const struct sv_record *rec)
{
	struct sv_usage *u;

	if (rec->segment >= r->s->segs.count)
		return;
	u = &r->s->segs.v[rec->segment].usage;
	if (u->generation == 1 || u->generation == 0)
		u->generation = rec->generation;
}

/* ---- replay ---- */

/* Y3 */
static bool move_is_lost(struct sv_repair *r, const struct sv_record *rec)
{
	uint32_t segment_bytes = r->s->anchor.segment_bytes;
	struct sv_binding to = {.store_id = r->s->anchor.store_id,
				.place = rec->new_place,
				.subject = rec->lba - rec->new_index};
	struct sv_binding from = {.store_id = r->s->anchor.store_id,
				  .place = rec->old_place,
				  .subject = rec->lba - rec->old_index};
	uint64_t entry = 0;
	struct sv_need need;
	int e;

	if (rec->new_place / segment_bytes >= r->s->segs.count ||
	    rec->old_place / segment_bytes >= r->s->segs.count)
		return false;
	to.generation = r->s->segs.v[rec->new_place / segment_bytes].usage.generation;
	from.generation = r->s->segs.v[rec->old_place / segment_bytes].usage.generation;
	if (unit_good(r, &to, rec->stored_bytes))
		return false;
	do {
		e = sv_map_get(&r->s->map, rec->lba, &entry, &need);
		if (e == -EAGAIN && (e = sv_fault_or_lose(r->s, &need)) == 0)
			e = -EAGAIN;
	} while (e == -EAGAIN);
	return e == 0 && entry && entry != SV_ENTRY_LOST &&
	       sv_entry_place(entry) == rec->old_place &&
	       unit_good(r, &from, sv_entry_stored(entry));
}

static void refuse_lost_moves(struct sv_repair *r, const struct sv_found *f, uint8_t *raw)
{
	struct sv_cur c = sv_cur_over(raw + SV_HEAD_FIXED_BYTES,
				      f->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);

	for (uint32_t i = 0; i < f->records; i++) {
		struct sv_cur before = c;
		struct sv_record rec;

		if (sv_record_get(&c, &rec) < 0)
			return;
		if (rec.type == SV_REC_SEGMENT)
			take_generation(r, &rec);
		if (rec.type == SV_REC_BORN) /* Z6, where the anchors were lost */
			r->s->anchor.features.incompat |= SV_INCOMPAT_BORN;
		if (rec.type != SV_REC_MOVE || !move_is_lost(r, &rec))
			continue;
		rec.old_place = 0;
		sv_record_put(&before, &rec);
	}
}

static int replay(struct sv_repair *r)
{
	int e = 0;

	for (size_t i = r->base_known ? r->base + 1 : 0; e == 0 && i < r->end; i++) {
		struct sv_head h;
		uint8_t *raw;

		e = sv_scan_raw(r->s->dev, &r->s->geo, r->chain.v[i], &raw);
		if (e < 0)
			return e;
		refuse_lost_moves(r, r->chain.v[i], raw);
		e = sv_head_peek(raw, r->chain.v[i]->head_bytes, &h);
		if (e == 0)
			e = sv_apply_part(r->s, &h, raw);
		free(raw);
		r->result.replayed++;
	}
	return e;
}

/* Y4 */
static int recount(struct sv_repair *r)
{
	struct sv_segs *segs = &r->s->segs;
	struct sv_tree_sum sum = {.live = calloc(segs->limit, sizeof(uint64_t))};
	int e = sum.live ? sv_tree_sum(r->s, &sum) : -ENOMEM;

	segs->live_bytes = 0;
	for (uint64_t i = 2; e == 0 && i < segs->count; i++) {
		if (sum.live[i] > segs->segment_bytes)
			e = -EUCLEAN; /* more than there is room for: not a map of ours */
		segs->v[i].usage.live_bytes = (uint32_t)sum.live[i];
		segs->live_bytes += sum.live[i];
	}
	r->s->map.mapped = sum.mapped;
	r->result.lost_bytes = sum.lost_bytes;
	sv_segs_recount(segs);
	segs->wrong = false; /* whatever a record said: it is counted now */
	free(sum.live);
	return e;
}

static int init_segments(struct sv_repair *r)
{
	struct sv_store *s = r->s;
	uint64_t count = s->geo.size_bytes / s->anchor.segment_bytes;
	uint64_t limit = sv_max64(s->geo.max_bytes / s->anchor.segment_bytes, count);
	int e = sv_segs_init(&s->segs, s->anchor.segment_bytes, count, limit);

	return e < 0 ? e : fill_segments(r);
}

int sv_repair_load(struct sv_repair *r)
{
	int e = identify(r);

	if (e == 0)
		e = find_end(r);
	if (e == 0)
		e = sv_repair_size(r);
	if (e == 0)
		e = init_segments(r);
	if (e == 0)
		e = sv_repair_base(r);
	if (e == 0)
		e = recount(r);
	if (e == 0)
		e = replay(r);
	if (e == 0)
		e = recount(r);
	r->result.batches = r->end;
	if (e == 0)
		r->result.last_seq = r->chain.v[r->end - 1]->seq;
	if (e == 0 && r->base_known)
		r->result.base_seq = r->chain.v[r->base]->seq;
	return e;
}
