/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qemu.c: an image that only QEMU reads, as a source, through a private qemu-nbd. */
#include "source_qemu.h"

#include <errno.h>
#include <jansson.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * qemu-nbd serves the image read-only on a socket of which only this process has the other end;
 * libnbd is the client. Nothing is copied to a temporary file, and what is a hole is asked for
 * (base:allocation). For a layer of a chain the image is opened without its backing file, and what
 * is not in the image itself is told by qemu:allocation-depth being 0.
 *
 * The image is named by a JSON object with its driver, so that no character of its name means
 * anything, and QEMU never guesses a format.
 */
#define CONTEXT_DEPTH "qemu:allocation-depth"
#define PACKAGE "qemu-utils"
#define MAX_REQUEST_BYTES (8u << 20)	     /* the protocol allows 32 MiB */
#define MAX_EXTENT_BYTES (UINT64_C(1) << 30) /* the protocol's lengths have 32 bits */
#define MAX_ALIGN_BYTES 65536
#define MAX_OPEN_S 30

struct source_qemu {
	struct sv_source head;
	struct nbd_handle *nbd;
	struct qemu_process process;
	bool has_allocation;
	bool layer;
	uint32_t align_bytes; /* the server's unit, a power of two; divides the size */
	char *unit;
};

static struct source_qemu *qemu_of(struct sv_source *src)
{
	return (struct source_qemu *)src;
}

static int nbd_fail(struct source_qemu *qs, uint64_t off_bytes)
{
	int e = nbd_get_errno();

	if (nbd_aio_is_ready(qs->nbd) <= 0)
		return source_fail(&qs->head.error, -EIO,
				   "made QEMU's qemu-nbd stop near byte %llu; look at it with "
				   "qemu-img check",
				   (unsigned long long)off_bytes);
	return source_fail(&qs->head.error, e ? -e : -EIO,
			   "cannot be read by QEMU near byte %llu: %s",
			   (unsigned long long)off_bytes, strerror(e ? e : EIO));
}

/* Part of one unit of the server's, through a buffer: it answers whole units only. */
static int read_part(struct source_qemu *qs, char *to, size_t len_bytes, uint64_t off_bytes)
{
	uint64_t start = off_bytes - off_bytes % qs->align_bytes;

	if (nbd_pread(qs->nbd, qs->unit, qs->align_bytes, start, 0) != 0)
		return nbd_fail(qs, off_bytes);
	memcpy(to, qs->unit + (off_bytes - start), len_bytes);
	return 0;
}

static int qemu_read(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct source_qemu *qs = qemu_of(src);
	char *to = buf;

	while (len_bytes > 0) {
		size_t in_unit = (size_t)(off_bytes % qs->align_bytes);
		size_t part = len_bytes - len_bytes % qs->align_bytes;
		int r = 0;
		if (in_unit != 0 || part == 0) {
			part = qs->align_bytes - in_unit;
			if (part > len_bytes)
				part = len_bytes;
			r = read_part(qs, to, part, off_bytes);
		} else {
			if (part > MAX_REQUEST_BYTES)
				part = MAX_REQUEST_BYTES;
			if (nbd_pread(qs->nbd, to, part, off_bytes, 0) != 0)
				r = nbd_fail(qs, off_bytes);
		}
		if (r < 0)
			return r;
		to += part;
		off_bytes += part;
		len_bytes -= part;
	}
	return 0;
}

/* The first extent of each context; a context that does not answer leaves its length 0. */
struct answer {
	uint64_t off_bytes;
	uint32_t base_bytes, base_flags;
	uint32_t depth_bytes, depth;
};

static int take_extents(void *ctx, const char *context, uint64_t off_bytes, uint32_t *entries,
			size_t count, int *error)
{
	struct answer *a = ctx;

	(void)error;
	if (count < 2 || off_bytes != a->off_bytes)
		return 0;
	if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0) {
		a->base_bytes = entries[0];
		a->base_flags = entries[1];
	} else if (strcmp(context, CONTEXT_DEPTH) == 0) {
		a->depth_bytes = entries[0];
		a->depth = entries[1];
	}
	return 0;
}

