/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_dev.c: an open place as a device: one linear space over its containers. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "place_impl.h"

/*
 * Terms: the space is the concatenation of the containers' pieces, in order; a request is cut at
 * the borders of pieces, and each part is one transfer.
 *
 *  P1  Containers and pieces are only ever added, at the end: an address keeps its place.
 *  P2  map_lock guards the list of containers, their pieces and size_bytes. It is held for the
 *      look-up only, never during a transfer: descriptors stay open until close.
 *  P3  grow_lock is taken before map_lock; only its holder changes what map_lock guards.
 *  P4  A write marks its container dirty after the transfer and before it returns. A flush clears
 *      the mark before it syncs, and flushes run one after the other: so a flush that finds no
 *      mark comes after one that covered the write, and that one's failure has set it again.
 *  P5  Once the medium is gone, every call says so.
 *  P6  Asked whether it is still there (`alive`), a place reads its own header from the medium.
 *      Where a daemon's page cache would answer instead, the device is read, where that is
 *      permitted. A file system that turned read-only under an open place counts as gone: nothing
 * can be written through these descriptors any more; opened again, the place may be well.
 *
 * After a failed sync of the page cache, what was lost cannot be written again from there, though
 * the next sync would succeed: such a flush fails for good (flush_error). With direct I/O and no
 * daemon in between the host holds nothing, and a flush may be tried again.
 *
 * exfat-fuse and ntfs-3g write data to the device at once, and the time of the last write with
 * every fsync of the file: one write of metadata a flush. Where the device can be opened it is
 * synced in the file's place (flush_fd); the time follows when the file is closed.
 */
static struct place *place_of(struct sv_dev *dev)
{
	return (struct place *)dev;
}

int place_error(struct place *place, int r)
{
	switch (r) {
	case -ENODEV:
	case -ENXIO:
	case -ENOTCONN:
	case -ESHUTDOWN:
	case -ECONNABORTED: /* a FUSE file system whose server died */
	case -ESTALE:
	case -ENOMEDIUM:
		atomic_store(&place->gone, true);
		return -ENODEV;
	case -EROFS:
		if (!place->opened || place->read_only)
			return r;
		atomic_store(&place->gone, true); /* P6 */
		return -ENODEV;
	case -EIO:
		if (place_block_present(&place->block))
			return r;
		atomic_store(&place->gone, true);
		return -ENODEV;
	case -EDQUOT:
		return -ENOSPC;
	default:
		return r;
	}
}

struct part {
	struct place_container *container;
	uint64_t file_bytes;
	size_t len_bytes;
};

/* The last container that begins at or before the address. */
static struct place_container *container_at(const struct place *place, uint64_t off_bytes)
{
	uint32_t low = 0, high = place->container_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (place->containers[middle]->header.base_bytes <= off_bytes)
			low = middle;
		else
			high = middle;
	}
	return place->containers[low];
}

/* Where a request begins in the files, and how much of it lies there in one run. */
static struct part look_up(struct place *place, size_t len_bytes, uint64_t off_bytes)
{
	struct part part = {0};
	const struct place_header *header;
	uint64_t at;

	pthread_rwlock_rdlock(&place->map_lock);
	assert(off_bytes + len_bytes <= place->size_bytes); /* D2 */
	part.container = container_at(place, off_bytes);
	header = &part.container->header;
	at = off_bytes - header->base_bytes;
	for (uint32_t i = 0; i < header->piece_count; i++) {
		uint64_t piece_bytes = header->pieces[i].len_bytes;

		if (at < piece_bytes) {
			part.file_bytes = header->pieces[i].file_bytes + at;
			part.len_bytes =
				len_bytes < piece_bytes - at ? len_bytes : piece_bytes - at;
			break;
		}
		at -= piece_bytes;
	}
	pthread_rwlock_unlock(&place->map_lock);
	assert(part.len_bytes > 0);
	return part;
}

static void assert_d1(const struct place *place, const void *buf, size_t len_bytes,
		      uint64_t off_bytes)
{
	uint32_t sector = place->sector_bytes;

	assert((uintptr_t)buf % sector == 0); /* D1 */
	assert(len_bytes % sector == 0 && off_bytes % sector == 0);
}

static int place_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct place *place = place_of(dev);
	uint8_t *to = buf;

	assert_d1(place, buf, len_bytes, off_bytes);
	while (len_bytes > 0) {
		struct part part = look_up(place, len_bytes, off_bytes);
		int r = atomic_load(&place->gone)
				? -ENODEV
				: place_file_read(&part.container->file, to, part.len_bytes,
						  part.file_bytes);
		if (r < 0)
			return place_error(place, r);
		to += part.len_bytes;
		off_bytes += part.len_bytes;
		len_bytes -= part.len_bytes;
	}
	return 0;
}

