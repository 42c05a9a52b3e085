/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * room.c: how much there is, how much may be promised, and how segments come free again.
 *
 * Terms: a segment is *pending* when it holds nothing live but waits for the gate; `dense` is what
 * a segment that the cleaner packs surely holds; the *cycle* is how far the log moves on from the
 * last live byte's death in a segment until the gate has passed it: to the next root, and
 * lie_window behind the root and once more behind the anchors that name it.
 *
 * Never given to the guest (the reserve): what is pending in a cycle, one whole map as a
 * checkpoint may write it, the heads and the next, a full batch, and what a pass of the cleaner
 * has under way.
 *
 * N1  free + pending segments are kept at `wanted`: what the next group and its checkpoint may
 *     take, and a cycle's worth. So the log can move on until what is pending now is free: a cycle
 *     takes no more than a cycle's worth, and by then all that was pending is free again.
 * N2  When growth is over, cleaning keeps N1, a pass at a time before a group is appended. It can:
 *     live bytes stay below (all - reserve) x (dense - 1/16 segment), so when N1 is broken some
 *     segment holds less than a packed one would, and a pass wins.
 * N3  A pass, a root and anchors are taken in turn, so that cleaning itself moves the gate.
 * N4  What a write may add, at its worst (raw, a leaf of its own), is below `space` before it is
 *     acknowledged (B2). What compresses, zeros and overwrites give the rest back when sealed.
 * N5  ENOSPC comes only after everything that waits was sealed, pages were written, units that
 *     are mostly dead were rewritten, and the device was asked for more. Where one of these fails
 *     for another reason (no memory, a bad stick) and the rest does not help, that is the error.
 *
 * The last sixteenth of the space, at most 64 MiB, is the guest's own reserve: refused like the
 * rest until it is released for a guest that must write in order to delete (sv_store_grace).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define FIXED_SEGMENTS 2u
#define SPECIAL_SEGMENTS (3u + SV_APARTS) /* head, next, the one after, those apart */
#define PASS_SEGMENTS 6u		  /* a pass of the cleaner: survivors and their moves */
#define GROW_BYTES (64u << 20)
#define GRACE_BYTES (64u << 20)
#define UNIT_WORST_BYTES (SV_RAW_UNIT_BYTES + SV_REC_DATA_BYTES)
#define PAGE_WORST_BYTES (SV_PAGE_UNIT_BYTES + SV_REC_PAGE_BYTES)

uint64_t sv_dense_bytes(const struct sv_store *s)
{
	uint64_t segment = s->anchor.segment_bytes;
	uint64_t waste = (SV_GAP_PAGES + 2ull) * s->anchor.page_bytes + segment / 64;

	return segment - sv_min64(waste, segment / 2);
}

/* The same of a segment of the chain: records, the end where a small group does not fit. */
static uint64_t chain_bytes(const struct sv_store *s)
{
	uint64_t segment = s->anchor.segment_bytes;

	return segment - segment / 8 - segment / 16 - sv_min64(s->anchor.page_bytes, segment / 2);
}

static uint64_t segments_for(const struct sv_store *s, uint64_t bytes)
{
	return bytes / chain_bytes(s) + 1;
}

/* A full batch, stored at its worst. */
static uint64_t batch_segments(const struct sv_store *s)
{
	return segments_for(s, (uint64_t)s->arena.slots * UNIT_WORST_BYTES) + 2 + sv_may_bear(s);
}

/* A cycle's worth: to the next root, which may be a batch late, and twice lie_window. In each half
 * of a lie_window chain and survivors may leave a gap (where that is less than a few pages, batches
 * are longer). */
