/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev.h: the outside world of a store as one small table of functions. */
#ifndef STICKVM_DEV_H
#define STICKVM_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A device is a linear space of bytes, [0, size_bytes). Address 0 lies on an erase-unit boundary
 * of the medium where that is known. Whoever implements one (a folder of container files, a raw
 * partition, memory, a simulated stick, a decorator) hides file names, offsets and partitions.
 *
 * The contract, which `sv_dev_*` assert and every implementation may rely on:
 *  D1  offsets, lengths and buffer addresses are multiples of geometry.sector_bytes;
 *  D2  a request lies inside [0, size_bytes) as of the last successful grow;
 *  D3  read and write transfer everything or fail: 0 or a negative errno, nothing in between;
 *      after a failed write the content of its range is undefined, that of others is not;
 *  D4  a write that returned is seen by every later read; it is durable once a flush that was
 *      called after its return has returned 0;
 *  D5  all functions but close may be called from several threads at once.
 *
 * -ENODEV means that the medium went away: every later call on the same device fails likewise.
 */
struct sv_dev;

/* What is known of the medium. 0 means unknown for the fields that say so. */
struct sv_geometry {
	uint64_t size_bytes; /* addressable now */
	uint64_t max_bytes;  /* what grow could reach now (>= size_bytes), free space permitting */
	uint32_t sector_bytes;	  /* granularity of I/O: 512 or 4096 */
	uint32_t page_bytes;	  /* flash page; 0: unknown */
	uint32_t erase_bytes;	  /* erase unit (allocation unit); 0: unknown */
	uint32_t open_units;	  /* erase units writable in turn without a merge; 0: unknown */
	uint32_t max_io_bytes;	  /* a larger request is split by the host; 0: unknown */
	uint32_t damaged_headers; /* copies of its containers' that a writer would renew */
	bool alignment_known;	  /* address 0 is known to lie on an erase unit */
	bool flush_requested;	  /* flush reaches the medium itself (else: assumed) */
	bool first_write_costs; /* the first write of a range changes the file system's metadata */
	bool writes_times; /* seconds after a write its file system writes the file's times, too */
};

struct sv_dev_ops {
	int (*read)(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*write)(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*flush)(struct sv_dev *dev);
	/* A hint that the range holds nothing of value; its content is undefined afterwards. */
	int (*discard)(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes);
	/* Makes [0, size_bytes) addressable; durable on return. -ENOSPC when there is no room. */
	int (*grow)(struct sv_dev *dev, uint64_t size_bytes);
	int (*geometry)(struct sv_dev *dev, struct sv_geometry *ret_geometry);
	/* Optional. A flush, and what the file system would write by itself within seconds. */
	int (*settle)(struct sv_dev *dev);
	/* Optional. Whether the medium is still there: 0, or -ENODEV, and then every later call
	 * fails likewise. Asked after another call has failed; looks at the medium, not at a cache.
	 */
	int (*alive)(struct sv_dev *dev);
	/* Frees the device and what it owns. Never fails; unflushed writes may be lost. */
	void (*close)(struct sv_dev *dev);
};

/* The head of every device; an implementation embeds it as its first member. */
struct sv_dev {
	const struct sv_dev_ops *ops;
	const char *kind; /* "folder", "raw", "ram", "crash", ...: a literal, for messages */
};

/* Calls through the table. They check D1 by assertion and return 0 or a negative errno. */
int sv_dev_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes);
int sv_dev_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes);
int sv_dev_flush(struct sv_dev *dev);
/* A flush where the device knows of nothing else. */
int sv_dev_settle(struct sv_dev *dev);
int sv_dev_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes);
int sv_dev_grow(struct sv_dev *dev, uint64_t size_bytes);
int sv_dev_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry);
/* 0 where the device has no way to tell. */
int sv_dev_alive(struct sv_dev *dev);
/* Takes NULL. */
void sv_dev_close(struct sv_dev *dev);

#endif