static int place_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct place *place = place_of(dev);
	const uint8_t *from = buf;

	assert_d1(place, buf, len_bytes, off_bytes);
	if (place->read_only)
		return -EROFS;
	while (len_bytes > 0) {
		struct part part = look_up(place, len_bytes, off_bytes);
		int r = atomic_load(&place->gone)
				? -ENODEV
				: place_file_write(&part.container->file, from, part.len_bytes,
						   part.file_bytes);
		atomic_store(&part.container->times, true);
		atomic_store(&part.container->dirty, true); /* P4; a failed write too */
		if (r < 0)
			return place_error(place, r);
		from += part.len_bytes;
		off_bytes += part.len_bytes;
		len_bytes -= part.len_bytes;
	}
	return 0;
}

static struct place_container *nth_container(struct place *place, uint32_t index)
{
	struct place_container *container = NULL;

	pthread_rwlock_rdlock(&place->map_lock);
	if (index < place->container_count)
		container = place->containers[index];
	pthread_rwlock_unlock(&place->map_lock);
	return container;
}

static bool cached_below(const struct place *place, const struct place_container *container)
{
	return !container->file.direct || place->fs.daemon;
}

/* Syncs what was written to one container, or to all of them at once through the device. */
static int sync_written(struct place *place, struct place_container *container)
{
	int fd = place->flush_fd >= 0 ? place->flush_fd : container->file.fd;

	if (fdatasync(fd) == 0)
		return 0;
	int r = -errno;
	if (cached_below(place, container))
		place->flush_error = r;
	return r;
}

static void mark_all(struct place *place)
{
	struct place_container *container;

	for (uint32_t i = 0; (container = nth_container(place, i)) != NULL; i++)
		atomic_store(&container->dirty, true);
}

static int flush_locked(struct place *place)
{
	struct place_container *container, *written = NULL;
	int r = place->flush_error;

	for (uint32_t i = 0; r == 0 && (container = nth_container(place, i)) != NULL; i++) {
		if (!atomic_exchange(&container->dirty, false))
			continue;
		written = container;
		if (place->flush_fd < 0)
			r = sync_written(place, container);
	}
	if (r == 0 && written != NULL && place->flush_fd >= 0)
		r = sync_written(place, written);
	if (r == 0 && written != NULL && place->sync_fd >= 0)
		r = place_block_sync(place->sync_fd);
	if (r < 0) /* P4; one mark too many costs a sync */
		mark_all(place);
	return r;
}

static int with_flush_lock(struct place *place, int (*call)(struct place *place))
{
	int r;

	if (place->read_only)
		return 0;
	pthread_mutex_lock(&place->flush_lock);
	r = atomic_load(&place->gone) ? -ENODEV : call(place);
	pthread_mutex_unlock(&place->flush_lock);
	return place_error(place, r);
}

static int place_flush(struct sv_dev *dev)
{
	return with_flush_lock(place_of(dev), flush_locked);
}

/* One commit of the journal takes the times of all files: those that are left are synced for it. */
static int settle_locked(struct place *place)
{
	struct place_container *container;
	int r = flush_locked(place);

	for (uint32_t i = 0; r == 0 && (container = nth_container(place, i)) != NULL; i++)
		if (atomic_exchange(&container->times, false) && fsync(container->file.fd) < 0)
			r = -errno;
	if (r < 0)
		mark_all(place);
	return r;
}

static int place_settle(struct sv_dev *dev)
{
	return with_flush_lock(place_of(dev), settle_locked);
}

/*
 * Never a hole in a container file: that would change metadata now and again when the range is
 * written. A raw device that takes discards gets whole units of them.
 */
static int place_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	struct place *place = place_of(dev);
	uint64_t unit = place->block.discard_unit_bytes;

	if (place->read_only)
		return -EROFS;
	if (atomic_load(&place->gone))
		return -ENODEV;
	if (!place->raw || place->block.discard_max_bytes == 0 || unit == 0)
		return 0;
	while (len_bytes > 0) {
		struct part part = look_up(place, len_bytes, off_bytes);
		uint64_t from = (part.file_bytes + unit - 1) / unit * unit;
		uint64_t to = (part.file_bytes + part.len_bytes) / unit * unit;

		if (to > from) {
			int r = place_file_discard(&part.container->file, from, to - from);

			if (r < 0)
				return place_error(place, r);
			atomic_store(&part.container->dirty, true);
		}
		off_bytes += part.len_bytes;
		len_bytes -= part.len_bytes;
	}
	return 0;
}

