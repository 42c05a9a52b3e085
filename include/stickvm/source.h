/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source.h: a read-only disk image, of any format, as a source of a new disk; and the import. */
#ifndef STICKVM_SOURCE_H
#define STICKVM_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sv_store;

/*
 * A source is what a guest would see on the disk of an image: [0, size_bytes), runs of data and
 * holes. Raw files and block devices are read natively, qcow (versions 1 to 3) through libqcow,
 * all else through QEMU's qemu-nbd. The format is told by the image's content, never by its name.
 *
 * Threads: a source is used by one thread at a time. Different sources are independent.
 */
struct sv_source;

/* Why a call failed: a clause about the image, "why; what to do", without its name in front. */
struct sv_source_error {
	char text[512];
};

enum sv_extent {
	SV_EXTENT_DATA,	 /* may hold anything */
	SV_EXTENT_HOLE,	 /* reads as zeros */
	SV_EXTENT_BELOW, /* a layer of a chain only: not here, ask the backing file. Never returned
			  * by sv_source_next, which says DATA or HOLE for the whole chain. */
};

struct sv_source_ops {
	/* The range lies inside the source. Transfers everything or fails; holes read as zeros. */
	int (*read)(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes);
	/* The kind of the run that starts at `off_bytes` (< size_bytes), and a lower bound of its
	 * length (> 0, inside the source): the next run may be of the same kind. */
	int (*next)(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
		    uint64_t *ret_len_bytes);
	void (*close)(struct sv_source *src);
};

/* The head of every source; an implementation embeds it as its first member. */
struct sv_source {
	const struct sv_source_ops *ops;
	const char *format;	      /* "raw", "qcow", "qcow2", "vmdk", ...: a literal */
	uint64_t size_bytes;	      /* of the disk; a multiple of 512, never 0 */
	struct sv_source_error error; /* of the last call that failed */
};

/* How an image is opened. Zero fields take the default; NULL for all of them. */
struct sv_source_options {
	const char *format;   /* take it as this ("raw", "qcow2", ...); NULL: by its content */
	const char *qemu_nbd; /* path of QEMU's qemu-nbd; NULL: "qemu-nbd" on $PATH */
};

/*
 * Opens an image and its whole chain of backing files (names in an image are relative to its
 * folder). Memory and time are bounded whatever the headers say. On failure `ret_error`, which
 * may be NULL, holds the clause; the value tells the kind:
 *  -ENOENT, -EACCES, -EIO, ...: what the host said of the image or of a backing file
 *  -EISDIR, -EMEDIUMTYPE: not an image (a folder, a pipe, a compressed archive, ...)
 *  -EINVAL: the disk's size is zero, not a multiple of 512, or over 16 TiB
 *  -EBADMSG: the image is damaged or truncated
 *  -ENOTSUP: encrypted, or a feature nobody here can read
 *  -ENOPKG: QEMU's qemu-nbd is needed and is not there
 *  -ELOOP: the chain of backing files is a circle or too long
 *  -EBUSY: another program, a running VM, writes to it
 */
int sv_source_open(const char *path, const struct sv_source_options *opts,
		   struct sv_source **ret_source, struct sv_source_error *ret_error);

/* Reads [off_bytes, off_bytes + len_bytes), any alignment, inside the source (-EINVAL). Everything
 * or an errno: -EBADMSG where the image is damaged there, never zeros or other data instead.
 * After a failure src->error holds the clause. */
int sv_source_read(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes);

/* What lies at `off_bytes`, SV_EXTENT_DATA or SV_EXTENT_HOLE, and for how long at least (> 0).
 * -ENXIO: at or past the end; -EBADMSG: the image's tables are damaged there. */
int sv_source_next(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
		   uint64_t *ret_len_bytes);

/* Ends helpers, closes files and frees. Takes NULL. */
void sv_source_close(struct sv_source *src);

/* Where an import writes: it must read as zeros where nothing was written. */
struct sv_import_sink {
	int (*write)(void *ctx, const void *buf, size_t len_bytes, uint64_t off_bytes);
	int (*flush)(void *ctx);
	void *ctx;
};

/* How far an import is. Bytes of the disk. */
struct sv_import_progress {
	uint64_t done_bytes;  /* imported or known to be holes */
	uint64_t total_bytes; /* the source's size */
	uint64_t data_bytes;  /* of done_bytes: written, that is, not zero */
};

struct sv_import_options {
	/* Called after every request of at most 1 MiB, and at the end; may be NULL. */
	void (*report)(void *ctx, const struct sv_import_progress *progress);
	void *ctx;
	const atomic_bool *cancel; /* looked at before every request; may be NULL */
};

enum sv_import_stage { SV_IMPORT_READ, SV_IMPORT_WRITE, SV_IMPORT_FLUSH };

/* How an import ended, filled on success and on failure. */
struct sv_import_result {
	struct sv_import_progress progress;
	enum sv_import_stage stage; /* what was under way when it failed */
	uint64_t failed_off_bytes;  /* where on the disk */
};

/*
 * Copies a source into an empty sink, in ascending requests of at most 1 MiB that start and end
 * on multiples of 4 KiB (but for the disk's end). Holes and blocks of zeros are not written. Ends
 * with a flush. Returns 0, -ECANCELED, or what the source (src->error has the clause) or the sink
 * returned. What was written until then stays.
 */
int sv_import(struct sv_source *src, const struct sv_import_sink *sink,
	      const struct sv_import_options *opts, struct sv_import_result *ret_result);
/* The same into a newly formatted store, at least as large as the source (-ENOSPC). */
int sv_import_store(struct sv_source *src, struct sv_store *st,
		    const struct sv_import_options *opts, struct sv_import_result *ret_result);

#endif
