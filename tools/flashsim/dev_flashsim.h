/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_flashsim.h: a simulated stick as a device of the store, on the virtual clock. */
#ifndef FLASHSIM_DEV_FLASHSIM_H
#define FLASHSIM_DEV_FLASHSIM_H

#include "stickvm/dev.h"

#include "stick.h"

/*
 * `measured`: the geometry tells page, erase unit, open units and alignment, as after a probe;
 * otherwise they are unknown. The stick is borrowed and must outlive the device; one that was
 * unplugged gives -ENODEV on every call, for ever: open another one after the re-plug.
 * Sticks have no TRIM: discard does nothing and succeeds. Returns 0 or a negative errno.
 */
int fsim_dev_open(struct fsim_stick *stick, bool measured, struct sv_dev **ret_dev);

#endif
