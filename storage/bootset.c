/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bootset.c: what a guest needs from the stick while it starts: recorded at each run, merged over
 * the last five.
 *
 * A *run* begins with the opening of the store and ends when the guest settles. Of it is kept which
 * blocks were asked for and lay on the stick, each where it was needed first. The *set* is what the
 * next start will need, going by that; sweep.c reads it ahead of the guest, bootpack.c puts it in
 * order on the stick.
 *
 * B1  A set is a guess. Nothing that is read depends on it: it may be old, or nonsense.
 * B2  Bounded: a run and a set have at most SV_BOOT_BLOCKS blocks, the record SV_BOOT_MAX_BYTES.
 *     What is needed first is kept.
 * B3  A guest has settled when for ten seconds it needed less than a megabyte that it had not
 *     needed before; for a minute, where it has not read much yet (it may be waiting for a
 *     passphrase); or after five minutes, or at the bound.
 * B4  The set is carried by every root, so a crash leaves that of the newest root: this run's or
 *     the one before.
 */
#include "bootset.h"

#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define SEEN_SLOTS (SV_BOOT_BLOCKS * 2)
#define QUIET_MS 10000u
#define QUIET_BLOCKS 256u
#define LONG_QUIET_MS 60000u
#define STARTED_BLOCKS 2048u
#define MOST_MS 300000u

void sv_boot_free(struct sv_boot_set *set)
{
	free(set->v);
	*set = (struct sv_boot_set){0};
}

int sv_boot_add(struct sv_boot_set *set, uint64_t lba, uint32_t blocks, uint8_t runs)
{
	struct sv_boot_extent *last = set->count ? &set->v[set->count - 1] : NULL;

	if (blocks > SV_BOOT_BLOCKS - set->blocks)
		return -ENOSPC; /* B2 */
	if (last && last->lba + last->blocks == lba && last->runs == runs) {
		last->blocks += blocks;
		set->blocks += blocks;
		return 0;
	}
	if (!set->v || set->count == set->capacity) {
		uint32_t more = set->capacity ? set->capacity * 2 : 256;
		void *p = realloc(set->v, more * sizeof(set->v[0]));

		if (!p)
			return -ENOMEM;
		set->v = p;
		set->capacity = more;
	}
	set->v[set->count++] = (struct sv_boot_extent){.lba = lba, .blocks = blocks, .runs = runs};
	set->blocks += blocks;
	return 0;
}

/* ---- merging ---- */

/* A block of the last run, or one that only older runs needed. */
struct item {
	uint64_t lba;
	uint32_t key; /* where in the last run it stands, or the block it stood behind */
	uint32_t nth; /* behind that one; 0: it is of the last run */
	uint8_t runs;
};

struct merge {
	struct item *v;	     /* those of the last run first */
	struct item *by_lba; /* the same, sorted */
	uint32_t count, run_blocks;
};

static int by_lba(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return x->lba < y->lba ? -1 : x->lba > y->lba;
}

static int by_need(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->nth < y->nth ? -1 : x->nth > y->nth;
}

static void take_run(struct merge *m, const struct sv_boot_set *run)
{
	for (uint32_t i = 0; i < run->count; i++)
		for (uint32_t k = 0; k < run->v[i].blocks; k++) {
			m->v[m->count] = (struct item){
				.lba = run->v[i].lba + k, .key = m->count + 1, .runs = 1};
			m->count++;
		}
	m->run_blocks = m->count;
	memcpy(m->by_lba, m->v, m->count * sizeof(m->v[0]));
	qsort(m->by_lba, m->count, sizeof(m->v[0]), by_lba);
}

/* What the last run needed, too, tells what stood before what it did not need. */
static void take_older(struct merge *m, const struct sv_boot_set *set)
{
	uint32_t key = 0, nth = 1;

	for (uint32_t i = 0; i < set->count; i++) {
		unsigned shifted = (unsigned)set->v[i].runs << 1;
		uint8_t runs = (uint8_t)(shifted & ((1u << SV_BOOT_RUNS) - 1));

		for (uint32_t k = 0; k < set->v[i].blocks; k++) {
			struct item it = {.lba = set->v[i].lba + k};
			struct item *same =
				bsearch(&it, m->by_lba, m->run_blocks, sizeof(it), by_lba);

			if (same) {
				m->v[same->key - 1].runs |= runs;
				key = same->key;
			} else if (__builtin_popcount(runs) >= 2) {
				it.key = key;
				it.nth = nth++;
				it.runs = runs;
				m->v[m->count++] = it;
			}
		}
	}
}

static int put_merged(struct merge *m, struct sv_boot_set *out)
{
	int r = 0;

	qsort(m->v, m->count, sizeof(m->v[0]), by_need);
	for (uint32_t i = 0; r == 0 && i < m->count; i++)
		r = sv_boot_add(out, m->v[i].lba, 1, m->v[i].runs);
	return r == -ENOSPC ? 0 : r; /* B2 */
}

