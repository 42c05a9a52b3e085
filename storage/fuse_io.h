/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_io.h: byte-granular access to a disk of 512-byte sectors. */
#ifndef STORAGE_FUSE_IO_H
#define STORAGE_FUSE_IO_H

#include "fuse_disk.h"
#include "fuse_range.h"

#define SV_SECTOR_BYTES 512u
#define SV_FUSE_IO_BYTES (1u << 20) /* the largest request */
/* What a request can cover when it starts and ends inside sectors. */
#define SV_FUSE_SCRATCH_BYTES (SV_FUSE_IO_BYTES + 2 * SV_SECTOR_BYTES)

struct sv_fuse_io {
	const struct sv_fuse_disk_ops *ops;
	void *disk;
	uint64_t size_bytes;
	struct sv_ranges ranges;
};

/* What a thread brings along: its slot in `ranges` and SV_FUSE_SCRATCH_BYTES of its own. */
struct sv_fuse_lane {
	unsigned slot;
	uint8_t *scratch;
};

/*
 * Ranges must lie inside the disk, lengths be 1 to SV_FUSE_IO_BYTES (zero: any), and a lane be
 * used by one thread at a time. Errors are the disk's.
 */

/* On success the data lies at *ret_data, inside the lane's scratch. */
int sv_fuse_io_read(struct sv_fuse_io *io, struct sv_fuse_lane *lane, size_t len_bytes,
		    uint64_t off_bytes, const uint8_t **ret_data);
int sv_fuse_io_write(struct sv_fuse_io *io, struct sv_fuse_lane *lane, const void *buf,
		     size_t len_bytes, uint64_t off_bytes);
/* The range reads as zeros afterwards; whole sectors are given back to the disk. */
int sv_fuse_io_zero(struct sv_fuse_io *io, struct sv_fuse_lane *lane, uint64_t len_bytes,
		    uint64_t off_bytes);

#endif
