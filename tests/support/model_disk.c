/* SPDX-License-Identifier: GPL-2.0-or-later */
/* model_disk.c: every state that a disk has had, to tell which one a recovery brought back. */
#include "model_disk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SECTOR_BYTES 512u
#define BLOCK_BYTES 4096u
#define EXPLAINED 12u

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

/* The print of a disk is the XOR over its sectors of a hash that knows the sector's number. */
static uint64_t sector_print(const void *bytes, uint64_t sector)
{
	return XXH3_64bits_withSeed(bytes, SECTOR_BYTES, sector + 1);
}

uint64_t model_print_of(const void *disk, uint64_t size_bytes)
{
	const uint8_t *bytes = disk;
	uint64_t print = 0;

	for (uint64_t i = 0; i < size_bytes / SECTOR_BYTES; i++)
		print ^= sector_print(bytes + i * SECTOR_BYTES, i);
	return print;
}

static void push_state(struct model_disk *model, const struct image *from, uint64_t print)
{
	struct image copy;

	image_clone(from, &copy); /* `from` may be moved by what follows */
	if (model->count == model->capacity) {
		model->capacity = model->capacity * 2 + 16;
		model->states =
			must(realloc(model->states, model->capacity * sizeof(*model->states)));
		model->prints =
			must(realloc(model->prints, model->capacity * sizeof(*model->prints)));
	}
	model->states[model->count] = copy;
	model->prints[model->count++] = print;
}

void model_init(struct model_disk *model, uint64_t size_bytes)
{
	uint8_t zeros[SECTOR_BYTES] = {0};
	struct image blank;
	uint64_t print = 0;

	assert(size_bytes % SECTOR_BYTES == 0);
	*model = (struct model_disk){.size_bytes = size_bytes};
	for (uint64_t i = 0; i < size_bytes / SECTOR_BYTES; i++)
		print ^= sector_print(zeros, i);
	image_init(&blank, size_bytes);
	push_state(model, &blank, print);
	image_free(&blank);
}

void model_free(struct model_disk *model)
{
	for (size_t i = 0; i < model->count; i++)
		image_free(&model->states[i]);
	free(model->states);
	free(model->prints);
	*model = (struct model_disk){0};
}

void model_fork(const struct model_disk *from, size_t state, struct model_disk *ret_model)
{
	*ret_model = (struct model_disk){.size_bytes = from->size_bytes};
	push_state(ret_model, &from->states[state], from->prints[state]);
}

static void push_write(struct model_disk *model, const void *buf, uint64_t len_bytes,
		       uint64_t off_bytes)
{
	const uint8_t *bytes = buf;
	struct image *state, *old;
	uint8_t was[SECTOR_BYTES];
	uint64_t print;

	push_state(model, &model->states[model->count - 1], model->prints[model->count - 1]);
	state = &model->states[model->count - 1];
	old = state - 1;
	print = model->prints[model->count - 1];
	for (uint64_t at = 0; at < len_bytes; at += SECTOR_BYTES) {
		uint64_t sector = (off_bytes + at) / SECTOR_BYTES;

		image_read(old, was, SECTOR_BYTES, off_bytes + at);
		print ^= sector_print(was, sector) ^ sector_print(bytes + at, sector);
	}
	image_write(state, buf, len_bytes, off_bytes);
	model->prints[model->count - 1] = print;
}

void model_write(struct model_disk *model, const void *buf, uint64_t len_bytes, uint64_t off_bytes)
{
	const uint8_t *bytes = buf;

	while (len_bytes > 0) {
		uint64_t n = BLOCK_BYTES - off_bytes % BLOCK_BYTES;

		if (n > len_bytes)
			n = len_bytes;
		push_write(model, bytes, n, off_bytes);
		bytes += n;
		off_bytes += n;
		len_bytes -= n;
	}
}

void model_discard(struct model_disk *model, uint64_t len_bytes, uint64_t off_bytes)
{
	uint64_t end = off_bytes + len_bytes, last = end / BLOCK_BYTES * BLOCK_BYTES;
	void *zeros = must(calloc(1, len_bytes + 1));

	if (end == model->size_bytes)
		last = end;
	if (off_bytes % BLOCK_BYTES != 0) {
		uint64_t n = BLOCK_BYTES - off_bytes % BLOCK_BYTES;

		if (n > len_bytes)
			n = len_bytes;
		push_write(model, zeros, n, off_bytes);
		off_bytes += n;
	}
	if (off_bytes < last)
		push_write(model, zeros, last - off_bytes, off_bytes);
	if (off_bytes < end && last < end)
		push_write(model, zeros, end - last, last);
	free(zeros);
}