static int ask_extent(struct source_qemu *qs, uint64_t off_bytes, uint64_t len_bytes,
		      enum sv_extent *ret_kind, uint64_t *ret_len_bytes)
{
	struct answer a = {.off_bytes = off_bytes};
	nbd_extent_callback take = {.callback = take_extents, .user_data = &a};

	if (nbd_block_status(qs->nbd, len_bytes, off_bytes, take, LIBNBD_CMD_FLAG_REQ_ONE) != 0)
		return nbd_fail(qs, off_bytes);
	if (a.base_bytes == 0 || (qs->layer && a.depth_bytes == 0))
		return source_fail(&qs->head.error, -EIO, "QEMU does not say where its holes are");
	if (a.base_bytes < len_bytes)
		len_bytes = a.base_bytes;
	if (qs->layer && a.depth_bytes < len_bytes)
		len_bytes = a.depth_bytes;
	if (qs->layer && a.depth == 0)
		*ret_kind = SV_EXTENT_BELOW;
	else
		*ret_kind = a.base_flags & LIBNBD_STATE_ZERO ? SV_EXTENT_HOLE : SV_EXTENT_DATA;
	*ret_len_bytes = len_bytes;
	return 0;
}

static int qemu_next(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
		     uint64_t *ret_len_bytes)
{
	struct source_qemu *qs = qemu_of(src);
	uint64_t in_unit = off_bytes % qs->align_bytes;
	uint64_t len_bytes = src->size_bytes - (off_bytes - in_unit);

	if (len_bytes > MAX_EXTENT_BYTES)
		len_bytes = MAX_EXTENT_BYTES;
	*ret_kind = SV_EXTENT_DATA;
	if (qs->has_allocation) {
		int r = ask_extent(qs, off_bytes - in_unit, len_bytes, ret_kind, &len_bytes);
		if (r < 0)
			return r;
	}
	if (len_bytes <= in_unit)
		return source_fail(&src->error, -EIO, "QEMU does not say where its holes are");
	*ret_len_bytes = len_bytes - in_unit;
	return 0;
}

static void qemu_close(struct sv_source *src)
{
	struct source_qemu *qs = qemu_of(src);

	nbd_close(qs->nbd);
	if (qs->process.pid > 0)
		qemu_process_end(&qs->process, NULL, 0);
	free(qs->unit);
	free(qs);
}

static const struct sv_source_ops qemu_ops = {
	.read = qemu_read,
	.next = qemu_next,
	.close = qemu_close,
};

/* "json:{...}" for qemu-nbd, to be freed. */
static char *image_json(const struct source_qemu_request *req)
{
	char *name = NULL;

	/* JSON is UTF-8; a name that is not cannot be said to QEMU this way. */
	json_t *file =
		json_pack("{s:s, s:s, s:b}", "driver", req->block_device ? "host_device" : "file",
			  "filename", req->path, "read-only", 1);
	json_t *image =
		json_pack("{s:s, s:o, s:b}", "driver", req->format, "file", file, "read-only", 1);
	if (image && req->layer && json_object_set_new(image, "backing", json_null()) != 0) {
		json_decref(image);
		return NULL;
	}
	char *text = image ? json_dumps(image, JSON_COMPACT) : NULL;
	json_decref(image);
	if (text && asprintf(&name, "json:%s", text) < 0)
		name = NULL;
	free(text);
	return name;
}

