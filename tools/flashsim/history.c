/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history.c: undo what a power cut may touch, then let each sector arrive, or not, or as garbage.
 */
#include "history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fsim_random.h"

/*
 * A record holds what a write replaced. A cut first takes the affected writes back, newest first,
 * which swaps the contents of records and medium; then it writes them again, in order or
 * shuffled, sector by sector, and leaves some out. So a sector that was written several times may
 * end as any of its versions.
 */
struct fsim_record {
	uint64_t off_bytes;
	size_t len_bytes;
	uint8_t *bytes;
	bool torn; /* not all of it arrived */
};

enum fate { KEPT, DROPPED, GARBAGE };

/* Paired pages are looked for among records; so much is remembered for it. */
#define PAIRED_MEMORY_BYTES (UINT64_C(16) << 20)
#define TORN_PERCENT 34 /* of a command in flight: as many sectors dropped as made garbage */

void fsim_history_init(struct fsim_history *history, const struct fsim_cut *cut,
		       uint32_t unit_bytes)
{
	*history = (struct fsim_history){.cut = *cut, .unit_bytes = unit_bytes};
}

static void forget_oldest(struct fsim_history *history, size_t count)
{
	if (count == 0)
		return;
	for (size_t i = 0; i < count; i++)
		free(history->records[i].bytes);
	history->count -= count;
	memmove(history->records, history->records + count,
		history->count * sizeof(*history->records));
}

void fsim_history_destroy(struct fsim_history *history)
{
	forget_oldest(history, history->count);
	free(history->records);
	history->records = NULL;
	history->capacity = 0;
}

int fsim_history_add(struct fsim_history *history, const struct fsim_medium *medium,
		     size_t len_bytes, uint64_t off_bytes)
{
	if (history->count == history->capacity) {
		size_t capacity = history->capacity ? history->capacity * 2 : 64;
		void *grown = reallocarray(history->records, capacity, sizeof(*history->records));
		if (grown == NULL)
			return -ENOMEM;
		history->records = grown;
		history->capacity = capacity;
	}
	uint8_t *bytes = malloc(len_bytes);
	if (bytes == NULL)
		return -ENOMEM;
	fsim_medium_read(medium, bytes, len_bytes, off_bytes);
	history->records[history->count++] = (struct fsim_record){
		.off_bytes = off_bytes,
		.len_bytes = len_bytes,
		.bytes = bytes,
	};
	return 0;
}

void fsim_history_flush(struct fsim_history *history)
{
	for (; history->flushed < history->count; history->flushed++)
		history->flushed_bytes += history->records[history->flushed].len_bytes;
	uint64_t wanted = history->cut.lie_bytes;
	if (history->cut.paired_bytes > 0)
		wanted += PAIRED_MEMORY_BYTES;
	size_t old = 0;
	while (old < history->flushed &&
	       history->flushed_bytes - history->records[old].len_bytes >= wanted)
		history->flushed_bytes -= history->records[old++].len_bytes;
	forget_oldest(history, old);
	history->flushed -= old;
}

static void swap_with_medium(struct fsim_record *rec, struct fsim_medium *medium)
{
	uint8_t sector[FSIM_SECTOR_BYTES];
	for (size_t done = 0; done < rec->len_bytes; done += sizeof(sector)) {
		fsim_medium_read(medium, sector, sizeof(sector), rec->off_bytes + done);
		fsim_medium_write(medium, rec->bytes + done, sizeof(sector), rec->off_bytes + done);
		memcpy(rec->bytes + done, sector, sizeof(sector));
	}
}

static enum fate draw_fate(uint32_t drop_percent, uint32_t garbage_percent, uint64_t *random)
{
	uint64_t roll = fsim_random_below(random, 100);
	if (roll < drop_percent)
		return DROPPED;
	return roll < drop_percent + garbage_percent ? GARBAGE : KEPT;
}

static void write_again(struct fsim_record *rec, struct fsim_medium *medium, uint32_t drop_percent,
			uint32_t garbage_percent, uint64_t *random)
{
	for (size_t done = 0; done < rec->len_bytes; done += FSIM_SECTOR_BYTES) {
		uint64_t off = rec->off_bytes + done;
		enum fate fate = draw_fate(drop_percent, garbage_percent, random);
		if (fate == KEPT)
			fsim_medium_write(medium, rec->bytes + done, FSIM_SECTOR_BYTES, off);
		if (fate == GARBAGE)
			fsim_medium_shred(medium, FSIM_SECTOR_BYTES, off, random);
		if (fate != KEPT)
			rec->torn = true;
	}
}

/* The oldest record that the cut may take back. */
static size_t first_affected(const struct fsim_history *history)
{
	size_t first = history->flushed;
	uint64_t bytes = 0;
	while (first > 0 && bytes < history->cut.lie_bytes)
		bytes += history->records[--first].len_bytes;
	return first;
}

static void shuffle(struct fsim_record *records, size_t count, uint64_t *random)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = fsim_random_below(random, i);
		struct fsim_record swapped = records[i - 1];
		records[i - 1] = records[j];
		records[j] = swapped;
	}
}

/* Makes garbage of what was last written before record `index` in the same unit. */
static void shred_paired(struct fsim_history *history, struct fsim_medium *medium, size_t index,
			 uint64_t *random)
{
	uint64_t unit = history->records[index].off_bytes / history->unit_bytes;
	uint64_t left = history->cut.paired_bytes;
	while (index-- > 0 && left > 0) {
		const struct fsim_record *rec = &history->records[index];
		if (rec->off_bytes / history->unit_bytes != unit)
			continue;
		uint64_t len = rec->len_bytes < left ? rec->len_bytes : left;
		fsim_medium_shred(medium, len, rec->off_bytes + rec->len_bytes - len, random);
		left -= len;
	}
}

void fsim_history_cut(struct fsim_history *history, struct fsim_medium *medium, bool torn,
		      uint64_t *random)
{
	const struct fsim_cut *cut = &history->cut;
	size_t first = first_affected(history);
	size_t count = history->count;
	uint32_t lie_percent = cut->lie_bytes > 0 ? (uint32_t)fsim_random_below(random, 101) : 0;

	for (size_t i = count; i-- > first;)
		swap_with_medium(&history->records[i], medium);
	if (cut->reorder)
		shuffle(&history->records[history->flushed], count - history->flushed - torn,
			random);
	for (size_t i = first; i < count; i++) {
		struct fsim_record *rec = &history->records[i];
		if (torn && i == count - 1)
			write_again(rec, medium, TORN_PERCENT, TORN_PERCENT, random);
		else if (i < history->flushed)
			write_again(rec, medium, lie_percent, 0, random);
		else
			write_again(rec, medium, cut->drop_percent, cut->garbage_percent, random);
	}
	for (size_t i = history->flushed; cut->paired_bytes > 0 && i < count; i++)
		if (history->records[i].torn || (torn && i == count - 1))
			shred_paired(history, medium, i, random);
	forget_oldest(history, count);
	history->flushed = 0;
	history->flushed_bytes = 0;
}
