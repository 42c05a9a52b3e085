/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_mount.c: `mount`: a VM's disk as the file DIR/disk.raw.
 *
 * The serving process forks before it opens the store, because threads do not survive a fork. It
 * tells its parent through a pipe how the start went, a `struct err` with EXIT_DONE for "served";
 * the parent prints and returns. An end of the pipe without one means that it died.
 *
 * A stick that is pulled meanwhile makes the disk say EIO; plugged in again, wherever it is mounted
 * then, it goes on (mount_stick.c). What ends the mount meanwhile without asking (umount(8), a
 * signal) does not end the process: it keeps what is not on the stick until that is back, or it is
 * told to give up, by SIGUSR1 (`umount --force`) or by another signal.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "carry.h"
#include "consent.h"
#include "mount_stick.h"
#include "mounts.h"
#include "stickvm/fuse.h"
#include "ui.h"
#include "verbs.h"
#include "vm_cache.h"
#include "vm_pick.h"
#include "vm_store.h"

/* A mount for its whole life. */
struct serving {
	const struct args *args;
	struct vm_pick pick;
	char *dir; /* absolute */
	int tell;  /* the parent's pipe; -1: none (--foreground) */
	struct sv_store *store;
	struct sv_fuse *fuse;
	struct mount_stick *pulls; /* NULL: nothing looks after the stick */
	int give_up_fd;		   /* readable: what is not on the stick is given up */
	atomic_bool over;	   /* nothing is mounted any more */
};

static int fail_dir(struct err *err, const char *dir, int rc)
{
	return err_set(err, EXIT_FAILED, "%s: %s; name an empty folder to mount on", dir,
		       strerror(-rc));
}

/* An early look, so that most mistakes cost no session of the store. */
static int check_dir(const char *dir, struct err *err)
{
	const struct dirent *de;
	DIR *folder = opendir(dir);
	bool empty = true;

	if (!folder)
		return fail_dir(err, dir, -errno);
	while (empty && (de = readdir(folder)))
		empty = strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0;
	closedir(folder);
	return empty ? 0 : fail_dir(err, dir, -ENOTEMPTY);
}

static int fail_mount(struct err *err, const char *dir, int rc)
{
	const char *why = sv_fuse_why();

	switch (rc) {
	case -ENODEV:
		return err_set(err, EXIT_FAILED,
			       "%s: this host has no FUSE; load it with 'modprobe "
			       "fuse' (as root)",
			       dir);
	case -EACCES:
	case -EPERM:
		return err_set(err, EXIT_FAILED,
			       "%s: mounting is not permitted%s%s; own the "
			       "folder and have fusermount3, or be root",
			       dir, *why ? ": " : "", why);
	case -ENOENT:
	case -ENOTDIR:
	case -ENOTEMPTY:
		return fail_dir(err, dir, rc);
	default:
		return err_set(err, EXIT_FAILED, "%s: cannot be mounted: %s; choose another folder",
			       dir, *why ? why : strerror(-rc));
	}
}

/* What opening found that the user should know; the terminal is still there. */
static void warn_recovery(const struct serving *s)
{
	const char *name = s->pick.vm.name;
	struct sv_recovery found;
	char host[64];

	sv_store_recovery(s->store, &found);
	vm_store_host(host);
	if (!found.clean && found.last_host[0] && strcmp(found.last_host, host) != 0)
		ui_warn(s->args,
			"%s: its last session, on %s, did not end cleanly; what was not flushed "
			"there is missing",
			name, found.last_host);
	if (found.lost_flushed_batches > 0)
		ui_warn(s->args,
			"%s: the stick lost %llu flushed batches; this is the newest state that "
			"survived",
			name, (unsigned long long)found.lost_flushed_batches);
	if (found.bad_blocks > 0)
		ui_warn(s->args, "%s: %llu blocks are damaged and give errors; see 'stickvm check'",
			name, (unsigned long long)found.bad_blocks);
}

