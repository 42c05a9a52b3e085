/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_control.h: how another process asks a running session: lines of JSON on a private socket. */
#ifndef LAUNCHER_RUN_CONTROL_H
#define LAUNCHER_RUN_CONTROL_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "err.h"

/*
 * A request is one line, {"do": "status"} or {"do": "stop", "timeout_s": 60, "force": false}
 * or {"do": "resume", "grace": false} or {"do": "park"};
 * its reply is one line as well: {"ok": true, ...} or {"ok": false, "error": "..."}. The reply to
 * "stop" comes when the disk is closed, the one to "park" when the session has ended.
 */
enum { CONTROL_CLIENTS = 8, CONTROL_LINE_BYTES = 4096, CONTROL_POLLS = CONTROL_CLIENTS + 1 };

struct control_client {
	int fd;		/* -1: a free place */
	bool waits;	/* for a reply that comes later: the session's to use, until it is gone */
	int64_t due_ms; /* when it must have one */
	size_t used;
	char line[CONTROL_LINE_BYTES];
};

struct control {
	int listen_fd; /* -1: not listening */
	struct control_client clients[CONTROL_CLIENTS];
};

/* A request came. The answer goes out with control_reply, now or later. */
typedef void control_on_request(void *ctx, unsigned client, const json_t *request);

int control_listen(const char *path, struct control *ret_control, struct err *err);

/* Fills at most CONTROL_POLLS places for poll(); returns how many. */
size_t control_polls(const struct control *control, struct pollfd *polls);
/* Takes new clients and requests; the same places, polled. */
void control_pump(struct control *control, const struct pollfd *polls, size_t count,
		  control_on_request *on_request, void *ctx);

/* Sends one line, as far as the client takes it, and takes over `reply`. A client that is gone
 * is no error. */
void control_reply(struct control *control, unsigned client, json_t *reply);

/* Closes everything. Takes one that never listened (listen_fd -1). */
void control_close(struct control *control);

/*
 * The other side: finds the session of the VM with this UUID, sends a request (taken over) and
 * waits for the reply for `timeout_ms`. Returns 0 with the reply, the caller's; -1 with `err`:
 * nothing runs (EXIT_FAILED), no answer in time, or the reply's own error.
 * `ret_running` tells whether a session was found at all.
 */
int control_ask(const char *uuid, json_t *request, int timeout_ms, json_t **ret_reply,
		bool *ret_running, struct err *err);

/* The status of the session of the VM of this name (NULL: the only one that is frozen), found
 * without its stick. The caller's. EXIT_NO_STICK where there is none, or more than one. */
int control_find(const char *name, json_t **ret_status, struct err *err);

#endif
