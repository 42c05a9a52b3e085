/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * verify.c: does what is in memory and on the device agree? Cleaning and commit are held
 * throughout, so that map and anchors stand still; guests can read and fill the open batch
 * meanwhile. What lies beside the map is looked at in verify_log.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "verify.h"

static const char data_bad[] = "data does not verify";
static const char data_lost[] = "nobody knows what it held: it gives EIO until it is written";

struct check {
	struct sv_store *s;
	bool deep;
	sv_check_report *report;
	void *ctx;
	void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
	uint64_t *live; /* a count for each segment, to be compared */
	uint64_t mapped;
	bool lost;	       /* pages or entries: what was under them cannot be counted */
	struct sv_finding bad; /* a run of bad blocks that may go on; len 0: none */
};

static void tell(struct check *c, enum sv_finding_kind kind, const char *what, uint64_t off,
		 uint64_t len, uint64_t place)
{
	struct sv_finding f = {.kind = kind,
			       .what = what,
			       .off_bytes = off,
			       .len_bytes = len,
			       .place_bytes = place};

	c->report(c->ctx, &f);
}

static void tell_bad(struct check *c)
{
	if (c->bad.len_bytes)
		c->report(c->ctx, &c->bad);
	c->bad.len_bytes = 0;
}

/* One more bad block: it makes the run longer or begins one. */
static void bad_block(struct check *c, enum sv_finding_kind kind, uint64_t lba, uint64_t place)
{
	uint64_t off = lba * SV_BLOCK_BYTES;
	uint64_t len = sv_min64(SV_BLOCK_BYTES, c->s->size_bytes - off);

	if (c->bad.len_bytes && c->bad.off_bytes + c->bad.len_bytes == off && c->bad.kind == kind) {
		c->bad.len_bytes += len;
		return;
	}
	tell_bad(c);
	c->bad = (struct sv_finding){.kind = kind,
				     .what = kind == SV_FOUND_LOST ? data_lost : data_bad,
				     .off_bytes = off,
				     .len_bytes = len,
				     .place_bytes = place};
}

static void lost_block(struct check *c, uint64_t lba)
{
	c->lost = true;
	bad_block(c, SV_FOUND_LOST, lba, UINT64_MAX);
}

static int read_leaf(struct check *c, uint64_t first, const uint64_t *entries)
{
	uint8_t buf[SV_PAGE_ENTRIES * SV_BLOCK_BYTES];
	unsigned blocks = (unsigned)sv_min64(SV_PAGE_ENTRIES, c->s->blocks - first);
	int r = sv_read_stick(c->s, buf, first, blocks);

	for (unsigned i = 0; r == -EIO && i < blocks; i++) {
		bool stored = entries[i] && entries[i] != SV_ENTRY_LOST;
		int one = stored ? sv_read_stick(c->s, buf, first + i, 1) : 0;

		if (one == -EIO)
			bad_block(c, SV_FOUND_DATA, first + i, sv_entry_place(entries[i]));
		else if (one < 0)
			return one;
	}
	return r == -EIO ? 0 : r;
}

static bool add_live(struct check *c, uint64_t entry)
{
	uint64_t segment = sv_entry_place(entry) / c->s->anchor.segment_bytes;

	if (segment < 2 || segment >= c->s->segs.count)
		return false;
	c->live[segment] += sv_entry_stored(entry);
	return true;
}

static int check_leaf(struct check *c, uint64_t index, const uint64_t *entries)
{
	uint64_t first = index * SV_PAGE_ENTRIES;

	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		bool counted = false;

		if (entries[i] == SV_ENTRY_LOST)
			lost_block(c, first + i);
		if (!entries[i] || entries[i] == SV_ENTRY_LOST)
			continue;
		if (first + i >= c->s->blocks)
			tell(c, SV_FOUND_MAP, "the map has a block behind the end of the disk", 0,
			     0, sv_entry_place(entries[i]));
		c->mapped++;
		for (unsigned k = 0; k < i; k++)
			counted |= sv_entry_same_unit(entries[k], entries[i]);
		if (!counted && !add_live(c, entries[i]))
			tell(c, SV_FOUND_MAP, "the map points outside the log",
			     (first + i) * SV_BLOCK_BYTES, SV_BLOCK_BYTES,
			     sv_entry_place(entries[i]));
	}
	if (c->progress)
		c->progress(c->ctx, c->mapped * SV_BLOCK_BYTES, c->s->map.mapped * SV_BLOCK_BYTES);
	return c->deep ? read_leaf(c, first, entries) : 0;
}

