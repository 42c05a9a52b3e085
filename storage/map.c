/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * map.c: a radix tree of 512-byte pages, 64 entries each. Small pages are the point: a random
 * write dirties one leaf, and a checkpoint writes 528 bytes for it instead of 4 KiB.
 *
 * P1  What is not in memory is on the device where its parent's entry says.
 * P2  A dirty page is never evicted, and neither is the parent of a page that has no copy on the
 *     device: that parent is dirty and holds ENTRY_NEW, so that walks over parents see the child.
 *
 * A page that is damaged comes in with entries that say so (SV_ENTRY_LOST), so that the blocks
 * under it give -EIO until they are written or discarded, and the loss goes to the device with the
 * page. What the lost blocks took stays counted as live: it cannot be known.
 *
 * P3  A page whose entries are all 0 and that was emptied by sv_map_clear leaves the tree.
 */
#include "map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NONE UINT32_MAX
#define AHEAD_COUNTED 4096u   /* pages that came in beside others, halved then */
#define AHEAD_WORTH 8u	      /* one in so many must be asked for */
#define ENTRY_NEW UINT64_C(1) /* lies in the first anchor: no unit ever does */

static uint32_t bucket_of(const struct sv_map *m, unsigned level, uint64_t index)
{
	uint64_t h = (index ^ (uint64_t)level << 56) * UINT64_C(0x9E3779B97F4A7C15);

	return (uint32_t)(h >> 32) & m->bucket_mask;
}

