/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_stick.c: low-level FUSE operations over a simulated stick. */
#define FUSE_USE_VERSION 312
#include "fuse_stick.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "stats.h"

/*
 * Three files with fixed inodes. The stick is opened with FOPEN_DIRECT_IO, so that each request of
 * the host is one here, up to 1 MiB, and with parallel writes, so that the queue forms at the
 * stick and not at the kernel's inode lock. An open file is a handle of the stick, and is as dead
 * as it after an unplug. stats.json is made at open and read from that copy.
 */
enum inode { INO_ROOT = FUSE_ROOT_ID, INO_STICK, INO_CTL, INO_STATS, INO_END };

#define MAX_IO_BYTES (1024u * 1024)
#define MAX_CTL_BYTES 4096
#define ATTR_TIMEOUT_S 1.0
#define WORKER_THREADS 8

static const char *const names[INO_END] = {
	[INO_STICK] = "stick.img",
	[INO_CTL] = "ctl",
	[INO_STATS] = "stats.json",
};

static struct fsim_stick *stick_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static bool fill_attr(struct fsim_stick *stick, fuse_ino_t ino, struct stat *ret_st)
{
	if (ino < INO_ROOT || ino >= INO_END)
		return false;
	*ret_st =
		(struct stat){.st_ino = ino, .st_nlink = 1, .st_uid = getuid(), .st_gid = getgid()};
	switch ((enum inode)ino) {
	case INO_ROOT:
		ret_st->st_mode = S_IFDIR | 0755;
		ret_st->st_nlink = 2;
		break;
	case INO_STICK:
		ret_st->st_mode = S_IFREG | 0600;
		ret_st->st_size = (off_t)fsim_stick_size(stick);
		ret_st->st_blksize = 4096;
		ret_st->st_blocks = ret_st->st_size / 512;
		break;
	case INO_CTL:
		ret_st->st_mode = S_IFREG | 0200;
		break;
	case INO_STATS:
	case INO_END:
		ret_st->st_mode = S_IFREG | 0444;
		break;
	}
	return true;
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = MAX_IO_BYTES;
	conn->max_background = 64;
	conn->want &= ~((unsigned)FUSE_CAP_SPLICE_READ);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {
		.attr_timeout = ATTR_TIMEOUT_S,
		.entry_timeout = ATTR_TIMEOUT_S,
	};
	for (fuse_ino_t ino = INO_STICK; parent == INO_ROOT && ino < INO_END; ino++)
		if (strcmp(names[ino], name) == 0)
			e.ino = ino;
	if (e.ino == 0 || !fill_attr(stick_of(req), e.ino, &e.attr))
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	(void)fi;
	if (fill_attr(stick_of(req), ino, &st))
		fuse_reply_attr(req, &st, ATTR_TIMEOUT_S);
	else
		fuse_reply_err(req, ENOENT);
}

