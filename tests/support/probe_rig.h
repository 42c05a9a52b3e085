/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_rig.h: a simulated stick behind the table that a probe measures through. */
#ifndef TEST_PROBE_RIG_H
#define TEST_PROBE_RIG_H

#include "prng.h"
#include "probe.h"

struct fsim_config;
struct fsim_stick;

/* A stick with its clock, and a host that disturbs it. */
struct probe_rig {
	struct fsim_stick *stick;
	uint64_t handle;
	uint64_t host_ns;  /* what the host added so far */
	struct prng noise; /* state 0: a quiet host */
	uint64_t fail_at;  /* the n-th command and those after it fail; 0: never */
	int fail_with;
	uint64_t commands;
};

extern const struct probe_ops probe_rig_ops;

struct probe_rig probe_rig_new(const struct fsim_config *config);
void probe_rig_free(struct probe_rig *rig);

#endif
