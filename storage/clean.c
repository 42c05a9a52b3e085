/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clean.c: segments that hold little are emptied: their survivors go to a segment apart, sorted by
 * address, and move records in the chain tell the map.
 *
 * M1  A move changes where a block is read, never what is read: units are verified before they
 *     are copied, and a move applies only where the map still names the place it was read from.
 * M2  Survivors are flushed before the first move that names them is appended.
 * M3  A victim is never written to: it comes free by losing its last live byte, like any other.
 * M4  Survivors of a unit never take more than the unit did: at worst it is copied as it is.
 *
 * M5  A pass of idle time asks before each request of a megabyte whether to go on. Stopped while it
 *     reads, it did nothing; stopped while it writes, it ends as if what was sent were all.
 *
 * Pages of the map in a victim are not moved but marked dirty: the next checkpoint writes them
 * elsewhere.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "store_impl.h"

#define VICTIMS 8u
#define RECORDS_MAX_BYTES 32768u
#define APART_MOST (VICTIMS + 2 + SV_APARTS) /* recovery knows of 16 */
#define PARTED_PAGES 14u
#define IDLE_PART_BYTES (1u << 20)

/* A unit of a victim of which some blocks are still mapped. */
struct survivor {
	uint64_t lba, place, mask; /* mask: blocks of the unit that live */
	uint32_t stored, at;	   /* its bytes: at `at` in the gather buffer */
	unsigned head;		   /* of the segments apart, the one that takes it */
	uint32_t turn;		   /* among those that are moved in a given order */
	struct sv_unit unit;
};

struct pass {
	uint8_t *victim; /* one segment as read */
	uint8_t *gather; /* survivors' units, verified */
	uint64_t gather_bytes, gathered;
	struct survivor *v;
	uint32_t count, capacity;
	unsigned head; /* the part that is being made is for */
	uint64_t left; /* units that survivors not written yet may become */
	struct sv_record *moves;
	uint32_t move_count, move_capacity;
	uint8_t expanded[SV_UNIT_MAX_BLOCKS * SV_BLOCK_BYTES];
	uint8_t packed[SV_UNIT_MAX_BLOCKS * SV_BLOCK_BYTES];
	uint32_t segments[VICTIMS];
	uint32_t apart[APART_MOST]; /* segments that took survivors */
	uint32_t apart_count;
	bool listed;  /* units in a given order, and no victims */
	bool stopped; /* go_on said no while survivors were written */
	bool squeeze; /* what units take beyond their live blocks is what is to be won */
	bool (*go_on)(struct sv_store *s); /* asked between requests; NULL: whatever happens */
	uint32_t sent_moves;		   /* of units in parts that were written */
};

static bool push(void **v, uint32_t *count, uint32_t *capacity, size_t size)
{
	if (*count == *capacity) {
		uint32_t more = *capacity ? *capacity * 2 : 256;
		void *p = realloc(*v, more * size);

		if (!p)
			return false;
		*v = p;
		*capacity = more;
	}
	++*count;
	return true;
}

/*
 * Whether survivors may go to two heads: the stick can have a third erase unit open without a merge
 * at each turn, and N2 stands. Each head is then given a quarter of a segment at least, an eighth
 * where no gap is due, so gaps and ends of parts come to 20 pages a segment instead of the 6 that
 * `dense` knows of; the sixteenth of a segment that the capacity leaves beside must bear that, and
 * win a pass its thirty-second.
 */
static bool may_part(const struct sv_store *s)
{
	return (s->geo.open_units == 0 || s->geo.open_units > 2) &&
	       PARTED_PAGES * s->anchor.page_bytes <= s->anchor.segment_bytes / 32;
}

