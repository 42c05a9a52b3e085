/* SPDX-License-Identifier: GPL-2.0-or-later */
/* parked.c: fuzz target: the stream of a parked session, changed anywhere, read and given back. */
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "dev_crash.h"
#include "digest.h"
#include "fuzz.h"
#include "image_edit.h"
#include "park_format.h"
#include "prng.h"
#include "stickvm/park.h"

/*
 * An input is a list of changes to the stream of a session that was pulled:
 *
 *   options (1)  changes, each: kind (1)  which (1)  offset (2)  length (1)  bytes
 *
 * The anchor in the stream's head is made right again (but for option 1). What is then read is
 * given back to the stick as it was pulled (option 2: after another session), opened, and worked
 * on; and shown as a view, which is opened and read. Any error is good; where giving back is
 * refused before anything could be written, nothing was.
 */
enum kind { IN_HEAD, IN_APPEND, IN_CHANGE, IN_BYTES, CUT, KINDS };
enum option { LEAVE_WRONG = 1, GONE_ON = 2 };

#define MOST_CHANGES 32u
#define SEGMENT_BYTES (64u << 10)
#define PLACE_MOST_BYTES (16u << 20)
#define DISK_BYTES (1u << 20)
#define ANCHOR_AT (SV_PARK_HEAD_BYTES - SV_ANCHOR_BYTES)
#define HASHED_BYTES (SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES)

/* Where each append and each change begins in the stream. */
#define MOST_PARTS 256u
struct base {
	struct box stream;
	struct store_image pulled, gone_on;
	size_t append[MOST_PARTS], change[MOST_PARTS];
	unsigned appends, changes;
};

/* ---- the session ---- */

static int open_on(struct sv_dev *dev, bool read_only, struct sv_store **ret_store)
{
	struct sv_open_options opts = {.manual = true,
				       .read_only = read_only,
				       .batch_bytes = 64 << 10,
				       .map_ram_bytes = 256 << 10,
				       .host = "fuzz",
				       .seed = 7};
	int r = sv_store_open(dev, &opts, ret_store);

	fuzz_must(r <= 0);
	if (r < 0)
		sv_dev_close(dev);
	return r;
}

static void write_some(struct sv_store *store, uint64_t seed, unsigned count)
{
	static uint8_t buf[2 * SV_BLOCK_BYTES];
	struct prng rng = {.state = seed};
	struct sv_status status;

	sv_store_status(store, &status);
	for (unsigned i = 0; i < count; i++) {
		uint64_t blocks = status.size_bytes / SV_BLOCK_BYTES;
		uint64_t off = blocks > 2 ? prng_below(&rng, blocks - 2) * SV_BLOCK_BYTES : 0;

		prng_fill(&rng, buf, sizeof(buf));
		(void)sv_store_write(store, buf, blocks > 2 ? sizeof(buf) : 512, off);
		if (i % 4 == 0)
			(void)sv_store_flush(store);
	}
}

static void take_image(struct dev_crash *medium, struct store_image *ret_image)
{
	static _Alignas(4096) uint8_t buf[PLACE_MOST_BYTES];
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	struct sv_geometry geometry;

	fuzz_must(sv_dev_geometry(dev, &geometry) == 0);
	fuzz_must(sv_dev_read(dev, buf, geometry.size_bytes, 0) == 0);
	image_from(buf, geometry.size_bytes, ret_image);
	sv_dev_close(dev);
}

static struct sv_store *begin_session(struct dev_crash *medium)
{
	struct sv_format_params params = {.size_bytes = DISK_BYTES,
					  .segment_bytes = SEGMENT_BYTES,
					  .page_bytes = 4096,
					  .lie_window_bytes = 64 << 10,
					  .checkpoint_bytes = 128 << 10,
					  .id = {1}};
	struct sv_dev *dev = dev_crash_open(medium, NULL);
	struct sv_store *store;

	fuzz_must(sv_store_format(dev, &params) == 0);
	sv_dev_close(dev);
	fuzz_must(open_on(dev_crash_open(medium, NULL), false, &store) == 0);
	write_some(store, 3, 24);
	return store;
}

static void park(struct base *b)
{
	const struct sv_geometry geometry = {.size_bytes = 1 << 20,
					     .max_bytes = PLACE_MOST_BYTES,
					     .erase_bytes = SEGMENT_BYTES,
					     .page_bytes = 4096,
					     .sector_bytes = 512};
	const struct dev_crash_cut cut = {.when = DEV_CRASH_AFTER, .seed = 1};
	struct dev_crash *medium = dev_crash_create(&geometry);
	struct sv_store *store = begin_session(medium);

	dev_crash_power_off(medium, &cut);
	write_some(store, 4, 6);
	fuzz_must(sv_store_discard(store, 8192, 65536) == 0);
	write_some(store, 5, 1);
	fuzz_must(sv_store_park_begin(store) == 0);
	fuzz_must(sv_store_park(store, box_put, &b->stream) == 0);
	sv_store_abandon(store);
	take_image(medium, &b->pulled);
	fuzz_must(open_on(dev_crash_open(medium, NULL), false, &store) == 0);
	write_some(store, 6, 8);
	fuzz_must(sv_store_close(store) == 0);
	take_image(medium, &b->gone_on);
	dev_crash_destroy(medium);
}

