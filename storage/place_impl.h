/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_impl.h: what the parts of a place share: an open folder or raw device. */
#ifndef STICKVM_PLACE_IMPL_H
#define STICKVM_PLACE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "place_block.h"
#include "place_file.h"
#include "place_format.h"
#include "place_layout.h"
#include "stickvm/dev.h"
#include "stickvm/place.h"

#define PLACE_MAX_CONTAINERS 4096u
#define PLACE_NAME_BYTES 16u
#define PLACE_NEW_NAME "store.new" /* a container until it is whole */

struct place_container {
	struct place_file file;
	struct place_header header;
	atomic_bool dirty; /* written since the last flush began */
	atomic_bool times; /* written since its times were synced */
};

/* See place_dev.c for the locks and invariants. */
struct place {
	struct sv_dev dev;
	int dir_fd;   /* -1 if raw */
	int flush_fd; /* synced instead of the containers; -1: none */
	int sync_fd;  /* -1: the block layer's flush has to do */
	bool raw;
	bool read_only;
	bool opened; /* it is in use, not being made */
	bool linear; /* extents are unknown or too broken: segments are neighbours */
	struct place_fs fs;
	struct place_block block;
	uint32_t sector_bytes;
	uint32_t damaged_headers; /* copies found bad, and left so: only where it is read-only */
	atomic_bool gone;
	int flush_error; /* of a buffered flush: what was lost cannot be known */
	pthread_rwlock_t map_lock;
	pthread_mutex_t grow_lock, flush_lock;
	uint64_t size_bytes;
	bool aligned;
	struct place_container *containers[PLACE_MAX_CONTAINERS];
	uint32_t container_count;
	uint64_t max_bytes, max_read_ms; /* a moment's memory of the free space */
	struct {
		uint64_t end_bytes, used_bytes, room_bytes;
	} tail; /* what segments can have of a file behind its pieces, when it was looked at */
};

void place_container_name(uint32_t index, char (*ret_name)[PLACE_NAME_BYTES]);
struct place_container *place_container_new(void); /* NULL: no memory */
void place_container_free(struct place_container *container);
int place_container_read_header(const struct place_container *container,
				struct place_header *ret_header, bool (*ret_whole)[2]);
/* Writes copy by copy, each durable before the next is touched; `copies` bit 0 and 1. */
int place_container_write_header(const struct place *place, struct place_container *container,
				 const struct place_header *header, unsigned copies);
/* Puts an empty container into a folder, whole or not at all. */
int place_container_create(struct place *place, const struct place_header *header,
			   struct place_container **ret_container);

/* Turns an errno into what the contract promises, and remembers that the medium went away. */
int place_error(struct place *place, int r);
struct place *place_new(void);
void place_free(struct place *place);
/* How the open place is aligned now, by what the host says of its extents. */
void place_find_alignment(struct place *place);

int place_grow(struct place *place, uint64_t size_bytes);
uint64_t place_max_bytes(struct place *place);

#endif
