/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control.c: fuzz target: requests on a session's own socket, in pieces of any size. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "run_control.h"

#define PUMPS 64u

static struct control control;

static void on_request(void *ctx, unsigned client, const json_t *request)
{
	unsigned *requests = ctx;

	fuzz_must(client < CONTROL_CLIENTS && json_is_object(request));
	(void)json_string_value(json_object_get(request, "do"));
	(void)json_integer_value(json_object_get(request, "timeout_s"));
	++*requests;
	control_reply(&control, client, json_pack("{s:b}", "ok", 1));
}

/* The input: a count of bytes, so many bytes, and again. */
static void feed(int fd, struct fuzz_in *in, unsigned *requests)
{
	struct pollfd polls[CONTROL_POLLS];

	for (unsigned i = 0; i < PUMPS && in->left > 0 && control.clients[0].fd >= 0; i++) {
		size_t len, count = control_polls(&control, polls);
		const uint8_t *bytes = fuzz_bytes(in, 1u + fuzz_u8(in), &len);

		if (send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		fuzz_must(count == CONTROL_POLLS);
		for (size_t k = 0; k < count; k++)
			polls[k].revents = k == 1 ? POLLIN : 0;
		control_pump(&control, polls, count, on_request, requests);
		fuzz_must(control.clients[0].used < CONTROL_LINE_BYTES);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	unsigned requests = 0;
	int fds[2];

	fuzz_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		control.clients[i] = (struct control_client){.fd = -1};
	control.listen_fd = dup(fds[1]); /* never asked: only clients are polled */
	fuzz_must(control.listen_fd >= 0);
	control.clients[0].fd = fds[0];
	feed(fds[1], &in, &requests);
	control_close(&control);
	close(fds[1]);
	return 0;
}
