/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source.c: the calls of a source, checked at the border, and what its parts share. */
#include "source_impl.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stickvm/store.h"

int source_fail(struct sv_source_error *err, int value, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return value;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	/* Names come out of images: they must not steer a terminal. UTF-8 passes. */
	for (char *c = err->text; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	return value;
}

/*
 * A QEMU that writes to an image holds a read lock on byte 101 (block/file-posix.c: 100 plus the
 * number of the permission to write). What it has not flushed yet would be missing in a copy.
 */
static bool written_by_qemu(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int file_measure(struct source_file *file, struct sv_source_error *err)
{
	struct stat st;

	if (fstat(file->fd, &st) != 0)
		return source_fail(err, -errno, "cannot be examined: %s", strerror(errno));
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	if (S_ISREG(st.st_mode)) {
		file->bytes = (uint64_t)st.st_size;
		return 0;
	}
	if (S_ISDIR(st.st_mode))
		return source_fail(err, -EISDIR, "is a folder; name the image inside it");
	if (!S_ISBLK(st.st_mode))
		return source_fail(err, -EMEDIUMTYPE, "is neither a file nor a block device");
	file->block_device = true;
	file->dev = st.st_rdev; /* two nodes of one device are one device */
	file->ino = 0;
	if (ioctl(file->fd, BLKGETSIZE64, &file->bytes) != 0)
		return source_fail(err, -errno, "does not tell its size: %s", strerror(errno));
	return 0;
}

int source_file_open(const char *path, struct source_file *ret_file, struct sv_source_error *err)
{
	/* O_NONBLOCK: opening a pipe must not wait for its writer. */
	struct source_file file = {.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};

	if (file.fd < 0)
		return source_fail(err, -errno, "cannot be opened: %s", strerror(errno));
	int r = file_measure(&file, err);
	if (r == 0 && written_by_qemu(file.fd))
		r = source_fail(err, -EBUSY,
				"a running QEMU writes to it; power that machine off first");
	if (r < 0) {
		close(file.fd);
		return r;
	}
	*ret_file = file;
	return 0;
}

void source_file_close(struct source_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

int source_file_read(const struct source_file *file, void *buf, size_t len_bytes,
		     uint64_t off_bytes)
{
	char *to = buf;

	while (len_bytes > 0) {
		ssize_t n = pread(file->fd, to, len_bytes, (off_t)off_bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		to += n;
		off_bytes += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

char *source_path_beside(const char *image, const char *name)
{
	const char *slash = strrchr(image, '/');
	size_t dir_len = slash && name[0] != '/' ? (size_t)(slash - image) + 1 : 0;
	size_t size = dir_len + strlen(name) + 1;
	char *path = malloc(size);

	if (path)
		snprintf(path, size, "%.*s%s", (int)dir_len, image, name);
	return path;
}

int source_size_check(uint64_t size_bytes, struct sv_source_error *err)
{
	if (size_bytes == 0)
		return source_fail(err, -EINVAL, "is empty: its size is zero");
	if (size_bytes % SECTOR_BYTES != 0)
		return source_fail(err, -EINVAL,
				   "its size of %llu bytes is not a multiple of 512; it is no disk "
				   "image, or was cut off",
				   (unsigned long long)size_bytes);
	if (size_bytes > SV_MAX_DISK_BYTES)
		return source_fail(err, -EINVAL, "its disk of %llu bytes is larger than 16 TiB",
				   (unsigned long long)size_bytes);
	return 0;
}

static bool inside(const struct sv_source *src, size_t len_bytes, uint64_t off_bytes)
{
	return off_bytes <= src->size_bytes && len_bytes <= src->size_bytes - off_bytes;
}

int sv_source_read(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	if (!inside(src, len_bytes, off_bytes))
		return source_fail(&src->error, -EINVAL, "has no byte %llu",
				   (unsigned long long)(off_bytes + len_bytes));
	if (len_bytes == 0)
		return 0;
	return src->ops->read(src, buf, len_bytes, off_bytes);
}

int sv_source_next(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
		   uint64_t *ret_len_bytes)
{
	enum sv_extent kind;
	uint64_t len_bytes;

	if (off_bytes >= src->size_bytes)
		return -ENXIO;
	int r = src->ops->next(src, off_bytes, &kind, &len_bytes);
	if (r < 0)
		return r;
	/* Nothing lies below the bottom of a chain. */
	*ret_kind = kind == SV_EXTENT_DATA ? SV_EXTENT_DATA : SV_EXTENT_HOLE;
	*ret_len_bytes = len_bytes;
	return 0;
}

void sv_source_close(struct sv_source *src)
{
	if (src)
		src->ops->close(src);
}