void model_flushed(struct model_disk *model)
{
	model->floor = model->count - 1;
}

void model_flushed_to(struct model_disk *model, size_t state)
{
	assert(state < model->count);
	if (state > model->floor)
		model->floor = state;
}

void model_truncate(struct model_disk *model, size_t state)
{
	assert(state >= model->floor && state < model->count);
	while (model->count > state + 1)
		image_free(&model->states[--model->count]);
}

bool model_find_range(const struct model_disk *model, const void *buf, uint64_t len_bytes,
		      uint64_t off_bytes, size_t from, size_t *ret_state)
{
	for (size_t i = model->count; i > from; i--)
		if (image_equals(&model->states[i - 1], buf, len_bytes, off_bytes)) {
			*ret_state = i - 1;
			return true;
		}
	return false;
}

bool model_block_is(const struct model_disk *model, size_t state, const void *disk, uint64_t block)
{
	uint64_t at = block * BLOCK_BYTES, left = model->size_bytes - at;

	return image_equals(&model->states[state], (const uint8_t *)disk + at,
			    left < BLOCK_BYTES ? left : BLOCK_BYTES, at);
}

void model_return_to(struct model_disk *model, size_t state)
{
	push_state(model, &model->states[state], model->prints[state]);
	model_flushed(model);
}

void model_read(const struct model_disk *model, void *buf, uint64_t len_bytes, uint64_t off_bytes)
{
	image_read(&model->states[model->count - 1], buf, len_bytes, off_bytes);
}

bool model_find(const struct model_disk *model, const void *disk, size_t from, size_t to,
		size_t *ret_state)
{
	uint64_t print = model_print_of(disk, model->size_bytes);

	for (size_t i = to + 1; i > from; i--)
		if (model->prints[i - 1] == print) {
			*ret_state = i - 1;
			return true;
		}
	return false;
}

static bool sector_is(const struct model_disk *model, size_t state, uint64_t sector,
		      const uint8_t *bytes)
{
	uint8_t want[SECTOR_BYTES];

	image_read(&model->states[state], want, SECTOR_BYTES, sector * SECTOR_BYTES);
	return memcmp(want, bytes, SECTOR_BYTES) == 0;
}

static size_t nearest_state(const struct model_disk *model, const uint8_t *disk, size_t from,
			    size_t to)
{
	uint64_t sectors = model->size_bytes / SECTOR_BYTES, least = UINT64_MAX;
	size_t nearest = to;

	for (size_t state = from; state <= to; state++) {
		uint64_t differ = 0;

		for (uint64_t i = 0; i < sectors && differ < least; i++)
			differ += !sector_is(model, state, i, disk + i * SECTOR_BYTES);
		if (differ < least) {
			least = differ;
			nearest = state;
		}
	}
	return nearest;
}

/* The runs of states that a sector's content is of. */
static void explain_sector(const struct model_disk *model, uint64_t sector, const uint8_t *bytes,
			   FILE *out)
{
	bool any = false;

	fprintf(out, "  sector %" PRIu64 " (block %" PRIu64 ") is of states", sector, sector / 8);
	for (size_t i = 0; i < model->count; i++) {
		bool is = sector_is(model, i, sector, bytes);
		bool was = i > 0 && sector_is(model, i - 1, sector, bytes);

		if (is && !was)
			fprintf(out, " %zu-", i);
		if (!is && was)
			fprintf(out, "%zu", i - 1);
		any |= is;
	}
	fprintf(out, "%s\n", any ? "" : " none: never written so");
}

void model_explain(const struct model_disk *model, const void *disk, size_t from, size_t to,
		   FILE *out)
{
	const uint8_t *bytes = disk;
	size_t nearest = nearest_state(model, bytes, from, to);
	unsigned said = 0;

	fprintf(out, "  no state in [%zu, %zu] is this disk; nearest is %zu (floor %zu)\n", from,
		to, nearest, model->floor);
	for (uint64_t i = 0; i < model->size_bytes / SECTOR_BYTES && said < EXPLAINED; i++) {
		if (sector_is(model, nearest, i, bytes + i * SECTOR_BYTES))
			continue;
		explain_sector(model, i, bytes + i * SECTOR_BYTES, out);
		said++;
	}
}