static unsigned choose_victims(struct sv_store *s, struct pass *p)
{
	uint64_t enough = s->anchor.segment_bytes / (may_part(s) && !p->squeeze ? 1 : 2);
	uint64_t live = 0;
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	while (n < VICTIMS && live < enough) {
		uint32_t i = sv_choose_victim(s, p->segments, n, p->squeeze);

		if (!i)
			break;
		live += s->segs.v[i].usage.live_bytes + s->segs.v[i].self_live;
		if (n && live > p->gather_bytes)
			break;
		p->segments[n++] = i;
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* Which blocks of a unit the map still finds there. */
static int live_mask(struct sv_store *s, const struct sv_record *rec, uint64_t place,
		     uint64_t *ret_mask)
{
	uint64_t mask;
	struct sv_need need;
	int r;

	do {
		mask = 0;
		r = 0;
		pthread_mutex_lock(&s->lock);
		for (unsigned i = 0; r == 0 && i < rec->blocks; i++) {
			uint64_t now = 0;

			if (rec->lba + i < s->blocks)
				r = sv_map_get(&s->map, rec->lba + i, &now, &need);
			if (r == 0 && now && sv_entry_same_block(now, sv_entry_make(place, i, 16)))
				mask |= UINT64_C(1) << i;
		}
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN && (r = sv_fault(s, &need)) == 0)
			r = -EAGAIN;
	} while (r == -EAGAIN);
	if (r == 0 || r == -EIO)
		*ret_mask = r == 0 ? mask : 0; /* under a damaged page nothing can be moved */
	return r == -EIO ? 0 : r;
}

/* A page of a tree that is still in use there: the next checkpoint shall write it elsewhere. */
static int renew_page(struct sv_store *s, const struct sv_record *rec, uint64_t place)
{
	struct sv_page *page;
	struct sv_need need;
	int r = 0;

	if (rec->tree == SV_TREE_USAGE) {
		pthread_mutex_lock(&s->lock);
		if (rec->level < s->segs.levels &&
		    rec->lba < sv_segs_pages(s->segs.count, rec->level) &&
		    sv_entry_place(s->segs.level[rec->level].where[rec->lba]) == place) {
			uint64_t i = rec->lba * SV_USAGE_PER_PAGE;

			for (unsigned l = 0; l < rec->level; l++)
				i *= SV_PAGE_ENTRIES;
			sv_segs_touch(&s->segs, i);
		}
		pthread_mutex_unlock(&s->lock);
		return 0;
	}
	if (rec->level > sv_map_top_level(&s->map))
		return 0;
	do {
		pthread_mutex_lock(&s->lock);
		r = sv_map_page(&s->map, rec->level, rec->lba, false, &page, &need);
		if (r == 0 && page && page->where && sv_entry_place(page->where) == place)
			sv_map_mark(&s->map, page);
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN && sv_entry_place(need.entry) != place && need.level == rec->level)
			return 0; /* a newer copy lies elsewhere: this one is dead */
		if (r == -EAGAIN && (r = sv_fault(s, &need)) == 0)
			r = -EAGAIN;
	} while (r == -EAGAIN);
	return r == -EIO ? 0 : r; /* damaged: it stays where it is */
}

static void mark_damaged(struct sv_store *s, uint32_t segment)
{
	pthread_mutex_lock(&s->lock);
	s->segs.v[segment].usage.flags |= SV_SEG_DAMAGED;
	sv_segs_touch(&s->segs, segment);
	pthread_mutex_unlock(&s->lock);
}

/* Room for records in a part apart, and for units behind them. */
static uint32_t apart_record_bytes(const struct sv_store *s)
{
	return (uint32_t)sv_min64(RECORDS_MAX_BYTES, s->anchor.segment_bytes / 8);
}

static uint32_t apart_unit_bytes(const struct sv_store *s)
{
	return s->stage_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES - SV_GRAIN_BYTES -
	       apart_record_bytes(s) - SV_HEAD_FIXED_BYTES;
}

static int keep_unit(struct sv_store *s, struct pass *p, const struct sv_head *head,
		     const struct sv_record *rec, uint64_t place, const uint8_t *bytes)
{
	struct sv_binding bind = {.store_id = s->anchor.store_id,
				  .generation = head->generation,
				  .place = place,
				  .subject = rec->lba};
	struct survivor k = {.lba = rec->lba,
			     .place = place,
			     .stored = rec->stored_bytes,
			     .at = (uint32_t)p->gathered};
	int r = live_mask(s, rec, place, &k.mask);

	if (r < 0 || !k.mask || p->gathered + k.stored > p->gather_bytes ||
	    k.stored > apart_unit_bytes(s))
		return r;
	if (sv_unit_verify(&bind, bytes, k.stored, &k.unit) < 0 || k.unit.blocks != rec->blocks) {
		mark_damaged(s, head->segment);
		return 0; /* M1: stays where it is, and reads of it say EIO */
	}
	if (!push((void **)&p->v, &p->count, &p->capacity, sizeof(k)))
		return -ENOMEM;
	p->v[p->count - 1] = k;
	memcpy(p->gather + p->gathered, bytes, k.stored);
	p->gathered += k.stored;
	return 0;
}