static int start(struct serving *s, struct err *err)
{
	bool read_only = args_has(s->args, "read-only");
	const struct measured *m = &s->pick.stick.measured;
	struct sv_open_options open_opts = {
		.read_only = read_only,
		.boot_set = true,
		.unit_bytes = measured_unit_bytes(m->read_rate, m->random_read_us),
	};
	struct sv_fuse_options opts = {.read_only = read_only,
				       .allow_root = args_has(s->args, "allow-root")};
	struct vm_cache cache;
	char name[96];
	int rc;

	rc = vm_cache_options(&s->pick.stick, &s->pick.vm, args_text(s->args, "cache", NULL),
			      read_only, &cache, &open_opts, err);
	if (rc == 0)
		rc = vm_store_open(&s->pick.stick, &s->pick.vm, &open_opts, &s->store, err);
	vm_cache_free(&cache);
	if (rc < 0)
		return -1;
	warn_recovery(s);
	snprintf(name, sizeof(name), "%s#%d", s->pick.vm.name, (int)getpid());
	opts.name = name;
	rc = sv_fuse_mount(s->store, s->dir, &opts, &s->fuse);
	if (rc == 0)
		return 0;
	fail_mount(err, s->dir, rc);
	sv_store_abandon(s->store);
	s->store = NULL;
	return -1;
}

/* The ones that end it. */
static void end_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGHUP);
	sigaddset(ret_set, SIGUSR1);
}

