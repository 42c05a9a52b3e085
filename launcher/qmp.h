/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp.h: a client of QEMU's monitor protocol that never blocks. */
#ifndef LAUNCHER_QMP_H
#define LAUNCHER_QMP_H

#include <stdbool.h>

#include <jansson.h>

#include "err.h"

struct qmp;

/* An event of QEMU. `data` is borrowed for the call, NULL where the event has none. */
typedef void qmp_on_event(void *ctx, const char *name, const json_t *data);
/*
 * The end of a command: `result` (borrowed) where it succeeded, else NULL and why, as a clause:
 * QEMU's words, a time-out, a lost connection. Called exactly once a command.
 */
typedef void qmp_on_reply(void *ctx, const json_t *result, const char *why);

/*
 * Speaks on a connected socket, which it owns from now on (also on failure), to a peer that is
 * not trusted: lines are bounded, and so is what waits to be sent. Commands may be sent at once;
 * they wait until the greeting came and capabilities are agreed on. NULL when out of memory.
 */
struct qmp *qmp_new(int fd, qmp_on_event *on_event, void *ctx);
/* Ends every command that still waits, with "the monitor was closed". Takes NULL. */
void qmp_free(struct qmp *qmp);

/* For poll(): the socket, what to wait for, and how long until the next command times out
 * (-1: for ever). */
int qmp_fd(const struct qmp *qmp);
short qmp_poll_events(const struct qmp *qmp);
int qmp_wait_ms(const struct qmp *qmp);

/*
 * Reads and writes what it can, calls back for what came in and for what timed out. -1 when the
 * connection ended or the peer broke the protocol, with `err` saying which; every waiting command
 * has then been ended, and later calls fail likewise.
 */
int qmp_pump(struct qmp *qmp, struct err *err);

/*
 * Sends a command. Takes `arguments` over (NULL: none). `on_reply` may be NULL. It is never
 * called from here: where the command cannot even be queued, from the next qmp_pump.
 */
void qmp_send(struct qmp *qmp, const char *command, json_t *arguments, unsigned timeout_ms,
	      qmp_on_reply *on_reply, void *ctx);

/* The greeting came and capabilities are agreed on. */
bool qmp_ready(const struct qmp *qmp);

/* The longest line that is accepted. */
#define QMP_MAX_LINE_BYTES (1024u * 1024u)

#endif
