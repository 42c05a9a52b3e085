/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_file.h: one container as the host sees it: opened, transferred, allocated, located. */
#ifndef STICKVM_PLACE_FILE_H
#define STICKVM_PLACE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "place_layout.h"

struct place_file {
	int fd;
	bool direct;	       /* O_DIRECT: nothing of it in the host's memory */
	uint32_t sector_bytes; /* 512 or 4096 */
	uint64_t size_bytes;
};

/* How a file system makes room, and what it tells of where the room is. */
struct place_fs {
	bool fallocate;	   /* reserves blocks; the first write converts them */
	bool extents_true; /* FIEMAP gives addresses of the block device */
	bool copies;	   /* writes elsewhere unless told not to (btrfs) */
	bool writes_times; /* a file's times, seconds after a write; fdatasync leaves them (ext4) */
	bool daemon;	   /* FUSE: below it, data lies in the device's page cache */
};

/* Opens with O_DIRECT where that works. `flags`: O_RDONLY or O_RDWR, O_CREAT, O_EXCL. In a folder
 * (not AT_FDCWD) only a file of its own is taken: -EBADMSG for a link, a device, a pipe. */
int place_file_open(int dir_fd, const char *name, int flags, struct place_file *ret_file);
void place_file_close(struct place_file *file); /* takes a closed one */

/* Whole transfers; 0 or a negative errno. A read beyond the end is -EIO. */
int place_file_read(const struct place_file *file, void *buf, size_t len_bytes, uint64_t off_bytes);
int place_file_write(const struct place_file *file, const void *buf, size_t len_bytes,
		     uint64_t off_bytes);

/* Of a raw device that takes discards. */
int place_file_discard(const struct place_file *file, uint64_t off_bytes, uint64_t len_bytes);

void place_file_fs(int fd, struct place_fs *ret_fs);
/* Makes [0, size_bytes) of the file usable and durable; -ENOSPC leaves it as it was.
 * Learns that the file system does not reserve (`fs->fallocate`), and writes zeros then. */
int place_file_extend(struct place_file *file, struct place_fs *fs, uint64_t size_bytes);
/* The file's extents up to `end_bytes`, on the medium; the caller frees. -EOPNOTSUPP: unknown. */
int place_file_extents(const struct place_file *file, uint64_t end_bytes, uint64_t start_bytes,
		       struct place_extent **ret_extents, size_t *ret_count);

/* Shared or exclusive, without waiting: -EBUSY. Held until the descriptor is closed. */
int place_file_lock(const struct place_file *file, bool exclusive);

#endif
