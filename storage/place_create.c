/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_create.c: lays out a new place, and removes an old one. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "place_impl.h"

/* Just under 4 GiB: FAT32's limit is 4 GiB - 1, and some tools count in 32 bits. */
#define CONTAINER_BYTES ((UINT64_C(4) << 30) - 65536)
#define SEGMENT_BYTES (8u << 20)
#define MAX_SEGMENT_BYTES (256u << 20)

/* A segment is a whole number of erase units, and at least the default where that is open. */
static uint32_t pick_segment(const struct sv_place_params *params)
{
	uint32_t erase = params->erase_bytes;

	if (params->segment_bytes != 0 || erase == 0 || erase > MAX_SEGMENT_BYTES)
		return params->segment_bytes != 0 ? params->segment_bytes : SEGMENT_BYTES;
	return (SEGMENT_BYTES + erase - 1) / erase * erase;
}

static int fill_header(const struct sv_place_params *params, struct place_header *header)
{
	uint32_t segment = pick_segment(params);
	uint64_t least_bytes;

	memset(header, 0, sizeof(*header));
	if (segment < 4096 || segment > MAX_SEGMENT_BYTES || segment % 4096 != 0)
		return -EINVAL;
	if (params->erase_bytes % 4096 != 0 ||
	    (params->erase_bytes != 0 && segment % params->erase_bytes != 0))
		return -EINVAL;
	header->generation = 1;
	header->segment_bytes = segment;
	header->page_bytes = params->page_bytes;
	header->erase_bytes = params->erase_bytes;
	header->open_units = params->open_units;
	header->max_bytes = params->max_bytes;
	header->container_bytes =
		params->container_bytes != 0 ? params->container_bytes : CONTAINER_BYTES;
	header->container_bytes -= header->container_bytes % 4096;
	least_bytes = PLACE_HEADER_AREA_BYTES + 2 * (uint64_t)place_layout_unit(header) + segment;
	if (header->container_bytes < least_bytes)
		return -EINVAL;
	if (getrandom(header->id, sizeof(header->id), 0) != (ssize_t)sizeof(header->id))
		return -EIO;
	return 0;
}

/* "store.000" to "store.4095", and one that was being made. */
static bool is_container_name(const char *name)
{
	size_t digits = 0;

	if (strcmp(name, PLACE_NEW_NAME) == 0)
		return true;
	if (strncmp(name, "store.", 6) != 0)
		return false;
	for (name += 6; isdigit((unsigned char)*name); name++)
		digits++;
	return *name == '\0' && (digits == 3 || digits == 4);
}

/* Calls `found` (may be NULL) for every container in a folder, until it fails; counts them. */
static int each_container(int dir_fd, int (*found)(int dir_fd, const char *name),
			  unsigned *ret_count)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	unsigned count = 0;
	int r = 0;

	if (dir == NULL) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		if (!is_container_name(entry->d_name))
			continue;
		count += strcmp(entry->d_name, PLACE_NEW_NAME) != 0;
		if (found != NULL)
			r = found(dir_fd, entry->d_name);
	}
	closedir(dir);
	if (r == 0)
		*ret_count = count;
	return r;
}

/* The name of a new folder is durable only when its parent is. */
static int sync_parent(const char *path)
{
	char copy[PATH_MAX];
	int fd, r = 0;

	if (strlen(path) >= sizeof(copy))
		return -ENAMETOOLONG;
	memcpy(copy, path, strlen(path) + 1);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0 && errno != EINVAL && errno != ENOSYS)
		r = -errno;
	close(fd);
	return r;
}

static int create_in_folder(struct place *place, const char *path,
			    const struct place_header *header)
{
	struct place_container *container;
	unsigned count = 0;
	int r;

	place->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->dir_fd < 0)
		return -errno;
	r = each_container(place->dir_fd, NULL, &count);
	if (r < 0)
		return r;
	if (count > 0)
		return -EEXIST;
	place_file_fs(place->dir_fd, &place->fs);
	r = place_container_create(place, header, &container);
	if (r < 0)
		return r;
	place_container_free(container);
	return 0;
}

static int create_folder(struct place *place, const char *path, const struct place_header *header)
{
	bool made = mkdir(path, 0700) == 0;
	int r;

	if (!made && errno != EEXIST)
		return -errno;
	r = create_in_folder(place, path, header);
	if (r == 0 && made)
		r = sync_parent(path);
	if (r < 0 && made) {
		(void)unlinkat(place->dir_fd, "store.000", 0);
		(void)rmdir(path);
	}
	return r;
}

