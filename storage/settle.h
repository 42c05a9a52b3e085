/* SPDX-License-Identifier: GPL-2.0-or-later */
/* settle.h: when the host's file system should write the times of our files. */
#ifndef STORAGE_SETTLE_H
#define STORAGE_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

/* Guarded by the store's lock. All zero: nothing was written yet. */
struct sv_settle {
	uint64_t done_bytes; /* of what was written, those whose times are on the stick */
	uint64_t done_ms;    /* since when */
	uint64_t since_ms;   /* about when the first write behind them began; 0: none did */
	uint64_t ended_unit, ended_ms; /* the erase unit that was filled last, and when */
	uint64_t unit_ms;	       /* how long that took */
};

/*
 * Whether now is the moment (settle.c). `written_bytes`: in all; `unit`: the erase unit that the
 * log is at the end of, with `at_end`.
 */
bool sv_settle_due(struct sv_settle *settle, uint64_t written_bytes, uint64_t unit, bool at_end,
		   uint64_t now_ms);
/* It was done, with so many bytes written before it began. */
void sv_settle_done(struct sv_settle *settle, uint64_t written_bytes, uint64_t now_ms);

#endif
