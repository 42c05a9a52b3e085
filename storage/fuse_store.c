/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_store.c: a store as the disk that the FUSE adaptor serves. */
#include "fuse_disk.h"

static int store_read(void *disk, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return sv_store_read(disk, buf, len_bytes, off_bytes);
}

static int store_write(void *disk, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return sv_store_write(disk, buf, len_bytes, off_bytes);
}

static int store_flush(void *disk)
{
	return sv_store_flush(disk);
}

static int store_discard(void *disk, uint64_t len_bytes, uint64_t off_bytes)
{
	return sv_store_discard(disk, len_bytes, off_bytes);
}

static int store_seek(void *disk, enum sv_seek what, uint64_t off_bytes, uint64_t *ret_off_bytes)
{
	return sv_store_seek(disk, what, off_bytes, ret_off_bytes);
}

static void store_status(void *disk, struct sv_status *ret_status)
{
	sv_store_status(disk, ret_status);
}

static void store_history(void *disk, struct sv_history *ret_history)
{
	sv_store_history(disk, ret_history);
}

int sv_fuse_mount(struct sv_store *st, const char *mountpoint, const struct sv_fuse_options *opts,
		  struct sv_fuse **ret_fuse)
{
	static const struct sv_fuse_disk_ops ops = {
		.read = store_read,
		.write = store_write,
		.flush = store_flush,
		.discard = store_discard,
		.seek = store_seek,
		.status = store_status,
		.history = store_history,
	};

	return sv_fuse_mount_disk(&ops, st, mountpoint, opts, ret_fuse);
}
