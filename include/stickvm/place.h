/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place.h: where a store lies: a folder of container files, or a raw partition or device. */
#ifndef STICKVM_PLACE_H
#define STICKVM_PLACE_H

#include "stickvm/dev.h"

/* How a new place is laid out. Zero fields take what the medium says, else the default. */
struct sv_place_params {
	uint64_t max_bytes;	  /* never grow beyond; 0: no limit but the free space */
	uint32_t segment_bytes;	  /* unit of growth and of alignment; 0: 8 MiB */
	uint32_t page_bytes;	  /* measured flash page; 0: unknown */
	uint32_t erase_bytes;	  /* measured erase unit; 0: unknown */
	uint32_t open_units;	  /* measured; 0: unknown */
	uint64_t container_bytes; /* a container file's largest size; 0: just under 4 GiB */
};

/*
 * Lays out a new place. `path` is a folder (made if missing; must be empty of containers) or a
 * block device or a regular file that is to be used like a raw partition (must exist).
 * What is there already is never overwritten: -EEXIST where a container header is found.
 * Nothing but the layout is written; sv_store_format makes the store inside.
 * Returns 0 or a negative errno (-EROFS, -EACCES, -ENOSPC, ...).
 */
int sv_place_create(const char *path, const struct sv_place_params *params);

/*
 * Opens a place and locks it. Shared for reading, exclusive for writing: -EBUSY when another
 * process (of any user) holds it. -ENOENT: nothing there; -EMEDIUMTYPE: no container header;
 * -EPROTONOSUPPORT: of a newer format; -EBADMSG: both copies of the header are damaged.
 * The device is the caller's: sv_dev_close releases the lock.
 */
int sv_place_open(const char *path, bool read_only, struct sv_dev **ret_dev);

/* Removes every file of a folder place that is not in use (-EBUSY), and the folder. Of a raw place
 * the header, so that it can be laid out anew; -EMEDIUMTYPE where there is none to remove. */
int sv_place_remove(const char *path);

/* A run of a file and where it lies, from the beginning of the whole medium. */
struct sv_place_run {
	uint64_t file_bytes;
	uint64_t medium_bytes;
	uint64_t len_bytes;
};

/* A file that has no name any more: it is gone when it is closed, however that comes about. */
struct sv_scratch {
	int fd;
	bool direct; /* no page cache in between; else what is measured is the host's memory */
	uint32_t sector_bytes;
	uint64_t size_bytes;
	struct sv_place_run *extents;
	size_t extent_count; /* 0: where the file lies is unknown */
};

/*
 * Room of `bytes` in a folder, for measuring what is below it. Where the file system cannot
 * reserve, zeros are written, at most `zeros_bytes`, and the file is no larger. 0 or a negative
 * errno (-ENOSPC, -EROFS, ...). The caller: sv_scratch_close.
 */
int sv_scratch_open(const char *folder, uint64_t bytes, uint64_t zeros_bytes,
		    struct sv_scratch *ret_scratch);
void sv_scratch_close(struct sv_scratch *scratch);

/* What the host's block layer counted since boot for the device that holds `path`; false where
 * it cannot be known (FUSE file systems without a visible device). Bytes. */
bool sv_place_host_written(const char *path, uint64_t *ret_bytes);

#endif
