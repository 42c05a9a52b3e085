/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * s3fifo.c: three first-in-first-out queues (Yang et al., SOSP 2023): most of what is read once is
 * never read again, so it has to leave quickly.
 *
 *   new --> small (a tenth) --asked for twice meanwhile--> main <--asked for meanwhile--+
 *             `--else--> given up, remembered (ghost) --asked for again--> main --oldest-'
 *
 * A scan passes through small and leaves main alone. No queue is ever reordered by a hit, which
 * only counts: that is why the same policy serves a cache on the host's disk, where order in a
 * queue is order in files (cache_host.c).
 *
 * F1  an object is in exactly one queue and one bucket, or unused
 * F2  bytes and count of a queue are the sums over its objects
 * F3  ghosts are marks of 32 bits with the time they were made at, counted in bytes given up; one
 *     counts for as long as fewer bytes than main may hold were given up behind it. Two keys in
 *     2^30 are taken for each other, which costs a place in main.
 */
#include "s3fifo.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "memory.h"

#define HITS_MOST 3u
#define MOVE_HITS 2u /* in small, to enter main */
#define WAYS 4u	     /* of a bucket of ghosts */
#define GRAIN_BYTES 256u

static uint32_t power_above(uint32_t n)
{
	uint32_t p = 16;

	while (p < n && p < 1u << 30)
		p *= 2;
	return p;
}

int sv_s3_init(struct sv_s3 *s3, uint64_t capacity_bytes, uint32_t objects)
{
	uint32_t buckets = power_above(objects);

	*s3 = (struct sv_s3){.objects = objects + 1,
			     .fresh = 1,
			     .bucket_mask = buckets - 1,
			     .ghost_mask = buckets * 2 / WAYS - 1,
			     .ghost_clock = 1,
			     .capacity_bytes = capacity_bytes,
			     .small_bytes = capacity_bytes / 10};
	s3->v = sv_memory_take((uint64_t)s3->objects * sizeof(*s3->v));
	s3->bucket = sv_memory_take((uint64_t)buckets * sizeof(*s3->bucket));
	s3->ghost = sv_memory_take((uint64_t)buckets * 2 * sizeof(*s3->ghost));
	if (s3->v && s3->bucket && s3->ghost)
		return 0;
	sv_s3_free(s3);
	return -ENOMEM;
}

void sv_s3_free(struct sv_s3 *s3)
{
	sv_memory_give(s3->v, (uint64_t)s3->objects * sizeof(*s3->v));
	sv_memory_give(s3->bucket, ((uint64_t)s3->bucket_mask + 1) * sizeof(*s3->bucket));
	sv_memory_give(s3->ghost, ((uint64_t)s3->ghost_mask + 1) * WAYS * sizeof(*s3->ghost));
	*s3 = (struct sv_s3){0};
}

/* ---- queues ---- */

static void enqueue(struct sv_s3 *s3, uint32_t object, enum sv_s3_queue queue)
{
	struct sv_s3_object *o = &s3->v[object];
	uint32_t before = s3->queue[queue].newest;

	o->queue = (uint8_t)queue;
	o->hits = 0;
	o->newer = SV_S3_NONE;
	o->older = before;
	if (before)
		s3->v[before].newer = object;
	else
		s3->queue[queue].oldest = object;
	s3->queue[queue].newest = object;
	s3->queue[queue].count++;
	s3->queue[queue].bytes += o->bytes; /* F2 */
}

static void dequeue(struct sv_s3 *s3, uint32_t object)
{
	struct sv_s3_object *o = &s3->v[object];
	unsigned queue = o->queue;

	assert(queue < SV_S3_QUEUES); /* F1 */
	if (o->newer)
		s3->v[o->newer].older = o->older;
	else
		s3->queue[queue].newest = o->older;
	if (o->older)
		s3->v[o->older].newer = o->newer;
	else
		s3->queue[queue].oldest = o->newer;
	s3->queue[queue].count--;
	s3->queue[queue].bytes -= o->bytes; /* F2 */
	o->queue = SV_S3_UNUSED;
}

/* ---- ghosts ---- */

static uint32_t ghost_mark(uint64_t key)
{
	return (uint32_t)(key >> 32) | 1u; /* 0: an empty place */
}

static struct sv_s3_ghost *ghost_bucket(const struct sv_s3 *s3, uint64_t key)
{
	return &s3->ghost[((uint32_t)key & s3->ghost_mask) * WAYS];
}

static bool is_remembered(const struct sv_s3 *s3, uint64_t key)
{
	const struct sv_s3_ghost *g = ghost_bucket(s3, key);
	uint64_t reach = (s3->capacity_bytes - s3->small_bytes) / GRAIN_BYTES;

	for (unsigned i = 0; i < WAYS; i++)
		if (g[i].mark == ghost_mark(key) && s3->ghost_clock - g[i].when < reach)
			return true; /* F3 */
	return false;
}

static void remember(struct sv_s3 *s3, uint64_t key, uint32_t bytes)
{
	struct sv_s3_ghost *g = ghost_bucket(s3, key), *at = g;

	s3->ghost_bytes += bytes;
	s3->ghost_clock += (uint32_t)(s3->ghost_bytes / GRAIN_BYTES);
	s3->ghost_bytes %= GRAIN_BYTES;
	for (unsigned i = 0; i < WAYS; i++) {
		if (!g[i].mark || g[i].mark == ghost_mark(key)) {
			at = &g[i];
			break;
		}
		if (s3->ghost_clock - g[i].when > s3->ghost_clock - at->when)
			at = &g[i];
	}
	*at = (struct sv_s3_ghost){ghost_mark(key), s3->ghost_clock};
}

/* ---- objects ---- */

uint32_t sv_s3_find(const struct sv_s3 *s3, uint64_t key)
{
	uint32_t object = s3->bucket[(uint32_t)key & s3->bucket_mask];

	while (object && s3->v[object].key != key)
		object = s3->v[object].chain;
	return object;
}

void sv_s3_hit(struct sv_s3 *s3, uint32_t object)
{
	struct sv_s3_object *o = &s3->v[object];

	if (o->hits < HITS_MOST)
		o->hits++;
}

bool sv_s3_is_full(const struct sv_s3 *s3, uint32_t bytes)
{
	return sv_s3_bytes(s3) + bytes > s3->capacity_bytes ||
	       (!s3->unused && s3->fresh == s3->objects);
}

enum sv_s3_queue sv_s3_place(const struct sv_s3 *s3, uint64_t key)
{
	return is_remembered(s3, key) ? SV_S3_MAIN : SV_S3_SMALL;
}

uint32_t sv_s3_add(struct sv_s3 *s3, uint64_t key, uint32_t bytes, enum sv_s3_queue queue)
{
	uint32_t *bucket = &s3->bucket[(uint32_t)key & s3->bucket_mask];
	uint32_t object = s3->unused;

	if (object)
		s3->unused = s3->v[object].chain;
	else if (s3->fresh < s3->objects)
		object = s3->fresh++;
	else
		return SV_S3_NONE;
	s3->v[object] = (struct sv_s3_object){.key = key, .bytes = bytes, .chain = *bucket};
	*bucket = object;
	enqueue(s3, object, queue);
	return object;
}

void sv_s3_drop(struct sv_s3 *s3, uint32_t object, bool remember_it)
{
	struct sv_s3_object *o = &s3->v[object];
	uint32_t *link = &s3->bucket[(uint32_t)o->key & s3->bucket_mask];

	if (remember_it && o->queue == SV_S3_SMALL)
		remember(s3, o->key, o->bytes);
	dequeue(s3, object);
	while (*link != object)
		link = &s3->v[*link].chain;
	*link = o->chain;
	o->chain = s3->unused;
	s3->unused = object;
}

uint32_t sv_s3_step(struct sv_s3 *s3, bool *ret_keep)
{
	uint32_t small = s3->queue[SV_S3_SMALL].oldest, main = s3->queue[SV_S3_MAIN].oldest;
	bool from_small = small && (!main || s3->queue[SV_S3_SMALL].bytes >= s3->small_bytes);
	uint32_t object = from_small ? small : main;
	uint8_t hits = s3->v[object].hits;

	*ret_keep = object && hits >= (from_small ? MOVE_HITS : 1u);
	if (*ret_keep) {
		dequeue(s3, object);
		enqueue(s3, object, SV_S3_MAIN);
		s3->v[object].hits = from_small ? 0 : (uint8_t)(hits - 1);
	}
	return object;
}
