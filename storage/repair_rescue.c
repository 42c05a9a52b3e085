/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * repair_rescue.c: what lies under a bad header is read while it can be, and written anew.
 *
 * Every block and page says by the map's entry where it is and by its own check that it is right,
 * so a header is not needed to read; but the cleaner goes from header to header.
 */
#include <errno.h>
#include <stdlib.h>

#include "stickvm/repair.h"
#include "store_impl.h"

struct rescue {
	struct sv_store *s;
	bool *bad; /* a segment has a bad header */
	bool any;
	uint64_t blocks;
};

static void on_finding(void *ctx, const struct sv_finding *f)
{
	struct rescue *x = ctx;

	if (f->kind != SV_FOUND_HEADER)
		return;
	x->bad[f->place_bytes / x->s->anchor.segment_bytes] = true;
	x->any = true;
}

static bool in_bad(const struct rescue *x, uint64_t entry)
{
	uint64_t segment = sv_entry_place(entry) / x->s->anchor.segment_bytes;

	return entry && entry != SV_ENTRY_LOST && segment < x->s->segs.count && x->bad[segment];
}

/* What reads is what was written, so writing it back changes nothing but the place. */
static int rewrite(struct rescue *x, uint64_t lba)
{
	uint64_t off = lba * SV_BLOCK_BYTES;
	size_t len = sv_min64(SV_BLOCK_BYTES, x->s->size_bytes - off);
	uint8_t block[SV_BLOCK_BYTES];
	int r = sv_store_read(x->s, block, len, off);

	if (r == 0)
		r = sv_store_write(x->s, block, len, off);
	x->blocks += r == 0;
	return r == -EIO ? 0 : r;
}

static void mark_page(struct rescue *x, unsigned level, uint64_t index)
{
	struct sv_page *page;
	struct sv_need need;

	pthread_mutex_lock(&x->s->lock);
	if (sv_map_page(&x->s->map, level, index, false, &page, &need) == 0 && page)
		sv_map_mark(&x->s->map, page);
	pthread_mutex_unlock(&x->s->lock);
}

static int rescue_page(struct rescue *x, unsigned level, uint64_t index)
{
	struct sv_page page;
	int r = sv_copy_page(x->s, level, index, &page);

	if (r < 0)
		return r == -EIO ? 0 : r;
	if (in_bad(x, page.where))
		mark_page(x, level, index);
	for (unsigned i = 0; r == 0 && i < SV_PAGE_ENTRIES; i++) {
		if (level && page.e[i])
			r = rescue_page(x, level - 1, index * SV_PAGE_ENTRIES + i);
		else if (!level && in_bad(x, page.e[i]))
			r = rewrite(x, index * SV_PAGE_ENTRIES + i);
	}
	return r;
}

int sv_store_rescue(struct sv_store *s, uint64_t *ret_blocks)
{
	struct rescue x = {.s = s, .bad = calloc(s->segs.limit, sizeof(bool))};
	int r;

	if (!x.bad)
		return -ENOMEM;
	r = sv_store_flush(s);
	if (r == 0)
		r = sv_store_check(s, true, on_finding, &x, NULL);
	if (r == 0 && x.any)
		r = rescue_page(&x, sv_map_top_level(&s->map), 0);
	if (r == 0)
		r = sv_store_flush(s);
	if (r == 0 && x.any)
		r = sv_store_checkpoint(s);
	free(x.bad);
	if (r == 0)
		*ret_blocks = x.blocks;
	return r;
}
