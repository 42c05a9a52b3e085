/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_vars.c: the firmware's variables: QEMU has a copy, the stick gets what changed of it. */
/*
 * QEMU keeps its file of variables open, and a file on a stick that was pulled is dead for as long
 * as QEMU lives. So QEMU is given a copy in the session's folder, and the stick's own file is
 * replaced (whole, atomic) when the copy has changed: after a few seconds, after the stick is back,
 * and at the end.
 *
 *  V1  What is written to the stick is a state that the copy had at one point in time: it is read
 *      only when nothing was written to it for CALM_MS, and again not while it was read.
 *  V2  A thread writes, one at a time, and the session waits for it at its end only: a stick that
 * is dying may hang it. One that hangs long after the stick is back is forgotten; it has all that
 *      it needs, and ends alone.
 *  V3  Nothing is written while the stick is away; the copy has what the guest sets meanwhile. A
 *      stick that is back gets them whether they changed or not: it may have lost what it took
 * last.
 *
 * A state parked on the host needs nothing of this: QEMU saves the flash memory with the machine,
 * and writes all of it to its file when the machine goes on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "file.h"
#include "run_session.h"

enum {
	LOOK_EVERY_MS = 3000,
	CALM_MS = 100,
	STEP_MS = 10,
	END_WAIT_MS = 20000,
	FORGET_MS = 10000,
};

struct vars_job {
	char *target;
	char *bytes;
	size_t count;
	int rc;
	atomic_bool done;
	atomic_uint owners; /* the session and the thread */
};

static void lose_owner(struct vars_job *job)
{
	if (atomic_fetch_sub(&job->owners, 1) > 1)
		return;
	free(job->target);
	free(job->bytes);
	free(job);
}

static void *work(void *arg)
{
	struct vars_job *job = arg;

	job->rc = file_replace(job->target, job->bytes, job->count);
	atomic_store(&job->done, true);
	lose_owner(job);
	return NULL;
}

/* Takes `bytes` over. */
static void write_out(struct session *s, char *bytes, size_t count)
{
	struct vars_job *job = calloc(1, sizeof(*job));
	pthread_t thread;

	if (!job) {
		free(bytes);
		return;
	}
	job->bytes = bytes;
	job->count = count;
	job->target = stick_vm_path(s->req->stick, s->req->vm->name, "uefi-vars.fd");
	atomic_store(&job->owners, 2);
	if (!job->target || pthread_create(&thread, NULL, work, job) != 0) {
		atomic_store(&job->owners, 1);
		lose_owner(job);
		return;
	}
	pthread_detach(thread);
	s->vars.job = job;
}

static int64_t age_ms(const struct stat *st)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)(now.tv_sec - st->st_mtim.tv_sec) * 1000 +
	       (now.tv_nsec - st->st_mtim.tv_nsec) / 1000000;
}

static bool same_time(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* The copy at one point in time (V1); `dead`: nobody writes to it any more. */
static bool read_calm(const char *path, bool dead, char **ret_bytes, size_t *ret_count)
{
	struct stat before, after;
	char *bytes;
	size_t count;

	if (stat(path, &before) < 0)
		return false;
	if (!dead && age_ms(&before) >= 0 && age_ms(&before) < CALM_MS)
		return false;
	if (file_read(path, VARS_MAX_BYTES, &bytes, &count) < 0)
		return false;
	if (stat(path, &after) < 0 || !same_time(&before, &after)) {
		free(bytes);
		return false;
	}
	*ret_bytes = bytes;
	*ret_count = count;
	return true;
}

static void begin(struct session *s, bool dead)
{
	struct vars *v = &s->vars;
	char *bytes;
	size_t count;

	if (v->job || pull_frozen(s) || s->pull.away ||
	    !read_calm(s->req->dir->vars, dead, &bytes, &count))
		return; /* V3 */
	if (!v->unsure && count == v->kept_bytes && memcmp(bytes, v->kept, count) == 0)
		free(bytes);
	else
		write_out(s, bytes, count);
}

static void take_result(struct session *s)
{
	struct vars *v = &s->vars;
	struct vars_job *job = v->job;

	if (!job || !atomic_load(&job->done))
		return;
	v->job = NULL;
	if (job->rc == 0) {
		v->unsure = v->forget_ms != INT64_MAX; /* it may have gone to the stick as it was */
		free(v->kept);
		v->kept = job->bytes;
		v->kept_bytes = job->count;
		job->bytes = NULL;
	} else if (!v->failed && v->forget_ms == INT64_MAX && (s->qemu.ended || !pull_check(s))) {
		session_say(s, "%s: cannot be replaced: %s; %s; it is tried again", job->target,
			    strerror(-job->rc), file_advice(job->rc));
	}
	v->failed = job->rc < 0;
	v->forget_ms = INT64_MAX;
	lose_owner(job);
}

static void forget_job(struct vars *v)
{
	if (v->job)
		lose_owner(v->job);
	v->job = NULL;
	v->forget_ms = INT64_MAX;
}

void vars_init(struct session *s)
{
	struct vars *v = &s->vars;

	v->forget_ms = INT64_MAX;
	if (!s->req->plan->firmware_code ||
	    file_read(s->req->dir->vars, VARS_MAX_BYTES, &v->kept, &v->kept_bytes) < 0)
		v->kept = NULL;
}

void vars_tick(struct session *s)
{
	struct vars *v = &s->vars;

	if (!v->kept || session_now_ms() < v->look_ms)
		return;
	v->look_ms = session_now_ms() + LOOK_EVERY_MS;
	take_result(s);
	if (session_now_ms() >= v->forget_ms)
		forget_job(v);
	begin(s, false);
}

void vars_follow(struct session *s)
{
	struct vars *v = &s->vars;

	v->unsure = true; /* V3 */
	v->look_ms = 0;
	if (v->job)
		v->forget_ms = session_now_ms() + FORGET_MS; /* V2 */
}

static void wait_for_job(struct session *s, int64_t until_ms)
{
	const struct timespec step = {.tv_nsec = STEP_MS * 1000000};

	while (s->vars.job && session_now_ms() < until_ms) {
		take_result(s);
		if (s->vars.job)
			nanosleep(&step, NULL);
	}
}

/* Whether the stick has what the copy has. */
static bool all_kept(const struct session *s)
{
	const struct vars *v = &s->vars;
	char *bytes;
	size_t count;
	bool same;

	if (file_read(s->req->dir->vars, VARS_MAX_BYTES, &bytes, &count) < 0)
		return false;
	same = count == v->kept_bytes && memcmp(bytes, v->kept, count) == 0;
	free(bytes);
	return same;
}

void vars_end(struct session *s)
{
	struct vars *v = &s->vars;
	const int64_t until_ms = session_now_ms() + END_WAIT_MS;

	if (!v->kept)
		return;
	wait_for_job(s, until_ms);
	begin(s, true);
	wait_for_job(s, until_ms);
	if (s->park.state != PARK_DONE && !all_kept(s))
		session_say(s,
			    "%s: what the guest changed of its firmware's variables is not on the "
			    "stick, and is lost",
			    s->req->vm->name);
	forget_job(v);
	free(v->kept);
	v->kept = NULL;
}
