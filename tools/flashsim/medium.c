/* SPDX-License-Identifier: GPL-2.0-or-later */
/* medium.c: a sparse mapping that holds the bytes; fakes translate addresses. */
#include "medium.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fsim_random.h"

static int map_file(const char *path, uint64_t size_bytes, uint8_t **ret_data)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int r = ftruncate(fd, (off_t)size_bytes) < 0 ? -errno : 0;
	void *data = r < 0 ? MAP_FAILED
			   : mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (r == 0 && data == MAP_FAILED)
		r = -errno;
	close(fd);
	if (r == 0)
		*ret_data = data;
	return r;
}

static int map_memory(uint64_t size_bytes, uint8_t **ret_data)
{
	void *data = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (data == MAP_FAILED)
		return -errno;
	/* Huge pages would make a sparse stick dense. */
	madvise(data, size_bytes, MADV_NOHUGEPAGE);
	*ret_data = data;
	return 0;
}

int fsim_medium_init(struct fsim_medium *medium, uint64_t size_bytes, const char *path)
{
	*medium = (struct fsim_medium){
		.size_bytes = size_bytes,
		.real_bytes = size_bytes,
		.wrap_bytes = size_bytes,
	};
	return path != NULL ? map_file(path, size_bytes, &medium->data)
			    : map_memory(size_bytes, &medium->data);
}

int fsim_medium_cache(struct fsim_medium *medium, uint32_t bytes)
{
	size_t count = bytes / FSIM_SECTOR_BYTES;
	if (count == 0)
		return 0;
	medium->cache = malloc(count * sizeof(*medium->cache));
	if (medium->cache == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		medium->cache[i].off_bytes = UINT64_MAX;
	medium->cache_count = count;
	return 0;
}

static void cache_put(struct fsim_medium *medium, uint64_t off_bytes, const uint8_t *from)
{
	if (medium->cache_count == 0)
		return;
	struct fsim_cached *slot = &medium->cache[medium->cache_next];
	medium->cache_next = (medium->cache_next + 1) % medium->cache_count;
	slot->off_bytes = off_bytes;
	memcpy(slot->bytes, from, FSIM_SECTOR_BYTES);
}

/* The newest that the cache has of a sector; NULL: nothing. */
static const uint8_t *cache_get(const struct fsim_medium *medium, uint64_t off_bytes)
{
	for (size_t age = 1; age <= medium->cache_count; age++) {
		size_t i = medium->cache_next + medium->cache_count - age;
		const struct fsim_cached *slot = &medium->cache[i % medium->cache_count];
		if (slot->off_bytes == off_bytes)
			return slot->bytes;
	}
	return NULL;
}

void fsim_medium_destroy(struct fsim_medium *medium)
{
	free(medium->cache);
	medium->cache = NULL;
	medium->cache_count = 0;
	if (medium->data != NULL)
		munmap(medium->data, medium->size_bytes);
	medium->data = NULL;
}

/* Where a fake keeps the sector at `off_bytes`; UINT64_MAX: nowhere. */
static uint64_t place_of(const struct fsim_medium *medium, uint64_t off_bytes)
{
	uint64_t place = off_bytes;
	switch (medium->fake) {
	case FSIM_GOOD:
		return off_bytes;
	case FSIM_BAD:
		return UINT64_MAX;
	case FSIM_WRAPAROUND:
		return off_bytes % medium->real_bytes;
	case FSIM_CHAIN:
		place = off_bytes % medium->wrap_bytes;
		break;
	case FSIM_LIMBO:
		break;
	}
	return place < medium->real_bytes ? place : UINT64_MAX;
}

void fsim_medium_read(const struct fsim_medium *medium, void *buf, size_t len_bytes,
		      uint64_t off_bytes)
{
	if (medium->fake == FSIM_GOOD) {
		memcpy(buf, medium->data + off_bytes, len_bytes);
		return;
	}
	uint8_t *to = buf;
	for (size_t done = 0; done < len_bytes; done += FSIM_SECTOR_BYTES) {
		uint64_t place = place_of(medium, off_bytes + done);
		const uint8_t *cached = cache_get(medium, off_bytes + done);
		if (cached != NULL)
			memcpy(to + done, cached, FSIM_SECTOR_BYTES);
		else if (place == UINT64_MAX)
			memset(to + done, 0, FSIM_SECTOR_BYTES);
		else
			memcpy(to + done, medium->data + place, FSIM_SECTOR_BYTES);
	}
}

void fsim_medium_write(struct fsim_medium *medium, const void *buf, size_t len_bytes,
		       uint64_t off_bytes)
{
	if (medium->fake == FSIM_GOOD) {
		memcpy(medium->data + off_bytes, buf, len_bytes);
		return;
	}
	const uint8_t *from = buf;
	for (size_t done = 0; done < len_bytes; done += FSIM_SECTOR_BYTES) {
		uint64_t place = place_of(medium, off_bytes + done);
		cache_put(medium, off_bytes + done, from + done);
		if (place != UINT64_MAX)
			memcpy(medium->data + place, from + done, FSIM_SECTOR_BYTES);
	}
}

const void *fsim_medium_peek(const struct fsim_medium *medium, size_t len_bytes, uint64_t off_bytes)
{
	if (medium->fake != FSIM_GOOD || off_bytes + len_bytes > medium->size_bytes)
		return NULL;
	return medium->data + off_bytes;
}

void fsim_medium_shred(struct fsim_medium *medium, size_t len_bytes, uint64_t off_bytes,
		       uint64_t *random)
{
	uint64_t words[FSIM_SECTOR_BYTES / sizeof(uint64_t)];
	for (size_t done = 0; done < len_bytes; done += FSIM_SECTOR_BYTES) {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			words[i] = fsim_random(random);
		fsim_medium_write(medium, words, sizeof(words), off_bytes + done);
	}
}
