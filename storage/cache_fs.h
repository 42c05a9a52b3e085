/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_fs.h: the host's file system, as the cache sees it: one small table of functions. */
#ifndef STORAGE_CACHE_FS_H
#define STORAGE_CACHE_FS_H

#include <stddef.h>
#include <stdint.h>

/*
 * All return a descriptor, a count or 0, else a negative errno. `dir` is a folder's descriptor.
 * Tests put faults in between; `ctx` is theirs.
 */
struct sv_cache_fs {
	void *ctx;
	/* A new file, or -EEXIST; an old one for reading. */
	int (*create)(void *ctx, int dir, const char *name);
	int (*open)(void *ctx, int dir, const char *name);
	/* All of it, or -ENODATA where the file ends before. */
	int (*read)(void *ctx, int fd, void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*write)(void *ctx, int fd, const void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*remove)(void *ctx, int dir, const char *name);
	/* Size of an open file; -ESTALE when it has no name any more. */
	int (*size)(void *ctx, int fd, uint64_t *ret_bytes);
	/* What users may still write there, and the file system's size. */
	int (*space)(void *ctx, int dir, uint64_t *ret_free_bytes, uint64_t *ret_bytes);
};

/* The host's own. */
extern const struct sv_cache_fs sv_cache_fs_host;

/* A folder with all above it, private (0700); its descriptor, or a negative errno. */
int sv_cache_folder(const char *path);
/* Takes a folder for oneself, as long as the descriptor that is returned is open; -EBUSY. */
int sv_cache_lock(int dir);

#endif
