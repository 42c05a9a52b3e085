/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_runner.h: random work on a store, recorded once and cut at any write. */
#ifndef TEST_STORE_RUNNER_H
#define TEST_STORE_RUNNER_H

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
};

extern const struct runner_geometry runner_geometries[];
extern const unsigned runner_geometry_count;

struct runner_config {
	unsigned geometry;
	enum runner_mode mode;
	uint64_t seed;
	unsigned ops;
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
	RUNNER_OPS,
};

/* What one operation did, for a cut that falls into it. */
struct runner_op {
	enum runner_op_kind kind;
	uint64_t len_bytes, off_bytes;
	uint64_t writes; /* recorded by the medium when it had returned */
	size_t state;	 /* of the model when it had returned */
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
	uint64_t losses;	     /* cuts after which flushed writes were gone */
	uint64_t losses_said;	     /* and recovery said so */
	char why[400];		     /* the first failure; "" while there is none */
};

/* Formats a store and works on it: config.ops operations, recorded. False: see why. */
bool runner_record(const struct runner_config *config, struct runner *ret_runner);
/*
 * Lets the power fail at one write of a recorded run: the disk must come back as exactly one state
 * at or after the last acknowledged flush, must survive a second cut during that recovery, and
 * must go on working. False: see run->why.
 */
bool runner_cut(struct runner *run, enum dev_crash_when when, uint64_t write, uint64_t seed);
void runner_free(struct runner *run);

#endif
