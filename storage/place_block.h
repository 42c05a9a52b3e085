/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_block.h: what the host's block layer knows of the medium behind a file. */
#ifndef STICKVM_PLACE_BLOCK_H
#define STICKVM_PLACE_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Found once, when a place is opened. All zero: nothing is known (tmpfs, btrfs, network). */
struct place_block {
	bool visible;		    /* there is such a block device */
	bool start_known;	    /* its bytes lie in one run on the medium */
	bool write_back;	    /* the block layer passes a flush on to the medium */
	uint64_t start_bytes;	    /* of the partition, on the medium */
	uint64_t discard_max_bytes; /* 0: no discard */
	uint32_t discard_unit_bytes;
	uint32_t max_io_bytes; /* 0: unknown */
	uint64_t diskseq;      /* tells a device from a later one in the same place; 0: unknown */
	unsigned major, minor;
};

void place_block_find(dev_t device, struct place_block *ret_block);
/* False once the device has left, also where another came in its place. */
bool place_block_present(const struct place_block *block);
/* False where reading the device itself, past the page cache, fails; true where it works or where
 * there is no right to try. */
bool place_block_answers(const struct place_block *block);
bool place_block_written(const struct place_block *block, uint64_t *ret_bytes);

/*
 * A descriptor to sync the device itself in place of a file on it, where that is enough and
 * cheaper: exFAT and NTFS served by a daemon, which holds nothing back but would write the
 * file's time with every sync of the file. -EOPNOTSUPP: not such a device; -EACCES.
 */
int place_block_open_flush(const struct place_block *block);

/*
 * A way to tell the medium itself to empty its cache where the block layer does not (USB sticks:
 * usb-storage assumes write-through): SYNCHRONIZE CACHE on the whole disk. Returns a descriptor,
 * or -EOPNOTSUPP where the medium does not take the command, or -EACCES without the right to it.
 */
int place_block_open_sync(const struct place_block *block);
int place_block_sync(int sync_fd);

#endif
