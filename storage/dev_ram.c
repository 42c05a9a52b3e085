/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_ram.c: a device in memory: sparse, growable, gone when closed. */
#include "dev_ram.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * One reservation of max_bytes of addresses; the kernel gives pages as they are touched. Reads
 * and writes of different ranges run in parallel without a lock; for ranges that overlap, the
 * contract promises no order either. Growing only moves a number.
 */
struct dev_ram {
	struct sv_dev dev;
	struct sv_geometry geometry; /* its size_bytes as created; see `size_bytes` */
	_Atomic uint64_t size_bytes;
	uint8_t *bytes;
};

static struct dev_ram *ram_of(struct sv_dev *dev)
{
	return (struct dev_ram *)dev;
}

static void assert_inside(struct dev_ram *ram, uint64_t off_bytes, uint64_t len_bytes)
{
	uint32_t sector = ram->geometry.sector_bytes;

	assert(off_bytes % sector == 0 && len_bytes % sector == 0);	/* D1 */
	assert(off_bytes + len_bytes <= atomic_load(&ram->size_bytes)); /* D2 */
}

static int ram_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct dev_ram *ram = ram_of(dev);

	assert_inside(ram, off_bytes, len_bytes);
	memcpy(buf, ram->bytes + off_bytes, len_bytes);
	return 0;
}

static int ram_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct dev_ram *ram = ram_of(dev);

	assert_inside(ram, off_bytes, len_bytes);
	memcpy(ram->bytes + off_bytes, buf, len_bytes);
	return 0;
}

static int ram_flush(struct sv_dev *dev)
{
	(void)dev;
	return 0;
}

/* Whole pages go back to the kernel, so that a long test stays small; they read as zeros. */
static int ram_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	struct dev_ram *ram = ram_of(dev);
	const uint64_t page = 4096;
	uint64_t from = (off_bytes + page - 1) / page * page;
	uint64_t to = (off_bytes + len_bytes) / page * page;

	assert_inside(ram, off_bytes, len_bytes);
	if (to > from && madvise(ram->bytes + from, to - from, MADV_DONTNEED) < 0)
		return -errno;
	return 0;
}

static int ram_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	struct dev_ram *ram = ram_of(dev);
	uint64_t old = atomic_load(&ram->size_bytes);

	assert(size_bytes % ram->geometry.sector_bytes == 0);
	if (size_bytes > ram->geometry.max_bytes)
		return -ENOSPC;
	while (old < size_bytes &&
	       !atomic_compare_exchange_weak(&ram->size_bytes, &old, size_bytes))
		;
	return 0;
}

static int ram_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	struct dev_ram *ram = ram_of(dev);
	struct sv_geometry geometry = ram->geometry;

	geometry.size_bytes = atomic_load(&ram->size_bytes);
	*ret_geometry = geometry;
	return 0;
}

static void ram_close(struct sv_dev *dev)
{
	struct dev_ram *ram = ram_of(dev);

	munmap(ram->bytes, ram->geometry.max_bytes);
	free(ram);
}

static const struct sv_dev_ops ram_ops = {
	.read = ram_read,
	.write = ram_write,
	.flush = ram_flush,
	.discard = ram_discard,
	.grow = ram_grow,
	.geometry = ram_geometry,
	.close = ram_close,
};

int sv_dev_ram_create(const struct sv_geometry *geometry, struct sv_dev **ret_dev)
{
	struct dev_ram *ram = calloc(1, sizeof(*ram));

	if (ram == NULL)
		return -ENOMEM;
	ram->dev = (struct sv_dev){.ops = &ram_ops, .kind = "ram"};
	ram->geometry = *geometry;
	if (ram->geometry.sector_bytes == 0)
		ram->geometry.sector_bytes = 512;
	if (ram->geometry.max_bytes < geometry->size_bytes)
		ram->geometry.max_bytes = geometry->size_bytes;
	atomic_init(&ram->size_bytes, geometry->size_bytes);
	ram->bytes = mmap(NULL, ram->geometry.max_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram->bytes == MAP_FAILED) {
		free(ram);
		return -ENOMEM;
	}
	*ret_dev = &ram->dev;
	return 0;
}
