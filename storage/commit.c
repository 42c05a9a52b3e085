/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * commit.c: sealing. The open batch becomes a group of parts in the chain, and then the map.
 *
 *   open --swap--> sealing --parts appended and applied, one by one--> empty
 *
 * Reads look into the open batch, then the sealing one, then the map, so it does not matter how
 * much of a group is in the map already. A group that failed half-way stays sealing and goes on
 * with the next part when sealing is tried again; nothing else is appended before it is whole
 * (C2), so a root never lies inside a group.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define RECORDS_MAX_BYTES 32768u
/* After this many incompressible units in a row only every eighth is tried. */
#define GIVE_UP 16u

static struct sv_item *items(struct sv_store *s)
{
	return (struct sv_item *)(void *)s->order;
}

static int by_lba(const void *a, const void *b)
{
	const struct sv_item *x = a, *y = b;

	return x->lba < y->lba ? -1 : x->lba > y->lba;
}

static bool block_is_zero(const uint8_t *block)
{
	return block[0] == 0 && memcmp(block, block + 1, SV_BLOCK_BYTES - 1) == 0;
}

/* Sorts the frozen batch and finds its blocks of zeros, which are never stored. */
static void prepare(struct sv_store *s)
{
	const struct sv_batch *b = &s->batch[!s->open];
	struct sv_item *v = items(s);
	uint64_t zeros = 0;

	s->order_count = s->order_done = s->order_end = s->ranges_done = 0;
	for (uint32_t i = 0; i < b->count; i++)
		if (b->nodes[i].lba != UINT64_MAX)
			v[s->order_count++] =
				(struct sv_item){.lba = b->nodes[i].lba, .slot = b->nodes[i].slot};
	qsort(v, s->order_count, sizeof(*v), by_lba);
	for (uint32_t i = 0; i < s->order_count; i++)
		if (block_is_zero(sv_arena_slot(&s->arena, v[i].slot))) {
			v[i].slot = SV_ZERO_SLOT;
			zeros++;
		} else {
			sv_heat_note(&s->heat, v[i].lba, s->map.mapped);
		}
	sv_born_choose(s, v, s->order_count);
	pthread_mutex_lock(&s->lock);
	s->ledger.zero_skipped_bytes += zeros * SV_BLOCK_BYTES;
	pthread_mutex_unlock(&s->lock);
}

/* Adjacent items from `at` on that are (are not) zeros; data stays within one leaf. */
static unsigned run_from(struct sv_store *s, uint32_t at, bool zero, unsigned most)
{
	const struct sv_item *v = items(s);
	unsigned n = 1;

	while (n < most && at + n < s->order_end && v[at + n].lba == v[at].lba + n &&
	       (v[at + n].slot == SV_ZERO_SLOT) == zero &&
	       (zero || v[at + n].lba % SV_PAGE_ENTRIES))
		n++;
	return n;
}

static uint32_t record_bytes_left(struct sv_store *s)
{
	uint64_t left =
		(uint64_t)(s->batch[!s->open].ranges - s->ranges_done) * SV_REC_DISCARD_BYTES;
	const struct sv_item *v = items(s);

	left += sv_born_record_bytes(s);
	for (uint32_t i = s->order_done; i < s->order_end && left < RECORDS_MAX_BYTES; i++)
		left += v[i].slot == SV_ZERO_SLOT ? SV_REC_DISCARD_BYTES : SV_REC_DATA_BYTES;
	left = sv_min64(left, s->anchor.segment_bytes / 8);
	return (uint32_t)sv_min64(left, RECORDS_MAX_BYTES);
}

/* Tries to store `n` blocks that lie in s->gather as one unit; the payload goes where the part's
 * next unit will be. Returns its bytes, 0 when it does not pay. */
static uint32_t try_compress(struct sv_store *s, struct sv_part *part, const uint8_t *src,
			     unsigned n)
{
	uint32_t worth = n * SV_BLOCK_BYTES / 16 * 15;
	uint32_t room = part->limit - part->payload_offset - part->payload_bytes;
	uint32_t most = (uint32_t)sv_min64(s->opts.unit_bytes - SV_UNIT_HEAD_BYTES, worth);

	if (room < SV_UNIT_HEAD_BYTES + SV_GRAIN_BYTES)
		return 0;
	most = (uint32_t)sv_min64(most, sv_align_down(room, SV_GRAIN_BYTES) - SV_UNIT_HEAD_BYTES);
	return sv_compress(s->opts.codec, src, n, sv_part_space(part) + SV_UNIT_HEAD_BYTES, most);
}

static void add_unit(struct sv_store *s, struct sv_part *part, struct sv_unit *unit, uint64_t lba)
{
	struct sv_record rec = {.type = SV_REC_DATA, .blocks = unit->blocks, .lba = lba};

	uint64_t place = sv_part_unit(s, part, unit, lba, &rec.stored_bytes);

	if (part->births)
		sv_born_note(s, unit, lba, place, rec.stored_bytes);
	part->user_bytes += rec.stored_bytes;
	sv_part_record(part, &rec);
}