static int scan_batch(struct sv_store *s, struct pass *p, const struct sv_head *head,
		      const uint8_t *buf)
{
	struct sv_cur c = sv_cur_over((uint8_t *)buf + SV_HEAD_FIXED_BYTES,
				      head->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	uint32_t at = head->payload_offset;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < head->records; i++) {
		uint64_t place = sv_place(s, head->segment, head->offset) + at;
		struct sv_record rec;

		if (sv_record_get(&c, &rec) < 0)
			return 0;
		if (rec.type != SV_REC_DATA && rec.type != SV_REC_PAGE)
			continue;
		if (rec.stored_bytes > head->payload_offset + head->payload_bytes - at)
			return 0;
		r = rec.type == SV_REC_PAGE ? renew_page(s, &rec, place)
					    : keep_unit(s, p, head, &rec, place, buf + at);
		at += rec.stored_bytes;
	}
	return r;
}

/* Sector by sector where the whole cannot be read: what cannot be is left alone. */
static int read_around(struct sv_store *s, uint8_t *buf, uint32_t len, uint64_t place)
{
	uint32_t step = s->geo.sector_bytes;

	for (uint32_t at = 0; at < len; at += step) {
		int r = sv_io_read(s, buf + at, step, place + at);

		if (r == -EIO)
			memset(buf + at, 0, step);
		else if (r < 0)
			return r;
	}
	return 0;
}

static int read_victim(struct sv_store *s, struct pass *p, uint32_t segment, uint32_t used)
{
	uint32_t chunk = 1u << 20;

	used = (uint32_t)sv_min64(sv_align_up(used, s->geo.sector_bytes), s->anchor.segment_bytes);
	for (uint32_t off = 0; off < used; off += chunk) {
		uint32_t len = (uint32_t)sv_min64(chunk, used - off);
		int r = p->go_on && !p->go_on(s) ? -EINTR : 0;

		if (r == 0)
			r = sv_io_read(s, p->victim + off, len, sv_place(s, segment, off));

		if (r == -EIO)
			r = read_around(s, p->victim + off, len, sv_place(s, segment, off));
		if (r < 0)
			return r;
		atomic_fetch_add_explicit(&s->tally.stick_read, len, memory_order_relaxed);
	}
	return 0;
}

static int scan_victim(struct sv_store *s, struct pass *p, uint32_t segment)
{
	struct sv_usage u;
	struct sv_head head;
	uint32_t off = 0;
	int r;

	pthread_mutex_lock(&s->lock);
	u = s->segs.v[segment].usage;
	pthread_mutex_unlock(&s->lock);
	r = read_victim(s, p, segment, u.used_bytes);
	while (r == 0 && off + SV_HEAD_FIXED_BYTES < u.used_bytes) {
		const uint8_t *buf = p->victim + off;

		if (sv_head_decode(buf, u.used_bytes - off, &head) < 0 ||
		    head.generation != u.generation || head.segment != segment ||
		    head.offset != off || head.total_bytes > u.used_bytes - off ||
		    memcmp(head.store_id, s->anchor.store_id, SV_STORE_ID_BYTES) != 0) {
			off += s->anchor.page_bytes;
			continue;
		}
		r = scan_batch(s, p, &head, buf);
		off += head.total_bytes;
	}
	return r;
}

static int by_head_and_lba(const void *a, const void *b)
{
	const struct survivor *x = a, *y = b;

	if (x->head != y->head)
		return x->head < y->head ? -1 : 1;
	return x->lba < y->lba ? -1 : x->lba > y->lba;
}

