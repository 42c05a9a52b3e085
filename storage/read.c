/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * read.c: a read is planned under the lock (memory, hole, or a place on the device for each
 * block) and carried out without it. A segment may be reused between the two; then its units do
 * not verify under the generation that the plan names (S4), and the block is planned again. What
 * still does not verify is damaged: -EIO for it, never other bytes.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "store_impl.h"

#define RETRIES 3

struct plan {
	uint64_t entry[SV_READ_MAX_BLOCKS]; /* 0: already in the destination */
	uint64_t generation[SV_READ_MAX_BLOCKS];
};

int sv_reads_init(struct sv_store *s)
{
	pthread_mutex_init(&s->scratch_lock, NULL);
	pthread_cond_init(&s->scratch_free, NULL);
	pthread_mutex_init(&s->cache_lock, NULL);
	for (unsigned i = 0; i < SV_SCRATCHES; i++) {
		struct sv_scratch *x = &s->scratches[i];
		size_t len =
			sv_align_up(SV_SCRATCH_BYTES, 4096) + SV_UNIT_MAX_BLOCKS * SV_BLOCK_BYTES;

		x->io = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (x->io == MAP_FAILED) {
			x->io = NULL;
			return -ENOMEM;
		}
		x->blocks = x->io + sv_align_up(SV_SCRATCH_BYTES, 4096);
		x->next = s->scratch;
		s->scratch = x;
	}
	if (sv_stream_init(s) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < SV_CACHED_UNITS; i++) {
		s->cached[i].data = malloc(SV_UNIT_MAX_BLOCKS * SV_BLOCK_BYTES);
		if (!s->cached[i].data)
			return -ENOMEM;
	}
	return 0;
}

void sv_reads_free(struct sv_store *s)
{
	size_t len = sv_align_up(SV_SCRATCH_BYTES, 4096) + SV_UNIT_MAX_BLOCKS * SV_BLOCK_BYTES;

	for (unsigned i = 0; i < SV_SCRATCHES; i++)
		if (s->scratches[i].io)
			munmap(s->scratches[i].io, len);
	sv_stream_free(s);
	for (unsigned i = 0; i < SV_CACHED_UNITS; i++)
		free(s->cached[i].data);
	pthread_mutex_destroy(&s->scratch_lock);
	pthread_cond_destroy(&s->scratch_free);
	pthread_mutex_destroy(&s->cache_lock);
}

struct sv_scratch *sv_scratch_get(struct sv_store *s)
{
	struct sv_scratch *x;

	pthread_mutex_lock(&s->scratch_lock);
	while (!s->scratch)
		pthread_cond_wait(&s->scratch_free, &s->scratch_lock);
	x = s->scratch;
	s->scratch = x->next;
	pthread_mutex_unlock(&s->scratch_lock);
	return x;
}

void sv_scratch_put(struct sv_store *s, struct sv_scratch *x)
{
	pthread_mutex_lock(&s->scratch_lock);
	x->next = s->scratch;
	s->scratch = x;
	pthread_cond_signal(&s->scratch_free);
	pthread_mutex_unlock(&s->scratch_lock);
}

/* The generation under which a unit is to verify; -EIO where no unit can lie. With lock held. */
static int generation_of(const struct sv_store *s, uint64_t entry, uint64_t *ret_generation)
{
	uint64_t segment = sv_entry_place(entry) / s->anchor.segment_bytes;
	uint64_t inside = sv_entry_place(entry) % s->anchor.segment_bytes;

	if (segment >= s->segs.count || inside + sv_entry_stored(entry) > s->anchor.segment_bytes)
		return -EIO;
	*ret_generation = s->segs.v[segment].usage.generation;
	return 0;
}

