/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_ops.c: the mounted folder: what the kernel asks, answered from the disk. */

/*
 * Four inodes: the folder, disk.raw, status.json, history.json. Names and attributes are never
 * cached by the kernel (timeouts of 0), so that stat always tells the truth; only stat and
 * open pay for it.
 *
 * O1  Nothing of disk.raw is cached by the kernel: every open replies FOPEN_DIRECT_IO. So all
 *     clients see the same bytes at once, whether they use O_DIRECT or not, and the only copy
 *     that is not on the stick is the store's open batch.
 * O2  Every open of disk.raw replies FOPEN_PARALLEL_DIRECT_WRITES (kernel 6.2; ignored before):
 *     writes take the kernel's inode lock shared.
 */
#include "fuse_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "stickvm/status_json.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES /* headers of Linux 6.1 and before */
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

static const char disk_name[] = "disk.raw";
static const char status_name[] = "status.json";
static const char history_name[] = "history.json";

/* Asynchronous requests that the kernel lets through at once: io_uring and libaio at any depth
 * that a virtual machine uses (the kernel's default is 12). */
#define MAX_BACKGROUND 128

static struct sv_fuse *fuse_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = SV_FUSE_IO_BYTES; /* libfuse derives max_pages from it: reads, too */
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = MAX_BACKGROUND;
	/* A pipe saves nothing: data goes through memory, to be compressed. See DESIGN.md. */
	conn->want &=
		~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	/* With it an O_TRUNC arrives in the open, where it is ignored, apart from truncate(2). */
	conn->want |= conn->capable & (FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO |
				       FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS);
}

/* The text of a JSON file; the caller's. */
static int make_text(struct sv_fuse *fuse, fuse_ino_t ino, char **ret_text)
{
	struct sv_history *history;
	struct sv_status status;
	int err;

	if (ino == SV_FUSE_INO_STATUS) {
		fuse->io.ops->status(fuse->io.disk, &status);
		return sv_status_json(&status, ret_text);
	}
	history = calloc(1, sizeof(*history));
	if (!history)
		return -ENOMEM;
	if (fuse->io.ops->history)
		fuse->io.ops->history(fuse->io.disk, history);
	err = sv_history_json(history, ret_text);
	free(history);
	return err;
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
	case SV_FUSE_INO_ROOT:
		attr.st_mode = S_IFDIR | 0555;
		attr.st_nlink = 2;
		attr.st_mtim.tv_sec = fuse->mounted_s;
		break;
	case SV_FUSE_INO_DISK:
		attr.st_mode = S_IFREG | (fuse->read_only ? 0400 : 0600);
		attr.st_size = (off_t)fuse->io.size_bytes;
		attr.st_blocks = (blkcnt_t)(status.mapped_bytes / 512);
		break;
	case SV_FUSE_INO_STATUS:
	case SV_FUSE_INO_HISTORY:
		if (make_text(fuse, ino, &text))
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

	if (parent == SV_FUSE_INO_ROOT && !strcmp(name, disk_name))
		entry.ino = SV_FUSE_INO_DISK;
	else if (parent == SV_FUSE_INO_ROOT && !strcmp(name, status_name))
		entry.ino = SV_FUSE_INO_STATUS;
	else if (parent == SV_FUSE_INO_ROOT && !strcmp(name, history_name))
		entry.ino = SV_FUSE_INO_HISTORY;
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
	    (to_set & FUSE_SET_ATTR_SIZE && ino != SV_FUSE_INO_DISK))
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
		{".", SV_FUSE_INO_ROOT, S_IFDIR},
		{"..", SV_FUSE_INO_ROOT, S_IFDIR},
		{disk_name, SV_FUSE_INO_DISK, S_IFREG},
		{status_name, SV_FUSE_INO_STATUS, S_IFREG},
		{history_name, SV_FUSE_INO_HISTORY, S_IFREG},
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

static void drop_text(struct sv_fuse_texts *texts, struct sv_fuse_text *opened)
{
	pthread_mutex_lock(&texts->lock);
	*opened->link = opened->next;
	if (opened->next)
		opened->next->link = opened->link;
	pthread_mutex_unlock(&texts->lock);
	free(opened->text);
	free(opened);
}

void sv_fuse_texts_fini(struct sv_fuse_texts *texts)
{
	while (texts->first)
		drop_text(texts, texts->first);
	pthread_mutex_destroy(&texts->lock);
}

static void open_text(fuse_req_t req, struct sv_fuse *fuse, fuse_ino_t ino)
{
	struct sv_fuse_texts *texts = &fuse->texts;
	struct sv_fuse_text *opened = malloc(sizeof(*opened));
	int err = opened ? make_text(fuse, ino, &opened->text) : -ENOMEM;

	if (err) {
		free(opened);
		sv_fuse_reply(req, err);
		return;
	}
	pthread_mutex_lock(&texts->lock);
	opened->next = texts->first;
	opened->link = &texts->first;
	if (opened->next)
		opened->next->link = &opened->next;
	texts->first = opened;
	pthread_mutex_unlock(&texts->lock);
	if (reply_open(req, (uintptr_t)opened))
		drop_text(texts, opened); /* the opener is gone: no release follows */
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;

	if (ino != SV_FUSE_INO_DISK && writes)
		fuse_reply_err(req, EACCES);
	else if (ino != SV_FUSE_INO_DISK)
		open_text(req, fuse, ino);
	else if (writes && fuse->read_only)
		fuse_reply_err(req, EROFS);
	else
		reply_open(req, writes ? SV_FUSE_HANDLE_WRITER : SV_FUSE_HANDLE_READER);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino != SV_FUSE_INO_DISK)
		drop_text(&fuse_of(req)->texts, (struct sv_fuse_text *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* What the place can take now, as a file system: df shows how full the stick's share is. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct sv_fuse *fuse = fuse_of(req);
	struct statvfs out = {.f_bsize = SV_BLOCK_BYTES,
			      .f_frsize = SV_BLOCK_BYTES,
			      .f_files = 3,
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
	.read = sv_fuse_op_read,
	.write = sv_fuse_op_write,
	.flush = sv_fuse_op_flush,
	.fsync = sv_fuse_op_fsync,
	.fallocate = sv_fuse_op_fallocate,
	.lseek = sv_fuse_op_lseek,
	.statfs = op_statfs,
	.unlink = op_unlink,
	.rmdir = op_unlink,
	.mkdir = op_mkdir,
	.mknod = op_mknod,
	.rename = op_rename,
};
