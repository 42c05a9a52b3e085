/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_park.h: what a session knows of being parked, and of going on from there. */
#ifndef LAUNCHER_RUN_PARK_H
#define LAUNCHER_RUN_PARK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "parked_vm.h"

enum park_state {
	PARK_NOT = 0,
	PARK_SAVING,  /* out of a frozen session */
	PARK_DONE,    /* it is saved; QEMU is told to end */
	PARK_LOADING, /* into a new one; the guest stands still */
};

struct park {
	enum park_state state;
	unsigned client;  /* who asked for it; CONTROL_CLIENTS: nobody is told */
	bool thread_runs; /* the one that carries the bytes */
	pthread_t thread;
	int news_fd;   /* an eventfd, readable when the thread has ended; -1 */
	int socket_fd; /* -1: none; the thread's, but for shutdown() */
	int rc;	       /* of the thread, once joined */
	bool carried;  /* all bytes */
	uint64_t bytes;
	struct park_home home;
	struct parked_words words;
	struct park_writer *writer;
	struct sv_store *store;
	uint8_t key[PARK_KEY_BYTES];
	char socket[108];
	struct park_reader *reader;
};

#endif
