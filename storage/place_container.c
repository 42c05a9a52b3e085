/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_container.c: one container of a place: its name, its header, its birth. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "place_impl.h"

/*
 * A header is rewritten copy by copy with a larger generation, and each copy is durable before
 * the other is touched, so that one of them is whole after any cut. A container is made under
 * another name and renamed when its header is durable: a name `store.NNN` means that it is whole.
 */
void place_container_name(uint32_t index, char (*ret_name)[PLACE_NAME_BYTES])
{
	snprintf(*ret_name, PLACE_NAME_BYTES, "store.%03u", index);
}

struct place_container *place_container_new(void)
{
	struct place_container *container = calloc(1, sizeof(*container));

	if (container != NULL)
		container->file.fd = -1;
	return container;
}

void place_container_free(struct place_container *container)
{
	if (container == NULL)
		return;
	place_file_close(&container->file);
	free(container);
}

int place_container_read_header(const struct place_container *container,
				struct place_header *ret_header, bool (*ret_whole)[2])
{
	void *area;
	int r;

	if (container->file.size_bytes < PLACE_HEADER_AREA_BYTES)
		return -EMEDIUMTYPE;
	if (posix_memalign(&area, 4096, PLACE_HEADER_AREA_BYTES) != 0)
		return -ENOMEM;
	r = place_file_read(&container->file, area, PLACE_HEADER_AREA_BYTES, 0);
	if (r == 0)
		r = place_header_choose(area, ret_header, ret_whole);
	free(area);
	return r;
}

static int make_durable(const struct place *place, int fd)
{
	int r = fdatasync(fd) < 0 ? -errno : 0;

	if (r == 0 && place->sync_fd >= 0)
		r = place_block_sync(place->sync_fd);
	return r;
}

int place_container_write_header(const struct place *place, struct place_container *container,
				 const struct place_header *header, unsigned copies)
{
	void *bytes;
	int r = 0;

	if (posix_memalign(&bytes, 4096, PLACE_HEADER_COPY_BYTES) != 0)
		return -ENOMEM;
	place_header_encode(header, bytes);
	for (unsigned copy = 0; copy < 2 && r == 0; copy++) {
		if ((copies & 1u << copy) == 0)
			continue;
		r = place_file_write(&container->file, bytes, PLACE_HEADER_COPY_BYTES,
				     (uint64_t)copy * PLACE_HEADER_COPY_BYTES);
		if (r == 0)
			r = make_durable(place, container->file.fd);
	}
	free(bytes);
	return r;
}

static int fill_new(struct place *place, struct place_container *container)
{
	int r = place_file_open(place->dir_fd, PLACE_NEW_NAME, O_RDWR | O_CREAT | O_EXCL,
				&container->file);

	if (r == 0)
		r = place_file_extend(&container->file, &place->fs, PLACE_HEADER_AREA_BYTES);
	if (r == 0)
		r = place_container_write_header(place, container, &container->header, 3);
	if (r == 0 && fsync(container->file.fd) < 0)
		r = -errno;
	return r;
}

int place_container_create(struct place *place, const struct place_header *header,
			   struct place_container **ret_container)
{
	struct place_container *container = place_container_new();
	char name[PLACE_NAME_BYTES];
	int r;

	if (container == NULL)
		return -ENOMEM;
	place_container_name(header->index, &name);
	container->header = *header;
	if (unlinkat(place->dir_fd, PLACE_NEW_NAME, 0) < 0 && errno != ENOENT)
		r = -errno;
	else
		r = fill_new(place, container);
	if (r == 0 && renameat(place->dir_fd, PLACE_NEW_NAME, place->dir_fd, name) < 0)
		r = -errno;
	if (r == 0 && fsync(place->dir_fd) < 0 && errno != EINVAL && errno != ENOSYS)
		r = -errno; /* some FUSE file systems cannot sync a folder */
	if (r < 0) {
		if (container->file.fd >= 0)
			(void)unlinkat(place->dir_fd, PLACE_NEW_NAME, 0);
		place_container_free(container);
		return r;
	}
	*ret_container = container;
	return 0;
}