static uint64_t quarantine_segments(const struct sv_store *s)
{
	uint64_t lie_bytes = s->anchor.lie_window_bytes;
	uint64_t log_bytes = sv_max64(s->anchor.checkpoint_bytes, lie_bytes) + 2 * lie_bytes +
			     (uint64_t)s->arena.slots * UNIT_WORST_BYTES;
	uint64_t apart = sv_max64(lie_bytes / 2, 8ull * s->anchor.page_bytes);
	uint64_t gaps = 2 * (log_bytes / apart + 1);

	return segments_for(s, log_bytes + gaps * SV_GAP_PAGES * s->anchor.page_bytes) + 3;
}

static uint64_t map_segments(const struct sv_store *s)
{
	uint64_t pages = 1 + s->blocks / (SV_PAGE_ENTRIES - 1);

	pages = sv_min64(pages, s->map.pool_pages) + s->segs.limit / SV_USAGE_PER_PAGE;
	return segments_for(s, pages * PAGE_WORST_BYTES + sv_root_bytes(s));
}

uint64_t sv_reserve_segments(const struct sv_store *s)
{
	return FIXED_SEGMENTS + SPECIAL_SEGMENTS + quarantine_segments(s) + map_segments(s) +
	       batch_segments(s) + PASS_SEGMENTS;
}

static uint64_t capacity_with_grace(const struct sv_store *s)
{
	uint64_t reserve = sv_reserve_segments(s);
	uint64_t usable = s->segs.limit > reserve ? s->segs.limit - reserve : 0;

	return usable * (sv_dense_bytes(s) - s->anchor.segment_bytes / 16); /* N2 */
}

uint64_t sv_grace_bytes(const struct sv_store *s)
{
	return sv_min64(GRACE_BYTES, capacity_with_grace(s) / 16);
}

uint64_t sv_capacity_bytes(const struct sv_store *s)
{
	return capacity_with_grace(s) - (s->grace ? 0 : sv_grace_bytes(s));
}

/* ---- what guests may add ---- */

/* What is used or may be once everything that waits is sealed and written (N4). */
static uint64_t spoken_for(const struct sv_store *s)
{
	uint64_t dirty = s->arena.slots - s->arena.free_slots;

	return s->segs.live_bytes + s->map.mapped * SV_REC_DATA_BYTES +
	       s->map.dirty_pages * PAGE_WORST_BYTES +
	       dirty * (UNIT_WORST_BYTES + PAGE_WORST_BYTES);
}

bool sv_has_space(const struct sv_store *s, uint64_t blocks)
{
	return spoken_for(s) + blocks * (UNIT_WORST_BYTES + PAGE_WORST_BYTES) <= s->space_bytes;
}

/* Room enough that a full store counts as full no longer: a quarter of the guest's reserve. */
static bool has_room_again(const struct sv_store *s, uint64_t space_bytes)
{
	return spoken_for(s) + sv_grace_bytes(s) / 4 <= space_bytes;
}

void sv_review_room(struct sv_store *s)
{
	uint64_t without = capacity_with_grace(s) - sv_grace_bytes(s);

	if (s->grace && has_room_again(s, without))
		s->grace = false;
	s->space_bytes = sv_capacity_bytes(s);
	if (s->state == SV_FULL && has_room_again(s, s->space_bytes))
		s->state = SV_OK;
}

/* Other files on the stick's file system come and go. With cleaning held. */
static bool ask_device(struct sv_store *s)
{
	struct sv_geometry geo;
	uint64_t limit, before;

	if (s->opts.read_only || sv_io_geometry(s, &geo) < 0)
		return false;
	limit = sv_min64(geo.max_bytes / s->anchor.segment_bytes, s->segs.most);
	pthread_mutex_lock(&s->lock);
	before = s->segs.limit;
	s->segs.limit = limit != s->segs.refused ? sv_max64(limit, s->segs.count) : s->segs.count;
	limit = s->segs.limit;
	sv_review_room(s);
	pthread_mutex_unlock(&s->lock);
	return limit > before;
}