static int place_dev_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	struct place *place = place_of(dev);

	if (atomic_load(&place->gone))
		return -ENODEV;
	return place_error(place, place_grow(place, size_bytes));
}

static bool first_write_costs(const struct place *place)
{
	if (place->raw || !place->fs.fallocate)
		return false;
	if (place->size_bytes == 0)
		return true;
	for (uint32_t i = 0; i < place->container_count; i++)
		if ((place->containers[i]->header.flags & PLACE_FALLOCATED) != 0)
			return true;
	return false;
}

static int place_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	struct place *place = place_of(dev);
	struct sv_geometry geometry = {0};
	const struct place_header *header;

	if (atomic_load(&place->gone))
		return -ENODEV;
	geometry.max_bytes = place_max_bytes(place);
	pthread_rwlock_rdlock(&place->map_lock);
	header = &place->containers[0]->header;
	geometry.size_bytes = place->size_bytes;
	if (geometry.max_bytes < geometry.size_bytes)
		geometry.max_bytes = geometry.size_bytes;
	geometry.page_bytes = header->page_bytes;
	geometry.erase_bytes = header->erase_bytes;
	geometry.open_units = header->open_units;
	geometry.alignment_known = place->aligned;
	geometry.first_write_costs = first_write_costs(place);
	geometry.writes_times = !place->raw && place->fs.writes_times;
	pthread_rwlock_unlock(&place->map_lock);
	geometry.sector_bytes = place->sector_bytes;
	geometry.max_io_bytes = place->block.max_io_bytes;
	geometry.damaged_headers = place->damaged_headers;
	geometry.flush_requested = place->sync_fd >= 0 || place->block.write_back;
	*ret_geometry = geometry;
	return 0;
}

/* Whether the header is there, and is this place's. */
static int look_for_header(struct place *place)
{
	const struct place_container *first = nth_container(place, 0);
	struct place_header *header = malloc(sizeof(*header));
	bool whole[2];
	int r;

	if (header == NULL)
		return 0; /* not known to be gone */
	if (!first->file.direct)
		(void)posix_fadvise(first->file.fd, 0, 0, POSIX_FADV_DONTNEED);
	r = place_container_read_header(first, header, &whole);
	if (r == 0 && memcmp(header->id, first->header.id, sizeof(header->id)) != 0)
		r = -ENODEV;
	free(header);
	return r == -ENOMEM ? 0 : r;
}

static int place_alive(struct sv_dev *dev)
{
	struct place *place = place_of(dev);

	if (!atomic_load(&place->gone) &&
	    (!place_block_present(&place->block) || look_for_header(place) < 0 ||
	     (place->fs.daemon && !place_block_answers(&place->block))))
		atomic_store(&place->gone, true);
	return atomic_load(&place->gone) ? -ENODEV : 0; /* P6 */
}

static void place_close(struct sv_dev *dev)
{
	place_free(place_of(dev));
}

static const struct sv_dev_ops place_ops = {
	.read = place_read,
	.write = place_write,
	.flush = place_flush,
	.settle = place_settle,
	.discard = place_discard,
	.grow = place_dev_grow,
	.geometry = place_geometry,
	.alive = place_alive,
	.close = place_close,
};

struct place *place_new(void)
{
	struct place *place = calloc(1, sizeof(*place));

	if (place == NULL)
		return NULL;
	place->dev = (struct sv_dev){.ops = &place_ops, .kind = "folder"};
	place->dir_fd = -1;
	place->flush_fd = -1;
	place->sync_fd = -1;
	place->sector_bytes = 512;
	pthread_rwlock_init(&place->map_lock, NULL);
	pthread_mutex_init(&place->grow_lock, NULL);
	pthread_mutex_init(&place->flush_lock, NULL);
	return place;
}

void place_free(struct place *place)
{
	if (place == NULL)
		return;
	for (uint32_t i = place->container_count; i > 0; i--) /* the lock, on the first, last */
		place_container_free(place->containers[i - 1]);
	if (place->sync_fd >= 0)
		close(place->sync_fd);
	if (place->flush_fd >= 0)
		close(place->flush_fd);
	if (place->dir_fd >= 0)
		close(place->dir_fd);
	pthread_mutex_destroy(&place->flush_lock);
	pthread_mutex_destroy(&place->grow_lock);
	pthread_rwlock_destroy(&place->map_lock);
	free(place);
}
