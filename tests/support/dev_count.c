/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_count.c: a decorator that counts calls and bytes. */
#include "dev_count.h"

#include <stdlib.h>

#include "dev_pass.h"

/* What is asked for is counted, whether it succeeds or not. */
struct dev_count {
	struct dev_pass pass;
	struct dev_counts *counts;
};

static struct dev_count *count_of(struct sv_dev *dev)
{
	return (struct dev_count *)dev;
}

static int count_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct dev_count *count = count_of(dev);

	atomic_fetch_add(&count->counts->reads, 1);
	atomic_fetch_add(&count->counts->read_bytes, len_bytes);
	return dev_pass_read(dev, buf, len_bytes, off_bytes);
}

static int count_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct dev_count *count = count_of(dev);

	atomic_fetch_add(&count->counts->writes, 1);
	atomic_fetch_add(&count->counts->write_bytes, len_bytes);
	return dev_pass_write(dev, buf, len_bytes, off_bytes);
}

static int count_flush(struct sv_dev *dev)
{
	struct dev_count *count = count_of(dev);

	atomic_fetch_add(&count->counts->flushes, 1);
	return dev_pass_flush(dev);
}

static int count_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	struct dev_count *count = count_of(dev);

	atomic_fetch_add(&count->counts->discards, 1);
	atomic_fetch_add(&count->counts->discard_bytes, len_bytes);
	return dev_pass_discard(dev, off_bytes, len_bytes);
}

static int count_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	struct dev_count *count = count_of(dev);

	atomic_fetch_add(&count->counts->grows, 1);
	return dev_pass_grow(dev, size_bytes);
}

static const struct sv_dev_ops count_ops = {
	.read = count_read,
	.write = count_write,
	.flush = count_flush,
	.discard = count_discard,
	.grow = count_grow,
	.geometry = dev_pass_geometry,
	.close = dev_pass_close,
};

struct sv_dev *dev_count_create(struct sv_dev *inner, struct dev_counts *counts)
{
	struct dev_count *count = calloc(1, sizeof(*count));

	if (count == NULL)
		abort();
	*count = (struct dev_count){{{&count_ops, "count"}, inner}, counts};
	return &count->pass.dev;
}
