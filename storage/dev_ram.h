/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_ram.h: a device in memory: sparse, growable, gone when closed. */
#ifndef STICKVM_DEV_RAM_H
#define STICKVM_DEV_RAM_H

#include "stickvm/dev.h"

/*
 * Makes a device of zeros with the geometry given. `max_bytes` (at least `size_bytes`; 0: the
 * same) is only reserved as addresses: memory is taken where it is written. Zero `sector_bytes`
 * is 512. -ENOMEM when the addresses cannot be had.
 */
int sv_dev_ram_create(const struct sv_geometry *geometry, struct sv_dev **ret_dev);

#endif
