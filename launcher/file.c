/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file.c: small files read whole and replaced whole. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *file_path(const char *fmt, ...)
{
	char *path = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&path, fmt, ap) < 0)
		path = NULL;
	va_end(ap);
	return path;
}

static int read_fully(int fd, char *buf, size_t bytes, size_t *ret_bytes)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t got = read(fd, buf + done, bytes - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	buf[done] = '\0';
	*ret_bytes = done;
	return 0;
}

static int read_whole(const char *path, int flags, size_t max_bytes, char **ret_text,
		      size_t *ret_bytes)
{
	struct stat st;
	char *text = NULL;
	size_t bytes = 0;
	int rc = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		rc = -errno;
	else if (!S_ISREG(st.st_mode))
		rc = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	else if ((size_t)st.st_size > max_bytes)
		rc = -EFBIG;
	else if (!(text = calloc(1, (size_t)st.st_size + 1)))
		rc = -ENOMEM;
	else
		rc = read_fully(fd, text, (size_t)st.st_size, &bytes);
	close(fd);
	if (rc < 0) {
		free(text);
		return rc;
	}
	*ret_bytes = bytes;
	*ret_text = text;
	return 0;
}

int file_read(const char *path, size_t max_bytes, char **ret_text, size_t *ret_bytes)
{
	return read_whole(path, 0, max_bytes, ret_text, ret_bytes);
}

int file_read_own(const char *path, size_t max_bytes, char **ret_text, size_t *ret_bytes)
{
	return read_whole(path, O_NOFOLLOW, max_bytes, ret_text, ret_bytes);
}

static int write_fully(int fd, const char *buf, size_t bytes)
{
	while (bytes > 0) {
		ssize_t put = write(fd, buf, bytes);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		buf += put;
		bytes -= (size_t)put;
	}
	return 0;
}

int file_sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
		rc = -errno;
	close(fd);
	return rc;
}

static int sync_parent(const char *path)
{
	char *copy = strdup(path);
	int rc;

	if (!copy)
		return -ENOMEM;
	rc = file_sync_folder(dirname(copy));
	free(copy);
	return rc;
}

/* Never through a link that somebody put there. */
static int open_new(const char *path, mode_t mode)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
	int fd = open(path, flags, mode);

	/* A cut left it, or somebody put it there. */
	if (fd < 0 && errno == EEXIST && unlink(path) == 0)
		fd = open(path, flags, mode);
	return fd < 0 ? -errno : fd;
}

static int write_new(const char *path, const char *text, size_t bytes, mode_t mode)
{
	int fd = open_new(path, mode);
	int rc;

	if (fd < 0)
		return fd;
	rc = write_fully(fd, text, bytes);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc < 0)
		unlink(path);
	return rc;
}

/* On FAT a cut inside a rename can leave the new name alone: then that is the file, and gets its
 * name before it is replaced. */
static int mend_cut(const char *path, const char *fresh)
{
	struct stat st;

	if (lstat(path, &st) == 0 || errno != ENOENT)
		return 0;
	if (lstat(fresh, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	return rename(fresh, path) < 0 ? -errno : 0;
}

static int replace(const char *path, const char *text, size_t bytes, mode_t mode)
{
	char *fresh = file_path("%s.new", path);
	int rc;

	if (!fresh)
		return -ENOMEM;
	rc = mend_cut(path, fresh);
	if (rc == 0)
		rc = write_new(fresh, text, bytes, mode);
	if (rc == 0 && rename(fresh, path) < 0) {
		rc = -errno;
		unlink(fresh);
	}
	if (rc == 0)
		rc = sync_parent(path);
	free(fresh);
	return rc;
}

int file_replace(const char *path, const char *text, size_t bytes)
{
	return replace(path, text, bytes, 0644);
}

int file_replace_secret(const char *path, const char *text, size_t bytes)
{
	return replace(path, text, bytes, 0600);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path) < 0 && errno != ENOENT ? -errno : 0;
}

int file_remove_tree(const char *path)
{
	int rc = nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

	if (rc == -1)
		return errno == ENOENT ? 0 : -errno;
	return rc;
}

enum exit_status file_status(int rc)
{
	return rc == -ENODEV || rc == -ENXIO || rc == -ENOTCONN || rc == -ESTALE ? EXIT_NO_STICK
										 : EXIT_FAILED;
}

const char *file_advice(int rc)
{
	switch (rc) {
	case -EROFS:
		return "the stick is mounted read-only; check its write switch and its file system";
	case -EACCES:
	case -EPERM:
		return "mount the stick so that this user may write, or run as its owner";
	case -ENOSPC:
	case -EDQUOT:
		return "free some space on the stick";
	case -ENODEV:
	case -ENXIO:
	case -ENOTCONN:
	case -ESTALE:
		return "plug the stick in again and mount it";
	case -EIO:
		return "the stick gives errors; copy what is on it to another one";
	case -ENOTDIR:
		return "a file is in the way; move it";
	default:
		return "nothing else was changed";
	}
}
