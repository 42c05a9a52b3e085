/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_fake.c: finds sticks that announce more than they hold, by tags in places all over. */
/*
 * The kinds are those of f3 (Digirati's "Fight Flash Fraud"). A tag tells its run and its address.
 *
 *  C1  Every place is kept (and durable off the stick) before the first tag is written, so what is
 *      kept is what the stick held before this run, whichever addresses are one and the same.
 *  C2  Places are restored in the reverse order of keeping: where two addresses are one place, the
 *      older content wins. So a wraparound gets back what was in its real part.
 *  C3  Tags are read back only after so much else was written that no cache can still know them.
 *  C4  An address that was not readable is not written to.
 *
 * Alias: a tag that shows at X mod 2^k as well was stored there. The smallest such 2^k is where
 * addresses wrap (larger ones show it, too), or less where the bits of X between are zero: the
 * largest over all X counts. Controllers drop address bits, so wraps are powers of two; another
 * one shows as tags of others, and is the greatest divisor of the distances.
 */
#include "probe_fake.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define LEAST_WRAP_BYTES MIB
#define PIECE_BYTES MIB

enum { MAX_PLACES = 96, MAX_SPILL = 64, MAX_STEPS = 40 };

enum found { FOUND_OWN, FOUND_OTHER, FOUND_LOST };

struct place {
	uint64_t off_bytes;
	uint32_t len_bytes;
	uint8_t *kept;		  /* NULL: could not be read */
	enum found before, after; /* read back at once, and after the spill */
	uint64_t other_bytes;	  /* under FOUND_OTHER: whose tag it is */
};

struct capacity {
	const struct probe_ops *ops;
	void *ctx;
	const struct probe_capacity_params *params;
	struct probe_capacity *result;
	/* The spill, the samples, then what looking for the end added: in the order of keeping. */
	struct place places[MAX_SPILL + MAX_PLACES + MAX_STEPS];
	struct place *samples;
	size_t spill_count, count, total;
	uint8_t *buf; /* PIECE_BYTES */
	int error;    /* the first that ends the run */
};

const char *probe_fake_name(enum probe_fake kind)
{
	static const char *const names[] = {
		[PROBE_GENUINE] = "good",	   [PROBE_BAD] = "bad",	    [PROBE_LIMBO] = "limbo",
		[PROBE_WRAPAROUND] = "wraparound", [PROBE_CHAIN] = "chain",
	};

	return names[kind];
}

static const char magic[8] = "svprobe";

static void make_tag(uint8_t *tag, uint64_t seed, uint64_t off_bytes)
{
	uint64_t words[PROBE_TAG_BYTES / 8],
		state = seed ^ off_bytes * UINT64_C(0x9e3779b97f4a7c15);

	memcpy(&words[0], magic, 8);
	words[1] = seed;
	words[2] = off_bytes;
	for (size_t i = 3; i < PROBE_TAG_BYTES / 8; i++) {
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		words[i] = state;
	}
	memcpy(tag, words, PROBE_TAG_BYTES);
}

/* Whether the block is a whole tag of the run, and of which address. */
static bool read_tag(const uint8_t *block, uint64_t seed, uint64_t *ret_off_bytes)
{
	uint8_t want[PROBE_TAG_BYTES];
	uint64_t off_bytes;

	memcpy(&off_bytes, block + 16, 8);
	make_tag(want, seed, off_bytes);
	if (memcmp(want, block, PROBE_TAG_BYTES) != 0)
		return false;
	*ret_off_bytes = off_bytes;
	return true;
}

/* Errors that say something of one place only. */
static bool is_local(int r)
{
	return r == -EIO || r == -EREMOTEIO || r == -EILSEQ || r == -ENODATA;
}

/* Notes an error that ends the run. */
static int note(struct capacity *c, int r)
{
	if (r < 0 && !is_local(r) && c->error == 0)
		c->error = r;
	return r;
}

static void tell(struct capacity *c, const char *what, uint64_t done, uint64_t total)
{
	const struct probe_capacity_params *params = c->params;

	if (params->report && c->error == 0 &&
	    !params->report(params->report_ctx, what, done, total))
		c->error = -ECANCELED;
}

