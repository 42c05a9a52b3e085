/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.c: the head of the chain: parts are built in the staging buffer and appended.
 *
 * L1  The head's offset is a multiple of the page; nothing behind it in its segment was written in
 *     this generation.
 * L2  `next` and `after` were free when they were named (S1 to S4) and keep their role until each
 *     is the head. Two are named, so that one header that rots does not end the trail.
 * L3  seq, hash and offset advance only after the part's write returned 0. After a failed write
 *     the next part goes to the same place, or, where it has no room there, a page of zeros: the
 *     failed one may lie there whole, and would be taken for the successor.
 * L4  A part that rolls takes the new segment whole; the old head keeps what it has.
 * L5  Where a write fails because the stick is gone, they advance all the same: the part may be
 *     there, whole, and no other may ever take its place in the chain. It is kept (retain.c), and
 *     written before anything else once the stick is back (reattach.c). Nothing follows it before.
 *
 * L6  Writes reach the medium one after the other, in the order of the log_bytes that headers and
 *     anchors carry: lie_window is counted in it, and what was on its way while something else was
 *     written would else seem to lie behind that. So `writing` is held from the look at the count
 *     to the end of the write.
 *
 *   after --> next --sv_part_begin rolls--> head --full--> idle
 */
#include <assert.h>
#include <errno.h>

#include "digest.h"
#include "store_impl.h"

#define RATE_BYTES (512u << 10) /* shorter writes say more of commands than of the rate */
#define LEAST_DIRTY_BYTES (2u << 20)
#define MANY_FLUSHES 4u

/* How fast long writes go, smoothed; it bounds what may wait in memory (two seconds of it). */
static void note_rate(struct sv_store *s, uint32_t len_bytes, uint64_t took_ms)
{
	uint64_t now = len_bytes / sv_max64(took_ms, 1);
	uint64_t slots;

	if (len_bytes < RATE_BYTES || s->opts.manual)
		return;
	s->rate = s->rate ? (7 * s->rate + now) / 8 : now;
	slots = sv_max64(2000 * s->rate, LEAST_DIRTY_BYTES) / SV_BLOCK_BYTES;
	s->limit_slots = (uint32_t)sv_min64(slots, s->arena.slots);
}

