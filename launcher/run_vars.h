/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_vars.h: what a session knows of its firmware's variables. */
#ifndef LAUNCHER_RUN_VARS_H
#define LAUNCHER_RUN_VARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vars_job;

struct vars {
	char *kept; /* what the stick has; NULL: the VM has no variables */
	size_t kept_bytes;
	int64_t look_ms;      /* CLOCK_MONOTONIC: the next look */
	struct vars_job *job; /* on its way to the stick; NULL */
	int64_t forget_ms;    /* it was begun before a pull, and hangs if it is not done by then */
	bool unsure;	      /* the stick may have lost them */
	bool failed;	      /* and that was told */
};

enum { VARS_MAX_BYTES = 64 << 20 };

#endif
