/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * born.c: long-lived blocks of a group go to a segment apart at once, where the cleaner would have
 * to copy them to: the one that takes long-lived survivors.
 *
 *   items --choose--> to be born, the others --parts apart--> births --records--> the chain
 *
 * The argument is in DESIGN, "Born apart"; here is what of it is held:
 *
 * Z1  Births are written before the first part of the chain that names them; commit is held, and
 *     the group stays half sealed until its last part is in the chain.
 * Z4  A gap is left in front of them where what lies before is older than half a lie_window.
 * Z6  No BORN record is written before both anchors have the feature bit, with lie_window bytes
 *     flushed behind them.
 * Z7  Where there is no segment for them, or the cleaner is writing survivors, they are written
 * like the others: nobody waits. Z8  They are apart only where that pays.
 */
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define LEAST_PAGES 6u /* of births in a group */
#define RUN_BLOCKS 16u /* what is written in runs stays together */
#define LEAST_UNITS 3u /* open at once */
#define SEGMENT_PAGES 448u
#define RECORDS_MAX_BYTES 32768u

int sv_born_init(struct sv_store *s, uint32_t slots)
{
	s->born.v = calloc(slots, sizeof(s->born.v[0])); /* touched as they are used */
	return s->born.v ? 0 : -ENOMEM;
}

static bool is_tried(const struct sv_store *s)
{
	return s->opts.births == SV_BIRTHS_TRIED;
}

bool sv_may_bear(const struct sv_store *s)
{
	return is_tried(s) ||
	       (s->opts.births == SV_BIRTHS_MEASURED &&
		(s->geo.open_units == 0 || s->geo.open_units >= LEAST_UNITS) &&
		SEGMENT_PAGES * (uint64_t)s->anchor.page_bytes <= s->anchor.segment_bytes);
}

/* ---- Z6 ---- */

static bool is_allowed(struct sv_store *s)
{
	bool allowed;

	pthread_mutex_lock(&s->lock);
	s->born.wanted = true;
	allowed = s->born.told &&
		  s->ledger.stick_written_bytes - s->log.unflushed_bytes >= s->born.from_bytes;
	pthread_mutex_unlock(&s->lock);
	return allowed;
}

void sv_born_mark(const struct sv_store *s, struct sv_anchor *a, bool lone)
{
	if ((s->born.wanted || (is_tried(s) && !s->opts.read_only)) && !lone)
		a->features.incompat |= SV_INCOMPAT_BORN;
}

void sv_born_marked(struct sv_store *s, const struct sv_anchor *a, bool lone)
{
	s->anchor.features = a->features;
	if (lone || s->born.told || !(a->features.incompat & SV_INCOMPAT_BORN))
		return;
	s->born.told = true;
	s->born.from_bytes = s->ledger.stick_written_bytes + s->anchor.lie_window_bytes;
}

/* ---- which ---- */

static uint32_t run_from(const struct sv_item *v, uint32_t at, uint32_t count)
{
	uint32_t n = 1;

	while (at + n < count && v[at + n].lba == v[at].lba + n)
		n++;
	return n;
}

static bool is_long(const struct sv_store *s, const struct sv_item *item, uint32_t run)
{
	if (item->slot == SV_ZERO_SLOT)
		return false;
	if (is_tried(s))
		return item->lba >> 1 & 1;
	return run < RUN_BLOCKS && sv_heat_is_long(&s->heat, item->lba);
}

static int born_first(const void *a, const void *b)
{
	const struct sv_item *x = a, *y = b;

	if (x->born != y->born)
		return x->born ? -1 : 1;
	return x->lba < y->lba ? -1 : x->lba > y->lba;
}

void sv_born_choose(struct sv_store *s, struct sv_item *v, uint32_t count)
{
	uint32_t chosen = 0, least = LEAST_PAGES * s->anchor.page_bytes / SV_RAW_UNIT_BYTES;

	s->born.end = s->born.count = s->born.batches = s->born.done = 0;
	if (!sv_may_bear(s) || (!is_tried(s) && !s->heat.skewed))
		return;
	for (uint32_t at = 0, n; at < count; at += n) {
		n = run_from(v, at, count);
		for (uint32_t i = at; i < at + n; i++) {
			v[i].born = is_long(s, &v[i], n);
			chosen += v[i].born;
		}
	}
	if (!chosen || (!is_tried(s) && chosen < least) || !is_allowed(s))
		return;
	qsort(v, count, sizeof(v[0]), born_first);
	s->born.end = chosen;
}

/* ---- writing ---- */

/* Whether some free segment was written before. With lock held. */
static bool has_written(const struct sv_store *s)
{
	for (uint64_t i = 2; i < s->segs.count; i++) {
		const struct sv_seg *seg = &s->segs.v[i];

		if (seg->role == SV_SEG_IDLE && !seg->usage.live_bytes && !seg->self_live &&
		    (!seg->usage.generation || seg->usage.last_seq < s->segs.gate_seq) &&
		    !sv_is_virgin(s, (uint32_t)i))
			return true;
	}
	return false;
}

