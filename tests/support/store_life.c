/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_life.c: a store in memory lives a random life, and what its disk then holds is known. */
#include "store_life.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RUN_BLOCKS 6u /* the longest write or discard */

void life_format(struct store_image *image, const struct sv_format_params *params)
{
	struct sv_dev *dev = image_dev(image);

	assert_int_equal(sv_store_format(dev, params), 0);
	sv_dev_close(dev);
}

int life_open(const struct life_way *way, struct store_image *image, bool read_only,
	      struct sv_store **ret_store)
{
	struct sv_open_options opts = {.manual = true,
				       .read_only = read_only,
				       .batch_bytes = way->batch_bytes,
				       .map_ram_bytes = way->map_ram_bytes,
				       .codec = way->codec,
				       .births = way->births,
				       .seed = way->seed,
				       .host = way->host};
	struct sv_dev *dev = image_dev(image);
	int r = sv_store_open(dev, &opts, ret_store);

	if (r < 0)
		sv_dev_close(dev);
	return r;
}

struct sv_store *life_must_open(const struct life_way *way, struct store_image *image,
				bool read_only)
{
	struct sv_store *store = NULL;
	int r = life_open(way, image, read_only, &store);

	if (r < 0)
		fail_msg("open: %s: %s", strerror(-r), sv_store_why());
	return store;
}

void store_life_begin(const struct life_way *way, uint64_t place_bytes,
		      const struct sv_format_params *params, uint64_t seed,
		      struct store_life *ret_life)
{
	*ret_life = (struct store_life){.way = way, .rng.state = seed};
	ret_life->disk_bytes = params->size_bytes;
	ret_life->disk = calloc(1, params->size_bytes);
	assert_non_null(ret_life->disk);
	image_zeros(place_bytes, &ret_life->image);
	life_format(&ret_life->image, params);
}

static void one_write(struct store_life *life, struct sv_store *store)
{
	static uint8_t buf[RUN_BLOCKS * SV_BLOCK_BYTES];
	uint64_t blocks = life->disk_bytes / SV_BLOCK_BYTES - RUN_BLOCKS;
	uint64_t off = prng_below(&life->rng, blocks) * SV_BLOCK_BYTES;
	size_t len = (1 + prng_below(&life->rng, RUN_BLOCKS)) * SV_BLOCK_BYTES;

	if (prng_one_in(&life->rng, 6)) {
		memset(life->disk + off, 0, len);
		assert_int_equal(sv_store_discard(store, len, off), 0);
		return;
	}
	prng_fill(&life->rng, buf, len);
	if (prng_one_in(&life->rng, 2)) /* it can be compressed */
		memset(buf + 16, buf[0], len - 16);
	memcpy(life->disk + off, buf, len);
	assert_int_equal(sv_store_write(store, buf, len, off), 0);
}

void store_life_session(struct store_life *life, unsigned writes, bool closed)
{
	struct sv_store *store = life_must_open(life->way, &life->image, false);
	unsigned cleaned;

	for (unsigned i = 0; i < writes; i++) {
		one_write(life, store);
		if (prng_one_in(&life->rng, life->way->flush_one_in))
			assert_int_equal(sv_store_flush(store), 0);
		if (prng_one_in(&life->rng, life->way->clean_one_in))
			assert_int_equal(sv_store_clean(store, 2, &cleaned), 0);
	}
	assert_int_equal(sv_store_flush(store), 0);
	if (closed)
		assert_int_equal(sv_store_close(store), 0);
	else
		sv_store_abandon(store);
}

void store_life_sessions(struct store_life *life, unsigned sessions, unsigned writes, bool closed)
{
	for (unsigned i = 1; i <= sessions; i++)
		store_life_session(life, writes, closed || i < sessions);
	image_look(&life->image);
}

void store_life_free(struct store_life *life)
{
	store_image_free(&life->image);
	free(life->disk);
	*life = (struct store_life){0};
}