int sv_store_grace(struct sv_store *s, bool on)
{
	if (s->opts.read_only)
		return -EROFS;
	pthread_mutex_lock(&s->cleaning);
	ask_device(s);
	pthread_mutex_unlock(&s->cleaning);
	pthread_mutex_lock(&s->lock);
	s->grace = on;
	s->space_bytes = sv_capacity_bytes(s);
	sv_review_room(s);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* ---- segments ---- */

/* Segments that the next group may take, at worst. With lock held. */
static uint64_t group_segments(const struct sv_store *s)
{
	uint64_t blocks = s->arena.slots - s->arena.free_slots;
	uint64_t ranges = s->batch[0].ranges + s->batch[1].ranges;

	return segments_for(s, blocks * UNIT_WORST_BYTES + ranges * SV_REC_DISCARD_BYTES) + 2 +
	       sv_may_bear(s);
}

/* That, and a checkpoint behind it. */
static uint64_t needed_segments(const struct sv_store *s)
{
	uint64_t pages = s->map.dirty_pages + 2ull * (s->arena.slots - s->arena.free_slots);

	pages = sv_min64(pages, s->map.pool_pages) + 4 + s->segs.count / SV_USAGE_PER_PAGE;
	return group_segments(s) + 2 + segments_for(s, pages * PAGE_WORST_BYTES + sv_root_bytes(s));
}

static uint64_t wanted_segments(const struct sv_store *s)
{
	return needed_segments(s) + quarantine_segments(s); /* N1 */
}

bool sv_has_spare(struct sv_store *s, uint64_t bytes)
{
	uint64_t more = bytes / sv_dense_bytes(s) + 1 + PASS_SEGMENTS;
	bool has;

	do {
		pthread_mutex_lock(&s->lock);
		has = s->segs.free >= wanted_segments(s) + more;
		pthread_mutex_unlock(&s->lock);
	} while (!has && sv_grow_ahead(s));
	return has;
}

static bool has_enough(const struct sv_store *s)
{
	return s->segs.free >= needed_segments(s) &&
	       s->segs.free + s->segs.pending >= wanted_segments(s);
}

/* That there is no room for a step, or that a group is half in the chain, is no error; the first
 * other one is what the caller hears where nothing can be done. */
static bool did_it(int r, int *error)
{
	if (r < 0 && r != -ENOSPC && r != -EBUSY && *error == 0)
		*error = r;
	return r == 0;
}

/*
 * Asks the device for more; false when there is no more. What it says that it could grow to is a
 * guess, others take of it meanwhile, and fragments may be of no use: so less is asked for when it
 * has not got that much, and the same answer is not believed again once that was refused to the
 * last segment.
 */
static bool grow(struct sv_store *s, int *error)
{
	uint64_t step = GROW_BYTES / s->anchor.segment_bytes;
	uint64_t count;
	int r = -ENOSPC;

	if (s->segs.count < s->segs.limit)
		ask_device(s); /* a guess at free space is better the less is left to guess */
	for (step = sv_max64(step, 1); r == -ENOSPC && step > 0; step /= 2) {
		count = sv_min64(s->segs.count + step, s->segs.limit);
		if (count == s->segs.count)
			break;
		step = count - s->segs.count;
		r = sv_io_grow(s, count * s->anchor.segment_bytes);
		if (r == -ENOSPC)
			ask_device(s);
	}
	pthread_mutex_lock(&s->lock);
	if (r == 0) {
		sv_segs_set_count(&s->segs, count);
		s->geo.size_bytes = count * s->anchor.segment_bytes; /* for checks */
		s->segs.refused = 0;
	} else if (r == -ENOSPC) {
		s->segs.refused = s->segs.limit > s->segs.count ? s->segs.limit : s->segs.refused;
		s->segs.limit = s->segs.count;
	}
	s->space_bytes = sv_capacity_bytes(s);
	pthread_mutex_unlock(&s->lock);
	return did_it(r, error);
}

bool sv_grow_ahead(struct sv_store *s)
{
	int error = 0;

	return grow(s, &error);
}

/* More than half of what is written is garbage: cleaning is cheaper than growing. */
static bool mostly_garbage(const struct sv_store *s)
{
	uint64_t written =
		(s->segs.count - s->segs.free - s->segs.pending) * s->anchor.segment_bytes;

	return written > 2 * s->segs.live_bytes + quarantine_segments(s) * s->anchor.segment_bytes +
				 (64u << 20);
}

static bool checkpoint(struct sv_store *s, uint64_t least_bytes, int *error)
{
	bool did = false, due;

	pthread_mutex_lock(&s->commit);
	pthread_mutex_lock(&s->lock);
	due = s->ledger.stick_written_bytes - s->root_log_bytes > least_bytes;
	pthread_mutex_unlock(&s->lock);
	if (due && !s->sealing)
		did = did_it(sv_checkpoint_locked(s), error);
	pthread_mutex_unlock(&s->commit);
	return did;
}

/* What is not flushed does not count as settled. */
static bool settle(struct sv_store *s, int *error)
{
	uint64_t gate;
	bool unflushed, moved;

	pthread_mutex_lock(&s->lock);
	gate = s->segs.gate_seq;
	unflushed = s->log.unflushed_bytes > 0;
	pthread_mutex_unlock(&s->lock);
	if (!unflushed || !did_it(sv_log_flush(s), error))
		return false;
	pthread_mutex_lock(&s->lock);
	sv_update_gate(s);
	moved = s->segs.gate_seq > gate;
	pthread_mutex_unlock(&s->lock);
	return moved || sv_anchor_due(s);
}

/* One step towards more free segments; false when there is none left, with the error of what was
 * tried and failed, or 0. With cleaning held. */
static bool step(struct sv_store *s, int *ret_error)
{
	uint64_t free_before;
	bool progress = false, garbage, moved, clean, waits;

	*ret_error = 0;
	pthread_mutex_lock(&s->lock);
	free_before = s->segs.free;
	sv_update_gate(s);
	moved = s->segs.free > free_before;
	garbage = mostly_garbage(s);
	clean = s->segs.free + s->segs.pending < wanted_segments(s) &&
		s->segs.free >= PASS_SEGMENTS;
	waits = s->segs.pending > 0 || s->segs.free < needed_segments(s);
	pthread_mutex_unlock(&s->lock);
	if (moved || (!garbage && grow(s, ret_error)))
		return true;
	if (sv_anchor_due(s))
		return did_it(sv_write_anchors(s), ret_error);
	if (checkpoint(s, s->anchor.checkpoint_bytes, ret_error)) /* N3 */
		return true;
	if (clean)
		(void)did_it(sv_clean_pass(s, false, &progress), ret_error);
	return progress || (waits && checkpoint(s, s->anchor.checkpoint_bytes / 4, ret_error)) ||
	       grow(s, ret_error) || checkpoint(s, 0, ret_error) || settle(s, ret_error);
}

/* What a caller hears where there is no room: that, or what kept it from being made. */
static int no_room(struct sv_store *s, int error)
{
	if (sv_is_detached(s))
		return -ENODEV;
	if (error < 0)
		return error;
	return sv_device_answers(s) ? -ENOSPC : -EIO; /* the cleaner passes over what is bad */
}

int sv_make_room(struct sv_store *s)
{
	bool enough;
	int r, error = 0;

	pthread_mutex_lock(&s->lock);
	r = s->log.flush_error;
	enough = has_enough(s);
	pthread_mutex_unlock(&s->lock);
	if (r < 0 || enough)
		return r;
	pthread_mutex_lock(&s->cleaning);
	for (uint64_t tries = 0; tries < 4 * s->segs.limit + 64; tries++) {
		pthread_mutex_lock(&s->lock);
		enough = has_enough(s);
		pthread_mutex_unlock(&s->lock);
		if (enough || !step(s, &error))
			break;
	}
	pthread_mutex_lock(&s->lock);
	enough = s->segs.free >= group_segments(s);
	pthread_mutex_unlock(&s->lock);
	if (!enough)
		r = no_room(s, error);
	pthread_mutex_lock(&s->lock);
	if (r == -ENOSPC && s->state == SV_OK)
		s->state = SV_FULL;
	sv_review_room(s);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->cleaning);
	return r;
}

