/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_console.h: the guest's serial port on standard input and output. */
#ifndef LAUNCHER_RUN_CONSOLE_H
#define LAUNCHER_RUN_CONSOLE_H

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

#include "err.h"

/* What the user chose in the menu that Ctrl-] opens. */
enum console_key {
	CONSOLE_NOTHING = 0,
	CONSOLE_POWER_OFF,
	CONSOLE_KILL,
	CONSOLE_RETRY,
};

enum { CONSOLE_PENDING_BYTES = 256, CONSOLE_POLLS = 2 };

struct console {
	int listen_fd; /* QEMU connects here; -1: done */
	int fd;	       /* to QEMU; -1: not connected, or ended */
	bool terminal; /* raw mode, and Ctrl-] is ours */
	bool input;    /* standard input has not ended */
	bool menu;     /* the next key is for us */
	bool raw;      /* `saved` is to be put back */
	struct termios saved;
	pthread_t copier; /* QEMU to standard output */
	bool copying;
	char pending[CONSOLE_PENDING_BYTES]; /* typed, not yet taken by QEMU */
	size_t pending_len;
};

/* Listens for QEMU on `path`. Standard input must be open. */
int console_listen(const char *path, bool terminal, struct console *ret_console, struct err *err);

/* At most CONSOLE_POLLS places for poll(). */
size_t console_polls(const struct console *console, struct pollfd *polls);
/* Takes the connection, copies what was typed, and tells what the menu chose. */
enum console_key console_pump(struct console *console, const struct pollfd *polls, size_t count);

/* Waits until everything that the guest printed is out, at most `timeout_ms`, and puts the
 * terminal back. Takes one that never listened (listen_fd and fd -1). */
void console_end(struct console *console, unsigned timeout_ms);

#endif
