/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.c: the public face: opening, guest I/O, status, closing, and the keeper, the one thread of
 * its own that a store has.
 *
 * A write is copied into the open batch and acknowledged (B2: its space is reserved first). Each
 * acknowledged write or discard moves `stamp` on; a flush waits until everything up to the stamp
 * it saw is durable. Whoever comes first seals for all who wait (commit.c), so flushes share seals.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "store_impl.h"

#define DEFAULT_MAP_RAM_BYTES (36u << 20)
#define DEFAULT_BATCH_BYTES (16u << 20)
#define LEAST_BATCH_BYTES (128u << 10)
#define DEFAULT_AGE_MS 2000u
#define DEFAULT_CACHE_RAM_BYTES (16u << 20)
#define DEFAULT_UNIT_BYTES (16u << 10)
#define HEAD_MOST_BYTES (64u << 10) /* of a part that is applied: 32 KiB of records and more */
#define KEEPER_MS 100u
/* Segments kept ready where the first write of one costs the host's file system metadata. */
#define READY_LEAST_BYTES (32u << 20)
#define READY_MOST_BYTES (2048u << 20)
#define QUIET_MS 500u

static _Thread_local char why[160] = "";

void sv_why(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
}

const char *sv_store_why(void)
{
	return why;
}

/* ---- guest I/O ---- */

static int check_range(const struct sv_store *s, uint64_t len, uint64_t off)
{
	if (len % 512 || off % 512 || off > s->size_bytes || len > s->size_bytes - off)
		return -EINVAL;
	return 0;
}

int sv_store_read(struct sv_store *s, void *buf, size_t len, uint64_t off)
{
	uint8_t *dst = buf, block[SV_BLOCK_BYTES];
	size_t done = 0;
	int r = check_range(s, len, off);

	while (r == 0 && done < len) {
		uint64_t lba = (off + done) / SV_BLOCK_BYTES;
		size_t skip = (off + done) % SV_BLOCK_BYTES;
		size_t n = sv_min64(len - done, SV_BLOCK_BYTES - skip);

		if (skip || n < SV_BLOCK_BYTES) {
			r = sv_read_blocks(s, block, lba, 1);
			if (r == 0)
				memcpy(dst + done, block + skip, n);
		} else {
			n = sv_align_down(len - done, SV_BLOCK_BYTES);
			n = sv_min64(n, SV_READ_MAX_BLOCKS * SV_BLOCK_BYTES);
			r = sv_read_blocks(s, dst + done, lba, (unsigned)(n / SV_BLOCK_BYTES));
		}
		done += n;
	}
	if (r == 0)
		atomic_fetch_add_explicit(&s->tally.guest_read, len, memory_order_relaxed);
	return r;
}

/* A quarter is sealed while the rest fills. */
static uint32_t seal_slots(const struct sv_store *s)
{
	return s->limit_slots / 4;
}

/* Waits until the open batch takes one more block; the lock is held, and given up meanwhile. */
static int wait_for_slot(struct sv_store *s)
{
	uint64_t stamp = s->stamp;
	int r = sv_is_detached(s) ? -ENODEV : s->log.flush_error;

	if (r < 0)
		return r;
	if (!s->keeper_runs) {
		pthread_mutex_unlock(&s->lock);
		r = sv_seal(s, stamp, false);
		pthread_mutex_lock(&s->lock);
		return r;
	}
	s->waiting_writers++;
	pthread_cond_signal(&s->wake);
	pthread_cond_wait(&s->room, &s->lock);
	s->waiting_writers--;
	return s->seal_error;
}

static bool has_slot(const struct sv_store *s)
{
	const struct sv_batch *b = &s->batch[s->open];

	return s->arena.free_slots && b->count < b->capacity &&
	       s->arena.slots - s->arena.free_slots < s->limit_slots;
}

/* Looks for space; the lock is held, and given up meanwhile. */
static int wait_for_space(struct sv_store *s)
{
	int r;

	pthread_mutex_unlock(&s->lock);
	r = sv_find_space(s);
	pthread_mutex_lock(&s->lock);
	return r;
}

/* Memory of the open batch for a block, new or there already. With the lock held; -ENOSPC: it was
 * not given up, and there may be space yet. */
