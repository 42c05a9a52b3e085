/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_vmdk.c: the parent that a VMDK names, and whether its extents are there as a whole. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "source_impl.h"

/*
 * A VMDK is a text, the descriptor, that names files, its extents; or one sparse extent with the
 * text inside. QEMU opens the parent that it names by itself, in a circle for ever, and reads zeros
 * where an extent was cut off. So the parent is read here, as QEMU reads it, and opened as any
 * other backing file; and all extents are compared with the size of their files.
 *
 * Sparse extent, little-endian: 0 "KDMV", 12 capacity, 20 sectors a grain, 28 the text's sector,
 * 44 grains a table (u32), 56 the directory's sector: all u64 but that. The directory is an array
 * of u32 sectors of tables, a table one of sectors of grains; 0 and 1 mean no data. With a
 * directory at NO_SECTOR the same header stands two sectors before the file's end, in a footer.
 * A compressed grain that is cut does not inflate: QEMU gives an error for it.
 */
#define DESCRIPTOR_BYTES (20u * SECTOR_BYTES)
#define SPARSE_DESCRIPTOR_AT 28u /* in the header: the text's first sector, u64 */

#define MAX_DIRECTORY_BYTES (UINT64_C(64) << 20)
#define MAX_TABLE_ENTRIES 4096u
#define NO_SECTOR UINT64_MAX
#define FLAG_COMPRESSED UINT64_C(0x10000)
#define FOOTER_FROM_END 1024u
#define MAX_SECTORS (UINT64_C(1) << 40)

static uint64_t get_le32(const uint8_t *p)
{
	return (uint64_t)p[3] << 24 | (uint64_t)p[2] << 16 | (uint64_t)p[1] << 8 | p[0];
}

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

static int read_text(const struct source_file *file, char ret_text[DESCRIPTOR_BYTES + 1],
		     struct sv_source_error *err)
{
	uint64_t off_bytes = 0;
	size_t len_bytes = 0;

	int r = descriptor_place(file, &off_bytes);
	if (r == 0) {
		uint64_t rest = file->bytes - off_bytes;
		len_bytes = rest < DESCRIPTOR_BYTES ? (size_t)rest : DESCRIPTOR_BYTES;
		r = source_file_read(file, ret_text, len_bytes, off_bytes);
	}
	ret_text[len_bytes] = '\0';
	if (r == -ENODATA)
		return source_fail(err, -EBADMSG,
				   "is truncated or damaged: its descriptor lies beyond its end");
	if (r < 0)
		return source_fail(err, r, "cannot be read: %s", strerror(-r));
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
	char text[DESCRIPTOR_BYTES + 1];
	size_t len;

	int r = read_text(file, text, err);
	if (r < 0)
		return r;
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

struct sparse {
	const struct source_file *file;
	uint64_t grain_bytes;
	uint64_t table_entries;
	uint64_t directory_off_bytes;
	uint64_t directory_entries;
	uint64_t capacity_bytes;
	bool compressed;
};

static int cut(struct sv_source_error *err)
{
	return source_fail(err, -EBADMSG,
			   "is truncated or damaged: a part of it lies beyond the end of its file; "
			   "copy it again");
}

static bool reaches(const struct source_file *file, uint64_t off_bytes, uint64_t len_bytes)
{
	return off_bytes <= file->bytes && len_bytes <= file->bytes - off_bytes;
}

static int read_sparse(const struct source_file *file, struct sparse *ret_sparse,
		       struct sv_source_error *err)
{
	uint8_t head[80] = {0};

	int r = source_file_read(file, head, sizeof(head), 0);
	if (r == 0 && get_le64(head + 56) == NO_SECTOR && file->bytes >= FOOTER_FROM_END)
		r = source_file_read(file, head, sizeof(head), file->bytes - FOOTER_FROM_END);
	uint64_t capacity = get_le64(head + 12), grain = get_le64(head + 20);
	uint64_t entries = get_le32(head + 44), directory = get_le64(head + 56);
	if (r < 0 || memcmp(head, "KDMV", 4) != 0 || directory > file->bytes / SECTOR_BYTES)
		return cut(err);
	if (grain == 0 || grain > 65536 || entries == 0 || entries > MAX_TABLE_ENTRIES ||
	    capacity / (grain * entries) >= MAX_DIRECTORY_BYTES / 4)
		return source_fail(err, -EBADMSG, "is damaged: its tables are out of range");
	*ret_sparse = (struct sparse){
		.file = file,
		.grain_bytes = grain * SECTOR_BYTES,
		.table_entries = entries,
		.directory_off_bytes = directory * SECTOR_BYTES,
		.directory_entries = (capacity + grain * entries - 1) / (grain * entries),
		.capacity_bytes = capacity * SECTOR_BYTES,
		.compressed = get_le32(head + 8) & FLAG_COMPRESSED,
	};
	return 0;
}

/* Every grain that table number `index` names; the last one may hold less than a grain. */
static int check_table(const struct sparse *sp, uint64_t index, uint64_t off_bytes,
		       struct sv_source_error *err)
{
	uint8_t table[4 * MAX_TABLE_ENTRIES];

