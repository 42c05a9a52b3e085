/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_ops.c: the mounted folder: what the kernel asks, answered from the disk. */

/*
 * Three inodes: the folder, disk.raw, status.json. Names and attributes are never cached by the
 * kernel (timeouts of 0), so that stat always tells the truth; only stat and open pay for it.
 *
 * O1  Nothing of disk.raw is cached by the kernel: every open replies FOPEN_DIRECT_IO. So all
 *     clients see the same bytes at once, whether they use O_DIRECT or not, and the only copy
 *     that is not on the stick is the store's open batch.
 * O2  Every open of disk.raw replies FOPEN_PARALLEL_DIRECT_WRITES (kernel 6.2; ignored before):
 *     writes take the kernel's inode lock shared.
 * O3  A write with O_DSYNC or O_SYNC is answered after a flush. The kernel puts the flags of the
 *     open file and of the single request (RWF_DSYNC, FUA of a loop device) into the write.
 * O4  ENOSYS is never an answer to an operation that is implemented: the kernel would remember it
 *     and not ask again for the life of the mount.
 */
#include "fuse_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "stickvm/status_json.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES /* headers of Linux 6.1 and before */
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

enum { INO_ROOT = FUSE_ROOT_ID, INO_DISK, INO_STATUS };

static const char disk_name[] = "disk.raw";
static const char status_name[] = "status.json";

/* File handles of disk.raw: what a close has to do. Those of status.json are its text. */
enum { HANDLE_READER = 0, HANDLE_WRITER = 1 };

/* Asynchronous requests that the kernel lets through at once: io_uring and libaio at any depth
 * that a virtual machine uses (the kernel's default is 12). */
#define MAX_BACKGROUND 128

static struct sv_fuse *fuse_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct sv_fuse_lane *lane_of(struct sv_fuse *fuse)
{
	struct sv_fuse_worker *worker = pthread_getspecific(fuse->worker_key);

	return &worker->lane;
}

/* Tools know EIO; of the others only those that say what a user can do are passed on. O4. */
static int tool_errno(int err)
{
	switch (-err) {
	case 0:
	case ENOSPC:
	case EROFS:
	case EINVAL:
	case ENXIO:
	case ENOMEM:
		return -err;
	default:
		return EIO;
	}
}

static void reply(fuse_req_t req, int err)
{
	fuse_reply_err(req, tool_errno(err));
}

static void note_change(struct sv_fuse *fuse)
{
	atomic_store_explicit(&fuse->changed_s, time(NULL), memory_order_relaxed);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = SV_FUSE_IO_BYTES; /* libfuse derives max_pages from it: reads, too */
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND;
	/* A pipe costs more than the copy it saves, up to 1 MiB: measured, see DESIGN.md. */
	conn->want &=
		~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	/* With it an O_TRUNC arrives in the open, where it is ignored, apart from truncate(2). */
	conn->want |= conn->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO |
				       FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS);
}

/* Fills `ret_attr` for an inode; -ENOENT, -ENOMEM. */
static int get_attr(struct sv_fuse *fuse, fuse_ino_t ino, struct stat *ret_attr)
{
	struct stat attr = {.st_ino = ino,
			    .st_nlink = 1,
			    .st_uid = fuse->uid,
			    .st_gid = fuse->gid,
			    .st_blksize = SV_BLOCK_BYTES};
	struct sv_status status;
	char *text;

	attr.st_mtim.tv_sec = atomic_load_explicit(&fuse->changed_s, memory_order_relaxed);
	fuse->io.ops->status(fuse->io.disk, &status);
	switch (ino) {
	case INO_ROOT:
		attr.st_mode = S_IFDIR | 0555;
		attr.st_nlink = 2;
		attr.st_mtim.tv_sec = fuse->mounted_s;
		break;
	case INO_DISK:
		attr.st_mode = S_IFREG | (fuse->read_only ? 0400 : 0600);
		attr.st_size = (off_t)fuse->io.size_bytes;
		attr.st_blocks = (blkcnt_t)(status.mapped_bytes / 512);
		break;
	case INO_STATUS:
		if (sv_status_json(&status, &text))
			return -ENOMEM;
		attr.st_mode = S_IFREG | 0444;
		attr.st_size = (off_t)strlen(text);
		attr.st_mtim.tv_sec = time(NULL);
		free(text);
		break;
	default:
		return -ENOENT;
	}
	attr.st_atim = attr.st_mtim;
	attr.st_ctim = attr.st_mtim;
	*ret_attr = attr;
	return 0;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = {.generation = 1};
	int err;

	if (parent == INO_ROOT && !strcmp(name, disk_name))
		entry.ino = INO_DISK;
	else if (parent == INO_ROOT && !strcmp(name, status_name))
		entry.ino = INO_STATUS;
	err = entry.ino ? get_attr(fuse_of(req), entry.ino, &entry.attr) : -ENOENT;
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_entry(req, &entry);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat attr;
	int err = get_attr(fuse_of(req), ino, &attr);

	(void)fi;
	if (err)
		fuse_reply_err(req, -err);
	else
		fuse_reply_attr(req, &attr, 0);
}

