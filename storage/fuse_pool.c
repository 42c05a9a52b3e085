/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_pool.c: the threads that serve a mount: few while requests are quick, more when they hang.
 */

/*
 * The kernel wakes the thread that waited longest, so that every waiting thread beyond the first
 * few makes requests slower (a cold stack, a cold core: twice the CPU time with 16 of them, see
 * DESIGN.md). But a flush may last seconds, and writes are slowed down when the stick is full:
 * reads and status.json must go on beside them. So:
 *
 * W1  A worker is cancellable in the read of the next request and nowhere else. So every request
 *     that was taken up is answered, and a worker that waits can always be ended. (The functions
 *     that a cancellation unwinds take no address of a local: ASan would see a stale stack.)
 * W2  base_workers serve. Who takes a request and leaves nobody waiting sets `watching`. While it
 *     is set, sv_fuse_pool_run looks every tick: if nobody waits, nobody took a request since the
 *     last look, and fewer want a processor than there are of them, the others hang in the disk,
 *     and their number is doubled, up to max_workers. (One that only waits for its processor, which
 *     the guest has, would not be helped by others that wait for it, too.) After CALM_TICKS looks
 *     in a row that saw somebody waiting, those beyond the base are told to rest and `watching` is
 *     cleared. An unused mount has no timer running.
 * W3  Worker i alone uses workers[i], slot i of the ranges and its scratch.
 *
 *   worker:  wait for a request -> serve it -> rest if there is a surplus -> wait ...
 *   run:     start the base -> asleep <-> watching -> ending: cancel and join all
 */
#include "fuse_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_WORKERS 16
#define SCRATCH_ALIGN 4096
#define TICK_MS 2
#define CALM_TICKS 50

/* Waits until growth recalls this worker, if there is a surplus of workers. */
static void rest(struct sv_fuse_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	if (atomic_load(&pool->surplus) && !pool->stopping) {
		atomic_fetch_sub(&pool->surplus, 1);
		pool->resting++;
		while (!pool->recall && !pool->stopping)
			pthread_cond_wait(&pool->recalled, &pool->lock);
		pool->resting--;
		if (pool->recall)
			pool->recall--;
	}
	pthread_mutex_unlock(&pool->lock);
}

/* Waits for one request and answers it. False: this worker is to leave. */
static bool serve_one(struct sv_fuse_worker *worker)
{
	struct fuse_session *session = worker->fuse->session;
	struct sv_fuse_pool *pool = &worker->fuse->pool;
	int len;

	atomic_fetch_add(&pool->idle, 1);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL); /* W1 */
	len = fuse_session_receive_buf(session, &worker->request);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	atomic_fetch_add_explicit(&pool->taken, 1, memory_order_relaxed);
	if (atomic_fetch_sub(&pool->idle, 1) == 1 && !atomic_load(&pool->watching)) {
		atomic_store(&pool->watching, true); /* W2 */
		sem_post(&pool->wake);
	}
	if (len > 0)
		fuse_session_process_buf(session, &worker->request);
	if (atomic_load_explicit(&pool->surplus, memory_order_relaxed))
		rest(pool);
	if (len > 0 || len == -EINTR || len == -EAGAIN)
		return true;
	if (len < 0) {
		pthread_mutex_lock(&pool->lock);
		pool->error = pool->error ? pool->error : len;
		pthread_mutex_unlock(&pool->lock);
	}
	return false;
}

static void *worker_main(void *arg)
{
	struct sv_fuse_worker *worker = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	atomic_store(&worker->tid, gettid());
	pthread_setspecific(worker->fuse->pool.worker_key, worker);
	while (serve_one(worker))
		;
	sv_fuse_pool_end(&worker->fuse->pool);
	return NULL;
}

/* Makes one more worker, with all signals blocked. -EAGAIN, -ENOMEM. */
static int start_worker(struct sv_fuse *fuse)
{
	struct sv_fuse_pool *pool = &fuse->pool;
	struct sv_fuse_worker *worker = &pool->workers[pool->started];
	sigset_t all, before;
	int err;

	assert(pool->started < pool->max_workers);
	worker->fuse = fuse;
	worker->lane.slot = pool->started; /* W3 */
	if (!worker->lane.scratch &&
	    posix_memalign((void **)&worker->lane.scratch, SCRATCH_ALIGN, SV_FUSE_SCRATCH_BYTES))
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&worker->thread, NULL, worker_main, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!err)
		pool->started++;
	return err;
}

/* Recalls or makes up to `count` workers. If none can be made, those that exist go on. */
static void grow(struct sv_fuse *fuse)
{
	struct sv_fuse_pool *pool = &fuse->pool;
	unsigned count;

	pthread_mutex_lock(&pool->lock);
	atomic_store(&pool->surplus, 0);
	count = pool->started - pool->resting;
	for (; count; count--) {
		if (pool->resting > pool->recall)
			pool->recall++;
		else if (pool->started == pool->max_workers || start_worker(fuse))
			break;
	}
	pthread_cond_broadcast(&pool->recalled);
	pthread_mutex_unlock(&pool->lock);
}

