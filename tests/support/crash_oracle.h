/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crash_oracle.h: what a recovery must bring back, read from what the medium was told. */
#ifndef TEST_CRASH_ORACLE_H
#define TEST_CRASH_ORACLE_H

#include "dev_crash.h"

/* A piece of a unit that was born apart, and the write that put it there. */
struct crash_born {
	size_t record, over; /* over: as of a batch */
	uint64_t off_bytes;
	uint32_t at, len_bytes; /* in the record */
};

/* A batch of the chain as it was written, or an anchor. */
struct crash_batch {
	size_t first;	/* record of the log with its beginning; */
	size_t record;	/* with its end: it may go to the device in pieces */
	size_t over;	/* the first record behind it that writes over it; SIZE_MAX: none */
	uint64_t write; /* the number of its last piece among the writes, from 1 */
	uint64_t seq, flushed_seq, opening_seq, epoch, prev_epoch;
	uint32_t flags, segment, offset, next_segment;
	uint32_t head_bytes, check_bytes; /* what must survive of it: the header; all that counts */
	bool anchor;
	bool data; /* it changes the disk: units or discards */
	bool last; /* nothing is accepted only together with it */
	struct crash_born *born;
	size_t born_count;
};

struct crash_oracle {
	struct crash_batch *v; /* in order of their ends */
	size_t count, capacity;
	uint64_t back_bytes; /* how far back a cut reaches */
	uint64_t born;	     /* units */
};

/* What a cut left of the chain. */
struct crash_verdict {
	/* The write with which the newest group of guest data was complete that has everything
	 * before it on the medium; 0: none that was recorded. */
	uint64_t intact_write;
	bool broken;  /* some batch of the chain did not survive */
	bool flushed; /* and it, or one behind it, had been flushed */
	bool closed;  /* its header survived, and all behind it up to a close record */
	bool told;    /* and something that survived says so, where recovery looks for it */
};

/* Reads a recorded run. `back_bytes`: what lies further back than that is not damaged by a cut. */
void crash_oracle_read(const struct dev_crash *medium, uint64_t back_bytes,
		       struct crash_oracle *ret_oracle);
void crash_oracle_free(struct crash_oracle *oracle);
/* Compares what a cut after `write` writes left on `fork` with what was written. */
void crash_oracle_judge(const struct crash_oracle *oracle, const struct dev_crash *medium,
			const struct dev_crash *fork, size_t end_record, size_t flushed_record,
			struct crash_verdict *ret_verdict);

#endif
