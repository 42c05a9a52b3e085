/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_umount.c: `umount`: end a mount, and wait until its store is closed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "mounts.h"
#include "size.h"
#include "ui.h"
#include "verbs.h"
#include "vm_look.h"

enum { LOOK_EVERY_MS = 1000 };

/* fusermount3 is the set-uid helper through which ordinary users mount; what it would say is for
 * its own command line. 0 or a negative errno. */
static int unmount_as_user(const char *dir)
{
	const char *const argv[] = {"fusermount3", "-u", "-q", "--", dir, NULL};
	posix_spawn_file_actions_t quiet;
	int status = 0;
	pid_t pid;
	int rc = posix_spawn_file_actions_init(&quiet);

	if (rc != 0)
		return -rc;
	posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	/* The cast is the one that the function's old prototype demands; it changes nothing. */
	rc = posix_spawnp(&pid, argv[0], &quiet, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&quiet);
	if (rc != 0)
		return -rc;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

/* A file that was closed a moment ago still counts as open until the kernel has told the server:
 * so "in use" is believed only when it lasts. */
static int unmount_patiently(const char *dir)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	int rc = -EBUSY;

	for (unsigned i = 0; i < 50 && rc == -EBUSY; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		rc = umount2(dir, UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
		if (rc == -EPERM)
			rc = unmount_as_user(dir);
	}
	return rc;
}

/* `uid`: who mounted it. */
static int unmount(const char *dir, uid_t uid, struct err *err)
{
	bool may = geteuid() == 0 || geteuid() == uid;
	int rc = may ? unmount_patiently(dir) : -EPERM;

	if (rc == 0)
		return 0;
	if (rc == -EBUSY)
		return err_set(err, EXIT_LOCKED,
			       "%s: is in use; close what has files of it open "
			       "('fuser -m %s' names it)",
			       dir, dir);
	return err_set(err, EXIT_FAILED,
		       "%s: cannot be unmounted: %s; be the user who mounted "
		       "it, or root",
		       dir, strerror(-rc));
}

/* Whether a process is a stickvm, and whose: numbers of processes are used again. */
static bool is_ours(pid_t pid, uid_t *ret_uid)
{
	char *path = file_path("/proc/%d/comm", (int)pid);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char name[16] = "";
	struct stat st;
	bool ours = false;

	free(path);
	if (fd < 0)
		return false;
	if (read(fd, name, sizeof(name) - 1) > 0 && fstat(fd, &st) == 0) {
		ours = strncmp(name, "stickvm", 7) == 0;
		*ret_uid = st.st_uid;
	}
	close(fd);
	return ours;
}

/* A descriptor that becomes readable when the process ends; -1 where it has ended. */
static int watch(pid_t pid, uid_t *ret_uid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd ended = {.fd = fd, .events = POLLIN};

	/* One that ended and was not reaped yet still has a name. */
	if (fd >= 0 && (!is_ours(pid, ret_uid) || poll(&ended, 1, 0) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Until the process has ended. What it waits for itself is told; one that was told to give that up
 * may have said so just before it heard. */
static void wait_for(const struct args *args, int fd, pid_t pid, uid_t uid)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	bool told = args_has(args, "force");
	struct err words;

	while (poll(&pfd, 1, LOOK_EVERY_MS) <= 0) {
		if (!told && mounts_words(pid, uid, false, &words)) {
			ui_warn(args, "%s", words.text);
			told = true;
		}
	}
}

static void give_up(int fd)
{
	/* Where it has ended meanwhile, there is nothing to tell it. */
	(void)!syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 0);
}

/* A mount whose stick is gone holds what was not written to it, and is not ended without a word.
 * 0 where it may be ended. */
static int refuse_gone(const char *dir, const struct mount_info *info,
		       const struct mount_state *state, uid_t uid, struct err *err)
{
	char size[32];

	if (mounts_words(info->pid, uid, false, err) &&
	    (!state->gone || err->status == EXIT_LOCKED)) {
		const struct err words = *err; /* its server's: where this user cannot look, or
						* where the way back is barred */

		return err_set(err, words.status, "%.300s; 'stickvm umount --force %.100s' ends it",
			       words.text, dir);
	}
	if (!state->gone)
		return 0;
	if (state->unwritten_bytes)
		return err_set(err, EXIT_NO_STICK,
			       "%s: the stick of %s is gone, and up to %s that were written are "
			       "not on it; plug it in again, or give them up with 'stickvm umount "
			       "--force'",
			       dir, info->vm,
			       size_human(state->unwritten_bytes, size, sizeof(size)));
	return err_set(err, EXIT_NO_STICK,
		       "%s: the stick of %s is gone; all that was written had been flushed to it, "
		       "but the disk was not closed; plug it in again, or end it as it is with "
		       "'stickvm umount --force'",
		       dir, info->vm);
}

/* Unmounts, and waits for the serving process, whose last words are the result. */
static int end_mount(const struct args *args, const char *dir, const struct mount_info *info,
		     struct err *err)
{
	struct mount_state state = {0};
	char text[384];
	uid_t uid = geteuid();
	int process = info->pid > 0 ? watch(info->pid, &uid) : -1;
	int rc = 0;

	if (process >= 0 && !args_has(args, "force")) {
		mounts_state(dir, &state);
		rc = refuse_gone(dir, info, &state, uid, err);
	}
	if (rc == 0 && state.rot_blocks)
		ui_warn(args, "%s",
			vm_look_rot_text(info->vm, state.rot_blocks, state.rot_off_bytes, text,
					 sizeof(text)));
	if (rc == 0)
		rc = unmount(dir, uid, err);

	if (rc == 0 && process >= 0 && args_has(args, "force"))
		give_up(process);
	if (rc == 0 && process >= 0)
		wait_for(args, process, info->pid, uid);
	if (rc == 0 && info->pid > 0 && mounts_words(info->pid, uid, true, err))
		rc = -1;
	else if (rc == 0 && info->pid > 0 && process < 0)
		rc = err_set(err, EXIT_FAILED,
			     "%s: its serving process had died; what was not "
			     "flushed may be lost, run 'stickvm check %s'",
			     dir, info->vm);
	if (process >= 0)
		close(process);
	return rc;
}

/* Nothing is mounted there; but perhaps something was, and its process waits for its stick. */
static int end_lost(const struct args *args, const char *dir, struct err *err)
{
	const pid_t pid = mounts_lost(dir);
	struct err words;
	uid_t uid = 0;
	int process = pid ? watch(pid, &uid) : -1;
	int rc;

	if (process < 0)
		return err_set(err, EXIT_FAILED,
			       "%s: no disk of stickvm is mounted here; 'findmnt "
			       "-t fuse.stickvm' lists them",
			       dir);
	if (args_has(args, "force")) {
		give_up(process);
		wait_for(args, process, pid, uid);
		rc = mounts_words(pid, uid, true, err) ? -1 : 0;
	} else {
		if (!mounts_words(pid, uid, false, &words))
			err_set(&words, EXIT_FAILED, "%s: its process is ending", dir);
		rc = err_set(err, words.status,
			     "%.350s; 'stickvm umount --force %.100s' gives them up", words.text,
			     dir);
	}
	close(process);
	return rc;
}

int cmd_umount(const struct args *args)
{
	char *dir = mounts_absolute(args_operand(args, 0));
	struct mount_info info;
	struct err err;
	int rc;

	if (!dir)
		rc = err_set(&err, EXIT_FAILED, "%s: %s", args_operand(args, 0), strerror(errno));
	else if (!mounts_find("/proc/self/mountinfo", dir, &info))
		rc = end_lost(args, dir, &err);
	else if (info.pid == 0)
		rc = err_set(&err, EXIT_LOCKED,
			     "%s: belongs to the running VM %s; end it with "
			     "'stickvm stop %s'",
			     dir, info.vm, info.vm);
	else
		rc = end_mount(args, dir, &info, &err);
	free(dir);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
