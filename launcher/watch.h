/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watch.h: whether a stick is still there, and where it is when it comes back. */
#ifndef LAUNCHER_WATCH_H
#define LAUNCHER_WATCH_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What of the host is looked at; NULL for all: the host's own. Only tests say otherwise. */
struct watch_host {
	const char *mountinfo; /* "/proc/self/mountinfo" */
	const char *sys;       /* "/sys" */
	const char *dev;       /* "/dev" */
};

/*
 * The leaving of one block device: that below `path`, a folder or a device node. A device is this
 * one only as long as it has its number and its place in the kernel's count of disks, since
 * numbers are used again. Where no device is visible nothing is ever said to be gone; then the
 * store's own errors are what tells.
 */
struct watch;
enum { WATCH_POLLS = 2 };

/* Never fails but without memory (NULL): without udev the device is looked at when asked. */
struct watch *watch_new(const char *path, const struct watch_host *host);
void watch_free(struct watch *watch);
/* At most WATCH_POLLS places for poll(). */
size_t watch_polls(const struct watch *watch, struct pollfd *polls);
/* Takes what came in; whether a disk or a mount came or went. */
bool watch_pump(struct watch *watch, const struct pollfd *polls, size_t count);
/* Cheap: to be asked every second as well. */
bool watch_gone(const struct watch *watch);

/* What a stick's folder is known by, wherever it is mounted next. */
struct watch_home {
	char *dir;    /* where it was seen last; absolute */
	char *inside; /* its path from the root of its own file system, "/" for the whole of it */
	char uuid[40];
};

/* The caller frees with watch_home_free; -1 without memory. */
int watch_home_of(const char *dir, const char *uuid, const struct watch_host *host,
		  struct watch_home *ret_home);
void watch_home_free(struct watch_home *home);

/* Looks at one candidate; true ends the search. */
typedef bool watch_try(void *ctx, const char *path);

/*
 * Calls `try` for each folder that says by its stick.yaml that it is this stick: the one where it
 * was, then the mounts of block devices. True as soon as `try` said so. May block for as long as
 * a dead mount does: not for the thread that has other things to do.
 */
bool watch_each_home(const struct watch_home *home, const struct watch_host *host, watch_try *try,
		     void *ctx);

/* The same for a raw place: the name that it was opened by, then every block device of exactly
 * `size_bytes` (0: none of them). What is on them is the caller's to look at. */
bool watch_each_node(const char *name, uint64_t size_bytes, const struct watch_host *host,
		     watch_try *try, void *ctx);

/* The size of a device node or file; 0: unknown. */
uint64_t watch_node_bytes(const char *path);

#endif