bool sv_keep_room(struct sv_store *s)
{
	bool want, did = false;
	int error;

	if (sv_is_detached(s))
		return false;
	pthread_mutex_lock(&s->cleaning);
	pthread_mutex_lock(&s->lock);
	want = s->segs.free < needed_segments(s) + 4 ||
	       s->segs.free + s->segs.pending < wanted_segments(s);
	pthread_mutex_unlock(&s->lock);
	if (want)
		did = step(s, &error);
	pthread_mutex_unlock(&s->cleaning);
	return did;
}

bool sv_wants_idle_clean(struct sv_store *s, uint64_t more_bytes)
{
	uint64_t more = sv_min64(more_bytes / s->anchor.segment_bytes, s->segs.count / 64);
	bool wants;

	pthread_mutex_lock(&s->lock);
	wants = (s->segs.count >= s->segs.limit || mostly_garbage(s)) &&
		s->segs.free >= PASS_SEGMENTS &&
		s->segs.free + s->segs.pending < wanted_segments(s) + more;
	pthread_mutex_unlock(&s->lock);
	return wants;
}

/* Units of which most blocks are dead, anew, until there is room again; whether any was. */
static bool squeeze(struct sv_store *s, int *error)
{
	uint64_t before = s->segs.live_bytes;
	bool progress = did_it(sv_make_room(s), error) && did_it(sv_find_slack(s), error);
	bool enough = false;

	pthread_mutex_lock(&s->cleaning);
	for (uint64_t i = 0; progress && !enough && i < s->segs.count; i++) {
		if (!did_it(sv_clean_pass(s, true, &progress), error))
			break;
		pthread_mutex_lock(&s->lock);
		enough = has_room_again(s, s->space_bytes) ||
			 s->segs.free < needed_segments(s) + PASS_SEGMENTS;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&s->cleaning);
	return s->segs.live_bytes < before;
}

