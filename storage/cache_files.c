/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cache_files.c: the host cache's files: written once, in order, and removed whole.
 *
 *   none --begin--> growing --table written--> sealed --last object leaves--> removed
 *
 * Each queue of the policy is a row of files: new objects go to the end of the youngest, objects
 * leave at the beginning of the oldest. An object that stays is written again at the end of main.
 * So nothing is ever overwritten, no nonce comes twice, the host's disk sees only appends, and
 * queues survive a restart as the order of files.
 *
 * H1  an object's value leads to bytes that were written to its file, or is 0
 * H2  `live` of a file is the number of objects that lead to it
 * H3  a file that was not sealed is never written by another session, and is not read by one
 * H4  at most chunks_most files are there; when they are, the oldest objects are dropped
 */
#include "cache_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"

void sv_chunk_unlive(struct sv_host_cache *c, uint64_t value)
{
	struct sv_chunk *k = sv_chunk_at(c, value);

	assert(k->used && k->live > 0); /* H2 */
	k->live--;
	c->reap_due |= k->live == 0;
}

void sv_host_forget(struct sv_host_cache *c, uint32_t object, bool remember)
{
	if (c->s3.v[object].value)
		sv_chunk_unlive(c, c->s3.v[object].value);
	sv_s3_drop(&c->s3, object, remember);
}

static void file_name(uint64_t number, char *ret_name, size_t room)
{
	snprintf(ret_name, room, "%016llx.cache", (unsigned long long)number);
}

static void remove_file(struct sv_host_cache *c, uint64_t number)
{
	char name[32];

	file_name(number, name, sizeof(name));
	(void)c->fs.remove(c->fs.ctx, c->dir, name);
}

static unsigned files(const struct sv_host_cache *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SV_CHUNKS_MOST; i++)
		n += c->chunk[i].used;
	return n;
}

/* Removes the files that nothing leads to. */
static void reap(struct sv_host_cache *c)
{
	pthread_mutex_lock(&c->lock);
	c->reap_due = false;
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < SV_CHUNKS_MOST; i++) {
		struct sv_chunk *k = &c->chunk[i];
		bool done;

		pthread_mutex_lock(&c->lock);
		done = k->used && k->sealed && k->live == 0;
		c->reap_due |= done && k->readers > 0;
		done = done && k->readers == 0;
		pthread_mutex_unlock(&c->lock);
		if (!done)
			continue;
		remove_file(c, k->number);
		close(k->fd);
		sv_cipher_wipe(&k->cipher);
		pthread_mutex_lock(&c->lock);
		*k = (struct sv_chunk){.fd = -1};
		pthread_mutex_unlock(&c->lock);
	}
}

/* Forgets all that a file holds. */
static void give_up(struct sv_host_cache *c, struct sv_chunk *k)
{
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 1; i < c->s3.fresh && k->live > 0; i++)
		if (c->s3.v[i].queue != SV_S3_UNUSED && c->s3.v[i].value &&
		    sv_chunk_at(c, c->s3.v[i].value) == k)
			sv_host_forget(c, i, false);
	k->sealed = true;
	pthread_mutex_unlock(&c->lock);
}

/* Drops the oldest objects, wanted or not, until a file is free (H4). */
static bool free_a_file(struct sv_host_cache *c)
{
	unsigned before;
	uint32_t object = 1;

	reap(c);
	before = files(c);
	while (object && files(c) >= before) {
		bool keep;

		pthread_mutex_lock(&c->lock);
		for (unsigned i = 0; i < 256 && object; i++) {
			object = sv_s3_step(&c->s3, &keep);
			if (object)
				sv_host_forget(c, object, !keep);
		}
		pthread_mutex_unlock(&c->lock);
		reap(c);
	}
	return files(c) < before;
}

/* ---- growing ---- */

static void pause_writing(struct sv_host_cache *c)
{
	c->paused_until_ms = sv_host_now_ms() + c->pause_ms;
}