/* The n blocks from `at` on, in one piece: where they lie, if they lie so, else copied together. */
static const uint8_t *gathered(struct sv_store *s, uint32_t at, unsigned n, uint8_t *gather)
{
	const struct sv_item *v = items(s);
	unsigned i = 1;

	while (i < n && v[at + i].slot == v[at].slot + i)
		i++;
	if (i == n)
		return sv_arena_slot(&s->arena, v[at].slot);
	for (i = 0; i < n; i++)
		memcpy(gather + i * SV_BLOCK_BYTES, sv_arena_slot(&s->arena, v[at + i].slot),
		       SV_BLOCK_BYTES);
	return gather;
}

/* Stores blocks from `at` on, compressed; how many, 0 if they stay as they are. */
static unsigned store_compressed(struct sv_store *s, struct sv_part *part, uint32_t at)
{
	static const unsigned most_blocks = 16;
	uint8_t gather[16 * SV_BLOCK_BYTES];
	const struct sv_item *v = items(s);
	const uint8_t *src;
	unsigned n = run_from(s, at, false, s->unit_blocks);
	struct sv_unit unit = {.kind = SV_UNIT_DATA, .codec = (uint8_t)s->opts.codec};

	if (s->opts.codec == SV_CODEC_NONE ||
	    (s->incompressible > GIVE_UP && ++s->incompressible % 8))
		return 0;
	src = gathered(s, at, n, gather);
	for (;; n /= 2) {
		unit.payload_bytes = try_compress(s, part, src, n);
		if (unit.payload_bytes || n * SV_BLOCK_BYTES <= s->opts.unit_bytes)
			break;
	}
	if (!unit.payload_bytes) {
		s->incompressible++;
		return 0;
	}
	if (!sv_part_fits(part, SV_REC_DATA_BYTES, sv_unit_stored(unit.payload_bytes)))
		return 0;
	s->incompressible = 0;
	/* Twice as many only where that will surely fit: an attempt that fails is done twice. */
	s->unit_blocks = unit.payload_bytes < s->opts.unit_bytes / 32 * 15 && 2 * n <= most_blocks
				 ? 2 * n
				 : (n > 1 ? n : 2);
	unit.blocks = (uint8_t)n;
	pthread_mutex_lock(&s->lock); /* the cleaner's headers carry the ledger, too */
	s->ledger.compression_saved_bytes +=
		n * SV_RAW_UNIT_BYTES - sv_unit_stored(unit.payload_bytes);
	pthread_mutex_unlock(&s->lock);
	add_unit(s, part, &unit, v[at].lba);
	return n;
}

/* As many items as fit; false when the part is full. */
static bool add_items(struct sv_store *s, struct sv_part *part)
{
	const struct sv_item *v = items(s);

	while (s->order_done < s->order_end) {
		uint32_t at = s->order_done;
		struct sv_unit raw = {.kind = SV_UNIT_DATA,
				      .codec = SV_CODEC_NONE,
				      .blocks = 1,
				      .payload_bytes = SV_BLOCK_BYTES};
		unsigned n;

		if (v[at].slot == SV_ZERO_SLOT) {
			struct sv_record rec = {.type = SV_REC_DISCARD, .lba = v[at].lba};

			rec.count = run_from(s, at, true, UINT32_MAX);
			if (!sv_part_fits(part, SV_REC_DISCARD_BYTES, 0))
				return false;
			sv_part_record(part, &rec);
			s->order_done += (uint32_t)rec.count;
			continue;
		}
		if (!sv_part_fits(part, SV_REC_DATA_BYTES, SV_RAW_UNIT_BYTES))
			return false;
		n = store_compressed(s, part, at);
		if (!n) {
			memcpy(sv_part_space(part) + SV_UNIT_HEAD_BYTES,
			       sv_arena_slot(&s->arena, v[at].slot), SV_BLOCK_BYTES);
			add_unit(s, part, &raw, v[at].lba);
			n = 1;
		}
		s->order_done += n;
	}
	return true;
}

static bool add_ranges(struct sv_store *s, struct sv_part *part)
{
	const struct sv_batch *b = &s->batch[!s->open];

	for (; s->ranges_done < b->ranges; s->ranges_done++) {
		const struct sv_range *range = &b->range[s->ranges_done];
		struct sv_record rec = {.type = SV_REC_DISCARD,
					.lba = range->lba,
					.count = range->end - range->lba};

		if (!sv_part_fits(part, SV_REC_DISCARD_BYTES, 0))
			return false;
		sv_part_record(part, &rec);
	}
	return true;
}

/* What is born apart, before the chain tells of it (born.c, Z1). A part that failed is made
 * anew. */
