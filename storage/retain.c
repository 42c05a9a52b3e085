/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * retain.c: the appends that the stick may still lose, kept in memory as they were written.
 *
 * A pulled stick loses what was not flushed, tears what was under way, and may take along pages
 * before that; a stick that lies loses up to lie_window bytes that it had confirmed. So:
 *
 * Y1  An append (a part of the chain, or survivors apart) is kept from before it is sent until it
 *     is flushed and lie_window bytes were written, and flushed, behind it.
 * Y2  What is kept is what was sent, byte for byte: written again at its place it can only make the
 *     medium what it was to be (reattach.c).
 * Y3  Appends are kept in the order in which they were made; the oldest goes first.
 *     What the sessions before wrote within the window is taken over as recovery reads it.
 * Y4  `before` names the batch of the chain that comes before the oldest one kept: the end of what
 *     is taken to be safe.
 *
 * The bound: lie_window, plus what may be unflushed, plus five parts. A flush comes before the next
 * append when four are left, so it always suffices (Y1). Memory is taken in pieces of a flash
 * page, of which every append is a whole number; pieces are touched as they are needed, the ones
 * given back last first.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "memory.h"
#include "store_impl.h"

#define NO_PIECE UINT32_MAX
#define WINDOW_MOST_BYTES (UINT64_C(256) << 20) /* whatever a store says of itself */

static uint64_t window(const struct sv_store *s)
{
	return sv_min64(s->anchor.lie_window_bytes, WINDOW_MOST_BYTES);
}

/* Where a flush comes before the next append, though there would be room. */
static uint64_t early_bytes(const struct sv_store *s)
{
	return window(s) + sv_flush_distance(s);
}

int sv_retain_init(struct sv_store *s)
{
	struct sv_retain *k = &s->retain;
	uint64_t bytes = early_bytes(s) + 4 * (uint64_t)sv_stage_bytes(s);

	if (s->opts.read_only)
		return 0;
	k->first = k->count = k->used = k->fresh = 0;
	k->free_piece = NO_PIECE;
	k->before_known = false;
	memset(k->swept, 0, sizeof(k->swept));
	if (k->mem && k->piece_bytes == s->anchor.page_bytes &&
	    k->pieces == (uint32_t)(bytes / k->piece_bytes) + 1)
		return 0;
	sv_retain_free(s); /* the other anchor says otherwise */
	k->piece_bytes = s->anchor.page_bytes;
	k->pieces = (uint32_t)(bytes / k->piece_bytes) + 1;
	k->mem = sv_memory_take_large((uint64_t)k->pieces * k->piece_bytes);
	if (!k->mem)
		return -ENOMEM;
	k->next = malloc(k->pieces * sizeof(k->next[0]));
	k->v = malloc(k->pieces * sizeof(k->v[0]));
	return k->next && k->v ? 0 : -ENOMEM;
}

void sv_retain_free(struct sv_store *s)
{
	struct sv_retain *k = &s->retain;

	sv_memory_give(k->mem, (uint64_t)k->pieces * k->piece_bytes);
	free(k->next);
	free(k->v);
	k->mem = NULL;
	k->next = NULL;
	k->v = NULL;
}

struct sv_kept *sv_retain_nth(struct sv_store *s, uint32_t n)
{
	return &s->retain.v[(s->retain.first + n) % s->retain.pieces];
}

static uint32_t take_piece(struct sv_retain *k)
{
	uint32_t piece = k->free_piece;

	if (piece != NO_PIECE)
		k->free_piece = k->next[piece];
	else
		piece = k->fresh++;
	return piece;
}

static void give_back(struct sv_retain *k, const struct sv_kept *kept)
{
	uint32_t piece = kept->first_piece;

	for (uint32_t at = 0; at < kept->len_bytes; at += k->piece_bytes) {
		uint32_t next = k->next[piece];

		k->next[piece] = k->free_piece;
		k->free_piece = piece;
		piece = next;
	}
	k->used -= kept->len_bytes / k->piece_bytes;
}

/* Whether as much as Y1 asks for was flushed behind it. */
static bool is_safe(const struct sv_store *s, const struct sv_kept *kept)
{
	uint64_t flushed = s->ledger.stick_written_bytes - s->log.unflushed_bytes;

	return kept->end_bytes + window(s) <= flushed;
}

/* Gives up what is safe; with the lock held. */
static void trim(struct sv_store *s)
{
	struct sv_retain *k = &s->retain;

	while (k->count && is_safe(s, sv_retain_nth(s, 0))) {
		struct sv_kept *kept = sv_retain_nth(s, 0);

		give_back(k, kept);
		if (!kept->apart) {
			k->before = *kept; /* Y4 */
			k->before_known = true;
		}
		k->first = (k->first + 1) % k->pieces;
		k->count--;
	}
}

/* Pieces for so many bytes, chained; false when there are not enough. With the lock held. */
static bool reserve(struct sv_retain *k, struct sv_kept *kept)
{
	uint32_t count = kept->len_bytes / k->piece_bytes, *link = &kept->first_piece;

	if (k->pieces - k->used < count)
		return false;
	k->used += count;
	for (; count; count--) {
		*link = take_piece(k);
		link = &k->next[*link];
	}
	*link = NO_PIECE;
	return true;
}

