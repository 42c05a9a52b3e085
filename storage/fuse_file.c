/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_file.c: reading and writing the mounted files. */

/*
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
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct sv_fuse *fuse_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct sv_fuse_lane *lane_of(struct sv_fuse *fuse)
{
	struct sv_fuse_worker *worker = pthread_getspecific(fuse->pool.worker_key);

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

void sv_fuse_reply(fuse_req_t req, int err)
{
	fuse_reply_err(req, tool_errno(err));
}

static void note_change(struct sv_fuse *fuse)
{
	atomic_store_explicit(&fuse->changed_s, time(NULL), memory_order_relaxed);
}

static void read_status(fuse_req_t req, size_t size, uint64_t off_bytes, const char *text)
{
	size_t len = strlen(text);
	char *copy;

	if (off_bytes >= len)
		size = 0;
	else if (size > len - off_bytes)
		size = len - (size_t)off_bytes;
	if (!size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	/* Once the kernel has the answer another thread may close the file and free the text, while
	 * the reply is still on its way out of here. */
	copy = malloc(size);
	if (!copy) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	memcpy(copy, text + off_bytes, size);
	fuse_reply_buf(req, copy, size);
	free(copy);
}

static int do_read(struct sv_fuse *fuse, struct sv_fuse_lane *lane, const struct sv_fuse_request *r)
{
	const uint8_t *data;
	int err = sv_fuse_io_read(&fuse->io, lane, r->len_bytes, r->off_bytes, &data);

	if (!err)
		fuse_reply_buf(r->req, (const char *)data, r->len_bytes);
	return err;
}

static int do_write(struct sv_fuse *fuse, struct sv_fuse_lane *lane,
		    const struct sv_fuse_request *r)
{
	int err = sv_fuse_io_write(&fuse->io, lane, r->data, r->len_bytes, r->off_bytes);

	note_change(fuse);
	if (!err && r->durable) /* O3 */
		err = fuse->io.ops->flush(fuse->io.disk);
	if (!err)
		fuse_reply_write(r->req, r->len_bytes);
	return err;
}

static int do_seek(struct sv_fuse *fuse, const struct sv_fuse_request *r)
{
	uint64_t found_bytes;
	int err = fuse->io.ops->seek(fuse->io.disk, r->what, r->off_bytes, &found_bytes);

	if (!err)
		fuse_reply_lseek(r->req, (off_t)found_bytes);
	return err;
}

static int do_zero(struct sv_fuse *fuse, struct sv_fuse_lane *lane, const struct sv_fuse_request *r)
{
	int err = sv_fuse_io_zero(&fuse->io, lane, r->len_bytes, r->off_bytes);

	note_change(fuse);
	if (!err)
		sv_fuse_reply(r->req, 0);
	return err;
}

static int do_flush(struct sv_fuse *fuse, const struct sv_fuse_request *r)
{
	int err = fuse->io.ops->flush(fuse->io.disk);

	if (!err)
		sv_fuse_reply(r->req, 0);
	return err;
}

bool sv_fuse_try(struct sv_fuse *fuse, struct sv_fuse_lane *lane,
		 const struct sv_fuse_request *request, bool hold)
{
	int err = 0;

	switch (request->kind) {
	case SV_FUSE_READ:
		err = do_read(fuse, lane, request);
		break;
	case SV_FUSE_WRITE:
		err = do_write(fuse, lane, request);
		break;
	case SV_FUSE_FLUSH:
		err = do_flush(fuse, request);
		break;
	case SV_FUSE_ZERO:
		err = do_zero(fuse, lane, request);
		break;
	case SV_FUSE_SEEK:
		err = do_seek(fuse, request);
		break;
	}
	if (err == -ENODEV && hold)
		return false;
	if (err)
		sv_fuse_reply(request->req, err);
	return true;
}

static void serve(struct sv_fuse *fuse, const struct sv_fuse_request *request)
{
	if (!sv_fuse_try(fuse, lane_of(fuse), request, sv_fuse_holds(fuse)))
		sv_fuse_hold(fuse, request);
}

void sv_fuse_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t off_bytes = (uint64_t)off;

	if (ino != SV_FUSE_INO_DISK) {
		const struct sv_fuse_text *opened = (const void *)(uintptr_t)fi->fh;

		read_status(req, size, off_bytes, opened->text);
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
	serve(fuse,
	      &(struct sv_fuse_request){
		      .kind = SV_FUSE_READ, .req = req, .off_bytes = off_bytes, .len_bytes = size});
}

void sv_fuse_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t off_bytes = (uint64_t)off;

	assert(ino == SV_FUSE_INO_DISK);
	(void)ino;
	if (off_bytes >= fuse->io.size_bytes) {
		fuse_reply_err(req, size ? ENOSPC : 0);
		return;
	}
	if (size > fuse->io.size_bytes - off_bytes)
		size = (size_t)(fuse->io.size_bytes - off_bytes);
	if (!size) {
		fuse_reply_write(req, 0);
		return;
	}
	serve(fuse, &(struct sv_fuse_request){.kind = SV_FUSE_WRITE,
					      .req = req,
					      .off_bytes = off_bytes,
					      .len_bytes = size,
					      .data = buf,
					      .durable = fi->flags & O_DSYNC}); /* O_SYNC, too */
}

static void serve_flush(fuse_req_t req)
{
	serve(fuse_of(req), &(struct sv_fuse_request){.kind = SV_FUSE_FLUSH, .req = req});
}

void sv_fuse_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	if (ino == SV_FUSE_INO_DISK && !fuse_of(req)->read_only)
		serve_flush(req);
	else
		fuse_reply_err(req, 0);
}

/* Called at every close(2), which waits for it: a plain umount would not. */
void sv_fuse_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (ino == SV_FUSE_INO_DISK && fi->fh == SV_FUSE_HANDLE_WRITER)
		serve_flush(req);
	else
		fuse_reply_err(req, 0);
}

void sv_fuse_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			  struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);
	uint64_t off_bytes = (uint64_t)off, len_bytes = (uint64_t)len;
	uint64_t room_bytes;

	(void)fi;
	if (ino != SV_FUSE_INO_DISK || (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE) &&
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
	if (!len_bytes) {
		fuse_reply_err(req, 0);
		return;
	}
	serve(fuse, &(struct sv_fuse_request){.kind = SV_FUSE_ZERO,
					      .req = req,
					      .off_bytes = off_bytes,
					      .len_bytes = len_bytes});
}

void sv_fuse_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		      struct fuse_file_info *fi)
{
	struct sv_fuse *fuse = fuse_of(req);

	(void)fi;
	if (ino != SV_FUSE_INO_DISK || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (off < 0 || (uint64_t)off >= fuse->io.size_bytes) {
		fuse_reply_err(req, ENXIO);
		return;
	}
	serve(fuse,
	      &(struct sv_fuse_request){.kind = SV_FUSE_SEEK,
					.req = req,
					.off_bytes = (uint64_t)off,
					.what = whence == SEEK_DATA ? SV_SEEK_DATA : SV_SEEK_HOLE});
}
