/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_hold.c: requests that wait for the stick to come back, without a thread each. */

/*
 * A request that the disk answers with -ENODEV is put aside here as it came, its data copied, and
 * the worker goes on. One thread tries those requests again, in the order in which they came, once
 * the disk is no longer detached. To the client nothing happened but time.
 *
 * H1  A request is answered once: by who took it up, or, if it was put aside, by the holder.
 * H2  Trying a request again does no harm: it was not answered, so nobody may rely on its order
 *     with any other that is under way.
 * H3  `released` is set by sv_fuse_release_held and cleared when the disk is attached again;
 *     while it is set, nothing is held.
 *
 *   held --attached--> tried --done--> answered
 *     ^                   |-- -ENODEV--> held, in its old place
 *     '--released, or the end--> answered with EIO
 */
#include "fuse_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_MS 20

struct held {
	struct sv_fuse_request request;
	struct held *next;
	char data[]; /* of a write */
};

static bool is_detached(struct sv_fuse *fuse)
{
	struct sv_status status;

	fuse->io.ops->status(fuse->io.disk, &status);
	return status.state == SV_DETACHED;
}

bool sv_fuse_holds(struct sv_fuse *fuse)
{
	struct sv_fuse_holder *holder = &fuse->holder;
	bool holds;

	if (!holder->enabled)
		return false;
	pthread_mutex_lock(&holder->lock);
	holds = holder->running && !holder->released && !holder->ending;
	pthread_mutex_unlock(&holder->lock);
	return holds;
}

void sv_fuse_hold(struct sv_fuse *fuse, const struct sv_fuse_request *request)
{
	struct sv_fuse_holder *holder = &fuse->holder;
	size_t bytes = request->kind == SV_FUSE_WRITE ? request->len_bytes : 0;
	struct held *held = malloc(sizeof(*held) + bytes);
	bool late;

	if (!held) {
		sv_fuse_reply(request->req, -ENOMEM);
		return;
	}
	*held = (struct held){.request = *request};
	if (bytes) {
		memcpy(held->data, request->data, bytes);
		held->request.data = held->data;
	}
	pthread_mutex_lock(&holder->lock);
	late = holder->released || holder->ending;
	if (!late) {
		*holder->tail = held;
		holder->tail = &held->next;
		pthread_cond_signal(&holder->changed);
	}
	pthread_mutex_unlock(&holder->lock);
	if (late) {
		sv_fuse_reply(request->req, -EIO);
		free(held);
	}
}

/* With the lock held, as all of the following. */
static struct held *pop(struct sv_fuse_holder *holder)
{
	struct held *held = holder->first;

	holder->first = held->next;
	if (!holder->first)
		holder->tail = &holder->first;
	return held;
}

static void push_back(struct sv_fuse_holder *holder, struct held *held)
{
	held->next = holder->first;
	if (!holder->first)
		holder->tail = &held->next;
	holder->first = held;
}

static void fail_all(struct sv_fuse_holder *holder)
{
	while (holder->first) {
		struct held *held = pop(holder);

		sv_fuse_reply(held->request.req, -EIO);
		free(held);
	}
}

static void try_first(struct sv_fuse *fuse)
{
	struct sv_fuse_holder *holder = &fuse->holder;
	struct held *held = pop(holder);
	bool answered;

	pthread_mutex_unlock(&holder->lock);
	answered = sv_fuse_try(fuse, &holder->lane, &held->request, true);
	if (answered)
		free(held);
	pthread_mutex_lock(&holder->lock);
	if (!answered)
		push_back(holder, held);
}

static void look_later(struct sv_fuse_holder *holder)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_cond_timedwait(&holder->changed, &holder->lock, &until);
}

static void *holder_main(void *arg)
{
	struct sv_fuse *fuse = arg;
	struct sv_fuse_holder *holder = &fuse->holder;

	pthread_mutex_lock(&holder->lock);
	while (!holder->ending) {
		if (!holder->first && !holder->released) {
			pthread_cond_wait(&holder->changed, &holder->lock);
			continue;
		}
		if (holder->released)
			fail_all(holder);
		if (is_detached(fuse)) {
			look_later(holder);
			continue;
		}
		holder->released = false; /* H3 */
		if (holder->first)
			try_first(fuse);
	}
	fail_all(holder);
	pthread_mutex_unlock(&holder->lock);
	return NULL;
}

int sv_fuse_holder_start(struct sv_fuse *fuse)
{
	struct sv_fuse_holder *holder = &fuse->holder;
	sigset_t all, before;
	int err;

	if (!holder->enabled)
		return 0;
	if (posix_memalign((void **)&holder->lane.scratch, 4096, SV_FUSE_SCRATCH_BYTES))
		return -ENOMEM;
	holder->lane.slot = fuse->pool.max_workers;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&holder->thread, NULL, holder_main, fuse);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	holder->running = err == 0;
	return err;
}

void sv_fuse_holder_stop(struct sv_fuse *fuse)
{
	struct sv_fuse_holder *holder = &fuse->holder;

	if (!holder->running)
		return;
	pthread_mutex_lock(&holder->lock);
	holder->ending = true;
	pthread_cond_signal(&holder->changed);
	pthread_mutex_unlock(&holder->lock);
	pthread_join(holder->thread, NULL);
	holder->running = false;
}

void sv_fuse_holder_init(struct sv_fuse_holder *holder, bool enabled)
{
	holder->enabled = enabled;
	holder->tail = &holder->first;
	pthread_mutex_init(&holder->lock, NULL);
	pthread_cond_init(&holder->changed, NULL);
}

void sv_fuse_holder_fini(struct sv_fuse_holder *holder)
{
	if (!holder->tail)
		return;
	free(holder->lane.scratch);
	pthread_cond_destroy(&holder->changed);
	pthread_mutex_destroy(&holder->lock);
}

void sv_fuse_release_held(struct sv_fuse *fuse)
{
	struct sv_fuse_holder *holder = &fuse->holder;

	if (!holder->enabled)
		return;
	pthread_mutex_lock(&holder->lock);
	holder->released = true;
	pthread_cond_signal(&holder->changed);
	pthread_mutex_unlock(&holder->lock);
}
