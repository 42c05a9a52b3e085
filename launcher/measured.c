/* SPDX-License-Identifier: GPL-2.0-or-later */
/* measured.c: a probe's figures by name, a short history of them, and what follows from them. */
#include "measured.h"

#include <stdlib.h>
#include <string.h>

#include "stickvm/store.h"

#define MIB (UINT64_C(1) << 20)

#define FIELD(name, in_history)                                                                    \
	{                                                                                          \
#name, offsetof(struct measured, name), in_history                                 \
	}

const struct measured_field measured_fields[] = {
	FIELD(at_s, false),
	FIELD(link_mbps, true),
	FIELD(read_rate, true),
	FIELD(write_rate, true),
	FIELD(slow_write_rate, false),
	FIELD(cache_bytes, false),
	FIELD(command_us, false),
	FIELD(random_read_us, true),
	FIELD(random_write_us, true),
	FIELD(merge_us, false),
	{NULL, 0, false},
};

uint64_t measured_get(const struct measured *m, const struct measured_field *field)
{
	uint64_t value;

	memcpy(&value, (const char *)m + field->offset, sizeof value);
	return value;
}

bool measured_put(struct measured *m, const char *name, uint64_t value)
{
	for (const struct measured_field *f = measured_fields; f->name; f++) {
		if (strcmp(f->name, name) != 0)
			continue;
		memcpy((char *)m + f->offset, &value, sizeof value);
		return true;
	}
	return false;
}

struct measured *history_at(struct measured_history *history, uint64_t at_s)
{
	struct measured *e = history->entries;

	for (size_t i = 0; i < history->count; i++)
		if (e[i].at_s == at_s)
			return &e[i];
	if (history->count == MEASURED_HISTORY)
		memmove(e, e + 1, --history->count * sizeof *e);
	e[history->count] = (struct measured){.at_s = at_s};
	return &e[history->count++];
}

struct measured history_newest(const struct measured_history *history)
{
	struct measured none = {0};

	return history->count ? history->entries[history->count - 1] : none;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The median of a field over the probes before this one, in the same kind of port. */
static uint64_t usual(const struct measured_history *history, const struct measured *now,
		      const struct measured_field *field, size_t *ret_count)
{
	uint64_t values[MEASURED_HISTORY];
	size_t n = 0;

	for (size_t i = 0; i < history->count; i++) {
		const struct measured *e = &history->entries[i];
		uint64_t value = measured_get(e, field);

		if (e->at_s != now->at_s && e->link_mbps == now->link_mbps && value != 0)
			values[n++] = value;
	}
	if (n > 0)
		qsort(values, n, sizeof values[0], by_value);
	*ret_count = n;
	return n ? values[n / 2] : 0;
}

/* Random writes swing with what was written before them: no verdict rests on them. */
struct slower measured_slower(const struct measured_history *history, const struct measured *now)
{
	static const char *const names[] = {"write_rate", "read_rate", "random_read_us"};
	struct slower slower = {0};

	for (size_t i = 0; i < 3; i++) {
		const struct measured_field *f = measured_fields;
		uint64_t before, value;
		size_t count;
		bool worse;

		while (strcmp(f->name, names[i]) != 0)
			f++;
		before = usual(history, now, f, &count);
		value = measured_get(now, f);
		if (count > slower.earlier)
			slower.earlier = count;
		/* A rate falls by a quarter where a time rises by a third. */
		worse = i == 2 ? value > before + before / 3 : value < before - before / 4;
		if (slower.what || before == 0 || value == 0 || !worse)
			continue;
		slower.what = names[i];
		slower.before = before;
		slower.now = value;
	}
	return slower;
}

uint64_t measured_batch_bytes(uint64_t write_rate)
{
	uint64_t bytes = 2 * write_rate / MIB * MIB;

	if (write_rate == 0)
		return 0;
	return bytes < MIB ? MIB : bytes > BATCH_MOST_BYTES ? BATCH_MOST_BYTES : bytes;
}

uint32_t measured_unit_bytes(uint64_t read_rate, uint64_t random_read_us)
{
	if (read_rate == 0 || random_read_us == 0)
		return 0;
	return sv_unit_bytes((double)random_read_us * 1e3, (double)read_rate);
}
