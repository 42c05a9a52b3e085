/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reattach.c: the stick is back: is it ours as we left it, what did it lose, and on we go.
 *
 *   detached --anchors, lineage--> ours --every append kept is read back--> known
 *            --what differs is written again, in order--> --flush--> --anchors--> attached
 *
 * A1  Nothing is written before all of these hold: both anchors that can be read are of this store
 *     and of no session that began after this one; the batch before the oldest append kept, and the
 *     root that the anchors name, are there; no batch that opens a session follows any batch of
 *     ours.
 * A2  What is written again are the same bytes at the same place. So each sector is either what it
 *     was meant to be or what the pull left of it, whenever a second pull (or the host's end) comes
 *     in between: the states of the medium are those that the first write could have left, and
 *     C1 to C3, the hashes, the generations and the gap hold as they did then. A new segment
 *     would need new places, so new checks, headers and hashes, and would leave the old copies
 *     behind as orphans that look like successors (O1).
 * A3  The log is flushed before an anchor is written again, and the worse anchor goes first (R3).
 * A4  The distance between marks and the end of the log stays as it was (shift): what was written
 *     twice is no reason to call a root settled.
 *
 * An anchor of an earlier session, or none, is no reason to refuse: the stick lost ours.
 */
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

/* One attempt. */
struct attempt {
	struct sv_store *s;
	struct sv_dev *dev;
	struct sv_geometry geo;
	uint8_t *buf; /* one part */
	struct sv_reattach did;
	struct sv_head opening; /* at the start of a segment named next */
	uint32_t looked_at;	/* that segment; 0: none yet */
	bool opened_there;
	unsigned anchors_read; /* bit by bit */
	bool anchor_right[2];
	uint64_t anchor_seq; /* the largest seen */
};

static int gone(struct attempt *a, int r)
{
	if (r == -ENODEV || (r != -ENOMEM && sv_dev_alive(a->dev) < 0)) {
		sv_why("the stick went away again");
		return -ENODEV;
	}
	return r;
}

/* 0; 1: it cannot be read there, though the device is alive; -ENODEV. */
static int read_at(struct attempt *a, uint64_t place, uint32_t len_bytes)
{
	int r;

	if (place + len_bytes > a->geo.size_bytes)
		return 1;
	r = sv_dev_read(a->dev, a->buf, len_bytes, place);
	if (r == 0)
		return 0;
	return gone(a, r) == -ENODEV ? -ENODEV : 1;
}

/* ---- A1: whose it is ---- */

/* Not this session, and none that recovery accepted before it. A session that found nothing of
 * this one has its number, with another salt. */
static bool is_later(const struct sv_store *s, uint64_t epoch)
{
	return epoch != s->log.epoch && !sv_epoch_is_later(s->log.epoch, epoch);
}

/*
 * A batch by itself says little: what sessions left that the stick lost before this one began may
 * have any number. It is of a later one if it opens a session behind a batch of ours. (One that has
 * gone so far as to write over what is kept here has anchors that are long settled.)
 */
static bool is_later_batch(struct sv_store *s, const struct sv_head *h)
{
	bool behind = memcmp(h->prev_hash, s->log.before_opening, SV_HASH_BYTES) == 0;

	if (!(h->flags & SV_BATCH_OPEN) || !is_later(s, h->epoch))
		return false;
	for (uint32_t n = 0; n < s->retain.count && !behind; n++)
		behind = memcmp(h->prev_hash, sv_retain_nth(s, n)->hash, SV_HASH_BYTES) == 0;
	return behind;
}

static bool is_ours(const struct sv_store *s, const uint8_t *store_id)
{
	return memcmp(store_id, s->anchor.store_id, SV_STORE_ID_BYTES) == 0;
}

static int stale(void)
{
	sv_why("another session has written to the stick since it was pulled; what is in memory "
	       "here no longer fits it");
	return -ESTALE;
}

static int check_anchor(struct attempt *a, unsigned which)
{
	struct sv_store *s = a->s;
	uint8_t ours[SV_ANCHOR_BYTES];
	struct sv_anchor got;
	int r = read_at(a, (uint64_t)which * s->anchor.segment_bytes, SV_ANCHOR_BYTES);

	if (r < 0)
		return r;
	if (r == 0)
		r = sv_anchor_decode(a->buf, &got);
	if (r == -EPROTONOSUPPORT)
		return stale(); /* a newer version has been at it */
	if (r != 0)
		return 0; /* damaged: to be written again */
	if (!is_ours(s, got.store_id)) {
		sv_why("this is the disk of another machine");
		return -EMEDIUMTYPE;
	}
	if (is_later(s, got.epoch))
		return stale();
	a->anchors_read |= 1u << which;
	a->anchor_seq = sv_max64(a->anchor_seq, got.anchor_seq);
	sv_anchor_encode(&s->anchor, ours);
	a->anchor_right[which] = memcmp(ours, a->buf, SV_ANCHOR_BYTES) == 0;
	return 0;
}

/* A header by itself: 0, 1 (none, or none of ours), -ENODEV. */
static int read_head(struct attempt *a, uint64_t place, struct sv_head *ret_head)
{
	struct sv_store *s = a->s;
	uint32_t len = (uint32_t)sv_min64(s->stage_bytes, s->anchor.segment_bytes -
								  place % s->anchor.segment_bytes);
	struct sv_head h;
	int r;

	/* As a rule the first page holds it. */
	r = read_at(a, place, s->anchor.page_bytes);
	if (r == 0)
		r = sv_head_peek(a->buf, s->anchor.page_bytes, &h) < 0 || h.head_bytes > len;
	if (r == 0 && h.head_bytes > s->anchor.page_bytes)
		r = read_at(a, place, (uint32_t)sv_align_up(h.head_bytes, s->anchor.page_bytes));
	if (r != 0)
		return r;
	if (sv_head_decode(a->buf, h.head_bytes, &h) < 0 || !is_ours(s, h.store_id))
		return 1;
	*ret_head = h;
	return 0;
}

static int must_be_there(struct attempt *a, uint64_t place, const uint8_t *hash)
{
	struct sv_head h;
	int r = read_head(a, place, &h);

	if (r < 0)
		return r;
	if (r == 0 && memcmp(h.hash, hash, SV_HASH_BYTES) == 0)
		return 0;
	if (r == 0 && is_later_batch(a->s, &h))
		return stale();
	if (!a->anchors_read) {
		sv_why("there is no disk of this machine here");
		return -EMEDIUMTYPE;
	}
	sv_why("what was safely written long ago is missing: this is a copy, or an older state, of "
	       "the stick");
	return -EUCLEAN;
}

static int check_lineage(struct attempt *a)
{
	struct sv_store *s = a->s;
	const struct sv_link *root = &s->anchor.root;
	const struct sv_kept *before = &s->retain.before;
	uint64_t place = sv_place(s, root->segment, root->offset);
	int r = 0;

	if (!sv_is_kept(s, place))
		r = must_be_there(a, place, root->hash);
	if (r == 0 && s->retain.before_known)
		r = must_be_there(a, before->place, before->hash);
	return r;
}

/* Whether a session was begun behind this batch of ours, in the segment that it names. */
static int check_successor(struct attempt *a, const struct sv_kept *kept)
{
	struct sv_store *s = a->s;
	int r;

	if (a->looked_at != kept->next_segment) {
		r = read_head(a, sv_place(s, kept->next_segment, 0), &a->opening);
		if (r < 0)
			return r;
		a->looked_at = kept->next_segment;
		a->opened_there =
			r == 0 && a->opening.flags & SV_BATCH_OPEN && is_later(s, a->opening.epoch);
	}
	if (a->opened_there && memcmp(a->opening.prev_hash, kept->hash, SV_HASH_BYTES) == 0)
		return stale();
	return 0;
}

/* Of a place that does not hold what we wrote there; its bytes are in buf. */
static int check_foreign(const struct attempt *a, const struct sv_kept *kept)
{
	struct sv_store *s = a->s;
	struct sv_head h;

	if (sv_head_decode(a->buf, kept->len_bytes, &h) < 0 || !is_ours(s, h.store_id))
		return 0;
	return is_later_batch(s, &h) ? stale() : 0;
}

/* Reads one append back; `wrong` where it is not what was written. */
static int verify_one(struct attempt *a, struct sv_kept *kept)
{
	int r = read_at(a, kept->place, kept->len_bytes);

	if (r < 0)
		return r;
	kept->wrong = r > 0 || !sv_retain_same(a->s, kept, a->buf);
	if (!kept->wrong)
		a->did.verified_bytes += kept->len_bytes;
	else if (r == 0)
		return check_foreign(a, kept);
	return 0;
}

static int verify_all(struct attempt *a)
{
	struct sv_store *s = a->s;
	int r = 0;

	for (uint32_t n = 0; r == 0 && n < s->retain.count; n++) {
		r = verify_one(a, sv_retain_nth(s, n));
		if (r == 0 && !sv_retain_nth(s, n)->apart)
			r = check_successor(a, sv_retain_nth(s, n));
	}
	if (r == 0 && s->retain.before_known)
		r = check_successor(a, &s->retain.before);
	return r;
}

/* What was grown is there, or can be had again because nothing lies in it but what is kept. */
static int check_size(struct attempt *a)
{
	struct sv_store *s = a->s;
	uint64_t want = s->segs.count * s->anchor.segment_bytes;
	int r;

	if (a->geo.size_bytes >= want)
		return 0;
	for (uint64_t i = a->geo.size_bytes / s->anchor.segment_bytes; i < s->segs.count; i++)
		if (s->segs.v[i].usage.generation && !sv_is_kept(s, sv_place(s, (uint32_t)i, 0))) {
			sv_why("the place is shorter than it was");
			return -EUCLEAN;
		}
	r = s->opts.read_only ? 0 : sv_dev_grow(a->dev, want);
	if (r == 0)
		r = sv_dev_geometry(a->dev, &a->geo);
	return r < 0 ? gone(a, r) : 0;
}

/* ---- going on ---- */

/* A4 */
void sv_reattach_shift(struct sv_store *s, uint64_t len_bytes)
{
	s->ledger.stick_written_bytes += len_bytes;
	s->ledger.metadata_bytes += len_bytes;
	s->root_log_bytes += len_bytes;
	for (uint32_t i = 0; i < s->roots.count; i++)
		s->roots.v[i].log_bytes += len_bytes;
	for (uint32_t i = 0; i < s->anchors.count; i++)
		s->anchors.v[i].log_bytes += len_bytes;
	for (uint32_t n = 0; n < s->retain.count; n++)
		sv_retain_nth(s, n)->end_bytes += len_bytes;
}

static int write_again(struct attempt *a, struct sv_kept *kept, uint64_t flushed_bytes)
{
	struct sv_store *s = a->s;
	int r;

	sv_retain_copy(s, kept, a->buf);
	r = sv_dev_write(a->dev, a->buf, kept->len_bytes, kept->place);
	if (r < 0) {
		sv_why("writing to the stick fails");
		return gone(a, r);
	}
	a->did.rewritten_bytes += kept->len_bytes;
	if (!kept->doubtful && kept->end_bytes <= flushed_bytes)
		a->did.missing_bytes += kept->len_bytes;
	pthread_mutex_lock(&s->lock);
	sv_reattach_shift(s, kept->len_bytes);
	kept->end_bytes = s->ledger.stick_written_bytes;
	kept->doubtful = true;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int write_all_again(struct attempt *a)
{
	struct sv_store *s = a->s;
	uint64_t flushed = s->ledger.stick_written_bytes - s->log.unflushed_bytes;
	uint64_t before = s->ledger.stick_written_bytes;
	int r = 0;

	for (uint32_t n = 0; r == 0 && n < s->retain.count; n++) {
		uint64_t shifted = s->ledger.stick_written_bytes - before;

		if (sv_retain_nth(s, n)->wrong)
			r = write_again(a, sv_retain_nth(s, n), flushed + shifted);
	}
	return r;
}

static int flush(struct attempt *a)
{
	int r = sv_dev_flush(a->dev);

	if (r < 0)
		sv_why("flushing the stick fails");
	return r < 0 ? gone(a, r) : 0;
}

static int write_anchor(struct attempt *a, const struct sv_anchor *anchor, unsigned which)
{
	int r;

	sv_anchor_encode(anchor, a->buf);
	r = sv_dev_write(a->dev, a->buf, SV_ANCHOR_BYTES, (uint64_t)which * anchor->segment_bytes);
	if (r < 0) {
		sv_why("writing to the stick fails");
		return gone(a, r);
	}
	return flush(a);
}

/* A3. An anchor that was under way when the stick was pulled may be there or not, once or twice:
 * both are made what the store in memory takes them to be, with a number larger than either. */
static int write_anchors(struct attempt *a)
{
	struct sv_store *s = a->s;
	struct sv_anchor anchor = s->anchor;
	unsigned first = a->anchors_read & 1u ? 1 : 0;
	int r;

	if (a->anchor_right[0] && a->anchor_right[1])
		return 0;
	if (a->anchors_read == 3)
		first = a->anchor_right[0] ? 1 : 0;
	anchor.anchor_seq = sv_max64(anchor.anchor_seq, a->anchor_seq) + 1;
	r = write_anchor(a, &anchor, first);
	if (r == 0)
		r = write_anchor(a, &anchor, !first);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	s->anchor.anchor_seq = anchor.anchor_seq;
	s->ledger.stick_written_bytes += 2 * SV_ANCHOR_BYTES;
	s->ledger.metadata_bytes += 2 * SV_ANCHOR_BYTES;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* Everything sealed is durable: no error of the old device means anything any more. */
static void settle(struct attempt *a)
{
	struct sv_store *s = a->s;

	pthread_mutex_lock(&s->lock);
	s->geo = a->geo;
	s->log.flush_error = 0;
	s->log.unflushed_bytes = 0;
	if (!s->sealing) { /* F never names half a group */
		s->log.flushed_seq = s->log.seq;
		s->flushed_stamp = s->sealed_stamp;
	}
	s->seal_error = 0;
	for (uint32_t n = 0; n < s->retain.count; n++)
		sv_retain_nth(s, n)->doubtful = false;
	sv_update_gate(s);
	pthread_mutex_unlock(&s->lock);
}

/* A store that is only read: nobody may have written. */
static int check_unchanged(const struct attempt *a)
{
	if (a->anchor_right[0] || a->anchor_right[1])
		return 0;
	return a->anchors_read ? stale() : -EUCLEAN;
}

/* With `cleaning` and `commit` held: no append, no growth, no anchor is under way. */
static int attach(struct attempt *a)
{
	struct sv_store *s = a->s;
	int r = sv_dev_geometry(a->dev, &a->geo);

	if (r < 0)
		return gone(a, r);
	for (unsigned i = 0; r == 0 && i < 2; i++)
		r = check_anchor(a, i);
	if (r == 0 && s->opts.read_only)
		return check_unchanged(a);
	if (r == 0)
		r = check_lineage(a);
	if (r == 0)
		r = verify_all(a);
	if (r == 0)
		r = check_size(a); /* the first that may write */
	if (r == 0)
		r = write_all_again(a);
	if (r == 0)
		r = flush(a);
	if (r == 0)
		r = write_anchors(a);
	if (r == 0)
		settle(a);
	return r;
}

int sv_store_reattach(struct sv_store *s, struct sv_dev *dev, struct sv_reattach *ret)
{
	struct attempt a = {.s = s, .dev = dev};
	int r;

	sv_why("%s", "");
	if (!sv_is_detached(s))
		return -EALREADY;
	if (atomic_load(&s->parking))
		return -EBUSY;
	if (posix_memalign((void **)&a.buf, 4096, sv_max64(s->stage_bytes, SV_ANCHOR_BYTES)))
		return -ENOMEM;
	pthread_mutex_lock(&s->cleaning);
	pthread_mutex_lock(&s->commit);
	r = attach(&a);
	if (r == 0) {
		sv_stream_drop(s);
		sv_io_attach(s, dev);
	}
	pthread_mutex_unlock(&s->commit);
	pthread_mutex_unlock(&s->cleaning);
	free(a.buf);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	pthread_cond_broadcast(&s->room);
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	if (ret)
		*ret = a.did;
	return 0;
}
