/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_writes.c: what writing to the scratch tells: rates, merges, open units, the fast cache. */
#include <errno.h>
#include <stdlib.h>

#include "probe_priv.h"

enum { MAX_REQUESTS = 512, MAX_OPEN = 8, MAX_STREAMS = 6, TRIALS = 5, ROUNDS = 12, GOES = 3 };

/* Random writes are spread over so much: what a guest's hot data would take. */
#define SPAN_BYTES (100 * MIB)
#define PIECE_BYTES (16 * MIB)
/* A page map writes a block anywhere in less. */
#define MOST_PAGE_NS (20 * SECOND / 1000)

static uint64_t align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

static uint64_t end_of(struct probe_range range)
{
	return range.off_bytes + range.len_bytes;
}

/* Bytes a second without what stands out, such as the merge that the first request waits for. */
static uint64_t usual_rate(const uint64_t *took_ns, size_t count)
{
	uint64_t copy[MAX_REQUESTS], sum_ns = 0, limit_ns, n = 0;

	for (size_t i = 0; i < count; i++)
		copy[i] = took_ns[i];
	limit_ns = 3 * probe_median(copy, count);
	for (size_t i = 0; i < count; i++) {
		if (took_ns[i] > limit_ns)
			continue;
		sum_ns += took_ns[i];
		n++;
	}
	return sum_ns ? (uint64_t)((double)n * REQUEST_BYTES * 1e9 / (double)sum_ns) : 0;
}

static void small_in_order(struct probing *p)
{
	uint64_t took_ns[33], at = p->target->scratch.off_bytes;
	size_t n = 0;

	for (; n < 33 && probing_write(p, at, BLOCK_BYTES, &took_ns[n]); n++)
		at += BLOCK_BYTES;
	if (n == 33)
		p->in_order_ns = probe_median(took_ns + 1, 32);
}

void probe_writes_in_order(struct probing *p)
{
	struct probe_range range = p->target->scratch;
	uint64_t until_ns = probing_until(p, 2 * SECOND), at = range.off_bytes;
	uint64_t took_ns[MAX_REQUESTS];
	size_t n = 0;

	small_in_order(p);
	while (n < MAX_REQUESTS && at + REQUEST_BYTES <= end_of(range)) {
		if (!probing_goes_on(p, until_ns) ||
		    !probing_write(p, at, REQUEST_BYTES, &took_ns[n]))
			break;
		at += REQUEST_BYTES;
		n++;
	}
	if (n > 0 && p->result->cache_bytes == 0)
		p->result->write_rate = usual_rate(took_ns, n);
	p->written = (struct probe_range){range.off_bytes, at - range.off_bytes};
}

/* A file system puts off what it knows of our writes; it must not come in between. */
static void settle(struct probing *p)
{
	if (p->error == 0)
		p->error = p->target->ops->flush(p->target->ctx);
}

/* Ascending small writes, one a stride, until `enough` merges were seen where a unit begins. */
static struct probe_unit walk(struct probing *p, uint64_t stride_bytes, uint64_t box_ns,
			      bool *ret_all_slow)
{
	struct probe_range range = p->target->scratch;
	struct probe_sample *samples = calloc(MAX_REQUESTS, sizeof *samples);
	uint64_t until_ns = probing_until(p, box_ns);
	uint64_t at = align_up(range.off_bytes, stride_bytes);
	size_t n = 0, enough = p->params->full ? 8 : 4;
	struct probe_unit unit = {0};

	*ret_all_slow = false;
	while (samples && n < MAX_REQUESTS && at + BLOCK_BYTES <= end_of(range)) {
		struct probe_sample *s = &samples[n];

		*s = (struct probe_sample){.off_bytes = at, .len_bytes = BLOCK_BYTES};
		if (!probing_goes_on(p, until_ns) || !probing_write(p, at, BLOCK_BYTES, &s->ns))
			break;
		n++;
		at += stride_bytes;
		if (n < 8)
			continue;
		unit = probe_find_unit(samples, n, stride_bytes);
		*ret_all_slow = probe_all_slow(samples, n, p->in_order_ns);
		if ((unit.clear && unit.seen >= enough) ||
		    (*ret_all_slow && n >= 16 && unit.unit_bytes == 0))
			break;
	}
	free(samples);
	return unit;
}

