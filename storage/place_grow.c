/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_grow.c: a folder's containers grow in steps, durably, and keep free space free. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

#include "place_impl.h"

/*
 * A step: room is reserved (or filled with zeros) and synced, its extents are asked for, whole
 * segments are placed on them, and only then the header that names those segments is written. A
 * cut in between leaves a file that is longer than its pieces, which the next step takes up.
 *
 * When a container is full the next one is made, durably, and then the full one is marked sealed:
 * from then on a missing successor is damage; before, its absence is just a cut in time.
 *
 * Reservation goes further than asked (STEP_BYTES) because it is cheap and each step costs about
 * five syncs. Zeros are dear, so they go no further than asked.
 */
#define STEP_BYTES (UINT64_C(64) << 20)
#define MARGIN_BYTES (UINT64_C(64) << 20)
#define FREE_SPACE_AGE_MS 1000u

static struct place_container *last_container(struct place *place)
{
	assert(place->container_count > 0);
	return place->containers[place->container_count - 1];
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* What the file system would give for segments, its own needs and a margin left alone. */
static uint64_t room_bytes(const struct place *place, const struct place_header *header)
{
	struct statvfs vfs;
	uint64_t free_bytes, margin, spent, all_bytes;

	if (fstatvfs(place->dir_fd, &vfs) < 0)
		return 0;
	free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	all_bytes = (uint64_t)vfs.f_blocks * vfs.f_frsize;
	margin = all_bytes / 64 < MARGIN_BYTES ? all_bytes / 64 : MARGIN_BYTES;
	if (free_bytes <= margin)
		return 0;
	free_bytes -= margin;
	spent = (free_bytes / header->container_bytes + 1) * PLACE_HEADER_AREA_BYTES;
	if (!place->linear) /* what alignment leaves unused at the ends of extents */
		spent += free_bytes / 16 + place_layout_unit(header);
	return free_bytes > spent ? free_bytes - spent : 0;
}

/* Where the file must end so that `want_bytes` more of segments surely fit, and where it may. */
struct step {
	uint64_t need_bytes, like_bytes;
};

static struct step next_step(const struct place *place, const struct place_container *container,
			     const struct place_header *planned, uint64_t want_bytes, uint64_t room)
{
	const struct place_header *header = &container->header;
	uint64_t from = place_layout_used(planned), limit = header->container_bytes;
	struct step step = {from + want_bytes, from + want_bytes};

	if (!place->linear) {
		uint64_t behind =
			from > container->file.size_bytes ? from : container->file.size_bytes;

		if (step.need_bytes <= container->file.size_bytes) /* what is there is broken */
			step.need_bytes = behind + want_bytes;
		step.need_bytes += place_layout_unit(header);
	}
	step.like_bytes = step.need_bytes;
	if (place->fs.fallocate && step.like_bytes < container->file.size_bytes + STEP_BYTES)
		step.like_bytes = container->file.size_bytes + STEP_BYTES;
	if (step.like_bytes > step.need_bytes && step.like_bytes > from + room)
		step.like_bytes = step.need_bytes > from + room ? step.need_bytes : from + room;
	if (step.need_bytes > limit)
		step.need_bytes = limit;
	if (step.like_bytes > limit)
		step.like_bytes = limit;
	return step;
}

static int extend(struct place *place, struct place_container *container, struct step step)
{
	int r = place_file_extend(&container->file, &place->fs, step.like_bytes);

	if (r == -ENOSPC && step.need_bytes < step.like_bytes)
		r = place_file_extend(&container->file, &place->fs, step.need_bytes);
	return r;
}

/* More than a quarter would be left unused: alignment is not to be had here. */
static bool too_broken(const struct place_header *header, uint64_t file_bytes)
{
	uint64_t room = file_bytes - PLACE_HEADER_AREA_BYTES;
	uint64_t waste = room - place_header_data_bytes(header);

	return waste > room / 4 + 2 * (uint64_t)place_layout_unit(header);
}

/* Places segments on what the container's file has behind its last piece. */
static int plan(struct place *place, const struct place_container *container,
		struct place_header *planned)
{
	uint64_t end_bytes = container->file.size_bytes;
	struct place_extent *extents;
	size_t count;
	int r;

