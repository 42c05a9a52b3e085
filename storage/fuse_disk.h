/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_disk.h: what the FUSE adaptor asks of a disk, so that tests and benches can bring their own.
 */
#ifndef STORAGE_FUSE_DISK_H
#define STORAGE_FUSE_DISK_H

#include "stickvm/fuse.h"
#include "stickvm/history.h"

/*
 * The contracts are those of the sv_store_* functions of the same names: offsets and lengths are
 * multiples of 512 inside the disk, all functions may be called from several threads at once,
 * 0 or a negative errno is returned. Buffers have no particular alignment.
 */
struct sv_fuse_disk_ops {
	int (*read)(void *disk, void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*write)(void *disk, const void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*flush)(void *disk);
	int (*discard)(void *disk, uint64_t len_bytes, uint64_t off_bytes);
	int (*seek)(void *disk, enum sv_seek what, uint64_t off_bytes, uint64_t *ret_off_bytes);
	void (*status)(void *disk, struct sv_status *ret_status);
	void (*history)(void *disk, struct sv_history *ret_history); /* NULL: it has none */
};

/* As sv_fuse_mount, for any disk. The size is what status says now. */
int sv_fuse_mount_disk(const struct sv_fuse_disk_ops *ops, void *disk, const char *mountpoint,
		       const struct sv_fuse_options *opts, struct sv_fuse **ret_fuse);

#endif