static int bear(struct sv_store *s)
{
	int r = 0;

	s->order_end = s->order_count;
	if (s->order_done < s->born.end && pthread_mutex_trylock(&s->aparting) != 0)
		s->born.end = s->order_done; /* Z7: the cleaner is at it */
	if (s->order_done >= s->born.end)
		return 0;
	while (r == 0 && s->order_done < s->born.end) {
		uint32_t done_before = s->order_done, born_before = s->born.count;
		struct sv_part part;

		s->order_end = s->born.end;
		r = sv_born_begin(s, &part);
		if (r == -ENOSPC) { /* Z7 */
			s->born.end = s->order_done;
			r = 0;
			break;
		}
		if (r == 0) {
			add_items(s, &part);
			r = sv_born_append(s, &part, born_before);
		}
		if (r < 0) {
			s->order_done = done_before;
			s->born.count = born_before;
		}
	}
	pthread_mutex_unlock(&s->aparting);
	s->order_end = s->order_count;
	return r;
}

/* One part of the group: filled, appended, applied. */
static int one_part(struct sv_store *s, bool *ret_last)
{
	uint32_t ranges_before = s->ranges_done, done_before = s->order_done;
	uint32_t born_before = s->born.done;
	uint64_t seq = s->log.seq;
	struct sv_part part;
	int r = sv_apply_rest(s);

	if (r == 0 && !s->group_ended) {
		uint64_t blocks = s->order_count - s->order_done;

		r = sv_part_begin(s, &part, record_bytes_left(s), blocks * SV_RAW_UNIT_BYTES);
		if (r < 0)
			return r;
		s->group_ended =
			add_ranges(s, &part) && sv_born_tell(s, &part) && add_items(s, &part);
		r = sv_append_and_apply(s, &part, s->group_ended ? 0 : SV_BATCH_MORE);
		if (r < 0 && s->log.seq == seq) { /* it was not even appended */
			s->group_ended = false;
			s->ranges_done = ranges_before;
			s->order_done = done_before;
			s->born.done = born_before;
		}
	}
	*ret_last = s->group_ended;
	return r;
}

/* Everything that is acknowledged into the chain. With commit held. */
static int commit_group(struct sv_store *s)
{
	bool last = false;
	int r = 0;

	if (!s->sealing) {
		pthread_mutex_lock(&s->lock);
		if (sv_batch_empty(&s->batch[s->open])) {
			s->sealed_stamp = s->stamp;
			pthread_mutex_unlock(&s->lock);
			return 0;
		}
		s->open = !s->open;
		s->sealing = true;
		s->group_ended = false;
		s->batch[!s->open].stamp = s->stamp;
		pthread_mutex_unlock(&s->lock);
		prepare(s);
	}
	r = bear(s);
	while (r == 0 && !last) {
		r = one_part(s, &last);
		if (r == 0 && !last) {
			sv_try_anchors(s);
			sv_settle_host(s);
		}
	}
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	s->sealed_stamp = s->batch[!s->open].stamp;
	sv_batch_reset(&s->batch[!s->open], &s->arena);
	s->sealing = false;
	sv_review_room(s);
	pthread_cond_broadcast(&s->room);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* Flushes the device; everything sealed so far is durable then. With commit held. */
static int flush_sealed(struct sv_store *s)
{
	int r = sv_log_flush(s);

	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	s->log.flushed_seq = s->log.seq;
	s->flushed_stamp = s->sealed_stamp;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* Whether too much of the map is dirty: what the next batch dirties must fit beside it (P1). */
static bool is_crowded(const struct sv_store *s)
{
	uint64_t pool = s->map.pool_pages, next = sv_max64(pool / 4, s->arena.slots * UINT64_C(3));

	return s->map.dirty_pages > sv_max64(pool / 2, pool - sv_min64(next, pool));
}

/* Keeps the promise that a crash replays little, and that the map in memory can be cleaned. */
static int upkeep(struct sv_store *s)
{
	uint64_t since, unflushed;
	bool crowded;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	since = s->ledger.stick_written_bytes - s->root_log_bytes;
	unflushed = s->log.unflushed_bytes;
	crowded = is_crowded(s);
	pthread_mutex_unlock(&s->lock);
	if (unflushed >= sv_flush_distance(s))
		r = flush_sealed(s);
	if (r == 0 && (since >= s->anchor.checkpoint_bytes || crowded))
		r = sv_checkpoint_locked(s);
	return r;
}

int sv_seal(struct sv_store *s, uint64_t stamp, bool flush)
{
	int r = 0;

	for (;;) {
		bool done;

		pthread_mutex_lock(&s->lock);
		done = (flush ? s->flushed_stamp : s->sealed_stamp) >= stamp;
		pthread_mutex_unlock(&s->lock);
		if (sv_is_detached(s))
			return -ENODEV; /* nothing is confirmed that cannot be looked at */
		if (done)
			return 0;
		r = sv_make_room(s);
		if (r < 0)
			return r;
		pthread_mutex_lock(&s->commit);
		if (s->sealed_stamp < stamp)
			r = commit_group(s);
		if (r == 0 && flush && s->sealed_stamp >= stamp && s->flushed_stamp < stamp)
			r = flush_sealed(s);
		if (r == 0)
			r = upkeep(s);
		pthread_mutex_unlock(&s->commit);
		if (r == 0)
			r = sv_renew_anchors(s, false);
		if (r < 0)
			return r;
		sv_settle_host(s);
	}
}
