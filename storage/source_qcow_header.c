/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qcow_header.c: decodes and checks the header of qcow (version 1) and qcow2 (2 and 3). */
#include "source_qcow_header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Every field is checked before anything is allocated or handed to libqcow, which trusts several
 * of them (the size of the L1 table, offsets beyond the file).
 *
 * Version 1, 48 bytes:             Versions 2 and 3, 72 and at least 104 bytes:
 *   0 magic, 4 version               0 magic, 4 version
 *   8 backing name's offset, u64     8 backing name's offset, u64
 *  16 its length, u32               16 its length, u32
 *  20 mtime, u32                    20 cluster_bits, u32
 *  24 size, u64                     24 size, u64
 *  32 cluster_bits, u8              32 crypt_method, u32
 *  33 l2_bits, u8                   36 l1_entries, u32
 *  36 crypt_method, u32             40 l1 offset, u64
 *  40 l1 offset, u64                72 incompatible features, u64 (version 3 from here on)
 *                                  100 header length, u32
 *                                  104 compression type, u8, where the length covers it
 * Header extensions (type u32, length u32, data padded to 8) follow the header.
 */
#define V1_HEADER_BYTES 48u
#define V2_HEADER_BYTES 72u
#define V3_HEADER_BYTES 104u
#define MAX_L1_BYTES (UINT64_C(32) << 20)
#define MAX_EXTENSIONS_BYTES 65536u

#define FEATURE_DIRTY UINT64_C(1) /* only reference counts are stale: harmless to a reader */
#define FEATURE_CORRUPT UINT64_C(2)
#define FEATURE_EXTERNAL_DATA UINT64_C(4)
#define FEATURE_COMPRESSION UINT64_C(8)
#define FEATURE_EXTENDED_L2 UINT64_C(16)
#define FEATURES_KNOWN UINT64_C(31)

#define EXTENSION_END 0u
#define EXTENSION_BACKING_FORMAT 0xe2792acau
#define EXTENSION_DATA_FILE 0x44415441u
#define QCOW_EXTERNAL_DATA "its data lies in another file"

uint32_t qcow_get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t qcow_get64(const uint8_t *p)
{
	return (uint64_t)qcow_get32(p) << 32 | qcow_get32(p + 4);
}

static int damaged(struct sv_source_error *err, const char *what)
{
	return source_fail(err, -EBADMSG, "is damaged: %s", what);
}

/* A read where the end of the file means a truncated image. */
static int read_part(const struct source_file *file, void *buf, size_t len_bytes,
		     uint64_t off_bytes, struct sv_source_error *err)
{
	int r = source_file_read(file, buf, len_bytes, off_bytes);

	if (r == -ENODATA)
		return source_fail(err, -EBADMSG,
				   "is truncated: it ends at byte %llu, inside its header or "
				   "tables; copy it again",
				   (unsigned long long)file->bytes);
	if (r < 0)
		return source_fail(err, r, "cannot be read: %s", strerror(-r));
	return 0;
}

static int check_crypt(uint32_t method, struct sv_source_error *err)
{
	if (method == 0)
		return 0;
	return source_fail(err, -ENOTSUP,
			   "is encrypted (%s); decrypt it first with qemu-img convert",
			   method == 1	 ? "AES"
			   : method == 2 ? "LUKS"
					 : "an unknown method");
}

/* Sets l1_entries to what the disk needs; `have` is what the header says there are. */
static int check_l1(const struct source_file *file, struct qcow_header *h, uint64_t have,
		    struct sv_source_error *err)
{
	uint64_t covered = UINT64_C(1) << (h->cluster_bits + h->l2_bits);
	uint64_t need = (h->size_bytes + covered - 1) / covered;

	if (have > MAX_L1_BYTES / 8 || need > MAX_L1_BYTES / 8)
		return damaged(err, "its L1 table would be larger than 32 MiB");
	if (need > have)
		return damaged(err, "its L1 table is too small for its disk");
	if (h->l1_off_bytes < V1_HEADER_BYTES || h->l1_off_bytes > file->bytes ||
	    have * 8 > file->bytes - h->l1_off_bytes)
		return source_fail(
			err, -EBADMSG,
			"is truncated or damaged: its L1 table lies beyond its end; copy "
			"it again");
	h->l1_entries = (uint32_t)need;
	return 0;
}

