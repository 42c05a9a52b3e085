/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crash_log.c: what a simulated medium was told, and what a power cut makes of it. */
#include "crash_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/*
 * At a cut the log is in three parts: settled | flushed | pending. Settled records survive
 * whatever happens; flushed ones too unless the medium lies, then any of them may be dropped
 * (never shredded); pending ones may be kept, dropped or shredded, sector by sector.
 *
 * Coins for every sector alone would hardly ever leave one whole write behind, so the seed first
 * picks a pattern for each part; some are what real sticks do, some are what a proof needs.
 *
 * A sector written twice between two flushes may end as either version or the old one: each
 * write is judged by itself and applied in the order of issue, which reaches every outcome.
 */
#define SECTOR_BYTES 512u

enum pattern {
	KEEP_ALL,
	DROP_ALL,
	IN_ORDER,    /* kept up to one that is torn, dropped behind it */
	ALL_BUT_ONE, /* one write is lost, later ones are not */
	ANY_WRITES,
	ANY_SECTORS,
	PATTERNS_OF_A_LIAR, /* from here on: for what was not flushed only */
	SHRED_ONE = PATTERNS_OF_A_LIAR,
	SHRED_SECTORS,
	PATTERNS,
};

enum fate { KEEP, DROP, TEAR, MIX, SHRED };

struct dice {
	struct prng rng;
	enum pattern pattern;
	size_t first, end; /* the records it is thrown for */
	size_t pivot;	   /* the one that is torn, lost or shredded */
};

struct cut_state {
	struct image *image;
	struct dev_crash_report report;
	const struct crash_record *torn; /* the last write that did not arrive whole */
};

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

void crash_log_add(struct crash_log *log, enum crash_event event, const void *data,
		   size_t len_bytes, uint64_t off_bytes)
{
	struct crash_record *record;

	if (log->count == log->capacity) {
		log->capacity = log->capacity * 2 + 64;
		log->records = must(realloc(log->records, log->capacity * sizeof(*log->records)));
	}
	record = &log->records[log->count++];
	*record = (struct crash_record){event, off_bytes, len_bytes, NULL};
	if (data != NULL) {
		record->data = must(malloc(len_bytes));
		memcpy(record->data, data, len_bytes);
	}
}

void crash_log_drop_front(struct crash_log *log, size_t count)
{
	assert(count <= log->count);
	for (size_t i = 0; i < count; i++)
		free(log->records[i].data);
	log->count -= count;
	if (log->count > 0)
		memmove(log->records, log->records + count, log->count * sizeof(*log->records));
}

void crash_log_free(struct crash_log *log)
{
	crash_log_drop_front(log, log->count);
	free(log->records);
	*log = (struct crash_log){0};
}

void crash_log_window(const struct crash_log *log, size_t end, uint64_t liar_bytes,
		      struct crash_window *ret_window)
{
	struct crash_window window = {.end = end};
	uint64_t seen_bytes = 0;
	size_t i;

	for (i = end; i > 0 && log->records[i - 1].event != CRASH_FLUSH; i--)
		;
	window.flushed = i;
	for (; i > 0 && seen_bytes + log->records[i - 1].len_bytes <= liar_bytes; i--)
		seen_bytes += log->records[i - 1].len_bytes;
	window.settled = i;
	*ret_window = window;
}

void crash_record_apply(const struct crash_record *record, struct image *image)
{
	if (record->event == CRASH_GROW)
		image_resize(image, record->off_bytes);
	else if (record->data != NULL)
		image_write(image, record->data, record->len_bytes, record->off_bytes);
}

static struct dice throw_dice(struct prng *rng, unsigned patterns, size_t first, size_t end)
{
	struct dice dice = {.rng = {prng_next(rng)}, .first = first, .end = end};

	dice.pattern = (enum pattern)prng_below(&dice.rng, patterns);
	dice.pivot = first + (end > first ? prng_below(&dice.rng, end - first) : 0);
	return dice;
}

static enum fate fate_of(struct dice *dice, size_t index)
{
	switch (dice->pattern) {
	case KEEP_ALL:
		return KEEP;
	case DROP_ALL:
		return DROP;
	case IN_ORDER:
		if (index == dice->pivot)
			return TEAR;
		return index < dice->pivot ? KEEP : DROP;
	case ALL_BUT_ONE:
		return index == dice->pivot ? DROP : KEEP;
	case ANY_WRITES:
		return prng_one_in(&dice->rng, 2) ? KEEP : DROP;
	case ANY_SECTORS:
		return MIX;
	case SHRED_ONE:
		return index == dice->pivot ? SHRED : KEEP;
	case SHRED_SECTORS:
		return SHRED;
	case PATTERNS:
		break;
	}
	abort();
}

