/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_fake.h: whether a stick holds what it announces, found out without losing what is there. */
#ifndef LAUNCHER_PROBE_FAKE_H
#define LAUNCHER_PROBE_FAKE_H

#include "probe.h"

#define PROBE_TAG_BYTES 4096u

enum probe_fake {
	PROBE_GENUINE = 0, /* holds what it announces */
	PROBE_BAD,	   /* holds nothing */
	PROBE_LIMBO,	   /* accepts and loses what is beyond its real size */
	PROBE_WRAPAROUND,  /* writes what is beyond it over what is before */
	PROBE_CHAIN, /* wraps around at a larger size, and loses what is beyond the real one */
};
const char *probe_fake_name(enum probe_fake kind); /* "good", "bad", ... as f3 says */

/* Where old content is kept, off the stick, until it is back in its place. */
struct probe_saver {
	/* Keeps `len_bytes` that lay at `off_bytes` and are about to be written over. */
	int (*keep)(void *ctx, const void *data, size_t len_bytes, uint64_t off_bytes);
	/* Everything kept so far is durable on return; called before anything is written. */
	int (*commit)(void *ctx);
	void *ctx;
};

struct probe_capacity_params {
	uint64_t size_bytes;		/* announced */
	const struct probe_range *free; /* where may be written, ascending */
	size_t free_count;
	uint64_t spill_bytes; /* written before reading back, so that no cache answers */
	uint64_t seed;	      /* of this run's tags; not 0 */
	struct probe_saver saver;
	bool (*report)(void *report_ctx, const char *what, uint64_t done, uint64_t total);
	void *report_ctx;
};

struct probe_capacity {
	enum probe_fake kind;
	uint64_t announced_bytes;
	uint64_t real_bytes;	  /* what it holds; of a fake: to within precision_bytes */
	uint64_t precision_bytes; /* 0: exact */
	uint64_t wrap_bytes;	  /* of the last two kinds */
	bool cached;		  /* it remembered for a while what it did not hold */
	uint32_t samples, lost;	  /* places that were tried, and did not hold */
	uint64_t reached_bytes;	  /* the end of the last place that was tried */
	uint32_t changed; /* places that do not read as before: the stick failed to hold them */
};

/*
 * Tries places all over the stick. `ops` read and write it by its own addresses. What was there is
 * put back, the other way round than it was taken, in any case but -ENODEV and failures of the
 * saver: then probe_capacity_restore does it later. 0 or a negative errno (-ENOSPC: too few
 * places).
 */
int probe_capacity_run(const struct probe_ops *ops, void *ctx,
		       const struct probe_capacity_params *params, struct probe_capacity *ret);

/* Puts back what a run that was cut short left behind: `data` lay at `off_bytes`; blocks that do
 * not hold a tag of the run with this seed are left alone. */
int probe_capacity_restore(const struct probe_ops *ops, void *ctx, uint64_t seed, const void *data,
			   size_t len_bytes, uint64_t off_bytes, uint64_t *ret_restored);

#endif
