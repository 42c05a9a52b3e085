/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * room.c: how much there is, how much may be promised, and how segments come free again.
 *
 * Never given to the guest (the reserve), in segments: what waits for the gate while the log moves
 * on (a root's distance and twice lie_window: once for the root, once for its anchors), one whole
 * map as a checkpoint may write it, the two heads and the next, and a group in flight. As long as
 * live bytes stay below the rest, the log can move on, and while it moves on the gate opens.
 */
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define FIXED_SEGMENTS 2u
#define GROW_BYTES (64u << 20)

static uint64_t quarantine_segments(const struct sv_store *s)
{
	return (s->anchor.checkpoint_bytes + 2 * s->anchor.lie_window_bytes) /
		       s->anchor.segment_bytes +
	       3;
}

static uint64_t map_segments(const struct sv_store *s)
{
	uint64_t pages = 1 + s->blocks / (SV_PAGE_ENTRIES - 1);

	pages = sv_min64(pages, s->map.pool_pages) + s->segs.limit / SV_USAGE_PER_PAGE;
	return pages * SV_PAGE_UNIT_BYTES / s->anchor.segment_bytes + 1;
}

/* A full batch, stored at its worst. */
static uint64_t batch_segments(const struct sv_store *s)
{
	return (uint64_t)s->arena.slots * (SV_RAW_UNIT_BYTES + SV_REC_DATA_BYTES) /
		       (s->anchor.segment_bytes - s->anchor.segment_bytes / 8) +
	       2;
}

uint64_t sv_reserve_segments(const struct sv_store *s)
{
	return FIXED_SEGMENTS + quarantine_segments(s) + map_segments(s) + batch_segments(s) + 7;
}

uint64_t sv_capacity_bytes(const struct sv_store *s)
{
	uint64_t reserve = sv_reserve_segments(s);
	uint64_t usable = s->segs.limit > reserve ? s->segs.limit - reserve : 0;

	/* A thirty-second goes to headers, pages of padding and the ends of segments. */
	return usable * (s->anchor.segment_bytes - s->anchor.segment_bytes / 32);
}

/* Segments that the next group and a checkpoint behind it may take, at worst. With lock held. */
static uint64_t group_segments(const struct sv_store *s)
{
	uint64_t blocks = s->arena.slots - s->arena.free_slots;
	uint64_t bytes = blocks * (SV_RAW_UNIT_BYTES + SV_REC_DATA_BYTES) + s->stage_bytes / 4;

	return bytes / (s->anchor.segment_bytes - s->anchor.segment_bytes / 8) + 2;
}

static uint64_t needed_segments(const struct sv_store *s)
{
	uint64_t pages = s->map.dirty_pages + (s->arena.slots - s->arena.free_slots);

	pages = sv_min64(pages, s->map.pool_pages) + 4;
	return group_segments(s) + pages * SV_PAGE_UNIT_BYTES / s->anchor.segment_bytes + 3;
}

/* Asks the device for more; false when there is no more. */
static bool grow(struct sv_store *s)
{
	uint64_t step = GROW_BYTES / s->anchor.segment_bytes;
	uint64_t count = sv_min64(s->segs.count + (step ? step : 1), s->segs.limit);
	int r;

	if (count == s->segs.count)
		return false;
	r = sv_io_grow(s, count * s->anchor.segment_bytes);
	pthread_mutex_lock(&s->lock);
	if (r == 0)
		sv_segs_set_count(&s->segs, count);
	else if (r == -ENOSPC)
		s->segs.limit = s->segs.count; /* somebody else took the place */
	s->space_bytes = sv_capacity_bytes(s);
	pthread_mutex_unlock(&s->lock);
	return r == 0;
}

bool sv_grow_ahead(struct sv_store *s)
{
	return grow(s);
}

/* More than half of what is written is garbage: cleaning is cheaper than growing. */
static bool mostly_garbage(const struct sv_store *s)
{
	uint64_t written =
		(s->segs.count - s->segs.free - s->segs.pending) * s->anchor.segment_bytes;

	return written > 2 * s->segs.live_bytes + quarantine_segments(s) * s->anchor.segment_bytes +
				 (64u << 20);
}

static bool checkpoint(struct sv_store *s, uint64_t least_bytes)
{
	bool did = false;

	pthread_mutex_lock(&s->commit);
	if (s->ledger.stick_written_bytes - s->root_log_bytes > least_bytes && !s->sealing)
		did = sv_checkpoint_locked(s) == 0;
	pthread_mutex_unlock(&s->commit);
	return did;
}

/* What is not flushed does not count as settled. */
static bool settle(struct sv_store *s)
{
	uint64_t gate = s->segs.gate_seq;

	if (!s->log.unflushed_bytes || sv_log_flush(s) < 0)
		return false;
	pthread_mutex_lock(&s->lock);
	sv_update_gate(s);
	pthread_mutex_unlock(&s->lock);
	return s->segs.gate_seq > gate || sv_anchor_due(s);
}

/* One step towards more free segments; false when there is none left. With cleaning held. */
static bool step(struct sv_store *s)
{
	uint64_t free_before, wanted;
	bool progress = false, garbage, moved;

	pthread_mutex_lock(&s->lock);
	free_before = s->segs.free;
	sv_update_gate(s);
	moved = s->segs.free > free_before;
	garbage = mostly_garbage(s);
	wanted = needed_segments(s) + quarantine_segments(s);
	pthread_mutex_unlock(&s->lock);
	if (moved || (!garbage && grow(s)))
		return true;
	if (sv_anchor_due(s))
		return sv_write_anchors(s) == 0;
	if (s->segs.free + s->segs.pending < wanted)
		sv_clean_pass(s, &progress);
	return progress || checkpoint(s, s->anchor.checkpoint_bytes / 4) || grow(s) ||
	       checkpoint(s, 0) || settle(s);
}

int sv_make_room(struct sv_store *s)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->log.flush_error) {
		r = s->log.flush_error;
	} else if (s->segs.free >= needed_segments(s)) {
		pthread_mutex_unlock(&s->lock);
		return 0;
	}
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->cleaning);
	for (uint64_t tries = 0; tries < 4 * s->segs.limit + 64; tries++) {
		bool enough;

		pthread_mutex_lock(&s->lock);
		enough = s->segs.free >= needed_segments(s);
		pthread_mutex_unlock(&s->lock);
		if (enough || !step(s))
			break;
	}
	pthread_mutex_lock(&s->lock);
	r = s->segs.free >= group_segments(s) ? 0 : -ENOSPC;
	if (r < 0 && sv_is_detached(s))
		r = -ENODEV; /* nothing could be done about it */
	if (r == 0 && s->state == SV_FULL)
		s->state = SV_OK;
	else if (r == -ENOSPC && s->state == SV_OK)
		s->state = SV_FULL;
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->cleaning);
	return r;
}

