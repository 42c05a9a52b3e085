/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.h: the bytes of a simulated medium: sparse, and cheap to copy (copy on write). */
#ifndef TEST_IMAGE_H
#define TEST_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An array of shared chunks; a missing chunk reads as zeros. Memory failure aborts the test. */
struct image {
	struct image_chunk **chunks;
	size_t chunk_count;
};

void image_init(struct image *image, uint64_t size_bytes);
void image_resize(struct image *image, uint64_t size_bytes); /* only grows */
void image_clone(const struct image *from, struct image *ret_image);
void image_free(struct image *image);
void image_read(const struct image *image, void *buf, size_t len_bytes, uint64_t off_bytes);
/* A hash of the whole content, chunk by chunk; chunks remember theirs. Sizes do not count: zeros
 * behind the end are none. */
uint64_t image_print(const struct image *image);
bool image_equals(const struct image *image, const void *bytes, size_t len_bytes,
		  uint64_t off_bytes);
void image_write(struct image *image, const void *buf, size_t len_bytes, uint64_t off_bytes);

#endif
