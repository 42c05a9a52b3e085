/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_events.c: what QEMU says on its monitor: running, stopped by a disk error, shut down. */
/*
 * A failed request of the disk stops the VM (rerror=stop, werror=stop) and stays in QEMU: `cont`
 * sends it again, and the guest never knows. So a stopped VM is let go on after 2, 4, 8, ... 60
 * seconds until it works; the user is told once when it stops and once when it is over, not at
 * each try.
 */
#include <stdio.h>
#include <string.h>

#include "run_session.h"
#include "size.h"
#include "vm_look.h"

enum {
	COMMAND_MS = 30000,
	FIRST_RETRY_MS = 2000,
	LAST_RETRY_MS = 60000,
	CALM_MS = 3000, /* without a new error after going on */
};

static void on_status(void *ctx, const json_t *result, const char *why)
{
	struct session *s = ctx;

	if (!result) {
		session_say(s, "QEMU did not tell its state: %s", why);
		return;
	}
	if (s->phase == PHASE_STARTING) {
		s->phase = PHASE_RUNNING;
		if (s->req->running)
			s->req->running(s->req->ctx);
	}
}

void events_ask_status(struct session *s)
{
	qmp_send(s->qmp, "query-status", NULL, COMMAND_MS, on_status, s);
}

static void on_cont(void *ctx, const json_t *result, const char *why)
{
	struct session *s = ctx;

	if (!result)
		session_say(s, "the VM cannot go on: %s", why);
}

void events_retry(struct session *s)
{
	s->due.retry_ms = INT64_MAX;
	if (pull_frozen(s)) {
		pull_retry(s);
		return;
	}
	if (s->phase == PHASE_PAUSED && s->qmp && qmp_ready(s->qmp))
		qmp_send(s->qmp, "cont", NULL, COMMAND_MS, on_cont, s);
}

const char *events_resume(struct session *s, bool grace)
{
	struct sv_status status;

	if (pull_frozen(s))
		return "its stick is gone; plug it in again, and it goes on by itself";
	if (s->phase != PHASE_PAUSED)
		return "it is not paused; there is nothing to go on from";
	sv_store_status(s->disk.store, &status);
	if (grace && status.state != SV_FULL && !status.grace)
		return "the stick is not full; go on without --grace";
	if (grace && status.grace && status.state == SV_FULL)
		return "the guest's reserve is used up already; free space on the stick and go on "
		       "without --grace, or end it with 'stickvm stop --force'";
	if (sv_store_grace(s->disk.store, grace || status.grace) < 0)
		return "the disk cannot be written";
	s->io_error = false; /* what comes now is news */
	s->retry_wait_ms = 0;
	s->resumed = true;
	events_retry(s);
	return NULL;
}

static void report_full(struct session *s, const struct sv_status *status)
{
	const char *name = s->req->vm->name;
	char used[32], grace[32];

	size_human(status->used_bytes, used, sizeof used);
	size_human(status->grace_bytes, grace, sizeof grace);
	if (status->grace)
		session_say(s,
			    "%s: the stick is full and the guest's reserve is used up: the VM is "
			    "paused; free space on the stick, and it goes on ('stickvm resume %s' "
			    "at once), or end it with 'stickvm stop --force'",
			    name, name);
	else
		session_say(s,
			    "%s: the stick is full (%s used): the VM is paused and the guest knows "
			    "nothing of it; free space on the stick, and it goes on ('stickvm "
			    "resume %s' at once), or let it write %s more to delete files inside "
			    "and trim with 'stickvm resume %s --grace'",
			    name, used, name, grace, name);
}

/* What the error means and what to do, by what the store says: QEMU's `reason` is for people and
 * in words that change. */
static void report_error(struct session *s, const char *operation, bool no_space)
{
	const char *name = s->req->vm->name;
	struct sv_status status;

	sv_store_status(s->disk.store, &status);
	if (no_space || status.state == SV_FULL)
		report_full(s, &status);
	else
		session_say(s,
			    "%s: the disk failed to %s: the VM is paused and tries again; end it "
			    "with 'stickvm stop --force', then 'stickvm check %s' names what is "
			    "damaged",
			    name, operation, name);
}

/* Where the stick is gone the VM is frozen, else it tries again as after an error of the disk. */
static void on_cd_error(struct session *s)
{
	s->due.calm_ms = INT64_MAX;
	if (pull_check(s))
		return;
	if (!s->pull.away)
		cd_failed(s);
	s->io_error = true;
}

static void on_block_error(struct session *s, const json_t *data)
{
	const char *node = json_string_value(json_object_get(data, "node-name"));
	const char *operation = json_string_value(json_object_get(data, "operation"));
	const char *action = json_string_value(json_object_get(data, "action"));
	const bool no_space = json_is_true(json_object_get(data, "nospace"));

	if (node && strcmp(node, ARGV_CD_NODE) == 0 && s->req->iso)
		on_cd_error(s);
	if (!node || strncmp(node, ARGV_DISK_NODE, strlen(ARGV_DISK_NODE)) != 0)
		return;
	operation = operation && strcmp(operation, "read") == 0 ? "read" : "write";
	s->due.calm_ms = INT64_MAX;
	if (!action || strcmp(action, "stop") != 0) {
		session_say(s, "%s: the disk failed to %s; the guest was given the error",
			    s->req->vm->name, operation);
		return;
	}
	if (pull_check(s))
		return;
	if (!s->io_error)
		report_error(s, operation, no_space);
	s->io_error = true;
}

static void on_stop(struct session *s)
{
	if (s->phase == PHASE_RUNNING)
		s->phase = PHASE_PAUSED;
	if (!s->io_error)
		return;
	s->retry_wait_ms = s->retry_wait_ms ? s->retry_wait_ms * 2 : FIRST_RETRY_MS;
	if (s->retry_wait_ms > LAST_RETRY_MS)
		s->retry_wait_ms = LAST_RETRY_MS;
	s->due.retry_ms = session_now_ms() + s->retry_wait_ms;
}

static void on_resume(struct session *s)
{
	if (s->phase == PHASE_PAUSED)
		s->phase = PHASE_RUNNING;
	if (s->io_error || s->resumed)
		s->due.calm_ms = session_now_ms() + CALM_MS;
}

static void on_shutdown(struct session *s, const json_t *data)
{
	const char *reason = json_string_value(json_object_get(data, "reason"));

	snprintf(s->shutdown_reason, sizeof s->shutdown_reason, "%s", reason ? reason : "unknown");
}

void events_take(void *ctx, const char *name, const json_t *data)
{
	struct session *s = ctx;

	if (strcmp(name, "BLOCK_IO_ERROR") == 0)
		on_block_error(s, data);
	else if (strcmp(name, "STOP") == 0)
		on_stop(s);
	else if (strcmp(name, "RESUME") == 0)
		on_resume(s);
	else if (strcmp(name, "SHUTDOWN") == 0)
		on_shutdown(s, data);
}

void events_look_for_rot(struct session *s)
{
	struct sv_status status;
	char text[384];

	if (s->rot_told || !s->disk.store)
		return;
	sv_store_status(s->disk.store, &status);
	if (!status.scrub_bad_blocks)
		return;
	s->rot_told = true;
	session_say(s, "%s",
		    vm_look_rot_text(s->req->vm->name, status.scrub_bad_blocks,
				     status.scrub_bad_off_bytes, text, sizeof text));
}
