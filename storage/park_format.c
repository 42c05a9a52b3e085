/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_format.c: encodes and decodes the stream of parked data. */
#include "park_format.h"

#include <errno.h>

#define MAGIC "SVparked"
#define VERSION 1u
#define BEFORE_KNOWN 1u
#define APART 1u
#define FLUSHED 2u

void sv_park_head_encode(const struct sv_park_head *h, uint8_t *buf)
{
	struct sv_cur c = sv_cur_over(buf, SV_PARK_HEAD_BYTES);

	memset(buf, 0, SV_PARK_HEAD_BYTES);
	sv_put_bytes(&c, MAGIC, 8);
	sv_put32(&c, VERSION);
	sv_put32(&c, h->before_known ? BEFORE_KNOWN : 0);
	sv_put64(&c, h->size_bytes);
	sv_put64(&c, h->epoch);
	sv_put64(&c, h->seq);
	sv_put64(&c, h->offset);
	sv_put64(&c, h->segments);
	sv_put64(&c, h->must_segments);
	sv_put32(&c, h->segment);
	sv_put32(&c, h->next);
	sv_put32(&c, h->after);
	sv_put32(&c, h->appends);
	sv_put64(&c, h->before_place);
	sv_put64(&c, h->before_seq);
	sv_put32(&c, h->before_next);
	sv_put32(&c, 0);
	sv_put_bytes(&c, h->hash, SV_HASH_BYTES);
	sv_put_bytes(&c, h->before_opening, SV_HASH_BYTES);
	sv_put_bytes(&c, h->before_hash, SV_HASH_BYTES);
	sv_anchor_encode(&h->anchor, buf + SV_PARK_HEAD_BYTES - SV_ANCHOR_BYTES);
}

static bool anchor_sane(const struct sv_anchor *a)
{
	uint32_t page = a->page_bytes;

	return page >= SV_PAGE_MIN_BYTES && page <= SV_PAGE_MAX_BYTES && (page & (page - 1)) == 0 &&
	       a->segment_bytes >= SV_SEGMENT_MIN_BYTES &&
	       a->segment_bytes <= SV_SEGMENT_MAX_BYTES && a->segment_bytes % page == 0 &&
	       a->lie_window_bytes <= SV_WINDOW_MAX_BYTES;
}

/* A place where a batch may lie. */
static bool place_sane(const struct sv_park_head *h, uint64_t place, uint32_t len_bytes)
{
	uint64_t segment = place / h->anchor.segment_bytes;

	return segment >= 2 && segment < h->segments && place % h->anchor.page_bytes == 0 &&
	       place % h->anchor.segment_bytes + len_bytes <= h->anchor.segment_bytes;
}

static bool head_sane(const struct sv_park_head *h)
{
	const uint64_t most = (UINT64_C(1) << 46) / h->anchor.segment_bytes; /* an entry's reach */
	const struct sv_link *root = &h->anchor.root;
	const uint64_t root_place =
		root->segment * (uint64_t)h->anchor.segment_bytes + root->offset;

	return h->size_bytes && h->size_bytes % 512 == 0 && h->size_bytes <= SV_MAX_DISK_BYTES &&
	       h->segments >= 4 && h->segments <= most && h->must_segments <= h->segments &&
	       h->segment >= 2 && h->segment < h->segments && h->next < h->segments &&
	       h->next >= 2 && h->after >= 2 && h->after < h->segments &&
	       h->offset <= h->anchor.segment_bytes && h->offset % h->anchor.page_bytes == 0 &&
	       place_sane(h, root_place, 0) &&
	       (!h->before_known ||
		(place_sane(h, h->before_place, 0) && h->before_next < h->segments));
}

