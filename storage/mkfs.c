/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mkfs.c: an empty store: one batch with a root in the third segment, and two anchors. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "store_impl.h"

#define DEFAULT_SEGMENT_BYTES (8u << 20)
#define LEAST_SEGMENT_BYTES (1u << 20)
#define LEAST_SEGMENTS 128u
#define DEFAULT_PAGE_BYTES (16u << 10)
#define DEFAULT_LIE_WINDOW_BYTES (64u << 20)
#define DEFAULT_CHECKPOINT_BYTES (128u << 20)
#define LARGE_CHECKPOINT_BYTES (256u << 20)
#define FIRST_SEGMENT 2u

static bool is_zero_id(const uint8_t *id)
{
	for (unsigned i = 0; i < SV_STORE_ID_BYTES; i++)
		if (id[i])
			return false;
	return true;
}

/* A small place is cut into smaller pieces, or the reserve, which is so many of them, would take
 * it all; never below the erase unit. */
static uint32_t default_segment(const struct sv_geometry *geo)
{
	uint32_t unit = geo->erase_bytes ? geo->erase_bytes : LEAST_SEGMENT_BYTES;
	uint32_t segment = unit * ((DEFAULT_SEGMENT_BYTES + unit - 1) / unit);

	while (geo->max_bytes / segment < LEAST_SEGMENTS && segment / 2 % unit == 0 &&
	       segment / 2 >= LEAST_SEGMENT_BYTES)
		segment /= 2;
	return segment;
}

/* The longer the way between two roots, the fewer pages of the map are written, and the more waits
 * for the gate: twice the usual where that is no more than a sixty-fourth of the place. */
static uint64_t default_checkpoint(uint64_t max_bytes, uint32_t segment_bytes)
{
	uint64_t usual = sv_min64(DEFAULT_CHECKPOINT_BYTES, max_bytes / 32);
	uint64_t large = sv_min64(LARGE_CHECKPOINT_BYTES, max_bytes / 64);

	return sv_max64(sv_max64(usual, large), segment_bytes);
}

static int choose(const struct sv_format_params *p, const struct sv_geometry *geo,
		  struct sv_anchor *a)
{
	uint64_t small = geo->max_bytes / 32;

	*a = (struct sv_anchor){.segment_bytes = p->segment_bytes, .page_bytes = p->page_bytes};
	if (!a->page_bytes)
		a->page_bytes = geo->page_bytes ? geo->page_bytes : DEFAULT_PAGE_BYTES;
	if (!a->segment_bytes)
		a->segment_bytes = default_segment(geo);
	/* On a small place what waits for the gate must stay a small part of it. */
	a->lie_window_bytes = p->lie_window_bytes ? p->lie_window_bytes
						  : sv_min64(DEFAULT_LIE_WINDOW_BYTES, small);
	a->checkpoint_bytes = p->checkpoint_bytes
				      ? p->checkpoint_bytes
				      : default_checkpoint(geo->max_bytes, a->segment_bytes);
	if (p->size_bytes % 512 || p->size_bytes < SV_MIN_DISK_BYTES ||
	    p->size_bytes > SV_MAX_DISK_BYTES || a->page_bytes < SV_PAGE_MIN_BYTES ||
	    a->page_bytes > SV_PAGE_MAX_BYTES || a->page_bytes & (a->page_bytes - 1) ||
	    a->segment_bytes < SV_SEGMENT_MIN_BYTES || a->segment_bytes % a->page_bytes ||
	    a->segment_bytes > SV_SEGMENT_MAX_BYTES || a->lie_window_bytes > SV_WINDOW_MAX_BYTES ||
	    a->checkpoint_bytes > SV_WINDOW_MAX_BYTES)
		return -EINVAL;
	memcpy(a->store_id, p->id, SV_STORE_ID_BYTES);
	if (is_zero_id(a->store_id) && getrandom(a->store_id, SV_STORE_ID_BYTES, 0) < 0)
		return -errno;
	a->created_s = sv_now_s();
	return 0;
}