static void shrink(struct sv_fuse_pool *pool)
{
	unsigned active;

	pthread_mutex_lock(&pool->lock);
	active = pool->started - pool->resting;
	if (active > pool->base_workers)
		atomic_store(&pool->surplus, active - pool->base_workers);
	pthread_mutex_unlock(&pool->lock);
}

static void sleep_tick(struct sv_fuse_pool *pool)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += TICK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	while (!atomic_load(&pool->ending) &&
	       (!sem_clockwait(&pool->wake, CLOCK_MONOTONIC, &until) || errno == EINTR))
		;
}

/* Whether a thread runs or is ready to. Where the host does not say: no. */
static bool wants_cpu(pid_t tid)
{
	char path[64], text[128];
	const char *state;
	ssize_t len = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[len > 0 ? len : 0] = '\0';
	state = strrchr(text, ')'); /* proc(5): the name before may hold anything but is short */
	return state && strncmp(state, ") R", 3) == 0;
}

/* W2: whether more of them could do more. */
static bool hangs(struct sv_fuse_pool *pool)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < pool->started; i++) /* only this thread starts any */
		busy += wants_cpu(atomic_load(&pool->workers[i].tid));
	return busy < pool->base_workers;
}

/* W2, from the time when nobody waited until things are calm. */
static void watch(struct sv_fuse *fuse)
{
	struct sv_fuse_pool *pool = &fuse->pool;
	unsigned seen = atomic_load(&pool->taken);
	unsigned calm = 0;

	while (calm < CALM_TICKS && !atomic_load(&pool->ending)) {
		unsigned taken;

		sleep_tick(pool);
		taken = atomic_load(&pool->taken);
		if (atomic_load(&pool->idle)) {
			calm++;
		} else {
			calm = 0;
			if (taken == seen && hangs(pool))
				grow(fuse);
		}
		seen = taken;
	}
	shrink(pool);
	atomic_store(&pool->watching, false);
	if (!atomic_load(&pool->idle)) /* taken before the line above, by one who saw it set */
		atomic_store(&pool->watching, true);
}

static void end_workers(struct sv_fuse_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->recalled);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->started; i++)
		pthread_cancel(pool->workers[i].thread);
	for (unsigned i = 0; i < pool->started; i++)
		pthread_join(pool->workers[i].thread, NULL);
}

int sv_fuse_pool_run(struct sv_fuse *fuse)
{
	struct sv_fuse_pool *pool = &fuse->pool;
	int err = 0;

	assert(!pool->started && !pool->stopping);
	while (!err && pool->started < pool->base_workers)
		err = start_worker(fuse);
	while (!err && !atomic_load(&pool->ending)) {
		if (atomic_load(&pool->watching))
			watch(fuse);
		else
			sem_wait(&pool->wake); /* EINTR is as good as a ring */
	}
	end_workers(pool);
	return err ? err : pool->error;
}

void sv_fuse_pool_end(struct sv_fuse_pool *pool)
{
	atomic_store(&pool->ending, true);
	sem_post(&pool->wake);
}

/* As many as there are CPUs to run on, four at most: what hangs is the watch's business. */
static unsigned base_workers(unsigned max_workers)
{
	cpu_set_t cpus;
	unsigned count = 2;

	if (!sched_getaffinity(0, sizeof(cpus), &cpus))
		count = (unsigned)CPU_COUNT(&cpus);
	count = count > 4 ? 4 : count;
	return count < max_workers ? count : max_workers;
}

int sv_fuse_pool_init(struct sv_fuse_pool *pool, unsigned max_workers)
{
	int err = -pthread_key_create(&pool->worker_key, NULL);

	if (err)
		return err;
	pool->max_workers = max_workers ? max_workers : DEFAULT_WORKERS;
	pool->base_workers = base_workers(pool->max_workers);
	pool->workers = calloc(pool->max_workers, sizeof(*pool->workers));
	if (!pool->workers) {
		pthread_key_delete(pool->worker_key);
		return -ENOMEM;
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->recalled, NULL);
	sem_init(&pool->wake, 0, 0);
	return 0;
}

void sv_fuse_pool_fini(struct sv_fuse_pool *pool)
{
	if (!pool->workers)
		return;
	for (unsigned i = 0; i < pool->max_workers; i++) {
		free(pool->workers[i].request.mem);
		free(pool->workers[i].lane.scratch);
	}
	free(pool->workers);
	pool->workers = NULL;
	pthread_key_delete(pool->worker_key);
	pthread_cond_destroy(&pool->recalled);
	pthread_mutex_destroy(&pool->lock);
	sem_destroy(&pool->wake);
}
