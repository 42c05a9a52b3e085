/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount_stick.c: a mounted disk's stick is pulled, and comes back at another node and folder. */
/*
 * One thread watches; while the store is detached a second one (regain.c) looks for the stick and
 * may hang on a dead mount, which the first never waits for. Nothing is frozen here: requests fail
 * with EIO until the store has its place again.
 */
#include "mount_stick.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "mounts.h"
#include "regain.h"
#include "size.h"
#include "watch.h"

enum { LOOK_EVERY_MS = 1000, LAST_LOOK_MS = 1000, WAIT_TURN_MS = 100 };

struct mount_stick {
	struct sv_store *store;
	const struct vm *vm;
	bool read_only;
	char *dir; /* the stick's folder now */
	const char *uuid;
	uint64_t place_bytes;
	struct watch_home home;
	struct watch *watch;
	struct regain *regain; /* while the stick is gone */
	atomic_bool stale;
	atomic_bool waits; /* for its stick, without a mount; the thread leaves no words then */
	int over_fd;	   /* readable: the mount has ended */
	pthread_t thread;
};

static bool is_detached(const struct mount_stick *m)
{
	struct sv_status status;

	sv_store_status(m->store, &status);
	return status.state == SV_DETACHED;
}

/* The device that is below the stick now; where it cannot be known, the store's errors tell. */
static void watch_anew(struct mount_stick *m, const char *place)
{
	struct watch_home home;

	watch_free(m->watch);
	m->watch = watch_new(place ? place : m->dir, NULL);
	if (watch_home_of(m->dir, m->uuid, NULL, &home) < 0)
		return;
	watch_home_free(&m->home);
	m->home = home;
}

/* How it stands with a stick that is gone; returns -1. */
static int explain(const struct mount_stick *m, bool at_end, struct err *err)
{
	const char *lost = at_end ? "is lost" : "will be lost";
	struct sv_status status;
	char size[32];

	if (m->stale)
		return err_set(err, EXIT_LOCKED,
			       "%s: the stick was used elsewhere since it was pulled; what was "
			       "written here and not flushed before %s, the disk on the stick is "
			       "whole",
			       m->vm->name, lost);
	sv_store_status(m->store, &status);
	if (!status.dirty_bytes)
		return err_set(err, EXIT_NO_STICK,
			       "%s: the stick was pulled and did not come back; all that was "
			       "written had been flushed to it, but the disk was not closed",
			       m->vm->name);
	return err_set(err, EXIT_NO_STICK,
		       "%s: the stick was pulled and did not come back; what was written and not "
		       "flushed before (up to %s) %s, the disk on the stick is whole",
		       m->vm->name, size_human(status.dirty_bytes, size, sizeof(size)), lost);
}

static void leave_words(const struct mount_stick *m)
{
	struct err err;

	(void)explain(m, false, &err);
	if (!m->read_only && !m->waits) /* it has nothing to lose */
		mounts_leave_words(&err, NULL);
}

static void look_for_stick(struct mount_stick *m)
{
	const struct regain_request request = {
		.store = m->store,
		.home = &m->home,
		.vm_name = m->vm->name,
		.place = m->vm->place,
		.place_bytes = m->place_bytes,
		.read_only = m->read_only,
	};

	leave_words(m);
	if (m->home.dir)
		m->regain = regain_start(&request);
}

static void take_news(struct mount_stick *m)
{
	struct regain_news *news = malloc(sizeof(*news));

	if (!news || !regain_take(m->regain, news)) {
		free(news);
		return;
	}
	m->stale = news->end == REGAIN_STALE;
	if (news->end == REGAIN_STALE)
		leave_words(m);
	if (news->end == REGAIN_BACK) {
		char *dir = news->dir[0] ? strdup(news->dir) : NULL;

		regain_free(m->regain);
		m->regain = NULL;
		mounts_clear_words();
		if (dir) {
			free(m->dir);
			m->dir = dir;
		}
		watch_anew(m, m->vm->place ? news->place : NULL);
	}
	free(news);
}

static void look(struct mount_stick *m)
{
	if (m->regain)
		return;
	if (m->watch && watch_gone(m->watch))
		sv_store_detach(m->store);
	if (is_detached(m))
		look_for_stick(m);
}

