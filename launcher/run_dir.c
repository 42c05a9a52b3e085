/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_dir.c: finds, makes, empties and removes the folder of a running VM. */
/*
 * Sockets cannot lie on the stick: FAT and exFAT have none. They lie in the user's own run-time
 * folder, in a folder named by the VM's UUID, so that another process finds a session without
 * asking the stick. In /tmp the folder must be one that nobody else can have made or can change:
 * it is made with mkdir (never followed), and its owner and mode are checked.
 */
#include "run_dir.h"

#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct base {
	char path[RUN_PATH_BYTES];
};

/* Whether sessions can be kept below `path`: a folder of ours that others cannot write to. */
static bool private_folder(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	       (st.st_mode & 022) == 0 && access(path, W_OK | X_OK) == 0;
}

/* The longest name in a session's folder, with its slash and NUL. */
enum { LONGEST_NAME = sizeof "/control.sock" };

/* "PARENT/stickvm"; false where it would be too long for a socket. */
static bool base_below(const char *parent, const char *uuid, struct base *ret_base)
{
	int len = snprintf(ret_base->path, sizeof ret_base->path, "%s/stickvm", parent);

	return len > 0 && (size_t)len + 1 + strlen(uuid) + LONGEST_NAME <= RUN_PATH_BYTES;
}

static bool pick_base(const char *uuid, struct base *ret_base)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char run_user[64];

	if (xdg && xdg[0] == '/' && private_folder(xdg) && base_below(xdg, uuid, ret_base))
		return true;
	snprintf(run_user, sizeof run_user, "/run/user/%u", (unsigned)geteuid());
	if (private_folder(run_user) && base_below(run_user, uuid, ret_base))
		return true;
	snprintf(ret_base->path, sizeof ret_base->path, "/tmp/stickvm-%u", (unsigned)geteuid());
	return access("/tmp", W_OK) == 0;
}

static int join(char ret_path[RUN_PATH_BYTES], const char *dir, const char *name)
{
	return snprintf(ret_path, RUN_PATH_BYTES, "%s/%s", dir, name) < RUN_PATH_BYTES ? 0 : -1;
}

int run_dir_name(const char *uuid, struct run_dir *ret_dir, struct err *err)
{
	struct base base;
	struct run_dir d;

	if (!pick_base(uuid, &base))
		return err_set(err, EXIT_FAILED,
			       "run-time folder: neither $XDG_RUNTIME_DIR nor /tmp can be written; "
			       "set XDG_RUNTIME_DIR to a folder of yours");
	if (join(d.dir, base.path, uuid) < 0 || join(d.mount, d.dir, "disk") < 0 ||
	    join(d.disk, d.mount, "disk.raw") < 0 || join(d.control, d.dir, "control.sock") < 0 ||
	    join(d.qmp, d.dir, "qmp.sock") < 0 || join(d.agent, d.dir, "agent.sock") < 0 ||
	    join(d.serial, d.dir, "serial.sock") < 0 || join(d.screen, d.dir, "screen.sock") < 0 ||
	    join(d.park, d.dir, "park.sock") < 0 || join(d.vars, d.dir, "vars.fd") < 0 ||
	    join(d.log, d.dir, "run.log") < 0)
		return err_set(err, EXIT_FAILED, "%s: the path is too long for sockets", base.path);
	*ret_dir = d;
	return 0;
}

static int make_private(const char *path, struct err *err)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return err_set(err, EXIT_FAILED, "%s: cannot be made: %s", path, strerror(errno));
	if (!private_folder(path))
		return err_set(err, EXIT_FAILED,
			       "%s: is not a private folder of this user; remove it", path);
	return 0;
}

/* As an ordinary user through the set-uid helper. */
static void run_fusermount(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "-q", path, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static bool is_mounted(const char *path)
{
	struct stat at, above;
	char parent[RUN_PATH_BYTES];

	/* The mount of a killed daemon cannot even be looked at. */
	if (lstat(path, &at) < 0)
		return errno == ENOTCONN || errno == EIO;
	snprintf(parent, sizeof parent, "%s", path);
	*strrchr(parent, '/') = '\0';
	return lstat(parent, &above) == 0 && at.st_dev != above.st_dev;
}

static void unmount_dead(const char *path)
{
	if (!is_mounted(path))
		return;
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		run_fusermount(path);
}

static void empty(const struct run_dir *dir)
{
	const char *const files[] = {dir->control, dir->qmp,  dir->agent, dir->serial,
				     dir->screen,  dir->park, dir->vars};

	unmount_dead(dir->mount);
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		unlink(files[i]);
	rmdir(dir->mount);
}

int run_dir_make(const struct run_dir *dir, struct err *err)
{
	char base[RUN_PATH_BYTES];

	snprintf(base, sizeof base, "%s", dir->dir);
	*strrchr(base, '/') = '\0';
	if (make_private(base, err) < 0 || make_private(dir->dir, err) < 0)
		return -1;
	empty(dir);
	unlink(dir->log);
	return make_private(dir->mount, err);
}

void run_dir_remove(const struct run_dir *dir)
{
	empty(dir);
	rmdir(dir->dir); /* stays where there is a log */
}

static int try_path(const char *parent, const char *uuid, int (*found)(void *ctx, const char *path),
		    void *ctx)
{
	char path[RUN_PATH_BYTES];

	if (snprintf(path, sizeof path, "%s/%s/control.sock", parent, uuid) >= (int)sizeof path)
		return -1;
	return access(path, F_OK) == 0 ? found(ctx, path) : -1;
}

int run_dir_find_control(const char *uuid, int (*found)(void *ctx, const char *path), void *ctx)
{
	static const char *const patterns[] = {"/run/user/*/stickvm", "/tmp/stickvm-*"};
	struct base base;
	glob_t matches = {0};
	int rc = -1;

	if (pick_base(uuid, &base))
		rc = try_path(base.path, uuid, found, ctx);
	for (size_t i = 0; rc < 0 && i < sizeof patterns / sizeof patterns[0]; i++)
		glob(patterns[i], i ? GLOB_APPEND : 0, NULL, &matches);
	for (size_t i = 0; rc < 0 && i < matches.gl_pathc; i++)
		rc = try_path(matches.gl_pathv[i], uuid, found, ctx);
	globfree(&matches);
	return rc;
}

int run_dir_each_control(int (*found)(void *ctx, const char *path), void *ctx)
{
	static const char *const patterns[] = {"/run/user/*/stickvm/*/control.sock",
					       "/tmp/stickvm-*/*/control.sock"};
	char own[RUN_PATH_BYTES + 32];
	struct base base;
	glob_t matches = {0};
	int rc = -1;

	if (pick_base("", &base)) {
		snprintf(own, sizeof own, "%s/*/control.sock", base.path);
		glob(own, 0, NULL, &matches);
	}
	for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
		glob(patterns[i], matches.gl_pathv ? GLOB_APPEND : 0, NULL, &matches);
	for (size_t i = 0; rc < 0 && i < matches.gl_pathc; i++)
		rc = found(ctx, matches.gl_pathv[i]);
	globfree(&matches);
	return rc;
}
