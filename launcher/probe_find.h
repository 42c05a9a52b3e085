/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_find.h: from latencies to geometry: pure, the same samples always give the same answer. */
#ifndef LAUNCHER_PROBE_FIND_H
#define LAUNCHER_PROBE_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One command and how long it took. */
struct probe_sample {
	uint64_t off_bytes;
	uint64_t len_bytes;
	uint64_t ns;
};

/* Of latencies; 0 of none. The array is sorted. */
uint64_t probe_median(uint64_t *values, size_t count);
/* The value below which `percent` of them lie. The array is sorted. */
uint64_t probe_percentile(uint64_t *values, size_t count, unsigned percent);

/* ns = fix + len * per_byte, through the medians of each length (Theil and Sen). False with fewer
 * than two lengths. */
bool probe_fit(const struct probe_sample *samples, size_t count, double *ret_fix_ns,
	       double *ret_ns_per_byte);

/* What reads across a border of one alignment cost more than reads beside it. */
struct probe_level {
	uint64_t align_bytes; /* of the border, and of no higher one */
	uint64_t base_ns;     /* beside */
	int64_t extra_ns;     /* across; negative by chance */
	uint64_t noise_ns;    /* how far repeats lie from the median */
};

/* Page and erase unit from such levels, in ascending order; 0 where there is no step. */
void probe_find_borders(const struct probe_level *levels, size_t count, uint64_t *ret_page_bytes,
			uint64_t *ret_unit_bytes);

/* Small writes, ascending, one every `stride_bytes`: the unit whose borders make writes slow, with
 * the latency of a slow one (a merge) and where the borders lie. */
struct probe_unit {
	uint64_t unit_bytes;  /* 0: none was found */
	uint64_t phase_bytes; /* of borders, modulo the unit */
	uint64_t slow_ns;
	uint64_t fast_ns;
	size_t seen;   /* slow writes at borders */
	bool clear;    /* every write at a border was slow, and no other */
	bool any_slow; /* some were, with or without a unit to explain them */
};
struct probe_unit probe_find_unit(const struct probe_sample *samples, size_t count,
				  uint64_t stride_bytes);
/* Whether all of them are about as slow as a merge: the stride is no smaller than the unit. */
bool probe_all_slow(const struct probe_sample *samples, size_t count, uint64_t in_order_ns);

/* Writes in order, back to back: how many bytes lie between two slow ones; 0: no rhythm. */
uint64_t probe_find_rhythm(const struct probe_sample *samples, size_t count);

/*
 * Units were begun one after the other after a marked one, which was almost full. The first that
 * costs clearly less than `slow_ns` closed the marked one: its number, counted from 1, is how many
 * can be open. 0: none did. -1: one cost next to nothing, so a place was free, and nothing follows.
 */
int probe_find_open(const uint64_t *begin_ns, size_t count, uint64_t slow_ns);

/* Latencies of writing in 1, 2, 3... places in turn: how many are as good as one. `ret_more`: all
 * of them. */
uint32_t probe_find_streams(const uint64_t *place_ns, size_t count, bool *ret_more);

/* Equal pieces written in order: after how many the rate falls for good, and both rates. */
struct probe_cliff {
	size_t pieces;		      /* 0: none was seen */
	uint64_t before_ns, after_ns; /* of a piece */
};
struct probe_cliff probe_find_cliff(const uint64_t *piece_ns, size_t count);

#endif
