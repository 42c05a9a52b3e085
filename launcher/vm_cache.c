/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_cache.c: $XDG_CACHE_HOME/stickvm, and the file cache.key beside the VM's settings. */
#include "vm_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <sodium.h>

#include "file.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define WORTH_BYTES (64 * MIB)
#define LEAVE_LEAST_BYTES (512 * MIB)
#define LEAVE_MOST_BYTES (8 * GIB)

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t auto_bytes(uint64_t free_bytes, uint64_t memory_bytes)
{
	uint64_t bytes = min64(min64(free_bytes / 4, 8 * GIB), memory_bytes);

	return bytes < WORTH_BYTES ? 0 : bytes;
}

/* On the stick nothing is gained, unless somebody says so. */
int vm_cache_choose(const char *wish, uint64_t free_bytes, uint64_t memory_bytes, bool on_stick,
		    bool *ret_auto, uint64_t *ret_bytes)
{
	if (vm_cache_parse(wish, ret_auto, ret_bytes) < 0)
		return -EINVAL;
	if (*ret_auto)
		*ret_bytes = on_stick ? 0 : auto_bytes(free_bytes, memory_bytes);
	return 0;
}

/* By the XDG rules: a variable that is not absolute is as good as none. */
static char *cache_folder(void)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (base && base[0] == '/')
		return file_path("%s/stickvm", base);
	return home && home[0] == '/' ? file_path("%s/.cache/stickvm", home) : NULL;
}

/* The part of a path that is there already. */
static bool stat_above(const char *path, struct stat *ret_st, struct statvfs *ret_fs)
{
	char *part = strdup(path);
	bool found = false;

	while (part && !found && part[0]) {
		char *slash;

		found = stat(part, ret_st) == 0 && statvfs(part, ret_fs) == 0;
		slash = strrchr(part, '/');
		if (slash)
			*slash = '\0';
	}
	free(part);
	return found;
}

bool vm_cache_room(const char *stick_dir, struct vm_cache_room *ret_room)
{
	struct statvfs fs;
	struct stat at, of_stick;
	char *dir = cache_folder();

	if (!dir || !stat_above(dir, &at, &fs) || stat(stick_dir, &of_stick) < 0) {
		free(dir);
		return false;
	}
	*ret_room = (struct vm_cache_room){
		.dir = dir,
		.free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize,
		.size_bytes = (uint64_t)fs.f_blocks * fs.f_frsize,
		.on_stick = at.st_dev == of_stick.st_dev,
	};
	return true;
}

/* What is left to others. */
static uint64_t leave_bytes(uint64_t size_bytes)
{
	uint64_t bytes = min64(size_bytes / 20, LEAVE_MOST_BYTES);

	return bytes > LEAVE_LEAST_BYTES ? bytes : LEAVE_LEAST_BYTES;
}

/* 0; -ENOENT: there is none and none may be made. */
static int get_key(const char *path, bool read_only, uint8_t *ret_key)
{
	char *text = NULL;
	size_t bytes = 0;
	int rc = file_read_own(path, 4096, &text, &bytes);

	if (rc == 0 && bytes == SV_CACHE_KEY_BYTES)
		memcpy(ret_key, text, bytes);
	else if (rc == 0 || rc == -EFBIG)
		rc = -ENOENT; /* no key of ours: a new one, and the cache begins anew */
	if (text)
		sodium_memzero(text, bytes);
	free(text);
	if (rc != -ENOENT || read_only)
		return rc;
	if (sodium_init() < 0)
		return -EIO;
	randombytes_buf(ret_key, SV_CACHE_KEY_BYTES);
	return file_replace_secret(path, (const char *)ret_key, SV_CACHE_KEY_BYTES);
}

static int fail_key(struct err *err, const char *path, int rc)
{
	return err_set(err, file_status(rc), "%s: the cache's key: %s; %s", path, strerror(-rc),
		       file_advice(rc));
}

int vm_cache_options(const struct stick *stick, const struct vm *vm, const char *wish,
		     bool read_only, struct vm_cache *ret_cache, struct sv_open_options *opts,
		     struct err *err)
{
	const char *text = wish ? wish : vm->cache ? vm->cache : "auto";
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	struct vm_cache_room room = {0};
	uint64_t bytes = 0;
	bool is_auto, there = vm_cache_room(stick->dir, &room);
	char *path;
	int rc;

	*ret_cache = (struct vm_cache){.dir = room.dir};
	if (vm_cache_choose(text, room.free_bytes, memory, room.on_stick, &is_auto, &bytes) < 0)
		return err_set(err, EXIT_USAGE, VM_CACHE_NO_WISH, text);
	path = bytes && there ? stick_vm_path(stick, vm->name, "cache.key") : NULL;
	if (!path)
		return 0;
	rc = get_key(path, read_only, ret_cache->key);
	if (rc == 0) {
		opts->cache_dir = ret_cache->dir;
		opts->cache_key = ret_cache->key;
		opts->cache_bytes = bytes;
		opts->cache_leave_bytes = leave_bytes(room.size_bytes);
	} else if (rc != -ENOENT && rc != -EACCES && rc != -EROFS && rc != -ENOSPC) {
		fail_key(err, path, rc);
		free(path);
		return -1;
	}
	free(path);
	return 0;
}

void vm_cache_free(struct vm_cache *cache)
{
	free(cache->dir);
	sodium_memzero(cache, sizeof(*cache));
}