static int block_in_batch(struct sv_store *s, uint64_t lba, uint8_t **ret_block, bool *ret_new)
{
	for (;;) {
		struct sv_batch *b = &s->batch[s->open];
		bool zero;
		uint8_t *p = sv_batch_find(b, &s->arena, lba, &zero);
		int r;

		if (s->parking)
			return -ENODEV; /* X1 */
		*ret_new = !p;
		if (!p) {
			if (!sv_has_space(s, 1))
				return -ENOSPC;
			if (sv_batch_empty(b))
				b->first_ms = sv_now_ms();
			if (has_slot(s))
				p = sv_batch_add(b, &s->arena, lba);
		}
		if (p) {
			*ret_block = p;
			return 0;
		}
		r = wait_for_slot(s);
		if (r < 0)
			return r;
	}
}

static uint32_t *version_of(struct sv_store *s, uint64_t lba)
{
	return &s->version[lba % SV_VERSIONS];
}

/* A block that is not in the open batch yet, as a read finds it, into the batch. -EAGAIN: it was
 * written meanwhile, or the lock was given up. With the lock held. */
static int bring_in(struct sv_store *s, uint64_t lba, uint8_t **ret_block)
{
	uint32_t version = *version_of(s, lba);
	uint8_t block[SV_BLOCK_BYTES];
	bool fresh;
	int r;

	pthread_mutex_unlock(&s->lock);
	r = sv_read_blocks(s, block, lba, 1);
	pthread_mutex_lock(&s->lock);
	if (r < 0)
		return r;
	if (!has_slot(s)) {
		r = wait_for_slot(s);
		return r < 0 ? r : -EAGAIN;
	}
	if (!sv_has_space(s, 1)) {
		r = wait_for_space(s);
		return r < 0 ? r : -EAGAIN;
	}
	if (*version_of(s, lba) != version)
		return -EAGAIN;
	r = block_in_batch(s, lba, ret_block, &fresh);
	if (r == 0)
		memcpy(*ret_block, block, SV_BLOCK_BYTES);
	return r;
}

/* Part of a block: the rest of it comes from where a read would find it. */
static int write_partial(struct sv_store *s, const uint8_t *src, uint64_t lba, size_t skip,
			 size_t len)
{
	bool zero;
	uint8_t *p;
	int r;

	pthread_mutex_lock(&s->lock);
	do {
		r = s->parking ? -ENODEV : 0; /* X1 */
		p = sv_batch_find(&s->batch[s->open], &s->arena, lba, &zero);
		if (!p && r == 0)
			r = bring_in(s, lba, &p);
	} while (r == -EAGAIN);
	if (r == 0) {
		memcpy(p + skip, src, len);
		++*version_of(s, lba);
		s->stamp++;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int write_whole(struct sv_store *s, const uint8_t *src, uint64_t lba, size_t blocks)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; r == 0 && i < blocks; i++) {
		uint8_t *p;
		bool fresh;

		while ((r = block_in_batch(s, lba + i, &p, &fresh)) == -ENOSPC)
			if ((r = wait_for_space(s)) < 0)
				break;
		if (r < 0)
			break;
		memcpy(p, src + i * SV_BLOCK_BYTES, SV_BLOCK_BYTES);
		if (!fresh)
			s->ledger.coalesced_bytes += SV_BLOCK_BYTES;
		++*version_of(s, lba + i);
		s->stamp++;
	}
	if (s->keeper_runs && s->arena.slots - s->arena.free_slots >= seal_slots(s))
		pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
	return r;
}

int sv_store_write(struct sv_store *s, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *src = buf;
	size_t done = 0;
	int r = check_range(s, len, off);

	if (r == 0 && s->opts.read_only)
		r = -EROFS;
	while (r == 0 && done < len) {
		uint64_t lba = (off + done) / SV_BLOCK_BYTES;
		size_t skip = (off + done) % SV_BLOCK_BYTES;
		size_t n = sv_min64(len - done, SV_BLOCK_BYTES - skip);

		if (skip || n < SV_BLOCK_BYTES) {
			r = write_partial(s, src + done, lba, skip, n);
		} else {
			n = sv_align_down(len - done, SV_BLOCK_BYTES);
			r = write_whole(s, src + done, lba, n / SV_BLOCK_BYTES);
		}
		done += n;
	}
	if (r == 0)
		atomic_fetch_add_explicit(&s->tally.guest_written, len, memory_order_relaxed);
	return r;
}