static int start_process(struct source_qemu *qs, const struct source_qemu_request *req,
			 int *ret_socket, struct sv_source_error *err)
{
	char *path = qemu_program_find(req->qemu_nbd ? req->qemu_nbd : "qemu-nbd");
	char *image = image_json(req);
	const char *argv[] = {"qemu-nbd",	    "--read-only", "--shared=1",
			      "--allocation-depth", image,	   NULL};
	int r;

	if (!path)
		r = source_fail(err, -ENOPKG,
				"needs QEMU's %s, which is not here (%s); install the package %s",
				req->qemu_nbd ? req->qemu_nbd : "qemu-nbd", req->why, PACKAGE);
	else if (!image)
		r = source_fail(err, -ENOTSUP,
				"cannot be named to QEMU (%s): its name is not UTF-8; rename it",
				req->why);
	else
		r = qemu_process_start(path, argv, &qs->process, ret_socket, err);
	free(path);
	free(image);
	return r;
}

/* Takes the socket. QEMU opens the image before it answers. */
static int connect_nbd(struct source_qemu *qs, int socket_fd)
{
	struct timespec start, now;

	if (nbd_aio_connect_socket(qs->nbd, socket_fd) != 0)
		return -EIO;
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (nbd_aio_is_connecting(qs->nbd) > 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec >= MAX_OPEN_S)
			return -ETIMEDOUT;
		if (nbd_poll(qs->nbd, 1000) < 0)
			return -EIO;
	}
	return nbd_aio_is_ready(qs->nbd) > 0 ? 0 : -EIO;
}

/* What the server says of the image. */
static int learn_image(struct source_qemu *qs)
{
	int64_t size_bytes = nbd_get_size(qs->nbd);
	int64_t align = nbd_get_block_size(qs->nbd, LIBNBD_SIZE_MINIMUM);

	if (size_bytes < 0)
		return -EIO;
	qs->head.size_bytes = (uint64_t)size_bytes;
	qs->align_bytes = align > 1 ? (uint32_t)align : 1;
	if (align > MAX_ALIGN_BYTES || size_bytes % qs->align_bytes != 0)
		return -ENOTSUP;
	qs->has_allocation = nbd_can_meta_context(qs->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	if (qs->layer && nbd_can_meta_context(qs->nbd, CONTEXT_DEPTH) <= 0)
		return -ENOTSUP;
	qs->unit = malloc(qs->align_bytes);
	return qs->unit ? 0 : -ENOMEM;
}

static int open_served(struct source_qemu *qs, const struct source_qemu_request *req,
		       struct sv_source_error *err)
{
	char said[256];
	int socket_fd;

	qs->nbd = nbd_create();
	if (!qs->nbd || nbd_add_meta_context(qs->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
	    nbd_add_meta_context(qs->nbd, CONTEXT_DEPTH) != 0)
		return source_fail(err, -ENOMEM, "needs more memory than there is");
	int r = start_process(qs, req, &socket_fd, err);
	if (r < 0)
		return r;
	r = connect_nbd(qs, socket_fd);
	if (r == 0)
		r = learn_image(qs);
	if (r == 0)
		return source_size_check(qs->head.size_bytes, err);
	qemu_process_end(&qs->process, said, sizeof(said));
	qs->process.pid = 0;
	if (r == -ETIMEDOUT)
		return source_fail(err, r, "cannot be opened by QEMU as %s: no answer after %d s",
				   req->format, MAX_OPEN_S);
	if (r == -EIO)
		r = -EBADMSG;
	return source_fail(err, r, "cannot be opened by QEMU as %s: %s", req->format,
			   said[0] ? said : strerror(-r));
}

int source_qemu_open(const struct source_qemu_request *req, struct sv_source **ret_source,
		     struct sv_source_error *err)
{
	struct source_qemu *qs = calloc(1, sizeof(*qs));

	if (!qs)
		return source_fail(err, -ENOMEM, "needs more memory than there is");
	qs->head.ops = &qemu_ops;
	qs->head.format = req->format;
	qs->layer = req->layer;
	int r = open_served(qs, req, err);
	if (r < 0) {
		qemu_close(&qs->head);
		return r;
	}
	*ret_source = &qs->head;
	return 0;
}
