/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_impl.h: what the parts of a source share: files, errors, layers. DESIGN.md. */
#ifndef STORAGE_SOURCE_IMPL_H
#define STORAGE_SOURCE_IMPL_H

#include "stickvm/source.h"

#define SECTOR_BYTES 512u
#define SOURCE_NAME_BYTES 1024u /* of a backing file inside an image, with the final zero */

/* Fills `err` (printf-like; NULL is fine; what is not printable becomes '?') and returns `value`,
 * so that a caller can `return source_fail(err, -EBADMSG, ...)`. */
int source_fail(struct sv_source_error *err, int value, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A regular file or block device, open for reading. */
struct source_file {
	int fd;
	uint64_t bytes;
	bool block_device;
	uint64_t dev, ino; /* who it is, whatever its name */
};

/* Opens; refuses all that is neither a file nor a block device, and what a QEMU writes to. */
int source_file_open(const char *path, struct source_file *ret_file, struct sv_source_error *err);
/* Takes a closed one (fd -1). */
void source_file_close(struct source_file *file);
/* Everything or an errno; -ENODATA where the file ends before. */
int source_file_read(const struct source_file *file, void *buf, size_t len_bytes,
		     uint64_t off_bytes);

/* The path of a file that an image names: relative to the image's folder. To be freed. */
char *source_path_beside(const char *image, const char *name);

/* -EINVAL with a clause unless a disk can have this size. */
int source_size_check(uint64_t size_bytes, struct sv_source_error *err);

/* The format of a file by its content: a literal that source_open_layer knows. -EMEDIUMTYPE where
 * it is certainly no disk. */
int source_detect(const struct source_file *file, const char **ret_format,
		  struct sv_source_error *err);
/* The literal for a name of a format, NULL for an unknown one. */
const char *source_format_named(const char *name);

/* The implementations. On success they own `file`; on failure it stays the caller's. */
int source_raw_open(const struct source_file *file, struct sv_source **ret_source,
		    struct sv_source_error *err);
struct qcow_header;
int source_qcow_open(const struct source_file *file, const struct qcow_header *header,
		     struct sv_source **ret_source, struct sv_source_error *err);

/* The parent that a VMDK names; "" for none. */
int source_vmdk_parent(const struct source_file *file, char ret_name[SOURCE_NAME_BYTES],
		       struct sv_source_error *err);
/* Refuse what QEMU would misread, or read as zeros because it was cut off. */
int source_vmdk_check(const struct source_file *file, const char *path,
		      struct sv_source_error *err);
int source_vhd_check(const struct source_file *file, struct sv_source_error *err);
int source_vdi_check(const struct source_file *file, struct sv_source_error *err);

/* What QEMU is to open. With `layer` its backing file is left out: what is not in the image
 * itself is SV_EXTENT_BELOW. `why` says in the error what needs QEMU. */
struct source_qemu_request {
	const char *path;
	const char *format; /* a literal */
	const char *why;
	const char *qemu_nbd; /* NULL: on $PATH */
	bool block_device;
	bool layer;
};
int source_qemu_open(const struct source_qemu_request *req, struct sv_source **ret_source,
		     struct sv_source_error *err);

/* A layer over its backing source; both are owned. Never fails but for memory. */
int source_overlay_open(struct sv_source *layer, struct sv_source *below,
			struct sv_source **ret_source);

#endif
