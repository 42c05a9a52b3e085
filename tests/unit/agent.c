/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent.c: the clock is set through an agent that answers; silent, rude and late ones are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

struct box {
	struct agent agent;
	char path[64];
	int listen_fd, fd; /* the guest's side */
};

static int setup(void **state)
{
	struct box *box = calloc(1, sizeof(*box));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(box->path, sizeof(box->path), "/tmp/agent-test-%d", (int)getpid());
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", box->path);
	box->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(box->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(box->listen_fd, 1), 0);
	agent_init(&box->agent);
	agent_set_clock(&box->agent, box->path, 300);
	box->fd = accept(box->listen_fd, NULL, NULL);
	assert_true(box->fd >= 0);
	*state = box;
	return 0;
}

static int teardown(void **state)
{
	struct box *box = *state;

	agent_close(&box->agent);
	close(box->fd);
	close(box->listen_fd);
	unlink(box->path);
	free(box);
	return 0;
}

/* What the agent is told next; "" where nothing comes. */
static const char *told(struct box *box)
{
	static char text[512];
	struct pollfd poll_fd = {.fd = box->fd, .events = POLLIN};
	ssize_t got = poll(&poll_fd, 1, 50) > 0 ? recv(box->fd, text, sizeof(text) - 1, 0) : 0;

	text[got > 0 ? got : 0] = '\0';
	return text;
}

/* What `text` makes of it. */
static enum agent_result answer(struct box *box, const char *text)
{
	assert_int_equal(send(box->fd, text, strlen(text), 0), strlen(text));
	return agent_pump(&box->agent, POLLIN);
}

static uint64_t number_in(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	assert_non_null(at);
	return strtoull(at + strlen(key), NULL, 10);
}

/* Agrees on the number; the agent is told the time then. */
static const char *sync_with(struct box *box, const char *before)
{
	char reply[128];
	const char *request = told(box);

	assert_int_equal((unsigned char)request[0], 0xff);
	assert_non_null(strstr(request, "guest-sync-delimited"));
	snprintf(reply, sizeof(reply), "%s\xff{\"return\": %" PRIu64 "}\n", before,
		 number_in(request, "\"id\":"));
	assert_int_equal(answer(box, reply), AGENT_NOTHING);
	return told(box);
}

static void the_time_is_sent_and_confirmed(void **state)
{
	struct box *box = *state;
	const char *request = sync_with(box, "");
	struct timespec now;
	uint64_t sent_s;

	assert_non_null(strstr(request, "guest-set-time"));
	sent_s = number_in(request, "\"time\":") / 1000000000;
	clock_gettime(CLOCK_REALTIME, &now);
	assert_true(sent_s <= (uint64_t)now.tv_sec && sent_s + 2 > (uint64_t)now.tv_sec);
	assert_int_equal(answer(box, "{\"ret"), AGENT_NOTHING);
	assert_int_equal(answer(box, "urn\": {}}\n"), AGENT_DONE);
	assert_int_equal(box->agent.fd, -1);
}

/* What was left in the port by a talk before: half a line, another number. */
static void older_answers_are_passed_over(void **state)
{
	struct box *box = *state;

	assert_int_equal(answer(box, "{\"return\": 1}\n\xff{\"return\": 2}\n{\"return\": {}}\n"),
			 AGENT_NOTHING);
	assert_int_equal(box->agent.step, AGENT_SYNC);
	assert_non_null(strstr(sync_with(box, "rest of a line"), "guest-set-time"));
	assert_int_equal(answer(box, "{\"return\": {}}\n"), AGENT_DONE);
}

static void a_refusal_has_its_words(void **state)
{
	struct box *box = *state;

	sync_with(box, "");
	assert_int_equal(answer(box, "{\"error\": {\"class\": \"X\", \"desc\": \"no clock\"}}\n"),
			 AGENT_FAILED);
	assert_string_equal(box->agent.why, "no clock");
}

/* The time goes to nobody who has not answered. */
static void a_silent_one_is_given_up(void **state)
{
	struct box *box = *state;

	told(box);
	assert_int_equal(agent_pump(&box->agent, 0), AGENT_NOTHING);
	usleep(320000);
	assert_int_equal(agent_pump(&box->agent, 0), AGENT_SILENT);
	assert_string_equal(told(box), "");
	assert_int_equal(agent_pump(&box->agent, POLLIN), AGENT_NOTHING); /* idle */
	assert_true(box->agent.deadline_ms == INT64_MAX);
}

static void a_rude_one_is_bounded(void **state)
{
	struct box *box = *state;
	char noise[8192];

	memset(noise, '{', sizeof(noise) - 1);
	noise[sizeof(noise) - 1] = '\0';
	told(box);
	assert_int_equal(answer(box, noise), AGENT_NOTHING);
	assert_int_equal(answer(box, "\n\n[]\n7\nnull\n{}\n{\"return\": \"x\"}\n"), AGENT_NOTHING);
	assert_int_equal(box->agent.step, AGENT_SYNC);
	shutdown(box->fd, SHUT_RDWR);
	assert_int_equal(agent_pump(&box->agent, POLLIN), AGENT_SILENT);
}

static void without_a_socket_it_says_so(void **state)
{
	struct box *box = *state;

	agent_set_clock(&box->agent, "/nowhere/agent.sock", 10000);
	assert_int_equal(agent_pump(&box->agent, 0), AGENT_SILENT);
}

#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOXED(the_time_is_sent_and_confirmed), BOXED(older_answers_are_passed_over),
		BOXED(a_refusal_has_its_words),	       BOXED(a_silent_one_is_given_up),
		BOXED(a_rude_one_is_bounded),	       BOXED(without_a_socket_it_says_so),
	};

	return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