int sv_log_write_held(struct sv_store *s, const void *buf, uint32_t len_bytes, uint64_t place)
{
	uint64_t took_us; /* of the stick: without letting others pass */
	int r = sv_io_write(s, buf, len_bytes, place, &took_us);

	pthread_mutex_lock(&s->lock);
	if (r == 0) {
		note_rate(s, len_bytes, took_us / 1000);
		if (!s->opts.manual)
			sv_history_wrote(&s->history, (uint32_t)(place / s->anchor.segment_bytes),
					 len_bytes, took_us, sv_now_s());
		s->ledger.stick_written_bytes += len_bytes;
		s->log.unflushed_bytes += len_bytes;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int sv_log_write(struct sv_store *s, const void *buf, uint32_t len_bytes, uint64_t place)
{
	int r;

	pthread_mutex_lock(&s->writing);
	r = sv_log_write_held(s, buf, len_bytes, place);
	pthread_mutex_unlock(&s->writing);
	return r;
}

static int flush_by(struct sv_store *s, int (*flush)(struct sv_store *s))
{
	uint64_t before, since;
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->log.flush_error;
	before = s->ledger.stick_written_bytes;
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		r = flush(s);
	pthread_mutex_lock(&s->lock);
	if (r == 0) {
		/* What is written meanwhile may miss it, and other flushes may end meanwhile, too.
		 */
		since = s->ledger.stick_written_bytes - before;
		s->log.unflushed_bytes = sv_min64(s->log.unflushed_bytes, since);
		s->log.flushes_here++;
	} else if (r != -ENODEV) { /* a stick that is gone is asked again when it is back */
		s->log.flush_error = r;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int sv_log_flush(struct sv_store *s)
{
	return flush_by(s, sv_io_flush);
}

int sv_log_settle(struct sv_store *s)
{
	return flush_by(s, sv_io_settle);
}

uint64_t sv_new_generation(struct sv_store *s)
{
	uint64_t n[2] = {s->log.generation_seed, ++s->log.generations};
	uint64_t g = sv_hash64(n, sizeof(n), 0);

	return g ? g : 1;
}

void sv_log_link(const struct sv_store *s, struct sv_link *ret_link, uint32_t total_bytes)
{
	*ret_link = (struct sv_link){.segment = s->log.segment,
				     .offset = (uint32_t)s->log.offset - total_bytes,
				     .generation = s->log.generation,
				     .seq = s->log.seq};
	memcpy(ret_link->hash, s->log.hash, SV_HASH_BYTES);
}

/* Each flush of a segment that was never written before costs the host's file system a commit:
 * where they are many, it pays to write segments over before they take any. */
static bool many_costly_flushes(struct sv_store *s)
{
	bool many;

	pthread_mutex_lock(&s->lock);
	many = s->geo.first_write_costs && s->log.flushes_here >= MANY_FLUSHES;
	pthread_mutex_unlock(&s->lock);
	return many;
}

/* The named next segment becomes the head, and another one is named (L2). */
static int roll(struct sv_store *s)
{
	uint32_t after;
	bool virgin = sv_is_virgin(s, s->log.next);
	int r = 0;

	/* Now the head's erase unit is done with, and no other is open. */
	if (virgin && many_costly_flushes(s))
		r = sv_convert(s, s->log.next, NULL);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	r = sv_segs_alloc(&s->segs, SV_SEG_NEXT, &after);
	if (r == 0) {
		s->ledger.padding_bytes += s->anchor.segment_bytes - s->log.offset;
		sv_segs_set_role(&s->segs, s->log.segment, SV_SEG_IDLE);
		sv_segs_set_role(&s->segs, s->log.next, SV_SEG_HEAD);
		s->log.segment = s->log.next;
		s->log.next = s->log.after;
		s->log.after = after;
		s->log.offset = 0;
		s->log.recent = (struct sv_recent){.next = 0};
		s->log.virgin = virgin && s->log.flushes_here < MANY_FLUSHES;
		s->log.flushes_here = 0;
		s->log.generation = sv_new_generation(s);
		sv_segs_begin(&s->segs, s->log.segment, s->log.generation, s->log.seq + 1);
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

void sv_part_at(struct sv_store *s, struct sv_part *part, uint8_t *stage, uint32_t record_bytes,
		uint32_t segment, uint64_t offset, uint64_t generation)
{
	uint64_t room = s->anchor.segment_bytes - offset;

	*part = (struct sv_part){.buf = stage, .segment = segment, .generation = generation};
	part->limit = (uint32_t)sv_min64(room, s->stage_bytes);
	part->payload_offset = (uint32_t)sv_align_up(
		SV_HEAD_FIXED_BYTES + record_bytes + SV_HASH_BYTES, SV_GRAIN_BYTES);
	part->rec = sv_cur_over(part->buf + SV_HEAD_FIXED_BYTES, record_bytes);
	part->base = sv_place(s, segment, offset);
}

/*
 * A program that is torn may take some pages before it along. What was written within lie_window
 * may go that way; where the batch before is older (survivors were written elsewhere meanwhile, or
 * a session was closed), a gap protects it. The walk knows of it (W1). With lock held.
 */
bool sv_gap_is_due(const struct sv_store *s, const struct sv_recent *recent, uint64_t offset)
{
	uint64_t gap = SV_GAP_PAGES * s->anchor.page_bytes;
	bool due = false;

	/* A batch is a page at least, so these are all that lie within the gap's reach. */
	for (unsigned i = 0; i < SV_GAP_PAGES; i++)
		due |= recent->v[i].end && recent->v[i].end + gap > offset &&
		       s->ledger.stick_written_bytes - recent->v[i].log_bytes >
			       s->anchor.lie_window_bytes / 2;
	return due;
}

static void leave_gap(struct sv_store *s)
{
	uint64_t gap = SV_GAP_PAGES * s->anchor.page_bytes;

	if (s->log.offset >= s->anchor.segment_bytes ||
	    !sv_gap_is_due(s, &s->log.recent, s->log.offset))
		return;
	s->log.offset = sv_min64(s->log.offset + gap, s->anchor.segment_bytes);
	s->log.recent = (struct sv_recent){.next = 0};
}

static void note_recent(const struct sv_store *s, struct sv_recent *recent, uint64_t end)
{
	unsigned i = recent->next++ % SV_GAP_PAGES;

	recent->v[i].end = end;
	recent->v[i].log_bytes = s->ledger.stick_written_bytes;
}

/* Over the head of a part whose write failed (L3). The stage is free. */
static int blot(struct sv_store *s)
{
	int r;

	if (!s->log.failed)
		return 0;
	memset(s->stage, 0, s->anchor.page_bytes);
	r = sv_log_write(s, s->stage, s->anchor.page_bytes,
			 sv_place(s, s->log.segment, s->log.offset));
	if (r == 0)
		s->log.failed = false;
	return r;
}

int sv_part_begin(struct sv_store *s, struct sv_part *part, uint32_t record_bytes,
		  uint64_t want_bytes)
{
	uint64_t room;
	uint64_t least = SV_HEAD_FIXED_BYTES + SV_HASH_BYTES + SV_GRAIN_BYTES + record_bytes;
	int r = sv_is_detached(s) ? -ENODEV : sv_apply_rest(s); /* L5 */
	bool rolls, wrong;

	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	wrong = s->segs.wrong;
	if (!wrong && !s->log.failed)
		leave_gap(s);
	pthread_mutex_unlock(&s->lock);
	if (wrong)
		return -EUCLEAN; /* G3 */
	room = s->anchor.segment_bytes - s->log.offset;
	want_bytes = sv_align_up(want_bytes + least, s->anchor.page_bytes);
	rolls = (room < want_bytes && want_bytes <= s->anchor.segment_bytes / 16) ||
		room < least + SV_UNIT_MAX_BYTES / 8 + SV_RAW_UNIT_BYTES ||
		room < s->anchor.page_bytes || (s->log.virgin && many_costly_flushes(s));
	if (rolls)
		r = blot(s);
	if (rolls && r == 0)
		r = roll(s);
	if (r < 0)
		return r;
	sv_part_at(s, part, s->stage, record_bytes, s->log.segment, s->log.offset,
		   s->log.generation);
	return 0;
}

bool sv_part_fits(const struct sv_part *part, uint32_t record_bytes, uint32_t stored_bytes)
{
	return part->rec.len - part->rec.off >= record_bytes &&
	       part->limit - part->payload_offset >= part->payload_bytes + stored_bytes;
}

void sv_part_record(struct sv_part *part, const struct sv_record *rec)
{
	sv_record_put(&part->rec, rec);
	assert(!part->rec.bad);
	part->records++;
}

uint8_t *sv_part_space(const struct sv_part *part)
{
	return part->buf + part->payload_offset + part->payload_bytes;
}

uint64_t sv_part_unit(struct sv_store *s, struct sv_part *part, struct sv_unit *unit,
		      uint64_t subject, uint32_t *ret_stored)
{
	uint64_t place = part->base + part->payload_offset + part->payload_bytes;
	struct sv_binding bind = {.store_id = s->anchor.store_id,
				  .generation = part->generation,
				  .place = place,
				  .subject = subject};
	uint32_t stored = sv_unit_seal(&bind, unit, sv_part_space(part));

	part->digest = sv_payload_digest(part->digest, unit->check);
	part->payload_bytes += stored;
	assert(part->payload_offset + part->payload_bytes <= part->limit);
	*ret_stored = stored;
	return place;
}

/* What the header says of the chain and of the ledger as they are now. */
static void fill(struct sv_store *s, const struct sv_part *part, struct sv_head *h)
{
	bool apart = h->flags & SV_BATCH_APART;
	uint32_t end = h->payload_offset + h->payload_bytes;

	pthread_mutex_lock(&s->lock);
	h->epoch = s->log.epoch;
	h->prev_epoch = s->log.prev_epoch;
	h->seq = apart ? s->log.seq : s->log.seq + 1;
	h->flushed_seq = s->log.flushed_seq;
	h->next_segment = s->log.next;
	h->after_segment = s->log.after;
	if (!apart)
		memcpy(h->prev_hash, s->log.hash, SV_HASH_BYTES);
	h->log_bytes = s->ledger.stick_written_bytes;
	sv_tally(s);
	s->ledger.batches++;
	s->ledger.payload_bytes += part->user_bytes;
	s->segs.clock = s->ledger.payload_bytes;
	s->ledger.cleaner_bytes += apart ? part->payload_bytes - part->user_bytes : 0;
	s->ledger.metadata_bytes += h->payload_offset;
	s->ledger.metadata_bytes += apart ? 0 : part->payload_bytes - part->user_bytes;
	s->ledger.padding_bytes += h->total_bytes - end;
	h->ledger = s->ledger;
	h->ledger.stick_written_bytes += h->total_bytes; /* itself included */
	pthread_mutex_unlock(&s->lock);
}

/* The header before the payload, zeros behind it up to the page. */
static void finish(struct sv_store *s, struct sv_part *part, uint32_t flags, struct sv_head *h)
{
	uint32_t end = part->payload_offset + part->payload_bytes;
	uint32_t head_end = SV_HEAD_FIXED_BYTES + (uint32_t)part->rec.off + SV_HASH_BYTES;

	*h = (struct sv_head){.head_bytes = head_end,
			      .payload_offset = part->payload_offset,
			      .payload_bytes = part->payload_bytes,
			      .total_bytes = (uint32_t)sv_align_up(end, s->anchor.page_bytes),
			      .flags = flags,
			      .records = part->records,
			      .generation = part->generation,
			      .time_s = sv_now_s(),
			      .segment = part->segment,
			      .offset = (uint32_t)(part->base % s->anchor.segment_bytes),
			      .payload_digest = part->digest};
	memcpy(h->store_id, s->anchor.store_id, SV_STORE_ID_BYTES);
	memset(part->buf + head_end, 0, part->payload_offset - head_end);
	memset(part->buf + end, 0, h->total_bytes - end);
	fill(s, part, h);
	sv_head_encode(h, part->buf);
}

static void note_used(struct sv_store *s, const struct sv_head *h)
{
	struct sv_usage *u = &s->segs.v[h->segment].usage;

	u->used_bytes = h->offset + h->total_bytes;
	u->last_seq = sv_max64(u->last_seq, h->seq);
	sv_segs_touch(&s->segs, h->segment);
}

/* Sends a part, and keeps it for as long as the stick may lose it. On success the lock is held. */
static int send(struct sv_store *s, struct sv_part *part, const struct sv_head *h)
{
	struct sv_kept kept;
	int r = sv_retain_take(s, part, h, &kept);

	if (r < 0)
		return r;
	r = sv_log_write_held(s, part->buf, h->total_bytes, part->base);
	if (r < 0 && !sv_is_detached(s)) {
		sv_retain_release(s, &kept);
		return r;
	}
	pthread_mutex_lock(&s->lock);
	if (r < 0) { /* L5 */
		s->ledger.stick_written_bytes += h->total_bytes;
		s->log.unflushed_bytes += h->total_bytes;
	}
	sv_retain_keep(s, &kept);
	return 0;
}

int sv_part_append(struct sv_store *s, struct sv_part *part, uint32_t flags)
{
	struct sv_head h;
	int r;

	assert(part->segment == s->log.segment && part->base % s->anchor.page_bytes == 0); /* L1 */
	pthread_mutex_lock(&s->writing);						   /* L6 */
	finish(s, part, flags, &h);
	r = send(s, part, &h);
	pthread_mutex_unlock(&s->writing);
	s->log.failed = r < 0;
	if (r < 0)
		return r;
	s->log.offset += h.total_bytes; /* L3 */
	s->log.seq = h.seq;
	s->log.last_bytes = h.total_bytes;
	note_recent(s, &s->log.recent, s->log.offset);
	memcpy(s->log.hash, h.hash, SV_HASH_BYTES);
	note_used(s, &h);
	sv_history_take(&s->history, &h, part->buf, false);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int sv_part_append_apart(struct sv_store *s, struct sv_part *part, struct sv_apart *to)
{
	struct sv_head h;
	int r;

	pthread_mutex_lock(&s->writing); /* L6 */
	finish(s, part, SV_BATCH_APART | (part->births ? SV_BATCH_BORN : 0), &h);
	r = send(s, part, &h);
	pthread_mutex_unlock(&s->writing);
	if (r < 0)
		return r;
	to->offset += h.total_bytes;
	note_recent(s, &to->recent, to->offset);
	note_used(s, &h);
	pthread_mutex_unlock(&s->lock);
	return 0;
}
