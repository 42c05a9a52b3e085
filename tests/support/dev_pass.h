/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_pass.h: what a decorator hands through as it is, for its table of functions. */
#ifndef TEST_DEV_PASS_H
#define TEST_DEV_PASS_H

#include "stickvm/dev.h"

/* The head of a decorator; it is embedded as the first member of what calloc gave. */
struct dev_pass {
	struct sv_dev dev;
	struct sv_dev *inner;
};

int dev_pass_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes);
int dev_pass_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes);
int dev_pass_flush(struct sv_dev *dev);
int dev_pass_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes);
int dev_pass_grow(struct sv_dev *dev, uint64_t size_bytes);
int dev_pass_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry);
/* Closes the inner device as well, or leaves it to the test. */
void dev_pass_close(struct sv_dev *dev);
void dev_pass_leave(struct sv_dev *dev);

/* Another handle on `inner`, which outlives it: a store that closes it can be opened again. */
struct sv_dev *dev_pass_keep(struct sv_dev *inner);

#endif
