/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mapping.h: what a controller does for a write beyond transferring it, one table a class. */
#ifndef FLASHSIM_MAPPING_H
#define FLASHSIM_MAPPING_H

#include <stdint.h>

#include "flash.h"

/* The head of every mapping; an implementation embeds it as its first member. */
struct fsim_map {
	const struct fsim_map_ops *ops;
	struct fsim_flash flash;
};

struct fsim_map_ops {
	/* Follows a write inside the size; returns the nanoseconds of its merges and erases. */
	uint64_t (*write)(struct fsim_map *map, uint64_t off_bytes, uint64_t len_bytes);
	/* Makes a stick that was once written everywhere, at no cost. */
	void (*fill)(struct fsim_map *map);
	void (*free)(struct fsim_map *map);
};

/* One constructor a class: 0 or a negative errno. */
int fsim_block_map_new(const struct fsim_profile *profile, uint64_t size_bytes, uint64_t seed,
		       struct fsim_map **ret_map);
int fsim_log_map_new(const struct fsim_profile *profile, uint64_t size_bytes, uint64_t seed,
		     struct fsim_map **ret_map);
int fsim_page_map_new(const struct fsim_profile *profile, uint64_t size_bytes, uint64_t seed,
		      struct fsim_map **ret_map);

#endif
