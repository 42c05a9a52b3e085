/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp.c: the monitor's client against a scripted server, a well-behaved one and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qmp.h"

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "         \
	"\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"
#define AGREED "{\"return\": {}, \"id\": 1}\r\n"

struct fixture {
	struct qmp *qmp;
	int server; /* the scripted side */
	unsigned events;
	char event[64], reason[64];
	unsigned replies;
	char result[64], why[128];
};

static void on_event(void *ctx, const char *name, const json_t *data)
{
	struct fixture *f = ctx;
	const char *reason = json_string_value(json_object_get(data, "reason"));

	f->events++;
	snprintf(f->event, sizeof f->event, "%s", name);
	snprintf(f->reason, sizeof f->reason, "%s", reason ? reason : "");
}

static void on_reply(void *ctx, const json_t *result, const char *why)
{
	struct fixture *f = ctx;
	const char *status = json_string_value(json_object_get(result, "status"));

	f->replies++;
	assert_true((result == NULL) != (why == NULL));
	snprintf(f->result, sizeof f->result, "%s", status ? status : "");
	snprintf(f->why, sizeof f->why, "%s", why ? why : "");
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	int fds[2];

	assert_non_null(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	f->qmp = qmp_new(fds[0], on_event, f);
	assert_non_null(f->qmp);
	f->server = fds[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	qmp_free(f->qmp);
	if (f->server >= 0)
		close(f->server);
	free(f);
	return 0;
}

static void serve(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->server, text, strlen(text)), strlen(text));
}

static int pump(struct fixture *f)
{
	struct err err;

	return qmp_pump(f->qmp, &err);
}

/* What the client sent, as the server reads it; "" for nothing. */
static const char *heard(struct fixture *f, char *text, size_t text_bytes)
{
	ssize_t got = recv(f->server, text, text_bytes - 1, MSG_DONTWAIT);

	text[got > 0 ? got : 0] = '\0';
	return text;
}

