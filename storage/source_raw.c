/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_raw.c: a raw file or block device as a source; the file system tells its holes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "source_impl.h"

struct source_raw {
	struct sv_source head;
	struct source_file file;
};

static struct source_raw *raw_of(struct sv_source *src)
{
	return (struct source_raw *)src;
}

static int raw_read(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	int r = source_file_read(&raw_of(src)->file, buf, len_bytes, off_bytes);

	if (r == -ENODATA)
		return source_fail(&src->error, -EIO, "became shorter while it was read");
	if (r < 0)
		return source_fail(&src->error, r, "cannot be read near byte %llu: %s",
				   (unsigned long long)off_bytes, strerror(-r));
	return 0;
}

/* Where a file system, or a block device, cannot say, all is data. */
static int raw_next(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
		    uint64_t *ret_len_bytes)
{
	int fd = raw_of(src)->file.fd;
	off_t off = (off_t)off_bytes;
	off_t end = (off_t)src->size_bytes;
	enum sv_extent kind = SV_EXTENT_DATA;
	off_t stop = end;

	if (!raw_of(src)->file.block_device) {
		off_t data = lseek(fd, off, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			kind = SV_EXTENT_HOLE;
		else if (data > off) {
			kind = SV_EXTENT_HOLE;
			stop = data;
		} else if (data == off) {
			off_t hole = lseek(fd, off, SEEK_HOLE);
			stop = hole > off ? hole : end;
		}
	}
	if (stop > end)
		stop = end; /* the file grew since it was opened */
	*ret_kind = kind;
	*ret_len_bytes = (uint64_t)(stop - off);
	return 0;
}

static void raw_close(struct sv_source *src)
{
	source_file_close(&raw_of(src)->file);
	free(src);
}

static const struct sv_source_ops raw_ops = {
	.read = raw_read,
	.next = raw_next,
	.close = raw_close,
};

int source_raw_open(const struct source_file *file, struct sv_source **ret_source,
		    struct sv_source_error *err)
{
	int r = source_size_check(file->bytes, err);

	if (r < 0)
		return r;
	struct source_raw *raw = calloc(1, sizeof(*raw));
	if (!raw)
		return source_fail(err, -ENOMEM, "needs more memory than there is");
	raw->head.ops = &raw_ops;
	raw->head.format = "raw";
	raw->head.size_bytes = file->bytes;
	raw->file = *file;
	/* A hint only: reads ascend. */
	posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	*ret_source = &raw->head;
	return 0;
}
