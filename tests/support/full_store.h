/* SPDX-License-Identifier: GPL-2.0-or-later */
/* full_store.h: a store on a small place, filled with mixes of units, beside a plain model. */
#ifndef TEST_FULL_STORE_H
#define TEST_FULL_STORE_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dev_count.h"
#include "prng.h"
#include "stickvm/store.h"

/*
 * Oracles, in every operation:
 *  - a plain model says what each block holds;
 *  - ENOSPC is right only where the blocks that hold data, each stored at its worst, and the pages
 *    of the map that find them, do not fit: what compresses, or what garbage lies about, can only
 *    leave more room than that;
 *  - flushes and discards always succeed: what was acknowledged had its room (B2);
 *  - no call writes more than a bounded multiple of the place: it makes progress or it ends.
 */
#define KIB 1024u
#define MIB (1024u * KIB)
#define BLOCK SV_BLOCK_BYTES
#define FULL_UNIT_BYTES (BLOCK + 16u + 16u) /* a raw unit and its record */
#define FULL_PAGE_BYTES (512u + 16u + 16u)
#define RUN_BLOCKS 256u

struct geometry {
	const char *name;
	uint32_t segment_bytes, page_bytes, batch_bytes;
	uint64_t place_bytes, lie_window_bytes, checkpoint_bytes;
};

extern const struct geometry full_geometries[];
extern const unsigned full_geometry_count;

enum content { RAW, HALF, QUARTER, TINY, ZERO, CONTENTS };
enum mix {
	MIX_RAW_RUNS,
	MIX_RAW_SINGLE,
	MIX_PACKED_RUNS,
	MIX_PACKED_SINGLE,
	MIX_TINY,
	MIX_ALL,
	MIXES
};

extern const char *const full_mix_names[MIXES];

struct full {
	const struct geometry *g;
	enum mix mix;
	struct prng rng;
	struct sv_dev *ram;
	struct dev_counts counts;
	struct sv_store *st;
	uint64_t blocks, held; /* held: blocks that the model says hold data */
	uint32_t *version;     /* of each block; 0: zeros. Its content follows from it */
	uint8_t *buf, *want;
	uint64_t seed;
	uint64_t taken_bytes;	 /* of the place, by others */
	uint64_t promised_bytes; /* by the place, beyond what it can grow to */
	bool threads;
};

/* The next world's store has a keeper; others have taken so much of its place. */
extern bool full_threads;
extern uint64_t full_taken_bytes;

#define FAIL(w, ...)                                                                               \
	do {                                                                                       \
		print_error("replay: unit-store_full --geometry=%d --mix=%d --seed=%" PRIu64 "\n", \
			    (int)((w)->g - full_geometries), (int)(w)->mix, (w)->seed);            \
		fail_msg(__VA_ARGS__);                                                             \
	} while (0)

void full_memory(struct full *w, uint64_t disk_bytes);
/* A formatted, open store; full_free closes it. Everything fails the test where it fails. */
void full_make(struct full *w, const struct geometry *g, enum mix mix, uint64_t seed);
void full_free(struct full *w);
void full_open(struct full *w);
void full_close(struct full *w);
void full_flush(struct full *w);
struct sv_status full_status(struct full *w);
/* What is in use, as a part of the capacity. */
double full_level(struct full *w);
enum content full_content(uint32_t version);

/* Writes blocks in one call; false: ENOSPC, of which the oracle approves. */
bool full_write(struct full *w, uint64_t lba, uint64_t blocks);
/* Writes blocks that hold nothing yet until it is refused; how many went. */
uint64_t full_write_new(struct full *w, uint64_t most);
/* Overwrites something that holds data, in the way of the mix; false: ENOSPC. */
bool full_overwrite(struct full *w, uint64_t *ret_bytes);
void full_discard(struct full *w, uint64_t lba, uint64_t blocks);
/* Discards the first blocks that hold data, and flushes. */
void full_discard_bytes(struct full *w, uint64_t bytes);

/* Writes in the way of the mix until ENOSPC. */
void full_fill(struct full *w);
/* Overwrites for so much of a capacity. */
void full_churn(struct full *w, double part);
/* Discards at random until no more than this part of the capacity is in use. */
void full_thin_to(struct full *w, double part);
/* One block of each `of` stays. */
void full_leave_one_in(struct full *w, uint64_t of);
/* Structure, and every block against the model. */
void full_verify(struct full *w);

#endif
