/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place.c: opens a place: finds its containers, checks that they belong together, locks it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "place_impl.h"

/*
 * A folder's containers are store.000, store.001, ...; the list ends at the first name that is
 * missing, which must not follow a sealed container. A raw device is one container with one piece
 * that was laid out once and never grows.
 *
 * The lock is on the first container, the one file that every opener opens first.
 */
static int check_member(const struct place *place, const struct place_header *header)
{
	const struct place_header *first;
	uint64_t end_bytes = place_layout_used(header);

	if (header->index != place->container_count || header->base_bytes != place->size_bytes)
		return -EBADMSG;
	if (((header->flags & PLACE_RAW) != 0) != place->raw)
		return -EBADMSG;
	if (header->base_bytes > UINT64_MAX - end_bytes)
		return -EBADMSG;
	if (place->container_count == 0)
		return 0;
	first = &place->containers[0]->header;
	if (memcmp(header->id, first->id, sizeof(header->id)) != 0 ||
	    header->segment_bytes != first->segment_bytes)
		return -EBADMSG;
	return 0;
}

/* Reads a container's header, mends a damaged copy, and adds it to the space. */
static int take_container(struct place *place, struct place_container *container)
{
	bool whole[2];
	unsigned broken;
	int r = place_container_read_header(container, &container->header, &whole);

	if (r == 0)
		r = check_member(place, &container->header);
	if (r == 0 && place_layout_used(&container->header) > container->file.size_bytes)
		r = -EBADMSG; /* cut short */
	if (r == 0 && container->header.ro_compatible != 0 && !place->read_only)
		r = -EPROTONOSUPPORT;
	if (r < 0)
		return r;
	broken = (whole[0] ? 0u : 1u) | (whole[1] ? 0u : 2u);
	if (place->read_only)
		place->damaged_headers += (broken & 1u) + (broken >> 1);
	if (broken != 0 && !place->read_only) {
		r = place_container_write_header(place, container, &container->header, broken);
		if (r < 0)
			return r;
	}
	if (container->file.sector_bytes > place->sector_bytes)
		place->sector_bytes = container->file.sector_bytes;
	place->size_bytes += place_header_data_bytes(&container->header);
	place->containers[place->container_count++] = container;
	return 0;
}

static int open_flags(const struct place *place)
{
	return place->read_only ? O_RDONLY : O_RDWR;
}

/* Opens the next container of a folder; -ENOENT: there is none. */
static int take_next(struct place *place)
{
	struct place_container *container = place_container_new();
	char name[PLACE_NAME_BYTES];
	int r;

	if (container == NULL)
		return -ENOMEM;
	place_container_name(place->container_count, &name);
	r = place_file_open(place->dir_fd, name, open_flags(place), &container->file);
	if (r == 0 && place->container_count == 0)
		r = place_file_lock(&container->file, !place->read_only);
	if (r == 0)
		r = take_container(place, container);
	if (r < 0)
		place_container_free(container);
	return r;
}

static int open_folder(struct place *place, const char *path)
{
	uint32_t last_flags;
	int r;

	place->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (place->dir_fd < 0)
		return -errno;
	do
		r = place->container_count < PLACE_MAX_CONTAINERS ? take_next(place) : -ENOENT;
	while (r == 0);
	if (place->container_count == 0)
		return r;
	last_flags = place->containers[place->container_count - 1]->header.flags;
	if ((last_flags & PLACE_SEALED) != 0)
		return r == -ENOENT || r == -EMEDIUMTYPE ? -EBADMSG : r;
	/* nothing follows, or what a cut left of a container that was never in use */
	return r == -ENOENT || r == -EMEDIUMTYPE ? 0 : r;
}

static int open_raw(struct place *place, const char *path, bool block_device)
{
	struct place_container *container = place_container_new();
	int exclusive = block_device && !place->read_only ? O_EXCL : 0; /* refuses a mounted one */
	int read_only = 0, r;

	if (container == NULL)
		return -ENOMEM;
	place->raw = true;
	place->dev.kind = "raw";
	r = place_file_open(AT_FDCWD, path, open_flags(place) | exclusive, &container->file);
	if (r == 0 && block_device && !place->read_only &&
	    ioctl(container->file.fd, BLKROGET, &read_only) == 0 && read_only != 0)
		r = -EROFS;
	if (r == 0)
		r = place_file_lock(&container->file, !place->read_only);
	if (r == 0)
		r = take_container(place, container);
	if (r < 0)
		place_container_free(container);
	return r;
}

static bool container_aligned(const struct place *place, const struct place_container *container)
{
	const struct place_header *header = &container->header;
	struct place_extent *extents;
	bool aligned;
	size_t count;

	if (place_file_extents(&container->file, place_layout_used(header),
			       place->block.start_bytes, &extents, &count) < 0)
		return false;
	aligned = place_layout_is_aligned(header, extents, count);
	free(extents);
	return aligned;
}

void place_find_alignment(struct place *place)
{
	const struct place_header *first = &place->containers[0]->header;
	uint64_t unit = place_layout_unit(first), at;
	bool known = place->block.visible && place->block.start_known;

	if (place->raw) {
		at = place->block.start_bytes + first->pieces[0].file_bytes;
		place->aligned = known && at % unit == 0;
		return;
	}
	place->linear = !known || !place->fs.extents_true;
	place->aligned = !place->linear;
	for (uint32_t i = 0; i < place->container_count && place->aligned; i++)
		place->aligned = container_aligned(place, place->containers[i]);
}

/* What the medium is, which a raw regular file has none of: it may lie anywhere. */
static void find_medium(struct place *place, const struct stat *st)
{
	bool block_device = S_ISBLK(st->st_mode);

	place_block_find(block_device ? st->st_rdev : st->st_dev, &place->block);
	if (place->raw && !block_device) {
		place->block.start_known = false;
		place->block.discard_max_bytes = 0;
	}
	if (!place->raw)
		place_file_fs(place->dir_fd, &place->fs);
	place_find_alignment(place);
	if (place->read_only)
		return;
	if (place->fs.daemon && place->containers[0]->file.direct)
		place->flush_fd = place_block_open_flush(&place->block);
	if (!place->block.write_back)
		place->sync_fd = place_block_open_sync(&place->block);
}

int sv_place_open(const char *path, bool read_only, struct sv_dev **ret_dev)
{
	struct place *place;
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return -errno;
	place = place_new();
	if (place == NULL)
		return -ENOMEM;
	place->read_only = read_only;
	if (S_ISDIR(st.st_mode))
		r = open_folder(place, path);
	else if (S_ISBLK(st.st_mode) || S_ISREG(st.st_mode))
		r = open_raw(place, path, S_ISBLK(st.st_mode));
	else
		r = -EINVAL;
	if (r < 0) {
		place_free(place);
		return r;
	}
	find_medium(place, &st);
	place->opened = true;
	*ret_dev = &place->dev;
	return 0;
}

bool sv_place_host_written(const char *path, uint64_t *ret_bytes)
{
	struct place_block block;
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	place_block_find(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev, &block);
	return place_block_written(&block, ret_bytes);
}
