/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qcow.c: a qcow or qcow2 image as a source: libqcow reads it, the tables are checked. */
#include <errno.h>
#include <libqcow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <zlib.h>

#include "source_qcow_table.h"

/*
 * libqcow has no call for what is allocated, and serves wrong bytes without an error in cases that
 * DESIGN.md lists. So this file walks the L1 and L2 tables itself, and asks libqcow only
 * for clusters of which it knows that libqcow reads them right:
 *
 *  Q1  a cluster is handed to libqcow only if its L2 entry says that its bytes are in this file,
 *      its offset is aligned, and all of it that belongs to the disk lies inside the file;
 *  Q2  a cluster that is not here, or a zero cluster, never reaches libqcow (which would serve the
 *      parent's bytes for a zero cluster);
 *  Q3  what libqcow inflated is served only if inflating it again here gives a whole cluster with
 *      the same bytes (libqcow does not check the length, and serves memory it never wrote).
 *
 * libqcow refuses every read of an image with a backing file until it is given a parent. The
 * layer below may be of any format, so the chain is source_overlay's; the parent given here is a
 * second handle of the same image without a parent: by Q2 it is never read, and if it were, it
 * would refuse.
 */
#define NO_INDEX UINT64_MAX

struct source_qcow {
	struct sv_source head;
	struct source_file file;
	struct qcow_header header;
	libqcow_file_t *lib;
	libqcow_file_t *stand_in; /* parent of `lib` where there is a backing file */
	struct qcow_table table;
	/* The last compressed cluster that was read; allocated when the first one is met. */
	uint64_t unpacked_index;
	uint8_t *unpacked, *check, *packed;
	z_stream inflater;
};

static struct source_qcow *qcow_of(struct sv_source *src)
{
	return (struct source_qcow *)src;
}

static int damaged_at(struct source_qcow *q, uint64_t index, const char *what)
{
	return qcow_damaged(&q->header, index, what, &q->head.error);
}

/* Q1 is checked by this. */
static int lookup(struct source_qcow *q, uint64_t index, struct qcow_place *ret_place)
{
	return qcow_table_find(&q->table, index, ret_place, &q->head.error);
}

/* What libqcow says, without the names of its functions. Frees `lib_err`. */
static int lib_fail(struct sv_source_error *err, libqcow_error_t *lib_err, const char *doing)
{
	char text[256] = "";

	libqcow_error_sprint(lib_err, text, sizeof(text));
	libqcow_error_free(&lib_err);
	char *what = strstr(text, ": ");
	what = what ? what + 2 : text;
	size_t len = strcspn(what, ".\n");
	return source_fail(err, -EBADMSG, "cannot be %s by libqcow: %.*s", doing, (int)len, what);
}

static enum sv_extent extent_of(enum qcow_place_kind kind)
{
	if (kind == QCOW_BELOW)
		return SV_EXTENT_BELOW;
	return kind == QCOW_ZERO ? SV_EXTENT_HOLE : SV_EXTENT_DATA;
}

/* A run ends at the latest where its L2 table ends, so that a call takes a bounded time. */
static int qcow_next(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
		     uint64_t *ret_len_bytes)
{
	struct source_qcow *q = qcow_of(src);
	uint32_t bits = q->header.cluster_bits;
	uint64_t first = off_bytes >> bits;
	uint64_t table_end = ((first >> q->header.l2_bits) + 1) << q->header.l2_bits;
	uint64_t disk_end = (src->size_bytes + qcow_cluster_bytes(&q->header) - 1) >> bits;
	uint64_t end = table_end < disk_end ? table_end : disk_end;
	uint64_t stop = first + 1;
	struct qcow_place place;

	int r = lookup(q, first, &place);
	if (r < 0)
		return r;
	enum sv_extent kind = extent_of(place.kind);
	if (!q->table.l2_present)
		stop = end;
	/* An error further on belongs to the call that starts there. */
	struct sv_source_error keep = src->error;
	while (stop < end && lookup(q, stop, &place) == 0 && extent_of(place.kind) == kind)
		stop++;
	src->error = keep;
	uint64_t stop_bytes = stop << bits;
	if (stop_bytes > src->size_bytes)
		stop_bytes = src->size_bytes;
	*ret_kind = kind;
	*ret_len_bytes = stop_bytes - off_bytes;
	return 0;
}