int sv_park_head_decode(uint8_t *buf, struct sv_park_head *ret_head)
{
	struct sv_cur c = sv_cur_over(buf, SV_PARK_HEAD_BYTES);
	struct sv_park_head h;

	if (memcmp(sv_cur_take(&c, 8), MAGIC, 8) != 0)
		return -EBADMSG;
	if (sv_get32(&c) != VERSION)
		return -EPROTONOSUPPORT;
	h.before_known = sv_get32(&c) & BEFORE_KNOWN;
	h.size_bytes = sv_get64(&c);
	h.epoch = sv_get64(&c);
	h.seq = sv_get64(&c);
	h.offset = sv_get64(&c);
	h.segments = sv_get64(&c);
	h.must_segments = sv_get64(&c);
	h.segment = sv_get32(&c);
	h.next = sv_get32(&c);
	h.after = sv_get32(&c);
	h.appends = sv_get32(&c);
	h.before_place = sv_get64(&c);
	h.before_seq = sv_get64(&c);
	h.before_next = sv_get32(&c);
	(void)sv_get32(&c);
	sv_get_bytes(&c, h.hash, SV_HASH_BYTES);
	sv_get_bytes(&c, h.before_opening, SV_HASH_BYTES);
	sv_get_bytes(&c, h.before_hash, SV_HASH_BYTES);
	if (sv_anchor_decode(buf + SV_PARK_HEAD_BYTES - SV_ANCHOR_BYTES, &h.anchor) < 0 ||
	    !anchor_sane(&h.anchor) || !head_sane(&h))
		return -EBADMSG;
	*ret_head = h;
	return 0;
}

void sv_park_append_encode(const struct sv_park_append *a, uint8_t *buf)
{
	struct sv_cur c = sv_cur_over(buf, SV_PARK_APPEND_BYTES);

	memset(buf, 0, SV_PARK_APPEND_BYTES);
	sv_put64(&c, a->place);
	sv_put64(&c, a->seq);
	sv_put32(&c, a->len_bytes);
	sv_put32(&c, a->next_segment);
	sv_put32(&c, (a->apart ? APART : 0) | (a->flushed ? FLUSHED : 0));
	sv_put32(&c, 0);
	sv_put_bytes(&c, a->hash, SV_HASH_BYTES);
}

int sv_park_append_decode(uint8_t *buf, const struct sv_park_head *head,
			  struct sv_park_append *ret_append)
{
	struct sv_cur c = sv_cur_over(buf, SV_PARK_APPEND_BYTES);
	struct sv_park_append a;
	uint32_t flags;

	a.place = sv_get64(&c);
	a.seq = sv_get64(&c);
	a.len_bytes = sv_get32(&c);
	a.next_segment = sv_get32(&c);
	flags = sv_get32(&c);
	a.apart = flags & APART;
	a.flushed = flags & FLUSHED;
	(void)sv_get32(&c);
	sv_get_bytes(&c, a.hash, SV_HASH_BYTES);
	if (!a.len_bytes || a.len_bytes % head->anchor.page_bytes ||
	    a.next_segment >= head->segments || !place_sane(head, a.place, a.len_bytes))
		return -EBADMSG;
	*ret_append = a;
	return 0;
}

void sv_park_change_encode(const struct sv_park_change *change, uint8_t *buf)
{
	struct sv_cur c = sv_cur_over(buf, SV_PARK_CHANGE_BYTES);

	sv_put64(&c, change->kind);
	sv_put64(&c, change->lba);
	sv_put64(&c, change->end);
}

int sv_park_change_decode(uint8_t *buf, const struct sv_park_head *head,
			  struct sv_park_change *ret_change)
{
	const uint64_t blocks = (head->size_bytes + SV_BLOCK_BYTES - 1) / SV_BLOCK_BYTES;
	struct sv_cur c = sv_cur_over(buf, SV_PARK_CHANGE_BYTES);
	uint64_t kind = sv_get64(&c), lba = sv_get64(&c), end = sv_get64(&c);

	if (kind > SV_PARK_BLOCK || (kind != SV_PARK_END && (lba >= end || end > blocks)) ||
	    (kind == SV_PARK_BLOCK && end != lba + 1))
		return -EBADMSG;
	*ret_change = (struct sv_park_change){(enum sv_park_kind)kind, lba, end};
	return 0;
}
