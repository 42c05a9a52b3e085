/* SPDX-License-Identifier: GPL-2.0-or-later */
/* format.h: the structures on the stick and their codecs; FORMAT.md has them as tables. */
#ifndef STORAGE_FORMAT_H
#define STORAGE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "stickvm/store.h"

#define SV_FORMAT_VERSION 1u
#define SV_ANCHOR_BYTES 4096u
/* Where the second anchor may be: one segment from the first, in these steps. */
#define SV_ANCHOR_SEARCH_STEP (64u << 10)
#define SV_ANCHOR_SEARCH_END (64u << 20)
#define SV_ANCHOR_CHECKED_BYTES 512u /* one sector, so that it cannot be torn */
#define SV_HEAD_FIXED_BYTES 384u     /* of a batch header, before the records */
#define SV_HEAD_MAX_BYTES 65536u     /* records and hash included */
#define SV_PAGE_MIN_BYTES 4096u	     /* flash page, as the anchor has it */
#define SV_PAGE_MAX_BYTES (1u << 20)
#define SV_SEGMENT_MIN_BYTES 65536u
#define SV_SEGMENT_MAX_BYTES (1u << 30)
#define SV_WINDOW_MAX_BYTES (UINT64_C(1) << 44) /* of lie_window_bytes, checkpoint_bytes */
#define SV_HASH_BYTES 16u
#define SV_GRAIN_BYTES 16u /* units start and end on it */
#define SV_UNIT_HEAD_BYTES 16u
#define SV_UNIT_MAX_BYTES 65536u /* stored, its head included */
#define SV_UNIT_MAX_BLOCKS 64u
#define SV_RAW_UNIT_BYTES (SV_UNIT_HEAD_BYTES + SV_BLOCK_BYTES)
#define SV_PAGE_ENTRIES 64u
#define SV_PAGE_BYTES (SV_PAGE_ENTRIES * 8u)
#define SV_PAGE_UNIT_BYTES (SV_UNIT_HEAD_BYTES + SV_PAGE_BYTES)
#define SV_HOST_BYTES 64u
#define SV_EPOCH_SALT_BITS 16u /* low bits of an epoch's number are random */
#define SV_MAX_LEVELS 8u
#define SV_GAP_PAGES 4u /* between a batch and its successor, where the first is old */

/* Epochs are told apart by their whole number, and ordered by this part of it. */
static inline uint64_t sv_epoch_ordinal(uint64_t epoch)
{
	return epoch >> SV_EPOCH_SALT_BITS;
}

static inline bool sv_epoch_is_later(uint64_t epoch, uint64_t than)
{
	return sv_epoch_ordinal(epoch) > sv_epoch_ordinal(than);
}

/* Where a batch's header lies, and what its successor will need of it. */
struct sv_link {
	uint32_t segment;
	uint32_t offset; /* in the segment, bytes */
	uint64_t generation;
	uint64_t seq;
	uint8_t hash[SV_HASH_BYTES];
};

/* Feature bits. An unknown incompatible bit refuses opening, an unknown read-only-compatible one
 * refuses writing, an unknown compatible one is ignored. */
#define SV_INCOMPAT_BORN (UINT64_C(1) << 5) /* there may be BORN records (born.c, Z6) */
#define SV_INCOMPAT_KNOWN SV_INCOMPAT_BORN
struct sv_features {
	uint64_t incompat;
	uint64_t ro_compat;
	uint64_t compat;
};

struct sv_anchor {
	struct sv_features features;
	uint8_t store_id[SV_STORE_ID_BYTES];
	uint32_t segment_bytes;
	uint32_t page_bytes;
	uint64_t lie_window_bytes;
	uint64_t checkpoint_bytes;
	uint64_t anchor_seq; /* the larger one is the newer */
	uint64_t log_bytes;  /* written to the device when it was made */
	uint64_t created_s;
	struct sv_link root; /* R0: where the walk begins */
	uint64_t epoch;	     /* in force, and the batch that began it: */
	struct sv_link opening;
	uint8_t before_opening[SV_HASH_BYTES]; /* hash of the opening batch's predecessor */
	uint64_t gate_seq;		       /* below it segments were free for reuse already */
	char host[SV_HOST_BYTES];	       /* of the session in force */
	uint64_t since_s;
	uint64_t named_log_bytes; /* log_bytes of the first anchor that named this root */
};

