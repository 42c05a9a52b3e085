/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_control.c: both sides of a session's own socket. */
/*
 * The socket lies in a folder that only the user can enter, so whoever connects may ask. Still
 * nothing here waits for a client, and a client's line is bounded: one that says too much, or
 * anything but a JSON object, is sent away.
 */
#include "run_control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "run_dir.h"

static bool fill_address(const char *path, struct sockaddr_un *addr)
{
	memset(addr, 0, sizeof *addr);
	addr->sun_family = AF_UNIX;
	return snprintf(addr->sun_path, sizeof addr->sun_path, "%s", path) <
	       (int)sizeof addr->sun_path;
}

int control_listen(const char *path, struct control *ret_control, struct err *err)
{
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || !fill_address(path, &addr) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || chmod(path, 0600) < 0 ||
	    listen(fd, CONTROL_CLIENTS) < 0) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, EXIT_FAILED, "%s: cannot listen: %s", path, strerror(error));
	}
	ret_control->listen_fd = fd;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		ret_control->clients[i] = (struct control_client){.fd = -1};
	return 0;
}

size_t control_polls(const struct control *control, struct pollfd *polls)
{
	size_t count = 0;

	if (control->listen_fd < 0)
		return 0;
	polls[count++] = (struct pollfd){.fd = control->listen_fd, .events = POLLIN};
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) /* a negative fd is not polled */
		polls[count++] = (struct pollfd){.fd = control->clients[i].fd, .events = POLLIN};
	return count;
}

static void drop(struct control_client *client)
{
	close(client->fd);
	*client = (struct control_client){.fd = -1};
}

static void take_client(struct control *control)
{
	int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	for (unsigned i = 0; fd >= 0 && i < CONTROL_CLIENTS; i++)
		if (control->clients[i].fd < 0) {
			control->clients[i].fd = fd;
			control->clients[i].used = 0;
			return;
		}
	if (fd >= 0)
		close(fd); /* too many at once */
}

static void take_request(struct control *control, unsigned index, const char *end,
			 control_on_request *on_request, void *ctx)
{
	struct control_client *client = &control->clients[index];
	const size_t len = (size_t)(end - client->line);
	json_t *request = json_loadb(client->line, len, JSON_REJECT_DUPLICATES, NULL);

	client->used -= len + 1;
	memmove(client->line, end + 1, client->used);
	if (json_is_object(request))
		on_request(ctx, index, request);
	else
		drop(client);
	json_decref(request);
}

static void read_client(struct control *control, unsigned index, control_on_request *on_request,
			void *ctx)
{
	struct control_client *client = &control->clients[index];
	ssize_t got = recv(client->fd, client->line + client->used,
			   sizeof client->line - client->used, MSG_DONTWAIT);
	const char *end;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		drop(client);
		return;
	}
	client->used += (size_t)got;
	while (client->fd >= 0 && (end = memchr(client->line, '\n', client->used)))
		take_request(control, index, end, on_request, ctx);
	if (client->fd >= 0 && client->used == sizeof client->line)
		drop(client);
}

void control_pump(struct control *control, const struct pollfd *polls, size_t count,
		  control_on_request *on_request, void *ctx)
{
	if (count == 0)
		return;
	/* Clients first: the places that were polled are still theirs. */
	for (unsigned i = 0; i < CONTROL_CLIENTS && i + 1 < count; i++)
		if (control->clients[i].fd >= 0 && polls[i + 1].revents)
			read_client(control, i, on_request, ctx);
	if (polls[0].revents)
		take_client(control);
}