int sv_store_flush(struct sv_store *s)
{
	uint64_t stamp;
	int r;

	if (s->opts.read_only || atomic_load(&s->parking)) /* X1 */
		return 0;
	pthread_mutex_lock(&s->lock);
	stamp = s->stamp;
	s->ledger.flushes++;
	s->flushing++;
	pthread_mutex_unlock(&s->lock);
	r = sv_seal(s, stamp, true);
	pthread_mutex_lock(&s->lock);
	s->flushing--;
	s->quiet_ms = sv_now_ms();
	pthread_mutex_unlock(&s->lock);
	return r;
}

static const uint8_t zeros[SV_BLOCK_BYTES];

static int discard_whole(struct sv_store *s, uint64_t lba, uint64_t end)
{
	int r;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct sv_batch *b = &s->batch[s->open];

		r = -ENODEV;
		if (s->parking)
			break; /* X1 */
		if (sv_batch_empty(b))
			b->first_ms = sv_now_ms();
		r = sv_batch_discard(b, &s->arena, lba, end);
		if (r != -ENOBUFS)
			break;
		r = wait_for_slot(s);
		if (r < 0)
			break;
	}
	if (r == 0) {
		s->stamp++;
		for (unsigned i = 0; i < SV_VERSIONS; i++)
			s->version[i]++;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int sv_store_discard(struct sv_store *s, uint64_t len, uint64_t off)
{
	uint64_t end = off + len, lba, stop;
	int r = check_range(s, len, off);

	if (r == 0 && s->opts.read_only)
		r = -EROFS;
	if (r < 0 || len == 0)
		return r;
	lba = (off + SV_BLOCK_BYTES - 1) / SV_BLOCK_BYTES;
	stop = end == s->size_bytes ? s->blocks : end / SV_BLOCK_BYTES;
	if (off % SV_BLOCK_BYTES) {
		uint64_t n = sv_min64(len, lba * SV_BLOCK_BYTES - off);

		r = sv_store_write(s, zeros, n, off);
	}
	if (r == 0 && lba < stop)
		r = discard_whole(s, lba, stop);
	if (r == 0 && stop >= lba && end > stop * SV_BLOCK_BYTES)
		r = sv_store_write(s, zeros, end - stop * SV_BLOCK_BYTES, stop * SV_BLOCK_BYTES);
	if (r == 0)
		atomic_fetch_add_explicit(&s->tally.guest_discarded, len, memory_order_relaxed);
	return r;
}

/* Whether a block holds data (in memory or on the device); if not, the next that may. */
static int probe_block(struct sv_store *s, uint64_t lba, bool *ret_data, uint64_t *ret_next,
		       struct sv_need *need)
{
	uint64_t entry;
	bool zero = false;
	int r;

	*ret_next = lba + 1;
	*ret_data = true;
	if (sv_batch_find(&s->batch[s->open], &s->arena, lba, &zero))
		return 0;
	if (!zero && s->sealing && sv_batch_find(&s->batch[!s->open], &s->arena, lba, &zero))
		return 0;
	*ret_data = false;
	if (zero)
		return 0;
	r = sv_map_get(&s->map, lba, &entry, need);
	if (r < 0)
		return r;
	*ret_data = entry != 0;
	if (!entry && sv_batch_empty(&s->batch[s->open]) && !s->sealing) {
		r = sv_map_next(&s->map, lba, ret_next, need);
		*ret_next = sv_max64(*ret_next, lba + 1);
	}
	return r;
}

int sv_store_seek(struct sv_store *s, enum sv_seek what, uint64_t off, uint64_t *ret_off)
{
	uint64_t lba = off / SV_BLOCK_BYTES, next;
	struct sv_need need;
	bool data;

	if (off >= s->size_bytes)
		return -ENXIO;
	while (lba < s->blocks) {
		int r;

		pthread_mutex_lock(&s->lock);
		r = probe_block(s, lba, &data, &next, &need);
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN && (r = sv_fault(s, &need)) == 0)
			continue;
		if (r < 0)
			return r;
		if (data == (what == SV_SEEK_DATA))
			break;
		lba = next;
	}
	if (lba >= s->blocks) {
		if (what == SV_SEEK_DATA)
			return -ENXIO;
		*ret_off = s->size_bytes;
		return 0;
	}
	*ret_off = sv_max64(off, lba * SV_BLOCK_BYTES);
	return 0;
}

