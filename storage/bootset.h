/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bootset.h: which blocks a guest's start needs, in order: recorded, merged, kept in roots. */
#ifndef STORAGE_BOOTSET_H
#define STORAGE_BOOTSET_H

#include <pthread.h>
#include <stdatomic.h>

#include "format.h"

struct sv_store;

#define SV_BOOT_RUNS 5u		      /* that a set is merged of */
#define SV_BOOT_BLOCKS 65536u	      /* of a run, and of a set, at most: 256 MiB */
#define SV_BOOT_LEAST_BLOCKS 256u     /* a run that needed less was none */
#define SV_BOOT_FIXED_BYTES 32u	      /* of the record */
#define SV_BOOT_EXTENT_BYTES 16u      /* an extent takes less than this in it */
#define SV_BOOT_MAX_BYTES (24u << 10) /* of the record */

/* Adjacent blocks that were needed one after the other. */
struct sv_boot_extent {
	uint64_t lba;
	uint32_t blocks;
	uint8_t runs; /* bit n: of the last run but n */
};

/* In order of need. Guarded by the store's lock. */
struct sv_boot_set {
	struct sv_boot_extent *v;
	uint32_t count, capacity;
	uint32_t blocks;
	unsigned runs;	       /* recorded so far, at most SV_BOOT_RUNS */
	uint64_t packed_bytes; /* written to the stick by packing, ever */
	uint64_t packed_check; /* of the units that were packed last */
};

/* What this session did for its order on the stick; guarded by `cleaning`. */
struct sv_boot_pack {
	enum { SV_PACK_LOOK, SV_PACK_DUE, SV_PACK_DONE } state;
	uint64_t check;	      /* of the set that is being packed */
	uint64_t left_bytes;  /* no more than that is written */
	unsigned worth_ratio; /* K1; 0: the default */
};

/* One run as it is recorded: which blocks it needed, each once. */
struct sv_boot_run {
	pthread_mutex_t lock;
	atomic_bool on;		/* still recording */
	struct sv_boot_set set; /* `runs` of its extents is 1 */
	uint64_t *seen;		/* a hash table of blocks, + 1 */
	uint64_t first_ms;	/* of the first block; 0: none yet */
	uint64_t mark_ms;	/* since when little was new */
	uint32_t mark_blocks;	/* that there were then */
};

/* Appends, joining what follows; -ENOMEM; -ENOSPC: the bound is reached. */
int sv_boot_add(struct sv_boot_set *set, uint64_t lba, uint32_t blocks, uint8_t runs);
void sv_boot_free(struct sv_boot_set *set);

/* `run` becomes the last of the set's runs. Order is that of the last run; what only older ones
 * needed stands where they had it. A block stays if the last run or two of the five needed it.
 * -ENOMEM: the set is as it was. */
int sv_boot_merge(struct sv_boot_set *set, const struct sv_boot_set *run);

/* ---- the run under way ---- */
void sv_boot_run_init(struct sv_boot_run *run, bool on);
void sv_boot_run_free(struct sv_boot_run *run);
/* The guest needed these from the stick. From any thread. */
void sv_boot_note(struct sv_boot_run *run, uint64_t lba, uint32_t blocks, uint64_t now_ms);
/* Whether the guest has settled (B3). */
bool sv_boot_settled(struct sv_boot_run *run, uint64_t now_ms);

/* ---- bootset_codec.c ---- */
/* What the record takes: the first extents that go into `limit` bytes; 0: there is nothing. */
uint32_t sv_boot_record_bytes(const struct sv_boot_set *set, uint32_t limit);
/* A record of exactly `bytes`, as told by sv_boot_record_bytes. */
void sv_boot_put(struct sv_cur *cur, const struct sv_boot_set *set, uint32_t bytes);
/* Behind the record's first eight bytes, up to the cursor's end; -EBADMSG where it makes no
 * sense, -ENOMEM: `ret_set`, which is freed otherwise, is untouched then. */
int sv_boot_get(struct sv_cur *cur, struct sv_boot_set *ret_set);
/* Takes the set of a batch with a root; of one without a record: none. */
void sv_boot_take(struct sv_boot_set *set, const struct sv_head *head, const uint8_t *raw);

/* ---- of a store ---- */
void sv_boot_begin(struct sv_store *s, bool record);
void sv_boot_end(struct sv_store *s);
/* What its record may take in a root. */
uint32_t sv_boot_limit(const struct sv_store *s);
/* Ends the recording, and merges what was recorded if it was a start. */
void sv_boot_finish(struct sv_store *s);
/* One step of putting its units in order on the stick (bootpack.c); `*ret_done`: there was one.
 * With cleaning held. */
int sv_boot_pack(struct sv_store *s, bool (*go_on)(struct sv_store *s), bool *ret_done);
/* Ends sweep and recording, and takes all such steps: there was no idle moment before. */
void sv_boot_close(struct sv_store *s);
/* Called by the keeper: ends it when the guest has settled. */
void sv_boot_tick(struct sv_store *s);

#endif