enum sv_batch_flag {
	SV_BATCH_MORE = 1,     /* accepted only together with the next one */
	SV_BATCH_ROOT = 2,     /* holds a ROOT record */
	SV_BATCH_OPEN = 4,     /* begins an epoch */
	SV_BATCH_CLOSE = 8,    /* ends a session cleanly */
	SV_BATCH_REFUSED = 32, /* with OPEN: recovery refused moves of the sessions before */
	SV_BATCH_APART = 16,   /* survivors: describes its segment, is not in the chain */
	SV_BATCH_BORN = 64,    /* with APART: no survivors, but what BORN records name */
};

struct sv_head {
	uint32_t head_bytes;	 /* fixed part, records and hash */
	uint32_t payload_offset; /* from the start of the batch */
	uint32_t payload_bytes;
	uint32_t total_bytes; /* on the device, padding included */
	uint32_t flags;
	uint32_t records; /* count */
	uint8_t store_id[SV_STORE_ID_BYTES];
	uint64_t epoch;
	uint64_t seq;
	uint64_t flushed_seq; /* F */
	uint64_t log_bytes;   /* written to the device before this batch */
	uint64_t generation;  /* of its segment */
	uint64_t time_s;
	uint32_t segment;
	uint32_t offset;
	uint32_t next_segment;
	uint32_t after_segment; /* the one behind the next */
	uint8_t prev_hash[SV_HASH_BYTES];
	uint64_t payload_digest; /* over the checks of its units, in order */
	struct sv_ledger ledger;
	uint64_t prev_epoch;	     /* the one that this one followed */
	uint8_t hash[SV_HASH_BYTES]; /* filled by encode and decode */
};

enum sv_record_type {
	SV_REC_DATA = 1,    /* a unit of guest blocks in this batch's payload */
	SV_REC_DISCARD = 2, /* blocks that are zero from now on */
	SV_REC_MOVE = 3,    /* blocks from an old place to a new one, if still at the old */
	SV_REC_PAGE = 4,    /* a unit with a page of a tree, in the payload */
	SV_REC_ROOT = 5,
	SV_REC_SESSION = 6,
	SV_REC_SEGMENT = 7,	/* a segment was opened outside the chain */
	SV_REC_DAMAGE = 15,	/* with OPEN: a batch whose payload was found bad, and kept */
	SV_REC_LOSS = 16,	/* with OPEN: flushed batches that recovery missed */
	SV_REC_BORN = 17,	/* a unit of guest blocks in a batch apart */
	SV_REC_SKIPPABLE = 128, /* from here on a record has its length, and may be skipped */
	SV_REC_HISTORY = 128,	/* with ROOT: history.h */
	SV_REC_BOOT_SET = 129,	/* with ROOT: bootset.h */
};

/* What a root says. Entries as in the map. */
struct sv_root {
	uint64_t size_bytes; /* of the disk */
	uint64_t map_top;    /* entry of the block map's top page; 0: an empty disk */
	uint64_t usage_top;  /* entry of the segment table's top page */
	uint64_t segments;   /* in the table */
	uint64_t mapped_blocks;
	uint64_t as_of_seq; /* the state after this batch */
};

struct sv_session {
	char host[SV_HOST_BYTES];
	uint64_t since_s;
};

enum sv_tree { SV_TREE_MAP = 0, SV_TREE_USAGE = 1 };

struct sv_record {
	uint8_t type;
	uint8_t blocks;	       /* DATA, MOVE, BORN */
	uint8_t old_index;     /* MOVE: of the first block within the old unit */
	uint8_t new_index;     /* MOVE: within the new unit */
	uint8_t tree, level;   /* PAGE */
	uint32_t stored_bytes; /* DATA, MOVE (the new unit), PAGE, BORN */
	uint64_t lba;	       /* DATA, DISCARD, MOVE, BORN; PAGE: its number on its level */
	uint64_t count;	       /* DISCARD: blocks; LOSS: batches */
	uint64_t old_place;    /* MOVE: device address */
	uint64_t new_place;    /* MOVE, BORN */
	uint64_t check;	       /* MOVE: of the new unit; BORN */
	uint32_t segment;      /* SEGMENT */
	uint64_t generation;
	uint32_t offset, bytes; /* SEGMENT before BORN: the batch apart that holds the units */
	uint64_t seq;		/* DAMAGE */
	struct sv_root root;
	struct sv_session session;
};

