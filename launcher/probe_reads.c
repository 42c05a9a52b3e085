/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_reads.c: what reading alone tells: rates, the cost of a command, borders. */
/*
 * Borders (the method of flashbench -a, by Arnd Bergmann): three reads of two small blocks, just
 * before an address that is a multiple of `align`, across it, and just behind it. Across the
 * border of a flash page the controller has to fetch two pages, across that of an erase unit to
 * look up two. So as `align` grows, the middle one gets dearer in two steps. A level takes odd
 * multiples of its power of two only, which are borders of no larger one, and none of three, since
 * units of TLC flash can be 3 * 2^k: these are tried where powers of two show no unit.
 */
#include <stdlib.h>

#include "probe_priv.h"

enum { MAX_LEVELS = 24, MAX_REPEATS = 24, MAX_REQUESTS = 512 };

static struct probe_range readable(const struct probing *p)
{
	return p->target->readable.len_bytes > p->written.len_bytes ? p->target->readable
								    : p->written;
}

static uint64_t align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

/* Never what the stick has just been asked for. */
static void leap(struct probing *p, struct probe_range range)
{
	uint64_t ns;

	if (range.len_bytes >= BLOCK_BYTES)
		probing_read(p,
			     range.off_bytes +
				     (range.len_bytes - BLOCK_BYTES) / BLOCK_BYTES * BLOCK_BYTES,
			     BLOCK_BYTES, &ns);
}

/* A few in order of each length: the cost of a command is what is left at length 0. */
static void command_cost(struct probing *p, struct probe_range range)
{
	static const uint64_t lengths[] = {4 * KIB, 16 * KIB, 64 * KIB};
	struct probe_sample samples[96];
	uint64_t until_ns = probing_until(p, SECOND / 2), at = range.off_bytes;
	double fix_ns, ns_per_byte;
	size_t n = 0;

	for (size_t i = 0; i < 96 && probing_goes_on(p, until_ns); i++) {
		struct probe_sample *s = &samples[n];

		s->len_bytes = lengths[i / 32];
		s->off_bytes = at;
		if (at + s->len_bytes > range.off_bytes + range.len_bytes)
			break;
		at += s->len_bytes;
		if (probing_read(p, s->off_bytes, s->len_bytes, &s->ns) && i % 32 != 0)
			n++;
	}
	if (probe_fit(samples, n, &fix_ns, &ns_per_byte) && fix_ns > 0)
		p->result->command_ns = (uint64_t)fix_ns;
}

void probe_reads_in_order(struct probing *p)
{
	struct probe_range range = p->written.len_bytes >= 8 * MIB ? p->written : readable(p);
	uint64_t until_ns = probing_until(p, SECOND), at = range.off_bytes;
	uint64_t took_ns[MAX_REQUESTS];
	size_t n = 0;

	leap(p, range);
	command_cost(p, range);
	while (n < MAX_REQUESTS && probing_goes_on(p, until_ns)) {
		if (at + REQUEST_BYTES > range.off_bytes + range.len_bytes)
			break;
		if (probing_read(p, at, REQUEST_BYTES, &took_ns[n]))
			n++;
		at += REQUEST_BYTES;
	}
	if (n > 0)
		p->result->read_rate = REQUEST_BYTES * SECOND / (probe_median(took_ns, n) + 1);
}

void probe_reads_random(struct probing *p)
{
	struct probe_range range = readable(p);
	uint64_t until_ns = probing_until(p, SECOND);
	uint64_t took_ns[64];
	size_t n = 0;

	if (range.len_bytes < MIB)
		return;
	while (n < 64 && probing_goes_on(p, until_ns)) {
		uint64_t block = probing_random_below(p, range.len_bytes / BLOCK_BYTES);

		if (probing_read(p,
				 align_up(range.off_bytes, BLOCK_BYTES) + block * BLOCK_BYTES -
					 (block ? BLOCK_BYTES : 0),
				 BLOCK_BYTES, &took_ns[n]))
			n++;
	}
	if (n >= 8)
		p->result->random_read_ns = probe_median(took_ns, n);
}

/* The repeats of one level. */
struct reads {
	uint64_t align_bytes;
	size_t count;
	uint64_t beside_ns[2 * MAX_REPEATS];
	int64_t extra_ns[MAX_REPEATS];
};

/* Half of a read: as small as can be, or pages of that size would not show. */
static uint64_t half_bytes(const struct probing *p)
{
	return p->target->sector_bytes > 1024 ? p->target->sector_bytes : 1024;
}