/* One piece: from the first unit behind the header, as the medium counts, to the end. */
static int lay_out_raw(struct place_header *header, uint64_t size_bytes, uint64_t start_bytes)
{
	struct place_extent whole = {0, start_bytes, size_bytes};
	int r;

	header->flags |= PLACE_RAW;
	header->container_bytes = 0;
	r = place_layout_add_aligned(header, &whole, 1, size_bytes);
	if (r == 0 && header->max_bytes != 0)
		place_layout_trim(header, header->max_bytes / header->segment_bytes *
						  header->segment_bytes);
	if (r == 0 && header->piece_count == 0)
		r = -ENOSPC;
	return r;
}

static int create_raw(struct place *place, const char *path, const struct stat *st,
		      struct place_header *header)
{
	struct place_container *container = place_container_new();
	bool whole[2], block_device = S_ISBLK(st->st_mode);
	struct place_header *there = malloc(sizeof(*there));
	int r = container == NULL || there == NULL ? -ENOMEM : 0;

	place->raw = true;
	if (block_device)
		place_block_find(st->st_rdev, &place->block);
	if (r == 0)
		r = place_file_open(AT_FDCWD, path, O_RDWR | (block_device ? O_EXCL : 0),
				    &container->file);
	if (r == 0)
		r = place_file_lock(&container->file, true);
	if (r == 0)
		r = lay_out_raw(header, container->file.size_bytes, place->block.start_bytes);
	if (r == 0) {
		r = place_container_read_header(container, there, &whole);
		if (r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT)
			r = -EEXIST;
		else if (r == -EMEDIUMTYPE)
			r = place_container_write_header(place, container, header, 3);
	}
	free(there);
	place_container_free(container);
	return r;
}

int sv_place_create(const char *path, const struct sv_place_params *params)
{
	const struct sv_place_params none = {0};
	struct place_header *header = malloc(sizeof(*header));
	struct place *place = place_new();
	struct stat st;
	int r = header == NULL || place == NULL ? -ENOMEM : 0;

	if (r == 0)
		r = fill_header(params != NULL ? params : &none, header);
	if (r == 0) {
		bool there = stat(path, &st) == 0;

		if (!there && errno != ENOENT)
			r = -errno;
		else if (!there || S_ISDIR(st.st_mode))
			r = create_folder(place, path, header);
		else if (S_ISBLK(st.st_mode) || S_ISREG(st.st_mode))
			r = create_raw(place, path, &st, header);
		else
			r = -EINVAL;
		r = place_error(place, r);
	}
	place_free(place);
	free(header);
	return r;
}

/* All but the first: it holds the lock, and a place without it is no place any more. */
static int remove_later(int dir_fd, const char *name)
{
	if (strcmp(name, "store.000") == 0)
		return 0;
	return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

static int remove_all(int dir_fd)
{
	struct place_file first = {.fd = -1};
	unsigned count;
	int r = place_file_open(dir_fd, "store.000", O_RDWR, &first);

	if (r == 0)
		r = place_file_lock(&first, true);
	if (r == 0 || r == -ENOENT) /* a removal that was cut short */
		r = each_container(dir_fd, remove_later, &count);
	if (r == 0 && unlinkat(dir_fd, "store.000", 0) < 0 && errno != ENOENT)
		r = -errno;
	place_file_close(&first);
	return r;
}

/* The headers of a raw place, damaged ones too, become zeros; what is not one stays. */
static int wipe_header(struct place_container *container)
{
	struct place_header *there = malloc(sizeof(*there));
	void *zeros = NULL;
	bool whole[2];
	int r;

	if (there == NULL || posix_memalign(&zeros, 4096, PLACE_HEADER_AREA_BYTES) != 0) {
		free(there);
		return -ENOMEM;
	}
	memset(zeros, 0, PLACE_HEADER_AREA_BYTES);
	r = place_container_read_header(container, there, &whole);
	if (r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT)
		r = place_file_write(&container->file, zeros, PLACE_HEADER_AREA_BYTES, 0);
	if (r == 0 && fdatasync(container->file.fd) < 0)
		r = -errno;
	free(zeros);
	free(there);
	return r;
}

static int remove_raw(const char *path, const struct stat *st)
{
	struct place_container *container = place_container_new();
	int r = container == NULL ? -ENOMEM : 0;

	if (r == 0)
		r = place_file_open(AT_FDCWD, path, O_RDWR | (S_ISBLK(st->st_mode) ? O_EXCL : 0),
				    &container->file);
	if (r == 0)
		r = place_file_lock(&container->file, true);
	if (r == 0)
		r = wipe_header(container);
	place_container_free(container);
	return r;
}

static int remove_folder(const char *path)
{
	int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dir_fd < 0)
		return -errno;
	r = remove_all(dir_fd);
	close(dir_fd);
	if (r == 0 && rmdir(path) < 0)
		r = -errno;
	return r;
}

int sv_place_remove(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode) || S_ISREG(st.st_mode))
		return remove_raw(path, &st);
	return remove_folder(path);
}