/* Block by block: from a batch in memory, a hole, or where on the device. 0, -EAGAIN. */
static int plan_blocks(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks,
		       struct plan *plan, struct sv_need *need)
{
	for (unsigned i = 0; i < blocks; i++) {
		uint8_t *out = dst + (size_t)i * SV_BLOCK_BYTES;
		const struct sv_batch *open = &s->batch[s->open];
		const struct sv_batch *old = &s->batch[!s->open];
		bool zero = false;
		uint64_t entry = 0;
		const uint8_t *mem = sv_batch_find(open, &s->arena, lba + i, &zero);
		int r;

		if (!mem && !zero && s->sealing)
			mem = sv_batch_find(old, &s->arena, lba + i, &zero);
		if (!mem && !zero) {
			r = sv_map_get(&s->map, lba + i, &entry, need);
			if (r < 0)
				return r;
		}
		if (mem)
			memcpy(out, mem, SV_BLOCK_BYTES);
		else if (!entry)
			memset(out, 0, SV_BLOCK_BYTES);
		plan->entry[i] = entry;
		if (entry == SV_ENTRY_LOST)
			return -EIO;
		r = entry ? generation_of(s, entry, &plan->generation[i]) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static bool cache_get(struct sv_store *s, uint64_t place, uint64_t generation, unsigned index,
		      uint8_t *dst)
{
	bool hit = false;

	pthread_mutex_lock(&s->cache_lock);
	for (unsigned i = 0; i < SV_CACHED_UNITS && !hit; i++) {
		struct sv_cached *c = &s->cached[i];

		if (c->place != place || c->generation != generation || index >= c->blocks)
			continue;
		memcpy(dst, c->data + (size_t)index * SV_BLOCK_BYTES, SV_BLOCK_BYTES);
		c->tick = ++s->cache_tick;
		hit = true;
	}
	pthread_mutex_unlock(&s->cache_lock);
	return hit;
}

static void cache_put(struct sv_store *s, uint64_t place, uint64_t generation, unsigned blocks,
		      const uint8_t *data)
{
	struct sv_cached *oldest = &s->cached[0];

	pthread_mutex_lock(&s->cache_lock);
	for (unsigned i = 1; i < SV_CACHED_UNITS; i++)
		if (s->cached[i].tick < oldest->tick)
			oldest = &s->cached[i];
	oldest->place = place;
	oldest->generation = generation;
	oldest->blocks = blocks;
	oldest->tick = ++s->cache_tick;
	memcpy(oldest->data, data, (size_t)blocks * SV_BLOCK_BYTES);
	pthread_mutex_unlock(&s->cache_lock);
}

/* One unit whose bytes are at `src`: its blocks [first, first + n) of the plan to `dst`. */
static int deliver(struct sv_store *s, struct sv_scratch *x, const struct plan *plan,
		   unsigned first, unsigned n, uint64_t lba, const uint8_t *src, uint8_t *dst)
{
	uint64_t entry = plan->entry[first];
	unsigned index = sv_entry_index(entry);
	struct sv_binding bind = {.store_id = s->anchor.store_id,
				  .generation = plan->generation[first],
				  .place = sv_entry_place(entry),
				  .subject = lba + first - index};
	struct sv_unit unit;
	int r = sv_unit_verify(&bind, src, sv_entry_stored(entry), &unit);

	if (r < 0 || unit.kind != SV_UNIT_DATA || index + n > unit.blocks)
		return -EBADMSG;
	if (unit.codec == SV_CODEC_NONE && unit.payload_bytes == unit.blocks * SV_BLOCK_BYTES) {
		memcpy(dst, src + SV_UNIT_HEAD_BYTES + (size_t)index * SV_BLOCK_BYTES,
		       (size_t)n * SV_BLOCK_BYTES);
		return 0;
	}
	if (index == 0 && n == unit.blocks)
		return sv_unit_expand(&unit, src, dst);
	r = sv_unit_expand(&unit, src, x->blocks);
	if (r < 0)
		return r;
	memcpy(dst, x->blocks + (size_t)index * SV_BLOCK_BYTES, (size_t)n * SV_BLOCK_BYTES);
	cache_put(s, bind.place, bind.generation, unit.blocks, x->blocks);
	return 0;
}

/* How many blocks from `first` on are consecutive blocks of one unit. */
static unsigned run_of(const struct plan *plan, unsigned first, unsigned blocks)
{
	unsigned n = 1;

	while (first + n < blocks && plan->entry[first + n] &&
	       sv_entry_same_unit(plan->entry[first], plan->entry[first + n]) &&
	       sv_entry_index(plan->entry[first + n]) == sv_entry_index(plan->entry[first]) + n)
		n++;
	return n;
}

/* Reads the units of blocks [first, ...) that lie one behind the other in one go; says how many
 * blocks that served. Blocks that do not verify keep their entry, the others lose it. */
static int read_span(struct sv_store *s, struct sv_scratch *x, struct plan *plan, unsigned first,
		     unsigned blocks, uint64_t lba, uint8_t *dst, unsigned *ret_served)
{
	uint64_t from = sv_entry_place(plan->entry[first]);
	uint64_t to = from + sv_entry_stored(plan->entry[first]);
	unsigned end = first + run_of(plan, first, blocks);
	uint8_t *data;
	int r;

	while (end < blocks && sv_entry_place(plan->entry[end]) == to && plan->entry[end] &&
	       to + sv_entry_stored(plan->entry[end]) - from <= SV_SCRATCH_BYTES - 2 * 4096u &&
	       to / s->anchor.segment_bytes == from / s->anchor.segment_bytes) {
		to += sv_entry_stored(plan->entry[end]);
		end += run_of(plan, end, blocks);
	}
	r = sv_read_raw(s, x, from, (uint32_t)(to - from), true, &data);
	if (r < 0)
		return r;
	*ret_served = end - first;
	while (first < end) {
		unsigned n = run_of(plan, first, end);

		if (deliver(s, x, plan, first, n, lba,
			    data + (sv_entry_place(plan->entry[first]) - from),
			    dst + (size_t)first * SV_BLOCK_BYTES) == 0)
			memset(&plan->entry[first], 0, n * sizeof(plan->entry[0]));
		first += n;
	}
	return 0;
}

/* Carries a plan out. Entries that are left did not verify. */
static int read_plan(struct sv_store *s, struct sv_scratch *x, struct plan *plan, uint64_t lba,
		     unsigned blocks, uint8_t *dst)
{
	for (unsigned i = 0; i < blocks;) {
		unsigned served = 1;
		int r;

		if (!plan->entry[i]) {
			i++;
			continue;
		}
		if (!(plan->entry[i] & SV_ENTRY_SINGLE) &&
		    cache_get(s, sv_entry_place(plan->entry[i]), plan->generation[i],
			      sv_entry_index(plan->entry[i]), dst + (size_t)i * SV_BLOCK_BYTES)) {
			plan->entry[i++] = 0;
			continue;
		}
		r = read_span(s, x, plan, i, blocks, lba, dst, &served);
		if (r < 0)
			return r;
		i += served;
	}
	return 0;
}

static bool all_served(const struct plan *plan, unsigned blocks)
{
	for (unsigned i = 0; i < blocks; i++)
		if (plan->entry[i])
			return false;
	return true;
}

static int plan_with_faults(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks,
			    struct plan *plan)
{
	struct sv_need need;
	int r;

	do {
		pthread_mutex_lock(&s->lock);
		r = plan_blocks(s, dst, lba, blocks, plan, &need);
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN && (r = sv_fault(s, &need)) == 0)
			r = -EAGAIN;
	} while (r == -EAGAIN);
	return r;
}

int sv_read_blocks(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks)
{
	struct plan plan;
	int r = 0;

	assert(blocks <= SV_READ_MAX_BLOCKS);
	for (unsigned attempt = 0; attempt < RETRIES; attempt++) {
		struct sv_scratch *x;

		r = plan_with_faults(s, dst, lba, blocks, &plan);
		if (r < 0 || all_served(&plan, blocks))
			break;
		x = sv_scratch_get(s); /* not kept over a fault, which takes one, too */
		r = read_plan(s, x, &plan, lba, blocks, dst);
		sv_scratch_put(s, x);
		if (r < 0 || all_served(&plan, blocks))
			break;
		sv_stream_drop(s); /* A1 */
		r = -EIO;
	}
	return r;
}