static int read_backing_name(const struct source_file *file, struct qcow_header *h,
			     uint64_t off_bytes, uint32_t len_bytes, struct sv_source_error *err)
{
	if (off_bytes == 0 || len_bytes == 0)
		return 0;
	if (len_bytes >= SOURCE_NAME_BYTES || off_bytes > file->bytes)
		return damaged(err, "the name of its backing file is out of bounds");
	int r = read_part(file, h->backing, len_bytes, off_bytes, err);
	if (r == 0 && (strlen(h->backing) != len_bytes))
		return damaged(err, "the name of its backing file contains a zero byte");
	return r;
}

static int check_features(uint64_t features, uint32_t compression, struct qcow_header *h,
			  struct sv_source_error *err)
{
	if (features & FEATURE_CORRUPT)
		return source_fail(err, -EBADMSG,
				   "is marked as corrupt; repair a copy of it with qemu-img check "
				   "-r all");
	if (features & ~FEATURES_KNOWN)
		return source_fail(err, -ENOTSUP,
				   "needs qcow2 features (bits 0x%llx) that are not known here",
				   (unsigned long long)(features & ~FEATURES_KNOWN));
	if (compression > 1 || (compression == 1) != ((features & FEATURE_COMPRESSION) != 0))
		return source_fail(err, -ENOTSUP, "uses an unknown compression (%u)", compression);
	if (compression == 1)
		h->needs_qemu = "its clusters are compressed with zstd";
	if (features & FEATURE_EXTENDED_L2) {
		h->needs_qemu = "it has extended L2 entries";
		h->extended_l2 = true;
	}
	if (features & FEATURE_EXTERNAL_DATA)
		h->needs_qemu = QCOW_EXTERNAL_DATA;
	return 0;
}

static int read_extension(const struct source_file *file, char *text, size_t text_size,
			  uint64_t off_bytes, uint32_t len_bytes, struct sv_source_error *err)
{
	if (len_bytes >= text_size)
		return damaged(err, "a header extension is too long");
	return read_part(file, text, len_bytes, off_bytes, err);
}

/* Finds file names and formats among the header extensions, which lie in [off, end). */
static int read_extensions(const struct source_file *file, struct qcow_header *h, uint32_t off,
			   uint64_t end, struct sv_source_error *err)
{
	uint8_t part[8];
	int r = 0;

	if (end > MAX_EXTENSIONS_BYTES)
		end = MAX_EXTENSIONS_BYTES;
	while (r == 0 && off + sizeof(part) <= end) {
		r = read_part(file, part, sizeof(part), off, err);
		if (r < 0)
			return r;
		uint32_t type = qcow_get32(part);
		uint32_t len_bytes = qcow_get32(part + 4);
		off += (uint32_t)sizeof(part);
		if (type == EXTENSION_END)
			return 0;
		if (len_bytes > end - off)
			return damaged(err, "a header extension is out of bounds");
		if (type == EXTENSION_BACKING_FORMAT)
			r = read_extension(file, h->backing_format, sizeof(h->backing_format), off,
					   len_bytes, err);
		else if (type == EXTENSION_DATA_FILE)
			r = read_extension(file, h->data_file, sizeof(h->data_file), off, len_bytes,
					   err);
		off += (len_bytes + 7) & ~7u;
	}
	return r;
}

/* They end where the name of the backing file begins; the first images of version 2 have none. */
static int read_names(const struct source_file *file, struct qcow_header *h, const uint8_t *raw,
		      uint32_t header_bytes, struct sv_source_error *err)
{
	bool external = h->needs_qemu && strcmp(h->needs_qemu, QCOW_EXTERNAL_DATA) == 0;
	uint64_t name_off = qcow_get64(raw + 8);

	int r = read_backing_name(file, h, name_off, qcow_get32(raw + 16), err);
	if (r == 0 && (h->backing[0] || external))
		r = read_extensions(file, h, header_bytes,
				    h->backing[0] ? name_off : qcow_cluster_bytes(h), err);
	if (r == 0 && external && !h->data_file[0])
		return damaged(err, "it does not name the file that its data lies in");
	return r;
}

