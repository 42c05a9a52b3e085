/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_pull.h: what a session knows of its stick being pulled and plugged in again. */
#ifndef LAUNCHER_RUN_PULL_H
#define LAUNCHER_RUN_PULL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"
#include "clock.h"
#include "regain.h"
#include "watch.h"

enum pull_state {
	PULL_NOT = 0, /* the stick is there */
	PULL_GONE,    /* the VM is frozen; the stick is looked for */
	PULL_REFUSED, /* it came back as another one: the VM stays frozen */
};

enum { PULL_POLLS = WATCH_POLLS + 3 };

struct pull {
	enum pull_state state;
	int64_t since_ms; /* CLOCK_BOOTTIME: when the VM was frozen */
	int64_t lag_ms;	  /* of the guest's clock, until it is set right */
	int64_t look_ms;  /* CLOCK_MONOTONIC: the next look at everything */
	int64_t place_bytes;
	struct watch_home home;
	struct watch *watch;
	struct regain *regain; /* while gone */
	struct regain *seeker; /* of the folder alone; NULL: nobody looks for it */
	bool away;	       /* the folder is not where it was (H1 in run_home.c) */
	struct clock_sleep sleep;
	struct agent agent;
};

#endif
