/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp.c: lines of JSON both ways, commands matched to replies by id. */
/*
 * States: GREETING -> AGREEING -> READY, and BROKEN from each.
 *   GREETING  until the line {"QMP": ...} came; then qmp_capabilities is sent
 *   AGREEING  until its reply; then what was queued is sent
 *   READY     commands go out at once
 *   BROKEN    the peer closed, or broke the protocol; nothing is sent or believed any more
 * Invariants:
 *  I1  memory is bounded: a line by QMP_MAX_LINE_BYTES, waiting output by the same, commands by
 *      MAX_COMMANDS; a peer that exceeds the first is BROKEN, a caller that exceeds the others
 *      has its command ended;
 *  I2  each command's on_reply is called exactly once, and only from qmp_pump or qmp_free;
 *  I3  a callback may call qmp_send; it finds no list in a half-changed state.
 * A reply that comes after its command timed out has an unknown id and is dropped.
 */
#include "qmp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	MAX_COMMANDS = 64,
	READ_BYTES = 16 * 1024,
	READS_AT_ONCE = 64,
	CAPABILITIES_MS = 30 * 1000,
};

enum state { GREETING, AGREEING, READY, BROKEN };

struct command {
	uint64_t id; /* 0: a free place */
	int64_t deadline_ms;
	const char *failed; /* could not be queued: ended by the next pump */
	qmp_on_reply *on_reply;
	void *ctx;
	char *line; /* waits for READY; NULL once sent */
};

struct buffer {
	char *bytes;
	size_t used, room;
};

