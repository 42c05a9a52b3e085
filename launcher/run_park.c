/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * run_park.c: a frozen VM is saved on this host, and the session ends.
 *
 *	NOT -> SAVING	asked for while the stick is gone. Nobody looks for it any more, the store
 *			takes no writes (X1 in park.c). A thread writes the file: words, what the
 *			stick lacks, then what QEMU sends through a socket.
 *	SAVING -> DONE	QEMU has sent all, and the file is whole and durable under its name. Only
 *			now QEMU is ended and the store dropped.
 *	SAVING -> NOT	anything failed: the file is gone, the VM is frozen as before, and the stick
 *			is looked for again. QEMU goes on from a state that was sent as from any.
 *
 * The guest does not run from its freeze on, so nothing of it comes behind what is saved.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "run_session.h"
#include "size.h"

enum { PIECE_BYTES = 256 << 10 };

void park_init(struct session *s)
{
	s->park.news_fd = s->park.socket_fd = -1;
	s->park.client = CONTROL_CLIENTS;
	s->park.state = s->req->parked ? PARK_LOADING : PARK_NOT;
	s->migration.look_ms = INT64_MAX;
}

/* ---- the thread ---- */

static int put(void *ctx, const void *bytes, size_t count)
{
	struct park *p = ctx;

	p->bytes += count;
	return park_write(p->writer, bytes, count);
}

static int take_stream(struct park *p, int fd)
{
	uint8_t *piece = malloc(PIECE_BYTES);
	int rc = piece ? 0 : -ENOMEM;

	while (rc == 0) {
		ssize_t got = recv(fd, piece, PIECE_BYTES, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			rc = got < 0 ? -errno : 0;
			break;
		}
		rc = put(p, piece, (size_t)got);
	}
	free(piece);
	return rc;
}

static int save_all(struct park *p)
{
	int fd, rc = park_writer_begin(p->home.path, p->key, &p->writer);

	if (rc == 0)
		rc = parked_words_put(p->writer, &p->words);
	if (rc == 0)
		rc = sv_store_park(p->store, put, p);
	if (rc < 0)
		return rc;
	fd = accept4(p->socket_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = take_stream(p, fd);
	close(fd);
	return rc;
}

static void *save(void *arg)
{
	struct park *p = arg;
	const uint64_t one = 1;

	p->rc = save_all(p);
	(void)!write(p->news_fd, &one, sizeof(one));
	return NULL;
}

void park_join(struct session *s)
{
	struct park *p = &s->park;

	if (!p->thread_runs)
		return;
	pthread_join(p->thread, NULL);
	p->thread_runs = false;
	p->carried = p->rc == 0;
}

int park_thread(struct session *s, void *(*work)(void *arg))
{
	struct park *p = &s->park;
	int rc;

	p->carried = false;
	p->rc = 0;
	p->bytes = 0;
	p->news_fd = eventfd(0, EFD_CLOEXEC);
	rc = p->news_fd < 0 ? -errno : -pthread_create(&p->thread, NULL, work, p);
	p->thread_runs = rc == 0;
	return rc;
}

/* ---- the session ---- */

static int listen_here(struct park *p)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, p->socket, sizeof(p->socket));
	unlink(p->socket);
	p->socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->socket_fd < 0 || bind(p->socket_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(p->socket_fd, 1) < 0)
		return -errno;
	return 0;
}

static uint64_t frozen_since_s(const struct session *s)
{
	return (uint64_t)time(NULL) - (uint64_t)(clock_boot_ms() - s->pull.since_ms) / 1000;
}

static const char *why_not(struct session *s)
{
	if (s->park.state != PARK_NOT || s->ending >= ENDING_FORCED)
		return "it is being ended already";
	if (!pull_frozen(s))
		return "its stick is there; a VM is parked when its stick is gone";
	if (!s->req->park_key)
		return "it has no key on its stick to be parked under";
	if (!s->req->plan->stop_on_error)
		return "QEMU cannot save a machine whose disk is on NVMe; plug the stick in again";
	if (!s->qmp || !qmp_ready(s->qmp))
		return "QEMU's monitor does not answer";
	return NULL;
}

