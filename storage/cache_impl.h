/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_impl.h: the host cache in memory, and the functions between the files that make it up. */
#ifndef STORAGE_CACHE_IMPL_H
#define STORAGE_CACHE_IMPL_H

#include <pthread.h>

#include "cache_cipher.h"
#include "cache_host.h"
#include "s3fifo.h"

#define SV_CHUNK_GRAIN 16u
#define SV_ITEM_HEAD_BYTES 32u
#define SV_CHUNKS_MOST 160u
#define SV_CHUNK_BUF_BYTES (256u << 10) /* gathered before it is written */
#define SV_CHUNK_WAITING_MOST (SV_CHUNK_BUF_BYTES / 64)
#define SV_CHUNK_LINE_BYTES 16u
#define SV_CHUNK_TRAILER_BYTES 16u
#define SV_CHUNK_TRAILER_MAGIC 0x65746163u /* "cate" */
#define SV_CHUNK_UNIT_MOST 65536u	   /* SV_UNIT_MAX_BYTES */

/* What an item takes in its file: head, unit, tag. */
static inline uint32_t sv_item_bytes(uint32_t unit_bytes)
{
	return (SV_ITEM_HEAD_BYTES + unit_bytes + SV_CIPHER_TAG_BYTES + SV_CHUNK_GRAIN - 1) /
	       SV_CHUNK_GRAIN * SV_CHUNK_GRAIN;
}

/* A file. It goes when it is sealed and nothing leads to it or reads it. */
struct sv_chunk {
	struct sv_cipher cipher;
	int fd;
	uint64_t number;
	uint32_t size_bytes;
	uint32_t live;	  /* objects that lead to it */
	uint32_t readers; /* outside of the lock */
	bool sealed;	  /* nothing is written to it any more */
	bool used;	  /* this one is */
};

/* An item that is in the buffer of its file and not in the file yet. */
struct sv_waiting {
	uint64_t key;
	uint32_t object, off_bytes;
};

/* Line of the table at the end of a file. */
struct sv_chunk_line {
	uint64_t key;
	uint32_t off_bytes, item_bytes;
};

/* The file that a queue grows at its end. Of the worker alone. */
struct sv_chunk_writer {
	struct sv_chunk *chunk; /* NULL: none is begun */
	uint8_t *buf;
	uint32_t buf_used;
	struct sv_waiting *waiting;
	uint32_t waiting_count;
	struct sv_chunk_line *line;
	uint32_t lines;
};

struct sv_host_cache {
	/* Fixed. */
	struct sv_cache_fs fs;
	char *folder; /* of this store */
	uint8_t key[SV_CIPHER_KEY_BYTES];
	uint8_t store_id[16];
	uint32_t chunk_bytes, chunks_most;
	uint64_t leave_bytes;
	uint32_t pause_ms;
	bool manual;

	pthread_mutex_t lock; /* below all locks of the store; never held over I/O or ciphers */
	pthread_cond_t wake;
	struct sv_s3 s3; /* value: chunk's index << 32 | offset; 0: in a writer's buffer */
	struct sv_chunk chunk[SV_CHUNKS_MOST];
	uint8_t *ring; /* units that wait, each a struct sv_host_key and its bytes */
	uint32_t ring_head, ring_used;
	struct sv_host_stats stats;
	bool reap_due; /* nothing leads to some file any more */
	bool stopping;

	/* Of the worker: the thread, or whoever calls where there is none (`working`). */
	pthread_mutex_t working;
	pthread_t worker;
	bool worker_runs;
	int dir, lock_fd;
	uint64_t next_number;
	uint64_t paused_until_ms, looked_ms;
	struct sv_chunk_writer writer[SV_S3_QUEUES];
	uint8_t *moving; /* an item */
	uint8_t *taking; /* a unit */
};

#define SV_ITEM_MOST_BYTES (SV_CHUNK_UNIT_MOST + SV_HOST_EXTRA_BYTES)

uint64_t sv_host_now_ms(void);
uint64_t sv_host_hash(const struct sv_host_key *key);
void sv_item_head_put(const struct sv_host_key *key, uint8_t *dst);
void sv_item_head_get(const uint8_t *src, struct sv_host_key *ret_key);

/* ---- cache_files.c; all by the worker, without the lock ---- */
/* Folder and lock, again if need be. */
int sv_chunks_enter(struct sv_host_cache *c);
void sv_chunks_leave(struct sv_host_cache *c);
/* Takes over the files of the folder. */
int sv_chunks_load(struct sv_host_cache *c);
/* Now and then: files that have lost their name are given up, those that are done with removed. */
void sv_chunks_look(struct sv_host_cache *c);
/* Takes a unit in; false: it could not. */
bool sv_chunks_take(struct sv_host_cache *c, const struct sv_host_key *key, const uint8_t *unit);
/* Writes what waits in the buffers. */
void sv_chunks_write_out(struct sv_host_cache *c);
/* Writes everything and the tables. */
void sv_chunks_seal(struct sv_host_cache *c);

/* ---- with the lock ---- */
static inline uint64_t sv_chunk_value(const struct sv_host_cache *c, const struct sv_chunk *k,
				      uint32_t off_bytes)
{
	return (uint64_t)(k - c->chunk) << 32 | off_bytes;
}
static inline struct sv_chunk *sv_chunk_at(struct sv_host_cache *c, uint64_t value)
{
	return &c->chunk[value >> 32];
}
/* An object is gone: its file may be too. */
void sv_chunk_unlive(struct sv_host_cache *c, uint64_t value);
/* Forgets an object and its bytes. */
void sv_host_forget(struct sv_host_cache *c, uint32_t object, bool remember);

#endif
