/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_load.c: the host cache's folder: taken, and what earlier sessions left in it taken over. */
#include "cache_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"

struct found {
	uint64_t number;
	char name[32];
};

int sv_chunks_enter(struct sv_host_cache *c)
{
	int dir = sv_cache_folder(c->folder);
	int lock = dir < 0 ? dir : sv_cache_lock(dir);

	if (lock < 0) {
		if (dir >= 0)
			close(dir);
		return lock;
	}
	sv_chunks_leave(c);
	c->dir = dir;
	c->lock_fd = lock;
	return 0;
}

void sv_chunks_leave(struct sv_host_cache *c)
{
	if (c->dir >= 0)
		close(c->dir);
	if (c->lock_fd >= 0)
		close(c->lock_fd);
	c->dir = c->lock_fd = -1;
}

static int by_number(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* The cache files of the folder, oldest first. */
static int list(struct sv_host_cache *c, struct found **ret_v, size_t *ret_count)
{
	DIR *dir = fdopendir(dup(c->dir));
	size_t count = 0, room = 0;
	struct found *v = NULL;
	const struct dirent *de;

	if (!dir)
		return -errno;
	rewinddir(dir);
	while ((de = readdir(dir))) {
		unsigned long long number;
		int end = 0;

		if (sscanf(de->d_name, "%16llx.cache%n", &number, &end) != 1 || end != 22 ||
		    de->d_name[end])
			continue;
		if (count == room) {
			struct found *more = realloc(v, (room = room * 2 + 16) * sizeof(*v));

			if (!more)
				break;
			v = more;
		}
		v[count].number = number;
		snprintf(v[count++].name, sizeof(v->name), "%.31s", de->d_name);
	}
	closedir(dir);
	if (count)
		qsort(v, count, sizeof(*v), by_number);
	*ret_v = v;
	*ret_count = count;
	return 0;
}

/* One object of a file that was taken over; of two copies the younger counts. */
static void adopt(struct sv_host_cache *c, struct sv_chunk *k, enum sv_s3_queue queue,
		  const struct sv_chunk_line *line)
{
	uint32_t object = sv_s3_find(&c->s3, line->key);
	bool keep;

	if (object)
		sv_host_forget(c, object, false);
	while (sv_s3_is_full(&c->s3, line->item_bytes) && (object = sv_s3_step(&c->s3, &keep)))
		if (!keep)
			sv_host_forget(c, object, false);
	object = sv_s3_add(&c->s3, line->key, line->item_bytes, queue);
	if (!object)
		return;
	c->s3.v[object].value = sv_chunk_value(c, k, line->off_bytes);
	k->live++;
}

/* Reads the table, checks every line of it, and takes the objects over. */
static int adopt_table(struct sv_host_cache *c, struct sv_chunk *k, uint8_t queue, uint64_t bytes)
{
	uint8_t trailer[SV_CHUNK_TRAILER_BYTES], *table;
	struct sv_cur cur = sv_cur_over(trailer, sizeof(trailer));
	uint64_t at, len;
	uint32_t lines;
	int r = c->fs.read(c->fs.ctx, k->fd, trailer, sizeof(trailer),
			   bytes - SV_CHUNK_TRAILER_BYTES);

	at = sv_get64(&cur);
	lines = sv_get32(&cur);
	len = (uint64_t)lines * SV_CHUNK_LINE_BYTES;
	if (r < 0 || sv_get32(&cur) != SV_CHUNK_TRAILER_MAGIC || at < SV_CIPHER_HEAD_BYTES ||
	    at > bytes || at + len + SV_CIPHER_TAG_BYTES + SV_CHUNK_TRAILER_BYTES != bytes)
		return -EBADMSG;
	table = malloc(len + SV_CIPHER_TAG_BYTES);
	if (!table)
		return -ENOMEM;
	r = c->fs.read(c->fs.ctx, k->fd, table, len + SV_CIPHER_TAG_BYTES, at);
	if (r == 0 && !sv_cipher_open(&k->cipher, SV_SEALED_TABLE, at, table, len))
		r = -EBADMSG;
	cur = sv_cur_over(table, len);
	for (uint32_t i = 0; r == 0 && i < lines; i++) {
		struct sv_chunk_line line = {.key = sv_get64(&cur)};

		line.off_bytes = sv_get32(&cur);
		line.item_bytes = sv_get32(&cur);
		if (line.off_bytes < SV_CIPHER_HEAD_BYTES || line.off_bytes > at ||
		    line.item_bytes > at - line.off_bytes || line.item_bytes > SV_ITEM_MOST_BYTES ||
		    line.item_bytes < sv_item_bytes(1))
			continue; /* under our key: nobody's line of ours */
		adopt(c, k, queue, &line);
	}
	free(table);
	return r;
}

static int adopt_file(struct sv_host_cache *c, struct sv_chunk *k, const struct found *f)
{
	uint8_t head[SV_CIPHER_HEAD_BYTES];
	struct sv_cipher_head h;
	uint64_t bytes = 0;
	int r;

	*k = (struct sv_chunk){.used = true, .sealed = true, .number = f->number};
	k->fd = c->fs.open(c->fs.ctx, c->dir, f->name);
	if (k->fd < 0)
		return k->fd;
	r = c->fs.size(c->fs.ctx, k->fd, &bytes);
	if (r == 0 && (bytes < sizeof(head) + SV_CHUNK_TRAILER_BYTES || bytes > UINT32_MAX))
		r = -EBADMSG;
	if (r == 0)
		r = c->fs.read(c->fs.ctx, k->fd, head, sizeof(head), 0);
	if (r == 0)
		r = sv_cipher_of(c->key, c->store_id, head, &h, &k->cipher);
	if (r == 0 && (h.number != f->number || h.queue >= SV_S3_QUEUES))
		r = -EBADMSG;
	k->size_bytes = (uint32_t)bytes;
	return r < 0 ? r : adopt_table(c, k, h.queue, bytes);
}

int sv_chunks_load(struct sv_host_cache *c)
{
	struct found *v = NULL;
	size_t count = 0, most = c->chunks_most - 4;
	int r = list(c, &v, &count);

	for (size_t i = 0; r == 0 && i < count; i++) {
		struct sv_chunk *k = c->chunk;
		int adopted = -EFBIG;

		c->next_number = v[i].number + 1;
		while (k->used)
			k++;
		if (count - i <= most)
			adopted = adopt_file(c, k, &v[i]);
		if (adopted == 0)
			continue;
		/* H3; also what another key or another processor wrote: it would never be used. */
		(void)c->fs.remove(c->fs.ctx, c->dir, v[i].name);
		if (k->used && k->fd >= 0)
			close(k->fd);
		*k = (struct sv_chunk){.fd = -1};
	}
	free(v);
	return r;
}
