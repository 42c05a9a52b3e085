/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick_priv.h: the inside of a simulated stick, shared by its two files. */
#ifndef FLASHSIM_STICK_PRIV_H
#define FLASHSIM_STICK_PRIV_H

#include <pthread.h>

#include "pacer.h"
#include "record.h"
#include "stick.h"
#include "timing.h"

/*
 * Two locks. `turn` is held for a whole command, sleep included: Bulk-Only Transport has no
 * queue. `lock` guards everything else and is free while a command sleeps, so that the plug can
 * be pulled under it.
 *
 * States: plugged, unplugged, gone (worn out and vanished). unplug() and the end of life leave
 * plugged, plug() leaves unplugged, nothing leaves gone. A handle is the number of the plugging
 * it was made in; it is alive while plugged and the numbers are equal.
 *
 * A write is applied at its end. When the plug is pulled before that, whoever pulls applies a
 * part of it: `flight` says what is under way.
 */
enum fsim_state { FSIM_PLUGGED, FSIM_UNPLUGGED, FSIM_GONE };

struct fsim_fault {
	uint64_t countdown; /* requests until it strikes; 0: not armed */
	uint64_t count;	    /* requests that it strikes */
	int error;
};

struct fsim_stick {
	struct fsim_config config;
	uint64_t size_bytes;
	pthread_mutex_t turn;
	pthread_mutex_t lock;
	pthread_cond_t pulled;
	struct fsim_timing timing;
	struct fsim_medium medium;
	struct fsim_history history;
	struct fsim_recording *recording;
	struct fsim_pacer pacer;
	bool latency;
	enum fsim_state state;
	uint64_t plugging;
	const struct fsim_request *flight; /* a write that is under way */
	uint64_t unplug_countdown;
	struct fsim_fault write_fault, read_fault;
	uint64_t random;
	struct fsim_counters counters; /* the host's side, and the clock */
	struct fsim_counters zero;     /* the flash's side when the counters were reset */
};

/* Both with the lock held. */
bool fsim_stick_alive(const struct fsim_stick *stick, uint64_t handle);
/* The power goes: a write in flight arrives in part. */
void fsim_stick_cut_power(struct fsim_stick *stick, enum fsim_state next);

#endif
