/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats.h: a stick's counters as JSON. */
#ifndef FLASHSIM_STATS_H
#define FLASHSIM_STATS_H

#include "stick.h"

/* A text that the caller frees; NULL: no memory. */
char *fsim_stats_json(struct fsim_stick *stick);

#endif
