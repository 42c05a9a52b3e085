/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store.c: fuzz target: a whole store, changed anywhere and made right again, opened and used. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"
#include "image_edit.h"
#include "prng.h"
#include "stickvm/store.h"
#include "unit.h"

/*
 * An input is not an image (most of it would be zeros and data) but a list of changes to one of
 * the golden ones. So every mutation of the fuzzer is one of the structure:
 *
 *   base (1)  options (1)  changes, each: kind (1)  which (1)  offset (2)  length (1)  bytes
 *
 * Afterwards all hashes and checks are made right again (but for option 1), so that what is tried
 * is what the code believes of values, not whether it finds rot. The store is then opened
 * read-only, read, checked; opened for writing, written to, cleaned, closed; and opened once more.
 * Any error is good. No assertion, no access outside, no more memory or time than the limits allow.
 */
enum kind { IN_ANCHOR, IN_HEADER, IN_RECORD, IN_UNIT, IN_BYTES, CUT, KINDS };
enum option { LEAVE_WRONG = 1, NO_WRITING = 2, OTHER_OLD = 4 };

#define MOST_CHANGES 64u
#define MOST_BATCHES 1024u
#define MOST_BLOCKS 2048u /* that are read */
#define BASES 2u

struct base {
	struct store_image image;
	struct edit_batch batches[MOST_BATCHES];
	unsigned count;
	int fd; /* the image again, for copies on write */
};

static const char *const base_paths[BASES] = {
	TEST_DIR "/golden/stores/v1-closed.zst",
	TEST_DIR "/golden/stores/v1-torn.zst",
};