bool sv_keep_room(struct sv_store *s)
{
	bool want, did = false;

	if (sv_is_detached(s))
		return false;
	pthread_mutex_lock(&s->cleaning);
	pthread_mutex_lock(&s->lock);
	want = s->segs.free < needed_segments(s) + 4;
	pthread_mutex_unlock(&s->lock);
	if (want)
		did = step(s);
	pthread_mutex_unlock(&s->cleaning);
	return did;
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
		if (r == 0)
			s->ledger.convert_bytes += chunk;
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

int sv_convert_one(struct sv_store *s, bool (*go_on)(struct sv_store *s), bool *ret_done)
{
	uint32_t found = 0;
	int r;

	*ret_done = false;
	pthread_mutex_lock(&s->lock);
	for (uint64_t i = FIXED_SEGMENTS; i < s->segs.count && !found; i++)
		if (s->segs.v[i].role == SV_SEG_IDLE && sv_is_virgin(s, (uint32_t)i))
			found = (uint32_t)i;
	if (found)
		sv_segs_set_role(&s->segs, found, SV_SEG_FIXED); /* nobody else takes it */
	pthread_mutex_unlock(&s->lock);
	if (!found)
		return 0;
	r = sv_convert(s, found, go_on);
	*ret_done = r == 0;
	pthread_mutex_lock(&s->lock);
	sv_segs_set_role(&s->segs, found, SV_SEG_IDLE);
	pthread_mutex_unlock(&s->lock);
	return r == -EINTR ? 0 : r;
}
