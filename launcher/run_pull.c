/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_pull.c: the stick is pulled under a running VM: freeze, wait for it, go on. */
/*
 *	NOT -> GONE	pull_begin: the watch saw it go, the store or QEMU could not reach it, or
 *			the host has slept. QMP `stop` is sent and not waited for: where the disk's
 *			requests are held QEMU answers only when they are answered.
 *	GONE -> NOT	the store is attached again: held requests are answered, `cont` repeats
 *			those that failed, and the guest's clock is set.
 *	GONE -> REFUSED	another host has written to the disk, or the stick lost what it had:
 *			the VM stays frozen until its user ends it, or the right stick comes after
 *			all (a copy of it may have been plugged in by mistake).
 *
 *  P1  While not NOT nothing lets the VM go on: no retry after an error, no power button.
 *  P2  The store's device is taken away when GONE begins, so that the place can be opened again,
 *      also where it had never left (a sleep).
 *  P3  Nothing here touches the stick; regain.c does, in a thread of its own.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "run_session.h"
#include "size.h"

enum {
	LOOK_EVERY_MS = 1000,
	AGENT_MS = 10000,
	COMMAND_MS = 30000,
	FOR_EVER_MS = INT32_MAX, /* a held VM answers when it is let go */
	LAG_TOLD_MS = 500,
};

/* `place`: a raw place's node now, which has another name after each plugging in. */
static void watch_anew(struct session *s, const char *place)
{
	watch_free(s->pull.watch);
	s->pull.watch = watch_new(place ? place : s->req->stick->dir, NULL);
}

void pull_init(struct session *s)
{
	agent_init(&s->pull.agent);
	clock_sleep_init(&s->pull.sleep);
	if (s->req->vm->place)
		s->pull.place_bytes = (int64_t)watch_node_bytes(s->req->vm->place);
	watch_anew(s, s->req->vm->place);
	if (watch_home_of(s->req->stick->dir, s->req->stick->uuid, NULL, &s->pull.home) < 0)
		s->pull.home = (struct watch_home){0};
}

void pull_end(struct session *s)
{
	agent_close(&s->pull.agent);
	regain_free(s->pull.regain);
	regain_free(s->pull.seeker);
	watch_free(s->pull.watch);
	watch_home_free(&s->pull.home);
	s->pull.regain = s->pull.seeker = NULL;
	s->pull.watch = NULL;
}

bool pull_frozen(const struct session *s)
{
	return s->pull.state != PULL_NOT;
}

static void say_gone(struct session *s, int64_t slept_ms)
{
	const char *name = s->req->vm->name;
	const char *ways = s->req->may_ask ? "; Ctrl-C offers to end it" : "";

	if (slept_ms > 0)
		session_say(s,
			    "%s: the host has slept for %" PRId64 " s: the VM is frozen until the "
			    "stick has been looked at%s",
			    name, slept_ms / 1000, ways);
	else
		session_say(s,
			    "%s: the stick is gone: the VM is frozen and nothing is lost; plug it "
			    "in again, in any port, and the VM goes on by itself; if that will "
			    "be later, 'stickvm park %s' keeps it on this host%s",
			    name, name, ways);
}

void pull_look_again(struct session *s)
{
	struct pull *p = &s->pull;
	const struct regain_request request = {
		.store = s->disk.store,
		.home = &p->home,
		.vm_name = s->req->vm->name,
		.place = s->req->vm->place,
		.place_bytes = (uint64_t)p->place_bytes,
	};

	p->regain = regain_start(&request);
	if (!p->regain)
		session_say(s,
			    "%s: no memory to look for the stick; end it with 'stickvm stop "
			    "--force'",
			    s->req->vm->name);
}

/* A machine that is half loaded: its parked state is kept, so it can be loaded again. */
static void pull_while_loading(struct session *s)
{
	snprintf(s->forced_why, sizeof s->forced_why,
		 "the stick went away before its parked state was loaded; it is kept");
	ending_force(s, EXIT_NO_STICK);
}

