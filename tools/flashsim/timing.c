/* SPDX-License-Identifier: GPL-2.0-or-later */
/* timing.c: fixed costs, seeks, transfer, the SLC cache and the mapping, added up. */
#include "timing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define USB2_MBIT_S 480
#define USB2_RATE 40e6 /* what Bulk-Only Transport gets through USB 2 */
#define USB2_MAX_IO_BYTES (120 * 1024)

int fsim_timing_init(struct fsim_timing *timing, const struct fsim_profile *profile,
		     uint64_t size_bytes, uint64_t seed)
{
	if (profile->open_units > FSIM_MAX_STREAMS)
		return -EINVAL;
	*timing = (struct fsim_timing){.profile = profile, .max_io_bytes = profile->max_io_bytes};
	switch (profile->mapping) {
	case FSIM_BLOCK_MAP:
		return fsim_block_map_new(profile, size_bytes, seed, &timing->map);
	case FSIM_LOG_BLOCK:
		return fsim_log_map_new(profile, size_bytes, seed, &timing->map);
	case FSIM_PAGE_MAP:
		return fsim_page_map_new(profile, size_bytes, seed, &timing->map);
	}
	return -EINVAL;
}

void fsim_timing_destroy(struct fsim_timing *timing)
{
	if (timing->map != NULL)
		timing->map->ops->free(timing->map);
	timing->map = NULL;
}

void fsim_timing_link(struct fsim_timing *timing, uint32_t mbit_s)
{
	uint32_t own = timing->profile->max_io_bytes;
	bool slow = mbit_s != 0 && mbit_s <= USB2_MBIT_S;
	timing->max_io_bytes = slow && own > USB2_MAX_IO_BYTES ? USB2_MAX_IO_BYTES : own;
	timing->link_rate = USB2_RATE * mbit_s / USB2_MBIT_S;
	if (!slow)
		timing->link_rate = mbit_s * 1e6 / 10; /* 8b/10b */
}

static uint64_t transfer_ns(const struct fsim_timing *timing, uint64_t len_bytes, double rate)
{
	if (timing->link_rate > 0 && rate > timing->link_rate)
		rate = timing->link_rate;
	return (uint64_t)((double)len_bytes * 1e9 / rate);
}

static uint64_t us(uint32_t value_us)
{
	return (uint64_t)value_us * 1000;
}

/* What a controller needs more for a read out of order that takes two pages, or two units. */
static uint64_t crossing_ns(const struct fsim_profile *p, uint64_t off_bytes, uint64_t len_bytes)
{
	uint64_t last_bytes = off_bytes + len_bytes - 1, ns = 0;
	if (off_bytes / p->page_bytes != last_bytes / p->page_bytes)
		ns += us(p->page_cross_us);
	if (off_bytes / p->erase_bytes != last_bytes / p->erase_bytes)
		ns += us(p->unit_cross_us);
	return ns;
}

uint64_t fsim_timing_read(struct fsim_timing *timing, uint64_t off_bytes, uint64_t len_bytes)
{
	const struct fsim_profile *p = timing->profile;
	uint64_t ns = us(p->read_fix_us) + transfer_ns(timing, len_bytes, p->read_rate);
	if (off_bytes != timing->read_next)
		ns += us(p->read_seek_us) +
		      (timing->boundaries ? crossing_ns(p, off_bytes, len_bytes) : 0);
	timing->read_next = off_bytes + len_bytes;
	return ns;
}

/* True if a write goes on where one of the last `open_units` streams stopped. */
static bool follow_stream(struct fsim_timing *timing, uint64_t off_bytes, uint64_t end_bytes)
{
	uint32_t count = timing->profile->open_units;
	uint32_t i = 0;
	while (i + 1 < count && timing->write_next[i] != off_bytes)
		i++;
	bool found = timing->write_next[i] == off_bytes;
	memmove(&timing->write_next[1], &timing->write_next[0], i * sizeof(timing->write_next[0]));
	timing->write_next[0] = end_bytes;
	return found;
}

/* Everything goes through the cache while it has room: it is programmed twice, there and, when
 * it is folded, in its last place (which is what the mapping counts). */
static double cached_rate(struct fsim_timing *timing, uint64_t len_bytes)
{
	const struct fsim_profile *p = timing->profile;
	if (p->slc_bytes == 0)
		return p->write_rate;
	if (timing->slc_used_bytes + (double)len_bytes <= (double)p->slc_bytes) {
		timing->slc_used_bytes += (double)len_bytes;
		timing->slc_written_bytes += (double)len_bytes;
		return p->write_rate;
	}
	return p->direct_rate > 0 ? p->direct_rate : p->write_rate;
}

uint64_t fsim_timing_write(struct fsim_timing *timing, uint64_t off_bytes, uint64_t len_bytes)
{
	const struct fsim_profile *p = timing->profile;
	uint64_t ns = us(p->write_fix_us);
	if (!follow_stream(timing, off_bytes, off_bytes + len_bytes))
		ns += us(p->write_seek_us);
	ns += transfer_ns(timing, len_bytes, cached_rate(timing, len_bytes));
	return ns + timing->map->ops->write(timing->map, off_bytes, len_bytes);
}

uint64_t fsim_timing_flush(struct fsim_timing *timing)
{
	fsim_flash_flush(&timing->map->flash);
	return us(timing->profile->write_fix_us);
}

void fsim_timing_idle(struct fsim_timing *timing, uint64_t ns)
{
	const struct fsim_profile *p = timing->profile;
	double rate = p->direct_rate > 0 ? p->direct_rate : p->write_rate;
	double folded = (double)ns * rate / 1e9;
	if (folded > timing->slc_used_bytes)
		folded = timing->slc_used_bytes;
	timing->slc_used_bytes -= folded;
}
