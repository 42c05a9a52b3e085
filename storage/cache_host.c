/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache_host.c: the host cache as readers see it, and its worker.
 *
 * A reader looks a unit up in memory, and reads and verifies it if it is there. A unit that had to
 * come from the stick is offered: copied into a ring, or passed over where that is full. The worker
 * takes it from there. So no reader ever waits for a write to the host's disk, nor for the policy.
 *
 * Three things must agree before bytes are used: the file's cipher (they are what was written, at
 * that offset of that file, under this store's key), the key in the item's head (they are of this
 * place), and the unit's own check (read.c). Whatever does not is forgotten, and the stick is read.
 */
#include "cache_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "digest.h"

#define RING_BYTES (8u << 20)
#define LEAST_CHUNK_BYTES (256u << 10)
#define CHUNKS 128u
#define LEAST_ITEM_BYTES 4096u /* on average, for the size of the index */
#define LOOK_MS 1000u
#define PAUSE_MS 5000u

uint64_t sv_host_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void sv_item_head_put(const struct sv_host_key *key, uint8_t *dst)
{
	struct sv_cur c = sv_cur_over(dst, SV_ITEM_HEAD_BYTES);

	sv_put64(&c, key->place);
	sv_put64(&c, key->generation);
	sv_put32(&c, key->lineage);
	sv_put32(&c, key->len_bytes);
	sv_put64(&c, 0);
}

void sv_item_head_get(const uint8_t *src, struct sv_host_key *ret_key)
{
	struct sv_cur c = sv_cur_over((uint8_t *)src, SV_ITEM_HEAD_BYTES);

	ret_key->place = sv_get64(&c);
	ret_key->generation = sv_get64(&c);
	ret_key->lineage = sv_get32(&c);
	ret_key->len_bytes = sv_get32(&c);
}

uint64_t sv_host_hash(const struct sv_host_key *key)
{
	uint8_t head[SV_ITEM_HEAD_BYTES];

	sv_item_head_put(key, head);
	return sv_hash64(head, sizeof(head), 0);
}

static bool same_key(const struct sv_host_key *a, const struct sv_host_key *b)
{
	return a->place == b->place && a->generation == b->generation && a->lineage == b->lineage &&
	       a->len_bytes == b->len_bytes;
}

/* ---- readers ---- */

