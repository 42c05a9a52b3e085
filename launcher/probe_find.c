/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_find.c: latencies as numbers: medians, fits, borders that reads see, cliffs. */
/*
 * Hosts are noisy and in one direction: a command never takes less than the stick needs, and now
 * and then much more. So nothing here is a mean:
 *  F1  every figure is a median or a percentile, of at least three repeats where it matters;
 *  F2  a step counts only where it is larger than the noise of its own samples, and than 4 % of
 *      the latency it stands on;
 *  F3  no step is an answer as well: unknown, never a guess.
 */
#include "probe_find.h"

#include <stdlib.h>

enum { MAX_LEVELS = 32, MAX_LENGTHS = 16 };

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t probe_percentile(uint64_t *values, size_t count, unsigned percent)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof *values, by_value);
	return values[(count - 1) * percent / 100];
}

uint64_t probe_median(uint64_t *values, size_t count)
{
	return probe_percentile(values, count, 50);
}

/* The median latency of one length. */
static uint64_t median_of_length(const struct probe_sample *samples, size_t count,
				 uint64_t len_bytes)
{
	uint64_t *values = calloc(count, sizeof *values), result;
	size_t n = 0;

	for (size_t i = 0; values && i < count; i++)
		if (samples[i].len_bytes == len_bytes)
			values[n++] = samples[i].ns;
	result = probe_median(values, n);
	free(values);
	return result;
}

static int by_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median_double(double *values, size_t count)
{
	qsort(values, count, sizeof *values, by_double);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

bool probe_fit(const struct probe_sample *samples, size_t count, double *ret_fix_ns,
	       double *ret_ns_per_byte)
{
	double x[MAX_LENGTHS], y[MAX_LENGTHS], slopes[MAX_LENGTHS * MAX_LENGTHS];
	size_t n = 0, pairs = 0;

	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		while (k < n && x[k] != (double)samples[i].len_bytes)
			k++;
		if (k < n || n == MAX_LENGTHS)
			continue;
		x[n] = (double)samples[i].len_bytes;
		y[n++] = (double)median_of_length(samples, count, samples[i].len_bytes);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = i + 1; k < n; k++)
			slopes[pairs++] = (y[k] - y[i]) / (x[k] - x[i]);
	if (pairs == 0)
		return false;
	*ret_ns_per_byte = median_double(slopes, pairs);
	for (size_t i = 0; i < n; i++)
		y[i] -= *ret_ns_per_byte * x[i];
	*ret_fix_ns = median_double(y, n);
	return true;
}

static double plateau(const struct probe_level *levels, size_t from, size_t to)
{
	double values[MAX_LEVELS];

	for (size_t i = from; i < to; i++)
		values[i - from] = (double)levels[i].extra_ns;
	return from < to ? median_double(values, to - from) : 0;
}

static double misfit(const struct probe_level *levels, size_t from, size_t to, double at)
{
	double sum = 0;

	for (size_t i = from; i < to; i++) {
		double d = (double)levels[i].extra_ns - at;

		sum += d < 0 ? -d : d;
	}
	return sum;
}

/* What a step must have at least (F2). */
static double least_step(const struct probe_level *levels, size_t count)
{
	uint64_t noise[MAX_LEVELS], base[MAX_LEVELS];
	double least, of_base;

	for (size_t i = 0; i < count; i++) {
		noise[i] = levels[i].noise_ns;
		base[i] = levels[i].base_ns;
	}
	least = 2.5 * (double)probe_median(noise, count);
	of_base = 0.04 * (double)probe_median(base, count);
	if (least < of_base)
		least = of_base;
	return least < 4000 ? 4000 : least;
}

/* Levels [0, page) low, [page, unit) in the middle, [unit, count) high. */
struct split {
	size_t page, unit;
	double misfit;
};

static struct split weigh(const struct probe_level *levels, size_t count, size_t page, size_t unit,
			  double least)
{
	double low = plateau(levels, 0, page), middle = plateau(levels, page, unit);
	double high = plateau(levels, unit, count), before = unit > page ? middle : low;
	struct split split = {page, unit, 0};

	if ((page < unit && middle - low < least) || (unit < count && high - before < least)) {
		split.misfit = -1;
		return split;
	}
	split.misfit = misfit(levels, 0, page, low) + misfit(levels, page, unit, middle) +
		       misfit(levels, unit, count, high);
	return split;
}

/* Every pair of borders is tried; a step must halve what the fit leaves over, a second one take a
 * quarter of the rest. */
void probe_find_borders(const struct probe_level *levels, size_t count, uint64_t *ret_page_bytes,
			uint64_t *ret_unit_bytes)
{
	double least = count > 0 && count <= MAX_LEVELS ? least_step(levels, count) : 0;
	struct split best;

	*ret_page_bytes = 0;
	*ret_unit_bytes = 0;
	if (count < 3 || count > MAX_LEVELS)
		return;
	best = weigh(levels, count, count, count, least);
	best.misfit /= 2; /* noise always finds a split that is a little better */
	for (size_t page = 1; page < count; page++) {
		for (size_t unit = page; unit <= count; unit++) {
			struct split split = weigh(levels, count, page, unit, least);
			bool more = page < unit && unit < count;
			double limit = best.misfit * (more ? 0.75 : 1);

			if (split.misfit >= 0 && split.misfit < limit)
				best = split;
		}
	}
	if (best.page < best.unit)
		*ret_page_bytes = levels[best.page].align_bytes;
	if (best.unit < count)
		*ret_unit_bytes = levels[best.unit].align_bytes;
	/* A single step is a page's where pages are, and a unit's where units are. */
	if (*ret_unit_bytes == 0 && *ret_page_bytes >= (128u << 10)) {
		*ret_unit_bytes = *ret_page_bytes;
		*ret_page_bytes = 0;
	}
	if (*ret_page_bytes == 0 && *ret_unit_bytes != 0 && *ret_unit_bytes < (128u << 10)) {
		*ret_page_bytes = *ret_unit_bytes;
		*ret_unit_bytes = 0;
	}
}

static uint64_t part_median(const uint64_t *values, size_t from, size_t to)
{
	uint64_t copy[256], result;
	size_t count = to - from;
	size_t step = count > 256 ? count / 256 + 1 : 1, n = 0;

	for (size_t i = from; i < to; i += step)
		copy[n++] = values[i];
	result = probe_median(copy, n);
	return result;
}

struct probe_cliff probe_find_cliff(const uint64_t *piece_ns, size_t count)
{
	struct probe_cliff cliff = {0};
	double best = 1.4; /* the rate falls to 0.7 at least */

	for (size_t at = 2; at + 4 <= count; at++) {
		uint64_t before = part_median(piece_ns, 0, at);
		uint64_t after = part_median(piece_ns, at, count);
		uint64_t ends[] = {piece_ns[at], piece_ns[at + 1], piece_ns[at + 2]};
		double ratio = (double)after / (double)(before ? before : 1);
		uint64_t here = probe_median(ends, 3);

		/* Of equal ratios the border is where the slow ones begin. */
		if (ratio < best * 1.02 || (double)here < 0.7 * (double)after ||
		    (double)piece_ns[at] < 1.2 * (double)before)
			continue;
		best = ratio;
		cliff = (struct probe_cliff){at, before, after};
	}
	return cliff;
}
