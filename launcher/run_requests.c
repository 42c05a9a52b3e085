/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_requests.c: answers what other processes ask a session: status, stop. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "run_session.h"
#include "stickvm/status_json.h"

static json_t *refusal(const char *why)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}

static const char *phase_name(const struct session *s)
{
	static const char *const names[] = {
		[PHASE_STARTING] = "starting",
		[PHASE_RUNNING] = "running",
		[PHASE_PAUSED] = "paused",
	};

	if (s->park.state == PARK_SAVING)
		return "parking";
	if (pull_frozen(s))
		return "frozen";
	return s->ending != ENDING_NOT ? "stopping" : names[s->phase];
}

static json_t *status_reply(struct session *s)
{
	const struct run_request *req = s->req;

	struct sv_status disk;

	sv_store_status(s->disk.store, &disk);
	return json_pack(
		"{s:b, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:s, s:s, s:I, s:s, "
		"s:s}",
		"ok", 1, "used_bytes", (json_int_t)disk.used_bytes, "capacity_bytes",
		(json_int_t)disk.capacity_bytes, "scrub_bad_blocks",
		(json_int_t)disk.scrub_bad_blocks, "scrub_bad_off_bytes",
		(json_int_t)disk.scrub_bad_off_bytes, "disk_state", sv_state_name(disk.state),
		"name", req->vm->name, "uuid", req->vm->uuid, "state", phase_name(s), "io_error",
		s->io_error, "pid", (json_int_t)getpid(), "qemu_pid", (json_int_t)s->qemu.pid,
		"accel", req->plan->accel == PLAN_KVM ? "kvm" : "tcg", "disk", req->dir->disk,
		"ssh_port", (json_int_t)req->plan->ssh_port, "agent", req->dir->agent, "screen",
		req->dir->screen);
}

/* {"do": "stop", "timeout_s": N, "force": B}: the guest is asked; after the time it is ended by
 * force, or the asker told that it runs on. */
static void take_stop(struct session *s, unsigned client, const json_t *request)
{
	const json_t *timeout = json_object_get(request, "timeout_s");
	const bool force = json_is_true(json_object_get(request, "force"));
	json_int_t timeout_s = json_is_integer(timeout) ? json_integer_value(timeout) : 60;
	int64_t until_ms;

	if (timeout_s < 0 || timeout_s > 86400) {
		control_reply(&s->control, client, refusal("stop: the time-out is out of range"));
		return;
	}
	until_ms = session_now_ms() + timeout_s * 1000;
	s->control.clients[client].waits = true;
	s->control.clients[client].due_ms = force ? INT64_MAX : until_ms;
	if (force && until_ms < s->due.force_ms) {
		s->due.force_ms = until_ms;
		s->forced_status = EXIT_DONE; /* as its user wished */
	}
	session_say(s, "'stickvm stop': asking the guest to power off");
	ending_ask(s);
}

/* {"do": "resume", "grace": B} */
static json_t *resume_reply(struct session *s, const json_t *request)
{
	const char *why = events_resume(s, json_is_true(json_object_get(request, "grace")));
	struct sv_status disk;

	if (why)
		return refusal(why);
	sv_store_status(s->disk.store, &disk);
	return json_pack("{s:b, s:I}", "ok", 1, "grace_bytes", (json_int_t)disk.grace_bytes);
}

/* {"do": "park"}: the reply comes when the session has ended, or at once why not. */
static void take_park(struct session *s, unsigned client)
{
	const char *why = park_begin(s, client);

	if (why)
		control_reply(&s->control, client, refusal(why));
}

void requests_take(void *ctx, unsigned client, const json_t *request)
{
	struct session *s = ctx;
	const char *what = json_string_value(json_object_get(request, "do"));

	if (what && strcmp(what, "status") == 0)
		control_reply(&s->control, client, status_reply(s));
	else if (what && strcmp(what, "resume") == 0)
		control_reply(&s->control, client, resume_reply(s, request));
	else if (what && strcmp(what, "park") == 0)
		take_park(s, client);
	else if (what && strcmp(what, "stop") == 0)
		take_stop(s, client, request);
	else
		control_reply(&s->control, client, refusal("the session does not know this"));
}

void requests_tick(struct session *s)
{
	const int64_t now = session_now_ms();
	bool others = false;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_client *client = &s->control.clients[i];

		if (!client->waits || now < client->due_ms) {
			others = others || client->waits;
			continue;
		}
		client->waits = false;
		control_reply(&s->control, i,
			      refusal("the guest did not power off in time and runs on; wait, or "
				      "end it with 'stickvm stop --force'"));
		if (!others && s->due.force_ms == INT64_MAX)
			ending_give_up(s);
	}
}

int64_t requests_next_ms(const struct session *s)
{
	int64_t next = INT64_MAX;

	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (s->control.clients[i].waits && s->control.clients[i].due_ms < next)
			next = s->control.clients[i].due_ms;
	return next;
}

void requests_end(struct session *s, const char *why)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (s->control.clients[i].waits)
			control_reply(&s->control, i,
				      why ? refusal(why) : json_pack("{s:b}", "ok", 1));
}
