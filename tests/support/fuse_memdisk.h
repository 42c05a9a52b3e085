/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_memdisk.h: a disk in memory behind the FUSE adaptor, which counts, sleeps and fails. */
#ifndef TESTS_FUSE_MEMDISK_H
#define TESTS_FUSE_MEMDISK_H

#include <pthread.h>
#include <stdatomic.h>

#include "fuse_disk.h"

struct memdisk {
	uint8_t *data;
	uint8_t *mapped; /* one byte a 4 KiB block */
	uint64_t size_bytes;
	pthread_mutex_t lock; /* orders reads and writes, not the sleeps */

	/* Set by the test before the mount, or while nothing is in flight. */
	atomic_uint write_sleep_ms, flush_sleep_ms, read_sleep_ms;
	atomic_int write_error, read_error, flush_error;
	atomic_bool detached; /* at any time: calls give -ENODEV, and the status says so */

	atomic_uint reads, writes, flushes, discards; /* calls */
	atomic_size_t largest_read, largest_write;
	atomic_uint writing, most_writing; /* now, and at most at once */
};

extern const struct sv_fuse_disk_ops memdisk_ops;

void memdisk_init(struct memdisk *disk, uint64_t size_bytes);
void memdisk_fini(struct memdisk *disk);
/* Its data, for a test whose requests were all answered: the answer came through the kernel, which
 * ThreadSanitizer does not see. */
const uint8_t *memdisk_data(struct memdisk *disk);

/* A memdisk mounted in a new folder and served by a thread. Failures abort the test. */
struct memmount {
	struct memdisk disk;
	struct sv_fuse *fuse;
	pthread_t thread;
	int guard; /* a pipe to the guard; closed: all is well */
	char dir[64];
	char file[80];	 /* disk.raw */
	char status[80]; /* status.json */
};

void memmount_start(struct memmount *mount, uint64_t size_bytes, unsigned threads, bool read_only);
void memmount_start_with(struct memmount *mount, uint64_t size_bytes,
			 const struct sv_fuse_options *opts);
/* Waits for the end of the run, frees everything, removes the folder; what sv_fuse_run returned. */
int memmount_wait(struct memmount *mount);
/* Stops, then as memmount_wait. */
int memmount_end(struct memmount *mount);

#endif
