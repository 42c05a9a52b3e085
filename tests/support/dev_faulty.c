/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_faulty.c: a decorator that fails chosen calls and flips bits in what is read. */
#include "dev_faulty.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "dev_pass.h"

struct faulty {
	struct dev_pass pass;
	struct dev_faulty *faults;
	uint32_t sector_bytes;
	pthread_mutex_t lock; /* of the rules' counters */
};

static struct faulty *faulty_of(struct sv_dev *dev)
{
	return (struct faulty *)dev;
}

/* Counts a call; returns the error that it is to give. */
static int judge(struct faulty *faulty, enum dev_faulty_call call)
{
	struct dev_faulty_rule *rule = &faulty->faults->rules[call];
	int r = 0;

	pthread_mutex_lock(&faulty->lock);
	rule->calls++;
	if (rule->nth != 0 &&
	    (rule->calls == rule->nth || (rule->for_good && rule->calls > rule->nth))) {
		rule->failed++;
		r = -rule->error;
	}
	pthread_mutex_unlock(&faulty->lock);
	return r;
}

static int faulty_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct faulty *faulty = faulty_of(dev);
	const struct dev_faulty *faults = faulty->faults;
	int r = judge(faulty, DEV_FAULTY_READ);

	if (r == 0 && off_bytes < faults->bad_off_bytes + faults->bad_len_bytes &&
	    faults->bad_off_bytes < off_bytes + len_bytes)
		r = -EIO;
	if (r == 0)
		r = dev_pass_read(dev, buf, len_bytes, off_bytes);
	for (size_t i = 0; r == 0 && i < DEV_FAULTY_FLIPS; i++) {
		uint64_t at = faults->flips[i].off_bytes;

		if (at >= off_bytes && at - off_bytes < len_bytes)
			((uint8_t *)buf)[at - off_bytes] ^= faults->flips[i].mask;
	}
	return r;
}

static int faulty_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct faulty *faulty = faulty_of(dev);
	size_t half = len_bytes / faulty->sector_bytes / 2 * faulty->sector_bytes;
	int r = judge(faulty, DEV_FAULTY_WRITE);

	if (r == 0)
		return dev_pass_write(dev, buf, len_bytes, off_bytes);
	if (r != -ENODEV)
		(void)dev_pass_write(dev, buf, half, off_bytes);
	return r;
}

static int faulty_flush(struct sv_dev *dev)
{
	int r = judge(faulty_of(dev), DEV_FAULTY_FLUSH);

	return r < 0 ? r : dev_pass_flush(dev);
}

static int faulty_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	int r = judge(faulty_of(dev), DEV_FAULTY_DISCARD);

	return r < 0 ? r : dev_pass_discard(dev, off_bytes, len_bytes);
}

static int faulty_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	int r = judge(faulty_of(dev), DEV_FAULTY_GROW);

	return r < 0 ? r : dev_pass_grow(dev, size_bytes);
}

static void faulty_close(struct sv_dev *dev)
{
	pthread_mutex_destroy(&faulty_of(dev)->lock);
	dev_pass_close(dev);
}

static const struct sv_dev_ops faulty_ops = {
	.read = faulty_read,
	.write = faulty_write,
	.flush = faulty_flush,
	.discard = faulty_discard,
	.grow = faulty_grow,
	.geometry = dev_pass_geometry,
	.close = faulty_close,
};

struct sv_dev *dev_faulty_create(struct sv_dev *inner, struct dev_faulty *faults)
{
	struct faulty *faulty = calloc(1, sizeof(*faulty));
	struct sv_geometry geometry;

	if (faulty == NULL || sv_dev_geometry(inner, &geometry) < 0)
		abort();
	faulty->pass = (struct dev_pass){{&faulty_ops, "faulty"}, inner};
	faulty->faults = faults;
	faulty->sector_bytes = geometry.sector_bytes;
	pthread_mutex_init(&faulty->lock, NULL);
	return &faulty->pass.dev;
}