static int begin(struct session *s)
{
	struct park *p = &s->park;
	struct err err;
	char machine[256];
	int rc;

	p->store = s->disk.store;
	snprintf(p->socket, sizeof(p->socket), "%s", s->req->dir->park);
	memcpy(p->key, s->req->park_key, sizeof(p->key));
	parked_machine(s->req->vm, s->req->plan->accel, machine);
	parked_words_new(machine, frozen_since_s(s), &p->words);
	if (park_home_name(s->req->vm->uuid, &p->home, &err) < 0 ||
	    park_home_make(&p->home, &err) < 0)
		return -EACCES;
	rc = sv_store_park_begin(p->store);
	if (rc == 0)
		rc = listen_here(p);
	if (rc == 0)
		rc = park_thread(s, save);
	if (rc == 0)
		migration_begin(s, "migrate", p->socket);
	return rc;
}

/* Everything but the file and the store. */
static void put_away(struct session *s)
{
	struct park *p = &s->park;

	if (p->socket_fd >= 0) {
		shutdown(p->socket_fd, SHUT_RDWR); /* wakes the thread */
		unlink(p->socket);
	}
	park_join(s);
	if (p->socket_fd >= 0)
		close(p->socket_fd);
	if (p->news_fd >= 0)
		close(p->news_fd);
	p->socket_fd = p->news_fd = -1;
	sodium_memzero(p->key, sizeof(p->key));
}

static void fail(struct session *s, const char *why)
{
	struct park *p = &s->park;
	char text[400];

	snprintf(text, sizeof(text), "it could not be parked: %.300s; it is frozen as before", why);
	migration_cancel(s); /* `why` may be its */
	put_away(s);
	park_writer_abandon(p->writer);
	p->writer = NULL;
	park_home_free(&p->home);
	sv_store_park_cancel(s->disk.store);
	p->state = PARK_NOT;
	session_say(s, "%s: %s", s->req->vm->name, text);
	if (p->client < CONTROL_CLIENTS) {
		s->control.clients[p->client].waits = false;
		control_reply(&s->control, p->client,
			      json_pack("{s:b, s:s}", "ok", 0, "error", text));
	}
	p->client = CONTROL_CLIENTS;
	pull_look_again(s);
}

const char *park_begin(struct session *s, unsigned client)
{
	const char *why = why_not(s);
	int rc;

	if (why)
		return why;
	if (!pull_stop_looking(s))
		return "the stick is back, and it goes on";
	s->park.state = PARK_SAVING;
	s->park.client = CONTROL_CLIENTS;
	session_say(s, "%s: 'stickvm park': saving it on this host", s->req->vm->name);
	rc = begin(s);
	if (rc < 0) {
		fail(s, strerror(-rc));
		return "it could not be parked; 'stickvm run' has said why";
	}
	s->park.client = client;
	s->control.clients[client].waits = true;
	s->control.clients[client].due_ms = INT64_MAX;
	return NULL;
}

/* The file gets its name; from here on it is what is left of the VM. */
static void finish(struct session *s)
{
	struct park *p = &s->park;
	char size[32];
	int rc;

	put_away(s);
	rc = park_writer_end(p->writer);
	p->writer = NULL;
	if (rc < 0) {
		fail(s, strerror(-rc));
		return;
	}
	park_home_agree(&p->home);
	p->state = PARK_DONE;
	s->disk.parked = true;
	size_human(p->bytes, size, sizeof(size));
	session_say(s,
		    "%s: parked on this host (%s, encrypted, in %s); plug the stick in and "
		    "'stickvm run %s' goes on",
		    s->req->vm->name, size, p->home.dir, s->req->vm->name);
	ending_force(s, EXIT_DONE);
}

static void pump_saving(struct session *s)
{
	struct park *p = &s->park;

	if (!p->thread_runs && p->rc < 0)
		fail(s, strerror(-p->rc));
	else if (s->migration.state == MIGRATION_FAILED)
		fail(s, s->migration.why);
	else if (s->migration.state == MIGRATION_DONE && p->carried)
		finish(s);
}

void park_poll(const struct session *s, struct pollfd *poll)
{
	*poll = (struct pollfd){.fd = s->park.thread_runs ? s->park.news_fd : -1, .events = POLLIN};
}

void park_pump(struct session *s, const struct pollfd *poll)
{
	if (poll->revents)
		park_join(s);
	migration_tick(s);
	if (s->park.state == PARK_SAVING)
		pump_saving(s);
	else if (s->park.state == PARK_LOADING)
		unpark_pump(s);
}

void park_end(struct session *s)
{
	/* Not closed: another host must still be told that something is missing. */
	if (s->park.state == PARK_LOADING)
		s->disk.parked = true;
	put_away(s);
	park_writer_abandon(s->park.writer);
	s->park.writer = NULL;
	park_home_free(&s->park.home);
}
