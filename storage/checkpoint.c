/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * checkpoint.c: roots in the chain, anchors beside it, and the gate that they open.
 *
 * K1  A root describes map and segment table after one batch, the same for all of it: commit is
 *     held from the first page to the root, and only commit changes the map.
 * K2  Pages are written from the leaves up, so a page is encoded after all it refers to has its
 *     place; the segment table comes last, since writing the map changes it. The table's own pages
 *     are counted apart (segs.h: self_live), or it could never be finished.
 * K3  An anchor names a root only after a flush behind that root and lie_window bytes more (R2).
 * K4  And only after lie_window bytes behind the first anchors that named the root before, or the
 *     gate would never open over sessions shorter than that (`named_log_bytes`).
 * K5  Where one anchor was damaged, it is made anew alone; the other stays until lie_window bytes
 *     lie behind that. A stick that lies may take back what mends the one while it tears the other.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define RECORDS_MAX 1024u
#define WHOLE_TABLE_PAGES 1024u
#define UNIT_REST_BYTES (128u << 10) /* of an erase unit: as good as full */

/* Pages of a part, to be told their places once the part is written. */
struct placed {
	struct sv_page *page[RECORDS_MAX];
	uint64_t entry[RECORDS_MAX];
	unsigned count;
};

static int by_index(const void *a, const void *b)
{
	const struct sv_page *x = *(struct sv_page *const *)a, *y = *(struct sv_page *const *)b;

	return x->index < y->index ? -1 : x->index > y->index;
}

/* The parent of a dirty page into memory; clears a page that is empty out of the tree. */
static int find_parent(struct sv_store *s, struct sv_page *page, bool *ret_gone)
{
	struct sv_page *parent;
	struct sv_need need;
	int r = 0;

	*ret_gone = false;
	if (page->level < sv_map_top_level(&s->map))
		do {
			pthread_mutex_lock(&s->lock);
			r = sv_map_page(&s->map, page->level + 1u, page->index / SV_PAGE_ENTRIES,
					true, &parent, &need);
			if (r == 0)
				sv_map_mark(&s->map, parent); /* stays in memory */
			pthread_mutex_unlock(&s->lock);
			if (r == -EAGAIN && (r = sv_fault_or_lose(s, &need)) == 0)
				r = -EAGAIN;
		} while (r == -EAGAIN);
	if (r < 0 || !sv_page_is_zero(page))
		return r;
	pthread_mutex_lock(&s->lock);
	sv_map_written(&s->map, &s->segs, page, 0, s->log.seq);
	pthread_mutex_unlock(&s->lock);
	*ret_gone = true;
	return 0;
}

static void put_page(struct sv_store *s, struct sv_part *part, enum sv_tree tree, unsigned level,
		     uint64_t index, const uint64_t *entries, uint64_t *ret_entry)
{
	struct sv_record rec = {
		.type = SV_REC_PAGE, .tree = (uint8_t)tree, .level = (uint8_t)level, .lba = index};
	struct sv_unit unit = {
		.kind = SV_UNIT_PAGE, .codec = SV_CODEC_NONE, .payload_bytes = SV_PAGE_BYTES};
	struct sv_cur c = sv_cur_over(sv_part_space(part) + SV_UNIT_HEAD_BYTES, SV_PAGE_BYTES);
	uint64_t place;

	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++)
		sv_put64(&c, entries[i]);
	place = sv_part_unit(s, part, &unit, sv_page_subject(tree, level, index),
			     &rec.stored_bytes);
	sv_part_record(part, &rec);
	*ret_entry = sv_entry_make(place, 0, rec.stored_bytes);
}

static unsigned most_records(const struct sv_store *s, uint64_t left)
{
	uint64_t most = sv_min64(RECORDS_MAX, s->anchor.segment_bytes / 8 / SV_REC_PAGE_BYTES);

	return (unsigned)sv_min64(left, most);
}

static int map_part(struct sv_store *s, struct sv_page **pages, uint64_t count, uint64_t *done,
		    struct placed *placed)
{
	unsigned most = most_records(s, count - *done);
	struct sv_part part;
	int r = sv_part_begin(s, &part, most * SV_REC_PAGE_BYTES, most * SV_PAGE_UNIT_BYTES);

