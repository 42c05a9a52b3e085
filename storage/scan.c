/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scan.c: every batch header on a device, found without anchors.
 *
 * N1  A header counts if and only if its own hash is right, or is right with one bit turned back:
 *     that other bytes have that hash by chance does not happen (2^-128, times some 10^5 tries).
 * N2  It is of the store if and only if it has the store's id and lies where it says.
 */
#include "scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (1u << 20)
#define STEP_BYTES 4096u /* the smallest page */
#define MEND_MOST 512u	 /* headers tried: each costs up to a second */

/* ---- one page ---- */

static void note(const struct sv_head *h, uint64_t place, uint32_t bad_bit, struct sv_found *f)
{
	*f = (struct sv_found){.place = place,
			       .seq = h->seq,
			       .epoch = h->epoch,
			       .flushed_seq = h->flushed_seq,
			       .log_bytes = h->log_bytes,
			       .generation = h->generation,
			       .time_s = h->time_s,
			       .checkpoints = h->ledger.checkpoints,
			       .segment = h->segment,
			       .offset = h->offset,
			       .next_segment = h->next_segment,
			       .head_bytes = h->head_bytes,
			       .payload_offset = h->payload_offset,
			       .payload_bytes = h->payload_bytes,
			       .total_bytes = h->total_bytes,
			       .flags = h->flags,
			       .records = h->records,
			       .bad_bit = bad_bit};
	memcpy(f->store_id, h->store_id, SV_STORE_ID_BYTES);
	memcpy(f->prev_hash, h->prev_hash, SV_HASH_BYTES);
	memcpy(f->hash, h->hash, SV_HASH_BYTES);
}

static int add(struct sv_scan *scan, const struct sv_head *h, uint64_t place, uint32_t bad_bit)
{
	if (scan->count == scan->capacity) {
		size_t more = scan->capacity ? scan->capacity * 2 : 256;
		void *v = realloc(scan->v, more * sizeof(*scan->v));

		if (!v)
			return -ENOMEM;
		scan->v = v;
		scan->capacity = more;
	}
	note(h, place, bad_bit, &scan->v[scan->count++]);
	return 0;
}

/* The magic, with one bad bit at most. */
static bool looks_like_head(const uint8_t *bytes)
{
	static const uint8_t magic[8] = {'s', 'v', 'B', 'A', 'T', 'C', 'H', '1'};
	int bits = 0;

	for (unsigned i = 0; i < sizeof(magic) && bits < 2; i++)
		bits += __builtin_popcount(bytes[i] ^ magic[i]);
	return bits < 2;
}

/* N1: the bit that is bad, plus one, and what the header says without it; 0: there is none. */
static uint32_t mend(uint8_t *bytes, size_t len, struct sv_head *ret_head)
{
	uint32_t bits = SV_HEAD_FIXED_BYTES * 8;
	struct sv_head h;

	if (sv_head_peek(bytes, len, &h) == 0 && h.head_bytes <= SV_HEAD_MAX_BYTES)
		bits = h.head_bytes * 8;
	for (uint32_t i = 0; i < bits && i / 8 < len; i++) {
		bool good;

		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		good = sv_head_decode(bytes, len, ret_head) == 0;
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		if (good)
			return i + 1;
	}
	return 0;
}

/* A buffer over what is read: [from, from + len) of the device. */
struct window {
	struct sv_dev *dev;
	const struct sv_geometry *geo;
	uint8_t *buf;
	uint64_t from;
	size_t len;
};

static int look_at(struct sv_scan *scan, struct window *w, size_t at)
{
	uint8_t *bytes = w->buf + at;
	struct sv_head h;
	uint32_t bad_bit;

	if (!looks_like_head(bytes))
		return 0;
	if (sv_head_decode(bytes, w->len - at, &h) == 0)
		return add(scan, &h, w->from + at, 0);
	if (scan->mended >= MEND_MOST)
		return 0;
	scan->mended++; /* tried */
	bad_bit = mend(bytes, w->len - at, &h);
	return bad_bit ? add(scan, &h, w->from + at, bad_bit) : 0;
}

/* ---- the device ---- */

static int read_around(struct sv_scan *scan, struct window *w)
{
	uint32_t step = w->geo->sector_bytes;

	for (size_t at = 0; at < w->len; at += step) {
		int r = sv_dev_read(w->dev, w->buf + at, step, w->from + at);

		if (r == -ENODEV)
			return r;
		if (r < 0) {
			memset(w->buf + at, 0, step);
			scan->unreadable_bytes += step;
		}
	}
	return 0;
}

static void note_written(struct sv_scan *scan, uint64_t place, const uint8_t *bytes)
{
	static const uint8_t zeros[STEP_BYTES];

	if (memcmp(bytes, zeros, STEP_BYTES) != 0)
		scan->written[place / SV_SCAN_GRAIN] = 1;
}