/* The place nearest to `want` that is free and within [low, high); false: none. */
static bool nearest_free(const struct capacity *c, uint64_t want, uint64_t low, uint64_t high,
			 uint64_t *ret_off_bytes)
{
	uint64_t best = UINT64_MAX;

	for (size_t i = 0; i < c->params->free_count; i++) {
		struct probe_range range = c->params->free[i];
		uint64_t from = range.off_bytes > low ? range.off_bytes : low;
		uint64_t to = range.off_bytes + range.len_bytes;
		uint64_t at, away;

		from = (from + PROBE_TAG_BYTES - 1) / PROBE_TAG_BYTES * PROBE_TAG_BYTES;
		to = (to < high ? to : high) / PROBE_TAG_BYTES * PROBE_TAG_BYTES;
		if (to <= from)
			continue;
		at = want < from ? from : want >= to ? to - PROBE_TAG_BYTES : want;
		at -= at % PROBE_TAG_BYTES;
		away = at > want ? at - want : want - at;
		if (away < best) {
			best = away;
			*ret_off_bytes = at;
		}
	}
	return best != UINT64_MAX;
}

static bool is_taken(const struct capacity *c, uint64_t off_bytes)
{
	for (size_t i = 0; i < c->total; i++) {
		const struct place *p = &c->places[i];

		if (off_bytes + PROBE_TAG_BYTES > p->off_bytes &&
		    off_bytes < p->off_bytes + p->len_bytes)
			return true;
	}
	return false;
}

/* The lowest whole pieces: below the end of any stick that holds something. */
static void choose_spill(struct capacity *c)
{
	uint64_t left = c->params->spill_bytes;

	for (size_t i = 0; i < c->params->free_count && left > 0; i++) {
		struct probe_range range = c->params->free[i];
		uint64_t at =
			(range.off_bytes + PROBE_TAG_BYTES - 1) / PROBE_TAG_BYTES * PROBE_TAG_BYTES;
		uint64_t end = range.off_bytes + range.len_bytes;

		for (; at + PIECE_BYTES <= end && left > 0 && c->spill_count < MAX_SPILL;
		     at += PIECE_BYTES) {
			c->places[c->total++] = (struct place){at, PIECE_BYTES, NULL, 0, 0, 0};
			c->spill_count++;
			left -= left < PIECE_BYTES ? left : PIECE_BYTES;
		}
	}
}

/* Samples: all over in equal steps, the very end, and around powers of two, where real sizes and
 * wraps are. */
static void choose(struct capacity *c)
{
	const uint64_t size = c->params->size_bytes;
	uint64_t wanted[MAX_PLACES], at;
	size_t n = 0;

	wanted[n++] = size - PROBE_TAG_BYTES;
	for (unsigned i = 0; i < 40; i++)
		wanted[n++] = size / 40 * i + size / 97;
	for (uint64_t p = MIB / 4; p < size && n + 2 < MAX_PLACES; p *= 2) {
		wanted[n++] = p - PROBE_TAG_BYTES;
		wanted[n++] = p + PROBE_TAG_BYTES;
	}
	for (size_t i = 0; i < n; i++)
		if (nearest_free(c, wanted[i], 0, size, &at) && !is_taken(c, at))
			c->places[c->total++] = (struct place){at, PROBE_TAG_BYTES, NULL, 0, 0, 0};
	c->count = c->total - c->spill_count;
}

/* C1, C4 */
static void keep(struct capacity *c, struct place *p)
{
	uint8_t *kept = malloc(p->len_bytes);
	int r = kept ? c->ops->read(c->ctx, c->buf, p->len_bytes, p->off_bytes) : -ENOMEM;

	if (note(c, r) < 0) {
		free(kept);
		return;
	}
	memcpy(kept, c->buf, p->len_bytes);
	p->kept = kept;
	r = c->params->saver.keep(c->params->saver.ctx, kept, p->len_bytes, p->off_bytes);
	if (r < 0)
		c->error = r;
}

static void commit(struct capacity *c)
{
	int r = c->error ? 0 : c->params->saver.commit(c->params->saver.ctx);

	if (r < 0)
		c->error = r;
}

static void tag(struct capacity *c, const struct place *p)
{
	if (!p->kept)
		return;
	for (uint32_t b = 0; b < p->len_bytes; b += PROBE_TAG_BYTES)
		make_tag(c->buf + b, c->params->seed, p->off_bytes + b);
	note(c, c->ops->write(c->ctx, c->buf, p->len_bytes, p->off_bytes));
}

static enum found look(struct capacity *c, uint64_t off_bytes, uint64_t *ret_other_bytes)
{
	uint64_t of_bytes;
	int r = c->ops->read(c->ctx, c->buf, PROBE_TAG_BYTES, off_bytes);

	if (note(c, r) < 0 || !read_tag(c->buf, c->params->seed, &of_bytes))
		return FOUND_LOST;
	*ret_other_bytes = of_bytes;
	return of_bytes == off_bytes ? FOUND_OWN : FOUND_OTHER;
}

