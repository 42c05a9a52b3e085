/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apply.c: what a record does to the map. The same code serves a batch that was just written and
 * one that recovery replays, so the two cannot differ.
 *
 * A page of the map that is missing is read without the lock and the record is tried again: every
 * step here is a no-op when it is repeated. A page that is damaged must not stop the chain: what
 * lay under it is lost (sv_map_lose), and what the record says takes its place.
 */
#include <assert.h>
#include <errno.h>

#include "store_impl.h"

/* Pages that lie behind one within this many bytes come in with it: checkpoints write pages in
 * order, so one read serves many leaves. More where leaves are asked for in order: on a stick that
 * is slow to seek, going back and forth between data and map is what costs. */
#define READ_AHEAD_BYTES 32768u
#define READ_LITTLE_BYTES 4096u /* where leaves are asked for at random all over a large disk */
#define READ_AHEAD_TRIED 64u	/* so many little ones, and it is tried again */
#define READ_AHEAD_ORDERED 8u	/* times the largest unit, which follows the stick */
#define READ_AHEAD_MOST_BYTES (512u << 10)
#define READ_AHEAD_PAGES (READ_AHEAD_MOST_BYTES / SV_PAGE_UNIT_BYTES + 1)
/* Four times what a session may dirty between two roots with the default bound: replay may have to
 * begin a few roots back. No image, however made, takes more. */
#define REPLAY_RAM_MOST_BYTES (256u << 20)

static int page_decode(struct sv_store *s, const struct sv_need *need, uint64_t generation,
		       const uint8_t *unit, uint64_t *ret_entries)
{
	struct sv_binding bind = {.store_id = s->anchor.store_id,
				  .generation = generation,
				  .place = sv_entry_place(need->entry),
				  .subject =
					  sv_page_subject(SV_TREE_MAP, need->level, need->index)};
	struct sv_cur c = sv_cur_over((uint8_t *)unit + SV_UNIT_HEAD_BYTES, SV_PAGE_BYTES);
	struct sv_unit u;

	if (sv_unit_verify(&bind, unit, SV_PAGE_UNIT_BYTES, &u) < 0 || u.kind != SV_UNIT_PAGE ||
	    u.payload_bytes != SV_PAGE_BYTES)
		return -EIO;
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		uint64_t segment;

		ret_entries[i] = sv_get64(&c);
		segment = sv_entry_place(ret_entries[i]) / s->anchor.segment_bytes;
		if (ret_entries[i] == SV_ENTRY_LOST)
			continue;
		if (ret_entries[i] && (segment < 2 || segment >= s->segs.count))
			return -EIO; /* with a right check: nobody's page of ours */
	}
	return 0;
}

/* What was read for a page, and the pages that came in with it, for the host's cache. */
struct pages {
	const uint8_t *data;
	uint64_t from, generation;
	uint32_t len_bytes;
	unsigned count;
	uint64_t place[READ_AHEAD_PAGES];
};

/* Loads the children of a page of the map that lie in what was read; with the lock held. Failing is
 * no loss; false: there is no such page, or none of its children were found. */
static bool load_children(struct sv_store *s, const struct sv_need *need, uint64_t parent_index,
			  struct pages *in)
{
	uint64_t entries[SV_PAGE_ENTRIES];
	unsigned before = in->count;

	for (unsigned i = 0; i < SV_PAGE_ENTRIES && in->count < READ_AHEAD_PAGES; i++) {
		struct sv_need n = {.level = need->level,
				    .index = parent_index * SV_PAGE_ENTRIES + i};
		/* Looked up each time: loading a page may evict another. */
		const struct sv_page *parent = sv_map_peek(&s->map, need->level + 1, parent_index);

		if (!parent)
			return false;
		n.entry = parent->e[i];
		if (!n.entry || n.entry == need->entry || sv_entry_place(n.entry) < in->from ||
		    sv_entry_place(n.entry) + SV_PAGE_UNIT_BYTES > in->from + in->len_bytes ||
		    sv_map_peek(&s->map, n.level, n.index) ||
		    page_decode(s, &n, in->generation,
				in->data + (sv_entry_place(n.entry) - in->from), entries) < 0)
			continue;
		if (sv_map_loaded(&s->map, &n, entries) < 0)
			return false;
		sv_map_beside(&s->map, n.level, n.index);
		in->place[in->count++] = sv_entry_place(n.entry);
		if (n.level == 0 && n.index >= s->leaf_next)
			s->leaf_next = n.index + 1;
	}
	return in->count > before;
}

