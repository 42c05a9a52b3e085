/* SPDX-License-Identifier: GPL-2.0-or-later */
/* profile.h: what kind of stick is simulated: its controller's class, geometry and costs. */
#ifndef FLASHSIM_PROFILE_H
#define FLASHSIM_PROFILE_H

#include <stddef.h>
#include <stdint.h>

/* How the controller maps logical addresses to flash. */
enum fsim_mapping {
	FSIM_BLOCK_MAP, /* class A: whole allocation units, a few of them open */
	FSIM_LOG_BLOCK, /* class B: block map with log blocks beside it (FAST) */
	FSIM_PAGE_MAP,	/* class C: every page anywhere, greedy garbage collection */
};

/*
 * The time of one command is fix + (seek, where it does not continue a command before it)
 * + length / rate + what the mapping has to merge, collect and erase for it.
 * Rates are bytes a second; 0 for slc_bytes means that there is no SLC cache.
 */
struct fsim_profile {
	const char *id;
	const char *name;
	enum fsim_mapping mapping;
	uint64_t size_bytes;
	uint32_t page_bytes;
	uint32_t erase_bytes;
	uint32_t open_units;   /* units (class C: streams) written in turn at no cost */
	uint32_t max_io_bytes; /* the host splits larger requests */
	uint32_t read_fix_us;
	uint32_t read_seek_us;
	uint32_t page_cross_us; /* more for a read out of order that touches two flash pages */
	uint32_t unit_cross_us; /* and more where these lie in two erase units; see `boundaries` */
	double read_rate;
	uint32_t write_fix_us;
	uint32_t write_seek_us;
	double write_rate;
	double direct_rate; /* of writes while the SLC cache is full; 0: as write_rate */
	uint64_t slc_bytes;
	uint32_t erase_us;
	double copy_rate; /* of merges and garbage collection, inside the stick */
	double spare;	  /* class C: flash beyond the logical size, as a share of it */
	uint32_t pe_cycles;
};

/* By index, in the order P0, P1, ...; NULL after the last. */
const struct fsim_profile *fsim_profile_at(size_t index);
/* By id, in either case; NULL where there is none. */
const struct fsim_profile *fsim_profile_find(const char *id);

#endif