static void shred_sector(struct image *image, struct prng *rng, uint64_t off_bytes)
{
	uint8_t bytes[SECTOR_BYTES];

	switch (prng_below(rng, 4)) {
	case 0:
		memset(bytes, 0xff, sizeof(bytes));
		break;
	case 1:
		memset(bytes, 0, sizeof(bytes));
		break;
	default:
		prng_fill(rng, bytes, sizeof(bytes));
	}
	image_write(image, bytes, sizeof(bytes), off_bytes);
}

/* What becomes of one sector of a write with this fate; `edge` is where a torn one ends. */
static enum fate sector_fate(struct prng *rng, enum fate fate, size_t sector, size_t edge)
{
	switch (fate) {
	case TEAR:
		return sector < edge ? KEEP : DROP;
	case MIX:
		return prng_one_in(rng, 2) ? KEEP : DROP;
	case SHRED:
		return (enum fate[]){KEEP, DROP, SHRED}[prng_below(rng, 3)];
	default:
		return fate;
	}
}

static void judge_write(struct cut_state *state, struct dice *dice,
			const struct crash_record *record, enum fate fate, bool flushed)
{
	size_t count = record->len_bytes / SECTOR_BYTES;
	size_t edge = prng_below(&dice->rng, count + 1);
	struct dev_crash_report *report = &state->report;

	if (fate != KEEP)
		state->torn = record;
	for (size_t i = 0; i < count; i++) {
		uint64_t at = record->off_bytes + i * SECTOR_BYTES;

		switch (sector_fate(&dice->rng, fate, i, edge)) {
		case KEEP:
			report->kept_sectors++;
			if (record->data != NULL)
				image_write(state->image, record->data + i * SECTOR_BYTES,
					    SECTOR_BYTES, at);
			break;
		case DROP:
			report->dropped_sectors += !flushed;
			report->lied_sectors += flushed;
			break;
		default:
			assert(!flushed);
			report->garbage_sectors++;
			shred_sector(state->image, &dice->rng, at);
		}
	}
}

/* Two bits of a cell belong to two pages: an aborted program takes earlier pages with it. */
static void shred_paired(struct cut_state *state, struct prng *rng, uint32_t paired_bytes,
			 uint32_t erase_bytes)
{
	uint64_t sectors = paired_bytes / SECTOR_BYTES, at, floor = 0;

	if (sectors == 0 || state->torn == NULL)
		return;
	if (prng_one_in(rng, 2))
		sectors = 1 + prng_below(rng, sectors);
	at = state->torn->off_bytes;
	if (erase_bytes != 0)
		floor = at / erase_bytes * erase_bytes;
	for (; sectors > 0 && at >= floor + SECTOR_BYTES; sectors--) {
		at -= SECTOR_BYTES;
		shred_sector(state->image, rng, at);
		state->report.paired_sectors++;
	}
}

void crash_log_cut(const struct crash_log *log, const struct crash_window *window,
		   const struct dev_crash_cut *cut, uint32_t erase_bytes, struct image *image,
		   struct dev_crash_report *ret_report)
{
	struct cut_state state = {.image = image};
	struct prng rng = {cut->seed};
	struct dice lies = throw_dice(&rng, PATTERNS_OF_A_LIAR, window->settled, window->flushed);
	struct dice losses = throw_dice(&rng, PATTERNS, window->flushed, window->end);

	for (size_t i = window->settled; i < window->end; i++) {
		const struct crash_record *record = &log->records[i];
		struct dice *dice = i < window->flushed ? &lies : &losses;

		if (record->event == CRASH_GROW)
			crash_record_apply(record, image);
		else if (record->event != CRASH_FLUSH)
			judge_write(&state, dice, record, fate_of(dice, i), i < window->flushed);
	}
	if (cut->when == DEV_CRASH_INSIDE && window->end > window->settled)
		state.torn = &log->records[window->end - 1];
	shred_paired(&state, &rng, cut->paired_bytes, erase_bytes);
	*ret_report = state.report;
}