/* Those beside the page, and those that follow. */
static void load_siblings(struct sv_store *s, const struct sv_need *need, struct pages *in)
{
	uint64_t parent = need->index / SV_PAGE_ENTRIES;

	if (need->level == 0)
		s->leaf_next = need->index + 1;
	(void)load_children(s, need, parent, in);
	while (load_children(s, need, ++parent, in))
		;
}

/* How much to read at a page. */
static uint32_t ahead_bytes(struct sv_store *s, const struct sv_need *need, uint64_t place)
{
	uint64_t end = (place / s->anchor.segment_bytes + 1) * s->anchor.segment_bytes;
	uint64_t len = READ_AHEAD_BYTES;

	pthread_mutex_lock(&s->lock);
	if (need->level == 0 && need->index && need->index == s->leaf_next)
		len = sv_max64(len, (uint64_t)READ_AHEAD_ORDERED * s->opts.unit_bytes);
	else if (!sv_map_ahead_pays(&s->map) && ++s->faults % READ_AHEAD_TRIED)
		len = READ_LITTLE_BYTES;
	pthread_mutex_unlock(&s->lock);
	len = sv_min64(len, READ_AHEAD_MOST_BYTES);
	return (uint32_t)sv_min64(len, end - place);
}

/* A page out of the host's cache; false: not there, or not that page. */
static bool fault_cached(struct sv_store *s, const struct sv_need *need, struct sv_host_key *key,
			 struct sv_scratch *scratch, uint64_t *ret_entries)
{
	uint8_t *unit;

	key->len_bytes = SV_PAGE_UNIT_BYTES;
	return s->host && key->generation && sv_host_read(s->host, key, scratch->io, &unit) &&
	       page_decode(s, need, key->generation, unit, ret_entries) == 0;
}

/* A page from the stick, and what follows it. */
static int fault_stick(struct sv_store *s, const struct sv_need *need, struct sv_host_key *key,
		       struct sv_scratch *scratch, uint64_t *entries)
{
	struct pages in = {.from = key->place,
			   .generation = key->generation,
			   .len_bytes = ahead_bytes(s, need, key->place),
			   .count = 1};
	uint8_t *data;
	int r = -EIO;

	if (!key->generation || in.len_bytes < SV_PAGE_UNIT_BYTES)
		return -EIO;
	r = sv_read_raw(s, scratch, in.from, in.len_bytes, false, &data);
	if (r == -EIO) {
		in.len_bytes = SV_PAGE_UNIT_BYTES; /* it may have been a neighbour that cannot be */
		r = sv_read_raw(s, scratch, in.from, in.len_bytes, false, &data);
	}
	if (r == 0)
		r = page_decode(s, need, key->generation, data, entries);
	if (r < 0)
		return r;
	in.data = data;
	in.place[0] = in.from;
	pthread_mutex_lock(&s->lock);
	r = sv_map_loaded(&s->map, need, entries);
	if (r == 0)
		load_siblings(s, need, &in);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; s->host && i < in.count; i++) {
		key->place = in.place[i];
		sv_host_offer(s->host, key, data + (in.place[i] - in.from));
	}
	return r;
}

