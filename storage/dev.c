/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev.c: calls through a device's table, with the contract asserted at the border. */
#include "stickvm/dev.h"

#include <assert.h>
#include <errno.h>

/*
 * D1 is asserted here for the smallest sector there is, which needs no call; an implementation
 * whose sectors are larger asserts the rest itself. D2 is the implementation's: only it knows
 * its size. A request of no bytes is done without asking anybody.
 */
#define MIN_SECTOR_BYTES 512u

static bool aligned(uint64_t value)
{
	return value % MIN_SECTOR_BYTES == 0;
}

static bool contract_d1(const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return aligned((uintptr_t)buf) && aligned(len_bytes) && aligned(off_bytes) &&
	       off_bytes <= UINT64_MAX - len_bytes;
}

int sv_dev_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	assert(contract_d1(buf, len_bytes, off_bytes)); /* D1 */
	if (len_bytes == 0)
		return 0;
	int r = dev->ops->read(dev, buf, len_bytes, off_bytes);
	assert(r <= 0); /* D3 */
	return r;
}

int sv_dev_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	assert(contract_d1(buf, len_bytes, off_bytes)); /* D1 */
	if (len_bytes == 0)
		return 0;
	int r = dev->ops->write(dev, buf, len_bytes, off_bytes);
	assert(r <= 0); /* D3 */
	return r;
}

int sv_dev_flush(struct sv_dev *dev)
{
	int r = dev->ops->flush(dev);
	assert(r <= 0);
	return r;
}

int sv_dev_settle(struct sv_dev *dev)
{
	int r = dev->ops->settle ? dev->ops->settle(dev) : dev->ops->flush(dev);
	assert(r <= 0);
	return r;
}

int sv_dev_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	assert(aligned(off_bytes) && aligned(len_bytes)); /* D1 */
	assert(off_bytes <= UINT64_MAX - len_bytes);
	if (len_bytes == 0)
		return 0;
	int r = dev->ops->discard(dev, off_bytes, len_bytes);
	assert(r <= 0);
	return r;
}

int sv_dev_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	assert(aligned(size_bytes));
	int r = dev->ops->grow(dev, size_bytes);
	assert(r <= 0);
	return r;
}

int sv_dev_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	int r = dev->ops->geometry(dev, ret_geometry);
	assert(r <= 0);
	assert(r < 0 || ret_geometry->sector_bytes == 512 || ret_geometry->sector_bytes == 4096);
	return r;
}

int sv_dev_alive(struct sv_dev *dev)
{
	int r = dev->ops->alive != NULL ? dev->ops->alive(dev) : 0;
	assert(r <= 0);
	return r;
}

void sv_dev_close(struct sv_dev *dev)
{
	if (dev != NULL)
		dev->ops->close(dev);
}
