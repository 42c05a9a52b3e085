/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_priv.h: what the two halves of the FUSE adaptor share: the session and its operations. */
#ifndef STORAGE_FUSE_PRIV_H
#define STORAGE_FUSE_PRIV_H

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)

#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "fuse_io.h"

struct sv_fuse_worker {
	struct sv_fuse *fuse;
	pthread_t thread;
	struct sv_fuse_lane lane;
	struct fuse_buf request; /* libfuse allocates its memory once */
};

struct sv_fuse {
	struct sv_fuse_io io;
	struct fuse_session *session;
	uid_t uid;
	gid_t gid;
	bool read_only;
	int64_t mounted_s;	   /* Unix time */
	_Atomic int64_t changed_s; /* of the last change of the disk */

	struct sv_fuse_worker *workers;
	unsigned max_workers;
	pthread_key_t worker_key; /* the worker that runs in this thread */
	sem_t wake;		  /* posted by sv_fuse_stop and by a worker that leaves */
	atomic_uint idle;	  /* workers that wait for a request; see fuse.c, W2 */
	pthread_mutex_t lock;	  /* guards the following */
	unsigned started;	  /* workers[0, started) exist */
	bool stopping;
	int error; /* the first, of a worker that left */
};

/* The operations of the mounted file system; their userdata is the struct sv_fuse. */
extern const struct fuse_lowlevel_ops sv_fuse_ops;

#endif