static int lib_read(struct source_qcow *q, uint8_t *buf, size_t len_bytes, uint64_t off_bytes)
{
	libqcow_error_t *lib_err = NULL;

	while (len_bytes > 0) {
		ssize_t n = libqcow_file_read_buffer_at_offset(q->lib, buf, len_bytes,
							       (off64_t)off_bytes, &lib_err);
		if (n < 0)
			return lib_fail(&q->head.error, lib_err, "read");
		if (n == 0 || (size_t)n > len_bytes)
			return damaged_at(q, off_bytes >> q->header.cluster_bits,
					  "a cluster ends before its end");
		buf += n;
		off_bytes += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

static int packed_buffers(struct source_qcow *q)
{
	size_t whole = (size_t)qcow_cluster_bytes(&q->header);

	if (q->unpacked)
		return 0;
	q->check = malloc(whole);
	q->packed = malloc(2 * whole + SECTOR_BYTES);
	uint8_t *unpacked = malloc(whole);
	if (!q->check || !q->packed || !unpacked || inflateInit2(&q->inflater, -15) != Z_OK) {
		free(unpacked);
		free(q->check);
		free(q->packed);
		q->check = q->packed = NULL;
		return source_fail(&q->head.error, -ENOMEM, "needs more memory than there is");
	}
	q->unpacked = unpacked;
	return 0;
}

/* Q3: inflates into q->check; a stream that gives less than a cluster is damaged. */
static int inflate_check(struct source_qcow *q, uint64_t index, const struct qcow_place *place)
{
	size_t whole = (size_t)qcow_cluster_bytes(&q->header);

	/* The field of the length has cluster_bits - 8 bits (version 1: cluster_bits). */
	if (source_file_read(&q->file, q->packed, (size_t)place->len_bytes, place->off_bytes) < 0)
		return damaged_at(q, index, "a compressed cluster cannot be read");
	inflateReset(&q->inflater);
	q->inflater.next_in = q->packed;
	q->inflater.avail_in = (uInt)place->len_bytes;
	q->inflater.next_out = q->check;
	q->inflater.avail_out = (uInt)whole;
	int z = inflate(&q->inflater, Z_FINISH);
	if ((z != Z_STREAM_END && z != Z_BUF_ERROR && z != Z_OK) || q->inflater.avail_out != 0)
		return damaged_at(q, index, "a compressed cluster does not decompress");
	return 0;
}

/* Makes q->unpacked hold a compressed cluster. */
static int load_packed(struct source_qcow *q, uint64_t index, const struct qcow_place *place)
{
	size_t used = (size_t)qcow_used_bytes(&q->header, index);

	if (q->unpacked_index == index)
		return 0;
	int r = packed_buffers(q);
	if (r < 0)
		return r;
	q->unpacked_index = NO_INDEX;
	r = inflate_check(q, index, place);
	if (r == 0)
		r = lib_read(q, q->unpacked, used, index << q->header.cluster_bits);
	if (r == 0 && memcmp(q->unpacked, q->check, used) != 0)
		r = damaged_at(q, index, "a compressed cluster reads differently twice");
	if (r == 0)
		q->unpacked_index = index;
	return r;
}

static int read_in_cluster(struct source_qcow *q, uint8_t *buf, size_t len_bytes,
			   uint64_t off_bytes)
{
	uint64_t index = off_bytes >> q->header.cluster_bits;
	struct qcow_place place;

	int r = lookup(q, index, &place);
	if (r < 0)
		return r;
	if (place.kind == QCOW_PLAIN)
		return lib_read(q, buf, len_bytes, off_bytes);
	if (place.kind != QCOW_PACKED) { /* Q2 */
		memset(buf, 0, len_bytes);
		return 0;
	}
	r = load_packed(q, index, &place);
	if (r == 0)
		memcpy(buf, q->unpacked + off_bytes % qcow_cluster_bytes(&q->header), len_bytes);
	return r;
}

static int qcow_read(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct source_qcow *q = qcow_of(src);
	uint64_t whole = qcow_cluster_bytes(&q->header);
	uint8_t *to = buf;

	while (len_bytes > 0) {
		uint64_t part = whole - off_bytes % whole;
		if (part > len_bytes)
			part = len_bytes;
		int r = read_in_cluster(q, to, (size_t)part, off_bytes);
		if (r < 0)
			return r;
		to += part;
		off_bytes += part;
		len_bytes -= (size_t)part;
	}
	return 0;
}

static void qcow_close(struct sv_source *src)
{
	struct source_qcow *q = qcow_of(src);

	libqcow_file_free(&q->lib, NULL);
	libqcow_file_free(&q->stand_in, NULL);
	if (q->unpacked)
		inflateEnd(&q->inflater);
	free(q->unpacked);
	free(q->check);
	free(q->packed);
	qcow_table_free(&q->table);
	source_file_close(&q->file);
	free(q);
}

static const struct sv_source_ops qcow_ops = {
	.read = qcow_read,
	.next = qcow_next,
	.close = qcow_close,
};

/* By its descriptor: the same file as was checked, whatever its name is now. */
static int lib_open(const struct source_file *file, libqcow_file_t **ret_lib,
		    struct sv_source_error *err)
{
	libqcow_error_t *lib_err = NULL;
	libqcow_file_t *lib = NULL;
	char name[64];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
	if (libqcow_file_initialize(&lib, &lib_err) != 1 ||
	    libqcow_file_open(lib, name, LIBQCOW_OPEN_READ, &lib_err) != 1) {
		libqcow_file_free(&lib, NULL);
		return lib_fail(err, lib_err, "opened");
	}
	*ret_lib = lib;
	return 0;
}

static int open_handles(struct source_qcow *q, struct sv_source_error *err)
{
	libqcow_error_t *lib_err = NULL;
	size64_t media_bytes = 0;

	int r = lib_open(&q->file, &q->lib, err);
	if (r == 0 && q->header.backing[0])
		r = lib_open(&q->file, &q->stand_in, err);
	if (r < 0)
		return r;
	if (q->stand_in && libqcow_file_set_parent_file(q->lib, q->stand_in, &lib_err) != 1)
		return lib_fail(err, lib_err, "opened");
	if (libqcow_file_get_media_size(q->lib, &media_bytes, &lib_err) != 1)
		return lib_fail(err, lib_err, "opened");
	if (media_bytes != q->header.size_bytes)
		return source_fail(err, -EBADMSG, "changed while it was opened");
	return 0;
}

int source_qcow_open(const struct source_file *file, const struct qcow_header *header,
		     struct sv_source **ret_source, struct sv_source_error *err)
{
	struct source_qcow *q = calloc(1, sizeof(*q));

	if (!q)
		return source_fail(err, -ENOMEM, "needs more memory than there is");
	q->head.ops = &qcow_ops;
	q->head.format = header->version == 1 ? "qcow" : "qcow2";
	q->head.size_bytes = header->size_bytes;
	q->header = *header;
	q->file = *file;
	q->unpacked_index = NO_INDEX;
	int r = qcow_table_init(&q->table, &q->file, &q->header);
	if (r < 0)
		source_fail(err, r, "needs more memory than there is");
	else
		r = open_handles(q, err);
	if (r < 0) {
		q->file.fd = -1; /* stays the caller's */
		qcow_close(&q->head);
		return r;
	}
	*ret_source = &q->head;
	return 0;
}
