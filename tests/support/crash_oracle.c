/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crash_oracle.c: what a recovery must bring back, read from what the medium was told. */
#include "crash_oracle.h"

#include <stdlib.h>

#include "crash_log.h"
#include "format.h"

/*
 * The oracle shares the codecs with the engine (a round trip and FORMAT.md's own test hold them)
 * and nothing else: it does not walk. It knows every write in the order of issue, so it knows the
 * chain without searching, and compares bytes instead of checks.
 *
 *  O1  A batch survived if its header, its records and its payload are on the medium as they were
 *      written. Padding does not count.
 *  O2  The newest prefix whose bytes survived ends before the first batch that did not; of a group
 *      joined by MORE nothing counts before all of it.
 *  O3  A loss can be known where a batch that survived behind the gap says F at or behind it, in
 *      the rest of the segment in which the prefix ends or in the one named next; or where an
 *      anchor names an opening behind the end. It must be of the same session or of the next:
 *      where a whole session between is lost, it cannot be told from what an older loss left.
 *
 *  O4  A batch that goes to the device in pieces counts from its last one on. Pieces of one follow
 *      each other; what other threads write may come in between.
 *
 *  O6  What was born for a batch is a part of it: it survived if the bytes of these units, as the
 *      last write before the batch put them there, are on the medium, but for those that were
 *      written over since (O5).
 *
 *  O5  A batch that was written over since, in a segment that was used again, is nothing that a
 *      recovery could need: if it was too early for that, J1 and J2 of store_cut.c find out.
 *
 * Batches that recovery refused would be a second branch: recorded runs have none, since nothing
 * is lost in them.
 */
