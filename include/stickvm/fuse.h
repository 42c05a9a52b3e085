/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse.h: a disk as a file: mounts a folder with `disk.raw` and `status.json`, and serves it. */
#ifndef STICKVM_FUSE_H
#define STICKVM_FUSE_H

#include <stdbool.h>

#include "stickvm/store.h"

/*
 * The life of a mount: mount -> run (blocks) -> the caller closes the store -> destroy.
 *
 *	err = sv_fuse_mount(st, dir, &opts, &fuse);  the folder is mounted; an open of a file
 *						     in it waits until the mount is served
 *	err = sv_fuse_run(fuse);                     ends by umount or sv_fuse_stop
 *	err = sv_store_close(st);                    the last byte reaches the stick here
 *	sv_fuse_destroy(fuse);
 *
 * A daemon forks before it opens the store (threads do not survive a fork); its parent may
 * return as soon as the child says that sv_fuse_mount succeeded. In one process with other work,
 * call sv_fuse_run in a thread of its own and sv_fuse_stop from any other.
 *
 * disk.raw behaves like a block device: its size is fixed (O_TRUNC has no effect, truncate to
 * another size fails: EPERM smaller, EFBIG larger; a write at the end gives ENOSPC), fsync and
 * O_DSYNC mean "on the stick", and so does close. Any byte offset is served, with or without
 * O_DIRECT, and nothing is cached by the kernel. A shared mmap fails with ENODEV; a private one
 * works. See storage/DESIGN.md for why.
 */
struct sv_fuse;

/* Zeroed: the defaults. */
struct sv_fuse_options {
	bool read_only;	  /* writes fail with EROFS */
	bool allow_root;  /* root too, where an ordinary user mounts (needs user_allow_other) */
	unsigned threads; /* at most; 0: 16. They are made as needed; a request holds one */
	/*
	 * Requests that meet a detached store (sv_store_detach) wait, instead of failing with EIO,
	 * until it is attached again, sv_fuse_release_held is called, or the mount ends. They are
	 * put aside and keep no thread: status.json and everything that needs no stick go on. Each
	 * holds its data in memory, at most 1 MiB; the kernel sends one for each process that
	 * waits, and 128 asynchronous ones.
	 */
	bool hold;
	const char *name; /* shown as the source by findmnt and df: "stickvm:NAME"; may be NULL */
};

/*
 * Mounts the store on an existing empty folder, as root directly, else through fusermount3.
 * `st` is borrowed until sv_fuse_run returned. -ENOENT, -ENOTDIR: the folder; -ENOTEMPTY: it
 * holds something; -ENODEV: no /dev/fuse; -EACCES: no right to use it or the folder; -EINVAL:
 * the name holds a comma, backslash or control character; -EPERM: fusermount3 is missing or
 * refused; -ENOMEM; -EIO: mounting failed for another reason. sv_fuse_why tells more on the
 * last ones.
 */
int sv_fuse_mount(struct sv_store *st, const char *mountpoint, const struct sv_fuse_options *opts,
		  struct sv_fuse **ret_fuse);
/* More on the last failed sv_fuse_mount of this thread, a clause for a message; "" if nothing. */
const char *sv_fuse_why(void);

/*
 * Serves the mount with several threads until it is unmounted or sv_fuse_stop is called, then
 * unmounts it (lazily: who still has a file open gets ENOTCONN). Every request that was taken
 * up is answered before this returns (a held one with EIO); no thread uses the store afterwards.
 * Nothing is flushed here: that is sv_store_close's. Signals are blocked in the serving threads.
 * Returns 0, or a negative errno where the connection to the kernel failed. Call it once.
 */
int sv_fuse_run(struct sv_fuse *fuse);

/* Makes sv_fuse_run return. From any thread or signal handler, any number of times, also before
 * sv_fuse_run is called. */
void sv_fuse_stop(struct sv_fuse *fuse);

/*
 * Lets go of the requests that wait for the stick (option `hold`): they fail with EIO, and so do
 * those that follow, until the store is attached again; then the hold is in force anew. From any
 * thread.
 */
void sv_fuse_release_held(struct sv_fuse *fuse);

/* Unmounts if that has not happened, and frees everything. Takes NULL. Not while it runs. */
void sv_fuse_destroy(struct sv_fuse *fuse);

#endif