/* ---- the keeper ---- */

static bool batch_due(const struct sv_store *s)
{
	const struct sv_batch *b = &s->batch[s->open];

	return !sv_batch_empty(b) &&
	       (s->waiting_writers || s->arena.slots - s->arena.free_slots >= seal_slots(s) ||
		sv_now_ms() - b->first_ms >= s->opts.batch_age_ms);
}

/* What this session may want soon, going by what it wrote so far. */
static uint64_t ready_wanted(struct sv_store *s)
{
	uint64_t wrote;

	pthread_mutex_lock(&s->lock);
	wrote = s->ledger.stick_written_bytes - s->ledger.convert_bytes -
		s->ledger_at_open.stick_written_bytes + s->ledger_at_open.convert_bytes;
	pthread_mutex_unlock(&s->lock);
	return sv_min64(sv_max64(wrote, READY_LEAST_BYTES), READY_MOST_BYTES);
}

/* Nothing waits to be written, and the guest did not write or flush for a while: a slow stick may
 * take a second for a flush, and more work would not make that shorter. */
static bool is_quiet(struct sv_store *s)
{
	uint64_t now_ms = sv_now_ms();
	bool quiet;

	pthread_mutex_lock(&s->lock);
	if (s->stamp != s->quiet_stamp || s->sealed_stamp != s->stamp || s->flushing ||
	    s->stopping) {
		s->quiet_stamp = s->stamp;
		s->quiet_ms = now_ms;
	}
	quiet = now_ms - s->quiet_ms >= QUIET_MS;
	pthread_mutex_unlock(&s->lock);
	return quiet;
}

/* And the guest did not even read for a while. */
static bool is_idle(struct sv_store *s)
{
	uint64_t reads = atomic_load_explicit(&s->tally.guest_read, memory_order_relaxed);

	if (reads != s->idle_reads)
		s->idle_ms = sv_now_ms();
	s->idle_reads = reads;
	return sv_now_ms() - s->idle_ms >= QUIET_MS && is_quiet(s);
}

/* Work for quiet moments; false when there is none. */
static bool idle_work(struct sv_store *s)
{
	bool done = false, failed;

	pthread_mutex_lock(&s->lock);
	failed = s->log.flush_error;
	pthread_mutex_unlock(&s->lock);
	if (failed || sv_is_detached(s))
		return false;
	pthread_mutex_lock(&s->cleaning);
	if (is_idle(s) && sv_wants_idle_clean(s, ready_wanted(s)))
		(void)sv_clean_idle(s, is_idle, &done);
	if (!done && is_idle(s))
		(void)sv_boot_pack(s, is_idle, &done);
	if (!done && s->geo.first_write_costs && !sv_is_ready(s, ready_wanted(s)))
		(void)(sv_convert_one(s, is_quiet, &done) == 0 && (done || sv_grow_ahead(s)));
	pthread_mutex_unlock(&s->cleaning);
	return done;
}

static void *keeper(void *arg)
{
	struct sv_store *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->stopping) {
		struct timespec t;
		bool due = batch_due(s), did = false;
		uint64_t stamp = s->stamp;

		pthread_mutex_unlock(&s->lock);
		if (due) {
			int r = sv_seal(s, stamp, false);

			pthread_mutex_lock(&s->lock);
			s->seal_error = r;
			if (r < 0)
				pthread_cond_broadcast(&s->room);
			pthread_mutex_unlock(&s->lock);
		}
		did = sv_keep_room(s);
		if (!due && !did && is_quiet(s))
			did = idle_work(s);
		if (!due && !did)
			sv_scrub_tick(s);
		sv_boot_tick(s);
		sv_settle_host(s);
		pthread_mutex_lock(&s->lock);
		if (s->stopping || did || (batch_due(s) && !s->seal_error))
			continue;
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += KEEPER_MS * 1000000L;
		t.tv_sec += t.tv_nsec / 1000000000L;
		t.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&s->wake, &s->lock, &t);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- open and close ---- */