void control_reply(struct control *control, unsigned client, json_t *reply)
{
	struct control_client *c = &control->clients[client];
	char *text = json_dumps(reply, JSON_COMPACT);
	char *line = NULL;

	if (c->fd >= 0 && text && asprintf(&line, "%s\n", text) >= 0 &&
	    send(c->fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		drop(c);
	free(line);
	free(text);
	json_decref(reply);
}

void control_close(struct control *control)
{
	if (control->listen_fd < 0)
		return;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (control->clients[i].fd >= 0)
			drop(&control->clients[i]);
	close(control->listen_fd);
	control->listen_fd = -1;
}

/* The asking side. */

struct search {
	int fd;
};

static int try_connect(void *ctx, const char *path)
{
	struct search *search = ctx;
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (!fill_address(path, &addr) || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
		close(fd); /* left behind by a killed session */
		return -1;
	}
	search->fd = fd;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

enum { REPLY_BYTES = 64 * 1024 };

/* One line, or fewer bytes at the end of the connection or of the time. 0 when it is whole. */
static int read_line(int fd, char line[REPLY_BYTES], int timeout_ms)
{
	const int64_t deadline_ms = now_ms() + timeout_ms;
	size_t used = 0;

	while (used < REPLY_BYTES) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int64_t left_ms = deadline_ms - now_ms();
		ssize_t got;

		if (left_ms <= 0 || poll(&pfd, 1, (int)left_ms) == 0)
			return -ETIMEDOUT;
		got = recv(fd, line + used, REPLY_BYTES - used, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -EPIPE;
		used += (size_t)got;
		if (line[used - 1] == '\n') {
			line[used - 1] = '\0';
			return 0;
		}
	}
	return -EMSGSIZE;
}

static int send_line(int fd, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT), *line = NULL;
	int rc = -1;

	if (text && asprintf(&line, "%s\n", text) >= 0 &&
	    send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line))
		rc = 0;
	free(line);
	free(text);
	return rc;
}

static int converse(int fd, const json_t *request, int timeout_ms, json_t **ret_reply,
		    struct err *err)
{
	char *line = malloc(REPLY_BYTES);
	json_t *reply = NULL;
	int rc = line ? send_line(fd, request) : -1;

	if (rc == 0)
		rc = read_line(fd, line, timeout_ms);
	if (rc == 0)
		reply = json_loads(line, 0, NULL);
	free(line);
	if (rc == -ETIMEDOUT)
		return err_set(err, EXIT_FAILED, "the session: no answer in time");
	if (!json_is_object(reply)) {
		json_decref(reply);
		return err_set(err, EXIT_FAILED, "the session: it ended without an answer");
	}
	if (!json_is_true(json_object_get(reply, "ok"))) {
		const char *why = json_string_value(json_object_get(reply, "error"));

		err_set(err, EXIT_FAILED, "%s", why ? why : "the session: refused");
		json_decref(reply);
		return -1;
	}
	*ret_reply = reply;
	return 0;
}

int control_ask(const char *uuid, json_t *request, int timeout_ms, json_t **ret_reply,
		bool *ret_running, struct err *err)
{
	struct search search = {.fd = -1};
	int rc;

	*ret_running = run_dir_find_control(uuid, try_connect, &search) == 0;
	if (*ret_running)
		rc = converse(search.fd, request, timeout_ms, ret_reply, err);
	else
		rc = err_set(err, EXIT_FAILED, "it is not running");
	if (search.fd >= 0)
		close(search.fd);
	json_decref(request);
	return rc;
}

enum { STATUS_MS = 5000, FOUND_MOST = 2 };

struct find {
	const char *name;
	json_t *status; /* of the first that fits */
	unsigned count;
};

static bool fits(const struct find *find, const json_t *status)
{
	const char *name = json_string_value(json_object_get(status, "name"));
	const char *state = json_string_value(json_object_get(status, "state"));

	if (find->name)
		return name && strcmp(name, find->name) == 0;
	return state && strcmp(state, "frozen") == 0;
}

static int look_at(void *ctx, const char *path)
{
	struct search search = {.fd = -1};
	struct find *find = ctx;
	json_t *request, *status = NULL;
	struct err ignored;

	if (try_connect(&search, path) < 0)
		return -1;
	request = json_pack("{s:s}", "do", "status");
	if (converse(search.fd, request, STATUS_MS, &status, &ignored) == 0 && fits(find, status)) {
		if (!find->status)
			find->status = json_incref(status);
		find->count += !json_equal(find->status, status) || find->count == 0;
	}
	json_decref(status);
	json_decref(request);
	close(search.fd);
	return -1; /* all of them */
}

int control_find(const char *name, json_t **ret_status, struct err *err)
{
	struct find find = {.name = name};

	run_dir_each_control(look_at, &find);
	if (find.count == 1) {
		*ret_status = find.status;
		return 0;
	}
	json_decref(find.status);
	if (find.count >= FOUND_MOST)
		return err_set(err, EXIT_USAGE, "several VMs run that could be meant; name one");
	if (name)
		return err_set(err, EXIT_FAILED, "%s: it is not running on this host", name);
	return err_set(err, EXIT_FAILED, "no VM is frozen on this host; name one");
}
