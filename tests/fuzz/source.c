/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source.c: fuzz target: what an import looks at itself of an image, whatever QEMU then says. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "source_qcow_table.h"

#define MOST_READS 64u

/* As far as the limit goes; a run is never empty, and lies inside. */
static void read_all(struct sv_source *source)
{
	static uint8_t buf[65536];
	uint64_t off = 0;

	for (unsigned i = 0; i < MOST_READS && off < source->size_bytes; i++) {
		uint64_t len, left = source->size_bytes - off;
		enum sv_extent kind;

		if (sv_source_next(source, off, &kind, &len) < 0)
			break;
		fuzz_must(len > 0 && len <= left);
		left = len < sizeof(buf) ? len : sizeof(buf);
		if (kind == SV_EXTENT_DATA && sv_source_read(source, buf, left, off) < 0)
			fuzz_must(source->error.text[0] != '\0');
		off += kind == SV_EXTENT_DATA ? left : len;
	}
}

/* Without a backing file: names of other files are not followed here. */
static void open_qcow(struct source_file *file)
{
	struct sv_source_error err = {""};
	struct sv_source *source;
	struct qcow_header header;
	struct qcow_table table;
	bool aligned = false;

	if (qcow_header_read(file, &header, &err) < 0) {
		fuzz_must(err.text[0] != '\0');
		return;
	}
	if (qcow_tables_aligned(file, &header, &aligned, &err) == 0 && aligned &&
	    header.needs_qemu == NULL && header.backing[0] == '\0' &&
	    source_qcow_open(file, &header, &source, &err) == 0) {
		read_all(source);
		sv_source_close(source);
		file->fd = -1; /* the source's */
		return;
	}
	if (header.data_file[0] == '\0' && qcow_table_init(&table, file, &header) == 0) {
		(void)qcow_table_check(&table, &err);
		qcow_table_free(&table);
	}
}

static void open_as(struct source_file *file, const char *format)
{
	struct sv_source_error err = {""};
	char parent[SOURCE_NAME_BYTES];
	struct sv_source *source;

	if (strcmp(format, "raw") == 0 && source_raw_open(file, &source, &err) == 0) {
		read_all(source);
		sv_source_close(source);
		file->fd = -1;
	} else if (strcmp(format, "qcow") == 0 || strcmp(format, "qcow2") == 0) {
		open_qcow(file);
	} else if (strcmp(format, "vmdk") == 0) {
		if (source_vmdk_parent(file, parent, &err) == 0)
			fuzz_must(memchr(parent, 0, sizeof(parent)) != NULL);
		(void)source_vmdk_check(file, fuzz_folder(), &err);
	} else if (strcmp(format, "vpc") == 0) {
		(void)source_vhd_check(file, &err);
	} else if (strcmp(format, "vdi") == 0) {
		(void)source_vdi_check(file, &err);
	}
}

static void try(const uint8_t *data, size_t size, const char *as)
{
	int fd = fuzz_memory_file(data, size);
	struct sv_source_error err = {""};
	struct source_file file;
	const char *format;
	char path[32];

	fuzz_file_name(fd, path);
	fuzz_must(source_file_open(path, &file, &err) == 0);
	close(fd);
	if (as != NULL)
		open_as(&file, as);
	else if (source_detect(&file, &format, &err) == 0)
		open_as(&file, format);
	else
		fuzz_must(err.text[0] != '\0');
	source_file_close(&file);
}

/* The first byte: as what it is opened. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const formats[] = {NULL, "raw", "qcow2", "vmdk", "vdi", "vpc"};

	if (size > 0)
		try(data + 1, size - 1, formats[data[0] % 6]);
	return 0;
}
