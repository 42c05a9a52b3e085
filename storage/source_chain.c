/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_chain.c: opens an image: tells its format, picks who reads it, follows its backing files.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "source_qcow_table.h"

/*
 * A chain is opened from the top down; each image is a layer over the source of the images below
 * it (source_overlay.c). Images of qcow, qcow2 and VMDK have backing files. QEMU, where it reads
 * one layer, is told to leave the rest of the chain alone: one place decides which files are
 * opened, and as which format.
 *
 *  C1  no file is opened twice in a chain (by device and inode, not by name), and no chain has
 *      more than CHAIN_MAX images: opening ends.
 *  C2  a backing file is a file of this host: names with a protocol ("nbd:", "json:") are refused.
 *  C3  a backing file is taken as the format that its overlay names, and is detected only where
 *      none is named.
 */
#define CHAIN_MAX 32
#define BACKING_FILE "its backing file "

struct chain {
	const struct sv_source_options *opts;
	struct {
		uint64_t dev, ino;
	} seen[CHAIN_MAX];
	unsigned count;
};

static int chain_add(struct chain *chain, const struct source_file *file,
		     struct sv_source_error *err)
{
	for (unsigned i = 0; i < chain->count; i++)
		if (chain->seen[i].dev == file->dev && chain->seen[i].ino == file->ino)
			return source_fail(err, -ELOOP,
					   "is its own backing file: the chain is a circle");
	if (chain->count == CHAIN_MAX)
		return source_fail(err, -ELOOP,
				   "ends a chain of more than %d images; flatten it first with "
				   "qemu-img convert",
				   CHAIN_MAX);
	chain->seen[chain->count].dev = file->dev;
	chain->seen[chain->count].ino = file->ino;
	chain->count++;
	return 0;
}

/* C2, as QEMU tells a protocol: a colon before the first slash. "file:" is a plain name. */
static const char *plain_name(const char *name)
{
	if (strncmp(name, "file:", 5) == 0)
		return name + 5;
	return name[strcspn(name, ":/")] == ':' ? NULL : name;
}

static int open_image(struct chain *chain, const char *path, const char *format,
		      struct sv_source **ret_source, struct sv_source_error *err);

/* `name` and `format` are the image's words for its backing file; `format` "": not said. */
static int open_below(struct chain *chain, const char *path, const char *name, const char *format,
		      struct sv_source **ret_source, struct sv_source_error *err)
{
	struct sv_source_error why = {""};
	const char *known = format[0] ? source_format_named(format) : NULL;
	const char *plain = plain_name(name);

	if (!plain)
		return source_fail(err, -ENOTSUP,
				   "has the backing file '%s', which is not a file of this host; "
				   "flatten it first with qemu-img convert",
				   name);
	if (format[0] && !known)
		return source_fail(err, -ENOTSUP, "has a backing file of the unknown format '%s'",
				   format);
	char *below = source_path_beside(path, plain);
	if (!below)
		return source_fail(err, -ENOMEM, "needs more memory than there is");
	int r = open_image(chain, below, known, ret_source, &why);
	/* Of a long chain only the image that is to blame is named. */
	if (r < 0 && strncmp(why.text, BACKING_FILE, strlen(BACKING_FILE)) == 0)
		source_fail(err, r, "%s", why.text);
	else if (r < 0)
		source_fail(err, r, BACKING_FILE "%s %s", below, why.text);
	free(below);
	return r;
}

/* Puts a layer that is opened, or failed with `r`, over what is below it (NULL: nothing). Owns
 * both. */
static int join(int r, struct sv_source *layer, struct sv_source *below,
		struct sv_source **ret_source, struct sv_source_error *err)
{
	if (r == 0 && !below) {
		*ret_source = layer;
		return 0;
	}
	if (r == 0) {
		r = source_overlay_open(layer, below, ret_source);
		if (r == 0)
			return 0;
		source_fail(err, r, "needs more memory than there is");
		sv_source_close(layer);
	}
	sv_source_close(below);
	return r;
}

/* Through QEMU; the file, which QEMU opens itself, is closed on success. */
static int open_qemu_layer(struct chain *chain, const char *path, const char *format,
			   const char *why, struct source_file *file, struct sv_source **ret_source,
			   struct sv_source_error *err)
{
	struct source_qemu_request req = {
		.path = path,
		.format = format,
		.why = why,
		.qemu_nbd = chain->opts->qemu_nbd,
		.block_device = file->block_device,
		.layer = strcmp(format, "vmdk") == 0 || strcmp(format, "qcow2") == 0 ||
			 strcmp(format, "qcow") == 0,
	};

	int r = source_qemu_open(&req, ret_source, err);
	if (r == 0)
		source_file_close(file);
	return r;
}