static void *wait_for_signals(void *arg)
{
	struct serving *s = arg;
	const uint64_t one = 1;
	sigset_t ends;
	int got;

	end_signals(&ends);
	for (;;) {
		sigwait(&ends, &got); /* a point where the thread can be cancelled */
		if ((s->over || got == SIGUSR1) &&
		    write(s->give_up_fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
			continue; /* it was told already */
		if (!s->over && got != SIGUSR1)
			sv_fuse_stop(s->fuse);
	}
	return NULL;
}

/* Before any thread is made, so that only wait_for_signals gets them. */
static void block_signals(void)
{
	sigset_t ends;

	end_signals(&ends);
	sigprocmask(SIG_BLOCK, &ends, NULL);
}

/* There is no terminal any more, but for --foreground. */
static void say_waiting(void *ctx, const struct err *err)
{
	const struct serving *s = ctx;

	if (s->tell < 0)
		ui_warn(s->args, "%s; Ctrl-C gives them up", err->text);
	else
		syslog(LOG_USER | LOG_WARNING, "%s", err->text);
}

static int close_disk(struct serving *s, struct err *err)
{
	struct err pulled;
	const bool gone = mount_stick_end(s->pulls, &s->pick.stick, &pulled) < 0;
	const int rc = vm_store_close(&s->pick.stick, &s->pick.vm, s->store, err);

	if (!gone && rc < 0 && err->status == EXIT_NO_STICK)
		return err_set(err, EXIT_NO_STICK,
			       "%s: the stick was pulled; all that was written had been flushed "
			       "to it, but it was not left in order; plug it in again",
			       s->pick.vm.name);
	if (!gone)
		return rc;
	*err = pulled;
	return args_has(s->args, "read-only") ? 0 : -1;
}

/* Serves until the end, and closes the store: the last byte is on the stick afterwards. */
static int serve(struct serving *s, struct err *err)
{
	pthread_t watcher;
	bool watched;
	int served, rc;

	s->give_up_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	watched = pthread_create(&watcher, NULL, wait_for_signals, s) == 0;
	s->pulls = mount_stick_start(s->store, &s->pick.stick, &s->pick.vm,
				     args_has(s->args, "read-only"));
	served = sv_fuse_run(s->fuse);
	s->over = true;
	if (watched && s->give_up_fd >= 0)
		mount_stick_wait(s->pulls, s->dir, s->give_up_fd, say_waiting, s);

	if (watched) {
		pthread_cancel(watcher);
		pthread_join(watcher, NULL);
	}
	if (s->give_up_fd >= 0)
		close(s->give_up_fd);
	rc = close_disk(s, err);
	sv_fuse_destroy(s->fuse);
	if (rc == 0 && served < 0)
		rc = err_set(err, EXIT_FAILED,
			     "%s: the mount ended: %s; the disk was closed "
			     "cleanly",
			     s->dir, strerror(-served));
	return rc;
}

static void tell_parent(const struct serving *s, const struct err *err)
{
	if (s->tell >= 0 && write(s->tell, err, sizeof(*err)) != (ssize_t)sizeof(*err))
		return; /* the parent was killed; the mount stands all the same */
}

/* The serving process keeps no terminal and no folder busy. */
static void detach(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (chdir("/") < 0)
		return;
}

static int run_foreground(struct serving *s)
{
	struct err err;

	s->tell = -1;
	block_signals();
	if (start(s, &err) < 0)
		return ui_fail(s->args, &err);
	printf("%s/disk.raw is the disk of %s. End with: stickvm umount %s\n", s->dir,
	       s->pick.vm.name, s->dir);
	fflush(stdout);
	return serve(s, &err) < 0 ? ui_fail(s->args, &err) : EXIT_DONE;
}

static int run_child(struct serving *s)
{
	struct err err = {.status = EXIT_DONE};

	setsid();
	block_signals();
	if (start(s, &err) < 0) {
		tell_parent(s, &err);
		return err.status;
	}
	tell_parent(s, &err);
	close(s->tell);
	detach();
	if (serve(s, &err) == 0)
		return EXIT_DONE;
	mounts_leave_words(&err, NULL);
	return err.status;
}

static int hear_child(const struct args *args, int from, pid_t child)
{
	struct err err;
	ssize_t got;

	do {
		got = read(from, &err, sizeof(err));
	} while (got < 0 && errno == EINTR);
	if (got == (ssize_t)sizeof(err) && err.status == EXIT_DONE)
		return EXIT_DONE;
	if (got != (ssize_t)sizeof(err))
		err_set(&err, EXIT_FAILED,
			"the serving process died; run 'stickvm check', and "
			"'stickvm mount --foreground' to see more");
	waitpid(child, NULL, 0);
	return ui_fail(args, &err);
}

static int run_daemon(struct serving *s)
{
	struct err err;
	int ends[2];
	pid_t child;
	int status;

	fflush(stdout);
	if (pipe2(ends, O_CLOEXEC) < 0 || (child = fork()) < 0) {
		err_set(&err, EXIT_FAILED, "no process can be made: %s; end some others",
			strerror(errno));
		return ui_fail(s->args, &err);
	}
	if (child == 0) {
		close(ends[0]);
		s->tell = ends[1];
		return run_child(s);
	}
	close(ends[1]);
	status = hear_child(s->args, ends[0], child);
	close(ends[0]);
	return status;
}

int cmd_mount(const struct args *args)
{
	struct serving s = {.args = args, .tell = -1};
	struct err err;
	int status;

	if (check_dir(args_operand(args, 1), &err) < 0 ||
	    vm_pick(args, args_operand(args, 0), &s.pick, &err) < 0)
		return ui_fail(args, &err);
	if (consent_ask(args, &s.pick.stick, &s.pick.vm, NULL, &err) < 0 ||
	    carry_self(s.pick.stick.dir, args->program, &err) < 0) {
		vm_pick_free(&s.pick);
		return ui_fail(args, &err);
	}
	prctl(PR_SET_NAME, "stickvm"); /* umount looks for it; a loader's name stands there else */
	s.dir = realpath(args_operand(args, 1), NULL);
	if (!s.dir) {
		fail_dir(&err, args_operand(args, 1), -errno);
		status = ui_fail(args, &err);
	} else if (args_has(args, "foreground")) {
		status = run_foreground(&s);
	} else {
		status = run_daemon(&s);
	}
	free(s.dir);
	vm_pick_free(&s.pick);
	return status;
}
