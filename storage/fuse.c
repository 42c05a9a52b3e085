/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse.c: mounts a disk, runs the threads that serve it, and ends them without losing a request. */

/*
 * Threads. libfuse's own loop (fuse_session_loop_mt) ends idle threads and makes new ones all the
 * time, and must be left by a signal handler; this one is 100 lines:
 *
 * W1  A worker is cancellable in the read of the next request and nowhere else. So every request
 *     that was taken up is answered, and a worker that waits can always be ended. (The functions
 *     that a cancellation unwinds take no address of a local: ASan would see a stale stack.)
 * W2  Workers are made as needed: who takes a request and leaves nobody waiting makes another, up
 *     to max_workers. A flush may last seconds and writes are slowed down when the stick is full;
 *     reads and status.json must go on beside them. A worker stays until the end.
 * W3  Worker i alone uses workers[i], slot i of the ranges and its scratch.
 *
 *   sv_fuse_run:  start worker 0 -> wait for `wake` -> stopping, cancel and join all -> unmount
 *   wake:         posted by sv_fuse_stop, or by a worker whose read said that the mount is gone
 */
#include "fuse_priv.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_WORKERS 16
#define SCRATCH_ALIGN 4096

static _Thread_local char why[256];

static int start_worker(struct sv_fuse *fuse);

/* Waits for one request and answers it. False: this worker is to leave. */
static bool serve_one(struct sv_fuse_worker *worker)
{
	struct sv_fuse *fuse = worker->fuse;
	int len;

	atomic_fetch_add(&fuse->idle, 1);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL); /* W1 */
	len = fuse_session_receive_buf(fuse->session, &worker->request);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	if (atomic_fetch_sub(&fuse->idle, 1) == 1 && len > 0)
		start_worker(fuse); /* W2; if it fails, those that exist go on */
	if (len > 0)
		fuse_session_process_buf(fuse->session, &worker->request);
	if (len > 0 || len == -EINTR || len == -EAGAIN)
		return true;
	if (len < 0) {
		pthread_mutex_lock(&fuse->lock);
		fuse->error = fuse->error ? fuse->error : len;
		pthread_mutex_unlock(&fuse->lock);
	}
	return false;
}

static void *worker_main(void *arg)
{
	struct sv_fuse_worker *worker = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_setspecific(worker->fuse->worker_key, worker);
	while (serve_one(worker))
		;
	sem_post(&worker->fuse->wake);
	return NULL;
}