int sv_map_init(struct sv_map *m, uint64_t blocks, uint64_t ram_bytes)
{
	uint64_t pages = sv_max64(ram_bytes / sizeof(struct sv_page), 64);
	uint32_t buckets = 64;
	uint64_t span = SV_PAGE_ENTRIES;

	*m = (struct sv_map){.blocks = blocks, .free_head = NONE, .levels = 1};
	for (; span < blocks; span *= SV_PAGE_ENTRIES)
		m->levels++;
	m->pool_pages = (uint32_t)sv_min64(pages, NONE - 1);
	while (buckets < m->pool_pages)
		buckets *= 2;
	m->bucket_mask = buckets - 1;
	m->pool = mmap(NULL, m->pool_pages * sizeof(struct sv_page), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	m->buckets = malloc(buckets * sizeof(uint32_t));
	if (m->pool == MAP_FAILED || !m->buckets) {
		m->pool = m->pool == MAP_FAILED ? NULL : m->pool;
		sv_map_free(m);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < buckets; i++)
		m->buckets[i] = NONE;
	return 0;
}

void sv_map_free(struct sv_map *m)
{
	if (m->pool)
		munmap(m->pool, m->pool_pages * sizeof(struct sv_page));
	free(m->buckets);
	*m = (struct sv_map){0};
}

struct sv_page *sv_map_peek(const struct sv_map *m, unsigned level, uint64_t index)
{
	uint32_t i = m->buckets[bucket_of(m, level, index)];

	while (i != NONE && (m->pool[i].index != index || m->pool[i].level != level))
		i = m->pool[i].hash_next;
	return i == NONE ? NULL : &m->pool[i];
}

static void unhash(struct sv_map *m, struct sv_page *p)
{
	uint32_t *link = &m->buckets[bucket_of(m, p->level, p->index)];

	while (&m->pool[*link] != p)
		link = &m->pool[*link].hash_next;
	*link = p->hash_next;
}

static void page_free(struct sv_map *m, struct sv_page *p)
{
	unhash(m, p);
	m->dirty_pages -= p->dirty;
	p->used = p->dirty = false;
	p->hash_next = m->free_head;
	m->free_head = (uint32_t)(p - m->pool);
}

static struct sv_page *page_take(struct sv_map *m)
{
	struct sv_page *p;

	if (m->free_head == NONE && m->fresh == m->pool_pages) {
		for (uint64_t n = 0; n < 2 * (uint64_t)m->pool_pages; n++) {
			p = &m->pool[m->hand];
			m->hand = (m->hand + 1) % m->pool_pages;
			if (!p->dirty && !p->recent) {
				page_free(m, p);
				break;
			}
			p->recent = false;
		}
	}
	if (m->free_head == NONE)
		return m->fresh == m->pool_pages ? NULL : &m->pool[m->fresh++];
	p = &m->pool[m->free_head];
	m->free_head = p->hash_next;
	return p;
}

static struct sv_page *page_new(struct sv_map *m, unsigned level, uint64_t index, uint64_t where)
{
	struct sv_page *p = page_take(m);
	uint32_t *bucket = &m->buckets[bucket_of(m, level, index)];

	if (!p)
		return NULL;
	*p = (struct sv_page){.index = index,
			      .where = where,
			      .level = (uint8_t)level,
			      .used = true,
			      .recent = true,
			      .hash_next = *bucket};
	*bucket = (uint32_t)(p - m->pool);
	return p;
}

/* Dirty pages first: of the clean ones as many as there is room for. */
static int copy_pages(struct sv_map *to, const struct sv_map *from, bool dirty)
{
	for (uint32_t i = 0; i < from->fresh; i++) {
		const struct sv_page *p = &from->pool[i];
		struct sv_page *copy;

		if (!p->used || p->dirty != dirty)
			continue;
		if (to->fresh == to->pool_pages)
			return dirty ? -ENOBUFS : 0;
		copy = page_new(to, p->level, p->index, p->where);
		assert(copy); /* there was room */
		memcpy(copy->e, p->e, sizeof(copy->e));
		if (dirty)
			sv_map_mark(to, copy);
	}
	return 0;
}

int sv_map_resize(struct sv_map *m, uint64_t ram_bytes)
{
	struct sv_map other;
	int r = sv_map_init(&other, m->blocks, ram_bytes);

	if (r < 0)
		return r;
	other.mapped = m->mapped;
	other.top = m->top;
	r = copy_pages(&other, m, true); /* P2 */
	if (r == 0)
		r = copy_pages(&other, m, false);
	sv_map_free(r == 0 ? m : &other);
	if (r == 0)
		*m = other;
	return r;
}

void sv_map_mark(struct sv_map *m, struct sv_page *p)
{
	m->dirty_pages += !p->dirty;
	p->dirty = true;
}

/* A page that exists nowhere yet; the parent is in memory (P2). */
static int page_create(struct sv_map *m, unsigned level, uint64_t index, struct sv_page **ret_page)
{
	struct sv_page *p = page_new(m, level, index, 0);
	struct sv_page *parent;

	if (!p)
		return -ENOBUFS;
	sv_map_mark(m, p);
	if (level < sv_map_top_level(m)) {
		parent = sv_map_peek(m, level + 1, index / SV_PAGE_ENTRIES);
		parent->e[index % SV_PAGE_ENTRIES] = ENTRY_NEW;
		sv_map_mark(m, parent);
	}
	*ret_page = p;
	return 0;
}

int sv_map_page(struct sv_map *m, unsigned level, uint64_t index, bool create,
		struct sv_page **ret_page, struct sv_need *need)
{
	struct sv_page *p = sv_map_peek(m, level, index);
	uint64_t entry = m->top;
	int r;

	if (p) {
		p->recent = true;
		m->ahead_used += p->ahead;
		p->ahead = false;
		*ret_page = p;
		return 0;
	}
	if (level < sv_map_top_level(m)) {
		struct sv_page *parent;

		r = sv_map_page(m, level + 1, index / SV_PAGE_ENTRIES, create, &parent, need);
		if (r < 0)
			return r;
		entry = parent ? parent->e[index % SV_PAGE_ENTRIES] : 0;
		if (parent && !entry && create)
			sv_map_mark(m, parent); /* keeps it while the child is made */
	}
	if (entry) {
		assert(entry != ENTRY_NEW); /* P2 */
		*need = (struct sv_need){.level = level, .index = index, .entry = entry};
		return -EAGAIN;
	}
	if (create)
		return page_create(m, level, index, ret_page);
	*ret_page = NULL;
	return 0;
}

int sv_map_get(struct sv_map *m, uint64_t lba, uint64_t *ret_entry, struct sv_need *need)
{
	struct sv_page *p;
	int r = sv_map_page(m, 0, lba / SV_PAGE_ENTRIES, false, &p, need);

	if (r < 0)
		return r;
	*ret_entry = p ? p->e[lba % SV_PAGE_ENTRIES] : 0;
	return 0;
}

/* How many other entries of the leaf refer to the unit of `entry`, which is in `slot` or was. A
 * unit lies within one leaf; one of a single block is referred to from one slot only. */
static unsigned others(const struct sv_page *leaf, uint64_t entry, unsigned slot)
{
	unsigned from = slot > sv_entry_index(entry) ? slot - sv_entry_index(entry) : 0;
	unsigned count = 0;

	if (entry & SV_ENTRY_SINGLE)
		return 0;
	for (unsigned i = from; i < SV_PAGE_ENTRIES; i++)
		count += i != slot && sv_entry_same_unit(leaf->e[i], entry);
	return count;
}

/* A block more (less) of a unit, which counts while anything refers to it (G1). */
static void unit_change(struct sv_segs *segs, uint64_t entry, unsigned others_now, bool more,
			uint64_t seq)
{
	int64_t stored = sv_entry_stored(entry);

	if (!others_now)
		sv_segs_live(segs, sv_entry_place(entry), more ? stored : -stored, seq);
	sv_segs_slack(segs, sv_entry_place(entry), (uint32_t)stored, others_now + !more,
		      others_now + more);
}

/* Changes one entry of a leaf. */
static void entry_change(struct sv_map *m, struct sv_segs *segs, struct sv_page *leaf,
			 unsigned slot, uint64_t entry, uint64_t seq)
{
	uint64_t old = leaf->e[slot] == SV_ENTRY_LOST ? 0 : leaf->e[slot];

	leaf->e[slot] = entry;
	m->mapped += (entry != 0) - (uint64_t)(old != 0);
	sv_map_mark(m, leaf);
	if (entry && sv_entry_same_unit(old, entry))
		return;
	if (entry)
		unit_change(segs, entry, others(leaf, entry, slot), true, seq);
	if (old)
		unit_change(segs, old, others(leaf, old, slot), false, seq);
}

void sv_leaf_slack(const struct sv_page *leaf, struct sv_segs *segs)
{
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		uint64_t entry = leaf->e[i];
		bool first = entry && entry != SV_ENTRY_LOST && !(entry & SV_ENTRY_SINGLE);

		for (unsigned j = 0; first && j < i; j++)
			first = !sv_entry_same_unit(leaf->e[j], entry);
		if (first)
			sv_segs_slack(segs, sv_entry_place(entry), sv_entry_stored(entry), 0,
				      others(leaf, entry, i) + 1);
	}
}

