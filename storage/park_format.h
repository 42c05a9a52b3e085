/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_format.h: the stream of parked data and its codecs; FORMAT.md has it as tables. */
#ifndef STORAGE_PARK_FORMAT_H
#define STORAGE_PARK_FORMAT_H

#include "format.h"

#define SV_PARK_HEAD_BYTES (256u + SV_ANCHOR_BYTES)
#define SV_PARK_APPEND_BYTES 64u
#define SV_PARK_CHANGE_BYTES 24u

/* Where the session was when its stick went away. */
struct sv_park_head {
	uint64_t size_bytes; /* of the disk */
	uint64_t epoch, seq;
	uint8_t hash[SV_HASH_BYTES]; /* of the batch appended last */
	uint8_t before_opening[SV_HASH_BYTES];
	uint32_t segment, next, after; /* the head of the log, and what it names */
	uint64_t offset;	       /* behind the last append, in `segment` */
	uint64_t segments;	       /* that the place had */
	uint64_t must_segments;	       /* that hold what is not in the stream */
	uint32_t appends;
	bool before_known; /* Y4: */
	uint64_t before_place, before_seq;
	uint32_t before_next;
	uint8_t before_hash[SV_HASH_BYTES];
	struct sv_anchor anchor; /* as last written, or about to be */
};

/* Before the bytes of an append. */
struct sv_park_append {
	uint64_t place, seq;
	uint32_t len_bytes, next_segment;
	uint8_t hash[SV_HASH_BYTES];
	bool apart;
	bool flushed; /* the stick had confirmed it */
};

enum sv_park_kind { SV_PARK_END = 0, SV_PARK_DISCARD = 1, SV_PARK_BLOCK = 2 };

/* A change that was in no append; a block's bytes follow it. */
struct sv_park_change {
	enum sv_park_kind kind;
	uint64_t lba, end;
};

void sv_park_head_encode(const struct sv_park_head *head, uint8_t *buf);
/* -EBADMSG, -EPROTONOSUPPORT. What is decoded is consistent in itself: sizes, places, counts. */
int sv_park_head_decode(uint8_t *buf, struct sv_park_head *ret_head);
void sv_park_append_encode(const struct sv_park_append *append, uint8_t *buf);
int sv_park_append_decode(uint8_t *buf, const struct sv_park_head *head,
			  struct sv_park_append *ret_append);
void sv_park_change_encode(const struct sv_park_change *change, uint8_t *buf);
int sv_park_change_decode(uint8_t *buf, const struct sv_park_head *head,
			  struct sv_park_change *ret_change);

#endif