	*planned = container->header;
	if (!place->linear) {
		r = place_file_extents(&container->file, end_bytes, place->block.start_bytes,
				       &extents, &count);
		if (r < 0 && r != -EOPNOTSUPP)
			return r;
		if (r == 0) {
			r = place_layout_add_aligned(planned, extents, count, end_bytes);
			free(extents);
			if (r == 0 && !too_broken(planned, end_bytes))
				return 0;
		}
		place->linear = true;
		*planned = container->header;
	}
	r = place_layout_add_linear(planned, end_bytes);
	return r == -EOVERFLOW ? 0 : r;
}

static uint64_t gained_bytes(const struct place_container *container,
			     const struct place_header *planned)
{
	return place_header_data_bytes(planned) - place_header_data_bytes(&container->header);
}

/* What segments can have of the file behind the last piece: less than its bytes where it lies in
 * fragments. 0 where that cannot be known. With grow_lock held. */
static uint64_t tail_bytes(struct place *place, const struct place_container *last)
{
	uint64_t end_bytes = last->file.size_bytes, used_bytes = place_layout_used(&last->header);
	struct place_extent *extents;
	struct place_header *planned;
	size_t count;

	if (place->linear)
		return end_bytes - used_bytes;
	if (place->tail.end_bytes == end_bytes && place->tail.used_bytes == used_bytes)
		return place->tail.room_bytes;
	place->tail.end_bytes = end_bytes;
	place->tail.used_bytes = used_bytes;
	place->tail.room_bytes = 0;
	planned = malloc(sizeof(*planned));
	if (planned && place_file_extents(&last->file, end_bytes, place->block.start_bytes,
					  &extents, &count) == 0) {
		*planned = last->header;
		if (place_layout_add_aligned(planned, extents, count, end_bytes) == 0)
			place->tail.room_bytes = gained_bytes(last, planned);
		free(extents);
	}
	free(planned);
	return place->tail.room_bytes;
}

static uint64_t find_max(struct place *place)
{
	const struct place_container *last = last_container(place);
	const struct place_header *header = &last->header;
	uint64_t more_bytes, max_bytes;

	if (place->raw)
		return place->size_bytes;
	more_bytes = room_bytes(place, header) + tail_bytes(place, last);
	max_bytes = place->size_bytes + more_bytes / header->segment_bytes * header->segment_bytes;
	if (header->max_bytes != 0 && max_bytes > header->max_bytes)
		max_bytes = header->max_bytes / header->segment_bytes * header->segment_bytes;
	return max_bytes < place->size_bytes ? place->size_bytes : max_bytes;
}

uint64_t place_max_bytes(struct place *place)
{
	uint64_t now = now_ms(), max_bytes;

	pthread_mutex_lock(&place->grow_lock);
	if (place->max_read_ms == 0 || now - place->max_read_ms >= FREE_SPACE_AGE_MS) {
		place->max_bytes = find_max(place);
		place->max_read_ms = now;
	}
	max_bytes = place->max_bytes;
	pthread_mutex_unlock(&place->grow_lock);
	return max_bytes;
}

/* Reserves until `want_bytes` are placed or the container is full. */
static int reserve(struct place *place, struct place_container *container, uint64_t want_bytes,
		   uint64_t room, struct place_header *planned)
{
	uint64_t limit = container->header.container_bytes;
	int r = plan(place, container, planned);

	while (r == 0 && gained_bytes(container, planned) < want_bytes &&
	       container->file.size_bytes < limit) {
		uint64_t more = want_bytes - gained_bytes(container, planned);
		uint64_t before = container->file.size_bytes;

		r = extend(place, container, next_step(place, container, planned, more, room));
		if (r == 0)
			r = plan(place, container, planned);
		if (r == 0 && container->file.size_bytes == before)
			break; /* the rest of the container is less than a segment */
	}
	return r;
}

static void publish(struct place *place, struct place_container *container,
		    const struct place_header *header)
{
	pthread_rwlock_wrlock(&place->map_lock);
	place->size_bytes += gained_bytes(container, header);
	container->header = *header;
	pthread_rwlock_unlock(&place->map_lock);
}

static int commit_header(struct place *place, struct place_container *container,
			 struct place_header *header)
{
	int r;

