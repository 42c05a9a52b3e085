/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_flashsim.c: calls of a device handed to a simulated stick. */
#include "dev_flashsim.h"

#include <errno.h>
#include <stdlib.h>

struct fsim_dev {
	struct sv_dev dev;
	struct fsim_stick *stick;
	uint64_t handle;
	bool measured;
};

static struct fsim_dev *self(struct sv_dev *dev)
{
	return (struct fsim_dev *)dev;
}

static int dev_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return fsim_stick_read(self(dev)->stick, self(dev)->handle, buf, len_bytes, off_bytes);
}

static int dev_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return fsim_stick_write(self(dev)->stick, self(dev)->handle, buf, len_bytes, off_bytes);
}

static int dev_flush(struct sv_dev *dev)
{
	return fsim_stick_flush(self(dev)->stick, self(dev)->handle);
}

static int check_alive(struct sv_dev *dev)
{
	uint64_t now;
	int r = fsim_stick_open(self(dev)->stick, &now);
	if (r == 0 && now != self(dev)->handle)
		r = -ENODEV;
	return r;
}

static int dev_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	(void)off_bytes;
	(void)len_bytes;
	return check_alive(dev);
}

static int dev_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	int r = check_alive(dev);
	if (r == 0 && size_bytes > fsim_stick_size(self(dev)->stick))
		r = -ENOSPC;
	return r;
}

static int dev_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	const struct fsim_profile *p = fsim_stick_profile(self(dev)->stick);
	bool measured = self(dev)->measured;
	int r = check_alive(dev);
	if (r < 0)
		return r;
	*ret_geometry = (struct sv_geometry){
		.size_bytes = fsim_stick_size(self(dev)->stick),
		.max_bytes = fsim_stick_size(self(dev)->stick),
		.sector_bytes = FSIM_SECTOR_BYTES,
		.page_bytes = measured ? p->page_bytes : 0,
		.erase_bytes = measured ? p->erase_bytes : 0,
		.open_units = measured ? p->open_units : 0,
		.max_io_bytes = measured ? p->max_io_bytes : 0,
		.alignment_known = measured,
		.flush_requested = true,
	};
	return 0;
}

static void dev_close(struct sv_dev *dev)
{
	free(dev);
}

static const struct sv_dev_ops fsim_dev_ops = {
	.read = dev_read,
	.write = dev_write,
	.flush = dev_flush,
	.discard = dev_discard,
	.grow = dev_grow,
	.geometry = dev_geometry,
	.close = dev_close,
};

int fsim_dev_open(struct fsim_stick *stick, bool measured, struct sv_dev **ret_dev)
{
	uint64_t handle;
	int r = fsim_stick_open(stick, &handle);
	if (r < 0)
		return r;
	struct fsim_dev *fd = malloc(sizeof(*fd));
	if (fd == NULL)
		return -ENOMEM;
	*fd = (struct fsim_dev){
		.dev = {.ops = &fsim_dev_ops, .kind = "flashsim"},
		.stick = stick,
		.handle = handle,
		.measured = measured,
	};
	*ret_dev = &fd->dev;
	return 0;
}
