/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_detect.c: what format an image has, by its content, never by its name. */
#include <errno.h>
#include <string.h>

#include "source_impl.h"

/*
 * A format without a magic of its own is raw: any content is a valid raw disk. Two cases are not
 * taken for one although they could be: archives, which nobody puts onto a bare disk but many try
 * to import, and a fixed VHD, which is a raw disk with a footer behind it.
 *
 * A raw disk that is one LUKS container is raw here (the guest has the key), other than in QEMU.
 */
#define HEAD_BYTES 512u
#define VHD_FOOTER_BYTES 512u
#define VHD_CHECKSUM_OFF 64u

struct magic {
	const char *format; /* or what the archive is called */
	uint16_t off_bytes;
	uint8_t len_bytes;
	const char *bytes;
};

static const struct magic formats[] = {
	{"qcow", 0, 8, "QFI\xfb\0\0\0\1"},
	{"qcow2", 0, 8, "QFI\xfb\0\0\0\2"},
	{"qcow2", 0, 8, "QFI\xfb\0\0\0\3"},
	{"vmdk", 0, 4, "KDMV"},
	{"vmdk", 0, 4, "COWD"},
	{"vmdk", 0, 21, "# Disk DescriptorFile"},
	{"vdi", 64, 4, "\x7f\x10\xda\xbe"},
	{"vhdx", 0, 8, "vhdxfile"},
	{"vpc", 0, 8, "conectix"},
};

/* What QEMU reads, but reads as zeros where it was cut off, and nobody has any more. */
static const struct magic others[] = {
	{"QED", 0, 4, "QED\0"},
	{"Parallels", 0, 16, "WithoutFreeSpace"},
	{"Parallels", 0, 16, "WithouFreSpacExt"},
};

static const struct magic archives[] = {
	{"gzip", 0, 3, "\x1f\x8b\x08"},
	{"xz", 0, 6,
	 "\xfd"
	 "7zXZ\0"},
	{"zstd", 0, 4, "\x28\xb5\x2f\xfd"},
	{"lz4", 0, 4, "\x04\x22\x4d\x18"},
	{"bzip2", 4, 6, "1AY&SY"},
	{"zip", 0, 4, "PK\3\4"},
	{"7-Zip", 0, 6, "7z\xbc\xaf\x27\x1c"},
	{"rar", 0, 6, "Rar!\x1a\x07"},
	{"tar (an OVA is one)", 257, 5, "ustar"},
};

static const char *match(const struct magic *table, size_t count, const uint8_t *head,
			 size_t head_bytes)
{
	for (size_t i = 0; i < count; i++) {
		const struct magic *m = &table[i];
		if ((size_t)m->off_bytes + m->len_bytes <= head_bytes &&
		    memcmp(head + m->off_bytes, m->bytes, m->len_bytes) == 0)
			return m->format;
	}
	return NULL;
}

/* The checksum makes it certain: the complement of the sum of all bytes but its own four. */
static bool is_vhd_footer(const uint8_t *footer)
{
	const uint8_t *field = footer + VHD_CHECKSUM_OFF;
	uint32_t stored = (uint32_t)field[0] << 24 | (uint32_t)field[1] << 16 |
			  (uint32_t)field[2] << 8 | field[3];
	uint32_t sum = 0;

	if (memcmp(footer, "conectix", 8) != 0)
		return false;
	for (size_t i = 0; i < VHD_FOOTER_BYTES; i++)
		if (i < VHD_CHECKSUM_OFF || i >= VHD_CHECKSUM_OFF + 4)
			sum += footer[i];
	return stored == ~sum;
}

int source_detect(const struct source_file *file, const char **ret_format,
		  struct sv_source_error *err)
{
	uint8_t head[HEAD_BYTES] = {0};
	size_t head_bytes = file->bytes < HEAD_BYTES ? (size_t)file->bytes : HEAD_BYTES;

	int r = source_file_read(file, head, head_bytes, 0);
	if (r < 0)
		return source_fail(err, r, "cannot be read: %s", strerror(-r));
	const char *format = match(formats, sizeof(formats) / sizeof(formats[0]), head, head_bytes);
	if (!format && head_bytes >= 8 && memcmp(head, "QFI\xfb", 4) == 0)
		return source_fail(err, -ENOTSUP, "is a qcow image of a version that is not known");
	const char *other = match(others, sizeof(others) / sizeof(others[0]), head, head_bytes);
	if (other)
		return source_fail(err, -ENOTSUP,
				   "is a %s image; convert it first with qemu-img convert", other);
	const char *archive =
		match(archives, sizeof(archives) / sizeof(archives[0]), head, head_bytes);
	if (!format && archive)
		return source_fail(err, -EMEDIUMTYPE,
				   "is no disk image but an archive, %s; unpack it first", archive);
	if (!format && file->bytes > VHD_FOOTER_BYTES) {
		uint8_t footer[VHD_FOOTER_BYTES];
		r = source_file_read(file, footer, sizeof(footer), file->bytes - sizeof(footer));
		if (r < 0)
			return source_fail(err, r, "cannot be read: %s", strerror(-r));
		if (is_vhd_footer(footer))
			format = "vpc";
	}
	*ret_format = format ? format : "raw";
	return 0;
}

const char *source_format_named(const char *name)
{
	if (strcmp(name, "raw") == 0 || strcmp(name, "file") == 0 ||
	    strcmp(name, "host_device") == 0)
		return "raw";
	if (strcmp(name, "vhd") == 0)
		return "vpc";
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (strcmp(name, formats[i].format) == 0)
			return formats[i].format;
	return NULL;
}
