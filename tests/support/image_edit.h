/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image_edit.h: a store as an array of bytes: loaded, looked through, damaged, made right again. */
#ifndef TEST_IMAGE_EDIT_H
#define TEST_IMAGE_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"
#include "stickvm/dev.h"

/* The whole linear space of a store; `bytes` is owned. */
struct store_image {
	uint8_t *bytes;
	uint64_t len_bytes;
	uint32_t segment_bytes, page_bytes;
};

/* A batch as it lies in an image, and one of its units. */
struct edit_batch {
	struct sv_head head;
	uint64_t place;
};
struct edit_unit {
	struct sv_record rec;
	uint64_t place;
};

/* From a file compressed with zstd, or from memory (copied). False: it cannot be read. */
bool image_load(const char *path, struct store_image *ret_image);
void image_from(const uint8_t *bytes, uint64_t len_bytes, struct store_image *ret_image);
bool image_save(const struct store_image *image, const char *path);
void store_image_free(struct store_image *image);
/* Zeros, to make a store in. */
void image_zeros(uint64_t len_bytes, struct store_image *ret_image);
/*
 * A device on the image itself, of its size: what is written is in the image, also after the
 * device was closed. Several can be made one after the other. The image must outlive it.
 */
struct sv_dev *image_dev(struct store_image *image);
/* Another image with the same bytes. */
void image_copy(const struct store_image *from, struct store_image *ret_image);
/* Reads where the store's bytes are from the first anchor, once there is one. */
void image_look(struct store_image *image);

/* Looking. All of them abort where there is nothing to be found: the image is the test's own. */
struct sv_anchor image_anchor(const struct store_image *image, unsigned which);
/* The batches of the chain from the anchor's root on, at most `most`; returns how many. */
unsigned image_chain(const struct store_image *image, struct edit_batch *ret_batches,
		     unsigned most);
/* Every header that verifies by itself, anywhere, in order of place. */
unsigned image_batches(const struct store_image *image, struct edit_batch *ret_batches,
		       unsigned most);
/* A batch's record by number, and where its unit lies (for DATA and PAGE); false: no more. */
bool image_record(const struct store_image *image, const struct edit_batch *batch, unsigned index,
		  struct edit_unit *ret_unit);

/* Damaging. */
void image_flip(struct store_image *image, uint64_t at);
/* Writes an anchor with right hash; `version` in place of the format's own. */
void image_put_anchor(struct store_image *image, unsigned which, const struct sv_anchor *anchor,
		      uint32_t version);

/*
 * Making right: computes the hashes of these headers anew and puts them where the old ones stood
 * (prev_hash of the others, the links of both anchors); with `units` also the checks of their
 * units, the digests of their payloads, and the checks that MOVE records name. So bytes that were
 * changed on purpose, and only their content, are what a reader has to stand.
 *
 * `batches` as image_batches found them before the bytes were changed, in any order.
 */
void image_make_right(struct store_image *image, const struct edit_batch *batches, unsigned count,
		      bool units);

#endif
