/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_io.c: cuts byte ranges into sectors; reads, merges and writes back where they do not fit. */

/*
 * The disk takes whole sectors; buffered clients of a direct-I/O file send any byte range, and
 * several at once. A write that covers a sector in part reads it, merges and writes it back, and
 * no other write may reach that sector in between, or it would be undone:
 *
 * B1  every change of the disk happens under a range lock on whole sectors, exclusive if and only
 *     if part of a sector keeps its content.
 *
 * Reads take no lock: the disk gives each sector as some write left it.
 */
#include "fuse_io.h"

#include <assert.h>
#include <string.h>

static uint64_t sector_floor(uint64_t off_bytes)
{
	return off_bytes & ~(uint64_t)(SV_SECTOR_BYTES - 1);
}

static uint64_t sector_ceil(uint64_t off_bytes)
{
	return sector_floor(off_bytes + SV_SECTOR_BYTES - 1);
}

int sv_fuse_io_read(struct sv_fuse_io *io, struct sv_fuse_lane *lane, size_t len_bytes,
		    uint64_t off_bytes, const uint8_t **ret_data)
{
	uint64_t start = sector_floor(off_bytes);
	uint64_t end = sector_ceil(off_bytes + len_bytes);
	int err;

	assert(len_bytes && len_bytes <= SV_FUSE_IO_BYTES && end <= io->size_bytes);
	err = io->ops->read(io->disk, lane->scratch, (size_t)(end - start), start);
	if (err)
		return err;
	*ret_data = lane->scratch + (off_bytes - start);
	return 0;
}

/* Brings the first and the last sector of [start, end) into the scratch. */
static int read_edges(struct sv_fuse_io *io, struct sv_fuse_lane *lane, uint64_t start,
		      uint64_t end)
{
	uint64_t last = end - SV_SECTOR_BYTES;
	int err = io->ops->read(io->disk, lane->scratch, SV_SECTOR_BYTES, start);

	if (err || last == start)
		return err;
	return io->ops->read(io->disk, lane->scratch + (last - start), SV_SECTOR_BYTES, last);
}

/* `buf` NULL stands for zeros. */
static int write_merged(struct sv_fuse_io *io, struct sv_fuse_lane *lane, const void *buf,
			size_t len_bytes, uint64_t off_bytes)
{
	uint64_t start = sector_floor(off_bytes);
	uint64_t end = sector_ceil(off_bytes + len_bytes);
	uint8_t *into = lane->scratch + (off_bytes - start);
	int err;

	sv_ranges_lock(&io->ranges, lane->slot, start, end, true); /* B1 */
	err = read_edges(io, lane, start, end);
	if (!err) {
		if (buf)
			memcpy(into, buf, len_bytes);
		else
			memset(into, 0, len_bytes);
		err = io->ops->write(io->disk, lane->scratch, (size_t)(end - start), start);
	}
	sv_ranges_unlock(&io->ranges, lane->slot);
	return err;
}

int sv_fuse_io_write(struct sv_fuse_io *io, struct sv_fuse_lane *lane, const void *buf,
		     size_t len_bytes, uint64_t off_bytes)
{
	uint64_t end = off_bytes + len_bytes;
	int err;

	assert(len_bytes && len_bytes <= SV_FUSE_IO_BYTES && end <= io->size_bytes);
	if ((off_bytes | end) % SV_SECTOR_BYTES)
		return write_merged(io, lane, buf, len_bytes, off_bytes);
	sv_ranges_lock(&io->ranges, lane->slot, off_bytes, end, false); /* B1 */
	err = io->ops->write(io->disk, buf, len_bytes, off_bytes);
	sv_ranges_unlock(&io->ranges, lane->slot);
	return err;
}

int sv_fuse_io_zero(struct sv_fuse_io *io, struct sv_fuse_lane *lane, uint64_t len_bytes,
		    uint64_t off_bytes)
{
	uint64_t end = off_bytes + len_bytes;
	uint64_t first = sector_ceil(off_bytes); /* whole sectors: [first, last) */
	uint64_t last = sector_floor(end);
	int err = 0;

	assert(len_bytes && end <= io->size_bytes);
	if (first > last) /* inside one sector */
		return write_merged(io, lane, NULL, (size_t)len_bytes, off_bytes);
	if (off_bytes < first)
		err = write_merged(io, lane, NULL, (size_t)(first - off_bytes), off_bytes);
	if (!err && first < last) {
		sv_ranges_lock(&io->ranges, lane->slot, first, last, false); /* B1 */
		err = io->ops->discard(io->disk, last - first, first);
		sv_ranges_unlock(&io->ranges, lane->slot);
	}
	if (!err && last < end)
		err = write_merged(io, lane, NULL, (size_t)(end - last), last);
	return err;
}
