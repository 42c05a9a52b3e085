/* SPDX-License-Identifier: GPL-2.0-or-later */
/* carry_copy.c: copies of programs on the host: where, made how, compared with the original. */
#include "carry_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "file.h"

#define PREFIX "/stickvm-carried-"

enum { CHUNK_BYTES = 1 << 20 };

/* Whether programs can be executed in it, and it is not as full as to break under them. */
static bool suits(const char *dir)
{
	struct statvfs fs;

	return access(dir, W_OK | X_OK) == 0 && statvfs(dir, &fs) == 0 &&
	       !(fs.f_flag & ST_NOEXEC) &&
	       (unsigned long long)fs.f_bavail * fs.f_frsize > 256ull << 20;
}

/* In memory first. mkdtemp makes a folder that only its owner can enter. */
static int make_folder(struct carry_folder *folder, struct err *err)
{
	const char *const places[] = {getenv("XDG_RUNTIME_DIR"), "/dev/shm", "/tmp", "/var/tmp"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!places[i] || places[i][0] != '/' || !suits(places[i]))
			continue;
		if (snprintf(folder->dir, sizeof(folder->dir), "%s" PREFIX "XXXXXX", places[i]) <
			    (int)sizeof(folder->dir) &&
		    mkdtemp(folder->dir))
			return 0;
	}
	folder->dir[0] = '\0';
	return err_set(
		err, EXIT_FAILED,
		"no folder for a copy of the program: neither $XDG_RUNTIME_DIR nor /dev/shm, "
		"/tmp or /var/tmp has 256 MiB and may hold programs; make room in one");
}

bool carry_has(const struct carry_folder *folder, const char *path)
{
	for (size_t i = 0; i < folder->count; i++)
		if (strcmp(folder->names[i], path) == 0)
			return true;
	return false;
}

char *carry_path(const struct carry_folder *folder, const char *path)
{
	const char *name = strrchr(path, '/');

	return file_path("%s/%s", folder->dir, name ? name + 1 : path);
}

/* 0, or an errno. What is written is compared with what a second reading of the medium gives. */
static int copy_bytes(int from, int to, char *buf, char *again)
{
	ssize_t got;
	off_t at = 0;

	while ((got = read(from, buf, CHUNK_BYTES)) > 0)
		for (ssize_t put = 0, n; put < got; put += n)
			if ((n = write(to, buf + put, (size_t)(got - put))) <= 0)
				return n < 0 ? errno : EIO;
	if (got < 0)
		return errno;
	posix_fadvise(from, 0, 0, POSIX_FADV_DONTNEED);
	if (lseek(from, 0, SEEK_SET) < 0 || lseek(to, 0, SEEK_SET) < 0)
		return errno;
	while ((got = read(from, buf, CHUNK_BYTES)) > 0) {
		for (ssize_t have = 0, n; have < got; have += n)
			if ((n = read(to, again + have, (size_t)(got - have))) <= 0)
				return n < 0 ? errno : EIO;
		if (memcmp(buf, again, (size_t)got) != 0)
			return EIO;
		at += got;
	}
	return got < 0 ? errno : lseek(to, 0, SEEK_END) == at ? 0 : EIO;
}

static int copy_file(const char *path, const char *copy)
{
	char *buf = malloc(2 * (size_t)CHUNK_BYTES);
	int from = open(path, O_RDONLY | O_CLOEXEC);
	int to = open(copy, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	int error = !buf ? ENOMEM : from < 0 || to < 0 ? errno : 0;

	if (error == 0)
		error = copy_bytes(from, to, buf, buf + CHUNK_BYTES);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	free(buf);
	return error;
}

int carry_copy(struct carry_folder *folder, const char *path, struct err *err)
{
	char *copy;
	int error;

	if (!folder->dir[0] && make_folder(folder, err) < 0)
		return -1;
	copy = carry_path(folder, path);
	error = !copy || folder->count == CARRY_MAX_FILES ? ENOMEM : copy_file(path, copy);
	free(copy);
	if (error)
		return err_set(err, EXIT_FAILED,
			       "%s: lies on the stick and cannot be copied to %s: %s", path,
			       folder->dir, strerror(error));
	folder->names[folder->count] = strdup(path);
	if (folder->names[folder->count])
		folder->count++;
	return 0;
}

void carry_library_path(const struct carry_folder *folder)
{
	const char *old = getenv("LD_LIBRARY_PATH");
	char *path = old && old[0] ? file_path("%s:%s", folder->dir, old) : strdup(folder->dir);

	if (path)
		setenv("LD_LIBRARY_PATH", path, 1);
	free(path);
}

void carry_remove(const char *dir)
{
	const char *name = strrchr(dir, '/');
	struct stat st;

	if (name && strncmp(name, PREFIX, strlen(PREFIX)) == 0 && lstat(dir, &st) == 0 &&
	    S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		(void)file_remove_tree(dir);
}

void carry_end(struct carry_folder *folder)
{
	if (folder->dir[0])
		carry_remove(folder->dir);
	for (size_t i = 0; i < folder->count; i++)
		free(folder->names[i]);
	memset(folder, 0, sizeof(*folder));
}