static void greet(struct fixture *f)
{
	char text[256];

	serve(f, GREETING);
	assert_int_equal(pump(f), 0);
	assert_string_equal(heard(f, text, sizeof text),
			    "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
	serve(f, AGREED);
	assert_int_equal(pump(f), 0);
	assert_true(qmp_ready(f->qmp));
}

static void negotiates(void **state)
{
	struct fixture *f = *state;
	char text[256];

	assert_false(qmp_ready(f->qmp));
	assert_int_equal(pump(f), 0);
	assert_string_equal(heard(f, text, sizeof text), "");
	greet(f);
	assert_int_equal(qmp_wait_ms(f->qmp), -1);
}

/* Commands wait for the greeting and go out in their order. */
static void queues_until_ready(void **state)
{
	struct fixture *f = *state;
	char text[256];

	qmp_send(f->qmp, "query-status", NULL, 1000, on_reply, f);
	qmp_send(f->qmp, "stop", NULL, 1000, NULL, NULL);
	assert_int_equal(pump(f), 0);
	assert_string_equal(heard(f, text, sizeof text), "");
	serve(f, GREETING);
	assert_int_equal(pump(f), 0);
	assert_string_equal(heard(f, text, sizeof text),
			    "{\"execute\":\"qmp_capabilities\",\"id\":3}\n");
	serve(f, "{\"return\": {}, \"id\": 3}\r\n");
	assert_int_equal(pump(f), 0);
	assert_string_equal(heard(f, text, sizeof text), "{\"execute\":\"query-status\",\"id\":1}\n"
							 "{\"execute\":\"stop\",\"id\":2}\n");
	serve(f, "{\"return\": {\"status\": \"running\"}, \"id\": 1}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->result, "running");
}

static void arguments_and_errors(void **state)
{
	struct fixture *f = *state;
	char text[256];

	greet(f);
	qmp_send(f->qmp, "quit", json_pack("{s:i}", "code", 3), 1000, on_reply, f);
	assert_string_equal(heard(f, text, sizeof text), ""); /* sent by the pump */
	assert_int_equal(pump(f), 0);
	assert_string_equal(heard(f, text, sizeof text),
			    "{\"execute\":\"quit\",\"id\":2,\"arguments\":{\"code\":3}}\n");
	serve(f, "{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->why, "not now");
}

/* Replies in any order, and events between them and in pieces. */
static void interleaved(void **state)
{
	struct fixture *f = *state;

	greet(f);
	qmp_send(f->qmp, "a", NULL, 1000, on_reply, f);
	qmp_send(f->qmp, "b", NULL, 1000, on_reply, f);
	assert_int_equal(pump(f), 0);
	serve(f, "{\"id\": 3, \"return\": {\"status\": \"b\"}}\n{\"timestamp\": {}, \"event\": "
		 "\"SHUTDOWN\", \"data\": {\"reason\": \"gue");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->result, "b");
	assert_int_equal(f->events, 0);
	serve(f, "st-shutdown\"}}\n\r\n{\"id\": 2, \"return\": {\"status\": \"a\"}}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->events, 1);
	assert_string_equal(f->event, "SHUTDOWN");
	assert_string_equal(f->reason, "guest-shutdown");
	assert_int_equal(f->replies, 2);
	assert_string_equal(f->result, "a");
}

/* A late reply to a command that timed out is dropped, not given to another. */
static void times_out(void **state)
{
	struct fixture *f = *state;

	greet(f);
	qmp_send(f->qmp, "query-status", NULL, 30, on_reply, f);
	assert_int_equal(pump(f), 0);
	assert_true(qmp_wait_ms(f->qmp) >= 0 && qmp_wait_ms(f->qmp) <= 30);
	usleep(40 * 1000);
	assert_int_equal(qmp_wait_ms(f->qmp), 0);
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->why, "the monitor did not answer in time");
	qmp_send(f->qmp, "query-status", NULL, 1000, on_reply, f);
	serve(f, "{\"return\": {\"status\": \"late\"}, \"id\": 2}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 1);
	serve(f, "{\"return\": {\"status\": \"right\"}, \"id\": 3}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 2);
	assert_string_equal(f->result, "right");
}

/* The connection's end ends what waits, but not before what came is read. */
static void peer_closes(void **state)
{
	struct fixture *f = *state;

	greet(f);
	qmp_send(f->qmp, "quit", NULL, 1000, on_reply, f);
	assert_int_equal(pump(f), 0);
	serve(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"host-qmp-quit\"}}\n");
	close(f->server);
	f->server = -1;
	assert_int_equal(pump(f), -1);
	assert_string_equal(f->reason, "host-qmp-quit");
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->why, "the monitor's connection ended");
	/* Later ones end with the next pump, not inside qmp_send. */
	qmp_send(f->qmp, "quit", NULL, 1000, on_reply, f);
	assert_int_equal(f->replies, 1);
	assert_int_equal(pump(f), -1);
	assert_int_equal(f->replies, 2);
}

static void free_ends_commands(void **state)
{
	struct fixture *f = *state;

	greet(f);
	qmp_send(f->qmp, "stop", NULL, 1000, on_reply, f);
	qmp_free(f->qmp);
	f->qmp = NULL;
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->why, "the monitor was closed");
}

/* Each of these breaks the protocol after the greeting. */
static void hostile_lines(void **state)
{
	static const char *const lines[] = {
		"hello\n",
		"[1, 2]\n",
		"{\"id\": 7}\n",
		"\"text\"\n",
		"{\"a\": 1, \"a\": 2, \"event\": \"STOP\"}\n",
		"{\"event\": 5}\n",
		"\xff\xfe\n",
		"{\"return\"\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct fixture *f;
		void *one;

		setup(&one);
		f = one;
		greet(f);
		qmp_send(f->qmp, "stop", NULL, 1000, on_reply, f);
		serve(f, lines[i]);
		assert_int_equal(pump(f), -1);
		assert_int_equal(f->replies, 1);
		assert_int_equal(f->events, 0);
		assert_int_equal(pump(f), -1);
		teardown(&one);
	}
}

/* Odd, but harmless: unknown ids, ids of other types, an error without words. */
static void odd_lines(void **state)
{
	struct fixture *f = *state;

	greet(f);
	qmp_send(f->qmp, "stop", NULL, 1000, on_reply, f);
	assert_int_equal(pump(f), 0);
	serve(f, "{\"return\": {}, \"id\": 99}\n{\"return\": {}, \"id\": \"2\"}\n"
		 "{\"return\": {}, \"id\": -2}\n{\"return\": {}, \"id\": 0}\n{\"return\": {}}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 0);
	serve(f, "{\"error\": 1, \"id\": 2}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->why, "the monitor refused without a reason");
}

static void wrong_greeting(void **state)
{
	struct fixture *f = *state;

	qmp_send(f->qmp, "stop", NULL, 1000, on_reply, f);
	serve(f, "{\"return\": {}, \"id\": 1}\n");
	assert_int_equal(pump(f), -1);
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->why, "the monitor did not greet as QEMU does");
}

/* A line without an end is bounded; one just below the bound is read. */
static void long_lines(void **state)
{
	struct fixture *f = *state;
	const size_t chunk = 64 * 1024;
	char *blanks = malloc(chunk + 1);
	size_t sent = 0;
	int rc = 0;

	memset(blanks, ' ', chunk);
	blanks[chunk] = '\0';
	greet(f);
	while (sent + chunk < QMP_MAX_LINE_BYTES - chunk) {
		serve(f, blanks);
		sent += chunk;
		assert_int_equal(pump(f), 0);
	}
	serve(f, "{\"event\": \"STOP\"}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->events, 1);
	for (sent = 0; rc == 0 && sent < 4 * QMP_MAX_LINE_BYTES; sent += chunk) {
		serve(f, blanks);
		rc = pump(f);
	}
	assert_int_equal(rc, -1);
	assert_true(sent <= QMP_MAX_LINE_BYTES + 2 * chunk);
	free(blanks);
}

/* A server that reads nothing: output is bounded, and the caller never blocks. */
static void deaf_server(void **state)
{
	struct fixture *f = *state;
	char *big = malloc(100 * 1024 + 1);
	unsigned i;

	memset(big, 'x', 100 * 1024);
	big[100 * 1024] = '\0';
	greet(f);
	for (i = 0; i < 40 && f->replies == 0; i++) {
		qmp_send(f->qmp, "a", json_pack("{s:s}", "text", big), 60000, on_reply, f);
		assert_int_equal(pump(f), 0);
	}
	assert_int_equal(f->replies, 1);
	assert_string_equal(f->why, "too much waits to be sent to the monitor");
	assert_true(i > 10);
	assert_true(qmp_poll_events(f->qmp) & POLLOUT);
	free(big);
}

/* A callback that sends: the usual way of one command after another. */
static void send_again(void *ctx, const json_t *result, const char *why)
{
	struct fixture *f = ctx;

	on_reply(ctx, result, why);
	if (f->replies < 3)
		qmp_send(f->qmp, "next", NULL, 1000, send_again, f);
}

static void sends_from_callbacks(void **state)
{
	struct fixture *f = *state;

	greet(f);
	qmp_send(f->qmp, "first", NULL, 1000, send_again, f);
	serve(f, "{\"return\": {}, \"id\": 2}\n{\"return\": {}, \"id\": 3}\n{\"return\": {}, "
		 "\"id\": 4}\n");
	assert_int_equal(pump(f), 0);
	assert_int_equal(f->replies, 3);
}

#define QMP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		QMP_TEST(negotiates),
		QMP_TEST(queues_until_ready),
		QMP_TEST(arguments_and_errors),
		QMP_TEST(interleaved),
		QMP_TEST(times_out),
		QMP_TEST(peer_closes),
		QMP_TEST(free_ends_commands),
		cmocka_unit_test(hostile_lines),
		QMP_TEST(odd_lines),
		QMP_TEST(wrong_greeting),
		QMP_TEST(long_lines),
		QMP_TEST(deaf_server),
		QMP_TEST(sends_from_callbacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