#define SV_REC_HEAD_BYTES 8u /* of every record: type, small fields, a length */
#define SV_REC_DATA_BYTES 16u
#define SV_REC_DISCARD_BYTES 24u
#define SV_REC_MOVE_BYTES 40u
#define SV_REC_PAGE_BYTES 16u
#define SV_REC_ROOT_BYTES 64u
#define SV_REC_SESSION_BYTES 80u
#define SV_REC_SEGMENT_BYTES 24u
#define SV_REC_DAMAGE_BYTES 16u
#define SV_REC_LOSS_BYTES 16u
#define SV_REC_BORN_BYTES 32u
#define SV_DAMAGES_MAX 64u /* in one opening */

/* One segment in the segment table: 32 bytes, sixteen a page. */
#define SV_USAGE_BYTES 32u
#define SV_USAGE_PER_PAGE (SV_PAGE_BYTES / SV_USAGE_BYTES)
struct sv_usage {
	uint64_t generation; /* 0: never written */
	uint64_t last_seq;
	uint32_t live_bytes;
	uint32_t used_bytes; /* written in this generation, headers included */
	uint32_t flags;
	uint32_t lineage; /* of sessions that went on in it: see sv_segs_go_on */
};
enum sv_usage_flag {
	SV_SEG_CONVERTED = 1, /* written once in full: costs no metadata of the host file system */
	SV_SEG_DAMAGED = 2,   /* holds live bytes that do not verify, as the cleaner found */
};

/* `buf` has SV_ANCHOR_BYTES. Decode: -EMEDIUMTYPE not an anchor, -EBADMSG damaged,
 * -EPROTONOSUPPORT newer; the features are filled in that last case. */
void sv_anchor_encode(const struct sv_anchor *a, uint8_t *buf);
int sv_anchor_decode(const uint8_t *buf, struct sv_anchor *ret_anchor);

/* Encodes the fixed part before records that lie already in `buf`, and the hash behind them.
 * `head->head_bytes` says where: fixed part + records + hash. Fills head->hash. */
void sv_head_encode(struct sv_head *head, uint8_t *buf);
/* The fixed part alone: sizes are sane and the magic is there, nothing is verified yet. */
int sv_head_peek(const uint8_t *buf, size_t len, struct sv_head *ret_head);
/* The whole header, `len` >= head_bytes: -EBADMSG unless it verifies. */
int sv_head_decode(const uint8_t *buf, size_t len, struct sv_head *ret_head);

void sv_record_put(struct sv_cur *cur, const struct sv_record *rec);
/* -EBADMSG where the record makes no sense by itself. */
int sv_record_get(struct sv_cur *cur, struct sv_record *ret_rec);

void sv_usage_put(struct sv_cur *cur, const struct sv_usage *usage);
struct sv_usage sv_usage_get(struct sv_cur *cur);

/*
 * An entry: where the unit lies that holds a block (or a page), and which of its blocks this is.
 * bits 0-41 place / 16, 42-47 index in the unit, 48-59 stored bytes / 16 - 1, 60 the unit has a
 * single block. 0: nothing there.
 */
#define SV_ENTRY_SINGLE (UINT64_C(1) << 60)
/* Nobody knows any more where the block is, or the page: reading it is -EIO. It names a place in
 * the first segment, where no unit lies. */
#define SV_ENTRY_LOST UINT64_C(2)

static inline uint64_t sv_entry_make(uint64_t place_bytes, unsigned index, uint32_t stored_bytes)
{
	return place_bytes / SV_GRAIN_BYTES | (uint64_t)index << 42 |
	       (uint64_t)(stored_bytes / SV_GRAIN_BYTES - 1) << 48;
}

static inline uint64_t sv_entry_place(uint64_t entry)
{
	return (entry & ((UINT64_C(1) << 42) - 1)) * SV_GRAIN_BYTES;
}

static inline unsigned sv_entry_index(uint64_t entry)
{
	return (unsigned)(entry >> 42) & 63;
}

static inline uint32_t sv_entry_stored(uint64_t entry)
{
	return ((uint32_t)(entry >> 48 & 4095) + 1) * SV_GRAIN_BYTES;
}

/* Both entries name the same block of the same unit. */
static inline bool sv_entry_same_block(uint64_t a, uint64_t b)
{
	return ((a ^ b) & ((UINT64_C(1) << 48) - 1)) == 0;
}

/* Both entries name the same unit. */
static inline bool sv_entry_same_unit(uint64_t a, uint64_t b)
{
	return a && ((a ^ b) & ((UINT64_C(1) << 42) - 1)) == 0;
}

#endif
