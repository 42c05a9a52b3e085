/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick_find.c: which stick is meant, how large it is, and whether a folder lies on it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "carry.h"
#include "file.h"
#include "stick.h"

/* The prepared stick that holds the running program, looking upwards from it; NULL: none. */
static char *stick_of_program(void)
{
	const char *origin = carry_origin(); /* this may be a copy on the host */
	char *path = realpath(origin ? origin : "/proc/self/exe", NULL);

	for (char *slash; path && (slash = strrchr(path, '/')) && slash != path;) {
		*slash = '\0';
		if (stick_prepared(path))
			return path;
	}
	free(path);
	return NULL;
}

/* "/media/a, /media/b": the mounted ones of a kind, cut where the buffer ends; their number. */
static unsigned candidates(const struct plugged *list, size_t count, bool prepared, char *buf,
			   size_t buf_bytes)
{
	unsigned found = 0;
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		const char *dir = list[i].mount_dir;

		if (!dir || list[i].prepared != prepared)
			continue;
		if (used < buf_bytes)
			used += (size_t)snprintf(buf + used, buf_bytes - used, "%s%s",
						 found ? ", " : "", dir);
		found++;
	}
	return found;
}

static int say_none(const struct plugged *list, size_t count, struct err *err)
{
	char fresh[256];

	if (candidates(list, count, false, fresh, sizeof(fresh)) > 0)
		return err_set(err, EXIT_NO_STICK,
			       "no stick that is plugged in was prepared; "
			       "prepare one with 'stickvm init DIR': %s",
			       fresh);
	if (count > 0)
		return err_set(err, EXIT_NO_STICK,
			       "%s (%s) is plugged in but not mounted; mount "
			       "it, or give the folder of another stick with --stick DIR",
			       list[0].node, list[0].model);
	return err_set(err, EXIT_NO_STICK,
		       "no stick is plugged in; plug one in and mount it, or "
		       "give its folder with --stick DIR");
}

static int the_only_one(const struct plugged *list, size_t count, struct stick *ret_stick,
			struct err *err)
{
	char dirs[256];
	unsigned found = candidates(list, count, true, dirs, sizeof(dirs));

	if (found == 0)
		return say_none(list, count, err);
	if (found > 1)
		return err_set(err, EXIT_NO_STICK,
			       "%u sticks are plugged in; choose one with "
			       "--stick DIR: %s",
			       found, dirs);
	for (size_t i = 0; i < count; i++) {
		if (list[i].mount_dir && list[i].prepared)
			return stick_load(list[i].mount_dir, ret_stick, err);
	}
	return -1;
}

int stick_open_plugged(const char *mountinfo, struct stick *ret_stick, struct err *err)
{
	struct plugged *list;
	size_t count;
	int rc = plugged_list(mountinfo, &list, &count);

	if (rc < 0)
		return err_set(err, EXIT_NO_STICK,
			       "the sticks cannot be listed: %s; give the stick's folder with "
			       "--stick DIR",
			       strerror(-rc));
	rc = the_only_one(list, count, ret_stick, err);
	plugged_free(list, count);
	return rc;
}

int stick_open(const char *option, struct stick *ret_stick, struct err *err)
{
	const char *variable = getenv("STICKVM_STICK");
	char *own;
	int rc;

	if (option)
		return stick_load(option, ret_stick, err);
	if (variable && variable[0])
		return stick_load(variable, ret_stick, err);
	own = stick_of_program();
	if (!own)
		return stick_open_plugged("/proc/self/mountinfo", ret_stick, err);
	rc = stick_load(own, ret_stick, err);
	free(own);
	return rc;
}

/* The size of the disk that a block device belongs to; 0: unknown. */
static uint64_t disk_bytes(dev_t dev)
{
	static const char *const places[] = {"/../size", "/size"};
	char path[64];
	unsigned long long sectors = 0;

	/* A partition's folder lies in its disk's; a disk's lies in one without a size. */
	for (size_t i = 0; i < 2 && sectors == 0; i++) {
		FILE *in;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u%s", major(dev), minor(dev),
			 places[i]);
		in = fopen(path, "re");
		if (in && fscanf(in, "%llu", &sectors) != 1)
			sectors = 0;
		if (in)
			fclose(in);
	}
	return (uint64_t)sectors * 512;
}

uint64_t stick_capacity(const char *dir)
{
	struct stat st;
	uint64_t bytes = stat(dir, &st) == 0 ? disk_bytes(st.st_dev) : 0;

	return bytes != 0 ? bytes : stick_fs_bytes(dir);
}

uint64_t stick_fs_bytes(const char *dir)
{
	struct statvfs fs;

	return statvfs(dir, &fs) == 0 ? (uint64_t)fs.f_blocks * fs.f_frsize : 0;
}

uint64_t stick_free_bytes(const char *dir)
{
	struct statvfs fs;

	return statvfs(dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
}

int stick_holds(const struct stick *stick, const char *name, struct err *err)
{
	char *path = name ? stick_vm_path(stick, name, NULL) : file_path("%s/stickvm", stick->dir);
	char *real = path ? realpath(path, NULL) : NULL;
	const size_t len = strlen(stick->dir);
	const bool elsewhere = real && strcmp(stick->dir, "/") != 0 &&
			       (strncmp(real, stick->dir, len) != 0 || real[len] != '/');

	if (!path)
		err_set(err, EXIT_FAILED, "out of memory");
	else if (elsewhere)
		err_set(err, EXIT_FAILED,
			"%s: is a link to %.300s, which does not lie on the stick; move what is "
			"there to the stick",
			path, real);
	free(real);
	if (!path || elsewhere) {
		free(path);
		return -1;
	}
	free(path);
	return 0;
}