void pull_begin(struct session *s, int64_t slept_ms)
{
	struct pull *p = &s->pull;

	if (p->state != PULL_NOT || s->ending >= ENDING_FORCED || s->disk_lost)
		return;
	if (s->park.state == PARK_LOADING) {
		pull_while_loading(s);
		return;
	}
	if (s->qmp)
		qmp_send(s->qmp, "stop", NULL, FOR_EVER_MS, NULL, NULL);
	p->state = PULL_GONE;
	p->since_ms = clock_boot_ms() - slept_ms;
	s->due.retry_ms = s->due.calm_ms = INT64_MAX; /* P1 */
	s->io_error = s->asking = s->resumed = false;
	s->retry_wait_ms = s->interrupts = 0;
	sv_store_detach(s->disk.store); /* P2 */
	home_lost(s);
	say_gone(s, slept_ms);
	pull_look_again(s);
}

static void on_cont(void *ctx, const json_t *result, const char *why)
{
	struct session *s = ctx;

	if (!result)
		session_say(s, "the VM cannot go on: %s", why);
}

static void say_back(struct session *s, const struct regain_news *news)
{
	const int64_t frozen_ms = clock_boot_ms() - s->pull.since_ms;
	char verified[32], rewritten[64] = "", size[32];

	size_human(news->did.verified_bytes, verified, sizeof verified);
	if (news->did.rewritten_bytes) {
		size_human(news->did.rewritten_bytes, size, sizeof size);
		snprintf(rewritten, sizeof rewritten, ", %s written again", size);
	}
	session_say(s,
		    "%s: the stick is back (%s): %s of its log verified%s; the VM goes on after "
		    "%" PRId64 ".%" PRId64 " s",
		    s->req->vm->name, news->place, verified, rewritten, frozen_ms / 1000,
		    frozen_ms / 100 % 10);
}

/* Its stick may be mounted elsewhere now, or, under a raw place, not yet. */
static void move_home(struct session *s, const struct regain_news *news)
{
	if (news->dir[0])
		home_is(s, news->dir);
	else
		home_seek(s);
	watch_anew(s, s->req->vm->place ? news->place : NULL);
}

static void go_on(struct session *s, const struct regain_news *news)
{
	struct pull *p = &s->pull;

	regain_free(p->regain);
	p->regain = NULL;
	p->state = PULL_NOT;
	p->lag_ms += clock_boot_ms() - p->since_ms;
	s->interrupts = 0;
	s->asking = false;
	say_back(s, news);
	move_home(s, news);
	if (!s->qmp)
		return;
	qmp_send(s->qmp, "cont", NULL, COMMAND_MS, on_cont, s);
	agent_set_clock(&p->agent, s->req->dir->agent, AGENT_MS);
}

static void refuse(struct session *s, const struct regain_news *news)
{
	const char *name = s->req->vm->name;

	s->pull.state = PULL_REFUSED;
	if (news->end == REGAIN_STALE)
		session_say(s,
			    "%s: the stick is back (%s), but another host has gone on with this "
			    "disk meanwhile: the VM that is frozen here cannot go on, and nothing "
			    "was written to the stick; 'stickvm park %s' keeps its work for an "
			    "export, 'stickvm stop --force %s' ends it, and what it had not yet "
			    "written to the stick is lost then",
			    name, news->place, name, name);
	else
		session_say(s,
			    "%s: the stick is back (%s), but does not hold what it held: the VM "
			    "stays frozen and nothing was written; end it with 'stickvm stop "
			    "--force %s', then 'stickvm check %s' names what is damaged",
			    name, news->place, name, name);
}

static void take_news(struct session *s)
{
	struct regain_news *news = malloc(sizeof(*news));

	if (!news)
		abort();
	if (regain_take(s->pull.regain, news)) {
		if (news->end == REGAIN_BACK)
			go_on(s, news);
		else if (news->end != REGAIN_LOOKING)
			refuse(s, news);
		else if (news->hint[0])
			session_say(s, "%s: still frozen: %s", s->req->vm->name, news->hint);
	}
	free(news);
}

bool pull_stop_looking(struct session *s)
{
	if (s->pull.regain) {
		regain_stop(s->pull.regain);
		take_news(s);
	}
	if (!pull_frozen(s))
		return false;
	regain_free(s->pull.regain);
	s->pull.regain = NULL;
	return true;
}