static void defaults(struct sv_store *s, const struct sv_open_options *opts)
{
	struct sv_open_options *o = &s->opts;

	if (opts)
		*o = *opts;
	if (!o->map_ram_bytes)
		o->map_ram_bytes = DEFAULT_MAP_RAM_BYTES;
	if (!o->batch_bytes)
		o->batch_bytes = DEFAULT_BATCH_BYTES;
	o->batch_bytes = sv_min64(o->batch_bytes, s->geo.max_bytes / 32);
	o->batch_bytes = sv_max64(o->batch_bytes, LEAST_BATCH_BYTES);
	/* Every block of a batch may dirty a leaf of its own. */
	o->map_ram_bytes = sv_max64(o->map_ram_bytes, (o->batch_bytes / SV_BLOCK_BYTES * 3 + 2048) *
							      sizeof(struct sv_page));
	if (!o->batch_age_ms)
		o->batch_age_ms = DEFAULT_AGE_MS;
	if (!o->cache_ram_bytes)
		o->cache_ram_bytes = DEFAULT_CACHE_RAM_BYTES;
	if (!o->unit_bytes)
		o->unit_bytes = DEFAULT_UNIT_BYTES;
	o->unit_bytes =
		(uint32_t)sv_align_up(sv_min64(o->unit_bytes, SV_UNIT_MAX_BYTES), SV_GRAIN_BYTES);
	s->unit_blocks = 4;
}

static int init_memory(struct sv_store *s)
{
	uint32_t slots = (uint32_t)(s->opts.batch_bytes / SV_BLOCK_BYTES);
	int r = sv_arena_init(&s->arena, slots);

	s->limit_slots = slots;
	for (unsigned i = 0; r == 0 && i < 2; i++)
		r = sv_batch_init(&s->batch[i], slots);
	if (r == 0)
		r = sv_reads_init(s);
	return r;
}

/* What depends on the geometry that the anchors tell. */
int sv_store_stage(struct sv_store *s)
{
	uint32_t slots = s->arena.slots;

	s->stage_bytes = sv_stage_bytes(s);
	if (posix_memalign((void **)&s->stage, 4096, s->stage_bytes))
		return -ENOMEM;
	if (posix_memalign((void **)&s->apart_stage, 4096, s->stage_bytes))
		return -ENOMEM;
	s->order = malloc(slots * 4 * sizeof(uint32_t));
	s->unapplied_room = (uint32_t)sv_min64(HEAD_MOST_BYTES, s->stage_bytes);
	s->unapplied = malloc(s->unapplied_room);
	if (!s->order || !s->unapplied || sv_born_init(s, slots) < 0)
		return -ENOMEM;
	return sv_heat_init(&s->heat, s->blocks);
}

static void init_locks(struct sv_store *s)
{
	pthread_mutex_init(&s->cleaning, NULL);
	pthread_mutex_init(&s->commit, NULL);
	pthread_mutex_init(&s->aparting, NULL);
	pthread_mutex_init(&s->writing, NULL);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->room, NULL);
	pthread_cond_init(&s->wake, NULL);
}

void sv_store_free(struct sv_store *s)
{
	sv_boot_end(s); /* a sweep may be under way */
	sv_host_close(s->host);
	sv_reads_free(s);
	sv_map_free(&s->map);
	sv_segs_free(&s->segs);
	sv_arena_free(&s->arena);
	sv_batch_free(&s->batch[0]);
	sv_batch_free(&s->batch[1]);
	free(s->stage);
	free(s->apart_stage);
	free(s->order);
	sv_heat_free(&s->heat);
	free(s->born.v);
	free(s->unapplied);
	sv_retain_free(s);
	sv_io_free(s);
	pthread_mutex_destroy(&s->cleaning);
	pthread_mutex_destroy(&s->commit);
	pthread_mutex_destroy(&s->aparting);
	pthread_mutex_destroy(&s->writing);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->room);
	pthread_cond_destroy(&s->wake);
	free(s);
}

