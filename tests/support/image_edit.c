/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image_edit.c: a store as an array of bytes: loaded, looked through, damaged, made right again. */
#include "image_edit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "digest.h"
#include "unit.h"

/* Where an anchor names headers by hash: FORMAT.md. */
#define ANCHOR_ROOT_HASH_AT 128u
#define ANCHOR_OPENING_HASH_AT 176u
#define ANCHOR_BEFORE_OPENING_AT 192u

#define FILE_BYTES_MAX (16u << 20)
#define ZSTD_LEVEL 19

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

/* ---- files ---- */

static uint8_t *read_file(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes;

	if (file == NULL)
		return NULL;
	bytes = must(malloc(FILE_BYTES_MAX));
	*ret_len = fread(bytes, 1, FILE_BYTES_MAX, file);
	fclose(file);
	return bytes;
}

void image_look(struct store_image *image)
{
	struct sv_anchor a;

	image->segment_bytes = image->page_bytes = 4096;
	if (sv_anchor_decode(image->bytes, &a) == 0) {
		image->segment_bytes = a.segment_bytes;
		image->page_bytes = a.page_bytes;
	}
}

void image_zeros(uint64_t len_bytes, struct store_image *ret_image)
{
	*ret_image = (struct store_image){.len_bytes = len_bytes};
	ret_image->bytes = must(calloc(1, len_bytes));
	image_look(ret_image);
}

void image_from(const uint8_t *bytes, uint64_t len_bytes, struct store_image *ret_image)
{
	image_zeros(len_bytes, ret_image);
	memcpy(ret_image->bytes, bytes, len_bytes);
	image_look(ret_image);
}

void image_copy(const struct store_image *from, struct store_image *ret_image)
{
	image_from(from->bytes, from->len_bytes, ret_image);
}

bool image_load(const char *path, struct store_image *ret_image)
{
	struct store_image image = {NULL, 0, 0, 0};
	size_t packed_len = 0;
	uint8_t *packed = read_file(path, &packed_len);
	unsigned long long len;

	if (packed == NULL)
		return false;
	len = ZSTD_getFrameContentSize(packed, packed_len);
	if (len < (1u << 30) && len >= SV_ANCHOR_BYTES) {
		image.bytes = must(malloc(len));
		image.len_bytes = ZSTD_decompress(image.bytes, len, packed, packed_len);
	}
	free(packed);
	if (image.bytes == NULL || image.len_bytes != len) {
		free(image.bytes);
		return false;
	}
	image_look(&image);
	*ret_image = image;
	return true;
}

bool image_save(const struct store_image *image, const char *path)
{
	size_t room = ZSTD_compressBound(image->len_bytes);
	uint8_t *packed = must(malloc(room));
	size_t len = ZSTD_compress(packed, room, image->bytes, image->len_bytes, ZSTD_LEVEL);
	FILE *file = fopen(path, "wb");
	bool good = !ZSTD_isError(len) && file != NULL && fwrite(packed, 1, len, file) == len;

	if (file != NULL)
		good = fclose(file) == 0 && good;
	free(packed);
	return good;
}

void store_image_free(struct store_image *image)
{
	free(image->bytes);
	*image = (struct store_image){NULL, 0, 0, 0};
}

/* ---- the device ---- */

struct image_dev {
	struct sv_dev dev;
	struct store_image *image;
};

static uint8_t *bytes_of(struct sv_dev *dev, size_t len_bytes, uint64_t off_bytes)
{
	struct store_image *image = ((struct image_dev *)dev)->image;

	assert(off_bytes <= image->len_bytes && len_bytes <= image->len_bytes - off_bytes);
	return image->bytes + off_bytes;
}

static int image_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	memcpy(buf, bytes_of(dev, len_bytes, off_bytes), len_bytes);
	return 0;
}

static int image_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	memcpy(bytes_of(dev, len_bytes, off_bytes), buf, len_bytes);
	return 0;
}

static int image_flush(struct sv_dev *dev)
{
	(void)dev;
	return 0;
}

static int image_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	memset(bytes_of(dev, len_bytes, off_bytes), 0, len_bytes);
	return 0;
}

static int image_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	return size_bytes <= ((struct image_dev *)dev)->image->len_bytes ? 0 : -ENOSPC;
}

static int image_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	uint64_t len_bytes = ((struct image_dev *)dev)->image->len_bytes;

	*ret_geometry = (struct sv_geometry){
		.size_bytes = len_bytes, .max_bytes = len_bytes, .sector_bytes = 512};
	return 0;
}

static void image_close(struct sv_dev *dev)
{
	free(dev);
}

static const struct sv_dev_ops image_ops = {
	.read = image_read,
	.write = image_write,
	.flush = image_flush,
	.discard = image_discard,
	.grow = image_grow,
	.geometry = image_geometry,
	.close = image_close,
};

struct sv_dev *image_dev(struct store_image *image)
{
	struct image_dev *d = must(calloc(1, sizeof(*d)));