	if (source_file_read(sp->file, table, 4 * (size_t)sp->table_entries, off_bytes) < 0)
		return cut(err);
	for (uint64_t i = 0; i < sp->table_entries; i++) {
		uint64_t grain = get_le32(table + 4 * i);
		uint64_t disk_off = (index * sp->table_entries + i) * sp->grain_bytes;
		if (grain <= 1 || disk_off >= sp->capacity_bytes)
			continue;
		uint64_t need = sp->capacity_bytes - disk_off;
		if (need > sp->grain_bytes)
			need = sp->grain_bytes;
		if (!reaches(sp->file, grain * SECTOR_BYTES, sp->compressed ? 1 : need))
			return cut(err);
	}
	return 0;
}

static int check_sparse(const struct source_file *file, struct sv_source_error *err)
{
	struct sparse sp = {0};

	int r = read_sparse(file, &sp, err);
	for (uint64_t i = 0; r == 0 && i < sp.directory_entries; i++) {
		uint8_t entry[4];
		if (source_file_read(file, entry, 4, sp.directory_off_bytes + 4 * i) < 0)
			return cut(err);
		if (get_le32(entry) != 0)
			r = check_table(&sp, i, get_le32(entry) * SECTOR_BYTES, err);
	}
	return r;
}

static int check_extent_file(const char *path, uint64_t need_bytes, struct sv_source_error *err)
{
	struct source_file file;
	uint8_t magic[4] = {0};

	int r = source_file_open(path, &file, err);
	if (r < 0)
		return r;
	if (!reaches(&file, 0, need_bytes))
		r = cut(err);
	/* Other kinds of sparse extents, of ESX, are left to QEMU. */
	else if (need_bytes == 0 && source_file_read(&file, magic, 4, 0) == 0 &&
		 memcmp(magic, "KDMV", 4) == 0)
		r = check_sparse(&file, err);
	source_file_close(&file);
	return r;
}

/* One line: ACCESS SECTORS KIND "NAME" [SECTOR]. Anything else is no extent, and QEMU's matter. */
static int check_line(const char *path, const char *line, struct sv_source_error *err)
{
	struct sv_source_error why = {""};
	unsigned long long sectors, first = 0;
	char access[16], kind[16], name[512];

	int fields = sscanf(line, "%15s %llu %15s \"%511[^\"]\" %llu", access, &sectors, kind, name,
			    &first);
	if (fields < 4 || (strcmp(access, "RW") != 0 && strcmp(access, "RDONLY") != 0))
		return 0;
	if (sectors > MAX_SECTORS || first > MAX_SECTORS)
		return source_fail(err, -EBADMSG, "is damaged: an extent is out of range");
	bool flat = strcmp(kind, "FLAT") == 0 || strcmp(kind, "VMFS") == 0;
	char *beside = source_path_beside(path, name);
	if (!beside)
		return source_fail(err, -ENOMEM, "needs more memory than there is");
	int r = check_extent_file(beside, flat ? (sectors + first) * SECTOR_BYTES : 0, &why);
	free(beside);
	if (r < 0)
		source_fail(err, r, "its extent %s %s", name, why.text);
	return r;
}

int source_vmdk_check(const struct source_file *file, const char *path, struct sv_source_error *err)
{
	char text[DESCRIPTOR_BYTES + 1];
	char *rest = text;
	int r = 0;

	if (file->bytes >= 4 && source_file_read(file, text, 4, 0) == 0 &&
	    memcmp(text, "KDMV", 4) == 0)
		return check_sparse(file, err);
	r = read_text(file, text, err);
	for (char *line; r == 0 && (line = strsep(&rest, "\r\n"));)
		r = check_line(path, line, err);
	return r;
}
