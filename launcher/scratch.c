/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scratch.c: the scratch disk: a file of the host without a name, gone with its last user.
 *
 * The guest's swap and temporary files need not survive a session, and would wear the stick most.
 * The file loses its name before a byte is in it, so the kernel takes it away when QEMU ends, in
 * whatever way. QEMU gets it as an open file (-add-fd), under a number fixed beforehand, since
 * its command line is made, and shown, before there is a file.
 */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "file.h"

/* Memory is what scratch is to save; and a file system in user space may be the stick's. */
static bool keeps_data(const struct statfs *fs)
{
	return fs->f_type != TMPFS_MAGIC && fs->f_type != RAMFS_MAGIC;
}

/* On its file system where that is mounted there, else (a folder that plays the stick) inside. */
static bool is_on(const char *stick, const char *folder, dev_t dev)
{
	char *root = realpath(stick, NULL), *real = realpath(folder, NULL);
	char *above = file_path("%s/..", stick);
	struct stat st, up;
	size_t len = root ? strlen(root) : 0;
	bool on = !root || !real || !above || stat(root, &st) < 0 || stat(above, &up) < 0;

	if (!on)
		on = (st.st_dev == dev && st.st_dev != up.st_dev) ||
		     (strncmp(real, root, len) == 0 && (!real[len] || real[len] == '/'));
	free(above);
	free(real);
	free(root);
	return on;
}

static bool fits(const char *folder, const char *stick, uint64_t *ret_free_bytes)
{
	struct statfs fs;
	struct stat here;

	if (!folder || folder[0] != '/' || stat(folder, &here) < 0 || !S_ISDIR(here.st_mode) ||
	    access(folder, W_OK | X_OK) < 0 || statfs(folder, &fs) < 0 || !keeps_data(&fs))
		return false;
	if (stick && is_on(stick, folder, here.st_dev))
		return false;
	*ret_free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	return true;
}

char *scratch_folder(const char *stick, uint64_t *ret_free_bytes)
{
	const char *home = getenv("HOME"), *cache = getenv("XDG_CACHE_HOME");
	const char *tmp = getenv("TMPDIR");
	char *found = NULL;
	char *candidates[] = {
		cache ? strdup(cache) : NULL,
		home ? file_path("%s/.cache", home) : NULL,
		tmp ? strdup(tmp) : NULL,
		strdup("/var/tmp"),
	};

	for (size_t i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
		if (!found && fits(candidates[i], stick, ret_free_bytes))
			found = candidates[i];
		else
			free(candidates[i]);
	}
	return found;
}

/* Not every file system knows O_TMPFILE. */
static int open_nameless(const char *folder)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *path;

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	path = file_path("%s/stickvm-scratch-XXXXXX", folder);
	fd = path ? mkostemp(path, O_CLOEXEC) : -1;
	if (fd >= 0)
		unlink(path);
	free(path);
	return fd;
}

int scratch_make(const char *folder, uint64_t size_bytes, struct err *err)
{
	int fd = open_nameless(folder);
	int rc = fd < 0 ? -errno : 0;

	if (rc == 0 && ftruncate(fd, (off_t)size_bytes) < 0)
		rc = -errno;
	if (rc == 0 && fcntl(SCRATCH_FD, F_GETFD) >= 0)
		rc = -EBUSY;
	if (rc == 0 && dup3(fd, SCRATCH_FD, O_CLOEXEC) < 0)
		rc = -errno;
	if (fd >= 0)
		close(fd);
	if (rc < 0)
		return err_set(err, EXIT_FAILED,
			       "scratch: it cannot be made in %s: %s; 'stickvm set NAME scratch=' "
			       "goes without",
			       folder, strerror(-rc));
	return 0;
}

void scratch_close(void)
{
	close(SCRATCH_FD);
}
