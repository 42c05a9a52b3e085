/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_fs.c: files of the cache on the host; read and written, never mapped (a truncated file
 * would be a SIGBUS). */
#include "cache_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int host_create(void *ctx, int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	(void)ctx;
	return fd < 0 ? -errno : fd;
}

static int host_open(void *ctx, int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	(void)ctx;
	if (fd < 0)
		return -errno;
	/* Units are read here and there: what the kernel reads ahead is read in vain. */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	return fd;
}

static int host_read(void *ctx, int fd, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;

	(void)ctx;
	while (len > 0) {
		ssize_t n = pread(fd, to, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		to += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int host_write(void *ctx, int fd, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;

	(void)ctx;
	while (len > 0) {
		ssize_t n = pwrite(fd, from, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int host_remove(void *ctx, int dir, const char *name)
{
	(void)ctx;
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

static int host_size(void *ctx, int fd, uint64_t *ret_bytes)
{
	struct stat st;

	(void)ctx;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0 || !S_ISREG(st.st_mode))
		return -ESTALE;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static int host_space(void *ctx, int dir, uint64_t *ret_free, uint64_t *ret_bytes)
{
	struct statvfs v;

	(void)ctx;
	if (fstatvfs(dir, &v) < 0)
		return -errno;
	*ret_free = (uint64_t)v.f_bavail * v.f_frsize;
	*ret_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	return 0;
}

const struct sv_cache_fs sv_cache_fs_host = {
	.create = host_create,
	.open = host_open,
	.read = host_read,
	.write = host_write,
	.remove = host_remove,
	.size = host_size,
	.space = host_space,
};

int sv_cache_folder(const char *path)
{
	char *part = strdup(path);
	int fd;

	if (!part)
		return -ENOMEM;
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdir(part, 0700); /* what is wrong with it, open will say */
		*p = '/';
	}
	(void)mkdir(part, 0700);
	fd = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(part);
	return fd < 0 ? -errno : fd;
}

int sv_cache_lock(int dir)
{
	int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = errno == EWOULDBLOCK ? -EBUSY : -errno;

		close(fd);
		return r;
	}
	return fd;
}