static int create_file(struct sv_host_cache *c, uint64_t *ret_number)
{
	char name[32];
	int fd = -EEXIST;

	for (unsigned i = 0; i < 64 && fd == -EEXIST; i++) {
		*ret_number = c->next_number++;
		file_name(*ret_number, name, sizeof(name));
		fd = c->fs.create(c->fs.ctx, c->dir, name);
		if (fd == -ENOENT && i == 0 && sv_chunks_enter(c) == 0)
			fd = -EEXIST; /* the folder was removed under us */
	}
	return fd;
}

/* Room for one more file, by giving up the oldest where it must be; false: not now. */
static bool find_room(struct sv_host_cache *c)
{
	uint64_t free_bytes = 0, all_bytes;

	if (sv_host_now_ms() < c->paused_until_ms)
		return false;
	reap(c);
	if (files(c) >= c->chunks_most && !free_a_file(c))
		return false;
	if (c->fs.space(c->fs.ctx, c->dir, &free_bytes, &all_bytes) == 0 &&
	    free_bytes < c->leave_bytes + c->chunk_bytes) {
		free_a_file(c);
		pause_writing(c);
		return false;
	}
	return true;
}

static struct sv_chunk *begin_file(struct sv_host_cache *c, enum sv_s3_queue queue)
{
	uint8_t head[SV_CIPHER_HEAD_BYTES];
	struct sv_chunk *k = c->chunk, new = {.used = true};
	int r;

	if (!find_room(c))
		return NULL;
	while (k->used)
		k++;
	assert(k < c->chunk + SV_CHUNKS_MOST);
	new.fd = create_file(c, &new.number);
	r = new.fd < 0 ? new.fd
		       : sv_cipher_new(c->key, c->store_id, (uint8_t)queue, new.number, head,
				       &new.cipher);
	if (r == 0)
		r = c->fs.write(c->fs.ctx, new.fd, head, sizeof(head), 0);
	if (r < 0) {
		pause_writing(c);
		if (new.fd >= 0) {
			remove_file(c, new.number);
			close(new.fd);
		}
		return NULL;
	}
	new.size_bytes = SV_CIPHER_HEAD_BYTES;
	pthread_mutex_lock(&c->lock);
	*k = new;
	c->stats.written_bytes += sizeof(head);
	pthread_mutex_unlock(&c->lock);
	return k;
}

/* What was in the buffer is in the file now, or never will be. With the lock held. */
static void settle(struct sv_host_cache *c, struct sv_chunk_writer *w, bool written)
{
	for (uint32_t i = 0; i < w->waiting_count; i++) {
		const struct sv_waiting *x = &w->waiting[i];
		struct sv_s3_object *o = &c->s3.v[x->object];

		if (o->queue == SV_S3_UNUSED || o->key != x->key)
			continue; /* it left meanwhile */
		if (written) {
			if (o->value)
				sv_chunk_unlive(c, o->value);
			o->value = sv_chunk_value(c, w->chunk, x->off_bytes); /* H1 */
			w->chunk->live++;
		} else if (!o->value) {
			sv_s3_drop(&c->s3, x->object, false);
		}
	}
	w->waiting_count = 0;
}

static int write_out(struct sv_host_cache *c, struct sv_chunk_writer *w)
{
	int r;

	if (!w->chunk || !w->buf_used)
		return 0;
	r = c->fs.write(c->fs.ctx, w->chunk->fd, w->buf, w->buf_used,
			w->chunk->size_bytes - w->buf_used);
	pthread_mutex_lock(&c->lock);
	settle(c, w, r == 0);
	c->stats.written_bytes += r == 0 ? w->buf_used : 0;
	pthread_mutex_unlock(&c->lock);
	w->buf_used = 0;
	if (r < 0) { /* the host's disk is full, or worse: this file gives its space back */
		give_up(c, w->chunk);
		w->chunk = NULL;
		w->lines = 0;
		pause_writing(c);
	}
	return r;
}

void sv_chunks_write_out(struct sv_host_cache *c)
{
	for (unsigned i = 0; i < SV_S3_QUEUES; i++)
		(void)write_out(c, &c->writer[i]);
}