static int by_turn(const void *a, const void *b)
{
	const struct survivor *x = a, *y = b;

	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

int sv_apart_roll(struct sv_store *s, struct sv_apart *head, uint32_t bytes)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (head->segment && head->offset + bytes > s->anchor.segment_bytes) {
		sv_segs_set_role(&s->segs, head->segment, SV_SEG_IDLE);
		head->segment = 0;
	}
	if (!head->segment) {
		r = sv_segs_alloc(&s->segs, SV_SEG_APART, &head->segment);
		if (r == 0) {
			head->offset = 0;
			head->recent = (struct sv_recent){.next = 0};
			head->virgin = sv_is_virgin(s, head->segment);
			head->generation = sv_new_generation(s);
			sv_segs_begin(&s->segs, head->segment, head->generation, s->log.seq);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* Room for a unit in a segment apart: a part that fits it, rolling as needed. */
static int apart_space(struct sv_store *s, struct pass *p, struct sv_part *part, unsigned head,
		       uint32_t stored)
{
	uint32_t records = (uint32_t)sv_min64(apart_record_bytes(s), p->left * SV_REC_DATA_BYTES);
	struct sv_apart *to = &s->apart[head];
	int r = 0;

	if (part->buf && p->head == head && sv_part_fits(part, SV_REC_DATA_BYTES, stored))
		return 0;
	if (part->buf && part->records)
		r = sv_part_append_apart(s, part, &s->apart[p->head]);
	part->buf = NULL;
	p->head = head;
	if (r == 0)
		p->sent_moves = p->move_count;
	if (r == 0 && p->go_on && !p->go_on(s))
		r = -EINTR;
	if (r == 0)
		r = sv_apart_roll(s, to, records + SV_HEAD_FIXED_BYTES + 64 + stored);
	if (r < 0)
		return r;
	sv_part_at(s, part, s->apart_stage, records, to->segment, to->offset, to->generation);
	if (p->go_on) /* M5 */
		part->limit = (uint32_t)sv_min64(
			part->limit,
			sv_max64(IDLE_PART_BYTES, part->payload_offset + 2ull * SV_UNIT_MAX_BYTES));
	for (uint32_t i = 0; i < p->apart_count; i++)
		if (p->apart[i] == to->segment)
			return 0;
	if (p->apart_count == APART_MOST)
		return -ENOSPC;
	p->apart[p->apart_count++] = to->segment;
	return 0;
}

/* One new unit with blocks [first, first + n) of a survivor; `payload` is ready to be stored. */
static int put_unit(struct sv_store *s, struct pass *p, struct sv_part *part,
		    const struct survivor *k, unsigned first, struct sv_unit unit,
		    const uint8_t *payload, uint64_t mask)
{
	struct sv_record rec = {.type = SV_REC_DATA, .blocks = unit.blocks, .lba = k->lba + first};
	int r = apart_space(s, p, part, k->head, sv_unit_stored(unit.payload_bytes));

	if (r < 0)
		return r;
	memcpy(sv_part_space(part) + SV_UNIT_HEAD_BYTES, payload, unit.payload_bytes);
	rec.new_place = sv_part_unit(s, part, &unit, rec.lba, &rec.stored_bytes);
	sv_part_record(part, &rec);
	rec.type = SV_REC_MOVE;
	rec.old_place = k->place;
	rec.check = unit.check;
	/* A record for each run of blocks that live. */
	for (unsigned i = 0; i < unit.blocks; i++) {
		if (!(mask >> (first + i) & 1))
			continue;
		rec.lba = k->lba + first + i;
		rec.old_index = (uint8_t)(first + i);
		rec.new_index = (uint8_t)i;
		for (rec.blocks = 0; i < unit.blocks && mask >> (first + i) & 1; i++)
			rec.blocks++;
		if (!push((void **)&p->moves, &p->move_count, &p->move_capacity, sizeof(rec)))
			return -ENOMEM;
		p->moves[p->move_count - 1] = rec;
	}
	return 0;
}

static unsigned run_of(uint64_t mask, unsigned first, unsigned blocks)
{
	unsigned n = 0;

	while (first + n < blocks && mask >> (first + n) & 1)
		n++;
	return n;
}

/* The live blocks of a unit anew, run by run: bytes they take, and, with `part`, into it. */
static int rewrite(struct sv_store *s, struct pass *p, struct sv_part *part,
		   const struct survivor *k, uint32_t *ret_stored)
{
	uint32_t total = 0;
	int r = 0;

	for (unsigned i = 0, n; r == 0 && i < k->unit.blocks; i += n ? n : 1) {
		struct sv_unit unit = {.kind = SV_UNIT_DATA, .codec = SV_CODEC_ZSTD};
		const uint8_t *src = p->expanded + (size_t)i * SV_BLOCK_BYTES;
		const uint8_t *payload = p->packed;

		n = run_of(k->mask, i, k->unit.blocks);
		if (!n)
			continue;
		unit.payload_bytes =
			sv_compress(SV_CODEC_ZSTD, src, n, p->packed, n * SV_BLOCK_BYTES / 16 * 15);
		if (!unit.payload_bytes || unit.payload_bytes > SV_UNIT_MAX_BYTES - 16) {
			unit.codec = SV_CODEC_NONE;
			unit.payload_bytes = SV_BLOCK_BYTES;
			payload = src;
			n = 1;
		}
		unit.blocks = (uint8_t)n;
		total += sv_unit_stored(unit.payload_bytes);
		if (part)
			r = put_unit(s, p, part, k, i, unit, payload, k->mask);
	}
	*ret_stored = total;
	return r;
}

static int put_survivor(struct sv_store *s, struct pass *p, struct sv_part *part,
			const struct survivor *k)
{
	const uint8_t *bytes = p->gather + k->at;
	uint64_t all = k->unit.blocks == 64 ? UINT64_MAX : (UINT64_C(1) << k->unit.blocks) - 1;
	uint32_t stored;
	int r;

	if (k->mask == all || sv_unit_expand(&k->unit, bytes, p->expanded) < 0)
		return put_unit(s, p, part, k, 0, k->unit, bytes + SV_UNIT_HEAD_BYTES, k->mask);
	r = rewrite(s, p, NULL, k, &stored);
	if (r == 0 && stored > k->stored) /* M4 */
		return put_unit(s, p, part, k, 0, k->unit, bytes + SV_UNIT_HEAD_BYTES, k->mask);
	return r < 0 ? r : rewrite(s, p, part, k, &stored);
}

/*
 * A program that is torn may take some pages before it along. What the chain loses that way was
 * written within lie_window; survivors of an earlier pass may be older, and nothing else is left
 * of them (M2). So a gap keeps the passes apart.
 */
static bool is_gap_due(const struct sv_store *s, const struct sv_apart *head)
{
	return head->offset && sv_gap_is_due(s, &head->recent, head->offset);
}

static void leave_gaps(struct sv_store *s, unsigned used)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < SV_APARTS; i++) {
		struct sv_apart *head = &s->apart[i];

		if (!(used >> i & 1) || !is_gap_due(s, head))
			continue;
		head->offset += SV_GAP_PAGES * s->anchor.page_bytes;
		head->offset = sv_min64(head->offset, s->anchor.segment_bytes);
		head->recent = (struct sv_recent){.next = 0};
	}
	pthread_mutex_unlock(&s->lock);
}

/* What each head must be given at least for survivors to be parted (may_part). */
static uint64_t least_part(struct sv_store *s)
{
	bool gap = false;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < SV_APARTS; i++)
		gap |= is_gap_due(s, &s->apart[i]);
	pthread_mutex_unlock(&s->lock);
	return s->anchor.segment_bytes / (gap ? 4 : 8);
}