/* A border of this level and of no higher one; 0: the range has none. */
static uint64_t pick_border(struct probing *p, uint64_t align, struct probe_range range)
{
	uint64_t first = range.off_bytes / align + 1;
	uint64_t count = (range.off_bytes + range.len_bytes - half_bytes(p) * 2) / align;
	bool three = align % 3 == 0;

	count = count > first ? count - first + 1 : count == first;
	for (unsigned tries = 0; count > 0 && tries < 32; tries++) {
		uint64_t m = first + probing_random_below(p, count);

		if (m % 2 == 1 && (three || m % 3 != 0))
			return m * align;
	}
	return 0;
}

static void take_one(struct probing *p, struct reads *r, struct probe_range range)
{
	uint64_t border = pick_border(p, r->align_bytes, range), half = half_bytes(p);
	uint64_t before_ns, across_ns, behind_ns;

	if (border == 0 || r->count == MAX_REPEATS)
		return;
	if (!probing_read(p, border - 2 * half, 2 * half, &before_ns) ||
	    !probing_read(p, border - half, 2 * half, &across_ns) ||
	    !probing_read(p, border, 2 * half, &behind_ns))
		return;
	r->beside_ns[2 * r->count] = before_ns;
	r->beside_ns[2 * r->count + 1] = behind_ns;
	r->extra_ns[r->count++] = (int64_t)across_ns - (int64_t)((before_ns + behind_ns) / 2);
}

/* Medians need unsigned values: shifted, and back. */
static struct probe_level level_of(struct reads *r)
{
	const uint64_t shift = UINT64_C(1) << 62;
	struct probe_level level = {.align_bytes = r->align_bytes};
	uint64_t values[MAX_REPEATS];

	for (size_t i = 0; i < r->count; i++)
		values[i] = shift + (uint64_t)r->extra_ns[i];
	level.extra_ns = (int64_t)(probe_median(values, r->count) - shift);
	for (size_t i = 0; i < r->count; i++)
		values[i] = (uint64_t)llabs(r->extra_ns[i] - level.extra_ns);
	level.noise_ns = probe_median(values, r->count);
	level.base_ns = probe_median(r->beside_ns, 2 * r->count);
	return level;
}

/* Levels of `base`, 2 * base, 4 * base, ...; passes over all of them, so that a disturbance
 * touches one repeat of each and not all of one. */
static void borders_from(struct probing *p, uint64_t base_bytes, uint64_t box_ns,
			 uint64_t *ret_page_bytes, uint64_t *ret_unit_bytes)
{
	struct reads *reads = calloc(MAX_LEVELS, sizeof *reads);
	struct probe_level levels[MAX_LEVELS];
	struct probe_range range = readable(p);
	uint64_t until_ns = probing_until(p, box_ns);
	unsigned passes = p->params->full ? MAX_REPEATS : 9;
	size_t count = 0, used = 0;

	*ret_page_bytes = *ret_unit_bytes = 0;
	for (uint64_t a = base_bytes; reads && a <= 64 * MIB && a * 3 <= range.len_bytes; a *= 2)
		reads[count++].align_bytes = a;
	for (unsigned pass = 0; pass < passes && probing_goes_on(p, until_ns); pass++)
		for (size_t i = 0; i < count && (pass < 3 || probing_goes_on(p, until_ns)); i++)
			take_one(p, &reads[i], range);
	for (size_t i = 0; i < count; i++)
		if (reads[i].count >= 3)
			levels[used++] = level_of(&reads[i]);
	free(reads);
	probe_find_borders(levels, used, ret_page_bytes, ret_unit_bytes);
}

void probe_reads_borders(struct probing *p)
{
	uint64_t page_bytes, unit_bytes, ignored;

	if (!p->target->aligned || readable(p).len_bytes < 8 * MIB)
		return;
	borders_from(p, 4 * half_bytes(p), 3 * SECOND, &page_bytes, &unit_bytes);
	if (page_bytes != 0 && unit_bytes == 0)
		borders_from(p, 3 * 64 * KIB, SECOND, &ignored, &unit_bytes);
	if (p->error < 0)
		return;
	if (page_bytes != 0) {
		p->result->page_bytes = (uint32_t)page_bytes;
		p->result->page_method = PROBE_BY_READS;
	}
	if (unit_bytes != 0) {
		p->result->erase_bytes = (uint32_t)unit_bytes;
		p->result->erase_method = PROBE_BY_READS;
	}
}