int sv_fault(struct sv_store *s, const struct sv_need *need)
{
	struct sv_host_key key = {.place = sv_entry_place(need->entry)};
	uint64_t segment = key.place / s->anchor.segment_bytes;
	uint64_t entries[SV_PAGE_ENTRIES];
	struct sv_scratch *scratch;
	int r;

	if (need->entry == SV_ENTRY_LOST)
		return -EIO;
	pthread_mutex_lock(&s->lock);
	if (segment < s->segs.count) {
		key.generation = s->segs.v[segment].usage.generation;
		key.lineage = s->segs.v[segment].usage.lineage;
	}
	pthread_mutex_unlock(&s->lock);
	scratch = sv_scratch_get(s);
	if (fault_cached(s, need, &key, scratch, entries)) {
		pthread_mutex_lock(&s->lock);
		r = sv_map_loaded(&s->map, need, entries);
		pthread_mutex_unlock(&s->lock);
	} else {
		r = fault_stick(s, need, &key, scratch, entries);
	}
	sv_scratch_put(s, scratch);
	return r;
}

bool sv_device_answers(struct sv_store *s)
{
	struct sv_scratch *scratch = sv_scratch_get(s);
	uint8_t *data;
	int r = sv_read_raw(s, scratch, 0, SV_ANCHOR_BYTES, false, &data);

	sv_scratch_put(s, scratch);
	return r == 0;
}