/* On a page map nothing shows but the collection of garbage: once for each block of flash. */
static uint64_t find_rhythm(struct probing *p)
{
	const uint64_t len_bytes = 256 * KIB;
	struct probe_range range = p->target->scratch;
	struct probe_sample *samples = calloc(2048, sizeof *samples);
	uint64_t until_ns = probing_until(p, 3 * SECOND), at = range.off_bytes, bytes;
	size_t n = 0;

	while (samples && n < 2048 && probing_goes_on(p, until_ns)) {
		samples[n] = (struct probe_sample){.off_bytes = at, .len_bytes = len_bytes};
		if (at + len_bytes > end_of(range)) {
			at = range.off_bytes;
			continue;
		}
		if (!probing_write(p, at, len_bytes, &samples[n].ns))
			break;
		at += len_bytes;
		n++;
	}
	bytes = samples ? probe_find_rhythm(samples, n) : 0;
	free(samples);
	return bytes;
}

void probe_writes_units(struct probing *p)
{
	struct probe_unit unit;
	uint64_t bytes = 0;
	bool all_slow;

	settle(p);
	unit = walk(p, MIB, 6 * SECOND, &all_slow);
	if (unit.unit_bytes == 0 && all_slow)
		unit = walk(p, 64 * KIB, 3 * SECOND, &all_slow);
	bytes = unit.unit_bytes;
	p->slow_ns = unit.slow_ns;
	p->phase_bytes = unit.phase_bytes;
	p->result->merge_ns = unit.slow_ns;
	p->result->page_mapped = !unit.any_slow && unit.fast_ns < MOST_PAGE_NS && p->error == 0;
	if (bytes == 0 && p->params->full && p->result->erase_bytes == 0)
		bytes = find_rhythm(p);
	if (bytes != 0 && p->error == 0) {
		p->result->erase_bytes = (uint32_t)bytes;
		p->result->erase_method = PROBE_BY_WRITES;
	}
}

/* The unit's first seven eighths, in order, so that closing it is cheap. */
static bool write_marked(struct probing *p, uint64_t at, uint64_t unit_bytes)
{
	uint64_t left = unit_bytes / 8 * 7, ns;

	while (left > 0) {
		uint64_t len = left < REQUEST_BYTES ? left : REQUEST_BYTES;

		if (!probing_write(p, at, len, &ns))
			return false;
		at += len;
		left -= len;
	}
	return true;
}

/* A run over the scratch's units, round and round. */
struct units {
	uint64_t first_bytes, unit_bytes, count, next;
};

static uint64_t next_unit(struct units *u)
{
	return u->first_bytes + u->next++ % u->count * u->unit_bytes;
}

/* One count; 0 and -1 as probe_find_open. The places of the units before must be taken. */
static int count_once(struct probing *p, struct units *u, uint64_t until_ns)
{
	uint64_t begin_ns[MAX_OPEN];
	size_t most = u->count - 2 < MAX_OPEN ? (size_t)u->count - 2 : MAX_OPEN;
	int found = 0;

	if (!write_marked(p, next_unit(u), u->unit_bytes))
		return 0;
	for (size_t n = 0; n < most && found == 0; n++) {
		if (!probing_goes_on(p, until_ns) ||
		    !probing_write(p, next_unit(u), BLOCK_BYTES, &begin_ns[n]))
			return 0;
		found = probe_find_open(begin_ns, n + 1, p->slow_ns);
	}
	return found;
}

/* Counted until two counts agree: a file system that writes its journal in between shifts one. */
static void count_open(struct probing *p, uint64_t until_ns)
{
	struct probe_range range = p->target->scratch;
	struct units u = {.unit_bytes = p->result->erase_bytes};
	unsigned votes[MAX_OPEN + 1] = {0};
	unsigned enough = p->params->full ? 3 : 2;

	u.first_bytes = align_up(range.off_bytes - p->phase_bytes, u.unit_bytes) + p->phase_bytes;
	if (u.first_bytes < range.off_bytes || u.first_bytes + 3 * u.unit_bytes > end_of(range))
		return;
	u.count = (end_of(range) - u.first_bytes) / u.unit_bytes;
	for (unsigned i = 0; i < TRIALS && probing_goes_on(p, until_ns); i++) {
		int found = count_once(p, &u, until_ns);

		if (found <= 0 || ++votes[found] < enough)
			continue;
		p->result->open_units = (uint32_t)found;
		return;
	}
	for (unsigned n = MAX_OPEN; n > 0; n--) /* out of time: one count is better than none */
		if (votes[n] > 0)
			p->result->open_units = n;
}

/* Writes in `places` places in turn, each in order, far from one another: what one takes. The best
 * of three goes, but of one place, which all others are held against: the middle. 0: no time. */
