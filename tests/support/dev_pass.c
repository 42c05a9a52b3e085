/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_pass.c: what a decorator hands through as it is, for its table of functions. */
#include "dev_pass.h"

#include <stdlib.h>

static struct sv_dev *inner_of(struct sv_dev *dev)
{
	return ((struct dev_pass *)dev)->inner;
}

int dev_pass_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return sv_dev_read(inner_of(dev), buf, len_bytes, off_bytes);
}

int dev_pass_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return sv_dev_write(inner_of(dev), buf, len_bytes, off_bytes);
}

int dev_pass_flush(struct sv_dev *dev)
{
	return sv_dev_flush(inner_of(dev));
}

int dev_pass_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	return sv_dev_discard(inner_of(dev), off_bytes, len_bytes);
}

int dev_pass_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	return sv_dev_grow(inner_of(dev), size_bytes);
}

int dev_pass_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	return sv_dev_geometry(inner_of(dev), ret_geometry);
}

void dev_pass_close(struct sv_dev *dev)
{
	sv_dev_close(inner_of(dev));
	free(dev);
}

void dev_pass_leave(struct sv_dev *dev)
{
	free(dev);
}

static const struct sv_dev_ops keep_ops = {
	.read = dev_pass_read,
	.write = dev_pass_write,
	.flush = dev_pass_flush,
	.discard = dev_pass_discard,
	.grow = dev_pass_grow,
	.geometry = dev_pass_geometry,
	.close = dev_pass_leave,
};

struct sv_dev *dev_pass_keep(struct sv_dev *inner)
{
	struct dev_pass *pass = calloc(1, sizeof(*pass));

	if (pass == NULL)
		abort();
	*pass = (struct dev_pass){{&keep_ops, "kept"}, inner};
	return &pass->dev;
}