/* QEMU reads zeros where a table or a cluster lies behind the end of its file: look first. */
static int check_for_qemu(const char *path, const struct source_file *file,
			  const struct qcow_header *header, struct sv_source_error *err)
{
	struct source_file data = {.fd = -1, .bytes = file->bytes};
	struct sv_source_error why = {""};
	struct qcow_table table;
	int r = 0;

	if (header->data_file[0]) {
		char *name = source_path_beside(path, header->data_file);
		r = name ? source_file_open(name, &data, &why) : -ENOMEM;
		if (r < 0)
			source_fail(err, r, "its data file %s %s", header->data_file, why.text);
		free(name);
	}
	if (r == 0)
		r = qcow_table_init(&table, file, header);
	if (r == 0) {
		table.data_bytes = data.bytes;
		r = qcow_table_check(&table, err);
		qcow_table_free(&table);
	}
	source_file_close(&data);
	return r;
}

static int open_qcow_layer(struct chain *chain, const char *path, struct source_file *file,
			   const struct qcow_header *header, struct sv_source **ret_source,
			   struct sv_source_error *err)
{
	const char *why = header->needs_qemu;
	bool aligned = true;
	int r = 0;

	if (!why)
		r = qcow_tables_aligned(file, header, &aligned, err);
	if (!aligned)
		why = "its tables lie where libqcow does not find them";
	if (r == 0 && why)
		r = check_for_qemu(path, file, header, err);
	if (r < 0)
		return r;
	if (why)
		return open_qemu_layer(chain, path, header->version == 1 ? "qcow" : "qcow2", why,
				       file, ret_source, err);
	r = source_qcow_open(file, header, ret_source, err);
	if (r == 0)
		file->fd = -1; /* the layer's now */
	return r;
}

static int open_qcow(struct chain *chain, const char *path, struct source_file *file,
		     struct sv_source **ret_source, struct sv_source_error *err)
{
	struct sv_source *layer = NULL, *below = NULL;
	struct qcow_header header;

	int r = qcow_header_read(file, &header, err);
	if (r == 0 && header.backing[0])
		r = open_below(chain, path, header.backing, header.backing_format, &below, err);
	if (r == 0)
		r = open_qcow_layer(chain, path, file, &header, &layer, err);
	return join(r, layer, below, ret_source, err);
}

#define WHY_QEMU "it is not in a format that is read without QEMU"

static int open_vmdk(struct chain *chain, const char *path, struct source_file *file,
		     struct sv_source **ret_source, struct sv_source_error *err)
{
	struct sv_source *layer = NULL, *below = NULL;
	char parent[SOURCE_NAME_BYTES];

	int r = source_vmdk_parent(file, parent, err);
	if (r == 0 && parent[0])
		r = open_below(chain, path, parent, "", &below, err);
	if (r == 0)
		r = source_vmdk_check(file, path, err);
	if (r == 0)
		r = open_qemu_layer(chain, path, "vmdk", WHY_QEMU, file, &layer, err);
	return join(r, layer, below, ret_source, err);
}

static int open_as(struct chain *chain, const char *path, const char *format,
		   struct source_file *file, struct sv_source **ret_source,
		   struct sv_source_error *err)
{
	int r = 0;

	if (strcmp(format, "raw") == 0) {
		r = source_raw_open(file, ret_source, err);
		if (r == 0)
			file->fd = -1; /* the source's now */
		return r;
	}
	if (strcmp(format, "qcow") == 0 || strcmp(format, "qcow2") == 0)
		return open_qcow(chain, path, file, ret_source, err);
	if (strcmp(format, "vmdk") == 0)
		return open_vmdk(chain, path, file, ret_source, err);
	if (strcmp(format, "vpc") == 0)
		r = source_vhd_check(file, err);
	if (strcmp(format, "vdi") == 0)
		r = source_vdi_check(file, err);
	if (r < 0)
		return r;
	return open_qemu_layer(chain, path, format, WHY_QEMU, file, ret_source, err);
}

static int open_image(struct chain *chain, const char *path, const char *format,
		      struct sv_source **ret_source, struct sv_source_error *err)
{
	struct source_file file;

	int r = source_file_open(path, &file, err);
	if (r < 0)
		return r;
	if (file.bytes == 0)
		r = source_size_check(0, err);
	if (r == 0)
		r = chain_add(chain, &file, err);
	if (r == 0 && !format)
		r = source_detect(&file, &format, err);
	if (r == 0)
		r = open_as(chain, path, format, &file, ret_source, err);
	source_file_close(&file); /* where nobody took it */
	return r;
}

int sv_source_open(const char *path, const struct sv_source_options *opts,
		   struct sv_source **ret_source, struct sv_source_error *ret_error)
{
	static const struct sv_source_options defaults = {0};
	struct chain chain = {.opts = opts ? opts : &defaults};
	const char *format = NULL;

	if (chain.opts->format) {
		format = source_format_named(chain.opts->format);
		if (!format)
			return source_fail(ret_error, -EINVAL, "cannot be of the format '%s'",
					   chain.opts->format);
	}
	return open_image(&chain, path, format, ret_source, ret_error);
}