static uint64_t write_in_turn(struct probing *p, unsigned places, uint64_t base, uint64_t until_ns)
{
	uint64_t apart = p->target->scratch.len_bytes / MAX_STREAMS / MIB * MIB;
	uint64_t took_ns[MAX_STREAMS * ROUNDS], goes_ns[GOES];
	unsigned round = 0;

	for (unsigned go = 0; go < GOES; go++) {
		size_t n = 0;

		for (unsigned end = round + ROUNDS; round < end; round++) {
			uint64_t at = p->target->scratch.off_bytes + base + round * BLOCK_BYTES;

			for (unsigned i = 0; i < places; i++) {
				if (!probing_goes_on(p, until_ns) ||
				    !probing_write(p, at + i * apart, BLOCK_BYTES, &took_ns[n]))
					return 0;
				n += round > 0; /* the first ones go to a new place */
			}
		}
		goes_ns[go] = probe_median(took_ns, n);
	}
	return probe_percentile(goes_ns, GOES, places == 1 ? 50 : 0);
}

static void count_streams(struct probing *p, uint64_t until_ns)
{
	uint64_t place_ns[MAX_STREAMS], room = p->target->scratch.len_bytes / MAX_STREAMS;
	unsigned n = 0, good = 0;
	bool more = true;

	if (room < 2 * MIB)
		return;
	while (n < MAX_STREAMS && more) {
		place_ns[n] = write_in_turn(p, n + 1, (n + 1) * 128 * KIB, until_ns);
		if (place_ns[n++] == 0)
			return;
		good = probe_find_streams(place_ns, n, &more);
	}
	p->result->open_units = good;
	p->result->open_units_more = more;
}

void probe_writes_open(struct probing *p)
{
	uint64_t until_ns;

	settle(p);
	until_ns = probing_until(p, 5 * SECOND);
	if (p->slow_ns != 0 && p->result->erase_bytes != 0)
		count_open(p, until_ns);
	else
		count_streams(p, until_ns);
}

void probe_writes_random(struct probing *p)
{
	struct probe_range range = p->target->scratch;
	uint64_t span = range.len_bytes < SPAN_BYTES ? range.len_bytes : SPAN_BYTES;
	uint64_t until_ns = probing_until(p, 9 * SECOND / 5), sum_ns = 0, n = 0, ns;

	while (n < (p->params->full ? 2048u : 320u)) {
		uint64_t block = probing_random_below(p, span / BLOCK_BYTES);

		if ((n >= 3 && !probing_goes_on(p, until_ns)) ||
		    !probing_write(p, range.off_bytes + block * BLOCK_BYTES, BLOCK_BYTES, &ns))
			break;
		sum_ns += ns;
		n++;
	}
	if (n > 0)
		p->result->random_write_ns = sum_ns / n;
}

/* Nanoseconds of the next piece; the scratch is gone over again and again. */
static uint64_t write_piece(struct probing *p, uint64_t *at)
{
	struct probe_range range = p->target->scratch;
	uint64_t sum_ns = 0, ns;

	for (uint64_t done = 0; done < PIECE_BYTES; done += REQUEST_BYTES) {
		if (*at + REQUEST_BYTES > end_of(range))
			*at = range.off_bytes;
		if (!probing_write(p, *at, REQUEST_BYTES, &ns))
			return 0;
		*at += REQUEST_BYTES;
		sum_ns += ns;
	}
	return sum_ns;
}

static void keep_cliff(struct probing *p, struct probe_cliff cliff)
{
	p->result->cache_bytes = cliff.pieces * PIECE_BYTES;
	p->result->write_rate = PIECE_BYTES * SECOND / (cliff.before_ns + 1);
	p->result->slow_write_rate = PIECE_BYTES * SECOND / (cliff.after_ns + 1);
}

void probe_writes_cache(struct probing *p)
{
	const struct probe_params *params = p->params;
	size_t most = (size_t)(params->cache_bytes / PIECE_BYTES), n = 0;
	uint64_t *piece_ns = calloc(most + 1, sizeof *piece_ns);
	uint64_t at = p->target->scratch.off_bytes;
	struct probe_cliff cliff = {0};

	if (!piece_ns)
		p->error = -ENOMEM;
	while (n < most && p->error == 0) {
		if (params->report && !params->report(params->report_ctx, "filling the fast cache",
						      n * PIECE_BYTES, params->cache_bytes))
			p->error = -ECANCELED;
		piece_ns[n++] = write_piece(p, &at);
		p->result->cache_looked_bytes += PIECE_BYTES;
		if (n % 8 != 0)
			continue;
		cliff = probe_find_cliff(piece_ns, n);
		if (cliff.pieces != 0 && n - cliff.pieces >= 8)
			break;
	}
	if (p->error == 0 && cliff.pieces != 0)
		keep_cliff(p, cliff);
	free(piece_ns);
	probing_set_limit(p); /* it has a limit of its own, in bytes */
}
