/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe.h: measuring a stick: what is measured, and through what. */
#ifndef LAUNCHER_PROBE_H
#define LAUNCHER_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The stick as one small table, and the clock with it: a simulated one runs on its own. Whole
 * sectors; 0 or a negative errno. */
struct probe_ops {
	int (*read)(void *ctx, void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*write)(void *ctx, const void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*flush)(void *ctx);
	uint64_t (*now_ns)(void *ctx);
};

struct probe_range {
	uint64_t off_bytes, len_bytes;
};

/*
 * What is measured. Addresses are those of the medium where `aligned`, else of a file.
 *  - `readable`: what may be read all over; empty: only what was written to `scratch`;
 *  - `scratch`: one run that may be overwritten; empty: nothing is written.
 */
struct probe_target {
	const struct probe_ops *ops;
	void *ctx;
	struct probe_range readable, scratch;
	uint32_t sector_bytes;
	bool aligned;
};

struct probe_params {
	bool full;
	uint64_t limit_ns;    /* for all of it but the fast cache; 0: by the kind of probe */
	uint64_t cache_bytes; /* written at most to find the fast cache's end; 0: not looked for */
	uint64_t seed;
	/* May be NULL; `what` is a literal. Returns false to stop (-ECANCELED). */
	bool (*report)(void *report_ctx, const char *what, uint64_t done, uint64_t total);
	void *report_ctx;
};

enum probe_method {
	PROBE_UNKNOWN = 0,
	PROBE_BY_READS,	 /* reads across borders take longer */
	PROBE_BY_WRITES, /* writes at borders take longer */
};
const char *probe_method_name(enum probe_method method); /* "reads", "writes"; NULL: unknown */

/* 0 where a figure is unknown. */
struct probe_result {
	uint64_t at_s; /* Unix time */
	uint64_t took_ns;
	uint64_t read_rate; /* bytes a second, in order */
	uint64_t write_rate;
	uint64_t command_ns;	 /* of a read in order, without its transfer */
	uint64_t random_read_ns; /* of 4 KiB */
	uint64_t random_write_ns;
	uint64_t merge_ns; /* what a write to a unit that is not open waits for */
	uint32_t page_bytes;
	uint32_t erase_bytes;
	uint32_t open_units;
	enum probe_method page_method, erase_method;
	bool open_units_more;	     /* at least so many */
	bool page_mapped;	     /* writes anywhere cost no merges */
	uint64_t cache_bytes;	     /* of the fast cache: after so much the rate falls */
	uint64_t cache_looked_bytes; /* so much was written to find it */
	uint64_t slow_write_rate;    /* behind its end */
	uint64_t written_bytes;	     /* by this probe */
};

/* Measures all that the target allows. 0 or a negative errno of the target. */
int probe_run(const struct probe_target *target, const struct probe_params *params,
	      struct probe_result *ret_result);

#endif
