/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_life.h: a store in memory lives a random life, and what its disk then holds is known. */
#ifndef TEST_STORE_LIFE_H
#define TEST_STORE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "image_edit.h"
#include "prng.h"
#include "stickvm/store.h"

/* How a store is opened, and how often a session flushes and cleans: once in so many writes. */
struct life_way {
	const char *host;
	uint32_t batch_bytes; /* this and the next four as in sv_open_options */
	uint64_t map_ram_bytes;
	enum sv_codec codec;
	enum sv_births births;
	uint64_t seed;
	unsigned flush_one_in, clean_one_in;
};

/* Embed it in a test's world. `way` is borrowed, all else is owned. */
struct store_life {
	const struct life_way *way;
	struct store_image image;
	uint64_t disk_bytes;
	uint8_t *disk; /* the newest content */
	struct prng rng;
};

/* Where something fails that must not, the running test fails. */
void store_life_begin(const struct life_way *way, uint64_t place_bytes,
		      const struct sv_format_params *params, uint64_t seed,
		      struct store_life *ret_life);
/* Opens, writes and discards runs of up to six blocks, flushes at the end; or ends with no close.
 */
void store_life_session(struct store_life *life, unsigned writes, bool closed);
/* That often; the last one ends as said, those before it with a close. Then image_look. */
void store_life_sessions(struct store_life *life, unsigned sessions, unsigned writes, bool closed);
void store_life_free(struct store_life *life);

void life_format(struct store_image *image, const struct sv_format_params *params);
/* 0, or what sv_store_open says. */
int life_open(const struct life_way *way, struct store_image *image, bool read_only,
	      struct sv_store **ret_store);
struct sv_store *life_must_open(const struct life_way *way, struct store_image *image,
				bool read_only);

#endif