static int read_v1(const struct source_file *file, const uint8_t *raw, struct qcow_header *h,
		   struct sv_source_error *err)
{
	h->size_bytes = qcow_get64(raw + 24);
	h->cluster_bits = raw[32];
	h->l2_bits = raw[33];
	h->l1_off_bytes = qcow_get64(raw + 40);
	if (h->cluster_bits < 9 || h->cluster_bits > 16 || h->l2_bits < 6 || h->l2_bits > 13)
		return damaged(err, "the size of its clusters or tables is out of range");
	int r = check_crypt(qcow_get32(raw + 36), err);
	if (r == 0)
		r = source_size_check(h->size_bytes, err);
	if (r == 0) /* version 1 does not store how many entries there are */
		r = check_l1(file, h,
			     (h->size_bytes + (UINT64_C(1) << (h->cluster_bits + h->l2_bits)) -
			      1) >> (h->cluster_bits + h->l2_bits),
			     err);
	if (r == 0)
		r = read_backing_name(file, h, qcow_get64(raw + 8), qcow_get32(raw + 16), err);
	return r;
}

static int read_v3_fields(const struct source_file *file, struct qcow_header *h,
			  uint32_t *ret_header_bytes, struct sv_source_error *err)
{
	uint8_t raw[V3_HEADER_BYTES + 1] = {0};

	int r = read_part(file, raw, V3_HEADER_BYTES, 0, err);
	if (r < 0)
		return r;
	uint32_t header_bytes = qcow_get32(raw + 100);
	if (header_bytes < V3_HEADER_BYTES || header_bytes > qcow_cluster_bytes(h))
		return damaged(err, "the length of its header is out of range");
	if (header_bytes > V3_HEADER_BYTES)
		r = read_part(file, raw + V3_HEADER_BYTES, 1, V3_HEADER_BYTES, err);
	if (r == 0)
		r = check_features(qcow_get64(raw + 72), raw[V3_HEADER_BYTES], h, err);
	*ret_header_bytes = header_bytes;
	return r;
}

static int read_v2(const struct source_file *file, struct qcow_header *h,
		   struct sv_source_error *err)
{
	uint8_t raw[V2_HEADER_BYTES];
	uint32_t header_bytes = V2_HEADER_BYTES;

	int r = read_part(file, raw, sizeof(raw), 0, err);
	if (r < 0)
		return r;
	h->cluster_bits = qcow_get32(raw + 20);
	h->size_bytes = qcow_get64(raw + 24);
	h->l1_off_bytes = qcow_get64(raw + 40);
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return damaged(err, "the size of its clusters is out of range");
	if (h->version == 3)
		r = read_v3_fields(file, h, &header_bytes, err);
	h->l2_bits = h->cluster_bits - (h->extended_l2 ? 4 : 3);
	if (r == 0)
		r = check_crypt(qcow_get32(raw + 32), err);
	if (r == 0)
		r = source_size_check(h->size_bytes, err);
	if (r == 0)
		r = check_l1(file, h, qcow_get32(raw + 36), err);
	if (r == 0)
		r = read_names(file, h, raw, header_bytes, err);
	return r;
}

int qcow_header_read(const struct source_file *file, struct qcow_header *ret_header,
		     struct sv_source_error *err)
{
	uint8_t raw[V1_HEADER_BYTES];
	struct qcow_header h = {0};

	int r = read_part(file, raw, sizeof(raw), 0, err);
	if (r < 0)
		return r;
	if (memcmp(raw, "QFI\xfb", 4) != 0)
		return source_fail(err, -EBADMSG, "is no qcow image, as it should be");
	h.version = qcow_get32(raw + 4);
	if (h.version == 1)
		r = read_v1(file, raw, &h, err);
	else if (h.version == 2 || h.version == 3)
		r = read_v2(file, &h, err);
	else
		r = source_fail(err, -ENOTSUP, "is a qcow image of version %u, which is not known",
				h.version);
	if (r == 0)
		*ret_header = h;
	return r;
}

/*
 * libqcow takes an L2 table to start at a multiple of its size. QEMU aligns it to a cluster only;
 * a qcow 1 overlay has clusters of 512 bytes and tables of 32 KiB, which libqcow then misreads
 * without an error.
 */
int qcow_tables_aligned(const struct source_file *file, const struct qcow_header *header,
			bool *ret_aligned, struct sv_source_error *err)
{
	size_t len_bytes = (size_t)header->l1_entries * 8;
	bool aligned = true;

	uint8_t *l1 = malloc(len_bytes);
	if (!l1)
		return source_fail(err, -ENOMEM, "needs more memory than there is");
	int r = read_part(file, l1, len_bytes, header->l1_off_bytes, err);
	for (uint32_t i = 0; r == 0 && i < header->l1_entries; i++)
		aligned = aligned && qcow_get64(l1 + 8 * i) % qcow_l2_bytes(header) == 0;
	free(l1);
	if (r == 0)
		*ret_aligned = aligned;
	return r;
}
