/* SPDX-License-Identifier: GPL-2.0-or-later */
/* golden_life.h: the life of the store in tests/golden/stores, and what its disk then holds. */
#ifndef TEST_GOLDEN_LIFE_H
#define TEST_GOLDEN_LIFE_H

#include <stdint.h>

#include "image_edit.h"
#include "stickvm/store.h"

#define GOLDEN_SEGMENT_BYTES (64u << 10)
#define GOLDEN_PLACE_BYTES (8u << 20)
#define GOLDEN_DISK_BYTES ((2u << 20) - 3 * 512) /* it ends inside a block */

/*
 * Three sessions, one for each codec, with overwrites, discards, cleaning with moves, roots; the
 * first two are closed, the third ends at `end`.
 */
enum golden_end {
	GOLDEN_CLOSED,
	GOLDEN_FLUSHED, /* the last batch was flushed, and nothing says so */
	GOLDEN_TORN,	/* a batch behind that has lost its last pages */
	/* With blocks that were born apart. */
	GOLDEN_BORN,	     /* closed */
	GOLDEN_BORN_FLUSHED, /* not closed */
	GOLDEN_BORN_TORN,    /* the last batch is whole, but for what was born for it */
};
/* Through the engine; aborts where that fails. */
void golden_life_make(enum golden_end end, struct store_image *ret_image);
/* The same life on an array of bytes alone. `ret_disk` has GOLDEN_DISK_BYTES. */
void golden_life_disk(uint8_t *ret_disk);
/* A store opened on an image; what sv_store_open says. */
int golden_open(struct store_image *image, bool read_only, enum sv_codec codec,
		struct sv_store **ret_store);

#endif
