/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_stick.h: a simulated stick as a file system of three files. */
#ifndef FLASHSIM_FUSE_STICK_H
#define FLASHSIM_FUSE_STICK_H

#include "stick.h"

/*
 * Serves `stick.img`, `ctl` and `stats.json` on `mount_dir` until unmounted or told to end by a
 * signal. With `background` the caller's process ends as soon as the files can be opened.
 * 0 or a negative errno.
 */
int fsim_fuse_serve(struct fsim_stick *stick, const char *mount_dir, bool background);

#endif
