/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sweep.h: the boot set, read ahead of the guest that starts. */
#ifndef STORAGE_SWEEP_H
#define STORAGE_SWEEP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SV_SWEEP_WINDOW 512u /* units that are sorted by place at a time */

struct sv_store;
struct sv_sweep_piece;
struct sv_sweep_unit;

/* Counts of the session; bytes as they lie on the stick. */
struct sv_sweep_stats {
	uint64_t set_bytes;    /* units of the set */
	uint64_t read_bytes;   /* read for it, gaps that were read along included */
	uint64_t served_units; /* that the guest took from it */
	uint64_t seeks;	       /* reads that did not follow the one before */
};

struct sv_sweep {
	pthread_mutex_t lock; /* below the store's */
	pthread_cond_t moved; /* a piece was read, or the guest was served, or all ends */
	pthread_t thread;
	bool runs, stopping;
	atomic_bool on;		    /* there is something to be served */
	struct sv_sweep_unit *unit; /* a hash table by place */
	uint32_t slots, units;
	struct sv_sweep_piece *first, *last; /* in the order in which they are read */
	struct sv_sweep_piece *next;	     /* the first that was not begun */
	uint64_t held_bytes, most_bytes;
	uint64_t end;	  /* where the last read ended */
	uint64_t took_us; /* by the last read */
	uint64_t start_ms;
	int credit;	 /* W4 */
	uint32_t extent; /* of the set: planned up to here (without a thread) */
	struct sv_sweep_stats stats;
};

void sv_sweep_init(struct sv_store *s);
void sv_sweep_free(struct sv_store *s);
/* Starts the thread, where there is a set. */
void sv_sweep_start(struct sv_store *s);
/* Ends it, and keeps what was read. */
void sv_sweep_stop(struct sv_store *s);
/* Forgets what was read, the guest having settled. */
void sv_sweep_forget(struct sv_store *s);
/* For stores without threads: plans and reads up to so many pieces. 0 when there is no more. */
int sv_sweep_some(struct sv_store *s, unsigned pieces, unsigned *ret_done);

/* The unit at a place, if it was swept or is about to be; it is to be verified. */
bool sv_sweep_read(struct sv_store *s, uint64_t place, uint32_t len_bytes, uint8_t *dst);
void sv_sweep_stats(struct sv_store *s, struct sv_sweep_stats *ret_stats);

/* A unit of the set, where it lies. */
struct sv_set_unit {
	uint64_t place, generation, lba; /* lba: of its first block */
	uint32_t stored, lineage;
	uint32_t turn; /* for who sorts them */
};
/* The units of blocks of the set from extent `*extent` on, in order of need, each once within the
 * call: as many as there are, up to `most`. Waits for the stick where the map is not in memory. */
int sv_set_units(struct sv_store *s, uint32_t *extent, struct sv_set_unit *units, uint32_t most,
		 uint32_t *ret_count);
/* For qsort: by place, then by turn. */
int sv_set_by_place(const void *a, const void *b);
/* What a sweep of these reads, with a seek counted as what is read in its time; `*end` is where
 * the last read ended. The list is sorted. */
uint64_t sv_set_cost(const struct sv_store *s, struct sv_set_unit *units, uint32_t count,
		     uint64_t *end);
/* Bytes that are read in the time that a seek takes. */
uint64_t sv_seek_bytes(const struct sv_store *s);

#endif
