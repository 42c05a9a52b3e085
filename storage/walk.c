/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk.c: the chain as it lies on the device, from the anchor's root to its end.
 *
 * W1  A batch is the successor of another if and only if its header verifies and carries that
 *     one's hash and the next sequence number. It lies behind it, or behind it and a gap of four
 *     pages, or at the start of the segment that it names.
 * W2  A read that fails is an error, never the end of the log.
 * W3  Payload, and what was born for a batch (walk_born.c), is verified for every batch that is not
 *     known to be flushed, and for the newest lie_window bytes; what is older is trusted to be
 *     there, and checked when it is read.
 * W4  Behind a batch that recovery refused the chain goes on at the start of the next segment, with
 *     the opening of a later epoch: it was begun because of that refusal. So it is the successor,
 *     whatever else looks like one.
 * W5  A verdict stands. A batch that is kept although its payload is bad is told by the opening
 *     behind it (DAMAGE), so that no later recovery cuts there, with what was written since.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "digest.h"
#include "store_impl.h"

/* A log of ours is read about once, and its headers are a small part of the place. One that leads
 * over the same bytes again and again (moves to one target, say) must not keep its reader for
 * days, nor fill the memory. */
#define READS_MOST 8u /* of the whole place */
#define READS_FREE_BYTES (UINT64_C(1) << 30)
#define HEADERS_MOST_BYTES (UINT64_C(512) << 20)
#define AHEAD_LEAST_BYTES (64u << 10)
#define AHEAD_MOST_BYTES (1u << 20)
#define MOVED_BYTES (256u << 10)

int sv_walk_read(struct sv_store *s, struct sv_walk *w, uint64_t place, uint32_t len_bytes,
		 uint8_t **ret_data)
{
	uint64_t from = sv_align_down(place, s->geo.sector_bytes);
	uint64_t to = sv_align_up(place + len_bytes, s->geo.sector_bytes);
	int r;

	if (place > s->geo.size_bytes || to - from > s->anchor.segment_bytes ||
	    to > s->geo.size_bytes)
		return -EBADMSG;
	if (w->bytes_read > READS_MOST * s->geo.size_bytes + READS_FREE_BYTES ||
	    w->header_bytes > HEADERS_MOST_BYTES) {
		sv_why("its log is longer than any that this program leaves");
		return -EUCLEAN;
	}
	r = sv_dev_read(s->dev, w->buf, to - from, from);
	if (r < 0)
		return r;
	w->bytes_read += to - from;
	*ret_data = w->buf + (place - from);
	return 0;
}

/* With what lies behind it, up to ahead_most: on a stick that takes 22 ms for a seek, eighty
 * headers one by one are two seconds. */
static int read_along(struct sv_store *s, struct sv_walk *w, uint64_t place, uint32_t len_bytes,
		      uint8_t **ret_data)
{
	uint64_t left = s->anchor.segment_bytes - place % s->anchor.segment_bytes;
	uint64_t most = sv_min64(w->ahead_most, left);
	int r;

	if (!w->ahead || len_bytes > most)
		return sv_walk_read(s, w, place, len_bytes, ret_data);
	if (place < w->ahead_place || place + len_bytes > w->ahead_place + w->ahead_bytes) {
		w->ahead_bytes = 0;
		r = sv_walk_read(s, w, place, (uint32_t)most, ret_data);
		if (r < 0)
			return sv_walk_read(s, w, place, len_bytes, ret_data);
		memcpy(w->ahead, *ret_data, most);
		w->ahead_place = place;
		w->ahead_bytes = most;
	}
	memcpy(w->buf, w->ahead + (place - w->ahead_place), len_bytes);
	*ret_data = w->buf;
	return 0;
}

int sv_walk_head(struct sv_store *s, struct sv_walk *w, uint32_t segment, uint32_t offset,
		 struct sv_head *ret_head)
{
	uint32_t room = s->anchor.segment_bytes - offset;
	uint32_t len = (uint32_t)sv_min64(room, sv_max64(4096, s->geo.sector_bytes));
	struct sv_head head;
	uint8_t *data;
	int r;

