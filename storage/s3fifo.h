/* SPDX-License-Identifier: GPL-2.0-or-later */
/* s3fifo.h: what a cache keeps and what it gives up: S3-FIFO over objects of any size. */
#ifndef STORAGE_S3FIFO_H
#define STORAGE_S3FIFO_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Knows keys, sizes and the order of three queues; where the bytes of an object are is its
 * owner's, who has `value` for that. Not locked. Objects are numbers, SV_S3_NONE is none; a number
 * is good until the object is dropped.
 */
#define SV_S3_NONE 0u

enum sv_s3_queue { SV_S3_SMALL = 0, SV_S3_MAIN = 1, SV_S3_QUEUES = 2, SV_S3_UNUSED = 2 };

struct sv_s3_object {
	uint64_t key;
	uint64_t value;
	uint32_t chain; /* next in its bucket, or next of the unused */
	uint32_t newer, older;
	uint32_t bytes;
	uint8_t queue; /* enum sv_s3_queue */
	uint8_t hits;  /* since it entered its queue, at most 3 */
};

/* A key that was given up lately, and when: in a bucket of four. */
struct sv_s3_ghost {
	uint32_t mark;
	uint32_t when;
};

struct sv_s3 {
	struct sv_s3_object *v; /* [0] is none */
	uint32_t objects;	/* v has so many, none included */
	uint32_t fresh, unused; /* never used from here on; list of those used before */
	uint32_t *bucket;
	uint32_t bucket_mask;
	struct {
		uint32_t newest, oldest;
		uint32_t count;
		uint64_t bytes;
	} queue[SV_S3_QUEUES];
	uint64_t capacity_bytes, small_bytes;
	struct sv_s3_ghost *ghost;
	uint32_t ghost_mask;  /* of its buckets */
	uint32_t ghost_clock; /* bytes given up so far, in grains */
	uint64_t ghost_bytes; /* the rest below a grain */
};

/* At most `objects` at a time. Memory is taken as it is touched. -ENOMEM. */
int sv_s3_init(struct sv_s3 *s3, uint64_t capacity_bytes, uint32_t objects);
void sv_s3_free(struct sv_s3 *s3);

static inline uint64_t sv_s3_bytes(const struct sv_s3 *s3)
{
	return s3->queue[SV_S3_SMALL].bytes + s3->queue[SV_S3_MAIN].bytes;
}

static inline uint32_t sv_s3_count(const struct sv_s3 *s3)
{
	return s3->queue[SV_S3_SMALL].count + s3->queue[SV_S3_MAIN].count;
}

/* Changes nothing. */
uint32_t sv_s3_find(const struct sv_s3 *s3, uint64_t key);
/* It was asked for, and was there. */
void sv_s3_hit(struct sv_s3 *s3, uint32_t object);
/* Whether the owner has to make room (sv_s3_step) before an object of this size comes in. */
bool sv_s3_is_full(const struct sv_s3 *s3, uint32_t bytes);
/* Which queue the key would come into: main if it was given up lately. */
enum sv_s3_queue sv_s3_place(const struct sv_s3 *s3, uint64_t key);
/* A new object, as the newest of a queue; NONE: all numbers are in use. The key must be new. */
uint32_t sv_s3_add(struct sv_s3 *s3, uint64_t key, uint32_t bytes, enum sv_s3_queue queue);

/*
 * One step towards room: looks at the oldest of the queue whose turn it is. Either that object is
 * to go: *ret_keep is false and it is in its queue still (the owner lets go of the bytes and calls
 * sv_s3_drop). Or it stays, as the newest of main. NONE: there is nothing. Steps end: an object
 * stays at most three times without another hit.
 */
uint32_t sv_s3_step(struct sv_s3 *s3, bool *ret_keep);
/* It is gone; `remember` it as given up, so that it comes into main next time. */
void sv_s3_drop(struct sv_s3 *s3, uint32_t object, bool remember);

#endif
