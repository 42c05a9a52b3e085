/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent.h: sets a guest's clock through its agent, without ever blocking. */
#ifndef LAUNCHER_AGENT_H
#define LAUNCHER_AGENT_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

/* How a guest's agent is asked; the guest is not trusted: what it says is bounded. */
enum agent_step { AGENT_IDLE = 0, AGENT_SYNC, AGENT_SET };
enum agent_result {
	AGENT_NOTHING = 0, /* idle, or still on its way */
	AGENT_DONE,	   /* the guest's clock is this host's */
	AGENT_SILENT,	   /* no agent answered in time */
	AGENT_FAILED,	   /* it answered that it cannot; `why` has its words */
};

struct agent {
	int fd; /* -1 */
	enum agent_step step;
	int64_t deadline_ms; /* CLOCK_MONOTONIC; INT64_MAX when idle */
	uint64_t id;	     /* of the sync, so that an older answer is not taken for this one's */
	size_t used;
	char line[2048];
	char why[200];
};

/* Makes it idle. */
void agent_init(struct agent *agent);
/* Begins; what was under way is given up. `socket` is the one on which QEMU listens. */
void agent_set_clock(struct agent *agent, const char *socket, unsigned timeout_ms);
/* For poll(): one place. */
void agent_polls(const struct agent *agent, struct pollfd *poll);
/* Goes on with what came in, and looks at the time. Idle again after any result but NOTHING. */
enum agent_result agent_pump(struct agent *agent, short revents);
void agent_close(struct agent *agent);

#endif
