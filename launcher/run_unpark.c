/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * run_unpark.c: a new session loads the machine of one that was parked (K1 to K4 in parked_vm.c).
 *
 * QEMU was started with nothing to do but wait. It is told to listen on a socket; a thread sends
 * it the state as it is deciphered, so that nothing of it lies on the host in clear. Then, and only
 * when the whole stream proved genuine, the parked state is removed and the guest let go on.
 * Where anything fails before, the session ends with EXIT_NO_RESUME and the state is kept.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "run_session.h"

enum { PIECE_BYTES = 64 << 10, COMMAND_MS = 30000 };

static int send_all(int fd, const uint8_t *bytes, size_t count)
{
	while (count > 0) {
		ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		bytes += sent;
		count -= (size_t)sent;
	}
	return 0;
}

static int send_state(struct park *p)
{
	uint8_t *piece = malloc(PIECE_BYTES);
	size_t got = 1;
	int rc = piece ? 0 : -ENOMEM;

	while (rc == 0 && got > 0) {
		rc = park_read(p->reader, piece, PIECE_BYTES, &got);
		if (rc == 0)
			rc = send_all(p->socket_fd, piece, got);
		p->bytes += got;
	}
	free(piece);
	return rc;
}

static void *load(void *arg)
{
	struct park *p = arg;
	const uint64_t one = 1;

	p->rc = send_state(p);
	shutdown(p->socket_fd, SHUT_RDWR);
	(void)!write(p->news_fd, &one, sizeof(one));
	return NULL;
}

static void fail(struct session *s, const char *why)
{
	snprintf(s->forced_why, sizeof(s->forced_why),
		 "the parked state could not be loaded: %.200s; it is kept", why);
	ending_force(s, EXIT_NO_RESUME);
}

void unpark_begin(struct session *s)
{
	struct park *p = &s->park;

	p->reader = s->req->parked->reader;
	snprintf(p->socket, sizeof(p->socket), "%s", s->req->dir->park);
	unlink(p->socket);
	migration_begin(s, "migrate-incoming", p->socket);
}

/* QEMU listens: the bytes may come. */
static void connect_and_send(struct session *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct park *p = &s->park;
	int rc;

	memcpy(addr.sun_path, p->socket, sizeof(p->socket));
	p->socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->socket_fd < 0 || connect(p->socket_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		rc = -errno;
	else
		rc = park_thread(s, load);
	if (rc < 0)
		fail(s, strerror(-rc));
}

static void on_cont(void *ctx, const json_t *result, const char *why)
{
	struct session *s = ctx;

	if (!result)
		session_say(s, "the VM cannot go on: %s", why);
	else
		events_ask_status(s);
}

static void go_on(struct session *s)
{
	const int64_t now_s = (int64_t)time(NULL);
	const int64_t since_s = (int64_t)s->req->parked->words.frozen_s;
	struct err err;

	if (parked_vm_consume(s->req->parked, s->req->stick, s->req->vm, &err) < 0) {
		fail(s, err.text);
		return;
	}
	s->park.state = PARK_NOT;
	session_say(s, "%s: it goes on from where it was parked, %" PRId64 " s ago",
		    s->req->vm->name, now_s > since_s ? now_s - since_s : 0);
	qmp_send(s->qmp, "cont", NULL, COMMAND_MS, on_cont, s);
	pull_set_clock(s, now_s > since_s ? (now_s - since_s) * 1000 : 0);
}

void unpark_pump(struct session *s)
{
	struct park *p = &s->park;

	if (s->ending >= ENDING_FORCED)
		return;
	if (s->migration.state == MIGRATION_FAILED)
		fail(s, s->migration.why);
	else if (s->migration.state == MIGRATION_GOING && p->socket_fd < 0)
		connect_and_send(s);
	else if (p->socket_fd >= 0 && !p->thread_runs && p->rc < 0)
		fail(s, p->rc == -EBADMSG ? "it is damaged" : strerror(-p->rc));
	else if (s->migration.state == MIGRATION_DONE && p->carried && s->qmp)
		go_on(s);
}