	placed->count = 0;
	for (; r == 0 && *done < count && placed->count < most; ++*done) {
		struct sv_page *page = pages[*done];
		bool gone;

		if (!sv_part_fits(&part, SV_REC_PAGE_BYTES, SV_PAGE_UNIT_BYTES))
			break;
		r = find_parent(s, page, &gone);
		if (r < 0 || gone)
			continue;
		placed->page[placed->count] = page;
		put_page(s, &part, SV_TREE_MAP, page->level, page->index, page->e,
			 &placed->entry[placed->count++]);
	}
	if (r == 0 && placed->count)
		r = sv_part_append(s, &part, 0);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < placed->count; i++)
		sv_map_written(&s->map, &s->segs, placed->page[i], placed->entry[i], s->log.seq);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static int write_level(struct sv_store *s, unsigned level, struct sv_page **pages,
		       struct placed *placed)
{
	uint64_t count = 0, done = 0;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->map.fresh; i++) {
		struct sv_page *p = &s->map.pool[i];

		if (p->used && p->dirty && p->level == level)
			pages[count++] = p;
	}
	pthread_mutex_unlock(&s->lock);
	qsort(pages, count, sizeof(pages[0]), by_index);
	while (r == 0 && done < count)
		r = map_part(s, pages, count, &done, placed);
	return r;
}

static int write_map(struct sv_store *s)
{
	struct sv_page **pages = malloc(s->map.pool_pages * sizeof(pages[0]));
	struct placed *placed = malloc(sizeof(*placed));
	int r = pages && placed ? 0 : -ENOMEM;

	for (unsigned level = 0; r == 0 && level < s->map.levels; level++)
		r = write_level(s, level, pages, placed);
	free(pages);
	free(placed);
	return r;
}

/* The entries of one page of the segment table: usages on level 0, else places of pages. */
static void usage_page(const struct sv_segs *segs, unsigned level, uint64_t index,
		       uint64_t *ret_entries)
{
	uint8_t raw[SV_PAGE_BYTES] = {0};
	struct sv_cur c = sv_cur_over(raw, sizeof(raw));
	uint64_t per_page = level ? SV_PAGE_ENTRIES : SV_USAGE_PER_PAGE;

	for (uint64_t i = index * per_page; i < (index + 1) * per_page; i++) {
		if (level)
			sv_put64(&c, i < segs->level[level - 1].pages
					     ? segs->level[level - 1].where[i]
					     : 0);
		else if (i < segs->limit)
			sv_usage_put(&c, &segs->v[i].usage);
	}
	c = sv_cur_over(raw, sizeof(raw));
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++)
		ret_entries[i] = sv_get64(&c);
}

static bool is_usage_dirty(struct sv_store *s, unsigned level, uint64_t page)
{
	bool dirty;

	pthread_mutex_lock(&s->lock);
	dirty = s->segs.level[level].dirty[page];
	pthread_mutex_unlock(&s->lock);
	return dirty;
}

static int usage_part(struct sv_store *s, unsigned level, uint64_t pages, uint64_t *next,
		      struct placed *placed)
{
	uint64_t entries[SV_PAGE_ENTRIES], index[RECORDS_MAX];
	unsigned most = most_records(s, pages - *next);
	struct sv_part part;
	int r = sv_part_begin(s, &part, most * SV_REC_PAGE_BYTES, most * SV_PAGE_UNIT_BYTES);

