/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_runner.h: random work on a store, recorded once and cut at any write. */
#ifndef TEST_STORE_RUNNER_H
#define TEST_STORE_RUNNER_H

#include "crash_oracle.h"
#include "dev_crash.h"
#include "model_disk.h"
#include "prng.h"
#include "stickvm/store.h"

/* How the medium treats a cut. */
enum runner_mode { RUNNER_PLAIN, RUNNER_LIAR, RUNNER_PAIRED, RUNNER_MODES };

struct runner_geometry {
	const char *name;
	uint32_t segment_bytes, page_bytes, erase_bytes;
	uint64_t place_bytes, disk_bytes, lie_window_bytes, checkpoint_bytes;
	/* How far the place can grow: at first (0: all of it), and more with each open. */
	uint64_t start_bytes, grow_bytes;
	enum sv_births births;
};

extern const struct runner_geometry runner_geometries[];
extern const unsigned runner_geometry_count, runner_tiny;
/* Without an id. */
struct sv_format_params runner_format_params(const struct runner_geometry *geometry);
/* A store with a fixed id on the medium; what sv_store_format says. */
int runner_format(const struct runner_geometry *geometry, struct dev_crash *medium);

struct runner_config {
	unsigned geometry;
	enum runner_mode mode;
	uint64_t seed;
	unsigned ops;
	bool brief; /* after most cuts the store is not used further */
};

enum runner_op_kind {
	RUNNER_OPEN,
	RUNNER_WRITE,
	RUNNER_DISCARD,
	RUNNER_FLUSH,
	RUNNER_READ,
	RUNNER_CHECKPOINT,
	RUNNER_CLEAN,
	RUNNER_CLOSE,
	RUNNER_ABANDON,
	RUNNER_ZERO,
	RUNNER_SEEK,
	RUNNER_SMALL,
	RUNNER_OVER,
	RUNNER_OPS,
};

extern const char *const runner_op_names[RUNNER_OPS];

/* What one operation did, for a cut that falls into it. */
struct runner_op {
	enum runner_op_kind kind;
	uint64_t len_bytes, off_bytes;
	uint64_t writes; /* recorded by the medium when it had returned */
	size_t from;	 /* the state of the model when it began */
	size_t state;	 /* and when it had returned */
	size_t floor;	 /* when it began */
};

/* A store at work on a medium, beside the model of what its disk must hold. */
struct runner {
	struct runner_config config;
	const struct runner_geometry *geometry;
	struct dev_crash *medium;
	struct sv_store *store; /* NULL while closed */
	struct model_disk model;
	struct prng rng;
	struct runner_op *ops;
	size_t op_count, op_capacity;
	struct sv_recovery recovery; /* of the last open */
	struct sv_status last;	     /* before the last close */
	uint8_t *disk, *buf;	     /* one whole disk; one operation's data */
	uint64_t max_bytes;	     /* what the place can grow to now */
	uint64_t full;		     /* writes that found no room */
	uint64_t nested;	     /* verbs that ran inside others */
	unsigned nested_left;	     /* how many more may, in this operation */
	uint64_t first_write;	     /* of a recorded sequence, behind its prefix */
	struct crash_oracle oracle;
	uint64_t prints[4]; /* of the images that the last cut, and cuts after it, left */
	unsigned print_count;
	bool unsaid;	      /* something flushed was lost, and that may still be found out */
	uint64_t losses;      /* cuts after which flushed writes were gone */
	uint64_t losses_said; /* and recovery said so */
	uint64_t losses_told; /* and could know it */
	uint64_t born;	      /* units that were born apart, by the oracle */
	uint64_t damaged;     /* cuts after which blocks gave EIO, as they may (J7) */
	bool *unreadable;     /* of each block, by the last look at damage */
	char why[400];	      /* the first failure; "" while there is none */
};

/* Formats a store and works on it: config.ops operations, recorded. False: see why. */
bool runner_record(const struct runner_config *config, struct runner *ret_runner);
/* The same with these operations, behind a prefix; opens and closed stores are seen to. */
bool runner_record_sequence(const struct runner_config *config, const enum runner_op_kind *prefix,
			    unsigned prefix_count, const enum runner_op_kind *kinds, unsigned count,
			    struct runner *ret_runner);
/*
 * Lets the power fail at one write of a recorded run (write = recorded + 1: behind all of them):
 * the disk must come back as exactly one state, the newest whose bytes survived or newer, and at
 * or after the last acknowledged flush unless the medium really lost something flushed; that loss
 * must be said where something is left that tells it. The store must survive a second cut during
 * that recovery, and must go on working. False: see run->why.
 */
bool runner_cut(struct runner *run, enum dev_crash_when when, uint64_t write, uint64_t seed);
void runner_free(struct runner *run);

/* ---- parts of it, for store_cut.c ---- */

bool runner_failed(struct runner *run, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void runner_prepare(struct runner *run, const struct runner_config *config);
bool runner_open(struct runner *run, const struct dev_crash_cut *cut, int *ret_error);
void runner_abandon(struct runner *run);
bool runner_op(struct runner *run, enum runner_op_kind kind);
/* Random operations. */
bool runner_work(struct runner *run, unsigned count);
/* The whole disk is a state in [from, to]. */
bool runner_check_disk(struct runner *run, size_t from, size_t to, size_t *ret_state);
bool runner_check_structure(struct runner *run, bool deep);
/* How far back, in bytes written, a cut may reach in this geometry. */
uint64_t runner_reach_bytes(const struct runner *run);

#endif
