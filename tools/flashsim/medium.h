/* SPDX-License-Identifier: GPL-2.0-or-later */
/* medium.h: the bytes of a stick, sparse, and those that a fake one does not have. */
#ifndef FLASHSIM_MEDIUM_H
#define FLASHSIM_MEDIUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FSIM_SECTOR_BYTES 512u

/* The five kinds that f3 knows. */
enum fsim_fake {
	FSIM_GOOD,	 /* holds what it announces */
	FSIM_BAD,	 /* holds nothing */
	FSIM_LIMBO,	 /* what is beyond `real_bytes` is accepted and lost */
	FSIM_WRAPAROUND, /* addresses are taken modulo `real_bytes`, a power of two */
	FSIM_CHAIN,	 /* modulo `wrap_bytes`, a power of two, and lost beyond `real_bytes` */
};

struct fsim_medium {
	uint8_t *data;
	uint64_t size_bytes;
	enum fsim_fake fake;
	uint64_t real_bytes;
	uint64_t wrap_bytes;
	struct fsim_cached *cache; /* a ring of the sectors written last; NULL: none */
	size_t cache_count, cache_next;
};

struct fsim_cached {
	uint64_t off_bytes;
	uint8_t bytes[FSIM_SECTOR_BYTES];
};

/*
 * `path` NULL: in memory; else a sparse file, made if missing, whose content stays. Memory is
 * used by what is written only. The other fields are set by the caller afterwards.
 */
int fsim_medium_init(struct fsim_medium *medium, uint64_t size_bytes, const char *path);
/* A fake then still knows the last `bytes` that were written, wherever. 0 or -ENOMEM. */
int fsim_medium_cache(struct fsim_medium *medium, uint32_t bytes);
void fsim_medium_destroy(struct fsim_medium *medium);

/* Whole sectors inside the size. */
void fsim_medium_read(const struct fsim_medium *medium, void *buf, size_t len_bytes,
		      uint64_t off_bytes);
void fsim_medium_write(struct fsim_medium *medium, const void *buf, size_t len_bytes,
		       uint64_t off_bytes);
/* The bytes themselves, where they lie together; else NULL. */
const void *fsim_medium_peek(const struct fsim_medium *medium, size_t len_bytes,
			     uint64_t off_bytes);
/* Random bytes over whole sectors. */
void fsim_medium_shred(struct fsim_medium *medium, size_t len_bytes, uint64_t off_bytes,
		       uint64_t *random);

#endif
