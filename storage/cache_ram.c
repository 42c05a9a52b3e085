/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache_ram.c: expanded units in memory, kept by S3-FIFO.
 *
 * The key is a place and the generation of its segment, so what is here is never older than what
 * the map leads to (DESIGN, "Caches").
 *
 * Reading a unit block by block is no sign that it will be read again: only a block that was
 * served before counts as a hit for the policy. Else a sequential reader of small requests would
 * move everything it passes into main.
 */
#include "cache_ram.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "digest.h"
#include "format.h"
#include "memory.h"

static uint64_t units_bytes(const struct sv_ram_cache *c)
{
	return ((uint64_t)c->slots_count + 1) * sizeof(*c->unit);
}

static uint64_t next_bytes(const struct sv_ram_cache *c)
{
	return ((uint64_t)c->slots_count + 1) * sizeof(*c->next);
}

int sv_ram_init(struct sv_ram_cache *c, uint64_t bytes)
{
	uint64_t slots = sv_min64(bytes / SV_BLOCK_BYTES, UINT32_MAX / 2);

	*c = (struct sv_ram_cache){.fresh = 1};
	pthread_mutex_init(&c->lock, NULL);
	if (slots < SV_UNIT_MAX_BLOCKS)
		return 0;
	c->slots_count = (uint32_t)slots;
	c->slots = sv_memory_take(slots * SV_BLOCK_BYTES);
	c->next = sv_memory_take(next_bytes(c));
	c->unit = sv_memory_take(units_bytes(c));
	if (c->slots && c->next && c->unit &&
	    sv_s3_init(&c->s3, slots * SV_BLOCK_BYTES, (uint32_t)slots) == 0)
		return 0;
	return -ENOMEM;
}

void sv_ram_free(struct sv_ram_cache *c)
{
	sv_memory_give(c->slots, (uint64_t)c->slots_count * SV_BLOCK_BYTES);
	sv_memory_give(c->next, next_bytes(c));
	sv_memory_give(c->unit, units_bytes(c));
	if (c->s3.v)
		sv_s3_free(&c->s3);
	pthread_mutex_destroy(&c->lock);
	*c = (struct sv_ram_cache){0};
}

static uint64_t key_of(uint64_t place, uint64_t generation)
{
	return sv_hash64(&place, sizeof(place), generation);
}

static uint8_t *slot(const struct sv_ram_cache *c, uint32_t n)
{
	return c->slots + (uint64_t)(n - 1) * SV_BLOCK_BYTES;
}

static uint32_t find(const struct sv_ram_cache *c, uint64_t place, uint64_t generation)
{
	uint32_t object = sv_s3_find(&c->s3, key_of(place, generation));
	const struct sv_ram_unit *u = &c->unit[object];

	return object && u->place == place && u->generation == generation ? object : SV_S3_NONE;
}

static uint64_t bits(unsigned index, unsigned count)
{
	return (count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX) << index;
}

bool sv_ram_get(struct sv_ram_cache *c, uint64_t place, uint64_t generation, unsigned index,
		uint8_t *dst)
{
	uint32_t object, at;

	if (!c->slots_count)
		return false;
	pthread_mutex_lock(&c->lock);
	object = find(c, place, generation);
	if (object && index >= c->unit[object].blocks)
		object = SV_S3_NONE;
	if (object) {
		struct sv_ram_unit *u = &c->unit[object];

		at = (uint32_t)c->s3.v[object].value;
		for (unsigned i = 0; i < index; i++)
			at = c->next[at];
		memcpy(dst, slot(c, at), SV_BLOCK_BYTES);
		if (u->served & bits(index, 1))
			sv_s3_hit(&c->s3, object);
		u->served |= bits(index, 1);
		c->hits++;
	}
	pthread_mutex_unlock(&c->lock);
	return object != SV_S3_NONE;
}

static void let_go(struct sv_ram_cache *c, uint32_t object, bool remember)
{
	uint32_t at = (uint32_t)c->s3.v[object].value;

	for (unsigned i = 0; i < c->unit[object].blocks; i++) {
		uint32_t next = c->next[at];

		c->next[at] = c->unused;
		c->unused = at;
		at = next;
	}
	sv_s3_drop(&c->s3, object, remember);
}

static uint32_t take_slot(struct sv_ram_cache *c)
{
	uint32_t at = c->unused;

	if (at)
		c->unused = c->next[at];
	else
		at = c->fresh++;
	assert(at <= c->slots_count); /* the policy's bytes are slots */
	return at;
}

static void take_in(struct sv_ram_cache *c, uint32_t object, const uint8_t *data)
{
	uint32_t last = 0;

	for (unsigned i = 0; i < c->unit[object].blocks; i++) {
		uint32_t at = take_slot(c);

		memcpy(slot(c, at), data + (size_t)i * SV_BLOCK_BYTES, SV_BLOCK_BYTES);
		if (last)
			c->next[last] = at;
		else
			c->s3.v[object].value = at;
		last = at;
	}
}

void sv_ram_put(struct sv_ram_cache *c, uint64_t place, uint64_t generation, unsigned blocks,
		const uint8_t *data, unsigned index, unsigned count)
{
	uint64_t key = key_of(place, generation);
	uint32_t bytes = blocks * SV_BLOCK_BYTES, object;
	bool keep;

	if (!c->slots_count)
		return;
	pthread_mutex_lock(&c->lock);
	object = sv_s3_find(&c->s3, key);
	if (object && find(c, place, generation)) { /* another reader was first */
		pthread_mutex_unlock(&c->lock);
		return;
	}
	if (object)
		let_go(c, object, false); /* another unit with the same hash */
	while (sv_s3_is_full(&c->s3, bytes)) {
		object = sv_s3_step(&c->s3, &keep);
		if (!keep)
			let_go(c, object, true);
	}
	object = sv_s3_add(&c->s3, key, bytes, sv_s3_place(&c->s3, key));
	c->unit[object] = (struct sv_ram_unit){place, generation, bits(index, count), blocks};
	take_in(c, object, data);
	pthread_mutex_unlock(&c->lock);
}

uint64_t sv_ram_hits(struct sv_ram_cache *c)
{
	uint64_t hits;

	pthread_mutex_lock(&c->lock);
	hits = c->hits;
	pthread_mutex_unlock(&c->lock);
	return hits;
}