	if (segment < 2 || segment >= s->geo.size_bytes / s->anchor.segment_bytes ||
	    offset >= s->anchor.segment_bytes || offset % s->anchor.page_bytes)
		return -EBADMSG;
	r = read_along(s, w, sv_place(s, segment, offset), len, &data);
	if (r == 0)
		r = sv_head_peek(data, len, &head);
	if (r < 0)
		return r;
	if (head.head_bytes > room || head.total_bytes > room)
		return -EBADMSG;
	if (head.head_bytes > len) {
		len = head.head_bytes;
		r = read_along(s, w, sv_place(s, segment, offset), len, &data);
		if (r < 0)
			return r;
	}
	r = sv_head_decode(data, len, &head);
	if (r < 0 || head.segment != segment || head.offset != offset ||
	    head.total_bytes % s->anchor.page_bytes ||
	    memcmp(head.store_id, s->anchor.store_id, SV_STORE_ID_BYTES) != 0)
		return -EBADMSG;
	*ret_head = head;
	return 0;
}

static int keep(struct sv_walk *w, const struct sv_head *h)
{
	struct sv_walked *v;

	if (w->count == w->capacity) {
		size_t more = w->capacity ? w->capacity * 2 : 256;

		v = realloc(w->v, more * sizeof(*v));
		if (!v)
			return -ENOMEM;
		w->v = v;
		w->capacity = more;
	}
	v = &w->v[w->count];
	*v = (struct sv_walked){.seq = h->seq,
				.flushed_seq = h->flushed_seq,
				.epoch = h->epoch,
				.generation = h->generation,
				.log_bytes = h->log_bytes,
				.segment = h->segment,
				.offset = h->offset,
				.total_bytes = h->total_bytes,
				.next_segment = h->next_segment,
				.after_segment = h->after_segment,
				.flags = h->flags,
				.raw_bytes = h->head_bytes};
	memcpy(v->hash, h->hash, SV_HASH_BYTES);
	v->raw = malloc(h->head_bytes);
	if (!v->raw)
		return -ENOMEM;
	memcpy(v->raw, w->buf, h->head_bytes); /* headers start on a page, hence at buf */
	w->header_bytes += h->head_bytes;
	w->count++;
	return 0;
}

/* The batch at a place if it is the successor of the last one walked (W1): 1, 0 or an errno. */
static int try_successor(struct sv_store *s, struct sv_walk *w, uint32_t segment, uint64_t offset)
{
	const struct sv_walked *last = &w->v[w->count - 1];
	struct sv_head h;
	int r;

	if (segment >= s->geo.size_bytes / s->anchor.segment_bytes ||
	    offset + SV_HEAD_FIXED_BYTES > s->anchor.segment_bytes)
		return 0;
	r = sv_walk_head(s, w, segment, (uint32_t)offset, &h);
	if (r == -EBADMSG)
		return 0;
	if (r < 0)
		return r; /* W2 */
	if (h.flags & SV_BATCH_APART || h.seq != last->seq + 1 || h.epoch < last->epoch ||
	    memcmp(h.prev_hash, last->hash, SV_HASH_BYTES) != 0)
		return 0;
	r = keep(w, &h);
	return r < 0 ? r : 1;
}

/* The opening of a later epoch at the start of the segment named next (W4): 1, 0 or an errno. */
static int try_opening(struct sv_store *s, struct sv_walk *w)
{
	const struct sv_walked *last = &w->v[w->count - 1];

	if (w->peeked_segment != last->next_segment) {
		struct sv_head h = {0};
		int r = last->next_segment < s->geo.size_bytes / s->anchor.segment_bytes
				? sv_walk_head(s, w, last->next_segment, 0, &h)
				: -EBADMSG;

		if (r < 0 && r != -EBADMSG)
			return r; /* W2 */
		w->peeked_segment = last->next_segment;
		w->peeked_opening = r == 0 && h.flags & SV_BATCH_OPEN;
		w->peeked_epoch = h.epoch;
		memcpy(w->peeked_prev_hash, h.prev_hash, SV_HASH_BYTES);
	}
	if (!w->peeked_opening || !sv_epoch_is_later(w->peeked_epoch, last->epoch) ||
	    memcmp(w->peeked_prev_hash, last->hash, SV_HASH_BYTES) != 0)
		return 0;
	return try_successor(s, w, last->next_segment, 0);
}