/* Times are accepted and not kept; a size only if it is the disk's; nothing else. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t size_bytes = (uint64_t)attr->st_size;

	if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) ||
	    (to_set & FUSE_SET_ATTR_SIZE && ino != INO_DISK))
		fuse_reply_err(req, EPERM);
	else if (to_set & FUSE_SET_ATTR_SIZE && size_bytes > fuse->io.size_bytes)
		fuse_reply_err(req, EFBIG);
	else if (to_set & FUSE_SET_ATTR_SIZE && size_bytes < fuse->io.size_bytes)
		fuse_reply_err(req, EPERM);
	else
		op_getattr(req, ino, fi);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	static const struct {
		const char *name;
		fuse_ino_t ino;
		mode_t mode;
	} entries[] = {
		{".", INO_ROOT, S_IFDIR},
		{"..", INO_ROOT, S_IFDIR},
		{disk_name, INO_DISK, S_IFREG},
		{status_name, INO_STATUS, S_IFREG},
	};
	char buf[512];
	size_t used = 0;

	(void)ino;
	(void)fi;
	if (size > sizeof(buf))
		size = sizeof(buf);
	for (size_t i = (size_t)off; i < sizeof(entries) / sizeof(entries[0]); i++) {
		struct stat attr = {.st_ino = entries[i].ino, .st_mode = entries[i].mode};
		size_t len = fuse_add_direntry(req, buf + used, size - used, entries[i].name, &attr,
					       (off_t)i + 1);

		if (len > size - used)
			break;
		used += len;
	}
	fuse_reply_buf(req, buf, used);
}

/* libfuse 3.14 knows no field for the flag of O2: the reply is built from the kernel's struct. */
static int reply_open(fuse_req_t req, uint64_t handle)
{
	const struct fuse_open_out out = {
		.fh = handle,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES, /* O1, O2 */
	};

	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static void open_status(fuse_req_t req, struct sv_fuse *fuse)
{
	struct sv_status status;
	char *text;
	int err;

	fuse->io.ops->status(fuse->io.disk, &status);
	err = sv_status_json(&status, &text);
	if (err)
		reply(req, err);
	else if (reply_open(req, (uintptr_t)text))
		free(text); /* the opener is gone: no release follows */
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;

	if (ino == INO_STATUS && writes)
		fuse_reply_err(req, EACCES);
	else if (ino == INO_STATUS)
		open_status(req, fuse);
	else if (writes && fuse->read_only)
		fuse_reply_err(req, EROFS);
	else
		reply_open(req, writes ? HANDLE_WRITER : HANDLE_READER);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino == INO_STATUS)
		free((char *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

static void read_status(fuse_req_t req, size_t size, uint64_t off_bytes, const char *text)
{
	size_t len = strlen(text);

	if (off_bytes >= len)
		size = 0;
	else if (size > len - off_bytes)
		size = len - (size_t)off_bytes;
	fuse_reply_buf(req, size ? text + off_bytes : NULL, size);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t off_bytes = (uint64_t)off;
	const uint8_t *data;
	int err;

	if (ino == INO_STATUS) {
		read_status(req, size, off_bytes, (const char *)(uintptr_t)fi->fh);
		return;
	}
	if (off_bytes >= fuse->io.size_bytes)
		size = 0;
	else if (size > fuse->io.size_bytes - off_bytes)
		size = (size_t)(fuse->io.size_bytes - off_bytes);
	if (!size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	err = sv_fuse_io_read(&fuse->io, lane_of(fuse), size, off_bytes, &data);
	if (err)
		reply(req, err);
	else
		fuse_reply_buf(req, (const char *)data, size);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t off_bytes = (uint64_t)off;
	int err;

	assert(ino == INO_DISK);
	(void)ino;
	if (off_bytes >= fuse->io.size_bytes) {
		fuse_reply_err(req, size ? ENOSPC : 0);
		return;
	}
	if (size > fuse->io.size_bytes - off_bytes)
		size = (size_t)(fuse->io.size_bytes - off_bytes);
	err = size ? sv_fuse_io_write(&fuse->io, lane_of(fuse), buf, size, off_bytes) : 0;
	note_change(fuse);
	if (!err && fi->flags & O_DSYNC) /* O3; O_SYNC contains it */
		err = fuse->io.ops->flush(fuse->io.disk);
	if (err)
		reply(req, err);
	else
		fuse_reply_write(req, size);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);

	(void)datasync;
	(void)fi;
	if (ino == INO_DISK && !fuse->read_only)
		reply(req, fuse->io.ops->flush(fuse->io.disk));
	else
		fuse_reply_err(req, 0);
}

/* Called at every close(2), which waits for it: a plain umount would not. */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);

	if (ino == INO_DISK && fi->fh == HANDLE_WRITER)
		reply(req, fuse->io.ops->flush(fuse->io.disk));
	else
		fuse_reply_err(req, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t off_bytes = (uint64_t)off, len_bytes = (uint64_t)len;
	uint64_t room_bytes;
	int err = 0;

	(void)fi;
	if (ino != INO_DISK || (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) &&
				mode != (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE) &&
				mode != FALLOC_FL_ZERO_RANGE)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	room_bytes = off_bytes < fuse->io.size_bytes ? fuse->io.size_bytes - off_bytes : 0;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && len_bytes > room_bytes) {
		fuse_reply_err(req, EFBIG);
		return;
	}
	if (len_bytes > room_bytes)
		len_bytes = room_bytes;
	if (len_bytes) {
		err = sv_fuse_io_zero(&fuse->io, lane_of(fuse), len_bytes, off_bytes);
		note_change(fuse);
	}
	reply(req, err);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t found_bytes;
	int err;

	(void)fi;
	if (ino != INO_DISK || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (off < 0 || (uint64_t)off >= fuse->io.size_bytes) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	err = fuse->io.ops->seek(fuse->io.disk, whence == SEEK_DATA ? SV_SEEK_DATA : SV_SEEK_HOLE,
				 (uint64_t)off, &found_bytes);
	if (err)
		reply(req, err);
	else
		fuse_reply_lseek(req, (off_t)found_bytes);
}

/* What the place can take now, as a file system: df shows how full the stick's share is. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct sv_fuse *fuse = fuse_of(req);
	struct statvfs out = {.f_bsize = SV_BLOCK_BYTES,
			      .f_frsize = SV_BLOCK_BYTES,
			      .f_files = 2,
			      .f_namemax = 255};
	struct sv_status status;

	(void)ino;
	fuse->io.ops->status(fuse->io.disk, &status);
	out.f_blocks = status.capacity_bytes / SV_BLOCK_BYTES;
	if (status.capacity_bytes > status.used_bytes)
		out.f_bfree = (status.capacity_bytes - status.used_bytes) / SV_BLOCK_BYTES;
	out.f_bavail = out.f_bfree;
	fuse_reply_statfs(req, &out);
}

/* The folder is fixed: better a clear refusal than "function not implemented". */
static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)mode;
	op_unlink(req, parent, name);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	(void)mode;
	(void)dev;
	op_unlink(req, parent, name);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		      const char *new_name, unsigned flags)
{
	(void)new_parent;
	(void)new_name;
	(void)flags;
	op_unlink(req, parent, name);
}

const struct fuse_lowlevel_ops sv_fuse_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readdir = op_readdir,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.statfs = op_statfs,
	.unlink = op_unlink,
	.rmdir = op_unlink,
	.mkdir = op_mkdir,
	.mknod = op_mknod,
	.rename = op_rename,
};
