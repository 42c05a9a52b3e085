/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history.h: how the log keeps its history; private to the engine. */
#ifndef STORAGE_HISTORY_H
#define STORAGE_HISTORY_H

#include "format.h"
#include "stickvm/history.h"

#define SV_HISTORY_SPAN_BYTES 104u
#define SV_HISTORY_SESSION_BYTES 104u
#define SV_HISTORY_HOST_BYTES 104u
#define SV_HISTORY_SLOW_BYTES 40u
#define SV_HISTORY_FIXED_BYTES 120u
#define SV_HISTORY_MAX_BYTES                                                                       \
	(SV_HISTORY_FIXED_BYTES + SV_HISTORY_SPANS * SV_HISTORY_SPAN_BYTES +                       \
	 SV_HISTORY_SESSIONS * SV_HISTORY_SESSION_BYTES +                                          \
	 SV_HISTORY_HOSTS * SV_HISTORY_HOST_BYTES + SV_HISTORY_SLOW * SV_HISTORY_SLOW_BYTES)

/* All hosts, one session, one span: what is always kept. */
#define SV_HISTORY_LEAST_BYTES                                                                     \
	(SV_HISTORY_FIXED_BYTES + SV_HISTORY_SPAN_BYTES + SV_HISTORY_SESSION_BYTES +               \
	 SV_HISTORY_HOSTS * SV_HISTORY_HOST_BYTES)

/* Takes a batch of the chain: its ledger, and the session that it opens or closes. The record
 * that a root carries replaces what is known where `load`: recovery does, who writes does not.
 * `raw`: the header with its records. */
void sv_history_take(struct sv_history *hist, const struct sv_head *head, const uint8_t *raw,
		     bool load);
/* What the ledger says now that the history does not know yet. */
void sv_history_note(struct sv_history *hist, const struct sv_ledger *ledger, uint64_t time_s);
/* A write took this long. */
void sv_history_wrote(struct sv_history *hist, uint32_t segment, uint32_t len_bytes,
		      uint64_t took_us, uint64_t time_s);

/* ---- history_codec.c ---- */
/* Merges and drops the oldest until the record takes no more than `limit`, at least
 * SV_HISTORY_FIXED_BYTES; returns what it takes. */
uint32_t sv_history_fit(struct sv_history *hist, uint32_t limit);
/* The whole record, header of the record included. */
void sv_history_put(struct sv_cur *cur, const struct sv_history *hist);
/* Behind the record's first eight bytes; -EBADMSG where it makes no sense: `ret_hist` is untouched
 * then. */
int sv_history_get(struct sv_cur *cur, struct sv_history *ret_hist);

#endif
