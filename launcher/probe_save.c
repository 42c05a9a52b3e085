/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_save.c: the file of kept blocks: written and synced before the stick is, read backwards. */
/*
 * Format, numbers little-endian, 8 bytes: magic, size of the stick, seed of the run's tags; then
 * records: offset, length, that many bytes; commits: UINT64_MAX, 0. Nothing behind the last commit
 * has been written over on the stick (probe_fake.c, C1), so a torn end does no harm.
 */
#include "probe_save.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

#define MAGIC UINT64_C(0x3130796361707673) /* "svpacy01" */
#define MAX_FILE_BYTES ((size_t)256 << 20)

struct probe_save {
	FILE *file;
	char *path;
};

struct header {
	uint64_t magic, size_bytes, seed;
};

/* Makes the folders of a path, private to the user. */
static void make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
}

char *probe_save_path(const char *name)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *clean = strdup(name), *path = NULL;

	for (char *c = clean; c && *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
			*c = '_';
	if (clean && state && state[0] == '/')
		path = file_path("%s/stickvm/capacity-%s", state, clean);
	else if (clean)
		path = file_path("%s/.local/state/stickvm/capacity-%s", home ? home : "/root",
				 clean);
	free(clean);
	return path;
}

bool probe_save_pending(const char *name)
{
	char *path = probe_save_path(name);
	bool pending = path && access(path, F_OK) == 0;

	free(path);
	return pending;
}

static int put64(FILE *file, uint64_t value)
{
	value = htole64(value);
	return fwrite(&value, sizeof value, 1, file) == 1 ? 0 : -EIO;
}

int probe_save_open(const char *name, uint64_t size_bytes, uint64_t seed,
		    struct probe_save **ret_save)
{
	struct probe_save *save = calloc(1, sizeof *save);
	int fd, r = -ENOMEM;

	if (!save)
		return -ENOMEM;
	save->path = probe_save_path(name);
	if (save->path) {
		make_folders(save->path);
		fd = open(save->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		save->file = fd < 0 ? NULL : fdopen(fd, "w");
		r = save->file ? 0 : -errno;
	}
	if (r == 0 && (put64(save->file, MAGIC) < 0 || put64(save->file, size_bytes) < 0 ||
		       put64(save->file, seed) < 0))
		r = -EIO;
	if (r < 0) {
		probe_save_close(save, save->file != NULL);
		return r;
	}
	*ret_save = save;
	return 0;
}

static int keep(void *ctx, const void *data, size_t len_bytes, uint64_t off_bytes)
{
	struct probe_save *save = ctx;

	if (put64(save->file, off_bytes) < 0 || put64(save->file, len_bytes) < 0)
		return -EIO;
	return fwrite(data, len_bytes, 1, save->file) == 1 ? 0 : -EIO;
}

static int commit(void *ctx)
{
	struct probe_save *save = ctx;

	if (put64(save->file, UINT64_MAX) < 0 || put64(save->file, 0) < 0 ||
	    fflush(save->file) != 0 || fsync(fileno(save->file)) < 0)
		return -EIO;
	return 0;
}

struct probe_saver probe_save_saver(struct probe_save *save)
{
	return (struct probe_saver){.keep = keep, .commit = commit, .ctx = save};
}

void probe_save_close(struct probe_save *save, bool done)
{
	if (!save)
		return;
	if (save->file)
		fclose(save->file);
	if (done && save->path)
		unlink(save->path);
	free(save->path);
	free(save);
}

static uint64_t get64(const char *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof value);
	return le64toh(value);
}

struct record {
	uint64_t off_bytes;
	size_t len_bytes;
	const char *data;
};

/* The records up to the last commit; their data lies in `text`. */
static int read_records(const char *text, size_t bytes, struct record **ret_records,
			size_t *ret_count)
{
	size_t at = sizeof(struct header), count = 0, committed = 0;
	struct record *records = calloc(bytes / 4096 + 2, sizeof *records);

	if (!records)
		return -ENOMEM;
	while (at + 16 <= bytes) {
		struct record rec = {get64(text + at), get64(text + at + 8), text + at + 16};

		at += 16;
		if (rec.off_bytes == UINT64_MAX) {
			committed = count;
			continue;
		}
		if (rec.len_bytes < 4096 || rec.len_bytes > bytes - at)
			break;
		records[count++] = rec;
		at += rec.len_bytes;
	}
	*ret_records = records;
	*ret_count = committed;
	return 0;
}

static int restore(const char *text, size_t bytes, uint64_t size_bytes, const struct probe_ops *ops,
		   void *ctx, uint64_t *ret_restored)
{
	struct record *records;
	size_t count;
	int r;

	if (bytes < sizeof(struct header) || get64(text) != MAGIC)
		return -EBADMSG;
	if (get64(text + 8) != size_bytes)
		return -ESTALE;
	r = read_records(text, bytes, &records, &count);
	if (r < 0)
		return r;
	while (count-- > 0 && r == 0)
		r = probe_capacity_restore(ops, ctx, get64(text + 16), records[count].data,
					   records[count].len_bytes, records[count].off_bytes,
					   ret_restored);
	free(records);
	return r < 0 ? r : ops->flush(ctx);
}

int probe_save_restore(const char *name, uint64_t size_bytes, const struct probe_ops *ops,
		       void *ctx, uint64_t *ret_restored)
{
	char *path = probe_save_path(name), *text = NULL;
	size_t bytes = 0;
	int r = path ? file_read(path, MAX_FILE_BYTES, &text, &bytes) : -ENOMEM;

	*ret_restored = 0;
	if (r == 0)
		r = restore(text, bytes, size_bytes, ops, ctx, ret_restored);
	if ((r == 0 || r == -EBADMSG) && path)
		unlink(path);
	free(text);
	free(path);
	return r;
}
