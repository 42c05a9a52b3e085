/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image.c: the bytes of a simulated medium: sparse, and cheap to copy (copy on write). */
#include "image.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/*
 * A chunk that more than one image holds is never written: the writer makes its own first. So a
 * clone costs a pointer a chunk, and thousands of power cuts a second are cheap.
 */
#define CHUNK_BYTES 16384u

struct image_chunk {
	atomic_uint refs;
	atomic_uint_fast64_t print; /* of the bytes; 0: not known */
	uint8_t bytes[CHUNK_BYTES];
};

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static void chunk_unref(struct image_chunk *chunk)
{
	if (chunk != NULL && atomic_fetch_sub(&chunk->refs, 1) == 1)
		free(chunk);
}

/* The chunk at `index`, owned by this image alone. */
static struct image_chunk *chunk_own(struct image *image, size_t index)
{
	struct image_chunk *old = image->chunks[index];
	struct image_chunk *chunk;

	if (old != NULL && atomic_load(&old->refs) == 1) {
		atomic_store(&old->print, 0);
		return old;
	}
	chunk = must(malloc(sizeof(*chunk)));
	atomic_init(&chunk->refs, 1);
	atomic_init(&chunk->print, 0);
	if (old != NULL)
		memcpy(chunk->bytes, old->bytes, CHUNK_BYTES);
	else
		memset(chunk->bytes, 0, CHUNK_BYTES);
	chunk_unref(old);
	image->chunks[index] = chunk;
	return chunk;
}

void image_init(struct image *image, uint64_t size_bytes)
{
	*image = (struct image){0};
	image_resize(image, size_bytes);
}

void image_resize(struct image *image, uint64_t size_bytes)
{
	size_t count = (size_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES;

	if (count <= image->chunk_count)
		return;
	image->chunks = must(realloc(image->chunks, count * sizeof(*image->chunks)));
	memset(image->chunks + image->chunk_count, 0,
	       (count - image->chunk_count) * sizeof(*image->chunks));
	image->chunk_count = count;
}

void image_clone(const struct image *from, struct image *ret_image)
{
	size_t size = from->chunk_count * sizeof(*from->chunks);

	*ret_image = (struct image){.chunk_count = from->chunk_count};
	ret_image->chunks = must(malloc(size + 1));
	if (size > 0)
		memcpy(ret_image->chunks, from->chunks, size);
	for (size_t i = 0; i < from->chunk_count; i++)
		if (from->chunks[i] != NULL)
			atomic_fetch_add(&from->chunks[i]->refs, 1);
}

void image_free(struct image *image)
{
	for (size_t i = 0; i < image->chunk_count; i++)
		chunk_unref(image->chunks[i]);
	free(image->chunks);
	*image = (struct image){0};
}

static size_t piece_bytes(size_t len_bytes, size_t inside)
{
	return len_bytes < CHUNK_BYTES - inside ? len_bytes : CHUNK_BYTES - inside;
}

void image_read(const struct image *image, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	uint8_t *to = buf;

	while (len_bytes > 0) {
		size_t index = off_bytes / CHUNK_BYTES, inside = off_bytes % CHUNK_BYTES;
		size_t n = piece_bytes(len_bytes, inside);

		assert(index < image->chunk_count);
		if (image->chunks[index] != NULL)
			memcpy(to, image->chunks[index]->bytes + inside, n);
		else
			memset(to, 0, n);
		to += n;
		off_bytes += n;
		len_bytes -= n;
	}
}

bool image_equals(const struct image *image, const void *bytes, size_t len_bytes,
		  uint64_t off_bytes)
{
	const uint8_t *want = bytes;
	uint8_t got[512];

	while (len_bytes > 0) {
		size_t n = len_bytes < sizeof(got) ? len_bytes : sizeof(got);

		image_read(image, got, n, off_bytes);
		if (memcmp(got, want, n) != 0)
			return false;
		want += n;
		off_bytes += n;
		len_bytes -= n;
	}
	return true;
}

void image_write(struct image *image, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	const uint8_t *from = buf;

	while (len_bytes > 0) {
		size_t index = off_bytes / CHUNK_BYTES, inside = off_bytes % CHUNK_BYTES;
		size_t n = piece_bytes(len_bytes, inside);

		assert(index < image->chunk_count);
		memcpy(chunk_own(image, index)->bytes + inside, from, n);
		from += n;
		off_bytes += n;
		len_bytes -= n;
	}
}

/* A chunk of zeros is worth as much as one that is missing: nothing. */
static uint64_t chunk_print(struct image_chunk *chunk)
{
	static const uint8_t zeros[CHUNK_BYTES];
	uint64_t print = atomic_load(&chunk->print);

	if (print == 0) {
		print = memcmp(chunk->bytes, zeros, CHUNK_BYTES) == 0
				? 1
				: XXH3_64bits(chunk->bytes, CHUNK_BYTES) | 2;
		atomic_store(&chunk->print, print);
	}
	return print;
}

uint64_t image_print(const struct image *image)
{
	uint64_t print = 0;

	for (size_t i = 0; i < image->chunk_count; i++) {
		uint64_t of[2] = {i, 1};

		if (image->chunks[i] != NULL)
			of[1] = chunk_print(image->chunks[i]);
		if (of[1] != 1)
			print += XXH3_64bits(of, sizeof(of));
	}
	return print;
}
