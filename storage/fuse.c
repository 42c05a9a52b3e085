/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse.c: mounts a disk, runs the threads that serve it, and ends them without losing a request. */

/*
 * A mount is a libfuse session (what the kernel is told at mount time), a pool of threads
 * (fuse_pool.c), requests put aside (fuse_hold.c) and the operations (fuse_ops.c, fuse_file.c).
 * The kernel opens nothing before the first request, FUSE_INIT, is answered: clients that come
 * between mount and run wait.
 */
#include "fuse_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Thread_local char why[256];

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
	ops->status(disk, &status);
	fuse->io.ops = ops;
	fuse->io.disk = disk;
	fuse->io.size_bytes = status.size_bytes;
	fuse->uid = geteuid();
	fuse->gid = getegid();
	fuse->read_only = opts->read_only;
	fuse->mounted_s = time(NULL);
	atomic_init(&fuse->changed_s, fuse->mounted_s);
	pthread_mutex_init(&fuse->texts.lock, NULL);
	sv_fuse_holder_init(&fuse->holder, opts->hold);
	err = sv_fuse_pool_init(&fuse->pool, opts->threads);
	if (!err)
		err = sv_ranges_init(&fuse->io.ranges, fuse->pool.max_workers + 1);
	if (!err)
		err = make_session(fuse, opts);
	if (err)
		sv_fuse_destroy(fuse);
	else
		*ret_fuse = fuse;
	return err;
}

/* fusermount3 speaks to standard error only; what it can have against an ordinary user is known. */
static int mount_refused(const struct sv_fuse_options *opts)
{
	if (geteuid() == 0)
		return -EIO;
	if (!why[0])
		snprintf(why, sizeof(why), "%s",
			 opts->allow_root ? "letting root in needs the line user_allow_other in "
					    "/etc/fuse.conf"
					  : "fusermount3 is missing or refused");
	return -EPERM;
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
		err = mount_refused(opts);
	}
	free(path);
	if (!err)
		*ret_fuse = fuse;
	return err;
}

int sv_fuse_run(struct sv_fuse *fuse)
{
	int err = sv_fuse_holder_start(fuse);

	if (!err)
		err = sv_fuse_pool_run(fuse);
	sv_fuse_holder_stop(fuse);
	fuse_session_unmount(fuse->session);
	return err;
}

void sv_fuse_stop(struct sv_fuse *fuse)
{
	sv_fuse_pool_end(&fuse->pool);
}

void sv_fuse_destroy(struct sv_fuse *fuse)
{
	if (!fuse)
		return;
	if (fuse->session) {
		fuse_session_unmount(fuse->session);
		fuse_session_destroy(fuse->session);
	}
	sv_ranges_fini(&fuse->io.ranges);
	sv_fuse_texts_fini(&fuse->texts);
	sv_fuse_pool_fini(&fuse->pool);
	sv_fuse_holder_fini(&fuse->holder);
	free(fuse);
}
