/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_holder.c: finds the process behind a lock in /proc/locks. */
/*
 * The lock is the kernel's (storage/DESIGN.md, "Lock"): it is on a file of a mounted file system or
 * on a device node, and it is gone with its process. So whoever holds it lives on this host now,
 * and the kernel knows its PID.
 */
#include "lock_holder.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A line is "1: FLOCK  ADVISORY  WRITE 4711 08:01:12345 0 EOF". */
static bool is_ours(const char *line, const struct stat *st, int *ret_pid)
{
	unsigned major_number, minor_number;
	unsigned long inode;

	return sscanf(line, "%*s FLOCK %*s %*s %d %x:%x:%lu", ret_pid, &major_number, &minor_number,
		      &inode) == 4 &&
	       major_number == major(st->st_dev) && minor_number == minor(st->st_dev) &&
	       inode == st->st_ino && *ret_pid > 0;
}

static bool find_pid(const struct stat *st, int *ret_pid)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	bool found = false;

	while (locks && !found && fgets(line, sizeof(line), locks))
		found = is_ours(line, st, ret_pid);
	if (locks)
		fclose(locks);
	return found;
}

static void read_name(int pid, char *name, size_t name_bytes)
{
	char path[64];
	FILE *file;

	snprintf(name, name_bytes, "a process");
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return;
	if (fgets(name, (int)name_bytes, file))
		name[strcspn(name, "\n")] = '\0';
	fclose(file);
}

bool lock_holder(const char *path, char *text, size_t text_bytes)
{
	char file[4096], name[64];
	const struct passwd *user;
	struct stat st;
	int pid;

	if (stat(path, &st) < 0)
		return false;
	if (S_ISDIR(st.st_mode)) {
		snprintf(file, sizeof(file), "%s/store.000", path);
		if (stat(file, &st) < 0)
			return false;
	}
	if (!find_pid(&st, &pid))
		return false;
	read_name(pid, name, sizeof(name));
	snprintf(file, sizeof(file), "/proc/%d", pid);
	user = stat(file, &st) == 0 ? getpwuid(st.st_uid) : NULL;
	snprintf(text, text_bytes, "%s, pid %d%s%s", name, pid, user ? ", user " : "",
		 user ? user->pw_name : "");
	return true;
}