static void fill_pieces(struct sv_retain *k, const struct sv_kept *kept, const uint8_t *src)
{
	uint32_t piece = kept->first_piece;

	for (uint32_t at = 0; at < kept->len_bytes; at += k->piece_bytes) {
		memcpy(k->mem + (size_t)piece * k->piece_bytes, src + at, k->piece_bytes);
		piece = k->next[piece];
	}
}

int sv_retain_take(struct sv_store *s, const struct sv_part *part, const struct sv_head *h,
		   struct sv_kept *ret_kept)
{
	struct sv_retain *k = &s->retain;
	struct sv_kept kept = {.place = part->base,
			       .len_bytes = h->total_bytes,
			       .seq = h->seq,
			       .next_segment = h->next_segment,
			       .apart = h->flags & SV_BATCH_APART};
	uint64_t early = early_bytes(s);
	bool got;
	int r = 0;

	assert(kept.len_bytes % k->piece_bytes == 0);
	memcpy(kept.hash, h->hash, SV_HASH_BYTES);
	for (unsigned tries = 0;; tries++) {
		pthread_mutex_lock(&s->lock);
		trim(s);
		got = (tries || (uint64_t)k->used * k->piece_bytes <= early) && reserve(k, &kept);
		pthread_mutex_unlock(&s->lock);
		if (got || tries)
			break;
		r = sv_log_flush(s); /* what is flushed leaves after lie_window */
		if (r < 0)
			return r;
	}
	if (!got)
		return -ENOMEM;
	fill_pieces(k, &kept, part->buf);
	*ret_kept = kept;
	return 0;
}

static struct sv_kept kept_of(const struct sv_store *s, const struct sv_walked *v)
{
	struct sv_kept kept = {.place = sv_place(s, v->segment, v->offset),
			       .end_bytes = v->log_bytes + v->total_bytes,
			       .len_bytes = v->total_bytes,
			       .seq = v->seq,
			       .next_segment = v->next_segment};

	memcpy(kept.hash, v->hash, SV_HASH_BYTES);
	return kept;
}

/* Y4, where the first is about to be taken over. */
static void note_before(struct sv_store *s, const struct sv_walk *w, const struct sv_walked *v)
{
	struct sv_retain *k = &s->retain;

	if (k->count || v == w->v)
		return;
	k->before = kept_of(s, v - 1);
	k->before_known = true;
}

void sv_retain_adopt(struct sv_store *s, const struct sv_walk *w, const struct sv_walked *v,
		     const uint8_t *bytes)
{
	struct sv_retain *k = &s->retain;
	struct sv_kept kept = kept_of(s, v);

	if (!k->mem || v->total_bytes > sv_stage_bytes(s))
		return;
	note_before(s, w, v);
	if (!reserve(k, &kept))
		return;
	fill_pieces(k, &kept, bytes);
	k->v[k->count++] = kept;
}

void sv_retain_adopt_born(struct sv_store *s, const struct sv_walk *w, const struct sv_walked *v,
			  uint64_t place, const struct sv_head *h, const uint8_t *bytes)
{
	struct sv_retain *k = &s->retain;
	struct sv_kept kept = {.place = place,
			       .end_bytes = h->log_bytes + h->total_bytes,
			       .len_bytes = h->total_bytes,
			       .seq = v->seq, /* Z5: a cut takes it along */
			       .apart = true};

	if (!k->mem || h->total_bytes > sv_stage_bytes(s) || sv_is_kept(s, place))
		return;
	note_before(s, w, v);
	if (!reserve(k, &kept))
		return;
	fill_pieces(k, &kept, bytes);
	k->v[k->count++] = kept;
}

/* Batches in a segment of survivors, in `bytes`, as far as they may be lost; each once. */
static void adopt_survivors(struct sv_store *s, const struct sv_walked *v,
			    const struct sv_record *rec, const uint8_t *bytes)
{
	struct sv_retain *k = &s->retain;
	uint32_t at = 0, size = s->anchor.segment_bytes;

	while (at < size) {
		struct sv_kept kept = {.place = sv_place(s, rec->segment, at), .apart = true};
		struct sv_head h;

		at += s->anchor.page_bytes;
		if (sv_head_decode(bytes + (at - s->anchor.page_bytes),
				   size - (at - s->anchor.page_bytes), &h) < 0 ||
		    !(h.flags & SV_BATCH_APART) || h.generation != rec->generation ||
		    h.flags & SV_BATCH_BORN || /* these come with their batch (Z5) */
		    sv_place(s, h.segment, h.offset) != kept.place ||
		    h.total_bytes % k->piece_bytes || h.total_bytes > sv_stage_bytes(s) ||
		    h.total_bytes > size - h.offset ||
		    memcmp(h.store_id, s->anchor.store_id, SV_STORE_ID_BYTES) != 0)
			continue;
		at = h.offset + h.total_bytes;
		kept.seq = h.seq;
		kept.end_bytes = h.log_bytes + h.total_bytes;
		kept.len_bytes = h.total_bytes;
		if (kept.end_bytes + window(s) < v->log_bytes || sv_is_kept(s, kept.place) ||
		    !reserve(k, &kept))
			continue;
		fill_pieces(k, &kept, bytes + h.offset);
		k->v[k->count++] = kept;
	}
}