static void find_parts(struct base *b)
{
	size_t at = SV_PARK_HEAD_BYTES;
	struct sv_park_append append;
	struct sv_park_change change;
	struct sv_park_head head;

	fuzz_must(sv_park_head_decode(b->stream.bytes, &head) == 0);
	for (; b->appends < head.appends && b->appends < MOST_PARTS; at += append.len_bytes) {
		b->append[b->appends++] = at;
		fuzz_must(sv_park_append_decode(b->stream.bytes + at, &head, &append) == 0);
		at += SV_PARK_APPEND_BYTES;
	}
	while (b->changes < MOST_PARTS) {
		b->change[b->changes++] = at;
		fuzz_must(sv_park_change_decode(b->stream.bytes + at, &head, &change) == 0);
		if (change.kind == SV_PARK_END)
			break;
		at += SV_PARK_CHANGE_BYTES + (change.kind == SV_PARK_BLOCK ? SV_BLOCK_BYTES : 0);
	}
	fuzz_must(b->appends > 1 && b->changes > 2);
}

static const struct base *base(void)
{
	static struct base b;

	if (b.stream.bytes == NULL) {
		park(&b);
		find_parts(&b);
	}
	return &b;
}

/* ---- an input ---- */

static void change(const struct base *b, struct box *box, struct fuzz_in *in)
{
	uint8_t kind = fuzz_u8(in), which = fuzz_u8(in);
	uint16_t off = fuzz_u16(in);
	size_t at = 0, len;
	const uint8_t *bytes = fuzz_bytes(in, fuzz_u8(in) % 65, &len);

	switch (kind % KINDS) {
	case IN_HEAD:
		at = off % (ANCHOR_AT + SV_ANCHOR_CHECKED_BYTES);
		break;
	case IN_APPEND:
		at = b->append[which % b->appends] + off % SV_PARK_APPEND_BYTES;
		break;
	case IN_CHANGE:
		at = b->change[which % b->changes] + off % SV_PARK_CHANGE_BYTES;
		break;
	case IN_BYTES:
		at = which * (size_t)4096 + off;
		break;
	default:
		box->count -= (which * (size_t)65536 + off) % (box->count + 1);
		return;
	}
	if (len > 0 && at + len <= box->count)
		memcpy(box->bytes + at, bytes, len);
}

static int must_fit(void *ctx, const void *bytes, uint64_t len_bytes, uint64_t off_bytes)
{
	const struct sv_parked_info *info = ctx;

	(void)bytes;
	fuzz_must(len_bytes > 0 && off_bytes < info->size_bytes);
	fuzz_must(len_bytes <= info->size_bytes - off_bytes);
	return 0;
}

static void read_disk(struct sv_store *store)
{
	static uint8_t buf[DISK_BYTES];
	struct sv_status status;
	uint64_t len;

	sv_store_status(store, &status);
	len = status.size_bytes < DISK_BYTES ? status.size_bytes : DISK_BYTES;
	for (uint64_t off = 0; off + SV_BLOCK_BYTES <= len; off += SV_BLOCK_BYTES)
		(void)sv_store_read(store, buf + off, SV_BLOCK_BYTES, off);
}

static void look_at_view(const struct sv_parked *parked, struct store_image *image)
{
	struct sv_dev *below = image_dev(image), *view;
	struct sv_store *store;

	if (sv_parked_view(parked, below, &view) == 0 && open_on(view, true, &store) == 0) {
		read_disk(store);
		sv_store_abandon(store);
	}
	sv_dev_close(below);
}

static void on_finding(void *ctx, const struct sv_finding *finding)
{
	(void)ctx;
	fuzz_must(finding->what != NULL && finding->what[0] != '\0');
}

static void give_back(struct sv_parked *parked, struct store_image *image)
{
	struct sv_dev *dev = image_dev(image);
	struct sv_reattach did = {0};
	struct sv_store *store;
	int r = sv_parked_write_back(parked, dev, &did);

	sv_dev_close(dev);
	fuzz_must(r <= 0);
	if (r < 0 || open_on(image_dev(image), false, &store) < 0)
		return;
	(void)sv_parked_apply(parked, store);
	read_disk(store);
	write_some(store, 9, 4);
	(void)sv_store_check(store, true, on_finding, NULL, NULL);
	(void)sv_store_close(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct base *b = base();
	struct fuzz_in in = {data, size};
	uint8_t options = fuzz_u8(&in);
	struct box box = {.bytes = fuzz_copy(b->stream.bytes, b->stream.count),
			  .count = b->stream.count};
	uint8_t *anchor = box.bytes + ANCHOR_AT;
	struct sv_parked_info info;
	struct sv_parked *parked;
	struct store_image image;

	for (unsigned i = 0; i < MOST_CHANGES && in.left > 0; i++)
		change(b, &box, &in);
	if (!(options & LEAVE_WRONG))
		sv_hash128(anchor, HASHED_BYTES, anchor + HASHED_BYTES);
	if (sv_parked_read(box_get, &box, &parked) == 0) {
		sv_parked_info(parked, &info);
		fuzz_must(sv_parked_each(parked, must_fit, &info) == 0);
		image_copy(options & GONE_ON ? &b->gone_on : &b->pulled, &image);
		look_at_view(parked, &image);
		give_back(parked, &image);
		store_image_free(&image);
		sv_parked_free(parked);
	}
	box_free(&box);
	return 0;
}
