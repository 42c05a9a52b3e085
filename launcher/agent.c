/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent.c: guest-sync-delimited, then guest-set-time, over the agent's virtio port. */
/*
 * The port is a byte stream that outlives whoever spoke on it before, so the talk begins with a
 * byte that is in no JSON (0xff: the agent drops what it had of a command) and a number that the
 * agent repeats behind such a byte. Only then the time is sent: a guest without an agent must not
 * find an old time in its port when it starts one. Where no agent listens QEMU keeps the bytes,
 * and nothing comes back; that is what the time limit is for.
 */
#include "agent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#define DELIMITER '\xff'

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void agent_init(struct agent *agent)
{
	memset(agent, 0, sizeof(*agent));
	agent->fd = -1;
	agent->deadline_ms = INT64_MAX;
}

void agent_close(struct agent *agent)
{
	if (agent->fd >= 0)
		close(agent->fd);
	agent->fd = -1;
	agent->step = AGENT_IDLE;
	agent->used = 0;
	agent->deadline_ms = INT64_MAX;
}

static void send_text(struct agent *agent, const char *text)
{
	/* A port that takes no 100 bytes has nobody behind it: the time limit says so. */
	(void)!send(agent->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void agent_set_clock(struct agent *agent, const char *socket_path, unsigned timeout_ms)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char text[128];

	agent_close(agent);
	agent->why[0] = '\0';
	agent->step = AGENT_SYNC;
	agent->deadline_ms = clock_ns(CLOCK_MONOTONIC) / 1000000 + timeout_ms;
	agent->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", socket_path);
	if (agent->fd < 0 || connect(agent->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		agent->deadline_ms = 0; /* told by the next pump */
		return;
	}
	if (getrandom(&agent->id, sizeof(agent->id), 0) != (ssize_t)sizeof(agent->id))
		agent->id = (uint64_t)clock_ns(CLOCK_MONOTONIC);
	agent->id >>= 16; /* a JSON number that any reader holds exactly */
	snprintf(text, sizeof(text),
		 "%c{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%" PRIu64 "}}\n",
		 DELIMITER, agent->id);
	send_text(agent, text);
}

static void send_time(struct agent *agent)
{
	char text[128];

	snprintf(text, sizeof(text),
		 "{\"execute\":\"guest-set-time\",\"arguments\":{\"time\":%" PRId64 "}}\n",
		 clock_ns(CLOCK_REALTIME));
	send_text(agent, text);
	agent->step = AGENT_SET;
}

/* "error": {"class": ..., "desc": "..."} */
static enum agent_result refused(struct agent *agent, const json_t *error)
{
	const char *words = json_string_value(json_object_get(error, "desc"));

	snprintf(agent->why, sizeof(agent->why), "%s", words ? words : "the agent refused");
	return AGENT_FAILED;
}

static enum agent_result take_reply(struct agent *agent, const json_t *reply)
{
	const json_t *result = json_object_get(reply, "return");
	const json_t *error = json_object_get(reply, "error");

	if (agent->step == AGENT_SYNC) {
		if (json_is_integer(result) && (uint64_t)json_integer_value(result) == agent->id)
			send_time(agent);
		return AGENT_NOTHING; /* else an answer to someone before */
	}
	if (error)
		return refused(agent, error);
	return result ? AGENT_DONE : AGENT_NOTHING;
}

/* One line, without its end; what stands before a delimiter is the rest of an older answer. */
static enum agent_result take_line(struct agent *agent, const char *line, size_t len)
{
	const char *cut = memrchr(line, DELIMITER, len);
	enum agent_result result = AGENT_NOTHING;
	json_t *reply;

	if (cut) {
		len -= (size_t)(cut + 1 - line);
		line = cut + 1;
	}
	reply = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(reply))
		result = take_reply(agent, reply);
	json_decref(reply);
	return result;
}

static enum agent_result take_lines(struct agent *agent)
{
	enum agent_result result = AGENT_NOTHING;
	char *end;

	while (result == AGENT_NOTHING && (end = memchr(agent->line, '\n', agent->used))) {
		const size_t len = (size_t)(end - agent->line);

		result = take_line(agent, agent->line, len);
		agent->used -= len + 1;
		memmove(agent->line, end + 1, agent->used);
	}
	if (agent->used == sizeof(agent->line))
		agent->used = 0; /* no answer of ours is that long */
	return result;
}

static enum agent_result read_some(struct agent *agent)
{
	enum agent_result result = AGENT_NOTHING;

	while (result == AGENT_NOTHING) {
		ssize_t got = recv(agent->fd, agent->line + agent->used,
				   sizeof(agent->line) - agent->used, MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			break;
		if (got <= 0)
			return AGENT_SILENT; /* QEMU has ended */
		agent->used += (size_t)got;
		result = take_lines(agent);
	}
	return result;
}

enum agent_result agent_pump(struct agent *agent, short revents)
{
	enum agent_result result = AGENT_NOTHING;

	if (agent->step == AGENT_IDLE)
		return AGENT_NOTHING;
	if (agent->fd >= 0 && revents)
		result = read_some(agent);
	if (result == AGENT_NOTHING && clock_ns(CLOCK_MONOTONIC) / 1000000 >= agent->deadline_ms)
		result = AGENT_SILENT;
	if (result != AGENT_NOTHING)
		agent_close(agent);
	return result;
}

void agent_polls(const struct agent *agent, struct pollfd *poll)
{
	*poll = (struct pollfd){.fd = agent->fd, .events = POLLIN};
}