/* Room at the head; where the first flush of a segment costs the host's file system a commit, in
 * one that was written before (sv_segs_alloc takes those first). */
static int find_room(struct sv_store *s, uint32_t bytes)
{
	struct sv_apart *head = &s->apart[0];
	bool rolls = !head->segment || head->offset + bytes > s->anchor.segment_bytes;
	bool written = true;

	if (s->geo.first_write_costs) {
		pthread_mutex_lock(&s->lock);
		written = rolls ? has_written(s) : !head->virgin;
		pthread_mutex_unlock(&s->lock);
	}
	return written ? sv_apart_roll(s, head, bytes) : -ENOSPC;
}

/* Z4 */
static void leave_gap(struct sv_store *s)
{
	struct sv_apart *head = &s->apart[0];

	pthread_mutex_lock(&s->lock);
	if (head->segment && sv_gap_is_due(s, &head->recent, head->offset)) {
		head->offset += SV_GAP_PAGES * s->anchor.page_bytes;
		head->offset = sv_min64(head->offset, s->anchor.segment_bytes);
		head->recent = (struct sv_recent){.next = 0};
	}
	pthread_mutex_unlock(&s->lock);
}

int sv_born_begin(struct sv_store *s, struct sv_part *part)
{
	uint64_t left = s->order_end - s->order_done;
	uint64_t records = sv_min64(left * SV_REC_DATA_BYTES,
				    sv_min64(RECORDS_MAX_BYTES, s->anchor.segment_bytes / 8));
	uint64_t want = sv_min64(left * SV_RAW_UNIT_BYTES, LEAST_PAGES * s->anchor.page_bytes);
	struct sv_apart *head = &s->apart[0];
	bool wrong;
	int r = sv_is_detached(s) ? -ENODEV : sv_apply_rest(s);

	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	wrong = s->segs.wrong;
	pthread_mutex_unlock(&s->lock);
	if (wrong)
		return -EUCLEAN; /* G3 */
	leave_gap(s);
	want = sv_max64(want, SV_RAW_UNIT_BYTES) + records + SV_HEAD_FIXED_BYTES + 64;
	want = sv_min64(sv_align_up(want, s->anchor.page_bytes), s->stage_bytes);
	r = find_room(s, (uint32_t)want);
	if (r < 0)
		return r;
	sv_part_at(s, part, s->stage, (uint32_t)records, head->segment, head->offset,
		   head->generation);
	part->births = true;
	return 0;
}

void sv_born_note(struct sv_store *s, const struct sv_unit *unit, uint64_t lba, uint64_t place,
		  uint32_t stored_bytes)
{
	s->born.v[s->born.count++] = (struct sv_birth){.lba = lba,
						       .place = place,
						       .check = unit->check,
						       .stored_bytes = stored_bytes,
						       .blocks = unit->blocks};
}

int sv_born_append(struct sv_store *s, struct sv_part *part, uint32_t first)
{
	struct sv_apart *head = &s->apart[0];
	uint64_t offset = head->offset;
	int r = sv_part_append_apart(s, part, head);

	if (r < 0)
		return r;
	for (uint32_t i = first; i < s->born.count; i++) {
		s->born.v[i].generation = part->generation;
		s->born.v[i].offset = (uint32_t)offset;
		s->born.v[i].bytes = (uint32_t)(head->offset - offset);
	}
	s->born.batches++;
	pthread_mutex_lock(&s->lock);
	s->segs.v[part->segment].bears = true;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* ---- in the chain ---- */

uint64_t sv_born_record_bytes(const struct sv_store *s)
{
	if (s->born.done == s->born.count)
		return 0;
	return (uint64_t)(s->born.count - s->born.done) * SV_REC_BORN_BYTES +
	       (uint64_t)s->born.batches * SV_REC_SEGMENT_BYTES;
}

bool sv_born_tell(struct sv_store *s, struct sv_part *part)
{
	const struct sv_birth *told = NULL;

	for (; s->born.done < s->born.count; s->born.done++) {
		const struct sv_birth *b = &s->born.v[s->born.done];
		uint32_t segment = (uint32_t)(b->place / s->anchor.segment_bytes);
		struct sv_record in = {.type = SV_REC_SEGMENT,
				       .segment = segment,
				       .generation = b->generation,
				       .offset = b->offset,
				       .bytes = b->bytes};
		struct sv_record rec = {.type = SV_REC_BORN,
					.blocks = b->blocks,
					.stored_bytes = b->stored_bytes,
					.lba = b->lba,
					.new_place = b->place,
					.check = b->check};

		if (!sv_part_fits(part, SV_REC_SEGMENT_BYTES + SV_REC_BORN_BYTES, 0))
			return false;
		if (!told || told->generation != b->generation || told->offset != b->offset)
			sv_part_record(part, &in);
		told = b;
		sv_part_record(part, &rec);
	}
	return true;
}