	placed->count = 0;
	for (; r == 0 && *next < pages && placed->count < most; ++*next) {
		if (!is_usage_dirty(s, level, *next))
			continue;
		if (!sv_part_fits(&part, SV_REC_PAGE_BYTES, SV_PAGE_UNIT_BYTES))
			break;
		pthread_mutex_lock(&s->lock);
		usage_page(&s->segs, level, *next, entries);
		s->segs.level[level].dirty[*next] = 0;
		pthread_mutex_unlock(&s->lock);
		index[placed->count] = *next;
		put_page(s, &part, SV_TREE_USAGE, level, *next, entries,
			 &placed->entry[placed->count++]);
	}
	if (r == 0 && placed->count)
		r = sv_part_append(s, &part, 0);
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < placed->count; i++) {
		uint64_t *where = &s->segs.level[level].where[index[i]];

		if (r < 0) {
			s->segs.level[level].dirty[index[i]] = 1;
			continue;
		}
		if (*where)
			sv_segs_self(&s->segs, sv_entry_place(*where), -(int64_t)SV_PAGE_UNIT_BYTES,
				     s->log.seq);
		sv_segs_self(&s->segs, sv_entry_place(placed->entry[i]), SV_PAGE_UNIT_BYTES,
			     s->log.seq);
		*where = placed->entry[i];
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int write_usage(struct sv_store *s)
{
	struct placed *placed = malloc(sizeof(*placed));
	unsigned levels = s->segs.levels;
	int r = placed ? 0 : -ENOMEM;

	/* A table of moderate size is always written whole: opening reads it in one sweep. */
	pthread_mutex_lock(&s->lock);
	if (sv_segs_pages(s->segs.count, 0) <= WHOLE_TABLE_PAGES)
		for (uint64_t i = 0; i < s->segs.count; i += SV_USAGE_PER_PAGE)
			sv_segs_touch(&s->segs, i);
	pthread_mutex_unlock(&s->lock);
	for (unsigned level = 0; r == 0 && level < levels; level++) {
		uint64_t pages = sv_segs_pages(s->segs.count, level);
		uint64_t next = 0;

		/* A page that was rewritten on the level below makes its parent dirty again. */
		while (r == 0 && next < pages)
			r = usage_part(s, level, pages, &next, placed);
	}
	free(placed);
	return r;
}

void sv_marks_add(struct sv_marks *marks, const struct sv_link *root, uint64_t log_bytes)
{
	if (marks->count == SV_MARKS) {
		/* The oldest are of no use but for a gate that newer ones will open soon. */
		memmove(&marks->v[1], &marks->v[2], (SV_MARKS - 2) * sizeof(marks->v[0]));
		marks->count--;
	}
	marks->v[marks->count++] = (struct sv_mark){.root = *root, .log_bytes = log_bytes};
}

/* What was written meanwhile may have made them longer than what there is room for. */
static void put_history(struct sv_store *s, struct sv_part *part, uint32_t boot_bytes)
{
	pthread_mutex_lock(&s->lock);
	sv_history_fit(&s->history, (uint32_t)(part->rec.len - part->rec.off) - boot_bytes);
	sv_history_put(&part->rec, &s->history);
	part->records++;
	boot_bytes = sv_boot_record_bytes(&s->boot, boot_bytes);
	if (boot_bytes) {
		sv_boot_put(&part->rec, &s->boot, boot_bytes);
		part->records++;
	}
	pthread_mutex_unlock(&s->lock);
	assert(!part->rec.bad);
}

static int write_root(struct sv_store *s, uint64_t as_of_seq, uint64_t count)
{
	struct sv_record rec = {.type = SV_REC_ROOT};
	unsigned top = sv_segs_levels(count) - 1;
	uint32_t history_bytes, boot_bytes;
	struct sv_part part;
	struct sv_link link;
	int r;

	pthread_mutex_lock(&s->lock);
	history_bytes = sv_history_fit(&s->history, sv_history_limit(s));
	boot_bytes = sv_boot_record_bytes(&s->boot, sv_boot_limit(s));
	pthread_mutex_unlock(&s->lock);
	r = sv_part_begin(s, &part, SV_REC_ROOT_BYTES + history_bytes + boot_bytes, 0);
	if (r < 0)
		return r;
	rec.root = (struct sv_root){.size_bytes = s->size_bytes,
				    .map_top = s->map.top,
				    .usage_top = s->segs.level[top].where[0],
				    .segments = count,
				    .mapped_blocks = s->map.mapped,
				    .as_of_seq = as_of_seq};
	sv_part_record(&part, &rec);
	put_history(s, &part, boot_bytes);
	r = sv_part_append(s, &part, SV_BATCH_ROOT);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	sv_log_link(s, &link, s->log.last_bytes);
	sv_marks_add(&s->roots, &link, s->ledger.stick_written_bytes);
	s->root_log_bytes = s->ledger.stick_written_bytes;
	s->ledger.checkpoints++;
	sv_update_gate(s);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

int sv_checkpoint_locked(struct sv_store *s)
{
	uint64_t as_of_seq = s->log.seq;
	uint64_t count;
	int r;

	if (s->sealing)
		return -EBUSY; /* K1: not inside a group */
	r = sv_apply_rest(s);  /* K1 */
	if (r == 0)
		r = write_map(s);
	pthread_mutex_lock(&s->lock);
	count = s->segs.count; /* growth in between belongs to the next root */
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		r = write_usage(s);
	return r < 0 ? r : write_root(s, as_of_seq, count);
}

/* The newest mark with lie_window bytes behind it; NULL if there is none. */
static const struct sv_mark *settled(const struct sv_store *s, const struct sv_marks *marks)
{
	for (uint32_t i = marks->count; i-- > 0;)
		if (marks->v[i].log_bytes + s->anchor.lie_window_bytes <=
		    s->ledger.stick_written_bytes - s->log.unflushed_bytes)
			return &marks->v[i];
	return NULL;
}

void sv_update_gate(struct sv_store *s)
{
	const struct sv_mark *pair = settled(s, &s->anchors);

	if (pair && pair->root.seq > s->segs.gate_seq)
		sv_segs_set_gate(&s->segs, pair->root.seq);
}

/* K5: whether the anchor that was not damaged must stay as it is. With lock held. */
static bool is_lone(const struct sv_store *s)
{
	return s->lone_anchor &&
	       (!s->lone_bytes || s->lone_bytes + s->anchor.lie_window_bytes >
					  s->ledger.stick_written_bytes - s->log.unflushed_bytes);
}

/* K4. With lock held. */
static const struct sv_mark *next_root(const struct sv_store *s)
{
	const struct sv_mark *root = settled(s, &s->roots);
	const struct sv_mark *pair = settled(s, &s->anchors);

	if (is_lone(s) || !root || root->root.seq <= s->anchor.root.seq)
		return NULL;
	return pair && pair->root.seq == s->anchor.root.seq ? root : NULL;
}

bool sv_anchor_due(struct sv_store *s)
{
	bool due;

	pthread_mutex_lock(&s->lock);
	due = next_root(s) != NULL;
	pthread_mutex_unlock(&s->lock);
	return due;
}

static int write_anchor(struct sv_store *s, const struct sv_anchor *a, uint64_t place, uint8_t *buf)
{
	int r;

	sv_anchor_encode(a, buf);
	r = sv_log_write_held(s, buf, SV_ANCHOR_BYTES, place);
	if (r == 0)
		r = sv_log_flush(s);
	return r;
}

int sv_write_anchors(struct sv_store *s)
{
	struct sv_anchor a = s->anchor;
	uint64_t second = s->anchor.segment_bytes;
	const struct sv_mark *root;
	uint8_t *buf = NULL;
	int r = posix_memalign((void **)&buf, 4096, SV_ANCHOR_BYTES) ? -ENOMEM : 0;
	bool lone;

	pthread_mutex_lock(&s->lock);
	lone = is_lone(s);
	root = next_root(s);
	if (root)
		a.root = root->root;
	a.anchor_seq++;
	a.epoch = s->log.epoch;
	a.opening = s->log.opening;
	memcpy(a.before_opening, s->log.before_opening, SV_HASH_BYTES);
	a.gate_seq = s->segs.gate_seq;
	sv_born_mark(s, &a, lone);
	s->ledger.metadata_bytes += (lone ? 1 : 2) * SV_ANCHOR_BYTES;
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		r = sv_log_flush(s);	 /* K3 */
	pthread_mutex_lock(&s->writing); /* L6 */
	pthread_mutex_lock(&s->lock);
	a.log_bytes = s->ledger.stick_written_bytes;
	if (root)
		a.named_log_bytes = a.log_bytes;
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		r = write_anchor(s, &a, s->second_first ? second : 0, buf);
	if (r == 0 && !lone)
		r = write_anchor(s, &a, s->second_first ? 0 : second, buf);
	pthread_mutex_unlock(&s->writing);
	free(buf);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	s->lone_anchor = lone;
	if (lone && !s->lone_bytes)
		s->lone_bytes = s->ledger.stick_written_bytes;
	/* Not the whole of it: what identifies the store is read without the lock. */
	s->anchor.root = a.root;
	s->anchor.anchor_seq = a.anchor_seq;
	s->anchor.log_bytes = a.log_bytes;
	s->anchor.named_log_bytes = a.named_log_bytes;
	s->anchor.gate_seq = a.gate_seq;
	sv_born_marked(s, &a, lone);
	s->anchor.epoch = a.epoch;
	s->anchor.opening = a.opening;
	memcpy(s->anchor.before_opening, a.before_opening, SV_HASH_BYTES);
	sv_marks_add(&s->anchors, &a.root, a.named_log_bytes);
	sv_update_gate(s);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* Writing elsewhere costs a stick with one open erase unit a merge of the unit that the head is in,
 * unless that is full, or as good as. With lock held. */
bool sv_is_at_unit_end(const struct sv_store *s)
{
	uint64_t unit = s->geo.erase_bytes ? s->geo.erase_bytes : s->anchor.segment_bytes;

	return (unit - s->log.offset % unit) % unit <= UNIT_REST_BYTES;
}

/* The anchors can wait for that while less than two segments followed since they were due. */
static bool is_moment(struct sv_store *s)
{
	const struct sv_mark *root;
	bool moment = false;

	pthread_mutex_lock(&s->lock);
	root = next_root(s);
	if (root)
		moment = sv_is_at_unit_end(s) ||
			 s->ledger.stick_written_bytes - s->log.unflushed_bytes -
					 s->anchor.lie_window_bytes >=
				 root->log_bytes + 2 * s->anchor.segment_bytes;
	pthread_mutex_unlock(&s->lock);
	return moment;
}

int sv_renew_anchors(struct sv_store *s, bool now)
{
	int r = 0;

	if (now ? !sv_anchor_due(s) : !is_moment(s))
		return 0;
	pthread_mutex_lock(&s->cleaning);
	if (sv_anchor_due(s))
		r = sv_write_anchors(s);
	pthread_mutex_unlock(&s->cleaning);
	return r;
}

void sv_try_anchors(struct sv_store *s)
{
	if (!is_moment(s) || pthread_mutex_trylock(&s->cleaning) != 0)
		return;
	if (sv_anchor_due(s))
		(void)sv_write_anchors(s); /* it stays due */
	pthread_mutex_unlock(&s->cleaning);
}