/* Waits for what happens, for a second at most; whether the mount has ended. */
static bool wait_a_turn(struct mount_stick *m)
{
	struct pollfd polls[WATCH_POLLS + 2] = {{.fd = m->over_fd, .events = POLLIN},
						{.fd = -1, .events = POLLIN}};
	const size_t watched = m->watch ? watch_polls(m->watch, &polls[2]) : 0;

	if (m->regain)
		polls[1].fd = regain_fd(m->regain);
	poll(polls, 2 + watched, LOOK_EVERY_MS);
	if (watched && watch_pump(m->watch, &polls[2], watched) && m->regain)
		regain_look(m->regain);
	if (m->regain && polls[1].revents)
		take_news(m);
	return polls[0].revents != 0;
}

static void *work(void *arg)
{
	struct mount_stick *m = arg;

	do {
		look(m);
	} while (!wait_a_turn(m));
	return NULL;
}

static void release(struct mount_stick *m)
{
	regain_free(m->regain);
	watch_free(m->watch);
	watch_home_free(&m->home);
	if (m->over_fd >= 0)
		close(m->over_fd);
	free(m->dir);
	free(m);
}

struct mount_stick *mount_stick_start(struct sv_store *store, const struct stick *stick,
				      const struct vm *vm, bool read_only)
{
	struct mount_stick *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->store = store;
	m->vm = vm;
	m->read_only = read_only;
	m->uuid = stick->uuid;
	m->dir = strdup(stick->dir);
	m->over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->place)
		m->place_bytes = watch_node_bytes(vm->place);
	if (m->dir)
		watch_anew(m, vm->place);
	if (!m->dir || m->over_fd < 0 || pthread_create(&m->thread, NULL, work, m) != 0) {
		release(m);
		return NULL;
	}
	return m;
}

/* The stick may have come back since the last look. */
static void look_a_last_time(struct mount_stick *m)
{
	struct pollfd news;

	look(m);
	if (!m->regain || m->stale)
		return;
	news = (struct pollfd){.fd = regain_fd(m->regain), .events = POLLIN};
	regain_look(m->regain);
	if (poll(&news, 1, LAST_LOOK_MS) > 0)
		take_news(m);
}

/* What would be lost if it ended now; 0: nothing, or nothing that can be helped. */
static uint64_t at_stake(const struct mount_stick *m)
{
	struct sv_status status;

	sv_store_status(m->store, &status);
	return status.state == SV_DETACHED && !m->read_only && !m->stale ? status.dirty_bytes : 0;
}

static void say_waits(struct mount_stick *m, const char *dir, uint64_t bytes, struct err *ret_err)
{
	char size[32];

	m->waits = true;
	err_set(ret_err, EXIT_NO_STICK,
		"%s: was unmounted while its stick was gone, and up to %s that were written are "
		"not "
		"on it: process %d keeps them, and ends when the stick is plugged in again",
		m->vm->name, size_human(bytes, size, sizeof(size)), (int)getpid());
	mounts_leave_words(ret_err, dir);
}

void mount_stick_wait(struct mount_stick *m, const char *dir, int give_up_fd,
		      void (*say)(void *ctx, const struct err *err), void *ctx)
{
	struct pollfd end = {.fd = give_up_fd, .events = POLLIN};
	uint64_t bytes;
	struct err err;

	/* A flush shows a pull that nothing has noticed, also a second one. */
	while (m && sv_store_flush(m->store) < 0 && (bytes = at_stake(m)) > 0 &&
	       poll(&end, 1, 0) == 0) {
		say_waits(m, dir, bytes, &err);
		say(ctx, &err);
		while (at_stake(m) > 0 && poll(&end, 1, WAIT_TURN_MS) == 0)
			;
	}
}

int mount_stick_end(struct mount_stick *m, struct stick *stick, struct err *err)
{
	const uint64_t one = 1;
	char *old = stick->dir;
	int rc;

	if (!m)
		return 0;
	(void)!write(m->over_fd, &one, sizeof(one));
	pthread_join(m->thread, NULL);
	sv_store_flush(m->store); /* so that a pull shows which nothing has noticed */
	look_a_last_time(m);
	rc = is_detached(m) ? explain(m, true, err) : 0;
	mounts_clear_words();
	stick->dir = m->dir;
	m->dir = old;
	release(m);
	return rc;
}