static void spill(struct capacity *c)
{
	for (size_t i = 0; i < c->spill_count && c->error == 0; i++)
		tag(c, &c->places[i]);
	if (c->error == 0)
		note(c, c->ops->flush(c->ctx));
}

/* Writes every tag, and reads them back twice. */
static void try_places(struct capacity *c)
{
	for (size_t i = 0; i < c->total && c->error == 0; i++) {
		tell(c, "keeping what is there", i, c->total);
		keep(c, &c->places[i]);
	}
	commit(c);
	for (size_t i = 0; i < c->count && c->error == 0; i++) {
		tell(c, "writing tags", i, c->count);
		tag(c, &c->samples[i]);
	}
	if (c->error == 0)
		note(c, c->ops->flush(c->ctx));
	for (size_t i = 0; i < c->count && c->error == 0; i++)
		c->samples[i].before = look(c, c->samples[i].off_bytes, &c->samples[i].other_bytes);
	tell(c, "writing past caches", 0, 1);
	spill(c); /* C3 */
	for (size_t i = 0; i < c->count && c->error == 0; i++) {
		struct place *p = &c->samples[i];

		tell(c, "reading tags", i, c->count);
		p->after = p->kept ? look(c, p->off_bytes, &p->other_bytes) : FOUND_LOST;
		c->result->lost += p->after != FOUND_OWN;
		c->result->cached |= p->before == FOUND_OWN && p->after == FOUND_LOST;
	}
}

/* The smallest power of two that this sample shows again below; 0: none. */
static uint64_t alias_of(struct capacity *c, const struct place *p)
{
	for (uint64_t wrap = LEAST_WRAP_BYTES; wrap <= p->off_bytes; wrap *= 2) {
		uint64_t other = UINT64_MAX;

		if (look(c, p->off_bytes % wrap, &other) != FOUND_LOST && other == p->off_bytes)
			return wrap;
	}
	return 0;
}

static uint64_t divisor(uint64_t a, uint64_t b)
{
	while (b != 0) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Where addresses wrap; 0: nowhere. Own tags tell it; tags of others do as well. A stick that lost
 * nothing wraps nowhere unless the highest few show twice. */
static uint64_t find_wrap(struct capacity *c)
{
	uint64_t wrap = 0;

	for (size_t i = 0; i < c->count && c->error == 0; i++) {
		const struct place *p = &c->samples[i];
		uint64_t here;

		if (p->after != FOUND_OWN || (c->result->lost == 0 && wrap == 0 && i >= 4))
			continue;
		tell(c, "looking for twins", i, c->count);
		here = alias_of(c, p);
		if (here > wrap)
			wrap = here;
	}
	if (wrap != 0)
		return wrap;
	for (size_t i = 0; i < c->count; i++) {
		const struct place *p = &c->samples[i];
		uint64_t a = p->off_bytes, b = p->other_bytes;

		if (p->after == FOUND_OTHER)
			wrap = divisor(a > b ? a - b : b - a, wrap);
	}
	return wrap;
}

/* One more place, in the middle: whether it holds. */
static bool holds(struct capacity *c, uint64_t off_bytes)
{
	struct place *p = &c->places[c->total];
	uint64_t other;

	*p = (struct place){off_bytes, PROBE_TAG_BYTES, NULL, 0, 0, 0};
	c->total++;
	keep(c, p);
	commit(c);
	if (c->error < 0 || !p->kept)
		return false;
	tag(c, p);
	if (c->error == 0)
		note(c, c->ops->flush(c->ctx));
	if (c->result->cached)
		spill(c);
	return look(c, off_bytes, &other) == FOUND_OWN;
}

/* The border between what holds and what is lost, by halves, below `limit`. */
static void find_end(struct capacity *c, uint64_t limit)
{
	uint64_t low = 0, high = limit, at;

	for (size_t i = 0; i < c->count; i++) {
		const struct place *p = &c->samples[i];
		uint64_t off = p->off_bytes % limit;

		if (p->after == FOUND_LOST && off < high)
			high = off;
	}
	for (size_t i = 0; i < c->count; i++) {
		const struct place *p = &c->samples[i];
		uint64_t off = p->off_bytes % limit + PROBE_TAG_BYTES;

		if (p->after != FOUND_LOST && off <= high && off > low)
			low = off;
	}
	for (unsigned i = 0; i < MAX_STEPS && c->error == 0 && high > low; i++) {
		tell(c, "looking for the end", i, MAX_STEPS);
		if (high - low <= PROBE_TAG_BYTES ||
		    !nearest_free(c, low + (high - low) / 2, low, high, &at) || is_taken(c, at))
			break;
		if (holds(c, at))
			low = at + PROBE_TAG_BYTES;
		else
			high = at;
	}
	c->result->real_bytes = low;
	c->result->precision_bytes = high - low;
}

static bool any_own(const struct capacity *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->samples[i].after != FOUND_LOST)
			return true;
	return false;
}

