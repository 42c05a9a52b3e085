/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_stick.c: low-level FUSE operations over a simulated stick. */
#include "fuse_stick.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "fuse_queue.h"
#include "pacer.h"
#include "stats.h"

/*
 * Three files with fixed inodes. The stick is opened with FOPEN_DIRECT_IO, so that each request of
 * the host is one here, up to 1 MiB, and with parallel writes, so that the queue forms at the
 * stick and not at the kernel's inode lock. An open file is a handle of the stick, and is as dead
 * as it after an unplug. stats.json is made at open and read from that copy.
 *
 * What is for the stick goes to its queue, large writes with the buffer they came in; everything
 * else is answered by the thread that reads the requests.
 */
enum inode { INO_ROOT = FUSE_ROOT_ID, INO_STICK, INO_CTL, INO_STATS, INO_END };

#define MAX_IO_BYTES (1024u * 1024)
#define MAX_CTL_BYTES 4096
#define ATTR_TIMEOUT_S 1.0
#define COPY_BYTES (64u * 1024) /* smaller writes are copied out of the buffer */

struct server {
	struct fsim_stick *stick;
	struct fsim_queue *queue;
	struct fuse_buf buf; /* the request being read */
	bool buf_taken;
};

static const char *const names[INO_END] = {
	[INO_STICK] = "stick.img",
	[INO_CTL] = "ctl",
	[INO_STATS] = "stats.json",
};

static struct fsim_stick *stick_of(fuse_req_t req)
{
	const struct server *server = fuse_req_userdata(req);
	return server->stick;
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

static void enqueue(fuse_req_t req, const struct fsim_request *request, void *taken)
{
	const struct server *server = fuse_req_userdata(req);
	int r = fsim_queue_add(server->queue, req, request, taken);
	if (r == 0)
		return;
	fuse_reply_err(req, -r);
	free(taken);
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
	enqueue(req,
		&(struct fsim_request){
			.op = FSIM_READ,
			.handle = fi->fh,
			.len_bytes = size,
			.off_bytes = (uint64_t)off,
			.arrival_ns = fsim_now_ns(),
		},
		NULL);
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

/* A write's bytes outlive its request: in a copy, or by taking the buffer they are in. */
static void write_stick(fuse_req_t req, struct fuse_file_info *fi, const char *buf, size_t size,
			off_t off)
{
	struct server *server = fuse_req_userdata(req);
	void *taken = server->buf.mem;
	if (size <= COPY_BYTES) {
		taken = malloc(size);
		if (taken == NULL) {
			fuse_reply_err(req, ENOMEM);
			return;
		}
		buf = memcpy(taken, buf, size);
	} else {
		server->buf_taken = true;
	}
	enqueue(req,
		&(struct fsim_request){
			.op = FSIM_WRITE,
			.handle = fi->fh,
			.from = buf,
			.len_bytes = size,
			.off_bytes = (uint64_t)off,
			.arrival_ns = fsim_now_ns(),
		},
		taken);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	int r = -EBADF;
	if (ino == INO_STICK && (uint64_t)off + size <= fsim_stick_size(stick_of(req))) {
		write_stick(req, fi, buf, size, off);
		return;
	}
	if (ino == INO_STICK)
		r = -ENOSPC;
	if (ino == INO_CTL)
		r = write_ctl(stick_of(req), buf, size);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	if (ino != INO_STICK) {
		fuse_reply_err(req, 0);
		return;
	}
	enqueue(req,
		&(struct fsim_request){
			.op = FSIM_FLUSH,
			.handle = fi->fh,
			.arrival_ns = fsim_now_ns(),
		},
		NULL);
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

/* Until unmounted or a signal; both are a good end. */
static int read_requests(struct fuse_session *se, struct server *server)
{
	int r = 0;
	while (!fuse_session_exited(se)) {
		if (server->buf_taken)
			server->buf = (struct fuse_buf){.mem = NULL};
		server->buf_taken = false;
		r = fuse_session_receive_buf(se, &server->buf);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			break;
		fuse_session_process_buf(se, &server->buf);
	}
	if (!server->buf_taken)
		free(server->buf.mem);
	return r < 0 && !fuse_session_exited(se) ? r : 0;
}

static int serve_mounted(struct fuse_session *se, struct server *server, bool background)
{
	fuse_daemonize(!background);
	/* Threads inherit it: sleeps end within a microsecond of their time. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	int r = fsim_queue_start(server->stick, &server->queue);
	if (r < 0)
		return r;
	r = read_requests(se, server);
	fsim_queue_stop(server->queue);
	return r;
}

static int run_session(struct fuse_session *se, struct server *server, const char *mount_dir,
		       bool background)
{
	if (fuse_set_signal_handlers(se) != 0)
		return -EINVAL;
	int r = -ENOTCONN;
	if (fuse_session_mount(se, mount_dir) == 0) {
		r = serve_mounted(se, server, background);
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
	struct server server = {.stick = stick};
	struct fuse_session *se = fuse_session_new(&args, &ops, sizeof(ops), &server);
	if (se == NULL)
		return -EINVAL;
	int r = run_session(se, &server, mount_dir, background);
	fuse_session_destroy(se);
	fuse_opt_free_args(&args);
	return r;
}