/* Where the item is, with its file held; NULL. */
static struct sv_chunk *look_up(struct sv_host_cache *c, uint64_t hash, uint32_t item,
				uint32_t *ret_object, uint64_t *ret_value)
{
	struct sv_chunk *k = NULL;

	pthread_mutex_lock(&c->lock);
	*ret_object = sv_s3_find(&c->s3, hash);
	if (*ret_object) {
		const struct sv_s3_object *o = &c->s3.v[*ret_object];

		sv_s3_hit(&c->s3, *ret_object);
		*ret_value = o->value;
		if (o->value && o->bytes == item) {
			k = sv_chunk_at(c, o->value);
			k->readers++;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return k;
}

bool sv_host_read(struct sv_host_cache *c, const struct sv_host_key *key, uint8_t *buf,
		  uint8_t **ret_unit)
{
	uint32_t item = sv_item_bytes(key->len_bytes), object;
	uint64_t hash = sv_host_hash(key), value = 0;
	struct sv_chunk *k = look_up(c, hash, item, &object, &value);
	struct sv_host_key found;
	bool good;

	if (!k)
		return false;
	good = c->fs.read(c->fs.ctx, k->fd, buf, item, (uint32_t)value) == 0 &&
	       sv_cipher_open(&k->cipher, SV_SEALED_UNIT, (uint32_t)value, buf,
			      item - SV_CIPHER_TAG_BYTES);
	sv_item_head_get(buf, &found);
	good = good && same_key(&found, key);
	pthread_mutex_lock(&c->lock);
	k->readers--;
	c->stats.hits += good;
	c->stats.bad += !good;
	if (!good && c->s3.v[object].key == hash && c->s3.v[object].queue != SV_S3_UNUSED &&
	    c->s3.v[object].value == value)
		sv_host_forget(c, object, false);
	pthread_mutex_unlock(&c->lock);
	*ret_unit = buf + SV_ITEM_HEAD_BYTES;
	return good;
}

bool sv_host_has(struct sv_host_cache *c, const struct sv_host_key *key)
{
	uint32_t object;
	bool has;

	pthread_mutex_lock(&c->lock);
	object = sv_s3_find(&c->s3, sv_host_hash(key));
	has = object && c->s3.v[object].value; /* else it waits to be written */
	pthread_mutex_unlock(&c->lock);
	return has;
}

/* ---- the ring ---- */

static void ring_put(struct sv_host_cache *c, const void *src, uint32_t len)
{
	uint32_t at = (c->ring_head + c->ring_used) % RING_BYTES;
	uint32_t first = len < RING_BYTES - at ? len : RING_BYTES - at;

	memcpy(c->ring + at, src, first);
	memcpy(c->ring, (const uint8_t *)src + first, len - first);
	c->ring_used += len;
}

static void ring_get(struct sv_host_cache *c, void *dst, uint32_t len)
{
	uint32_t first = len < RING_BYTES - c->ring_head ? len : RING_BYTES - c->ring_head;

	memcpy(dst, c->ring + c->ring_head, first);
	memcpy((uint8_t *)dst + first, c->ring, len - first);
	c->ring_head = (c->ring_head + len) % RING_BYTES;
	c->ring_used -= len;
}

/* One unit out of the ring; with the lock, which is given up meanwhile. */
static void work_one(struct sv_host_cache *c)
{
	struct sv_host_key key;
	bool taken;

	ring_get(c, &key, sizeof(key));
	ring_get(c, c->taking, key.len_bytes);
	pthread_mutex_unlock(&c->lock);
	taken = sv_chunks_take(c, &key, c->taking);
	pthread_mutex_lock(&c->lock);
	c->stats.passed += !taken;
}

void sv_host_offer(struct sv_host_cache *c, const struct sv_host_key *key, const uint8_t *unit)
{
	bool room;

	if (key->len_bytes == 0 || key->len_bytes > SV_CHUNK_UNIT_MOST)
		return;
	pthread_mutex_lock(&c->lock);
	room = RING_BYTES - c->ring_used >= sizeof(*key) + key->len_bytes;
	if (room && !sv_s3_find(&c->s3, sv_host_hash(key))) {
		ring_put(c, key, sizeof(*key));
		ring_put(c, unit, key->len_bytes);
		pthread_cond_signal(&c->wake);
	}
	c->stats.passed += !room;
	c->stats.misses++;
	pthread_mutex_unlock(&c->lock);
	if (!c->manual)
		return;
	pthread_mutex_lock(&c->working);
	pthread_mutex_lock(&c->lock);
	while (c->ring_used > 0)
		work_one(c);
	pthread_mutex_unlock(&c->lock);
	sv_chunks_write_out(c);
	pthread_mutex_unlock(&c->working);
}

/* ---- the worker ---- */

static void wait_for_work(struct sv_host_cache *c)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += LOOK_MS / 1000;
	pthread_cond_timedwait(&c->wake, &c->lock, &t);
}

static void *work(void *arg)
{
	struct sv_host_cache *c = arg;

	pthread_mutex_lock(&c->lock);
	while (!c->stopping) {
		uint64_t now_ms = sv_host_now_ms();

		if (c->ring_used > 0) {
			work_one(c);
			if (c->ring_used > 0 && now_ms - c->looked_ms < LOOK_MS)
				continue;
		} else {
			wait_for_work(c);
			if (c->ring_used > 0)
				continue;
		}
		pthread_mutex_unlock(&c->lock);
		sv_chunks_write_out(c);
		if (now_ms - c->looked_ms >= LOOK_MS) {
			sv_chunks_look(c);
			c->looked_ms = now_ms;
		}
		pthread_mutex_lock(&c->lock);
	}
	while (c->ring_used > 0)
		work_one(c);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* ---- opening and closing ---- */

static void free_all(struct sv_host_cache *c)
{
	for (unsigned i = 0; i < SV_CHUNKS_MOST; i++)
		if (c->chunk[i].used && c->chunk[i].fd >= 0)
			close(c->chunk[i].fd);
	for (unsigned i = 0; i < SV_S3_QUEUES; i++) {
		free(c->writer[i].buf);
		free(c->writer[i].waiting);
		free(c->writer[i].line);
	}
	if (c->s3.v)
		sv_s3_free(&c->s3);
	sv_chunks_leave(c);
	free(c->folder);
	free(c->ring);
	free(c->moving);
	free(c->taking);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->working);
	pthread_cond_destroy(&c->wake);
	sodium_memzero(c, sizeof(*c));
	free(c);
}

static int init_memory(struct sv_host_cache *c, uint64_t bytes)
{
	/* Two files that are being emptied and two that are being filled hold less than a file. */
	uint64_t room = (uint64_t)(c->chunks_most - 4) * c->chunk_bytes;
	uint64_t objects = sv_min64(room / LEAST_ITEM_BYTES, 1u << 26);
	bool all = true;

	for (unsigned i = 0; i < SV_S3_QUEUES; i++) {
		struct sv_chunk_writer *w = &c->writer[i];

		w->buf = malloc(SV_CHUNK_BUF_BYTES);
		w->waiting = malloc(SV_CHUNK_WAITING_MOST * sizeof(*w->waiting));
		w->line = malloc(c->chunk_bytes / 64 * sizeof(*w->line));
		all = all && w->buf && w->waiting && w->line;
	}
	c->ring = malloc(RING_BYTES);
	c->moving = malloc(SV_ITEM_MOST_BYTES);
	c->taking = malloc(SV_CHUNK_UNIT_MOST);
	c->stats.limit_bytes = bytes;
	if (!all || !c->ring || !c->moving || !c->taking || !c->folder)
		return -ENOMEM;
	return sv_s3_init(&c->s3, room - room / 64, (uint32_t)objects);
}

static int make(const struct sv_host_params *p, struct sv_host_cache **ret)
{
	uint64_t bytes = sv_min64(p->bytes, SV_HOST_MOST_BYTES);
	char name[17];
	struct sv_host_cache *c;
	pthread_condattr_t attr;
	int r;

	if (bytes < SV_HOST_LEAST_BYTES)
		return -EINVAL;
	r = sv_cipher_name(p->key, p->store_id, name);
	if (r < 0)
		return r;
	if (posix_memalign((void **)&c, 64, sizeof(*c)))
		return -ENOMEM;
	memset(c, 0, sizeof(*c));
	c->fs = p->fs ? *p->fs : sv_cache_fs_host;
	c->dir = c->lock_fd = -1;
	c->leave_bytes = p->leave_bytes;
	c->manual = p->manual;
	c->pause_ms = p->pause_ms ? p->pause_ms : PAUSE_MS;
	c->chunk_bytes = (uint32_t)sv_max64(bytes / CHUNKS, LEAST_CHUNK_BYTES);
	c->chunks_most = (uint32_t)(bytes / c->chunk_bytes);
	memcpy(c->key, p->key, sizeof(c->key));
	memcpy(c->store_id, p->store_id, sizeof(c->store_id));
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->working, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (asprintf(&c->folder, "%s/%s", p->dir, name) < 0)
		c->folder = NULL;
	*ret = c;
	return init_memory(c, bytes);
}

int sv_host_open(const struct sv_host_params *params, struct sv_host_cache **ret_cache)
{
	struct sv_host_cache *c = NULL;
	int r = make(params, &c);

	if (r == 0)
		r = sv_chunks_enter(c);
	if (r == 0)
		r = sv_chunks_load(c);
	if (r == 0 && !c->manual) {
		r = -pthread_create(&c->worker, NULL, work, c);
		c->worker_runs = r == 0;
	}
	if (r < 0) {
		if (c)
			free_all(c);
		return r;
	}
	*ret_cache = c;
	return 0;
}

void sv_host_close(struct sv_host_cache *c)
{
	if (!c)
		return;
	if (c->worker_runs) {
		pthread_mutex_lock(&c->lock);
		c->stopping = true;
		pthread_cond_signal(&c->wake);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->worker, NULL);
	}
	sv_chunks_seal(c);
	free_all(c);
}

void sv_host_stats(struct sv_host_cache *c, struct sv_host_stats *ret_stats)
{
	pthread_mutex_lock(&c->lock);
	*ret_stats = c->stats;
	for (unsigned i = 0; i < SV_CHUNKS_MOST; i++)
		if (c->chunk[i].used)
			ret_stats->bytes += c->chunk[i].size_bytes;
	pthread_mutex_unlock(&c->lock);
}
