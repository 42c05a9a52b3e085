/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_host.h: units as they lie on the stick, kept in encrypted files on the host's disk. */
#ifndef STORAGE_CACHE_HOST_H
#define STORAGE_CACHE_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "cache_fs.h"

struct sv_host_cache;

struct sv_host_params {
	const char *dir;	      /* each store has a folder of its own in it */
	const uint8_t *key;	      /* 32 bytes that are on the stick only */
	const uint8_t *store_id;      /* 16 bytes */
	uint64_t bytes;		      /* of files, at most; at least SV_HOST_LEAST_BYTES */
	uint64_t leave_bytes;	      /* left free for others on the file system */
	bool manual;		      /* no thread: what is offered is written within the call */
	uint32_t pause_ms;	      /* without a write after one that failed; 0: 5 s */
	const struct sv_cache_fs *fs; /* NULL: the host's */
};
#define SV_HOST_LEAST_BYTES (8u << 20)
#define SV_HOST_MOST_BYTES (UINT64_C(128) << 30)

/* Where a unit lies on the stick, so that nothing else ever did or will (DESIGN, "Caches"). */
struct sv_host_key {
	uint64_t place, generation;
	uint32_t lineage; /* of the segment (segs.h) */
	uint32_t len_bytes;
};

/* Takes over what earlier sessions left. -EBUSY: another process has it; -EINVAL: too small; else
 * what the file system said. Whatever it is, the store does without. */
int sv_host_open(const struct sv_host_params *params, struct sv_host_cache **ret_cache);
/* Writes what waits and seals the files. Takes NULL. */
void sv_host_close(struct sv_host_cache *c);

/* Room that a buffer needs beyond a unit's bytes. */
#define SV_HOST_EXTRA_BYTES 64u
/* The unit into `buf` (len_bytes and EXTRA): *ret_unit is where it begins in there. False: it is
 * not here. Callable from any thread; waits for the host's disk and for nothing else. */
bool sv_host_read(struct sv_host_cache *c, const struct sv_host_key *key, uint8_t *buf,
		  uint8_t **ret_unit);
/* Whether it seems to be here: what is kept under a number of 64 bits may be another one. Does not
 * count as use. */
bool sv_host_has(struct sv_host_cache *c, const struct sv_host_key *key);
/* Offers a unit that was read from the stick and verified; taken if there is room to wait in.
 * Never waits for a disk. Callable from any thread. */
void sv_host_offer(struct sv_host_cache *c, const struct sv_host_key *key, const uint8_t *unit);

struct sv_host_stats {
	uint64_t hits;	 /* units served */
	uint64_t misses; /* units offered: they had to come from the stick */
	uint64_t bytes;	 /* of files now */
	uint64_t limit_bytes;
	uint64_t written_bytes; /* to the host's disk in this session */
	uint64_t bad;		/* found, but did not verify or could not be read */
	uint64_t passed;	/* offered in vain: the queue was full, or the disk */
};
void sv_host_stats(struct sv_host_cache *c, struct sv_host_stats *ret_stats);

#endif
