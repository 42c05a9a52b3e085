/* SPDX-License-Identifier: GPL-2.0-or-later */
/* segs.h: what is known of every segment: live bytes, generation, whether it may be reused. */
#ifndef STORAGE_SEGS_H
#define STORAGE_SEGS_H

#include "format.h"

/* Why a segment may not be allocated, whatever its counts say. */
enum sv_seg_role {
	SV_SEG_IDLE = 0,
	SV_SEG_FIXED, /* holds an anchor */
	SV_SEG_HEAD,  /* takes the chain's batches */
	SV_SEG_NEXT,  /* named by the head's headers (L2) */
	SV_SEG_APART, /* takes survivors */
};

struct sv_seg {
	struct sv_usage usage;
	uint32_t self_live; /* bytes of the segment table's own pages in it; not in
			     * usage.live_bytes, which could else never be written down */
	uint32_t packed;    /* live bytes when the cleaner had filled it, in this session; 0: it did
			     * not. What is missing from it is all that another pass would win */
	uint8_t role;
	bool bears;	     /* what was born lies in it: padded, so never `packed` */
	uint8_t visits;	     /* by the cleaner in this generation and session */
	uint32_t visit_mark; /* checkpoints counted at the last of them, plus one */
	/* How fast it empties (victim.c). In memory only. */
	uint32_t watched_live;	/* live bytes when it was first watched */
	uint64_t watched_since; /* the clock then */
	float rate;		/* from before; 0: none yet */
	int64_t slack;		/* what units in it take beyond their live blocks stored raw; right
				 * only once the map was walked (sv_find_slack) */
};

/*
 * All segments in memory: 56 bytes each, 8192 segments on a 64 GB stick. Guarded by the store's
 * lock. Its pages go to the stick with a checkpoint; `where` are the entries of those pages.
 */
struct sv_segs {
	struct sv_seg *v;
	uint64_t count;	   /* addressable now */
	uint64_t limit;	   /* could be grown to, as far as is known */
	uint64_t refused;  /* what the device said it could grow to when it could not; 0: nothing */
	uint64_t most;	   /* v has room for them: the limit may rise */
	uint64_t free;	   /* may be opened now, virgins included, growth not (G2) */
	uint64_t pending;  /* hold nothing live but lie at or above the gate */
	uint64_t gate_seq; /* reuse only what ended before (DESIGN: the gate) */
	uint64_t live_bytes;
	uint64_t clock;	 /* the guest's: see victim.c */
	bool wrong;	 /* G3 */
	uint64_t cursor; /* allocation goes round */
	uint32_t segment_bytes;
	unsigned levels; /* of the table's tree, for `count` */
	struct {
		uint64_t *where;
		uint8_t *dirty;
		uint64_t pages;
	} level[SV_MAX_LEVELS];
};

/* Memory for `limit` segments and for many more, untouched as yet; -ENOMEM. */
int sv_segs_init(struct sv_segs *segs, uint32_t segment_bytes, uint64_t count, uint64_t limit);
void sv_segs_free(struct sv_segs *segs);
void sv_segs_set_count(struct sv_segs *segs, uint64_t count);

/* Levels of a table of `count` segments; pages of one level of it. */
unsigned sv_segs_levels(uint64_t count);
uint64_t sv_segs_pages(uint64_t count, unsigned level);

/* Adds to (takes from) the live bytes at a place, as of batch `seq`. */
void sv_segs_live(struct sv_segs *segs, uint64_t place, int64_t delta_bytes, uint64_t seq);
/* The same for a page of the table itself. */
void sv_segs_self(struct sv_segs *segs, uint64_t place, int64_t delta_bytes, uint64_t seq);
/* Of a unit's live blocks now `blocks` are left, after `before`. */
void sv_segs_slack(struct sv_segs *segs, uint64_t place, uint32_t stored, unsigned before,
		   unsigned blocks);
void sv_segs_touch(struct sv_segs *segs, uint64_t segment);

/* Takes a free segment for a role: -ENOSPC. Prefers those already written once. */
int sv_segs_alloc(struct sv_segs *segs, enum sv_seg_role role, uint32_t *ret_segment);
void sv_segs_set_role(struct sv_segs *segs, uint32_t segment, enum sv_seg_role role);
/* A segment begins a new generation; whatever it held is gone. */
void sv_segs_begin(struct sv_segs *segs, uint32_t segment, uint64_t generation, uint64_t seq);
/* A session goes on in a segment that an earlier one began; `hash` is its opening's. From a copy of
 * the stick another session may go on in the same segment, under the same generation: places in it
 * are told apart by the lineage, which is made of all such openings (DESIGN, "Caches"). */
void sv_segs_go_on(struct sv_segs *segs, uint32_t segment, const uint8_t *hash);
void sv_segs_set_gate(struct sv_segs *segs, uint64_t gate_seq);
/* Counts free and pending afresh. */
void sv_segs_recount(struct sv_segs *segs);

#endif