int sv_map_set(struct sv_map *m, struct sv_segs *segs, uint64_t lba, uint64_t entry, uint64_t seq,
	       struct sv_need *need)
{
	struct sv_page *leaf;
	int r = sv_map_page(m, 0, lba / SV_PAGE_ENTRIES, true, &leaf, need);

	if (r < 0)
		return r;
	assert(entry && lba < m->blocks);
	entry_change(m, segs, leaf, lba % SV_PAGE_ENTRIES, entry, seq);
	return 0;
}

bool sv_page_is_zero(const struct sv_page *p)
{
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++)
		if (p->e[i])
			return false;
	return true;
}

/* Takes an emptied page, and parents that this empties, out of the tree (P3). Parents that are
 * not in memory stay for the checkpoint to find. */
static void page_prune(struct sv_map *m, struct sv_segs *segs, struct sv_page *p, uint64_t seq)
{
	while (p && sv_page_is_zero(p)) {
		struct sv_page *parent = NULL;

		if (p->level < sv_map_top_level(m)) {
			parent = sv_map_peek(m, p->level + 1u, p->index / SV_PAGE_ENTRIES);
			if (!parent)
				return;
			parent->e[p->index % SV_PAGE_ENTRIES] = 0;
			sv_map_mark(m, parent);
		} else {
			m->top = 0;
		}
		if (p->where)
			sv_segs_live(segs, sv_entry_place(p->where), -(int64_t)SV_PAGE_UNIT_BYTES,
				     seq);
		page_free(m, p);
		p = parent;
	}
}

int sv_map_clear(struct sv_map *m, struct sv_segs *segs, uint64_t lba, uint64_t end, uint64_t seq,
		 uint64_t *ret_lba, struct sv_need *need)
{
	int r = 0;

	while (lba < end) {
		struct sv_page *leaf;
		uint64_t stop;

		r = sv_map_next(m, lba, &lba, need);
		if (r < 0 || lba >= end)
			break;
		r = sv_map_page(m, 0, lba / SV_PAGE_ENTRIES, false, &leaf, need);
		if (r < 0)
			break;
		stop = sv_min64(end, (lba / SV_PAGE_ENTRIES + 1) * SV_PAGE_ENTRIES);
		for (; lba < stop; lba++)
			if (leaf && leaf->e[lba % SV_PAGE_ENTRIES])
				entry_change(m, segs, leaf, lba % SV_PAGE_ENTRIES, 0, seq);
		if (leaf)
			page_prune(m, segs, leaf, seq);
	}
	*ret_lba = r < 0 ? sv_min64(lba, end) : end;
	return r;
}