int sv_find_space(struct sv_store *s)
{
	bool waits, dirty, more;
	int r = 0, error = 0;

	pthread_mutex_lock(&s->lock);
	waits = s->arena.free_slots < s->arena.slots || s->sealed_stamp != s->stamp;
	dirty = s->map.dirty_pages > 0;
	pthread_mutex_unlock(&s->lock);
	if (waits)
		return sv_seal(s, s->stamp, false);
	if (dirty)
		return sv_store_checkpoint(s);
	if (squeeze(s, &error))
		return 0;
	pthread_mutex_lock(&s->cleaning);
	more = ask_device(s);
	pthread_mutex_unlock(&s->cleaning);
	pthread_mutex_lock(&s->lock);
	more |= sv_has_space(s, 1);
	pthread_mutex_unlock(&s->lock);
	if (!more)
		r = no_room(s, error);
	pthread_mutex_lock(&s->lock);
	if (r == -ENOSPC)
		s->state = SV_FULL;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Zeros over a whole segment, so that later writes to it find it written (place.h). */
int sv_convert(struct sv_store *s, uint32_t segment, bool (*go_on)(struct sv_store *s))
{
	uint32_t chunk = (uint32_t)sv_min64(1u << 20, s->anchor.segment_bytes);
	uint8_t *zeros = NULL;
	int r = 0;

	if (posix_memalign((void **)&zeros, 4096, chunk))
		return -ENOMEM;
	memset(zeros, 0, chunk);
	for (uint64_t off = 0; r == 0 && off < s->anchor.segment_bytes; off += chunk) {
		if (go_on && !go_on(s))
			r = -EINTR;
		if (r == 0)
			r = sv_log_write(s, zeros, chunk, sv_place(s, segment, off));
		pthread_mutex_lock(&s->lock);
		s->ledger.convert_bytes += r == 0 ? chunk : 0;
		pthread_mutex_unlock(&s->lock);
	}
	if (r == 0)
		r = sv_io_flush(s);
	free(zeros);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	s->segs.v[segment].usage.flags |= SV_SEG_CONVERTED;
	sv_segs_touch(&s->segs, segment);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

bool sv_is_virgin(const struct sv_store *s, uint32_t segment)
{
	const struct sv_usage *u = &s->segs.v[segment].usage;

	return !u->generation && !(u->flags & SV_SEG_CONVERTED);
}

/* A segment that was never written and that nothing else will take; 0: none. `named`: also those
 * that the head's headers name (with commit held: they stay what they are). With lock held. */
static uint32_t find_virgin(struct sv_store *s, bool named)
{
	if (named && sv_is_virgin(s, s->log.next))
		return s->log.next;
	if (named && sv_is_virgin(s, s->log.after))
		return s->log.after;
	for (uint64_t i = FIXED_SEGMENTS; i < s->segs.count; i++)
		if (s->segs.v[i].role == SV_SEG_IDLE && sv_is_virgin(s, (uint32_t)i))
			return (uint32_t)i;
	return 0;
}

int sv_convert_one(struct sv_store *s, bool (*go_on)(struct sv_store *s), bool *ret_done)
{
	bool named = pthread_mutex_trylock(&s->commit) == 0;
	enum sv_seg_role role = SV_SEG_IDLE;
	uint32_t found;
	int r;

	*ret_done = false;
	pthread_mutex_lock(&s->lock);
	found = find_virgin(s, named);
	if (found)
		role = s->segs.v[found].role;
	if (role == SV_SEG_IDLE && named)
		pthread_mutex_unlock(&s->commit), named = false;
	if (found && role == SV_SEG_IDLE)
		sv_segs_set_role(&s->segs, found, SV_SEG_FIXED); /* nobody else takes it */
	pthread_mutex_unlock(&s->lock);
	if (!found)
		return 0;
	r = sv_convert(s, found, go_on);
	*ret_done = r == 0;
	pthread_mutex_lock(&s->lock);
	sv_segs_set_role(&s->segs, found, role);
	pthread_mutex_unlock(&s->lock);
	if (named)
		pthread_mutex_unlock(&s->commit);
	return r == -EINTR ? 0 : r;
}

bool sv_is_ready(struct sv_store *s, uint64_t more_bytes)
{
	uint64_t free, wanted;

	pthread_mutex_lock(&s->lock);
	free = s->segs.free;
	for (uint64_t i = FIXED_SEGMENTS; i < s->segs.count; i++)
		free -= s->segs.v[i].role == SV_SEG_IDLE && sv_is_virgin(s, (uint32_t)i);
	wanted = wanted_segments(s);
	wanted -= sv_min64(wanted, s->segs.pending);
	wanted += more_bytes / s->anchor.segment_bytes;
	pthread_mutex_unlock(&s->lock);
	return free >= wanted;
}

int sv_store_clean(struct sv_store *s, unsigned segments, unsigned *ret_cleaned)
{
	uint64_t before = s->ledger.segments_cleaned;
	bool progress = true;
	int r = 0;

	if (s->opts.read_only)
		return -EROFS;
	while (r == 0 && progress && s->ledger.segments_cleaned - before < segments) {
		r = sv_make_room(s);
		pthread_mutex_lock(&s->cleaning);
		if (r == 0)
			r = sv_clean_pass(s, false, &progress);
		pthread_mutex_unlock(&s->cleaning);
		if (r == 0)
			r = sv_renew_anchors(s, false);
	}
	*ret_cleaned = (unsigned)(s->ledger.segments_cleaned - before);
	return r;
}