static int successor(struct sv_store *s, struct sv_walk *w)
{
	const struct sv_walked last = w->v[w->count - 1];
	uint64_t behind = (uint64_t)last.offset + last.total_bytes;
	int r = 0;

	r = try_opening(s, w);
	/* The anchor knows the branch that an epoch took, where an orphan may lie on the other. */
	if (r == 0 && memcmp(last.hash, s->anchor.before_opening, SV_HASH_BYTES) == 0)
		r = try_successor(s, w, s->anchor.opening.segment, s->anchor.opening.offset);
	if (r == 0)
		r = try_successor(s, w, last.segment, behind);
	if (r == 0)
		r = try_successor(s, w, last.segment, behind + SV_GAP_PAGES * s->anchor.page_bytes);
	if (r == 0)
		r = try_successor(s, w, last.next_segment, 0);
	return r;
}

/* What headers behind the end say: of what was flushed, and where the chain went on from there. */
struct orphans {
	uint64_t flushed, log_bytes;
	uint64_t newest;      /* the largest sequence number seen */
	uint32_t next, after; /* the segments that it names */
};

static void note_orphan(const struct sv_head *h, struct orphans *o)
{
	uint64_t flushed = h->flags & SV_BATCH_CLOSE ? h->seq : h->flushed_seq;

	if (flushed > o->flushed || (flushed == o->flushed && h->log_bytes < o->log_bytes)) {
		o->flushed = flushed;
		o->log_bytes = h->log_bytes;
	}
	if (h->seq > o->newest) {
		o->newest = h->seq;
		o->next = h->next_segment;
		o->after = h->after_segment;
	}
}

/* Of the epoch walked last, or of the one that followed it. Others are of a past that the stick
 * lost, and that was told when it was found. */
static bool of_this_or_next(const struct sv_walked *last, const struct sv_head *h)
{
	return h->epoch == last->epoch || h->prev_epoch == last->epoch;
}

static int find_orphans(struct sv_store *s, struct sv_walk *w, uint32_t segment, uint64_t offset,
			struct orphans *o)
{
	const struct sv_walked *last = &w->v[w->count - 1];
	uint32_t chunk = s->anchor.segment_bytes;
	struct sv_head h;
	uint8_t *data;

	if (segment >= s->geo.size_bytes / s->anchor.segment_bytes)
		return 0;
	for (; offset < s->anchor.segment_bytes; offset += chunk) {
		uint32_t len = (uint32_t)sv_min64(chunk, s->anchor.segment_bytes - offset);
		int r = sv_walk_read(s, w, sv_place(s, segment, offset), len, &data);

		if (r < 0)
			return r;
		for (uint32_t at = 0; at < len; at += s->anchor.page_bytes) {
			if (sv_head_decode(data + at, len - at, &h) < 0 ||
			    memcmp(h.store_id, s->anchor.store_id, SV_STORE_ID_BYTES) != 0)
				continue;
			w->epoch_seen = sv_max64(w->epoch_seen, h.epoch);
			if (h.seq <= last->seq || !of_this_or_next(last, &h) ||
			    h.flags & SV_BATCH_APART)
				continue;
			note_orphan(&h, o);
		}
	}
	return 0;
}

/*
 * The orphans of this epoch, from segment to segment as far as they lead. Each names two: where the
 * only header of one segment is gone, the next one tells.
 */
static int follow_orphans(struct sv_store *s, struct sv_walk *w, struct orphans *o)
{
	const struct sv_walked *last = &w->v[w->count - 1];
	uint64_t seen;
	int r = find_orphans(s, w, last->segment, (uint64_t)last->offset + last->total_bytes, o);

	o->next = last->next_segment;
	o->after = last->after_segment;
	do {
		uint32_t next = o->next, after = o->after;

		seen = o->newest;
		if (r == 0)
			r = find_orphans(s, w, next, 0, o);
		if (r == 0)
			r = find_orphans(s, w, after, 0, o);
	} while (r == 0 && o->newest > seen);
	return r;
}