static int open_for_writing(struct sv_store *s)
{
	int r;

	s->space_bytes = sv_capacity_bytes(s);
	r = sv_begin_epoch(s);

	if (r == 0 && s->bad_moves) {
		/* M2: from now on no root may be used that names what those moves promised. */
		r = sv_store_checkpoint(s);
		if (r == 0)
			r = sv_log_flush(s);
	}
	if (r == -ENOSPC)
		sv_why("there is no free segment to begin a session in");
	if (r == 0)
		sv_return_to_bound(s);
	/* An opening uses a segment up: sessions that end before they write must not add up. */
	if (r == 0)
		r = sv_make_room(s);
	if (r == -ENOSPC)
		r = 0; /* it can be read, and freed by discards */
	if (r == 0 && !s->opts.manual) {
		s->owns_dev = true; /* before the keeper looks at it */
		r = -pthread_create(&s->keeper, NULL, keeper, s);
		s->owns_dev = s->keeper_runs = r == 0;
	}
	return r;
}

int sv_store_new(struct sv_dev *dev, const struct sv_open_options *opts,
		 struct sv_store **ret_store)
{
	struct sv_store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	sv_io_init(s, dev);
	init_locks(s);
	sv_boot_begin(s, opts && opts->boot_set && !opts->read_only);
	r = sv_dev_geometry(dev, &s->geo);
	if (r == 0) {
		defaults(s, opts);
		r = init_memory(s);
	}
	if (r < 0) {
		sv_store_free(s);
		return r;
	}
	*ret_store = s;
	return 0;
}

int sv_store_open(struct sv_dev *dev, const struct sv_open_options *opts,
		  struct sv_store **ret_store)
{
	struct sv_store *s;
	int r;

	why[0] = '\0';
	r = sv_store_new(dev, opts, &s);
	if (r < 0)
		return r;
	r = sv_recover(s);
	if (r == 0)
		r = sv_store_stage(s);
	s->ledger_at_open = s->ledger;
	sv_watch_all(s);
	if (r == 0)
		sv_cache_open(s), sv_sweep_start(s);
	if (r == 0 && s->opts.read_only)
		s->state = SV_READ_ONLY;
	else if (r == 0)
		r = open_for_writing(s);
	if (r < 0) {
		sv_store_free(s);
		return r;
	}
	if (!s->keeper_runs)
		s->owns_dev = true;
	*ret_store = s;
	return 0;
}

void sv_store_recovery(const struct sv_store *s, struct sv_recovery *ret_recovery)
{
	*ret_recovery = s->recovery;
}

static void stop_keeper(struct sv_store *s)
{
	if (!s->keeper_runs)
		return;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->keeper, NULL);
	s->keeper_runs = false;
}

static int write_close_record(struct sv_store *s)
{
	struct sv_record rec = {.type = SV_REC_SESSION, .session.since_s = sv_now_s()};
	struct sv_part part;
	int r = sv_log_flush(s);

	/* It says that everything before it is there: so that comes first. */
	if (r == 0) {
		s->log.flushed_seq = s->log.seq;
		r = sv_part_begin(s, &part, SV_REC_SESSION_BYTES, 0);
	}
	if (r < 0)
		return r;
	memcpy(rec.session.host, s->anchor.host, SV_HOST_BYTES);
	sv_part_record(&part, &rec);
	r = sv_part_append(s, &part, SV_BATCH_CLOSE);
	return r < 0 ? r : sv_log_flush(s);
}

int sv_store_close(struct sv_store *s)
{
	int r = 0;

	stop_keeper(s);
	sv_boot_close(s);
	if (!s->opts.read_only) {
		r = sv_store_flush(s);
		if (r == 0)
			r = sv_store_checkpoint(s);
		if (r == 0)
			r = sv_renew_anchors(s, true);
		if (r == 0)
			r = write_close_record(s);
	}
	sv_store_abandon(s);
	return r;
}

void sv_store_abandon(struct sv_store *s)
{
	struct sv_dev *dev;

	if (!s)
		return;
	stop_keeper(s);
	dev = s->dev;
	sv_store_free(s);
	sv_dev_close(dev);
}

int sv_store_checkpoint(struct sv_store *s)
{
	int r;

	if (s->opts.read_only)
		return -EROFS;
	r = sv_make_room(s);
	pthread_mutex_lock(&s->commit);
	if (r == 0)
		r = sv_checkpoint_locked(s);
	pthread_mutex_unlock(&s->commit);
	return r;
}
