/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * read.c: a read is planned under the lock (memory, hole, or a place on the device for each
 * block) and carried out without it. A segment may be reused between the two; then its units do
 * not verify under the generation that the plan names (S4), and the block is planned again. What
 * still does not verify is damaged: -EIO for it, never other bytes.
 *
 * Carried out: each unit from memory (cache_ram.c), else from the host's disk (cache_host.c), else
 * from the stick. Whoever looks after the stick (check, scrubbing) reads nothing else.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "store_impl.h"

#define RETRIES 3
/* Larger requests are a stream's: they pass memory by. */
#define RAM_MOST_BLOCKS 32u

struct plan {
	uint64_t entry[SV_READ_MAX_BLOCKS]; /* 0: already in the destination */
	uint64_t generation[SV_READ_MAX_BLOCKS];
	uint32_t lineage[SV_READ_MAX_BLOCKS];
};

/* A request on its way. */
struct job {
	struct sv_store *s;
	struct sv_scratch *x;
	struct plan *plan;
	uint8_t *dst;
	uint64_t lba;
	unsigned blocks;
	bool caches; /* may serve it */
};

int sv_reads_init(struct sv_store *s)
{
	pthread_mutex_init(&s->scratch_lock, NULL);
	pthread_cond_init(&s->scratch_free, NULL);
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
	return sv_ram_init(&s->ram, s->opts.cache_ram_bytes);
}