int sv_copy_page(struct sv_store *s, unsigned level, uint64_t index, struct sv_page *ret)
{
	struct sv_page *page;
	struct sv_need need;
	int r;

	do {
		pthread_mutex_lock(&s->lock);
		r = sv_map_page(&s->map, level, index, false, &page, &need);
		if (r == 0)
			*ret = page ? *page : (struct sv_page){0};
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN && (r = sv_fault(s, &need)) == 0)
			r = -EAGAIN;
	} while (r == -EAGAIN);
	return r;
}

/* A page whose place the page above it names as `entry`. */
static int check_page(struct check *c, unsigned level, uint64_t index, uint64_t entry)
{
	uint64_t span = SV_BLOCK_BYTES * SV_PAGE_ENTRIES;
	bool lost = entry == SV_ENTRY_LOST;
	uint64_t place = lost ? UINT64_MAX : sv_entry_place(entry);
	struct sv_page page;
	int r = sv_copy_page(c->s, level, index, &page);

	/* The size of what lies under it. */
	for (unsigned l = 0; l < level; l++)
		span *= SV_PAGE_ENTRIES;
	if (index * span >= c->s->size_bytes) {
		tell(c, SV_FOUND_MAP, "the map has a page behind the end of the disk", 0, 0,
		     UINT64_MAX);
		return 0;
	}
	/* 0: an empty tree; in the first segment: not written yet. */
	if (!lost && place >= c->s->anchor.segment_bytes && !add_live(c, entry))
		tell(c, SV_FOUND_MAP, "a page of the map lies outside the log", index * span, span,
		     place);
	if (r == -EIO) {
		c->lost = true;
		tell(c, lost ? SV_FOUND_LOST : SV_FOUND_MAP,
		     lost ? data_lost : "a page of the map does not verify", index * span,
		     sv_min64(span, c->s->size_bytes - index * span), place);
		return 0;
	}
	if (r < 0)
		return r;
	if (level == 0)
		return check_leaf(c, index, page.e);
	for (unsigned i = 0; r == 0 && i < SV_PAGE_ENTRIES; i++)
		if (page.e[i])
			r = check_page(c, level - 1, index * SV_PAGE_ENTRIES + i, page.e[i]);
	return r;
}

static void compare(struct check *c)
{
	const struct sv_segs *segs = &c->s->segs;

	for (uint64_t i = 2; i < segs->count; i++)
		if (c->live[i] != segs->v[i].usage.live_bytes)
			tell(c, SV_FOUND_COUNT, "a segment's live bytes are counted wrong", 0, 0,
			     i * c->s->anchor.segment_bytes);
	if (c->mapped != c->s->map.mapped)
		tell(c, SV_FOUND_COUNT, "the count of mapped blocks is wrong", 0, 0, UINT64_MAX);
}

int sv_store_check(struct sv_store *s, bool deep, sv_check_report *report, void *ctx,
		   void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes))
{
	struct check c = {.s = s, .deep = deep, .report = report, .ctx = ctx, .progress = progress};
	struct sv_verify log = {.s = s, .deep = deep, .report = report, .ctx = ctx};
	int r;

	log.live = c.live = calloc(s->segs.limit, sizeof(*c.live));
	if (!c.live)
		return -ENOMEM;
	pthread_mutex_lock(&s->cleaning);
	pthread_mutex_lock(&s->commit);
	r = check_page(&c, sv_map_top_level(&s->map), 0, s->map.top);
	tell_bad(&c);
	if (r == 0 && !c.lost)
		compare(&c);
	if (r == 0)
		r = sv_verify_log(&log);
	pthread_mutex_unlock(&s->commit);
	pthread_mutex_unlock(&s->cleaning);
	free(c.live);
	return r;
}
