/* SPDX-License-Identifier: GPL-2.0-or-later */
/* top.h: what the disks that are mounted on this host do right now, from their status.json. */
#ifndef LAUNCHER_TOP_H
#define LAUNCHER_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { TOP_VMS = 32 };

/* One disk at one moment. */
struct top_vm {
	char name[72];
	char id[40]; /* of its store */
	char state[16];
	bool cached; /* it has a cache on this host */
	uint64_t guest_read, guest_written, stick_read, stick_written; /* bytes, life-long */
	uint64_t cleaner, flushes, hits, misses;
	uint64_t dirty_bytes, used_bytes, capacity_bytes;
	uint64_t segments, free_segments;
};

struct top_sample {
	int64_t at_ms; /* CLOCK_MONOTONIC */
	struct top_vm vm[TOP_VMS];
	unsigned count;
};

/* Reads all of them, or only those of the VM `name` (may be NULL), in the order of their names.
 * `mountinfo` is "/proc/self/mountinfo" but in tests. */
void top_read(const char *mountinfo, const char *name, struct top_sample *ret_sample);
/* The same from a status.json alone. False where it is none. */
bool top_take(const json_t *status, const char *name, struct top_vm *ret_vm);

/* What happened between two samples, a second. Figures that are not known are negative. */
struct top_rates {
	double guest_read, guest_written, stick_read, stick_written, cleaner, flushes;
	double times; /* bytes to the stick for a byte of the guest */
	double hits;  /* part of the reads that the cache served, 0 to 1 */
};
/* Zeros where the store was not there before. */
struct top_rates top_rate(const struct top_sample *before, const struct top_sample *now,
			  unsigned index);

/* Array of objects; the caller's. */
json_t *top_json(const struct top_sample *before, const struct top_sample *now);

#endif