/* The first batch: an empty disk, closed. */
static int first_batch(struct sv_dev *dev, const struct sv_format_params *p, struct sv_anchor *a,
		       uint8_t *buf)
{
	struct sv_record root = {.type = SV_REC_ROOT, .root.size_bytes = p->size_bytes};
	struct sv_head h = {.head_bytes = SV_HEAD_FIXED_BYTES + SV_REC_ROOT_BYTES + SV_HASH_BYTES,
			    .total_bytes = a->page_bytes,
			    .flags = SV_BATCH_ROOT | SV_BATCH_CLOSE,
			    .records = 1,
			    .seq = 1,
			    .time_s = a->created_s,
			    .segment = FIRST_SEGMENT,
			    .next_segment = FIRST_SEGMENT + 1,
			    .after_segment = FIRST_SEGMENT + 2,
			    .ledger = {.stick_written_bytes = a->page_bytes + 2 * SV_ANCHOR_BYTES,
				       .metadata_bytes = a->page_bytes + 2 * SV_ANCHOR_BYTES,
				       .batches = 1,
				       .first_used_s = a->created_s}};
	struct sv_cur c = sv_cur_over(buf + SV_HEAD_FIXED_BYTES, SV_REC_ROOT_BYTES);

	h.payload_offset = (uint32_t)sv_align_up(h.head_bytes, SV_GRAIN_BYTES);
	memcpy(h.store_id, a->store_id, SV_STORE_ID_BYTES);
	if (getrandom(&h.generation, sizeof(h.generation), 0) < 0)
		return -errno;
	memset(buf, 0, a->page_bytes);
	sv_record_put(&c, &root);
	sv_head_encode(&h, buf);
	a->root = (struct sv_link){.segment = FIRST_SEGMENT, .generation = h.generation, .seq = 1};
	memcpy(a->root.hash, h.hash, SV_HASH_BYTES);
	a->opening = a->root;
	return sv_dev_write(dev, buf, a->page_bytes, (uint64_t)FIRST_SEGMENT * a->segment_bytes);
}

/* Enough segments for the anchors, the head, the next two and a little more. */
static int first_growth(struct sv_dev *dev, const struct sv_anchor *a)
{
	struct sv_geometry geo;
	uint64_t want = (uint64_t)(FIRST_SEGMENT + 4) * a->segment_bytes;
	int r = sv_dev_geometry(dev, &geo);

	if (r < 0)
		return r;
	if (geo.max_bytes < want + (uint64_t)6 * a->segment_bytes)
		return -ENOSPC;
	return geo.size_bytes < want ? sv_dev_grow(dev, want) : 0;
}

/* An anchor of an earlier store would be found when the first of this one is damaged. */
static int wipe_old_anchors(struct sv_dev *dev, uint8_t *buf)
{
	struct sv_geometry geo;
	int r = sv_dev_geometry(dev, &geo);

	for (uint64_t at = 0; r == 0 && at <= SV_ANCHOR_SEARCH_END; at += SV_ANCHOR_SEARCH_STEP) {
		struct sv_anchor old;

		if (at + SV_ANCHOR_BYTES > geo.size_bytes)
			break;
		r = sv_dev_read(dev, buf, SV_ANCHOR_BYTES, at);
		if (r < 0 || sv_anchor_decode(buf, &old) == -EMEDIUMTYPE)
			continue;
		memset(buf, 0, SV_ANCHOR_BYTES);
		r = sv_dev_write(dev, buf, SV_ANCHOR_BYTES, at);
	}
	return r;
}

int sv_store_format(struct sv_dev *dev, const struct sv_format_params *params)
{
	struct sv_geometry geo;
	struct sv_anchor a;
	uint8_t *buf = NULL;
	int r = sv_dev_geometry(dev, &geo);

	if (r == 0)
		r = choose(params, &geo, &a);
	if (r == 0)
		r = first_growth(dev, &a);
	if (r == 0 && posix_memalign((void **)&buf, 4096, a.page_bytes))
		r = -ENOMEM;
	if (r == 0)
		r = wipe_old_anchors(dev, buf);
	if (r == 0)
		r = first_batch(dev, params, &a, buf);
	if (r == 0)
		r = sv_dev_flush(dev);
	for (unsigned i = 0; r == 0 && i < 2; i++) {
		a.anchor_seq = i + 1;
		sv_anchor_encode(&a, buf);
		r = sv_dev_write(dev, buf, SV_ANCHOR_BYTES, (uint64_t)i * a.segment_bytes);
		if (r == 0)
			r = sv_dev_flush(dev);
	}
	free(buf);
	return r;
}
