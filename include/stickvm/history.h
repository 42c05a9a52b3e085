/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history.h: what was written to the stick by day, in which sessions, and how long it took. */
#ifndef STICKVM_HISTORY_H
#define STICKVM_HISTORY_H

#include "stickvm/store.h"

/*
 * Bounded for ever: days are kept for 90 days, then weeks for a year, then spans of four weeks for
 * six years; what is older is one span. Days are those of UTC, counted from 1970-01-01. No sum
 * is ever lost by that. Writes of others to the stick are not in it.
 */
#define SV_HISTORY_SPANS 200u
#define SV_HISTORY_SESSIONS 32u
#define SV_HISTORY_HOSTS 16u
#define SV_HISTORY_SLOW 16u

/* The counters that are kept by day; those of struct sv_ledger by the same names, and the time
 * that the device took for writes. */
struct sv_counts {
	uint64_t guest_written_bytes;
	uint64_t guest_read_bytes;
	uint64_t stick_written_bytes;
	uint64_t stick_read_bytes;
	uint64_t payload_bytes;
	uint64_t padding_bytes;
	uint64_t metadata_bytes;
	uint64_t cleaner_bytes;
	uint64_t convert_bytes;
	uint64_t state_bytes;
	uint64_t flushes;
	uint64_t write_us; /* a crash loses what was counted since the last root */
};

struct sv_span {
	uint32_t day; /* the first one, since 1970-01-01 */
	uint32_t days;
	struct sv_counts counts;
};

enum sv_ended {
	SV_ENDED_NOT = 0,     /* it is under way, or nobody has opened the store since */
	SV_ENDED_CLOSED = 1,  /* in order */
	SV_ENDED_UNCLEAN = 2, /* pulled, crashed, without power */
};

struct sv_past_session {
	char host[64];		   /* NUL-terminated, "": unknown */
	uint64_t since_s, until_s; /* until: the last time that it wrote */
	enum sv_ended ended;
	uint64_t guest_written_bytes, stick_written_bytes;
};

/* All sessions of one host; those of hosts that did not find room are under the name "". */
struct sv_past_host {
	char host[64];
	uint64_t sessions, unclean;
	uint64_t guest_written_bytes, stick_written_bytes;
	uint64_t last_s;
};

/* One of the segments with the slowest single writes. */
struct sv_slow {
	uint32_t segment;
	uint32_t day; /* of the slowest write */
	uint64_t writes, bytes, total_us, worst_us;
};

/* Plain values. Spans are oldest first and do not overlap; sessions oldest first; slow segments
 * slowest first. */
struct sv_history {
	bool begun;
	uint64_t since_s;	/* what was written before is in the ledger only */
	struct sv_counts as_of; /* the ledger that the spans reach to */
	uint32_t spans, sessions, hosts, slows;
	struct sv_span span[SV_HISTORY_SPANS];
	struct sv_past_session session[SV_HISTORY_SESSIONS];
	struct sv_past_host host[SV_HISTORY_HOSTS];
	struct sv_slow slow[SV_HISTORY_SLOW];
};

/* The counters by name, for tables and files; ends with a NULL name. */
struct sv_counts_field {
	const char *name;
	size_t offset; /* of a uint64_t in struct sv_counts */
};
extern const struct sv_counts_field sv_counts_fields[];
uint64_t *sv_counts_at(struct sv_counts *counts, const struct sv_counts_field *field);

/* The history of an open store up to now. Callable at any time, from any thread. */
void sv_store_history(struct sv_store *st, struct sv_history *ret_history);

/* Adds the spans, sessions and hosts of another store's history; slow segments are left out,
 * since their numbers mean nothing elsewhere. `today`: for ageing. */
void sv_history_merge(struct sv_history *to, const struct sv_history *from, uint32_t today);
/* Parts of it: one span, host or session, of which only as many are kept as there is room for. */
void sv_history_add_span(struct sv_history *to, const struct sv_span *span, uint32_t today);
void sv_history_add_host(struct sv_history *to, const struct sv_past_host *host);
void sv_history_add_session(struct sv_history *to, const struct sv_past_session *session);

#endif