static int check_end(struct sv_store *s, struct sv_walk *w)
{
	const struct sv_walked *last = &w->v[w->count - 1];
	const struct sv_anchor *a = &s->anchor;
	struct orphans o = {.flushed = w->flushed_seen, .log_bytes = w->flushed_log_bytes};
	int r;

	/* A close is no exception: the stick may have lost a whole session that came after it, its
	 * anchors too, but for a batch that tells. */
	r = follow_orphans(s, w, &o);
	if (r < 0)
		return r;
	/* An anchor is written after its opening was flushed. */
	if (a->opening.seq > last->seq && a->opening.seq > o.flushed) {
		o.flushed = a->opening.seq;
		o.log_bytes = a->log_bytes;
	}
	if (o.flushed <= last->seq)
		return 0;
	w->lost_flushed += o.flushed - last->seq;
	/* The header that tells may lie behind what was flushed by as much as is left unflushed. */
	if (o.log_bytes > last->log_bytes + last->total_bytes + s->anchor.lie_window_bytes +
				  sv_flush_distance(s) + 2 * (uint64_t)s->anchor.segment_bytes) {
		sv_why("%llu batches that had been made durable are missing, more than this "
		       "stick was trusted to lose",
		       (unsigned long long)w->lost_flushed);
		return -EUCLEAN;
	}
	return 0;
}

static int walk_from_root(struct sv_store *s, struct sv_walk *w)
{
	const struct sv_link *root = &s->anchor.root;
	struct sv_head h;
	int r;

	r = sv_walk_head(s, w, root->segment, root->offset, &h);
	if (r == 0 && (h.seq != root->seq || memcmp(h.hash, root->hash, SV_HASH_BYTES) != 0 ||
		       !(h.flags & SV_BATCH_ROOT)))
		r = -EBADMSG;
	return r < 0 ? r : keep(w, &h);
}