struct qmp {
	int fd;
	enum state state;
	char why[96]; /* of BROKEN */
	uint64_t next_id;
	struct command commands[MAX_COMMANDS];
	struct buffer in, out;
	size_t scanned; /* of `in`: no newline before it */
	qmp_on_event *on_event;
	void *ctx;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Makes room for `more` bytes; false above the limit or without memory (I1). */
static bool reserve(struct buffer *b, size_t more, size_t limit)
{
	size_t room = b->room ? b->room : 4096;
	char *bytes;

	if (b->used + more > limit)
		return false;
	while (room < b->used + more)
		room *= 2;
	if (room == b->room)
		return true;
	bytes = realloc(b->bytes, room);
	if (!bytes)
		return false;
	b->bytes = bytes;
	b->room = room;
	return true;
}

static bool append(struct buffer *b, const char *bytes, size_t count, size_t limit)
{
	if (!reserve(b, count, limit))
		return false;
	memcpy(b->bytes + b->used, bytes, count);
	b->used += count;
	return true;
}

static void drop_front(struct buffer *b, size_t count)
{
	assert(count <= b->used);
	b->used -= count;
	memmove(b->bytes, b->bytes + count, b->used);
}

/* Frees the place first, so that the callback may use it again (I3). */
static void end_command(struct command *c, const json_t *result, const char *why)
{
	struct command ended = *c;

	memset(c, 0, sizeof *c);
	free(ended.line);
	if (ended.on_reply)
		ended.on_reply(ended.ctx, result, why);
}

static void break_off(struct qmp *qmp, const char *why)
{
	if (qmp->state == BROKEN)
		return;
	qmp->state = BROKEN;
	snprintf(qmp->why, sizeof qmp->why, "%s", why);
	for (size_t i = 0; i < MAX_COMMANDS; i++)
		if (qmp->commands[i].id)
			end_command(&qmp->commands[i], NULL, qmp->why);
}

static struct command *find_command(struct qmp *qmp, uint64_t id)
{
	for (size_t i = 0; i < MAX_COMMANDS; i++)
		if (qmp->commands[i].id == id)
			return &qmp->commands[i];
	return NULL;
}

/* The line of a command, newline included; NULL without memory. */
static char *command_line(uint64_t id, const char *command, json_t *arguments)
{
	json_t *object = json_pack("{s:s, s:I}", "execute", command, "id", (json_int_t)id);
	char *text, *line = NULL;

	if (arguments)
		json_object_set_new(object, "arguments", arguments);
	text = json_dumps(object, JSON_COMPACT);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	json_decref(object);
	return line;
}

/* Moves a command's line to the output buffer. */
static void transmit(struct qmp *qmp, struct command *c)
{
	if (!c->line || !append(&qmp->out, c->line, strlen(c->line), QMP_MAX_LINE_BYTES))
		c->failed = "too much waits to be sent to the monitor";
	free(c->line);
	c->line = NULL;
}

static struct command *queue_command(struct qmp *qmp, const char *command, json_t *arguments,
				     unsigned timeout_ms)
{
	struct command *c = find_command(qmp, 0);

	assert(c); /* bounded by what this program ever has under way; see MAX_COMMANDS */
	c->id = ++qmp->next_id;
	c->deadline_ms = now_ms() + timeout_ms;
	c->line = command_line(c->id, command, arguments);
	return c;
}

void qmp_send(struct qmp *qmp, const char *command, json_t *arguments, unsigned timeout_ms,
	      qmp_on_reply *on_reply, void *ctx)
{
	struct command *c = queue_command(qmp, command, arguments, timeout_ms);

	c->on_reply = on_reply;
	c->ctx = ctx;
	if (qmp->state == BROKEN)
		c->failed = qmp->why;
	else if (qmp->state == READY)
		transmit(qmp, c);
}

static void agreed(void *ctx, const json_t *result, const char *why)
{
	struct qmp *qmp = ctx;

	if (qmp->state == BROKEN)
		return;
	if (!result) {
		break_off(qmp, why);
		return;
	}
	qmp->state = READY;
	for (uint64_t id = 1; id <= qmp->next_id; id++) {
		struct command *c = find_command(qmp, id);

		if (c && c->line)
			transmit(qmp, c);
	}
}

static void take_greeting(struct qmp *qmp, const json_t *object)
{
	struct command *c;

	if (!json_is_object(json_object_get(object, "QMP"))) {
		break_off(qmp, "the monitor did not greet as QEMU does");
		return;
	}
	qmp->state = AGREEING;
	c = queue_command(qmp, "qmp_capabilities", NULL, CAPABILITIES_MS);
	c->on_reply = agreed;
	c->ctx = qmp;
	transmit(qmp, c);
}

static void take_reply(struct qmp *qmp, const json_t *object)
{
	const json_t *id = json_object_get(object, "id");
	const json_t *error = json_object_get(object, "error");
	const char *desc = json_string_value(json_object_get(error, "desc"));
	struct command *c = NULL;

	if (json_is_integer(id) && json_integer_value(id) > 0)
		c = find_command(qmp, (uint64_t)json_integer_value(id));
	if (!c || c->line)
		return; /* timed out before, or never sent */
	if (error)
		end_command(c, NULL, desc ? desc : "the monitor refused without a reason");
	else
		end_command(c, json_object_get(object, "return"), NULL);
}

static void take_line(struct qmp *qmp, const char *line, size_t len)
{
	json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *event = json_string_value(json_object_get(object, "event"));

	if (!json_is_object(object))
		break_off(qmp, "the monitor sent a line that is not a JSON object");
	else if (qmp->state == GREETING)
		take_greeting(qmp, object);
	else if (event)
		qmp->on_event(qmp->ctx, event, json_object_get(object, "data"));
	else if (json_object_get(object, "return") || json_object_get(object, "error"))
		take_reply(qmp, object);
	else
		break_off(qmp, "the monitor sent neither an event nor a reply");
	json_decref(object);
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (line[i] != '\r' && line[i] != ' ')
			return false;
	return true;
}

/* What is taken is dropped in one go: a line could be a byte, and there can be a million. */
static void take_lines(struct qmp *qmp)
{
	size_t taken = 0;
	char *end;

	while (qmp->state != BROKEN &&
	       (end = memchr(qmp->in.bytes + qmp->scanned, '\n', qmp->in.used - qmp->scanned))) {
		const char *line = qmp->in.bytes + taken;

		if (!is_blank(line, (size_t)(end - line)))
			take_line(qmp, line, (size_t)(end - line));
		taken = (size_t)(end - qmp->in.bytes) + 1;
		qmp->scanned = taken;
	}
	drop_front(&qmp->in, taken);
	qmp->scanned = qmp->in.used;
}

/* A peer that never stops talking must not keep the caller for ever: READS_AT_ONCE. */
static void pump_in(struct qmp *qmp)
{
	for (int i = 0; i < READS_AT_ONCE && qmp->state != BROKEN; i++) {
		ssize_t got;

		if (!reserve(&qmp->in, READ_BYTES, QMP_MAX_LINE_BYTES + READ_BYTES)) {
			break_off(qmp, "the monitor sent too long a line");
			return;
		}
		got = recv(qmp->fd, qmp->in.bytes + qmp->in.used, READ_BYTES, MSG_DONTWAIT);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (got <= 0) {
			break_off(qmp, "the monitor's connection ended");
			return;
		}
		qmp->in.used += (size_t)got;
		take_lines(qmp);
	}
}

static void pump_out(struct qmp *qmp)
{
	while (qmp->state != BROKEN && qmp->out.used) {
		ssize_t put =
			send(qmp->fd, qmp->out.bytes, qmp->out.used, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (put < 0) {
			/* What it said before it closed is still to be read. */
			pump_in(qmp);
			break_off(qmp, "the monitor's connection ended");
			return;
		}
		drop_front(&qmp->out, (size_t)put);
	}
}

static void end_overdue(struct qmp *qmp)
{
	const int64_t now = now_ms();

	for (size_t i = 0; i < MAX_COMMANDS; i++) {
		struct command *c = &qmp->commands[i];

		if (c->id && c->failed)
			end_command(c, NULL, c->failed);
		else if (c->id && c->deadline_ms <= now)
			end_command(c, NULL, "the monitor did not answer in time");
	}
}

int qmp_pump(struct qmp *qmp, struct err *err)
{
	pump_out(qmp);
	pump_in(qmp);
	end_overdue(qmp);
	pump_out(qmp); /* what callbacks sent */
	if (qmp->state == BROKEN)
		return err_set(err, EXIT_FAILED, "QEMU: %s", qmp->why);
	return 0;
}

int qmp_fd(const struct qmp *qmp)
{
	return qmp->fd;
}

short qmp_poll_events(const struct qmp *qmp)
{
	return (short)(POLLIN | (qmp->out.used ? POLLOUT : 0));
}

int qmp_wait_ms(const struct qmp *qmp)
{
	const int64_t now = now_ms();
	int64_t wait_ms = INT64_MAX;

	for (size_t i = 0; i < MAX_COMMANDS; i++) {
		const struct command *c = &qmp->commands[i];
		int64_t left = c->failed ? 0 : c->deadline_ms - now;

		if (c->id && left < wait_ms)
			wait_ms = left;
	}
	if (wait_ms == INT64_MAX)
		return -1;
	return wait_ms < 0 ? 0 : (int)(wait_ms < 3600000 ? wait_ms : 3600000);
}

bool qmp_ready(const struct qmp *qmp)
{
	return qmp->state == READY;
}

struct qmp *qmp_new(int fd, qmp_on_event *on_event, void *ctx)
{
	struct qmp *qmp = calloc(1, sizeof *qmp);

	if (!qmp) {
		close(fd);
		return NULL;
	}
	qmp->fd = fd;
	qmp->on_event = on_event;
	qmp->ctx = ctx;
	return qmp;
}

void qmp_free(struct qmp *qmp)
{
	if (!qmp)
		return;
	break_off(qmp, "the monitor was closed");
	end_overdue(qmp); /* those sent after it broke */
	close(qmp->fd);
	free(qmp->in.bytes);
	free(qmp->out.bytes);
	free(qmp);
}