	header->generation++;
	r = place_container_write_header(place, container, header, 3);
	if (r == 0)
		publish(place, container, header);
	return r;
}

/* Grows the last container; `*ret_gained_bytes` is 0 when it is full. */
static int grow_container(struct place *place, uint64_t want_bytes, uint64_t room,
			  uint64_t *ret_gained_bytes)
{
	struct place_container *container = last_container(place);
	struct place_header *planned = malloc(sizeof(*planned));
	uint64_t gained = 0;
	int r;

	if (planned == NULL)
		return -ENOMEM;
	r = reserve(place, container, want_bytes, room, planned);
	if (r == 0) {
		place_layout_trim(planned, place_header_data_bytes(&container->header) +
						   (gained_bytes(container, planned) < room
							    ? gained_bytes(container, planned)
							    : room));
		gained = gained_bytes(container, planned);
		if (place->fs.fallocate)
			planned->flags |= PLACE_FALLOCATED;
	}
	if (r == 0 && gained > 0)
		r = commit_header(place, container, planned);
	free(planned);
	if (r == 0)
		*ret_gained_bytes = gained;
	return r;
}

static int seal(struct place *place, struct place_container *container)
{
	struct place_header *header = malloc(sizeof(*header));
	int r;

	if (header == NULL)
		return -ENOMEM;
	*header = container->header;
	header->flags |= PLACE_SEALED;
	r = commit_header(place, container, header);
	free(header);
	return r;
}

static int add_container(struct place *place)
{
	struct place_container *full = last_container(place), *container;
	struct place_header *header;
	int r;

	if (place->container_count == PLACE_MAX_CONTAINERS)
		return -ENOSPC;
	header = malloc(sizeof(*header));
	if (header == NULL)
		return -ENOMEM;
	*header = full->header;
	header->index++;
	header->flags &= ~(uint32_t)PLACE_SEALED;
	header->generation = 1;
	header->base_bytes = place->size_bytes;
	header->piece_count = 0;
	r = place_container_create(place, header, &container);
	free(header);
	if (r < 0)
		return r;
	pthread_rwlock_wrlock(&place->map_lock);
	place->containers[place->container_count++] = container;
	pthread_rwlock_unlock(&place->map_lock);
	return seal(place, full);
}

static int grow_locked(struct place *place, uint64_t size_bytes)
{
	uint64_t max_bytes = find_max(place), gained;
	int r = 0;

	if (size_bytes > max_bytes)
		return -ENOSPC;
	while (r == 0 && place->size_bytes < size_bytes) {
		uint64_t segment = last_container(place)->header.segment_bytes;
		uint64_t want = (size_bytes - place->size_bytes + segment - 1) / segment * segment;

		r = grow_container(place, want, max_bytes - place->size_bytes, &gained);
		if (r == 0 && gained == 0)
			r = add_container(place);
	}
	if (place->linear) {
		pthread_rwlock_wrlock(&place->map_lock);
		place->aligned = false;
		pthread_rwlock_unlock(&place->map_lock);
	}
	return r;
}

int place_grow(struct place *place, uint64_t size_bytes)
{
	int r = 0;

	pthread_mutex_lock(&place->grow_lock);
	if (size_bytes > place->size_bytes)
		r = place->read_only ? -EROFS : grow_locked(place, size_bytes);
	place->max_read_ms = 0;
	pthread_mutex_unlock(&place->grow_lock);
	return r;
}
