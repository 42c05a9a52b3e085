/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ctl.h: what is written to the control file, one command a line. */
#ifndef FLASHSIM_CTL_H
#define FLASHSIM_CTL_H

#include "stick.h"

/* The commands, for --help and the README. */
extern const char fsim_ctl_help[];

/* Carries out the lines of `text`, up to the first that fails. 0 or a negative errno; -EINVAL
 * for what is not understood. Numbers take K, M, G (powers of 1024). */
int fsim_ctl_run(struct fsim_stick *stick, const char *text);

/* A size with such a suffix; -EINVAL. */
int fsim_parse_size(const char *text, uint64_t *ret_value);

#endif