static int write_table(struct sv_host_cache *c, struct sv_chunk_writer *w)
{
	size_t table = (size_t)w->lines * SV_CHUNK_LINE_BYTES;
	size_t all = table + SV_CIPHER_TAG_BYTES + SV_CHUNK_TRAILER_BYTES;
	uint64_t at = w->chunk->size_bytes;
	uint8_t *buf = malloc(all);
	struct sv_cur cur = sv_cur_over(buf, all);
	int r;

	if (!buf)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->lines; i++) {
		sv_put64(&cur, w->line[i].key);
		sv_put32(&cur, w->line[i].off_bytes);
		sv_put32(&cur, w->line[i].item_bytes);
	}
	sv_cipher_seal(&w->chunk->cipher, SV_SEALED_TABLE, at, buf, table, buf);
	cur.off = table + SV_CIPHER_TAG_BYTES;
	sv_put64(&cur, at);
	sv_put32(&cur, w->lines);
	sv_put32(&cur, SV_CHUNK_TRAILER_MAGIC);
	r = c->fs.write(c->fs.ctx, w->chunk->fd, buf, all, at);
	free(buf);
	pthread_mutex_lock(&c->lock);
	w->chunk->size_bytes += r == 0 ? (uint32_t)all : 0;
	c->stats.written_bytes += r == 0 ? all : 0;
	pthread_mutex_unlock(&c->lock);
	return r;
}

static void seal(struct sv_host_cache *c, struct sv_chunk_writer *w)
{
	if (write_out(c, w) < 0 || !w->chunk)
		return;
	if (write_table(c, w) < 0)
		give_up(c, w->chunk);
	pthread_mutex_lock(&c->lock);
	w->chunk->sealed = true;
	pthread_mutex_unlock(&c->lock);
	w->chunk = NULL;
	w->lines = 0;
}

void sv_chunks_seal(struct sv_host_cache *c)
{
	for (unsigned i = 0; i < SV_S3_QUEUES; i++)
		seal(c, &c->writer[i]);
	reap(c);
}

static bool fits(const struct sv_host_cache *c, const struct sv_chunk_writer *w, uint32_t item)
{
	return w->chunk &&
	       w->chunk->size_bytes + item + (w->lines + 3) * SV_CHUNK_LINE_BYTES <= c->chunk_bytes;
}

/* An object's item at the end of a queue's files; the object leads there once it is written. */
static bool append(struct sv_host_cache *c, enum sv_s3_queue queue, uint32_t object, uint64_t hash,
		   const struct sv_host_key *key, const uint8_t *unit)
{
	struct sv_chunk_writer *w = &c->writer[queue];
	uint32_t item = sv_item_bytes(key->len_bytes), at;
	uint8_t *dst;

	if (!fits(c, w, item))
		seal(c, w);
	if (w->buf_used + item > SV_CHUNK_BUF_BYTES || w->waiting_count == SV_CHUNK_WAITING_MOST)
		(void)write_out(c, w);
	if (!w->chunk)
		w->chunk = begin_file(c, queue);
	if (!w->chunk)
		return false;
	at = w->chunk->size_bytes;
	dst = w->buf + w->buf_used;
	memset(dst, 0, item);
	sv_item_head_put(key, dst);
	memcpy(dst + SV_ITEM_HEAD_BYTES, unit, key->len_bytes);
	sv_cipher_seal(&w->chunk->cipher, SV_SEALED_UNIT, at, dst, item - SV_CIPHER_TAG_BYTES, dst);
	w->waiting[w->waiting_count++] = (struct sv_waiting){hash, object, at};
	w->line[w->lines++] = (struct sv_chunk_line){hash, at, item};
	w->buf_used += item;
	pthread_mutex_lock(&c->lock);
	w->chunk->size_bytes += item;
	pthread_mutex_unlock(&c->lock);
	return true;
}

