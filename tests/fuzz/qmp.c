/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp.c: fuzz target: what a monitor says, in pieces of any size, with commands under way. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "qmp.h"

#define COMMANDS 4u
#define PUMPS 64u

struct talk {
	struct qmp *qmp;
	unsigned replies, events;
	bool more; /* the first reply asks for another */
};

static void on_event(void *ctx, const char *name, const json_t *data)
{
	struct talk *talk = ctx;

	fuzz_must(name != NULL);
	talk->events += 1 + (json_object_get(data, "reason") != NULL);
}

static void on_reply(void *ctx, const json_t *result, const char *why)
{
	struct talk *talk = ctx;

	fuzz_must((result == NULL) == (why != NULL));
	talk->replies++;
	if (talk->more) {
		talk->more = false;
		qmp_send(talk->qmp, "query-status", NULL, 60000, on_reply, talk);
	}
}

/* The input: a count of bytes, so many bytes, and again. A zero: the greeting of a QEMU. */
static void feed(struct talk *talk, int fd, struct fuzz_in *in)
{
	static const char greeting[] = "{\"QMP\": {}}\n{\"return\": {}, \"id\": 5}\n";
	struct err err = {0};

	for (unsigned i = 0; i < PUMPS && in->left > 0; i++) {
		size_t len = fuzz_u8(in);
		const uint8_t *bytes = fuzz_bytes(in, len, &len);

		if (len == 0)
			bytes = (const uint8_t *)greeting, len = sizeof(greeting) - 1;
		if (send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		if (qmp_pump(talk->qmp, &err) < 0)
			break;
		fuzz_must(qmp_wait_ms(talk->qmp) >= -1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	struct talk talk = {.more = true};
	int fds[2];

	fuzz_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	talk.qmp = qmp_new(fds[0], on_event, &talk);
	fuzz_must(talk.qmp != NULL);
	for (unsigned i = 0; i < COMMANDS; i++)
		qmp_send(talk.qmp, "stop", NULL, 60000, on_reply, &talk);
	feed(&talk, fds[1], &in);
	qmp_free(talk.qmp);
	close(fds[1]);
	/* I2: each command ended once, the one that a reply asked for as well. */
	fuzz_must(talk.replies == COMMANDS + 1);
	return 0;
}