static bool any_lost(const struct capacity *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->samples[i].after == FOUND_LOST)
			return true;
	return false;
}

static void judge(struct capacity *c)
{
	struct probe_capacity *r = c->result;

	if (!any_own(c)) {
		r->kind = PROBE_BAD;
		return;
	}
	r->wrap_bytes = find_wrap(c);
	if (r->wrap_bytes != 0 && !any_lost(c)) {
		r->kind = PROBE_WRAPAROUND;
		r->real_bytes = r->wrap_bytes;
	} else if (r->wrap_bytes != 0) {
		r->kind = PROBE_CHAIN;
		find_end(c, r->wrap_bytes);
	} else if (any_lost(c)) {
		r->kind = PROBE_LIMBO;
		find_end(c, c->params->size_bytes);
	} else {
		r->kind = PROBE_GENUINE;
		r->real_bytes = c->params->size_bytes;
	}
}

/* C2. A place that gives an error cannot be helped. */
static void put_back(struct capacity *c)
{
	bool gone = c->error == -ENODEV || c->error == -ENXIO;

	for (size_t i = c->total; i-- > 0 && !gone;) {
		struct place *p = &c->places[i];
		int r;

		if (!p->kept)
			continue;
		memcpy(c->buf, p->kept, p->len_bytes);
		r = c->ops->write(c->ctx, c->buf, p->len_bytes, p->off_bytes);
		gone = r == -ENODEV || r == -ENXIO;
		note(c, r);
	}
	if (!gone)
		note(c, c->ops->flush(c->ctx));
	for (size_t i = 0; i < c->total && !gone; i++) {
		struct place *p = &c->places[i];

		if (!p->kept ||
		    note(c, c->ops->read(c->ctx, c->buf, p->len_bytes, p->off_bytes)) < 0)
			continue;
		c->result->changed += memcmp(c->buf, p->kept, p->len_bytes) != 0;
	}
}

int probe_capacity_run(const struct probe_ops *ops, void *ctx,
		       const struct probe_capacity_params *params, struct probe_capacity *ret)
{
	struct probe_capacity result = {.announced_bytes = params->size_bytes};
	struct capacity *c = calloc(1, sizeof *c);
	void *buf = NULL;
	int r;

	assert(params->seed != 0);
	if (!c || posix_memalign(&buf, PROBE_TAG_BYTES, PIECE_BYTES) != 0) {
		free(c);
		return -ENOMEM;
	}
	*c = (struct capacity){.ops = ops, .ctx = ctx, .params = params, .result = &result};
	c->buf = buf;
	choose_spill(c);
	choose(c);
	c->samples = c->places + c->spill_count;
	for (size_t i = 0; i < c->count; i++)
		if (c->samples[i].off_bytes + PROBE_TAG_BYTES > result.reached_bytes)
			result.reached_bytes = c->samples[i].off_bytes + PROBE_TAG_BYTES;
	result.samples = (uint32_t)c->count;
	if (c->count < 8)
		c->error = -ENOSPC;
	else
		try_places(c);
	if (c->error == 0)
		judge(c);
	put_back(c);
	r = c->error;
	for (size_t i = 0; i < c->total; i++)
		free(c->places[i].kept);
	free(buf);
	free(c);
	if (r == 0)
		*ret = result;
	return r;
}

int probe_capacity_restore(const struct probe_ops *ops, void *ctx, uint64_t seed, const void *data,
			   size_t len_bytes, uint64_t off_bytes, uint64_t *ret_restored)
{
	void *buf = NULL;
	int r = posix_memalign(&buf, PROBE_TAG_BYTES, PROBE_TAG_BYTES) ? -ENOMEM : 0;

	for (size_t b = 0; b + PROBE_TAG_BYTES <= len_bytes && r == 0; b += PROBE_TAG_BYTES) {
		uint64_t of_bytes;

		r = ops->read(ctx, buf, PROBE_TAG_BYTES, off_bytes + b);
		if (r < 0 || !read_tag(buf, seed, &of_bytes)) {
			r = is_local(r) ? 0 : r;
			continue;
		}
		memcpy(buf, (const uint8_t *)data + b, PROBE_TAG_BYTES);
		r = ops->write(ctx, buf, PROBE_TAG_BYTES, off_bytes + b);
		*ret_restored += r == 0;
	}
	free(buf);
	return r;
}