/* Blocks under one entry of a page on `level`. */
static uint64_t span_of(unsigned level)
{
	return UINT64_C(1) << (6 * level);
}

int sv_map_next(struct sv_map *m, uint64_t lba, uint64_t *ret_lba, struct sv_need *need)
{
	unsigned level = sv_map_top_level(m);

	while (lba < m->blocks) {
		struct sv_page *p;
		uint64_t span = span_of(level);
		int r = sv_map_page(m, level, lba / span / SV_PAGE_ENTRIES, false, &p, need);
		unsigned slot = (unsigned)(lba / span % SV_PAGE_ENTRIES);

		if (r < 0)
			return r;
		if (level == 0 && p)
			break;
		while (p && slot < SV_PAGE_ENTRIES && !p->e[slot]) {
			slot++;
			lba = (lba / span + 1) * span;
		}
		if (p && slot < SV_PAGE_ENTRIES) {
			level--;
			continue;
		}
		if (!p)
			lba = (lba / span / SV_PAGE_ENTRIES + 1) * span * SV_PAGE_ENTRIES;
		level = sv_map_top_level(m);
	}
	*ret_lba = sv_min64(lba, m->blocks);
	return 0;
}

int sv_map_lose(struct sv_map *m, const struct sv_need *need)
{
	uint64_t entries[SV_PAGE_ENTRIES];

	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		const struct sv_page *child = NULL;

		if (need->level)
			child = sv_map_peek(m, need->level - 1, need->index * SV_PAGE_ENTRIES + i);
		entries[i] = SV_ENTRY_LOST;
		if (child)
			entries[i] = child->where ? child->where : ENTRY_NEW;
	}
	return sv_map_loaded(m, need, entries);
}

int sv_map_loaded(struct sv_map *m, const struct sv_need *need, const uint64_t *entries)
{
	uint64_t where = need->entry == SV_ENTRY_LOST ? 0 : need->entry;
	struct sv_page *p;

	if (sv_map_peek(m, need->level, need->index))
		return 0;
	if (need->level == sv_map_top_level(m)) {
		if (m->top != need->entry)
			return 0;
	} else {
		p = sv_map_peek(m, need->level + 1, need->index / SV_PAGE_ENTRIES);
		if (!p || p->e[need->index % SV_PAGE_ENTRIES] != need->entry)
			return 0;
		p->recent = true;
	}
	p = page_new(m, need->level, need->index, where);
	if (!p)
		return -ENOBUFS;
	memcpy(p->e, entries, sizeof(p->e));
	return 0;
}

void sv_map_beside(struct sv_map *m, unsigned level, uint64_t index)
{
	struct sv_page *p = sv_map_peek(m, level, index);

	if (!p)
		return;
	p->recent = false;
	p->ahead = true;
	if (++m->ahead_loaded > AHEAD_COUNTED) {
		m->ahead_loaded /= 2;
		m->ahead_used /= 2;
	}
}

bool sv_map_ahead_pays(const struct sv_map *m)
{
	return m->ahead_loaded < AHEAD_COUNTED / 8 ||
	       m->ahead_used >= m->ahead_loaded / AHEAD_WORTH;
}

void sv_map_written(struct sv_map *m, struct sv_segs *segs, struct sv_page *p, uint64_t entry,
		    uint64_t seq)
{
	if (p->where)
		sv_segs_live(segs, sv_entry_place(p->where), -(int64_t)SV_PAGE_UNIT_BYTES, seq);
	if (entry)
		sv_segs_live(segs, sv_entry_place(entry), SV_PAGE_UNIT_BYTES, seq);
	if (p->level == sv_map_top_level(m)) {
		m->top = entry;
	} else {
		struct sv_page *parent = sv_map_peek(m, p->level + 1u, p->index / SV_PAGE_ENTRIES);

		assert(parent); /* P1 */
		parent->e[p->index % SV_PAGE_ENTRIES] = entry;
		sv_map_mark(m, parent);
	}
	p->where = entry;
	m->dirty_pages -= p->dirty;
	p->dirty = false;
	if (!entry)
		page_free(m, p); /* P3: an empty page has no place in the tree */
}