/* Once is enough: all of a segment is looked at. */
static bool was_swept(struct sv_retain *k, uint64_t generation)
{
	for (unsigned i = 0; i < SV_SWEPT; i++)
		if (k->swept[i] == generation)
			return true;
	k->swept[k->swept_next++ % SV_SWEPT] = generation;
	return false;
}

void sv_retain_adopt_apart(struct sv_store *s, struct sv_walk *w, const struct sv_walked *v)
{
	struct sv_cur c = sv_cur_over(v->raw + SV_HEAD_FIXED_BYTES,
				      v->raw_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_record rec = {0};
	uint8_t *data;

	if (!s->retain.mem)
		return;
	while (sv_record_get(&c, &rec) == 0 && rec.type == SV_REC_SEGMENT)
		if (!rec.bytes && !was_swept(&s->retain, rec.generation) &&
		    sv_walk_read(s, w, sv_place(s, rec.segment, 0), s->anchor.segment_bytes,
				 &data) == 0)
			adopt_survivors(s, v, &rec, data);
}

bool sv_is_kept(struct sv_store *s, uint64_t place)
{
	for (uint32_t n = 0; n < s->retain.count; n++)
		if (sv_retain_nth(s, n)->place == place)
			return true;
	return false;
}

void sv_retain_cut(struct sv_store *s, uint64_t seq)
{
	while (s->retain.count && sv_retain_nth(s, s->retain.count - 1)->seq > seq)
		give_back(&s->retain, sv_retain_nth(s, --s->retain.count));
}

int sv_retain_restore(struct sv_store *s, const struct sv_kept *kept, const uint8_t *bytes)
{
	struct sv_retain *k = &s->retain;
	struct sv_kept mine = *kept;

	if (k->count == k->pieces || kept->len_bytes % k->piece_bytes || !reserve(k, &mine))
		return -EBADMSG;
	fill_pieces(k, &mine, bytes);
	*sv_retain_nth(s, k->count++) = mine;
	return 0;
}

void sv_retain_release(struct sv_store *s, const struct sv_kept *kept)
{
	pthread_mutex_lock(&s->lock);
	give_back(&s->retain, kept);
	pthread_mutex_unlock(&s->lock);
}

void sv_retain_keep(struct sv_store *s, const struct sv_kept *kept)
{
	struct sv_retain *k = &s->retain;
	struct sv_kept *slot = sv_retain_nth(s, k->count);

	assert(k->count < k->pieces);
	*slot = *kept;
	slot->end_bytes = s->ledger.stick_written_bytes;
	k->count++;
}

void sv_retain_copy(const struct sv_store *s, const struct sv_kept *kept, uint8_t *dst)
{
	const struct sv_retain *k = &s->retain;
	uint32_t piece = kept->first_piece;

	for (uint32_t at = 0; at < kept->len_bytes; at += k->piece_bytes) {
		memcpy(dst + at, k->mem + (size_t)piece * k->piece_bytes, k->piece_bytes);
		piece = k->next[piece];
	}
}

bool sv_retain_same(const struct sv_store *s, const struct sv_kept *kept, const uint8_t *bytes)
{
	const struct sv_retain *k = &s->retain;
	uint32_t piece = kept->first_piece;
	bool same = true;

	for (uint32_t at = 0; same && at < kept->len_bytes; at += k->piece_bytes) {
		same = memcmp(bytes + at, k->mem + (size_t)piece * k->piece_bytes,
			      k->piece_bytes) == 0;
		piece = k->next[piece];
	}
	return same;
}

/* [from, from + len) of an append's bytes. */
static void copy_part(const struct sv_retain *k, const struct sv_kept *kept, uint64_t from,
		      uint64_t len, uint8_t *dst)
{
	uint32_t piece = kept->first_piece;

	for (uint64_t at = 0; len; at += k->piece_bytes) {
		if (from < at + k->piece_bytes) {
			uint64_t n = sv_min64(len, at + k->piece_bytes - from);

			memcpy(dst, k->mem + (size_t)piece * k->piece_bytes + (from - at), n);
			dst += n;
			from += n;
			len -= n;
		}
		piece = k->next[piece];
	}
}

bool sv_retain_read(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place)
{
	bool found = false;

	pthread_mutex_lock(&s->lock);
	for (uint32_t n = s->retain.count; n-- > 0 && !found;) {
		const struct sv_kept *kept = sv_retain_nth(s, n);

		found = place >= kept->place && place + len_bytes <= kept->place + kept->len_bytes;
		if (found)
			copy_part(&s->retain, kept, place - kept->place, len_bytes, buf);
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}
