/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick.h: a whole simulated stick: timing, data, faults, power, plug and unplug. */
#ifndef FLASHSIM_STICK_H
#define FLASHSIM_STICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history.h"
#include "medium.h"
#include "profile.h"

/* What a stick does when its spare blocks are used up. */
enum fsim_end { FSIM_END_READ_ONLY, FSIM_END_VANISHES, FSIM_END_CORRUPTS };

struct fsim_config {
	const struct fsim_profile *profile; /* borrowed for the stick's life */
	uint64_t size_bytes;		    /* 0: the profile's; rounded down to erase blocks */
	uint64_t seed;			    /* of everything random */
	uint32_t pe_cycles;		    /* 0: the profile's */
	const char *backing_path;	    /* NULL: in memory */
	bool filled;			    /* every page was written once */
	bool boundaries;		    /* reads across pages and erase units cost more */
	enum fsim_end end;
	struct fsim_cut cut;
	enum fsim_fake fake;
	uint64_t real_bytes;	   /* of a fake */
	uint64_t wrap_bytes;	   /* of a chain */
	uint32_t fake_cache_bytes; /* so much of what was written last a fake remembers anyway */
	bool latency;		   /* commands really take their time; can be switched */
};

struct fsim_counters {
	uint64_t read_commands; /* as the stick saw them: after splitting */
	uint64_t write_commands;
	uint64_t flush_commands;
	uint64_t read_bytes;
	uint64_t written_bytes;
	uint64_t pages_programmed; /* all of them */
	uint64_t pages_copied;	   /* by merges and garbage collection, included above */
	uint64_t pages_cached;	   /* programmed in an SLC cache first, included above */
	uint64_t erases;
	uint64_t failed_blocks;
	uint64_t busy_ns;
	uint64_t clock_ns;	    /* busy and idle; never reset */
	double write_amplification; /* programmed / written bytes; 0 where nothing was written */
};

struct fsim_stick;

/* 0 or a negative errno. A new stick is plugged into a port that suits it. */
int fsim_stick_new(const struct fsim_config *config, struct fsim_stick **ret_stick);
/* Takes NULL. No command may be under way. */
void fsim_stick_free(struct fsim_stick *stick);

uint64_t fsim_stick_size(const struct fsim_stick *stick);
const struct fsim_profile *fsim_stick_profile(const struct fsim_stick *stick);

/* A handle is valid until the stick is unplugged; then it is dead for ever. -ENODEV: unplugged. */
int fsim_stick_open(struct fsim_stick *stick, uint64_t *ret_handle);

enum fsim_op { FSIM_READ, FSIM_WRITE, FSIM_FLUSH };

struct fsim_request {
	enum fsim_op op;
	uint64_t handle;
	void *to;	  /* of a read; NULL: nothing is copied, see fsim_stick_peek */
	const void *from; /* of a write */
	size_t len_bytes; /* whole sectors */
	uint64_t off_bytes;
	uint64_t arrival_ns; /* CLOCK_MONOTONIC; matters with latency on */
};

/*
 * One request, from any thread; the stick works on one at a time, and whoever wants an order keeps
 * it. -EINVAL: not whole sectors inside the size. With latency on it returns when the stick would
 * have. The three below do the same for a request that arrives now.
 */
int fsim_stick_do(struct fsim_stick *stick, const struct fsim_request *req);
int fsim_stick_read(struct fsim_stick *stick, uint64_t handle, void *buf, size_t len_bytes,
		    uint64_t off_bytes);
int fsim_stick_write(struct fsim_stick *stick, uint64_t handle, const void *buf, size_t len_bytes,
		     uint64_t off_bytes);
int fsim_stick_flush(struct fsim_stick *stick, uint64_t handle);
/* The last request has been answered only now: what moving its data took is no time of the
 * stick's beyond its own rate. */
void fsim_stick_answered(struct fsim_stick *stick);
/* The content itself where it lies together, else NULL. Costs no time; valid for the stick's life.
 */
const void *fsim_stick_peek(const struct fsim_stick *stick, size_t len_bytes, uint64_t off_bytes);

/* The plug is pulled now: the command in flight is torn, what is not flushed suffers as the
 * configuration says, every handle is dead. -ENODEV: it was not plugged in. */
int fsim_stick_unplug(struct fsim_stick *stick);
/* The same during the n-th write from now (1: the next), which is torn. 0: never. */
void fsim_stick_unplug_at_write(struct fsim_stick *stick, uint64_t n);
/* Back, for new handles, in a port of that speed (0: one that suits it). -EBUSY: it is there;
 * -ENODEV: it has vanished for good. */
int fsim_stick_plug(struct fsim_stick *stick, uint32_t mbit_s);

/* The n-th write (read) request from now fails with `error` (negative) and so do `count - 1` after
 * it; nothing of them arrives. n 0: never. */
void fsim_stick_fail_write(struct fsim_stick *stick, uint64_t n, uint64_t count, int error);
void fsim_stick_fail_read(struct fsim_stick *stick, uint64_t n, uint64_t count, int error);
/* Random bytes over the sectors that the range touches; nothing else notices. -EINVAL. */
int fsim_stick_corrupt(struct fsim_stick *stick, uint64_t off_bytes, uint64_t len_bytes);

/* Starts, marks or (path NULL) ends a recording in the dm-log-writes format. */
int fsim_stick_record(struct fsim_stick *stick, const char *path);
int fsim_stick_mark(struct fsim_stick *stick, const char *name);

void fsim_stick_latency(struct fsim_stick *stick, bool on);
/* The virtual clock goes on without a command. */
void fsim_stick_idle(struct fsim_stick *stick, uint64_t ns);

void fsim_stick_counters(struct fsim_stick *stick, struct fsim_counters *ret_counters);
void fsim_stick_reset_counters(struct fsim_stick *stick);
/* Erases of each block place since the stick was made: a copy of `*ret_count` numbers, freed by
 * the caller. */
int fsim_stick_erases(struct fsim_stick *stick, uint32_t **ret_erases, size_t *ret_count);

#endif
