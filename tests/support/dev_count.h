/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_count.h: a decorator that counts calls and bytes. */
#ifndef TEST_DEV_COUNT_H
#define TEST_DEV_COUNT_H

#include <stdatomic.h>

#include "stickvm/dev.h"

/* The test's; it must outlive the device, and may be read at any time. */
struct dev_counts {
	_Atomic uint64_t reads, read_bytes;
	_Atomic uint64_t writes, write_bytes;
	_Atomic uint64_t discards, discard_bytes;
	_Atomic uint64_t flushes, grows;
};

/* Takes over `inner`: closing the new device closes it. */
struct sv_dev *dev_count_create(struct sv_dev *inner, struct dev_counts *counts);

#endif