/* What will die soon goes apart from what will not, where there is enough of both. Returns which
 * heads are used, a bit each. */
static unsigned sort_survivors(struct sv_store *s, struct pass *p)
{
	uint64_t least = least_part(s), bytes[SV_APARTS] = {0};
	bool parted;

	if (p->listed && p->count)
		qsort(p->v, p->count, sizeof(p->v[0]), by_turn);
	if (p->listed)
		return 1;
	for (uint32_t i = 0; i < p->count; i++) {
		struct survivor *k = &p->v[i];

		k->head = sv_heat_is_short(&s->heat, k->lba);
		bytes[k->head] += k->stored;
	}
	parted = may_part(s) && bytes[0] >= least && bytes[1] >= least;
	for (uint32_t i = 0; i < p->count && !parted; i++)
		p->v[i].head = may_part(s) && bytes[1] > bytes[0];
	if (p->count)
		qsort(p->v, p->count, sizeof(p->v[0]), by_head_and_lba);
	return parted ? 3 : 1u << (p->count ? p->v[0].head : 0);
}

static int write_survivors(struct sv_store *s, struct pass *p)
{
	struct sv_part part = {.buf = NULL};
	int r = 0;

	pthread_mutex_lock(&s->aparting);
	leave_gaps(s, sort_survivors(s, p));
	for (uint32_t i = 0; i < p->count; i++)
		p->left += (unsigned)__builtin_popcountll(p->v[i].mask);
	for (uint32_t i = 0; r == 0 && i < p->count; i++) {
		r = put_survivor(s, p, &part, &p->v[i]);
		p->left -= (unsigned)__builtin_popcountll(p->v[i].mask);
	}
	if (r == -EINTR) { /* M5 */
		p->move_count = p->sent_moves;
		p->stopped = true;
		r = 0;
	} else if (r == 0 && part.buf && part.records) {
		r = sv_part_append_apart(s, &part, &s->apart[p->head]);
	}
	pthread_mutex_unlock(&s->aparting);
	return r == 0 && p->count ? sv_log_flush(s) : r; /* M2 */
}