/* An object stays: to the end of main with it. */
static void move(struct sv_host_cache *c, uint32_t object)
{
	uint64_t value, hash;
	struct sv_host_key key;
	struct sv_chunk *k;
	uint32_t item;
	bool good;

	pthread_mutex_lock(&c->lock);
	value = c->s3.v[object].value;
	hash = c->s3.v[object].key;
	item = c->s3.v[object].bytes;
	pthread_mutex_unlock(&c->lock);
	if (!value)
		return; /* it is on its way to a file as it is */
	k = sv_chunk_at(c, value);
	good = c->fs.read(c->fs.ctx, k->fd, c->moving, item, (uint32_t)value) == 0 &&
	       sv_cipher_open(&k->cipher, SV_SEALED_UNIT, (uint32_t)value, c->moving,
			      item - SV_CIPHER_TAG_BYTES);
	sv_item_head_get(c->moving, &key);
	good = good && sv_host_hash(&key) == hash && sv_item_bytes(key.len_bytes) == item &&
	       append(c, SV_S3_MAIN, object, hash, &key, c->moving + SV_ITEM_HEAD_BYTES);
	if (good)
		return;
	pthread_mutex_lock(&c->lock);
	if (c->s3.v[object].queue != SV_S3_UNUSED && c->s3.v[object].key == hash)
		sv_host_forget(c, object, false);
	pthread_mutex_unlock(&c->lock);
}

/* One step of the policy, and what it means for the files; false: there is nothing. */
static bool step(struct sv_host_cache *c)
{
	uint32_t object;
	bool keep;

	pthread_mutex_lock(&c->lock);
	object = sv_s3_step(&c->s3, &keep);
	if (object && !keep)
		sv_host_forget(c, object, true);
	pthread_mutex_unlock(&c->lock);
	if (object && keep)
		move(c, object);
	return object != SV_S3_NONE;
}

/* Room for an item: in the policy's sum, and for a file more where it needs one. Another file is
 * left for what moves to main. */
static void make_room(struct sv_host_cache *c, enum sv_s3_queue queue, uint32_t item)
{
	bool full = true, due;

	while (full) {
		pthread_mutex_lock(&c->lock);
		full = sv_s3_is_full(&c->s3, item);
		due = c->reap_due;
		pthread_mutex_unlock(&c->lock);
		if (!full && !fits(c, &c->writer[queue], item)) {
			if (due)
				reap(c);
			full = files(c) >= c->chunks_most - 1;
		}
		if (full && !step(c))
			return;
	}
}

bool sv_chunks_take(struct sv_host_cache *c, const struct sv_host_key *key, const uint8_t *unit)
{
	uint64_t hash = sv_host_hash(key);
	uint32_t item = sv_item_bytes(key->len_bytes), object;
	enum sv_s3_queue queue;
	bool taken;

	pthread_mutex_lock(&c->lock);
	object = sv_s3_find(&c->s3, hash);
	queue = sv_s3_place(&c->s3, hash);
	pthread_mutex_unlock(&c->lock);
	if (object)
		return true;
	make_room(c, queue, item);
	pthread_mutex_lock(&c->lock);
	object = sv_s3_add(&c->s3, hash, item, queue);
	pthread_mutex_unlock(&c->lock);
	if (!object)
		return false;
	taken = append(c, queue, object, hash, key, unit);
	if (!taken) {
		pthread_mutex_lock(&c->lock);
		if (c->s3.v[object].queue != SV_S3_UNUSED && c->s3.v[object].key == hash)
			sv_host_forget(c, object, false);
		pthread_mutex_unlock(&c->lock);
	}
	return taken;
}

void sv_chunks_look(struct sv_host_cache *c)
{
	for (unsigned i = 0; i < SV_CHUNKS_MOST; i++) {
		struct sv_chunk *k = &c->chunk[i];
		uint64_t bytes;

		if (!k->used || c->fs.size(c->fs.ctx, k->fd, &bytes) != -ESTALE)
			continue;
		for (unsigned q = 0; q < SV_S3_QUEUES; q++)
			if (c->writer[q].chunk == k) {
				(void)write_out(c, &c->writer[q]);
				c->writer[q].chunk = NULL;
				c->writer[q].lines = 0;
			}
		give_up(c, k);
	}
	reap(c);
}