	d->dev = (struct sv_dev){.ops = &image_ops, .kind = "image"};
	d->image = image;
	return &d->dev;
}

/* ---- looking ---- */

static uint64_t anchor_place(const struct store_image *image, unsigned which)
{
	return (uint64_t)which * image->segment_bytes;
}

struct sv_anchor image_anchor(const struct store_image *image, unsigned which)
{
	struct sv_anchor a;

	if (sv_anchor_decode(image->bytes + anchor_place(image, which), &a) < 0)
		abort();
	return a;
}

static bool batch_at(const struct store_image *image, uint64_t place, struct edit_batch *ret_batch)
{
	ret_batch->place = place;
	return place < image->len_bytes &&
	       sv_head_decode(image->bytes + place, image->len_bytes - place, &ret_batch->head) ==
		       0 &&
	       (uint64_t)ret_batch->head.segment * image->segment_bytes + ret_batch->head.offset ==
		       place;
}

static bool follows(const struct edit_batch *next, const struct edit_batch *last)
{
	return next->head.seq == last->head.seq + 1 && !(next->head.flags & SV_BATCH_APART) &&
	       memcmp(next->head.prev_hash, last->head.hash, SV_HASH_BYTES) == 0;
}

unsigned image_chain(const struct store_image *image, struct edit_batch *ret_batches, unsigned most)
{
	struct sv_anchor a = image_anchor(image, 0);
	uint64_t place = (uint64_t)a.root.segment * image->segment_bytes + a.root.offset;
	unsigned count = 1;

	if (!batch_at(image, place, &ret_batches[0]))
		abort();
	while (count < most) {
		const struct edit_batch *last = &ret_batches[count - 1];
		uint64_t behind = last->place + last->head.total_bytes;
		const uint64_t at[] = {behind, behind + SV_GAP_PAGES * image->page_bytes,
				       (uint64_t)last->head.next_segment * image->segment_bytes};
		struct edit_batch *next = &ret_batches[count];
		unsigned i = 0;

		while (i < 3 && !(batch_at(image, at[i], next) && follows(next, last)))
			i++;
		if (i == 3)
			break;
		count++;
	}
	return count;
}

unsigned image_batches(const struct store_image *image, struct edit_batch *ret_batches,
		       unsigned most)
{
	unsigned count = 0;

	for (uint64_t at = 2 * (uint64_t)image->segment_bytes;
	     at < image->len_bytes && count < most; at += image->page_bytes)
		count += batch_at(image, at, &ret_batches[count]);
	return count;
}

bool image_record(const struct store_image *image, const struct edit_batch *batch, unsigned index,
		  struct edit_unit *ret_unit)
{
	const struct sv_head *h = &batch->head;
	struct sv_cur c = sv_cur_over(image->bytes + batch->place + SV_HEAD_FIXED_BYTES,
				      h->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);

	ret_unit->place = batch->place + h->payload_offset;
	for (unsigned i = 0; i < h->records; i++) {
		if (sv_record_get(&c, &ret_unit->rec) < 0)
			return false;
		if (i == index)
			return true;
		if (ret_unit->rec.type == SV_REC_DATA || ret_unit->rec.type == SV_REC_PAGE)
			ret_unit->place += ret_unit->rec.stored_bytes;
	}
	return false;
}

/* ---- damaging ---- */

void image_flip(struct store_image *image, uint64_t at)
{
	assert(at < image->len_bytes);
	image->bytes[at] ^= 0x10;
}

static void hash_behind(uint8_t *bytes, size_t len)
{
	sv_hash128(bytes, len, bytes + len);
}

void image_put_anchor(struct store_image *image, unsigned which, const struct sv_anchor *anchor,
		      uint32_t version)
{
	uint8_t *bytes = image->bytes + anchor_place(image, which);

	sv_anchor_encode(anchor, bytes);
	bytes[8] = (uint8_t)version;
	hash_behind(bytes, SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES);
}

/* ---- making right ---- */

/* Hashes (of headers) and checks (of units) that changed: what named the old one is to name the
 * new. */
struct rename {
	uint8_t old[SV_HASH_BYTES], new[SV_HASH_BYTES];
};
struct recheck {
	uint64_t old, new;
};
struct right {
	struct store_image *image;
	struct rename *renames;
	struct recheck *rechecks;
	unsigned renamed, rechecked, recheck_room;
};

static void apply_renames(const struct right *r, uint8_t *hash)
{
	for (unsigned i = r->renamed; i-- > 0;)
		if (memcmp(hash, r->renames[i].old, SV_HASH_BYTES) == 0) {
			memcpy(hash, r->renames[i].new, SV_HASH_BYTES);
			return;
		}
}

static void note_check(struct right *r, uint64_t old, uint64_t new)
{
	if (old == new)
		return;
	if (r->rechecked == r->recheck_room) {
		r->recheck_room = r->recheck_room ? 2 * r->recheck_room : 64;
		r->rechecks = must(realloc(r->rechecks, r->recheck_room * sizeof(*r->rechecks)));
	}
	r->rechecks[r->rechecked++] = (struct recheck){old, new};
}