/* The window covers one chunk, and what a header at its end may need behind it. */
static int scan_chunk(struct sv_scan *scan, struct window *w, uint64_t size_bytes)
{
	uint64_t left = size_bytes - w->from;
	int r;

	w->len = sv_min64(left, CHUNK_BYTES + SV_HEAD_MAX_BYTES);
	r = sv_dev_read(w->dev, w->buf, w->len, w->from);
	if (r == -EIO)
		r = read_around(scan, w);
	for (size_t at = 0; r == 0 && at < sv_min64(left, CHUNK_BYTES); at += STEP_BYTES) {
		note_written(scan, w->from + at, w->buf + at);
		r = look_at(scan, w, at);
	}
	return r;
}

int sv_scan_run(struct sv_dev *dev, const struct sv_geometry *geo, sv_progress *progress, void *ctx,
		struct sv_scan *ret_scan)
{
	struct window w = {.dev = dev, .geo = geo};
	struct sv_scan scan = {.grains = geo->size_bytes / SV_SCAN_GRAIN + 1};
	uint64_t size = sv_align_down(geo->size_bytes, STEP_BYTES);
	int r = 0;

	scan.written = calloc(scan.grains, 1);
	if (!scan.written || posix_memalign((void **)&w.buf, 4096, CHUNK_BYTES + SV_HEAD_MAX_BYTES))
		r = -ENOMEM;
	for (; r == 0 && w.from < size; w.from += CHUNK_BYTES) {
		r = scan_chunk(&scan, &w, size);
		if (progress)
			progress(ctx, w.from, size);
	}
	free(w.buf);
	if (r < 0) {
		sv_scan_free(&scan);
		return r;
	}
	*ret_scan = scan;
	return 0;
}

void sv_scan_free(struct sv_scan *scan)
{
	free(scan->v);
	free(scan->written);
	*scan = (struct sv_scan){0};
}

int sv_scan_raw(struct sv_dev *dev, const struct sv_geometry *geo, const struct sv_found *f,
		uint8_t **ret_raw)
{
	size_t len = sv_align_up(f->head_bytes, sv_max64(geo->sector_bytes, 4096));
	uint32_t bit = f->bad_bit - 1;
	struct sv_head h;
	uint8_t *raw;
	int r;

	if (posix_memalign((void **)&raw, 4096, len))
		return -ENOMEM;
	r = sv_dev_read(dev, raw, sv_min64(len, geo->size_bytes - f->place), f->place);
	if (r == 0 && f->bad_bit)
		raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
	if (r == 0 &&
	    (sv_head_decode(raw, len, &h) < 0 || memcmp(h.hash, f->hash, SV_HASH_BYTES) != 0))
		r = -EIO; /* it was right a moment ago */
	if (r < 0) {
		free(raw);
		return r;
	}
	*ret_raw = raw;
	return 0;
}

/* ---- whose they are ---- */

/* The length of a segment that would put a header where it lies; 0: none. */
static uint32_t segment_bytes_of(const struct sv_found *f)
{
	uint64_t n;

	if (f->segment < 2 || f->place < f->offset || (f->place - f->offset) % f->segment)
		return 0;
	n = (f->place - f->offset) / f->segment;
	return n >= 65536 && n <= 1u << 30 && n % 4096 == 0 && f->offset < n ? (uint32_t)n : 0;
}

static bool is_of(const struct sv_found *f, const struct sv_identity *id)
{
	return memcmp(f->store_id, id->store_id, SV_STORE_ID_BYTES) == 0 &&
	       segment_bytes_of(f) == id->segment_bytes;
}

/* Without an anchor: whose newest header has the latest date. */
static int guess_id(const struct sv_scan *scan, struct sv_identity *id)
{
	const struct sv_found *newest = NULL;

	for (size_t i = 0; i < scan->count; i++)
		if (segment_bytes_of(&scan->v[i]) &&
		    (!newest || scan->v[i].time_s >= newest->time_s))
			newest = &scan->v[i];
	if (!newest)
		return -EMEDIUMTYPE;
	memcpy(id->store_id, newest->store_id, SV_STORE_ID_BYTES);
	id->segment_bytes = segment_bytes_of(newest);
	return 0;
}

static bool any_of(const struct sv_scan *scan, const struct sv_identity *id)
{
	for (size_t i = 0; i < scan->count; i++)
		if (is_of(&scan->v[i], id))
			return true;
	return false;
}

int sv_scan_identify(struct sv_scan *scan, struct sv_identity *id)
{
	uint32_t pages = 0;
	size_t kept = 0;

	if (!id->segment_bytes && id->id_known)
		for (size_t i = 0; i < scan->count && !id->segment_bytes; i++)
			if (memcmp(scan->v[i].store_id, id->store_id, SV_STORE_ID_BYTES) == 0)
				id->segment_bytes = segment_bytes_of(&scan->v[i]);
	if ((!id->segment_bytes || !any_of(scan, id)) && guess_id(scan, id) < 0)
		return -EMEDIUMTYPE;
	id->id_known = true;
	for (size_t i = 0; i < scan->count; i++)
		if (is_of(&scan->v[i], id)) {
			pages |= scan->v[i].offset | scan->v[i].total_bytes;
			scan->v[kept++] = scan->v[i];
		}
	scan->count = kept;
	/* The smallest that all batches agree with, not above the usual one. */
	if (!id->page_bytes)
		id->page_bytes = (uint32_t)sv_min64(pages & -pages, 16u << 10);
	return 0;
}