/* Makes one more worker, with all signals blocked. -EAGAIN, -ENOMEM; 0 also if none may be. */
static int start_worker(struct sv_fuse *fuse)
{
	struct sv_fuse_worker *worker;
	sigset_t all, before;
	int err = 0;

	pthread_mutex_lock(&fuse->lock);
	if (fuse->stopping || fuse->started == fuse->max_workers)
		goto out;
	worker = &fuse->workers[fuse->started];
	worker->fuse = fuse;
	worker->lane.slot = fuse->started; /* W3 */
	if (!worker->lane.scratch &&
	    posix_memalign((void **)&worker->lane.scratch, SCRATCH_ALIGN, SV_FUSE_SCRATCH_BYTES)) {
		err = -ENOMEM;
		goto out;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = -pthread_create(&worker->thread, NULL, worker_main, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!err)
		fuse->started++;
out:
	pthread_mutex_unlock(&fuse->lock);
	return err;
}

static void end_workers(struct sv_fuse *fuse)
{
	unsigned count;

	pthread_mutex_lock(&fuse->lock);
	fuse->stopping = true; /* from here on `started` is fixed */
	count = fuse->started;
	pthread_mutex_unlock(&fuse->lock);
	for (unsigned i = 0; i < count; i++)
		pthread_cancel(fuse->workers[i].thread);
	for (unsigned i = 0; i < count; i++)
		pthread_join(fuse->workers[i].thread, NULL);
}

int sv_fuse_run(struct sv_fuse *fuse)
{
	int err;

	assert(!fuse->started && !fuse->stopping);
	err = start_worker(fuse);
	if (!err)
		while (sem_wait(&fuse->wake) && errno == EINTR)
			;
	end_workers(fuse);
	fuse_session_unmount(fuse->session);
	return err ? err : fuse->error;
}

void sv_fuse_stop(struct sv_fuse *fuse)
{
	sem_post(&fuse->wake);
}

/* libfuse explains its errors only through this process-wide hook. */
static void keep_message(enum fuse_log_level level, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

static void keep_message(enum fuse_log_level level, const char *format, va_list args)
{
	if (level > FUSE_LOG_ERR)
		return;
	vsnprintf(why, sizeof(why), format, args);
	why[strcspn(why, "\n")] = '\0';
}

const char *sv_fuse_why(void)
{
	return why;
}

/* 0, or why nothing can be mounted there. */
static int check_mountpoint(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	int err = 0;

	if (!dir)
		return -errno;
	while (!err && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			err = -ENOTEMPTY;
	closedir(dir);
	return err;
}

static int check_device(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
	close(fd);
	return 0;
}

static int check_name(const char *name)
{
	for (const char *c = name ? name : ""; *c; c++)
		if (*c == ',' || *c == '\\' || (unsigned char)*c < ' ')
			return -EINVAL;
	return name && strlen(name) > 200 ? -EINVAL : 0;
}

/* Makes the session with its mount options; -ENOMEM. */
static int make_session(struct sv_fuse *fuse, const struct sv_fuse_options *opts)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char source[256];
	int err;

	snprintf(source, sizeof(source), "-ofsname=stickvm%s%s", opts->name ? ":" : "",
		 opts->name ? opts->name : "");
	err = fuse_opt_add_arg(&args, "stickvm");
	err |= fuse_opt_add_arg(&args, source);
	err |= fuse_opt_add_arg(&args, "-osubtype=stickvm,default_permissions");
	err |= fuse_opt_add_arg(&args, "-onosuid,nodev,noexec,noatime");
	if (opts->read_only)
		err |= fuse_opt_add_arg(&args, "-oro");
	if (opts->allow_root && geteuid() != 0)
		err |= fuse_opt_add_arg(&args, "-oallow_root");
	if (!err)
		fuse->session = fuse_session_new(&args, &sv_fuse_ops, sizeof(sv_fuse_ops), fuse);
	fuse_opt_free_args(&args);
	return fuse->session ? 0 : -ENOMEM;
}

/* Everything but the mount. What fails half-way is freed by sv_fuse_destroy. */
static int make_fuse(const struct sv_fuse_disk_ops *ops, void *disk,
		     const struct sv_fuse_options *opts, struct sv_fuse **ret_fuse)
{
	struct sv_fuse *fuse = calloc(1, sizeof(*fuse));
	struct sv_status status;
	int err;

	if (!fuse)
		return -ENOMEM;
	pthread_mutex_init(&fuse->lock, NULL);
	sem_init(&fuse->wake, 0, 0);
	err = -pthread_key_create(&fuse->worker_key, NULL);
	if (err) {
		free(fuse);
		return err;
	}
	ops->status(disk, &status);
	fuse->io.ops = ops;
	fuse->io.disk = disk;
	fuse->io.size_bytes = status.size_bytes;
	fuse->uid = geteuid();
	fuse->gid = getegid();
	fuse->read_only = opts->read_only;
	fuse->mounted_s = time(NULL);
	atomic_init(&fuse->changed_s, fuse->mounted_s);
	fuse->max_workers = opts->threads ? opts->threads : DEFAULT_WORKERS;
	fuse->workers = calloc(fuse->max_workers, sizeof(*fuse->workers));
	err = sv_ranges_init(&fuse->io.ranges, fuse->max_workers);
	if (!err)
		err = fuse->workers ? make_session(fuse, opts) : -ENOMEM;
	if (err)
		sv_fuse_destroy(fuse);
	else
		*ret_fuse = fuse;
	return err;
}

int sv_fuse_mount_disk(const struct sv_fuse_disk_ops *ops, void *disk, const char *mountpoint,
		       const struct sv_fuse_options *opts, struct sv_fuse **ret_fuse)
{
	static const struct sv_fuse_options defaults;
	struct sv_fuse *fuse;
	char *path;
	int err;

	why[0] = '\0';
	fuse_set_log_func(keep_message);
	opts = opts ? opts : &defaults;
	err = check_name(opts->name);
	if (!err)
		err = check_mountpoint(mountpoint);
	if (!err)
		err = check_device();
	if (err)
		return err;
	path = realpath(mountpoint, NULL); /* the caller may change its working directory */
	if (!path)
		return -errno;
	err = make_fuse(ops, disk, opts, &fuse);
	if (!err && fuse_session_mount(fuse->session, path)) {
		sv_fuse_destroy(fuse);
		err = -EIO;
	}
	free(path);
	if (!err)
		*ret_fuse = fuse;
	return err;
}

void sv_fuse_destroy(struct sv_fuse *fuse)
{
	if (!fuse)
		return;
	if (fuse->session) {
		fuse_session_unmount(fuse->session);
		fuse_session_destroy(fuse->session);
	}
	for (unsigned i = 0; fuse->workers && i < fuse->max_workers; i++) {
		free(fuse->workers[i].request.mem);
		free(fuse->workers[i].lane.scratch);
	}
	free(fuse->workers);
	sv_ranges_fini(&fuse->io.ranges);
	pthread_key_delete(fuse->worker_key);
	sem_destroy(&fuse->wake);
	pthread_mutex_destroy(&fuse->lock);
	free(fuse);
}