static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static bool changes_disk(const struct sv_head *head, const uint8_t *bytes)
{
	struct sv_cur c = sv_cur_over((uint8_t *)bytes + SV_HEAD_FIXED_BYTES,
				      head->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_record rec;

	for (uint32_t i = 0; i < head->records && sv_record_get(&c, &rec) == 0; i++)
		if (rec.type == SV_REC_DATA || rec.type == SV_REC_DISCARD ||
		    rec.type == SV_REC_BORN)
			return true;
	return false;
}

static bool read_batch(const struct crash_record *record, struct crash_batch *ret_batch)
{
	struct sv_head h;

	if (sv_head_decode(record->data, record->len_bytes, &h) < 0 || h.flags & SV_BATCH_APART)
		return false;
	*ret_batch = (struct crash_batch){
		.seq = h.seq,
		.epoch = h.epoch,
		.prev_epoch = h.prev_epoch,
		.flushed_seq = h.flags & SV_BATCH_CLOSE ? h.seq : h.flushed_seq,
		.flags = h.flags,
		.segment = h.segment,
		.offset = h.offset,
		.next_segment = h.next_segment,
		.head_bytes = h.head_bytes,
		.check_bytes = h.payload_bytes ? h.payload_offset + h.payload_bytes : h.head_bytes,
		.data = changes_disk(&h, record->data),
		.last = !(h.flags & SV_BATCH_MORE),
	};
	return true;
}

static bool read_anchor(const struct crash_record *record, struct crash_batch *ret_batch)
{
	struct sv_anchor a;

	if (record->len_bytes != SV_ANCHOR_BYTES || sv_anchor_decode(record->data, &a) < 0)
		return false;
	*ret_batch = (struct crash_batch){
		.anchor = true,
		.opening_seq = a.opening.seq,
		.head_bytes = SV_ANCHOR_CHECKED_BYTES,
		.check_bytes = SV_ANCHOR_CHECKED_BYTES,
	};
	return true;
}

static void keep(struct crash_oracle *oracle, const struct crash_batch *batch)
{
	if (oracle->count == oracle->capacity) {
		oracle->capacity = oracle->capacity * 2 + 64;
		oracle->v = must(realloc(oracle->v, oracle->capacity * sizeof(*oracle->v)));
	}
	oracle->v[oracle->count++] = *batch;
}

static bool is_piece(const struct crash_log *log, size_t i, uint64_t off_bytes)
{
	return log->records[i].event == CRASH_WRITE && log->records[i].off_bytes == off_bytes;
}

/* O4: where all that counts of it is written; false: never. Before: `record` and `write` are those
 * of its beginning. */
static bool find_end(const struct crash_log *log, struct crash_batch *batch)
{
	const struct crash_record *first = &log->records[batch->first];
	uint64_t have = first->len_bytes;

	for (size_t i = batch->first + 1; have < batch->check_bytes; i++) {
		if (i == log->count)
			return false;
		batch->write += log->records[i].event == CRASH_WRITE ||
				log->records[i].event == CRASH_DISCARD;
		if (is_piece(log, i, first->off_bytes + have)) {
			have += log->records[i].len_bytes;
			batch->record = i;
		}
	}
	return true;
}

/* The first record behind `record` that changes [from, end). */
static size_t written_over(const struct crash_log *log, size_t record, uint64_t from, uint64_t end)
{
	for (size_t i = record + 1; i < log->count; i++) {
		const struct crash_record *other = &log->records[i];

		if ((other->event == CRASH_WRITE || other->event == CRASH_DISCARD) &&
		    other->off_bytes < end && other->off_bytes + other->len_bytes > from)
			return i;
	}
	return SIZE_MAX;
}

/* The last write before a batch that put something at this place. */
static size_t writer_of(const struct crash_log *log, size_t before, uint64_t off_bytes)
{
	for (size_t i = before; i-- > 0;) {
		const struct crash_record *r = &log->records[i];

		if ((r->event == CRASH_WRITE || r->event == CRASH_DISCARD) &&
		    r->off_bytes <= off_bytes && off_bytes < r->off_bytes + r->len_bytes)
			return i;
	}
	abort(); /* a record that names what was never written: no run goes on from there */
}

/* O6: one unit, in as many pieces as it was written in. */
static void add_born(const struct crash_log *log, struct crash_batch *b, uint64_t off, uint32_t len)
{
	while (len > 0) {
		size_t i = writer_of(log, b->first, off);
		const struct crash_record *r = &log->records[i];
		struct crash_born born = {.record = i, .off_bytes = off};

		born.at = (uint32_t)(off - r->off_bytes);
		born.len_bytes = (uint32_t)sv_min64(len, r->len_bytes - born.at);
		born.over = written_over(log, i, off, off + born.len_bytes);
		b->born = must(realloc(b->born, (b->born_count + 1) * sizeof(b->born[0])));
		b->born[b->born_count++] = born;
		off += born.len_bytes;
		len -= born.len_bytes;
	}
}

static void read_births(const struct crash_log *log, struct crash_oracle *oracle,
			struct crash_batch *b)
{
	const uint8_t *bytes = log->records[b->first].data;
	struct sv_cur c = sv_cur_over((uint8_t *)bytes + SV_HEAD_FIXED_BYTES,
				      b->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_record rec;
	struct sv_head h;

	if (b->anchor || sv_head_peek(bytes, b->head_bytes, &h) < 0)
		return;
	for (uint32_t i = 0; i < h.records && sv_record_get(&c, &rec) == 0; i++)
		if (rec.type == SV_REC_BORN) {
			add_born(log, b, rec.new_place, rec.stored_bytes);
			oracle->born++;
		}
}

static int by_end(const void *a, const void *b)
{
	const struct crash_batch *x = a, *y = b;

	return x->record < y->record ? -1 : x->record > y->record;
}

void crash_oracle_read(const struct dev_crash *medium, uint64_t back_bytes,
		       struct crash_oracle *ret_oracle)
{
	const struct crash_log *log = dev_crash_log(medium);
	struct crash_oracle oracle = {.back_bytes = back_bytes};
	uint64_t write = 0;

	for (size_t i = 0; i < log->count; i++) {
		const struct crash_record *record = &log->records[i];
		struct crash_batch batch;

		write += record->event == CRASH_WRITE || record->event == CRASH_DISCARD;
		if (record->event != CRASH_WRITE ||
		    (!read_batch(record, &batch) && !read_anchor(record, &batch)))
			continue;
		batch.first = batch.record = i;
		batch.write = write;
		if (!find_end(log, &batch))
			continue;
		batch.over = written_over(log, batch.record, record->off_bytes,
					  record->off_bytes + batch.check_bytes);
		read_births(log, &oracle, &batch);
		keep(&oracle, &batch);
	}
	qsort(oracle.v, oracle.count, sizeof(*oracle.v), by_end);
	*ret_oracle = oracle;
}

void crash_oracle_free(struct crash_oracle *oracle)
{
	for (size_t i = 0; i < oracle->count; i++)
		free(oracle->v[i].born);
	free(oracle->v);
	*oracle = (struct crash_oracle){0};
}

/* Where to begin to look: what lies further back was not touched by the cut. */
static size_t first_to_check(const struct crash_oracle *oracle, const struct crash_log *log,
			     size_t end)
{
	uint64_t bytes = 0;
	size_t i = end;

	while (i > 0 && bytes <= oracle->back_bytes) {
		i--;
		bytes += sv_max64(oracle->v[i].check_bytes,
				  log->records[oracle->v[i].record].len_bytes);
	}
	return i;
}

/* Whether the first bytes of a batch are on the medium, piece for piece. */
static bool holds(const struct dev_crash *fork, const struct crash_log *log,
		  const struct crash_batch *batch, uint64_t bytes)
{
	uint64_t at = log->records[batch->first].off_bytes, end = at + bytes;

	for (size_t i = batch->first; at < end; i++) {
		const struct crash_record *piece = &log->records[i];
		uint64_t n = sv_min64(piece->len_bytes, end - at);

		if (!is_piece(log, i, at))
			continue;
		if (!dev_crash_holds(fork, piece->data, n, at))
			return false;
		at += n;
	}
	return true;
}

/* O6 */
static bool holds_born(const struct dev_crash *fork, const struct crash_log *log,
		       const struct crash_batch *b, size_t end_record)
{
	for (size_t i = 0; i < b->born_count; i++) {
		const struct crash_born *born = &b->born[i];

		if (born->over >= end_record &&
		    !dev_crash_holds(fork, log->records[born->record].data + born->at,
				     born->len_bytes, born->off_bytes))
			return false;
	}
	return true;
}

/* Whether what survived behind the gap says that `lost` was flushed (O3). */
static bool is_told(const struct crash_oracle *oracle, const struct crash_log *log,
		    const struct dev_crash *fork, size_t from, size_t end,
		    const struct crash_batch *tail, uint64_t lost_seq)
{
	for (size_t i = from; i < end; i++) {
		const struct crash_batch *b = &oracle->v[i];
		bool near = b->epoch == tail->epoch || b->prev_epoch == tail->epoch;
		bool behind = b->segment == tail->segment && b->offset > tail->offset;
		bool looked_at = near && (behind || b->segment == tail->next_segment);

		if (b->anchor ? b->opening_seq < lost_seq : !looked_at || b->flushed_seq < lost_seq)
			continue;
		if (holds(fork, log, b, b->head_bytes))
			return true;
	}
	return false;
}

/* Whether the headers from `i` on survived, up to a close record: then bad payload is damage. */
static bool is_closed(const struct crash_oracle *oracle, const struct crash_log *log,
		      const struct dev_crash *fork, size_t i, size_t end)
{
	for (; i < end; i++) {
		const struct crash_batch *b = &oracle->v[i];

		if (b->anchor)
			continue;
		if (!holds(fork, log, b, b->head_bytes))
			return false;
		if (b->flags & SV_BATCH_CLOSE)
			return true;
	}
	return false;
}

void crash_oracle_judge(const struct crash_oracle *oracle, const struct dev_crash *medium,
			const struct dev_crash *fork, size_t end_record, size_t flushed_record,
			struct crash_verdict *ret_verdict)
{
	const struct crash_log *log = dev_crash_log(medium);
	const struct crash_batch *tail = NULL;
	struct crash_verdict verdict = {0};
	bool data = false;
	size_t end = 0, first, i;

	while (end < oracle->count && oracle->v[end].record < end_record)
		end++;
	first = first_to_check(oracle, log, end);
	for (i = 0; i < end; i++) {
		const struct crash_batch *b = &oracle->v[i];

		if (b->anchor)
			continue;
		if (i >= first && b->over >= end_record && /* O5 */
		    (!holds(fork, log, b, b->check_bytes) || !holds_born(fork, log, b, end_record)))
			break;
		data |= b->data;
		if (!b->last)
			continue;
		tail = b;
		if (data)
			verdict.intact_write = b->write;
		data = false;
	}
	verdict.broken = i < end;
	verdict.flushed = verdict.broken && oracle->v[i].record < flushed_record;
	verdict.closed = verdict.flushed && is_closed(oracle, log, fork, i, end);
	if (verdict.flushed && tail != NULL)
		verdict.told = is_told(oracle, log, fork, i + 1, end, tail, oracle->v[i].seq);
	*ret_verdict = verdict;
}
