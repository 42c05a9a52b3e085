/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_vm_formats.c: what must be known of VMDK and VHD images before QEMU gets them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "source_impl.h"

/*
 * QEMU opens the parent that a VMDK names by itself, in a circle for ever; so the parent is read
 * here, as QEMU reads it, and opened as any other backing file. A VMDK is a text ("descriptor"),
 * or a sparse file with the magic "KDMV", a little-endian header and the text inside.
 */
#define DESCRIPTOR_BYTES (20u * SECTOR_BYTES)
#define SPARSE_DESCRIPTOR_AT 28u /* in the header: the text's first sector, u64 */

static uint64_t get_le64(const uint8_t *p)
{
	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | p[i];
	return value;
}

static int descriptor_place(const struct source_file *file, uint64_t *ret_off_bytes)
{
	uint8_t head[SPARSE_DESCRIPTOR_AT + 8] = {0};
	uint64_t off_bytes = 0;

	if (file->bytes >= sizeof(head)) {
		int r = source_file_read(file, head, sizeof(head), 0);
		if (r < 0)
			return r;
	}
	if (memcmp(head, "KDMV", 4) == 0) {
		uint64_t sector = get_le64(head + SPARSE_DESCRIPTOR_AT);
		if (sector > file->bytes / SECTOR_BYTES)
			return -ENODATA;
		off_bytes = sector * SECTOR_BYTES;
	}
	*ret_off_bytes = off_bytes;
	return 0;
}

/* The text between the quotes that follow a key, or an empty one; NULL where they never close. */
static const char *quoted(const char *text, const char *key, size_t *ret_len)
{
	const char *at = strstr(text, key);

	*ret_len = 0;
	if (!at)
		return "";
	at = strchr(at, '"');
	if (!at || !strchr(at + 1, '"'))
		return NULL;
	*ret_len = strcspn(at + 1, "\"");
	return at + 1;
}

/* A parent's content id of all ones says that there is no parent. */
static bool has_parent_id(const char *text)
{
	static const char key[] = "parentCID";
	const char *at = strstr(text, key);

	if (!at)
		return false;
	at += strlen(key);
	at += strspn(at, " =");
	return strncasecmp(at, "ffffffff", 8) != 0;
}

int source_vmdk_parent(const struct source_file *file, char ret_name[SOURCE_NAME_BYTES],
		       struct sv_source_error *err)
{
	char text[DESCRIPTOR_BYTES + 1] = "";
	uint64_t off_bytes = 0;
	size_t len;

	int r = descriptor_place(file, &off_bytes);
	if (r == 0) {
		uint64_t rest = file->bytes - off_bytes;
		len = rest < DESCRIPTOR_BYTES ? (size_t)rest : DESCRIPTOR_BYTES;
		r = source_file_read(file, text, len, off_bytes);
	}
	if (r == -ENODATA)
		return source_fail(err, -EBADMSG,
				   "is truncated or damaged: its descriptor lies beyond its end");
	if (r < 0)
		return source_fail(err, r, "cannot be read: %s", strerror(-r));
	const char *name = quoted(text, "parentFileNameHint", &len);
	if (!name || len >= SOURCE_NAME_BYTES)
		return source_fail(err, -EBADMSG, "is damaged: the name of its parent has no end");
	if (len == 0 && has_parent_id(text))
		return source_fail(err, -ENOTSUP,
				   "has only the changes to another VMDK, which it does not name; "
				   "merge the two first");
	snprintf(ret_name, SOURCE_NAME_BYTES, "%.*s", (int)len, name);
	return 0;
}

/*
 * A VHD's footer stands at its end, and for a dynamic one also in front. QEMU takes a differencing
 * disk for a dynamic one, and would serve zeros for what its parent has.
 */
#define VHD_TYPE_AT 60u
#define VHD_DIFFERENCING 4u

int source_vhd_check(const struct source_file *file, struct sv_source_error *err)
{
	uint8_t footer[SECTOR_BYTES];

	if (file->bytes < sizeof(footer))
		return source_fail(err, -EBADMSG, "is truncated: it has no whole VHD footer");
	int r = source_file_read(file, footer, sizeof(footer), 0);
	if (r == 0 && memcmp(footer, "conectix", 8) != 0)
		r = source_file_read(file, footer, sizeof(footer), file->bytes - sizeof(footer));
	if (r < 0)
		return source_fail(err, r, "cannot be read: %s", strerror(-r));
	const uint8_t *type = footer + VHD_TYPE_AT;
	if (type[0] == 0 && type[1] == 0 && type[2] == 0 && type[3] == VHD_DIFFERENCING)
		return source_fail(err, -ENOTSUP,
				   "is a differencing VHD, which has only the changes to another "
				   "one; merge the two first");
	return 0;
}