int sv_boot_merge(struct sv_boot_set *set, const struct sv_boot_set *run)
{
	size_t most = (size_t)run->blocks + set->blocks;
	struct merge m = {.v = calloc(most + 1, sizeof(m.v[0])),
			  .by_lba = calloc((size_t)run->blocks + 1, sizeof(m.v[0]))};
	struct sv_boot_set out = {.packed_bytes = set->packed_bytes,
				  .packed_check = set->packed_check};
	int r = m.v && m.by_lba ? 0 : -ENOMEM;

	if (r == 0) {
		take_run(&m, run);
		take_older(&m, set);
		r = put_merged(&m, &out);
	}
	free(m.v);
	free(m.by_lba);
	if (r < 0) {
		sv_boot_free(&out);
		return r;
	}
	out.runs = set->runs < SV_BOOT_RUNS ? set->runs + 1 : SV_BOOT_RUNS;
	sv_boot_free(set);
	*set = out;
	return 0;
}

/* ---- the run under way ---- */

void sv_boot_run_init(struct sv_boot_run *run, bool on)
{
	pthread_mutex_init(&run->lock, NULL);
	atomic_init(&run->on, on);
}

void sv_boot_run_free(struct sv_boot_run *run)
{
	atomic_store(&run->on, false);
	sv_boot_free(&run->set);
	free(run->seen);
	run->seen = NULL;
	pthread_mutex_destroy(&run->lock);
}

/* False where it was there already. */
static bool see(uint64_t *table, uint64_t lba)
{
	uint32_t i = (uint32_t)((lba + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 32) % SEEN_SLOTS;

	while (table[i] && table[i] != lba + 1)
		i = (i + 1) % SEEN_SLOTS;
	if (table[i])
		return false;
	table[i] = lba + 1;
	return true;
}

static void note(struct sv_boot_run *run, uint64_t lba, uint32_t blocks)
{
	for (uint32_t i = 0; i < blocks && atomic_load(&run->on); i++)
		if (run->set.blocks < SV_BOOT_BLOCKS && see(run->seen, lba + i) &&
		    sv_boot_add(&run->set, lba + i, 1, 1) < 0)
			atomic_store(&run->on, false);
}

void sv_boot_note(struct sv_boot_run *run, uint64_t lba, uint32_t blocks, uint64_t now_ms)
{
	if (!atomic_load_explicit(&run->on, memory_order_relaxed))
		return;
	pthread_mutex_lock(&run->lock);
	if (!run->seen)
		run->seen = calloc(SEEN_SLOTS, sizeof(run->seen[0]));
	if (!run->seen)
		atomic_store(&run->on, false);
	if (!run->first_ms)
		run->first_ms = run->mark_ms = now_ms;
	note(run, lba, blocks);
	pthread_mutex_unlock(&run->lock);
}

bool sv_boot_settled(struct sv_boot_run *run, uint64_t now_ms)
{
	uint64_t quiet_ms;
	bool settled;

	pthread_mutex_lock(&run->lock);
	if (run->set.blocks - run->mark_blocks >= QUIET_BLOCKS) {
		run->mark_blocks = run->set.blocks;
		run->mark_ms = now_ms;
	}
	quiet_ms = run->set.blocks < STARTED_BLOCKS ? LONG_QUIET_MS : QUIET_MS;
	settled = run->first_ms &&
		  (now_ms - run->mark_ms >= quiet_ms || now_ms - run->first_ms >= MOST_MS ||
		   run->set.blocks == SV_BOOT_BLOCKS);
	pthread_mutex_unlock(&run->lock);
	return settled;
}

/* ---- of a store ---- */

void sv_boot_begin(struct sv_store *s, bool record)
{
	sv_boot_run_init(&s->boot_run, record);
	sv_sweep_init(s);
}

void sv_boot_end(struct sv_store *s)
{
	sv_sweep_free(s);
	sv_boot_free(&s->boot);
	sv_boot_run_free(&s->boot_run);
}

uint32_t sv_boot_limit(const struct sv_store *s)
{
	return (uint32_t)sv_min64(SV_BOOT_MAX_BYTES, s->anchor.segment_bytes / 32);
}

void sv_boot_finish(struct sv_store *s)
{
	struct sv_boot_run *run = &s->boot_run;
	struct sv_boot_set recorded;

	if (s->opts.read_only || !atomic_exchange(&run->on, false))
		return;
	pthread_mutex_lock(&run->lock);
	recorded = run->set;
	run->set = (struct sv_boot_set){0};
	free(run->seen);
	run->seen = NULL;
	pthread_mutex_unlock(&run->lock);
	if (recorded.blocks >= SV_BOOT_LEAST_BLOCKS) {
		pthread_mutex_lock(&s->lock);
		(void)sv_boot_merge(&s->boot, &recorded); /* without memory: as it was (B1) */
		pthread_mutex_unlock(&s->lock);
	}
	sv_boot_free(&recorded);
}

void sv_boot_tick(struct sv_store *s)
{
	if (!atomic_load(&s->boot_run.on) || !sv_boot_settled(&s->boot_run, sv_now_ms()))
		return;
	sv_boot_finish(s);
	sv_sweep_forget(s);
}
