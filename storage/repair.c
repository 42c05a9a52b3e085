/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * repair.c: the newest state that can be proven becomes the store's state: as a new session at the
 * end of the proven chain, with a whole root, and two anchors that name it.
 *
 *   scan --chain--> base --replay--> state --opening, pages, root, flush--> anchors --> close
 *
 * X1  Until the anchors are written nothing that was in use is overwritten: the session goes into
 *     segments that hold nothing, or, where these do not suffice, nothing live and nothing that
 *     the proven chain has behind its base. So after a cut the same chain is found again, with
 *     what of the new session is whole as its end, and the same state.
 * X2  What an anchor's place held is given to the caller first, who keeps it.
 * X3  Of the two anchors one is whole at any time, or was bad before.
 * X4  The gate stays where it was until lie_window bytes followed these anchors: a stick may lose
 *     all of this session, and then the old chain is what the next repair needs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "repair.h"

/* ---- where to write ---- */

static uint64_t wanted_segments(const struct sv_store *s)
{
	uint64_t pages = s->map.dirty_pages + s->segs.limit / SV_USAGE_PER_PAGE + 16;
	/* A part of pages may be as small as an eighth of a segment, each padded to a page. */
	uint64_t bytes = pages * (SV_PAGE_UNIT_BYTES + SV_REC_PAGE_BYTES) * 2;

	return bytes / s->anchor.segment_bytes + 4;
}

/* X1: virgins, then growth, then what ended before the base. */
static int find_room(struct sv_repair *r)
{
	struct sv_store *s = r->s;
	uint64_t wanted = wanted_segments(s);
	uint64_t gate = r->chain.v[r->base_known ? r->base : 0]->seq;

	while (s->segs.free < wanted && !r->opts->dry_run && sv_grow_ahead(s))
		;
	if (s->segs.free < wanted)
		sv_segs_set_gate(&s->segs, gate);
	if (s->segs.free >= wanted)
		return 0;
	sv_why("there is no free segment to write to");
	return -ENOSPC;
}

/* Only what a root carries and what sessions say: the ledger has the sums. */
static void read_history(struct sv_repair *r)
{
	struct sv_head h;
	uint8_t *raw;

	for (size_t i = 0; i < r->end; i++) {
		const struct sv_found *f = r->chain.v[i];

		if (!(f->flags & (SV_BATCH_ROOT | SV_BATCH_OPEN | SV_BATCH_CLOSE)) ||
		    sv_scan_raw(r->s->dev, &r->s->geo, f, &raw) < 0)
			continue;
		if (sv_head_peek(raw, f->head_bytes, &h) == 0) {
			sv_history_take(&r->s->history, &h, raw, true);
			sv_boot_take(&r->s->boot, &h, raw);
		}
		free(raw);
	}
}

static int adopt_tail(struct sv_repair *r)
{
	const struct sv_found *tail = r->chain.v[r->end - 1];
	struct sv_store *s = r->s;
	struct sv_head h;
	uint8_t *raw;
	uint32_t next;
	int e = sv_scan_raw(s->dev, &s->geo, tail, &raw);

	if (e < 0)
		return e;
	e = sv_head_peek(raw, tail->head_bytes, &h);
	free(raw);
	if (e < 0)
		return e;
	s->ledger = h.ledger;
	read_history(r);
	s->log.seq = s->log.flushed_seq = tail->seq;
	memcpy(s->log.hash, tail->hash, SV_HASH_BYTES);
	memcpy(s->log.before_opening, tail->hash, SV_HASH_BYTES);
	s->log.segment = tail->segment;
	s->log.offset = s->anchor.segment_bytes;
	for (size_t i = 0; i < r->scan.count; i++)
		s->log.epoch = sv_max64(s->log.epoch, r->scan.v[i].epoch);
	sv_segs_set_role(&s->segs, s->log.segment, SV_SEG_HEAD);
	s->log.prev_epoch = tail->epoch;
	e = sv_segs_alloc(&s->segs, SV_SEG_NEXT, &next);
	if (e == 0)
		e = sv_segs_alloc(&s->segs, SV_SEG_NEXT, &s->log.after);
	if (e == 0)
		s->log.next = next;
	return e;
}

/* ---- writing ---- */

static int session_batch(struct sv_repair *r, uint32_t flags)
{
	struct sv_record rec = {.type = SV_REC_SESSION, .session.since_s = sv_now_s()};
	struct sv_part part;
	int e = sv_part_begin(r->s, &part, SV_REC_SESSION_BYTES, 0);

	if (e < 0)
		return e;
	snprintf(rec.session.host, SV_HOST_BYTES, "%s", r->opts->host ? r->opts->host : "");
	sv_part_record(&part, &rec);
	memcpy(r->s->anchor.host, rec.session.host, SV_HOST_BYTES);
	r->s->anchor.since_s = rec.session.since_s;
	return sv_part_append(r->s, &part, flags);
}

