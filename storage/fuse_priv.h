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

/* The threads that serve a mount; see fuse_pool.c. */
struct sv_fuse_pool {
	struct sv_fuse_worker *workers;
	unsigned max_workers, base_workers;
	pthread_key_t worker_key; /* the worker that runs in this thread */
	sem_t wake;		  /* rings sv_fuse_pool_run: ending or watching was set */
	atomic_bool ending, watching;
	atomic_uint idle;     /* workers that wait for a request */
	atomic_uint taken;    /* requests so far; wraps */
	atomic_uint surplus;  /* workers that are to rest */
	pthread_mutex_t lock; /* guards the following */
	pthread_cond_t recalled;
	unsigned started; /* workers[0, started) exist */
	unsigned resting; /* of these */
	unsigned recall;  /* of those that rest, how many are to come back */
	bool stopping;
	int error; /* the first, of a worker that left */
};

/* A request for the data of disk.raw, as it can be tried again (fuse_file.c). */
struct sv_fuse_request {
	enum sv_fuse_kind {
		SV_FUSE_READ,
		SV_FUSE_WRITE,
		SV_FUSE_FLUSH,
		SV_FUSE_ZERO,
		SV_FUSE_SEEK,
	} kind;
	fuse_req_t req;
	uint64_t off_bytes, len_bytes;
	const char *data;  /* of a write */
	bool durable;	   /* a write that is answered after a flush */
	enum sv_seek what; /* of a seek */
};

/* Requests that wait for the stick; see fuse_hold.c. */
struct held;
struct sv_fuse_holder {
	bool enabled;
	pthread_t thread;
	struct sv_fuse_lane lane;
	pthread_mutex_t lock; /* guards the following */
	pthread_cond_t changed;
	struct held *first, **tail;
	bool running, ending, released;
};

/* A JSON file as one opener reads it; freed by its release, else with the mount. */
struct sv_fuse_text {
	struct sv_fuse_text *next, **link;
	char *text;
};

struct sv_fuse_texts {
	pthread_mutex_t lock;
	struct sv_fuse_text *first;
};

struct sv_fuse {
	struct sv_fuse_io io;
	struct sv_fuse_texts texts;
	struct sv_fuse_pool pool;
	struct sv_fuse_holder holder;
	struct fuse_session *session;
	uid_t uid;
	gid_t gid;
	bool read_only;
	int64_t mounted_s;	   /* Unix time */
	_Atomic int64_t changed_s; /* of the last change of the disk */
};

/* Frees what was opened and never released: a mount may end before its last release arrives. */
void sv_fuse_texts_fini(struct sv_fuse_texts *texts);

/* -ENOMEM, -EAGAIN; frees what it made. max_workers 0: the default. */
int sv_fuse_pool_init(struct sv_fuse_pool *pool, unsigned max_workers);
/* Takes a pool that was not initialised, zeroed. */
void sv_fuse_pool_fini(struct sv_fuse_pool *pool);
/* Serves until the mount is gone or the pool is told to end. 0 or a negative errno. */
int sv_fuse_pool_run(struct sv_fuse *fuse);
/* Async-signal-safe. */
void sv_fuse_pool_end(struct sv_fuse_pool *pool);

enum { SV_FUSE_INO_ROOT = FUSE_ROOT_ID, SV_FUSE_INO_DISK, SV_FUSE_INO_STATUS, SV_FUSE_INO_HISTORY };

/* File handles of disk.raw: what a close has to do. Those of the JSON files are their text. */
enum { SV_FUSE_HANDLE_READER = 0, SV_FUSE_HANDLE_WRITER = 1 };

/* The operations of the mounted file system; their userdata is the struct sv_fuse. */
extern const struct fuse_lowlevel_ops sv_fuse_ops;

/* Those of them that move data, in fuse_file.c. */
void sv_fuse_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi);
void sv_fuse_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		      struct fuse_file_info *fi);
void sv_fuse_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void sv_fuse_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void sv_fuse_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			  struct fuse_file_info *fi);
void sv_fuse_op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		      struct fuse_file_info *fi);

/* Does a request and answers it. Where the stick is away and `hold`: false, and nothing is answered
 * yet. */
bool sv_fuse_try(struct sv_fuse *fuse, struct sv_fuse_lane *lane,
		 const struct sv_fuse_request *request, bool hold);

/* ---- fuse_hold.c ---- */
void sv_fuse_holder_init(struct sv_fuse_holder *holder, bool enabled);
/* Takes one that was not initialised, zeroed. */
void sv_fuse_holder_fini(struct sv_fuse_holder *holder);
int sv_fuse_holder_start(struct sv_fuse *fuse); /* -ENOMEM, -EAGAIN */
/* Answers what is held; when no worker is left. */
void sv_fuse_holder_stop(struct sv_fuse *fuse);
/* Whether a request that meets a detached disk is to wait. */
bool sv_fuse_holds(struct sv_fuse *fuse);
/* Puts a request aside; it is answered later. */
void sv_fuse_hold(struct sv_fuse *fuse, const struct sv_fuse_request *request);

/* Answers with a negative errno of the disk, in terms of tools; 0: done. */
void sv_fuse_reply(fuse_req_t req, int err);

#endif