/* Seals a unit anew where its head still fits the record that leads to it. */
static void seal_unit(struct right *r, const struct sv_head *h, const struct edit_unit *u)
{
	uint8_t *bytes = r->image->bytes + u->place;
	struct sv_binding bind = {.store_id = h->store_id,
				  .generation = h->generation,
				  .place = u->place,
				  .subject = u->rec.lba};
	struct sv_cur c = sv_cur_over(bytes, SV_UNIT_HEAD_BYTES);
	struct sv_unit unit = {0};
	uint64_t old = sv_get64(&c);

	if (u->rec.type == SV_REC_PAGE)
		bind.subject = sv_page_subject(u->rec.tree, u->rec.level, u->rec.lba);
	unit.payload_bytes = sv_get32(&c);
	unit.blocks = sv_get8(&c);
	unit.codec = sv_get8(&c);
	unit.kind = sv_get16(&c);
	if (unit.payload_bytes > u->rec.stored_bytes - SV_UNIT_HEAD_BYTES ||
	    sv_unit_stored(unit.payload_bytes) != u->rec.stored_bytes)
		return;
	sv_unit_seal(&bind, &unit, bytes);
	note_check(r, old, unit.check);
}

static void seal_units(struct right *r, uint64_t place, struct sv_head *h)
{
	struct edit_batch batch = {*h, place};
	uint64_t end = sv_min64(place + h->payload_offset + h->payload_bytes, r->image->len_bytes);
	struct edit_unit u;

	h->payload_digest = 0;
	for (unsigned i = 0; image_record(r->image, &batch, i, &u); i++) {
		if (u.rec.type != SV_REC_DATA && u.rec.type != SV_REC_PAGE)
			continue;
		if (u.place + u.rec.stored_bytes > end)
			return;
		seal_unit(r, h, &u);
		h->payload_digest = sv_hash64(r->image->bytes + u.place, 8, h->payload_digest);
	}
}

/* Moves name their target's check: those of units that were sealed anew. */
static void recheck_moves(const struct right *r, uint8_t *bytes, const struct sv_head *h)
{
	struct sv_cur c = sv_cur_over(bytes + SV_HEAD_FIXED_BYTES,
				      h->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);

	for (uint32_t i = 0; i < h->records; i++) {
		struct sv_cur before = c;
		struct sv_record rec;

		if (sv_record_get(&c, &rec) < 0)
			return;
		for (unsigned k = 0;
		     (rec.type == SV_REC_MOVE || rec.type == SV_REC_BORN) && k < r->rechecked; k++)
			if (rec.check == r->rechecks[k].old) {
				rec.check = r->rechecks[k].new;
				sv_record_put(&before, &rec);
				break;
			}
	}
}

static void make_batch_right(struct right *r, const struct edit_batch *batch, bool units)
{
	uint8_t *bytes = r->image->bytes + batch->place;
	uint64_t room = r->image->len_bytes - batch->place;
	struct sv_head h;

	if (batch->place >= r->image->len_bytes || sv_head_peek(bytes, room, &h) < 0 ||
	    h.head_bytes > room)
		return;
	apply_renames(r, h.prev_hash);
	if (units)
		seal_units(r, batch->place, &h);
	recheck_moves(r, bytes, &h);
	sv_head_encode(&h, bytes);
	memcpy(r->renames[r->renamed].old, batch->head.hash, SV_HASH_BYTES);
	memcpy(r->renames[r->renamed++].new, h.hash, SV_HASH_BYTES);
}

/* Survivors come before the moves that name them, and the chain in its order. */
static int by_age(const void *a, const void *b)
{
	const struct edit_batch *x = a, *y = b;
	bool x_apart = x->head.flags & SV_BATCH_APART, y_apart = y->head.flags & SV_BATCH_APART;

	if (x_apart != y_apart)
		return x_apart ? -1 : 1;
	if (x->head.seq != y->head.seq)
		return x->head.seq < y->head.seq ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

void image_make_right(struct store_image *image, const struct edit_batch *batches, unsigned count,
		      bool units)
{
	struct edit_batch *sorted = must(malloc((count + 1) * sizeof(*sorted)));
	struct right r = {.image = image};

	r.renames = must(calloc(count + 1, sizeof(*r.renames)));
	memcpy(sorted, batches, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), by_age);
	for (unsigned i = 0; i < count; i++)
		make_batch_right(&r, &sorted[i], units);
	for (unsigned which = 0; which < 2; which++) {
		uint8_t *bytes = image->bytes + anchor_place(image, which);

		if (anchor_place(image, which) + SV_ANCHOR_BYTES > image->len_bytes)
			break;
		apply_renames(&r, bytes + ANCHOR_ROOT_HASH_AT);
		apply_renames(&r, bytes + ANCHOR_OPENING_HASH_AT);
		apply_renames(&r, bytes + ANCHOR_BEFORE_OPENING_AT);
		hash_behind(bytes, SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES);
	}
	free(sorted);
	free(r.renames);
	free(r.rechecks);
}
