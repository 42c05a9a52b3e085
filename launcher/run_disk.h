/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_disk.h: a VM's disk for the length of a session: the store, and its file through FUSE. */
#ifndef LAUNCHER_RUN_DISK_H
#define LAUNCHER_RUN_DISK_H

#include <pthread.h>
#include <stdbool.h>

#include "err.h"
#include "stick.h"
#include "stickvm/fuse.h"
#include "stickvm/store.h"
#include "vm.h"

struct run_disk {
	struct sv_store *store; /* NULL: not open */
	struct sv_fuse *fuse;	/* NULL: not mounted */
	pthread_t server;
	bool serving;
	int ended_fd;	  /* readable once the server ended by itself; -1: none */
	bool parked;	  /* what the store has is safe elsewhere: it is dropped, not closed */
	int server_error; /* what it ended with, once joined */
	bool ended_well;  /* the store was closed; `last` is what it said then */
	struct sv_status last;
};

/*
 * Mounts the open store on `mountpoint` and serves it in a thread. The store is the disk's from
 * now on, also on failure, to be closed with run_disk_close. The signals that the caller handles
 * must be blocked already. `hold`: requests wait for a stick that is gone instead of failing.
 */
int run_disk_serve(struct sv_store *store, const char *mountpoint, const char *name, bool hold,
		   struct run_disk *ret_disk, struct err *err);

/* Ends the server, then closes the store: the last byte is on the stick when this returns 0. Takes
 * one that holds nothing. */
int run_disk_close(struct run_disk *disk, const struct vm *vm, struct err *err);
/* Takes the counters of one that ended well into the stick's ledger. */
int run_disk_note(const struct run_disk *disk, struct stick *stick, const struct vm *vm,
		  struct err *err);

#endif