int sv_fault_or_lose(struct sv_store *s, const struct sv_need *need)
{
	int r = sv_fault(s, need);

	if (r != -EIO || !sv_device_answers(s))
		return r;
	pthread_mutex_lock(&s->lock);
	r = sv_map_lose(&s->map, need);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* A unit lies within one segment of the log. */
static bool inside_log(const struct sv_store *s, uint64_t place, uint32_t stored_bytes)
{
	uint64_t segment = place / s->anchor.segment_bytes;

	return segment >= 2 && segment < s->segs.count &&
	       place % s->anchor.segment_bytes + stored_bytes <= s->anchor.segment_bytes;
}

static int apply_data(struct sv_store *s, const struct sv_record *rec, uint64_t place, uint64_t seq,
		      struct sv_need *need)
{
	uint64_t single = rec->blocks == 1 ? SV_ENTRY_SINGLE : 0;

	if (!inside_log(s, place, rec->stored_bytes))
		return -EBADMSG;
	for (unsigned i = 0; i < rec->blocks; i++) {
		uint64_t entry = sv_entry_make(place, i, rec->stored_bytes) | single;
		int r;

		if (rec->lba + i >= s->blocks)
			return -EBADMSG;
		r = sv_map_set(&s->map, &s->segs, rec->lba + i, entry, seq, need);
		if (r < 0)
			return r;
	}
	return 0;
}

/* "If the map still says P" (M1): block by block, since the guest may have rewritten some. */
static int apply_move(struct sv_store *s, const struct sv_record *rec, uint64_t seq,
		      struct sv_need *need)
{
	if (!inside_log(s, rec->new_place, rec->stored_bytes))
		return -EBADMSG;
	for (unsigned i = 0; i < rec->blocks; i++) {
		uint64_t from = sv_entry_make(rec->old_place, rec->old_index + i, 16);
		uint64_t to = sv_entry_make(rec->new_place, rec->new_index + i, rec->stored_bytes);
		uint64_t now;
		int r;

		if (rec->lba + i >= s->blocks)
			return -EBADMSG;
		r = sv_map_get(&s->map, rec->lba + i, &now, need);
		if (r == 0 && now && now != SV_ENTRY_LOST && sv_entry_same_block(now, from))
			r = sv_map_set(&s->map, &s->segs, rec->lba + i, to, seq, need);
		if (r < 0)
			return r;
	}
	return 0;
}

static void apply_segment(struct sv_store *s, const struct sv_record *rec, uint64_t seq)
{
	struct sv_seg *seg = &s->segs.v[rec->segment];

	if (!s->recovering)
		return; /* it was begun when it was opened */
	seg->usage.generation = rec->generation;
	seg->usage.last_seq = sv_max64(seg->usage.last_seq, seq);
	seg->usage.used_bytes = s->anchor.segment_bytes; /* how much of it is not known */
	seg->usage.flags = SV_SEG_CONVERTED;
	seg->usage.lineage = 0;
	sv_segs_touch(&s->segs, rec->segment);
}

/* One record, with the lock held. `place`: of its unit, for DATA. */
static int apply_one(struct sv_store *s, const struct sv_record *rec, uint64_t place, uint64_t seq,
		     uint64_t *progress, struct sv_need *need)
{
	switch (rec->type) {
	case SV_REC_DATA:
		return apply_data(s, rec, place, seq, need);
	case SV_REC_BORN:
		return apply_data(s, rec, rec->new_place, seq, need);
	case SV_REC_MOVE:
		if (rec->new_place / s->anchor.segment_bytes >= s->segs.count)
			return -EBADMSG;
		return apply_move(s, rec, seq, need);
	case SV_REC_DISCARD:
		if (*progress < rec->lba)
			*progress = rec->lba;
		return sv_map_clear(&s->map, &s->segs, *progress,
				    sv_min64(rec->lba + rec->count, s->blocks), seq, progress,
				    need);
	case SV_REC_SEGMENT:
		if (rec->segment < 2 || rec->segment >= s->segs.count)
			return -EBADMSG;
		apply_segment(s, rec, seq);
		return 0;
	default:
		return 0;
	}
}

int sv_apply_rest(struct sv_store *s)
{
	struct sv_head head;
	int r;

	if (!s->unapplied_bytes)
		return 0;
	r = sv_head_decode(s->unapplied, s->unapplied_bytes, &head);
	assert(r == 0); /* it was encoded when it was appended */
	r = sv_apply_part(s, &head, s->unapplied);
	if (r == 0)
		s->unapplied_bytes = 0;
	return r;
}

int sv_append_and_apply(struct sv_store *s, struct sv_part *part, uint32_t flags)
{
	int r = sv_part_append(s, part, flags);

	if (r < 0)
		return r;
	assert(!s->unapplied_bytes && part->payload_offset <= s->unapplied_room);
	memcpy(s->unapplied, part->buf, part->payload_offset);
	s->unapplied_bytes = part->payload_offset;
	return sv_apply_rest(s);
}

/* Replay writes nothing, so it cannot clean a map that is full of dirty pages: it gets more room
 * (recover.c, R4). */
static int more_pages(struct sv_store *s)
{
	uint64_t now_bytes = s->map.pool_pages * sizeof(struct sv_page);
	int r;

	if (now_bytes >= REPLAY_RAM_MOST_BYTES) {
		sv_why("what was written since the last root needs more than %u MiB of memory to "
		       "be found again",
		       REPLAY_RAM_MOST_BYTES >> 20);
		return -ENOMEM;
	}
	pthread_mutex_lock(&s->lock);
	r = sv_map_resize(&s->map, 2 * now_bytes);
	pthread_mutex_unlock(&s->lock);
	return r < 0 ? r : -EAGAIN;
}

int sv_apply_part(struct sv_store *s, const struct sv_head *head, const uint8_t *buf)
{
	struct sv_cur c = sv_cur_over((uint8_t *)buf + SV_HEAD_FIXED_BYTES,
				      head->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	uint64_t place = sv_place(s, head->segment, head->offset) + head->payload_offset;
	int r = 0;

	for (uint32_t i = 0; i < head->records && r == 0; i++) {
		struct sv_record rec;
		struct sv_need need;
		uint64_t progress = 0;

		r = sv_record_get(&c, &rec);
		if (r < 0)
			break;
		do {
			pthread_mutex_lock(&s->lock);
			r = apply_one(s, &rec, place, head->seq, &progress, &need);
			pthread_mutex_unlock(&s->lock);
			if (r == -EAGAIN && (r = sv_fault_or_lose(s, &need)) == 0)
				r = -EAGAIN;
			if (r == -ENOBUFS && s->recovering)
				r = more_pages(s);
		} while (r == -EAGAIN);
		if (rec.type == SV_REC_DATA || rec.type == SV_REC_PAGE)
			place += rec.stored_bytes;
	}
	return r;
}