/* Recovery reads the newest first; most of a long log it skips. */
static int newest_first(const void *a, const void *b)
{
	const struct edit_batch *x = a, *y = b;

	if (x->head.seq != y->head.seq)
		return x->head.seq > y->head.seq ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

static const struct base *base_of(unsigned which)
{
	static struct base bases[BASES];
	struct base *b = &bases[which % BASES];

	if (b->image.bytes == NULL) {
		fuzz_must(image_load(base_paths[which % BASES], &b->image));
		b->count = image_batches(&b->image, b->batches, MOST_BATCHES);
		fuzz_must(b->count > 0);
		qsort(b->batches, b->count, sizeof(b->batches[0]), newest_first);
		b->fd = fuzz_memory_file(b->image.bytes, b->image.len_bytes);
	}
	return b;
}

/* Most of it is never touched. */
static void copy_base(const struct base *b, struct store_image *ret_image)
{
	*ret_image = b->image;
	ret_image->bytes =
		mmap(NULL, b->image.len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, b->fd, 0);
	fuzz_must(ret_image->bytes != MAP_FAILED);
}

/* Where a change goes; false: nowhere. */
static bool place_of(const struct base *b, struct store_image *image, uint8_t kind, uint8_t which,
		     uint16_t off, uint64_t *ret_place)
{
	const struct edit_batch *batch = &b->batches[which % b->count];
	struct edit_unit u;

	switch (kind % KINDS) {
	case IN_ANCHOR:
		*ret_place = (which & 1) * image->segment_bytes + off % SV_ANCHOR_CHECKED_BYTES;
		return true;
	case IN_HEADER:
		*ret_place = batch->place + off % SV_HEAD_FIXED_BYTES;
		return true;
	case IN_RECORD:
		*ret_place = batch->place + SV_HEAD_FIXED_BYTES +
			     off % (batch->head.head_bytes - SV_HEAD_FIXED_BYTES);
		return true;
	case IN_UNIT:
		if (!image_record(image, batch, off >> 12, &u))
			return false;
		*ret_place = u.place + (off & 4095);
		return true;
	case IN_BYTES:
		*ret_place = (uint64_t)which * 65536 + off;
		return true;
	default:
		return false;
	}
}

static void change(const struct base *b, struct store_image *image, struct fuzz_in *in)
{
	uint8_t kind = fuzz_u8(in), which = fuzz_u8(in);
	uint16_t off = fuzz_u16(in);
	uint64_t place = 0;
	size_t len;
	const uint8_t *bytes = fuzz_bytes(in, fuzz_u8(in) % 65, &len);

	if (kind % KINDS == CUT) {
		image->len_bytes -= (uint64_t)which * image->segment_bytes / 16 + off / 512 * 512;
		if (image->len_bytes > b->image.len_bytes || image->len_bytes < 65536)
			image->len_bytes = 65536;
	} else if (place_of(b, image, kind, which, off, &place) &&
		   place + len <= image->len_bytes) {
		if (len > 0)
			memcpy(image->bytes + place, bytes, len);
	}
}

static void on_finding(void *ctx, const struct sv_finding *finding)
{
	(void)ctx;
	fuzz_must(finding->what != NULL && finding->what[0] != '\0');
}

static int open_image(struct store_image *image, bool read_only, struct sv_store **ret_store)
{
	struct sv_open_options opts = {.manual = true,
				       .read_only = read_only,
				       .batch_bytes = 128 << 10,
				       .map_ram_bytes = 1 << 20,
				       .host = "fuzz",
				       .seed = 7};
	struct sv_dev *dev = image_dev(image);
	int r = sv_store_open(dev, &opts, ret_store);

	fuzz_must(r <= 0);
	if (r < 0)
		sv_dev_close(dev);
	return r;
}

/* What has data, as far as the limit goes; then all that check looks at. */
static void look_at(struct sv_store *store)
{
	static uint8_t buf[16 * SV_BLOCK_BYTES];
	struct sv_recovery recovery;
	struct sv_status status;
	uint64_t off = 0;

	sv_store_status(store, &status);
	sv_store_recovery(store, &recovery);
	for (unsigned n = 0;
	     n < MOST_BLOCKS / 16 && sv_store_seek(store, SV_SEEK_DATA, off, &off) == 0; n++) {
		uint64_t left = status.size_bytes - off;
		size_t len = left < sizeof(buf) ? (size_t)left : sizeof(buf);

		(void)sv_store_read(store, buf, len, off);
		off += len;
	}
	(void)sv_store_check(store, true, on_finding, NULL, NULL);
}

static void work_on(struct sv_store *store)
{
	static uint8_t buf[8 * SV_BLOCK_BYTES];
	struct prng rng = {.state = 11};
	struct sv_status status;
	unsigned cleaned;

	sv_store_status(store, &status);
	for (unsigned i = 0; i < 12; i++) {
		uint64_t blocks = status.size_bytes / SV_BLOCK_BYTES;
		uint64_t off = prng_below(&rng, blocks > 8 ? blocks - 8 : 1) * SV_BLOCK_BYTES;
		uint64_t left = status.size_bytes - off;
		size_t len = left < sizeof(buf) ? (size_t)left : sizeof(buf);

		prng_fill(&rng, buf, sizeof(buf));
		(void)sv_store_write(store, buf, len, off);
		if (i % 4 == 1)
			(void)sv_store_discard(store, 4 * len, off / 2 / 512 * 512);
		if (i % 4 == 3)
			(void)sv_store_flush(store);
	}
	(void)sv_store_checkpoint(store);
	(void)sv_store_clean(store, 4, &cleaned);
	(void)sv_store_check(store, false, on_finding, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	const struct base *b = base_of(fuzz_u8(&in));
	uint8_t options = fuzz_u8(&in);
	struct store_image image;
	struct sv_store *store;

	copy_base(b, &image);
	for (unsigned i = 0; i < MOST_CHANGES && in.left > 0; i++)
		change(b, &image, &in);
	if (!(options & LEAVE_WRONG))
		image_make_right(&image, b->batches, b->count, true);
	if (open_image(&image, true, &store) == 0) {
		look_at(store);
		sv_store_abandon(store);
	}
	if (!(options & NO_WRITING) && open_image(&image, false, &store) == 0) {
		work_on(store);
		if (options & OTHER_OLD)
			sv_store_abandon(store);
		else
			(void)sv_store_close(store);
		if (open_image(&image, true, &store) == 0) {
			look_at(store);
			sv_store_abandon(store);
		}
	}
	munmap(image.bytes, b->image.len_bytes);
	return 0;
}

/* What fields are compared with: the ends of ranges, addresses inside and outside, flags. */
static uint64_t odd_value(struct prng *rng)
{
	static const uint64_t segments[] = {0, 1, 2, 3, 126, 127, 128, 129};

	switch (prng_below(rng, 6)) {
	case 0:
		return prng_below(rng, 70);
	case 1:
		return UINT64_C(1) << prng_below(rng, 64);
	case 2:
		return (UINT64_C(1) << prng_below(rng, 64)) - 1;
	case 3: /* an address, or an entry that leads there */
		return segments[prng_below(rng, 8)] * 65536 + prng_below(rng, 16) * 4096;
	case 4:
		return (segments[prng_below(rng, 8)] * 65536 + prng_below(rng, 16) * 4096) / 16 |
		       prng_below(rng, 4096) << 48 | prng_below(rng, 64) << 42;
	default:
		return UINT64_MAX - prng_below(rng, 3);
	}
}

/* One more change: a whole field at its own boundary. */
static size_t add_change(uint8_t *at, struct prng *rng)
{
	static const uint8_t lens[] = {1, 4, 4, 8, 8, 8};
	uint8_t len = lens[prng_below(rng, 6)];
	uint64_t value = odd_value(rng);
	uint16_t off = (uint16_t)(prng_below(rng, 128) * (len < 4 ? 1 : 4));

	at[0] = (uint8_t)(prng_one_in(rng, 40) ? CUT : prng_below(rng, 4));
	if (at[0] == IN_UNIT)
		off = (uint16_t)(off + 16 + (prng_below(rng, 8) << 12));
	at[1] = (uint8_t)prng_below(rng, prng_one_in(rng, 4) ? 256 : 12);
	at[2] = (uint8_t)off;
	at[3] = (uint8_t)(off >> 8);
	at[4] = len;
	for (unsigned i = 0; i < len; i++)
		at[5 + i] = (uint8_t)(value >> (8 * i));
	return 5u + len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct prng rng = {.state = seed};

	if (prng_one_in(&rng, 3) || size < 2 || size + 13 > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	if (prng_one_in(&rng, 3))
		size = 2; /* begins anew */
	return size + add_change(data + size, &rng);
}