/* Whether every unit in the payload of a batch verifies. */
static bool payload_good(struct sv_store *s, const struct sv_head *h, const uint8_t *raw,
			 const uint8_t *payload)
{
	struct sv_cur c = sv_cur_over((uint8_t *)raw + SV_HEAD_FIXED_BYTES,
				      h->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	uint64_t digest = 0;
	uint32_t at = 0;

	for (uint32_t i = 0; i < h->records; i++) {
		struct sv_binding bind = {.store_id = s->anchor.store_id,
					  .generation = h->generation};
		struct sv_record rec;
		struct sv_unit unit;

		if (sv_record_get(&c, &rec) < 0)
			return false;
		if (rec.type != SV_REC_DATA && rec.type != SV_REC_PAGE)
			continue;
		bind.place = sv_place(s, h->segment, h->offset) + h->payload_offset + at;
		bind.subject = rec.type == SV_REC_DATA
				       ? rec.lba
				       : sv_page_subject(rec.tree, rec.level, rec.lba);
		if (rec.stored_bytes > h->payload_bytes - at ||
		    sv_unit_verify(&bind, payload + at, rec.stored_bytes, &unit) < 0)
			return false;
		digest = sv_payload_digest(digest, unit.check);
		at += rec.stored_bytes;
	}
	return at == h->payload_bytes && digest == h->payload_digest;
}

static bool has_pages(const struct sv_walked *v)
{
	struct sv_cur c = sv_cur_over(v->raw + SV_HEAD_FIXED_BYTES,
				      v->raw_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_record rec = {0};

	return sv_record_get(&c, &rec) == 0 && rec.type == SV_REC_PAGE;
}

/* Where a move leads to. Survivors lie one behind the other: two thousand of them are not read one
 * by one. */
static int read_moved(struct sv_store *s, struct sv_walk *w, const struct sv_record *rec,
		      uint8_t **ret_data)
{
	uint64_t place = rec->new_place;
	bool follows = place >= w->moved_end && place - w->moved_end < AHEAD_LEAST_BYTES;
	int r;

	w->ahead_most = w->ahead && follows ? MOVED_BYTES : 0;
	r = read_along(s, w, place, rec->stored_bytes, ret_data);
	w->ahead_most = 0;
	w->moved_end = place + rec->stored_bytes;
	return r;
}

/* Verifies what a batch's moves point to; one that is bad gets an old place that never matches. */
static int check_moves(struct sv_store *s, struct sv_walk *w, struct sv_walked *v,
		       const struct sv_head *h, bool *ret_bad)
{
	struct sv_cur c = sv_cur_over(v->raw + SV_HEAD_FIXED_BYTES,
				      h->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	uint64_t generation[16] = {0};
	uint32_t segment[16] = {0};
	unsigned known = 0;

	*ret_bad = false;
	for (uint32_t i = 0; i < h->records; i++) {
		struct sv_cur before = c;
		struct sv_record rec;
		struct sv_unit unit;
		uint8_t *data;
		int r;

		if (sv_record_get(&c, &rec) < 0)
			return -EBADMSG;
		if (rec.type == SV_REC_SEGMENT && known < 16) {
			segment[known] = rec.segment;
			generation[known++] = rec.generation;
		}
		if (rec.type != SV_REC_MOVE)
			continue;
		struct sv_binding bind = {.store_id = s->anchor.store_id,
					  .place = rec.new_place,
					  .subject = rec.lba - rec.new_index};
		for (unsigned k = 0; k < known; k++)
			if (segment[k] == rec.new_place / s->anchor.segment_bytes)
				bind.generation = generation[k];
		r = read_moved(s, w, &rec, &data);
		if (r < 0 && r != -EBADMSG)
			return r;
		if (r < 0 || sv_unit_verify(&bind, data, rec.stored_bytes, &unit) < 0 ||
		    unit.check != rec.check) {
			*ret_bad = true;
			rec.old_place = 0;
			sv_record_put(&before, &rec);
		}
	}
	return 0;
}

/* `recent`: it may yet be lost, and is kept in memory. */
static int check_batch(struct sv_store *s, struct sv_walk *w, struct sv_walked *v, bool recent,
		       bool *ret_good, bool *ret_bad_moves)
{
	struct sv_head h;
	uint8_t *data;
	int r = sv_head_peek(v->raw, v->raw_bytes, &h); /* verified when it was walked */

	*ret_good = true;
	if (r == 0)
		r = sv_walk_born(s, w, v, recent, ret_good);
	if (r == 0)
		r = sv_walk_read(s, w, sv_place(s, v->segment, v->offset), v->total_bytes, &data);
	if (r == 0 && h.payload_bytes)
		*ret_good &= payload_good(s, &h, v->raw, data + h.payload_offset);
	if (r == 0 && *ret_good && recent)
		sv_retain_adopt(s, w, v, data);
	if (r == 0)
		r = check_moves(s, w, v, &h, ret_bad_moves);
	if (r == 0 && recent && !*ret_bad_moves)
		sv_retain_adopt_apart(s, w, v);
	return r;
}

/* Drops batches from `count` on, and those before it that belong to a group cut in two (C2). */
static int cut(struct sv_walk *w, size_t count)
{
	while (count && w->v[count - 1].flags & SV_BATCH_MORE)
		count--;
	while (w->count > count) {
		const struct sv_walked *v = &w->v[--w->count];

		if (v->flushed_seq > w->flushed_seen) {
			w->flushed_seen = v->flushed_seq;
			w->flushed_log_bytes = v->log_bytes;
		}
		free(v->raw);
	}
	return count ? 0 : -EBADMSG;
}

/*
 * What openings tell: batches that are bad, and what was missed. A loss is told again where the
 * anchors do not know of that opening: the power failed before anyone heard of it.
 */
static void collect_told(struct sv_walk *w, uint64_t anchor_epoch)
{
	for (size_t i = 0; i < w->count; i++) {
		const struct sv_walked *v = &w->v[i];
		struct sv_cur c = sv_cur_over(v->raw + SV_HEAD_FIXED_BYTES,
					      v->raw_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
		struct sv_record rec;

		while (v->flags & SV_BATCH_OPEN && sv_record_get(&c, &rec) == 0)
			if (rec.type == SV_REC_DAMAGE && rec.seq < v->seq &&
			    w->damages < SV_DAMAGES_MAX)
				w->damaged[w->damages++] = rec.seq;
			else if (rec.type == SV_REC_LOSS &&
				 sv_epoch_is_later(v->epoch, anchor_epoch))
				w->lost_flushed += rec.count;
	}
	w->damages_told = w->damages;
}

/* Whether it was found before, and kept (W5). */
static bool is_told(const struct sv_walk *w, uint64_t seq)
{
	for (unsigned i = 0; i < w->damages_told; i++)
		if (w->damaged[i] == seq)
			return true;
	return false;
}

static void note_damage(struct sv_walk *w, uint64_t seq)
{
	if (!is_told(w, seq) && w->damages < SV_DAMAGES_MAX)
		w->damaged[w->damages++] = seq;
}

/*
 * Verifies payloads where the stick may have lied (W3) and cuts the walk at the first bad one.
 * Where an earlier recovery refused moves, all of the walk is verified: what it refused may lie
 * before the window by now.
 */
static int verify(struct sv_store *s, struct sv_walk *w)
{
	const struct sv_walked *last = &w->v[w->count - 1];
	uint64_t end = last->log_bytes + last->total_bytes;
	bool clean = last->flags & SV_BATCH_CLOSE;
	uint64_t flushed = clean ? last->seq : last->flushed_seq;
	bool poisoned = false, all = false;
	int r;

	/* The window counts from the end of what was flushed. */
	for (size_t i = w->count; i-- > 0 && w->v[i].seq > flushed;)
		end = w->v[i].log_bytes;
	w->bad_moves = false;
	collect_told(w, s->anchor.epoch);
	r = sv_retain_init(s);
	if (r < 0)
		return r;
	for (size_t i = 0; i < w->count; i++)
		all |= w->v[i].flags & SV_BATCH_REFUSED;
	for (size_t i = 0; i < w->count; i++) {
		struct sv_walked *v = &w->v[i];
		bool good, bad_moves, recent;

		if (v->flags & SV_BATCH_REFUSED)
			poisoned = false;
		v->poisoned = poisoned;
		recent = v->seq > flushed ||
			 v->log_bytes + v->total_bytes + s->anchor.lie_window_bytes >= end;
		if (!all && !recent)
			continue;
		r = check_batch(s, w, v, recent, &good, &bad_moves);
		if (r < 0)
			return r;
		if (i == 0)
			continue; /* the root where it all begins */
		if (!good && !clean && recent && !is_told(w, v->seq))
			return cut(w, i);
		if (!good)
			note_damage(w, v->seq);
		/* Rot, not a lie. Its blocks give EIO; a root with pages in it is not used,
		 * since an older one and the chain tell the same. */
		poisoned |= bad_moves || (!good && has_pages(v));
		w->bad_moves |= poisoned;
	}
	return cut(w, w->count);
}

int sv_walk_buf(struct sv_store *s, struct sv_walk *w)
{
	*w = (struct sv_walk){0};
	w->buf = mmap(NULL, s->anchor.segment_bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w->buf != MAP_FAILED)
		return 0;
	w->buf = NULL;
	return -ENOMEM;
}

/* Without memory for it, each is read by itself. */
static void prepare_ahead(const struct sv_store *s, struct sv_walk *w)
{
	uint64_t most =
		sv_min64(sv_min64(sv_seek_bytes(s), AHEAD_MOST_BYTES), s->anchor.segment_bytes);

	w->ahead = malloc(AHEAD_MOST_BYTES);
	w->ahead_most = w->ahead && most >= AHEAD_LEAST_BYTES ? most : 0;
}

int sv_walk_chain(struct sv_store *s, struct sv_walk *w)
{
	int r = sv_walk_buf(s, w);

	if (r == 0) {
		prepare_ahead(s, w);
		r = walk_from_root(s, w);
	}
	if (r < 0)
		return r;
	do
		r = successor(s, w);
	while (r > 0);
	w->ahead_most = 0;
	if (r == 0)
		r = verify(s, w);
	return r < 0 ? r : check_end(s, w);
}

void sv_walk_free(struct sv_store *s, struct sv_walk *w)
{
	for (size_t i = 0; i < w->count; i++)
		free(w->v[i].raw);
	free(w->v);
	free(w->ahead);
	if (w->buf)
		munmap(w->buf, s->anchor.segment_bytes);
	*w = (struct sv_walk){0};
}