/* One part with move records, from `*next` on; commit is held. */
static int publish_part(struct sv_store *s, struct pass *p, uint32_t *next)
{
	uint32_t most = (uint32_t)sv_min64(RECORDS_MAX_BYTES, s->anchor.segment_bytes / 8);
	uint64_t left = (uint64_t)(p->move_count - *next) * SV_REC_MOVE_BYTES +
			p->apart_count * SV_REC_SEGMENT_BYTES;
	struct sv_part part;
	int r = sv_part_begin(s, &part, (uint32_t)sv_min64(most, left), 0);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < p->apart_count; i++) {
		struct sv_record rec = {.type = SV_REC_SEGMENT, .segment = p->apart[i]};

		rec.generation = s->segs.v[p->apart[i]].usage.generation;
		sv_part_record(&part, &rec);
	}
	for (; *next < p->move_count && sv_part_fits(&part, SV_REC_MOVE_BYTES, 0); ++*next)
		sv_part_record(&part, &p->moves[*next]);
	return sv_append_and_apply(s, &part, 0);
}

static int publish(struct sv_store *s, struct pass *p)
{
	uint32_t next = 0;
	int r = 0;

	pthread_mutex_lock(&s->commit);
	if (s->sealing)
		r = -EBUSY; /* a group is half in the chain: nothing may come between its parts */
	while (r == 0 && next < p->move_count)
		r = publish_part(s, p, &next);
	pthread_mutex_unlock(&s->commit);
	return r;
}

/* A victim keeps what is a page until the next root, and what does not verify for ever: it is
 * not looked at again before that root, and not for ever. */
static void close_victims(struct sv_store *s, const struct pass *p, unsigned victims)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < victims; i++) {
		struct sv_seg *seg = &s->segs.v[p->segments[i]];

		seg->visits++;
		seg->visit_mark = (uint32_t)s->ledger.checkpoints + 1;
	}
	for (uint32_t i = 0; i < p->apart_count; i++) {
		struct sv_seg *seg = &s->segs.v[p->apart[i]];

		if (seg->role == SV_SEG_IDLE && !seg->bears)
			seg->packed = seg->usage.live_bytes;
		sv_segs_watch(s, seg);
	}
	s->ledger.segments_cleaned += victims;
	pthread_mutex_unlock(&s->lock);
}

static void pass_free(struct sv_store *s, struct pass *p)
{
	if (p->victim)
		munmap(p->victim, s->anchor.segment_bytes);
	if (p->gather)
		munmap(p->gather, p->gather_bytes);
	free(p->v);
	free(p->moves);
	free(p);
}

static void *map_bytes(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int pass_new(struct sv_store *s, struct pass **ret_pass)
{
	struct pass *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->gather_bytes = (uint64_t)s->anchor.segment_bytes + s->anchor.segment_bytes / 2;
	p->victim = map_bytes(s->anchor.segment_bytes);
	p->gather = map_bytes(p->gather_bytes);
	if (!p->victim || !p->gather) {
		pass_free(s, p);
		return -ENOMEM;
	}
	*ret_pass = p;
	return 0;
}

/* What victims hold, and where it goes. */
static int pass_run(struct sv_store *s, struct pass *p, unsigned victims)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < victims; i++)
		r = scan_victim(s, p, p->segments[i]);
	if (r == 0)
		r = write_survivors(s, p);
	if (r == 0)
		r = publish(s, p);
	if (r == 0 && (victims || p->listed))
		close_victims(s, p, victims);
	return r;
}

int sv_clean_pass(struct sv_store *s, bool squeeze, bool *ret_progress)
{
	struct pass *p;
	unsigned victims = 0;
	int r = pass_new(s, &p);

	*ret_progress = false;
	if (r < 0)
		return r;
	p->squeeze = squeeze;
	victims = choose_victims(s, p);
	r = pass_run(s, p, victims);
	*ret_progress = r == 0 && victims;
	pass_free(s, p);
	return r;
}