void sv_reads_free(struct sv_store *s)
{
	size_t len = sv_align_up(SV_SCRATCH_BYTES, 4096) + SV_UNIT_MAX_BLOCKS * SV_BLOCK_BYTES;

	for (unsigned i = 0; i < SV_SCRATCHES; i++)
		if (s->scratches[i].io)
			munmap(s->scratches[i].io, len);
	sv_stream_free(s);
	sv_ram_free(&s->ram);
	pthread_mutex_destroy(&s->scratch_lock);
	pthread_cond_destroy(&s->scratch_free);
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
static int generation_of(const struct sv_store *s, uint64_t entry, struct plan *plan, unsigned i)
{
	uint64_t segment = sv_entry_place(entry) / s->anchor.segment_bytes;
	uint64_t inside = sv_entry_place(entry) % s->anchor.segment_bytes;

	if (segment >= s->segs.count || inside + sv_entry_stored(entry) > s->anchor.segment_bytes)
		return -EIO;
	plan->generation[i] = s->segs.v[segment].usage.generation;
	plan->lineage[i] = s->segs.v[segment].usage.lineage;
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
		r = entry ? generation_of(s, entry, plan, i) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* One unit whose bytes are at `src`, for the n blocks from `first` on. */
static int deliver(struct job *j, unsigned first, unsigned n, const uint8_t *src)
{
	uint64_t entry = j->plan->entry[first];
	unsigned index = sv_entry_index(entry);
	struct sv_binding bind = {.store_id = j->s->anchor.store_id,
				  .generation = j->plan->generation[first],
				  .place = sv_entry_place(entry),
				  .subject = j->lba + first - index};
	uint8_t *out = j->dst + (size_t)first * SV_BLOCK_BYTES;
	const uint8_t *blocks = out;
	struct sv_unit unit;
	int r = sv_unit_verify(&bind, src, sv_entry_stored(entry), &unit);

	if (r < 0 || unit.kind != SV_UNIT_DATA || index + n > unit.blocks)
		return -EBADMSG;
	if (index == 0 && n == unit.blocks) {
		r = sv_unit_expand(&unit, src, out);
	} else {
		blocks = j->x->blocks;
		r = sv_unit_expand(&unit, src, j->x->blocks);
		if (r == 0)
			memcpy(out, blocks + (size_t)index * SV_BLOCK_BYTES,
			       (size_t)n * SV_BLOCK_BYTES);
	}
	if (r == 0 && j->caches && (blocks != out || j->blocks <= RAM_MOST_BLOCKS))
		sv_ram_put(&j->s->ram, bind.place, bind.generation, unit.blocks, blocks, index, n);
	return r;
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

static struct sv_host_key host_key(const struct plan *plan, unsigned i)
{
	return (struct sv_host_key){.place = sv_entry_place(plan->entry[i]),
				    .generation = plan->generation[i],
				    .lineage = plan->lineage[i],
				    .len_bytes = sv_entry_stored(plan->entry[i])};
}

/* The same out of what was read ahead of a guest that starts. */
static unsigned read_swept(struct job *j, unsigned i)
{
	struct sv_host_key key = host_key(j->plan, i);
	unsigned n = run_of(j->plan, i, j->blocks);

	if (!sv_sweep_read(j->s, key.place, key.len_bytes, j->x->io) ||
	    deliver(j, i, n, j->x->io) < 0)
		return 0;
	if (j->s->host)
		sv_host_offer(j->s->host, &key, j->x->io);
	memset(&j->plan->entry[i], 0, n * sizeof(j->plan->entry[0]));
	return n;
}

/* Block i, and those of its unit that follow, without the stick; how many, 0: none. */
static unsigned read_cached(struct job *j, unsigned i)
{
	struct plan *plan = j->plan;
	uint64_t entry = plan->entry[i];
	unsigned n = 1;

	if (!j->caches)
		return 0;
	if (sv_ram_get(&j->s->ram, sv_entry_place(entry), plan->generation[i],
		       sv_entry_index(entry), j->dst + (size_t)i * SV_BLOCK_BYTES)) {
		plan->entry[i] = 0;
		return 1;
	}
	if (j->s->host) {
		struct sv_host_key key = host_key(plan, i);
		uint8_t *unit;

		n = run_of(plan, i, j->blocks);
		if (sv_host_read(j->s->host, &key, j->x->io, &unit) &&
		    deliver(j, i, n, unit) == 0) {
			memset(&plan->entry[i], 0, n * sizeof(plan->entry[0]));
			return n;
		}
	}
	return read_swept(j, i);
}

/* Reads the units of blocks [first, ...) that lie one behind the other in one go; says how many
 * blocks that served. Blocks that do not verify keep their entry, the others lose it. */
static int read_span(struct job *j, unsigned first, unsigned *ret_served)
{
	const struct sv_store *s = j->s;
	struct plan *plan = j->plan;
	uint64_t from = sv_entry_place(plan->entry[first]);
	uint64_t to = from + sv_entry_stored(plan->entry[first]);
	unsigned end = first + run_of(plan, first, j->blocks);
	uint8_t *data;
	int r;

	while (end < j->blocks && sv_entry_place(plan->entry[end]) == to && plan->entry[end] &&
	       to + sv_entry_stored(plan->entry[end]) - from <= SV_SCRATCH_BYTES - 2 * 4096u &&
	       to / s->anchor.segment_bytes == from / s->anchor.segment_bytes) {
		to += sv_entry_stored(plan->entry[end]);
		end += run_of(plan, end, j->blocks);
	}
	r = sv_read_raw(j->s, j->x, from, (uint32_t)(to - from), true, &data);
	if (r < 0)
		return r;
	*ret_served = end - first;
	while (first < end) {
		unsigned n = run_of(plan, first, end);
		const uint8_t *unit = data + (sv_entry_place(plan->entry[first]) - from);
		struct sv_host_key key = host_key(plan, first);

		if (deliver(j, first, n, unit) == 0) {
			if (s->host && j->caches)
				sv_host_offer(s->host, &key, unit);
			memset(&plan->entry[first], 0, n * sizeof(plan->entry[0]));
		}
		first += n;
	}
	return 0;
}

/* Carries a plan out. Entries that are left did not verify. */
static int read_plan(struct job *j)
{
	for (unsigned i = 0; i < j->blocks;) {
		unsigned served = 1;
		int r;

		if (!j->plan->entry[i]) {
			i++;
			continue;
		}
		served = read_cached(j, i);
		if (served == 0) {
			r = read_span(j, i, &served);
			if (r < 0)
				return r;
		}
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

/* Requests of a megabyte are a copy's or a check's, not a start's. */
static void note_need(struct sv_store *s, const struct plan *plan, uint64_t lba, unsigned blocks)
{
	unsigned first = 0;

	if (blocks == SV_READ_MAX_BLOCKS)
		return;
	for (unsigned i = 0; i <= blocks; i++)
		if (i == blocks || !plan->entry[i]) {
			if (i > first)
				sv_boot_note(&s->boot_run, lba + first, i - first, sv_now_ms());
			first = i + 1;
		}
}

static int read_blocks(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks, bool caches)
{
	struct plan plan;
	struct job j = {
		.s = s, .plan = &plan, .dst = dst, .lba = lba, .blocks = blocks, .caches = caches};
	int r = 0;

	assert(blocks <= SV_READ_MAX_BLOCKS);
	for (unsigned attempt = 0; attempt < RETRIES; attempt++) {
		r = plan_with_faults(s, dst, lba, blocks, &plan);
		if (r == 0 && caches && attempt == 0)
			note_need(s, &plan, lba, blocks);
		if (r < 0 || all_served(&plan, blocks))
			break;
		j.x = sv_scratch_get(s); /* not kept over a fault, which takes one, too */
		r = read_plan(&j);
		sv_scratch_put(s, j.x);
		if (r < 0 || all_served(&plan, blocks))
			break;
		sv_stream_drop(s); /* A1 */
		r = -EIO;
	}
	return r;
}

int sv_read_blocks(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks)
{
	return read_blocks(s, dst, lba, blocks, true);
}

int sv_read_stick(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks)
{
	return read_blocks(s, dst, lba, blocks, false);
}