void pull_set_clock(struct session *s, int64_t lag_ms)
{
	s->pull.lag_ms += lag_ms;
	agent_set_clock(&s->pull.agent, s->req->dir->agent, AGENT_MS);
}

/* The guest's clock stood still for as long as the VM was frozen. */
static void take_clock(struct session *s, enum agent_result result)
{
	struct pull *p = &s->pull;
	const int64_t lag_ms = p->lag_ms;

	if (result == AGENT_NOTHING)
		return;
	p->lag_ms = 0;
	if (result == AGENT_DONE && lag_ms >= LAG_TOLD_MS)
		session_say(s,
			    "%s: the guest's clock was set (it was %" PRId64 ".%" PRId64
			    " s behind)",
			    s->req->vm->name, lag_ms / 1000, lag_ms / 100 % 10);
	else if (result != AGENT_DONE && lag_ms >= LAG_TOLD_MS)
		session_say(s,
			    "%s: the guest's clock is %" PRId64 ".%" PRId64 " s behind: %s; set it "
			    "inside the guest",
			    s->req->vm->name, lag_ms / 1000, lag_ms / 100 % 10,
			    result == AGENT_SILENT ? "no guest agent answered" : p->agent.why);
}

void pull_polls(const struct session *s, struct pollfd *polls)
{
	const struct pull *p = &s->pull;

	if (p->watch)
		watch_polls(p->watch, polls);
	polls[WATCH_POLLS] =
		(struct pollfd){.fd = p->regain ? regain_fd(p->regain) : -1, .events = POLLIN};
	agent_polls(&p->agent, &polls[WATCH_POLLS + 1]);
	polls[WATCH_POLLS + 2] =
		(struct pollfd){.fd = p->seeker ? regain_fd(p->seeker) : -1, .events = POLLIN};
}

static bool stick_left(const struct session *s)
{
	struct sv_status status;

	if (s->pull.watch && watch_gone(s->pull.watch))
		return true;
	sv_store_status(s->disk.store, &status);
	return status.state == SV_DETACHED;
}

bool pull_check(struct session *s)
{
	if (s->pull.state == PULL_NOT && s->disk.store && stick_left(s))
		pull_begin(s, 0);
	return pull_frozen(s);
}

static void look(struct session *s)
{
	const int64_t slept_ms = clock_sleep_look(&s->pull.sleep);

	s->pull.look_ms = session_now_ms() + LOOK_EVERY_MS;
	if (slept_ms > 0)
		pull_begin(s, slept_ms);
	pull_check(s);
}

void pull_pump(struct session *s, const struct pollfd *polls)
{
	struct pull *p = &s->pull;

	if (p->watch && watch_pump(p->watch, polls, WATCH_POLLS)) {
		pull_check(s);
		if (p->regain)
			regain_look(p->regain);
		if (p->seeker)
			regain_look(p->seeker);
	}
	if (p->seeker && polls[WATCH_POLLS + 2].revents)
		home_take(s);
	if (p->regain && polls[WATCH_POLLS].revents)
		take_news(s);
	take_clock(s, agent_pump(&p->agent, polls[WATCH_POLLS + 1].revents));
	if (session_now_ms() >= p->look_ms)
		look(s);
}

int64_t pull_next_ms(const struct session *s)
{
	const int64_t agent_ms = s->pull.agent.deadline_ms;

	return agent_ms < s->pull.look_ms ? agent_ms : s->pull.look_ms;
}

void pull_retry(struct session *s)
{
	if (s->pull.regain)
		regain_look(s->pull.regain);
}

void pull_let_go(struct session *s)
{
	if (!pull_frozen(s))
		return;
	regain_free(s->pull.regain);
	s->pull.regain = NULL;
	sv_fuse_release_held(s->disk.fuse);
}

void pull_explain_end(const struct session *s, struct err *err)
{
	const char *name = s->req->vm->name;

	if (s->pull.state == PULL_REFUSED)
		err_set(err, EXIT_FAILED,
			"%s: ended without its stick, to which nothing was written; what this VM "
			"had not yet written to it is lost",
			name);
	else
		err_set(err, EXIT_NO_STICK,
			"%s: ended without its stick; what the guest had flushed is there, what it "
			"had not is lost; plug it in and run it again",
			name);
}