/* A quarter of what is read must be won, or idle time wears the stick for little. */
static bool is_worth_it(struct sv_store *s, const struct pass *p, unsigned victims)
{
	uint64_t live = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < victims; i++)
		live += s->segs.v[p->segments[i]].usage.live_bytes;
	pthread_mutex_unlock(&s->lock);
	return victims && live <= (uint64_t)victims * (s->anchor.segment_bytes / 4 * 3);
}

int sv_clean_idle(struct sv_store *s, bool (*go_on)(struct sv_store *s), bool *ret_progress)
{
	struct pass *p;
	unsigned victims;
	int r = pass_new(s, &p);

	*ret_progress = false;
	if (r < 0)
		return r;
	p->go_on = go_on;
	victims = choose_victims(s, p);
	if (is_worth_it(s, p, victims)) {
		r = pass_run(s, p, victims);
		*ret_progress = r == 0;
	}
	pass_free(s, p);
	return r == -EINTR ? 0 : r;
}

/* ---- units in a given order ---- */

/* It may have gone since it was listed, or be damaged: then it stays where it is. */
static int take_listed(struct sv_store *s, struct pass *p, const struct sv_set_unit *u,
		       const uint8_t *bytes)
{
	struct sv_binding bind = {.store_id = s->anchor.store_id,
				  .generation = u->generation,
				  .place = u->place,
				  .subject = u->lba};
	struct sv_head head = {.generation = u->generation,
			       .segment = (uint32_t)(u->place / s->anchor.segment_bytes)};
	struct sv_record rec = {.type = SV_REC_DATA, .lba = u->lba, .stored_bytes = u->stored};
	uint32_t before = p->count;
	struct sv_unit unit;
	int r;

	if (sv_unit_verify(&bind, bytes, u->stored, &unit) < 0 || !unit.blocks)
		return 0;
	rec.blocks = unit.blocks;
	r = keep_unit(s, p, &head, &rec, u->place, bytes);
	if (p->count > before)
		p->v[before].turn = u->turn;
	return r;
}

/* Those that lie near each other, in one go; sorted by place. */
static int read_listed(struct sv_store *s, struct pass *p, const struct sv_set_unit *u,
		       uint32_t count, uint32_t *ret_count)
{
	uint64_t from = sv_align_down(u[0].place, s->geo.sector_bytes);
	uint64_t end = u[0].place + u[0].stored;
	uint64_t most = sv_min64(IDLE_PART_BYTES, s->anchor.segment_bytes);
	uint64_t segment = from / s->anchor.segment_bytes;
	uint32_t n = 1;
	int r;

	for (; n < count && u[n].place + u[n].stored <= from + most &&
	       u[n].place <= end + sv_seek_bytes(s) &&
	       u[n].place / s->anchor.segment_bytes == segment;
	     n++)
		end = sv_max64(end, u[n].place + u[n].stored);
	*ret_count = n;
	if (p->go_on && !p->go_on(s))
		return -EINTR;
	end = sv_align_up(end, s->geo.sector_bytes);
	r = sv_io_read(s, p->victim, end - from, from);
	if (r < 0)
		return r == -EIO ? 0 : r; /* they stay where they are */
	atomic_fetch_add_explicit(&s->tally.stick_read, end - from, memory_order_relaxed);
	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = take_listed(s, p, &u[i], p->victim + (u[i].place - from));
	return r;
}

int sv_clean_move(struct sv_store *s, struct sv_set_unit *units, uint32_t count,
		  bool (*go_on)(struct sv_store *s), uint64_t *ret_bytes)
{
	uint64_t before = s->ledger.cleaner_bytes;
	struct pass *p;
	int r = pass_new(s, &p);

	*ret_bytes = 0;
	if (r < 0)
		return r;
	p->listed = true;
	p->go_on = go_on;
	for (uint32_t i = 0; i < count; i++)
		units[i].turn = i;
	if (count)
		qsort(units, count, sizeof(units[0]), sv_set_by_place);
	for (uint32_t i = 0, n; r == 0 && i < count; i += n)
		r = read_listed(s, p, &units[i], count - i, &n);
	if (r == 0)
		r = pass_run(s, p, 0);
	if (r == 0 && p->stopped)
		r = -EINTR;
	pass_free(s, p);
	*ret_bytes = s->ledger.cleaner_bytes - before;
	return r;
}
