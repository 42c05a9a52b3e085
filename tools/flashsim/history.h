/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history.h: the last writes and what they overwrote, for power cuts that take some of them back.
 */
#ifndef FLASHSIM_HISTORY_H
#define FLASHSIM_HISTORY_H

#include "medium.h"

/* What a power cut does. All zero: whatever was acknowledged stays. */
struct fsim_cut {
	bool track;	       /* writes can be taken back: costs a copy of what they overwrite */
	uint32_t drop_percent; /* of the sectors that were not flushed */
	uint32_t garbage_percent;
	bool reorder;	       /* unflushed writes reach the flash in any order */
	uint64_t lie_bytes;    /* mode `liar`: of the last so many flushed ones, any are dropped */
	uint32_t paired_bytes; /* mode `paired`: so many written before a torn write in the same
				* allocation unit become garbage, flushed or not */
};

struct fsim_record;

struct fsim_history {
	struct fsim_cut cut;
	uint32_t unit_bytes;
	struct fsim_record *records; /* oldest first */
	size_t count;
	size_t capacity;
	size_t flushed;		/* records before this one are flushed */
	uint64_t flushed_bytes; /* in them */
};

void fsim_history_init(struct fsim_history *history, const struct fsim_cut *cut,
		       uint32_t unit_bytes);
void fsim_history_destroy(struct fsim_history *history);

/* To be called before each write. -ENOMEM. */
int fsim_history_add(struct fsim_history *history, const struct fsim_medium *medium,
		     size_t len_bytes, uint64_t off_bytes);
void fsim_history_flush(struct fsim_history *history);

/*
 * Cuts the power: the medium is left as a stick's would be, and the history is empty.
 * `torn`: the newest record is the command in flight, of which a random part arrives.
 */
void fsim_history_cut(struct fsim_history *history, struct fsim_medium *medium, bool torn,
		      uint64_t *random);

#endif
