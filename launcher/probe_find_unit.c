/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_find_unit.c: merges as they show in writes: the erase unit, and how many can be open. */
/*
 * A write to a unit that is not open makes the controller close another one: it copies what was
 * not written there, and that takes many times what the write takes. Seen from outside:
 *  - ascending writes are slow at each border of a unit, and only there. Of all periods that fit
 *    the smallest is the unit, since each multiple of it would leave slow writes unexplained;
 *  - a unit that was almost full is cheap to close. So a marked unit tells when it is its turn;
 *  - on a page map nothing merges. Where it collects garbage, it does so once a block, whatever
 *    the addresses are: a rhythm in bytes. Places written in turn cost nothing until they are more
 *    than its streams.
 */
#include "probe_find.h"

#include <stdlib.h>
#include <string.h>

/* A slow write takes three times a fast one, and this more. */
#define LEAST_MERGE_NS UINT64_C(1000000)

static uint64_t nth(const struct probe_sample *samples, size_t count, size_t n)
{
	uint64_t *values = calloc(count, sizeof *values), result = 0;

	for (size_t i = 0; values && i < count; i++)
		values[i] = samples[i].ns;
	if (values) {
		probe_median(values, count); /* sorts */
		result = values[n];
	}
	free(values);
	return result;
}

static uint64_t slow_median(const struct probe_sample *samples, size_t count, uint64_t limit_ns)
{
	uint64_t *values = calloc(count, sizeof *values), result;
	size_t n = 0;

	for (size_t i = 0; values && i < count; i++)
		if (samples[i].ns >= limit_ns)
			values[n++] = samples[i].ns;
	result = probe_median(values, n);
	free(values);
	return result;
}

/* The border between fast and slow; 0: there are not both. One outlier is none; what is slow by
 * less than half of the usual merge is the host. */
static uint64_t threshold(const struct probe_sample *samples, size_t count, uint64_t *ret_fast_ns)
{
	uint64_t fast, slow;

	if (count < 4)
		return 0;
	fast = nth(samples, count, count / 4);
	slow = nth(samples, count, count - 2);
	*ret_fast_ns = fast;
	if (slow < 3 * fast + LEAST_MERGE_NS)
		return 0;
	return fast + (slow_median(samples, count, fast + (slow - fast) / 4) - fast) / 2;
}

struct score {
	size_t on, on_slow, off, off_slow;
	uint64_t least_ns, most_ns; /* of the slow ones at borders */
};

static struct score score_of(const struct probe_sample *samples, size_t count, uint64_t unit,
			     uint64_t phase, uint64_t limit_ns)
{
	struct score s = {0};

	for (size_t i = 0; i < count; i++) {
		bool slow = samples[i].ns >= limit_ns;

		if (samples[i].off_bytes % unit == phase) {
			s.on++;
			s.on_slow += slow;
			if (slow && (s.least_ns == 0 || samples[i].ns < s.least_ns))
				s.least_ns = samples[i].ns;
			if (slow && samples[i].ns > s.most_ns)
				s.most_ns = samples[i].ns;
		} else {
			s.off++;
			s.off_slow += slow;
		}
	}
	return s;
}

/* Merges take about the same time each. A few others are slow because somebody else wrote. */
static bool explains(const struct score *s)
{
	bool alone = s->off_slow * 16 <= s->off && (s->on >= 4 || s->on_slow == s->on);
	bool many = s->on_slow >= 4 && s->off_slow * 2 <= s->on_slow;

	return s->on >= 3 && s->off > 0 && s->on_slow * 4 >= s->on * 3 && (alone || many) &&
	       s->most_ns <= 3 * s->least_ns;
}

struct probe_unit probe_find_unit(const struct probe_sample *samples, size_t count,
				  uint64_t stride_bytes)
{
	static const uint64_t multiples[] = {2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128};
	struct probe_unit unit = {0};
	uint64_t limit_ns = threshold(samples, count, &unit.fast_ns);

	unit.any_slow = limit_ns != 0;
	if (limit_ns == 0)
		return unit;
	/* Where places were free at first, nothing had to be closed. */
	while (count > 0 && samples[0].ns < limit_ns) {
		samples++;
		count--;
	}
	for (size_t i = 0; i < sizeof multiples / sizeof multiples[0]; i++) {
		uint64_t bytes = multiples[i] * stride_bytes;

		for (uint64_t phase = 0; phase < bytes; phase += stride_bytes) {
			struct score s = score_of(samples, count, bytes, phase, limit_ns);

			if (!explains(&s))
				continue;
			unit.unit_bytes = bytes;
			unit.phase_bytes = phase;
			unit.slow_ns = slow_median(samples, count, limit_ns);
			unit.seen = s.on_slow;
			unit.clear = s.on_slow == s.on && s.off_slow * 16 <= s.off;
			return unit;
		}
	}
	return unit;
}

bool probe_all_slow(const struct probe_sample *samples, size_t count, uint64_t in_order_ns)
{
	uint64_t low, high;

	if (count < 8)
		return false;
	low = nth(samples, count, count / 4);
	high = nth(samples, count, count - 2);
	return low > 3 * in_order_ns + LEAST_MERGE_NS && high < 3 * low;
}

/* How many of the gaps are a whole number of times `bytes`, within an eighth of it. */
static size_t fitting(const uint64_t *gaps, size_t count, uint64_t bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t rest = (gaps[i] + bytes / 2) % bytes;
		uint64_t from_middle = rest > bytes / 2 ? rest - bytes / 2 : bytes / 2 - rest;

		n += gaps[i] + bytes / 8 >= bytes && from_middle <= bytes / 8;
	}
	return n;
}

uint64_t probe_find_rhythm(const struct probe_sample *samples, size_t count)
{
	uint64_t *gaps = calloc(count + 1, sizeof *gaps);
	uint64_t fast = count >= 16 ? nth(samples, count, count / 2) : 0;
	uint64_t bytes = 0, since = 0, result = 0;
	size_t n = 0;
	bool seen = false;

	for (size_t i = 0; gaps && fast && i < count; i++) {
		if (samples[i].ns > fast + fast / 4 + LEAST_MERGE_NS) {
			if (seen)
				gaps[n++] = since;
			seen = true;
			since = 0;
		}
		since += samples[i].len_bytes;
	}
	if (n >= 4) {
		bytes = probe_median(gaps, n);
		result = fitting(gaps, n, bytes) * 4 >= n * 3 ? bytes : 0;
	}
	free(gaps);
	return result;
}

int probe_find_open(const uint64_t *begin_ns, size_t count, uint64_t slow_ns)
{
	for (size_t i = 0; i < count; i++) {
		if (begin_ns[i] < slow_ns / 12)
			return -1;
		if (begin_ns[i] < slow_ns * 8 / 10)
			return (int)i + 1;
	}
	return 0;
}

uint32_t probe_find_streams(const uint64_t *place_ns, size_t count, bool *ret_more)
{
	uint64_t limit_ns = count ? place_ns[0] + place_ns[0] / 5 + 10000 : 0;
	uint32_t n = 0;

	while (n < count && place_ns[n] <= limit_ns)
		n++;
	*ret_more = count > 0 && n == count;
	return n;
}
