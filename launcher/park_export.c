/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park_export.c: a parked disk, as far as its stick still has it, into a raw image. */
#include "park_export.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parked_vm.h"
#include "stickvm/place.h"
#include "vm_store.h"

enum { PIECE_BYTES = 1 << 20 };

struct job {
	struct parked_vm parked;
	struct sv_dev *place, *view;
	struct sv_store *store;
	uint8_t *piece;
	uint64_t bad, size_bytes;
	int fd;
};

static int open_disk(struct job *job, const struct stick *stick, const struct vm *vm,
		     struct err *err)
{
	static const struct sv_open_options quiet = {.read_only = true, .manual = true};
	char *path = vm_store_path(stick, vm);
	int rc = path ? sv_place_open(path, true, &job->place) : -ENOMEM;

	if (rc == 0)
		rc = sv_parked_view(job->parked.data, job->place, &job->view);
	if (rc == 0)
		rc = sv_store_open(job->view, &quiet, &job->store);
	free(path);
	if (rc == 0) {
		job->view = NULL; /* the store's */
		return 0;
	}
	if (rc == -EBADMSG || rc == -EUCLEAN)
		return err_set(err, EXIT_DAMAGE,
			       "%s: so much was written to the stick since that the parked disk "
			       "cannot be put together any more",
			       vm->name);
	return err_set(err, EXIT_FAILED, "%s: the disk cannot be read: %s", vm->name,
		       strerror(-rc));
}

static int put(void *ctx, const void *bytes, uint64_t len, uint64_t off)
{
	static const uint8_t zeros[SV_BLOCK_BYTES];
	const struct job *job = ctx;

	while (len > 0) {
		uint64_t now = bytes || len < sizeof(zeros) ? len : sizeof(zeros);
		ssize_t put = pwrite(job->fd, bytes ? bytes : zeros, now, (off_t)off);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		if (bytes)
			bytes = (const uint8_t *)bytes + put;
		off += (uint64_t)put;
		len -= (uint64_t)put;
	}
	return 0;
}

/* What cannot be read whole, block by block. */
static int copy_blocks(struct job *job, uint64_t len, uint64_t off)
{
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < len; at += SV_BLOCK_BYTES) {
		uint64_t now = len - at < SV_BLOCK_BYTES ? len - at : SV_BLOCK_BYTES;

		rc = sv_store_read(job->store, job->piece, now, off + at);
		if (rc == 0)
			rc = put(job, job->piece, now, off + at);
		else if (rc == -EIO) {
			job->bad++;
			rc = 0;
		}
	}
	return rc;
}

static int copy(struct job *job, uint64_t from, uint64_t to)
{
	int rc = 0;

	while (rc == 0 && from < to) {
		uint64_t now = to - from < PIECE_BYTES ? to - from : PIECE_BYTES;

		rc = sv_store_read(job->store, job->piece, now, from);
		if (rc == 0)
			rc = put(job, job->piece, now, from);
		else if (rc == -EIO)
			rc = copy_blocks(job, now, from);
		from += now;
	}
	return rc;
}

static int copy_all(struct job *job)
{
	uint64_t at = 0, end;
	int rc = 0;

	if (ftruncate(job->fd, (off_t)job->size_bytes) < 0)
		return -errno;
	while (rc == 0 && at < job->size_bytes) {
		rc = sv_store_seek(job->store, SV_SEEK_DATA, at, &at);
		if (rc == -ENXIO) {
			rc = 0;
			break;
		}
		if (rc == 0)
			rc = sv_store_seek(job->store, SV_SEEK_HOLE, at, &end);
		if (rc == 0)
			rc = copy(job, at, end);
		at = end;
	}
	if (rc == 0)
		rc = sv_parked_each(job->parked.data, put, job);
	return rc == 0 && fsync(job->fd) < 0 ? -errno : rc;
}

static int write_image(struct job *job, const char *path, struct err *err)
{
	struct sv_status status;
	int rc;

	sv_store_status(job->store, &status);
	job->size_bytes = status.size_bytes;
	job->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (job->fd < 0)
		return err_set(err, EXIT_FAILED, "%s: cannot be made: %s", path, strerror(errno));
	if (posix_memalign((void **)&job->piece, 4096, PIECE_BYTES))
		job->piece = NULL;
	rc = job->piece ? copy_all(job) : -ENOMEM;
	free(job->piece);
	if (close(job->fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0)
		return 0;
	unlink(path);
	return err_set(err, EXIT_FAILED, "%s: cannot be written: %s", path, strerror(-rc));
}

int park_export(const struct stick *stick, const struct vm *vm, const char *path, uint64_t *ret_bad,
		struct err *err)
{
	struct job job = {.fd = -1};
	int rc;

	if (!park_home_holds(vm->uuid))
		return err_set(err, EXIT_FAILED, "%s: it is not parked on this host", vm->name);
	if (parked_vm_open(stick, vm, &job.parked, err) < 0)
		return -1;
	rc = open_disk(&job, stick, vm, err);
	if (rc == 0)
		rc = write_image(&job, path, err);
	sv_store_abandon(job.store);
	sv_dev_close(job.view);
	sv_dev_close(job.place);
	parked_vm_free(&job.parked);
	*ret_bad = job.bad;
	return rc;
}
