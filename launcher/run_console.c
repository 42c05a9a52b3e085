/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_console.c: copies bytes between the guest's serial port and the terminal. */
/*
 * QEMU connects to a socket of ours before the guest runs, so that no byte is lost. What the
 * guest prints goes through a thread of its own with blocking writes: a terminal that is held
 * (Ctrl-S) or a slow reader must not hold the session. What is typed goes through the event loop.
 * On a terminal every key is the guest's, Ctrl-C too, but Ctrl-], which opens a menu of one key.
 */
#include "run_console.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MENU_KEY 0x1d /* Ctrl-] */

static const char menu_text[] = "\r\nstickvm: p power off   k kill   r try again (paused VM)   "
				"Ctrl-] send it   any other key: go on\r\n";

int console_listen(const char *path, bool terminal, struct console *ret_console, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct console c = {.fd = -1, .terminal = terminal, .input = true};

	c.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	if (c.listen_fd < 0 || bind(c.listen_fd, (struct sockaddr *)&addr, sizeof addr) < 0 ||
	    listen(c.listen_fd, 1) < 0) {
		int error = errno;

		if (c.listen_fd >= 0)
			close(c.listen_fd);
		return err_set(err, EXIT_FAILED, "%s: cannot listen: %s", path, strerror(error));
	}
	*ret_console = c;
	return 0;
}

/* False when standard output is gone. */
static bool write_all(const char *bytes, size_t count)
{
	while (count) {
		ssize_t put = write(STDOUT_FILENO, bytes, count);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0 && errno == EAGAIN) { /* someone made the terminal non-blocking */
			struct pollfd pfd = {.fd = STDOUT_FILENO, .events = POLLOUT};

			poll(&pfd, 1, -1);
			continue;
		}
		if (put < 0)
			return false;
		bytes += put;
		count -= (size_t)put;
	}
	return true;
}

/* Goes on reading when the output is gone, so that the guest is not held. */
static void *copy_out(void *arg)
{
	const int fd = *(int *)arg;
	char bytes[4096];
	bool out = true;
	ssize_t got;

	while ((got = read(fd, bytes, sizeof bytes)) > 0 || (got < 0 && errno == EINTR))
		if (got > 0 && out)
			out = write_all(bytes, (size_t)got);
	return NULL;
}

static void set_raw(struct console *c)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct termios raw;

	/* A job in the background would be stopped for changing the terminal. */
	sigaction(SIGTTOU, &ignore, NULL);
	if (!c->terminal || tcgetattr(STDIN_FILENO, &c->saved) < 0) {
		c->terminal = false;
		return;
	}
	c->raw = true;
	raw = c->saved;
	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

static void take_connection(struct console *c)
{
	c->fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (c->fd < 0)
		return;
	close(c->listen_fd);
	c->listen_fd = -1;
	set_raw(c);
	c->copying = pthread_create(&c->copier, NULL, copy_out, &c->fd) == 0;
}

size_t console_polls(const struct console *c, struct pollfd *polls)
{
	if (c->listen_fd >= 0) {
		polls[0] = (struct pollfd){.fd = c->listen_fd, .events = POLLIN};
		return 1;
	}
	if (c->fd < 0)
		return 0;
	/* Typed bytes wait in the terminal until QEMU took those before. */
	polls[0] = (struct pollfd){.fd = c->input && !c->pending_len ? STDIN_FILENO : -1,
				   .events = POLLIN};
	polls[1] = (struct pollfd){.fd = c->pending_len ? c->fd : -1, .events = POLLOUT};
	return 2;
}

static enum console_key menu_choice(struct console *c, char key)
{
	c->menu = false;
	switch (key) {
	case 'p':
		return CONSOLE_POWER_OFF;
	case 'k':
		return CONSOLE_KILL;
	case 'r':
		return CONSOLE_RETRY;
	case MENU_KEY:
		c->pending[c->pending_len++] = key;
		break;
	}
	return CONSOLE_NOTHING;
}

/* Sorts what was typed into the guest's and ours. The last choice wins; there is one at most but
 * for pasted text. */
static enum console_key take_typed(struct console *c, const char *bytes, size_t count)
{
	enum console_key key = CONSOLE_NOTHING;

	for (size_t i = 0; i < count; i++) {
		if (c->menu) {
			key = menu_choice(c, bytes[i]);
		} else if (c->terminal && bytes[i] == MENU_KEY) {
			c->menu = true;
			write_all(menu_text, sizeof menu_text - 1);
		} else {
			c->pending[c->pending_len++] = bytes[i];
		}
	}
	return key;
}

static void send_pending(struct console *c)
{
	ssize_t put = send(c->fd, c->pending, c->pending_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (put < 0) {
		c->input = false; /* QEMU has ended */
		put = (ssize_t)c->pending_len;
	}
	c->pending_len -= (size_t)put;
	memmove(c->pending, c->pending + put, c->pending_len);
}

enum console_key console_pump(struct console *c, const struct pollfd *polls, size_t count)
{
	char bytes[CONSOLE_PENDING_BYTES];
	enum console_key key = CONSOLE_NOTHING;

	if (count == 1 && polls[0].revents)
		take_connection(c);
	if (count < 2)
		return key;
	if (polls[0].fd >= 0 && polls[0].revents) {
		ssize_t got = read(STDIN_FILENO, bytes, sizeof bytes);

		if (got > 0)
			key = take_typed(c, bytes, (size_t)got);
		else if (got == 0 || (errno != EINTR && errno != EAGAIN))
			c->input = false;
	}
	if (c->pending_len)
		send_pending(c);
	return key;
}

void console_end(struct console *c, unsigned timeout_ms)
{
	struct timespec until;

	/* QEMU may have connected, printed and ended before it was looked at. */
	if (c->listen_fd >= 0) {
		take_connection(c);
		if (c->listen_fd >= 0)
			close(c->listen_fd);
		c->listen_fd = -1;
	}
	if (c->copying) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += timeout_ms / 1000;
		if (pthread_timedjoin_np(c->copier, NULL, &until) != 0) {
			/* Held by a terminal that takes no more: let it go with the process. */
			pthread_detach(c->copier);
			c->fd = -1; /* the thread's, until it ends */
		}
	}
	if (c->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &c->saved);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->copying = c->raw = false;
}