/* Truncation is asked for by the shell's `>`; no file here changes its size. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	(void)attr;
	if (to_set & FUSE_SET_ATTR_SIZE && ino == INO_STICK)
		fuse_reply_err(req, EPERM);
	else
		op_getattr(req, ino, fi);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	char buf[1024];
	size_t used = 0;
	(void)fi;
	if (ino != INO_ROOT) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	if (size > sizeof(buf))
		size = sizeof(buf);
	for (fuse_ino_t i = INO_STICK + (fuse_ino_t)off; i < INO_END; i++) {
		struct stat st;
		fill_attr(stick_of(req), i, &st);
		size_t len = fuse_add_direntry(req, buf + used, size - used, names[i], &st,
					       (off_t)(i - INO_STICK + 1));
		if (len > size - used)
			break;
		used += len;
	}
	fuse_reply_buf(req, buf, used);
}

static int open_file(struct fsim_stick *stick, fuse_ino_t ino, uint64_t *ret_fh)
{
	char *text;
	switch ((enum inode)ino) {
	case INO_STICK:
		return fsim_stick_open(stick, ret_fh);
	case INO_STATS:
		text = fsim_stats_json(stick);
		*ret_fh = (uintptr_t)text;
		return text != NULL ? 0 : -ENOMEM;
	case INO_CTL:
		return 0;
	case INO_ROOT:
	case INO_END:
		break;
	}
	return -EISDIR;
}

/* libfuse 3.14 has no field for parallel writes: the kernel's own structure is sent instead. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
	uint64_t fh = 0;
	(void)fi;
	int r = open_file(stick_of(req), ino, &fh);
	out.fh = fh;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino == INO_STATS)
		free((void *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void read_stats(fuse_req_t req, const char *text, size_t size, off_t off)
{
	size_t len = strlen(text);
	size_t from = (size_t)off < len ? (size_t)off : len;
	fuse_reply_buf(req, text + from, size < len - from ? size : len - from);
}

/* A fake's bytes do not lie together. */
static void read_copy(fuse_req_t req, uint64_t handle, size_t size, uint64_t off)
{
	void *buf = malloc(size);
	int r = buf != NULL ? fsim_stick_read(stick_of(req), handle, buf, size, off) : -ENOMEM;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, buf, size);
	free(buf);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct fsim_stick *stick = stick_of(req);
	uint64_t end = fsim_stick_size(stick);

	if (ino == INO_STATS) {
		read_stats(req, (const char *)(uintptr_t)fi->fh, size, off);
		return;
	}
	if (ino != INO_STICK || (uint64_t)off >= end) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (size > end - (uint64_t)off)
		size = (size_t)(end - (uint64_t)off);
	const void *bytes = fsim_stick_peek(stick, size, (uint64_t)off);
	if (bytes == NULL) {
		read_copy(req, fi->fh, size, (uint64_t)off);
		return;
	}
	int r = fsim_stick_read(stick, fi->fh, NULL, size, (uint64_t)off);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_buf(req, bytes, size);
}

static int write_ctl(struct fsim_stick *stick, const char *buf, size_t size)
{
	if (size > MAX_CTL_BYTES)
		return -EINVAL;
	char *text = strndup(buf, size);
	if (text == NULL)
		return -ENOMEM;
	int r = fsim_ctl_run(stick, text);
	free(text);
	return r;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct fsim_stick *stick = stick_of(req);
	int r = -EBADF;
	if (ino == INO_CTL)
		r = write_ctl(stick, buf, size);
	if (ino == INO_STICK)
		r = (uint64_t)off + size <= fsim_stick_size(stick)
			    ? fsim_stick_write(stick, fi->fh, buf, size, (uint64_t)off)
			    : -ENOSPC;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	int r = ino == INO_STICK ? fsim_stick_flush(stick_of(req), fi->fh) : 0;
	fuse_reply_err(req, -r);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readdir = op_readdir,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
};

static int run_session(struct fuse_session *se, const char *mount_dir, bool background)
{
	if (fuse_set_signal_handlers(se) != 0)
		return -EINVAL;
	int r = fuse_session_mount(se, mount_dir) != 0 ? -ENOTCONN : 0;
	if (r == 0) {
		struct fuse_loop_config *config = fuse_loop_cfg_create();
		fuse_daemonize(!background);
		/* Threads inherit it: sleeps end within a microsecond of their time. */
		prctl(PR_SET_TIMERSLACK, 1UL);
		fuse_loop_cfg_set_max_threads(config, WORKER_THREADS);
		fuse_loop_cfg_set_idle_threads(config, WORKER_THREADS);
		int ended = fuse_session_loop_mt(se, config);
		r = ended < 0 ? ended : 0; /* a signal is a good end */
		fuse_loop_cfg_destroy(config);
		fuse_session_unmount(se);
	}
	fuse_remove_signal_handlers(se);
	return r;
}

int fsim_fuse_serve(struct fsim_stick *stick, const char *mount_dir, bool background)
{
	char name[] = "flashsim";
	char opts[] = "-ofsname=flashsim,subtype=flashsim,default_permissions";
	char *argv[] = {name, opts, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(2, argv);
	struct fuse_session *se = fuse_session_new(&args, &ops, sizeof(ops), stick);
	if (se == NULL)
		return -EINVAL;
	int r = run_session(se, mount_dir, background);
	fuse_session_destroy(se);
	fuse_opt_free_args(&args);
	return r;
}