static int begin_epoch(struct sv_repair *r)
{
	struct sv_store *s = r->s;
	uint64_t epoch = sv_max64(s->log.epoch, s->anchor.epoch) >> SV_EPOCH_SALT_BITS;
	int e;

	s->log.generation_seed = r->opts->seed;
	if (!r->opts->seed &&
	    getrandom(&s->log.generation_seed, sizeof(s->log.generation_seed), 0) < 0)
		return -errno;
	s->log.epoch = (epoch + 1) << SV_EPOCH_SALT_BITS |
		       (s->log.generation_seed & ((1u << SV_EPOCH_SALT_BITS) - 1));
	s->ledger.sessions++;
	e = session_batch(r, SV_BATCH_OPEN | SV_BATCH_REFUSED);
	if (e == 0)
		sv_log_link(s, &s->log.opening, s->log.last_bytes);
	return e;
}

static int write_root(struct sv_repair *r)
{
	struct sv_store *s = r->s;
	int e;

	for (uint64_t i = 0; i < s->segs.count; i += SV_USAGE_PER_PAGE)
		sv_segs_touch(&s->segs, i);
	pthread_mutex_lock(&s->commit);
	e = sv_checkpoint_locked(s);
	pthread_mutex_unlock(&s->commit);
	if (e == 0)
		e = sv_log_flush(s);
	s->log.flushed_seq = s->log.seq;
	return e;
}

/* X2: once for each place, before the first of them is touched. */
static int save_anchors(struct sv_repair *r, uint8_t *buf)
{
	int e = 0;

	for (unsigned i = 0; e == 0 && r->opts->save && i < 2; i++) {
		uint64_t place = (uint64_t)i * r->s->anchor.segment_bytes;

		memset(buf, 0, SV_ANCHOR_BYTES);
		e = sv_dev_read(r->s->dev, buf, SV_ANCHOR_BYTES, place);
		if (e == 0 || e == -EIO)
			e = r->opts->save(r->opts->ctx, place, buf, SV_ANCHOR_BYTES);
	}
	return e;
}

static bool anchor_is_whole(struct sv_repair *r, uint64_t place, uint8_t *buf)
{
	struct sv_anchor a;

	return sv_dev_read(r->s->dev, buf, SV_ANCHOR_BYTES, place) == 0 &&
	       sv_anchor_decode(buf, &a) == 0;
}

/* X3: the one that is bad comes first. */
static int write_anchors(struct sv_repair *r)
{
	struct sv_store *s = r->s;
	struct sv_anchor a = s->anchor;
	uint8_t *buf;
	unsigned first;
	int e;

	if (posix_memalign((void **)&buf, 4096, SV_ANCHOR_BYTES))
		return -ENOMEM;
	e = save_anchors(r, buf);
	first = anchor_is_whole(r, 0, buf) && !anchor_is_whole(r, s->anchor.segment_bytes, buf);
	a.root = s->roots.v[s->roots.count - 1].root;
	a.named_log_bytes = s->ledger.stick_written_bytes; /* X4 */
	a.anchor_seq = r->anchor_seq + 1;
	a.epoch = s->log.epoch;
	a.opening = s->log.opening;
	memcpy(a.before_opening, s->log.before_opening, SV_HASH_BYTES);
	a.log_bytes = s->ledger.stick_written_bytes;
	a.gate_seq = s->segs.gate_seq;
	for (unsigned i = 0; e == 0 && i < 2; i++) {
		sv_anchor_encode(&a, buf);
		e = sv_log_write(s, buf, SV_ANCHOR_BYTES,
				 (uint64_t)(first ^ i) * s->anchor.segment_bytes);
		if (e == 0)
			e = sv_log_flush(s);
	}
	free(buf);
	s->ledger.metadata_bytes += 2 * SV_ANCHOR_BYTES;
	return e;
}

static int write_state(struct sv_repair *r)
{
	uint64_t before;
	int e = find_room(r);

	if (e < 0 || r->opts->dry_run)
		return e;
	e = sv_store_stage(r->s);
	if (e == 0)
		e = sv_retain_init(r->s);
	if (e == 0)
		e = adopt_tail(r);
	before = r->s->ledger.stick_written_bytes;
	if (e == 0)
		e = begin_epoch(r);
	if (e == 0)
		e = write_root(r);
	if (e == 0)
		e = write_anchors(r);
	if (e == 0)
		e = session_batch(r, SV_BATCH_CLOSE);
	if (e == 0)
		e = sv_log_flush(r->s);
	r->result.written_bytes = r->s->ledger.stick_written_bytes - before;
	return e;
}

int sv_store_repair(struct sv_dev *dev, const struct sv_repair_options *opts,
		    struct sv_repair_result *ret_result)
{
	struct sv_open_options open = {.manual = true, .batch_bytes = 1u << 20};
	struct sv_repair r = {.opts = opts};
	int e = sv_store_new(dev, &open, &r.s);

	if (e < 0)
		return e;
	sv_why("%s", "");
	e = sv_repair_load(&r);
	if (e == 0)
		e = write_state(&r);
	sv_chain_free(&r.chain);
	sv_scan_free(&r.scan);
	sv_store_free(r.s);
	if (e == 0)
		*ret_result = r.result;
	return e;
}
