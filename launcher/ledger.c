/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ledger.c: the counters of a store by name, and what they mean for the life of a stick. */
#include "ledger.h"

#define BYTES(field, text)                                                                         \
	{                                                                                          \
#field, offsetof(struct sv_ledger, field), text, true                              \
	}
#define COUNT(field, text)                                                                         \
	{                                                                                          \
#field, offsetof(struct sv_ledger, field), text, false                             \
	}

const struct ledger_field ledger_fields[] = {
	BYTES(guest_written_bytes, "written by guests"),
	BYTES(guest_read_bytes, "read by guests"),
	BYTES(guest_discarded_bytes, "discarded by guests"),
	BYTES(stick_written_bytes, "written to the stick, all kinds"),
	BYTES(stick_read_bytes, "read from the stick"),
	BYTES(payload_bytes, "guest data as stored"),
	BYTES(padding_bytes, "to fill flash pages and segments"),
	BYTES(metadata_bytes, "headers, map, roots"),
	BYTES(cleaner_bytes, "moved by the cleaner"),
	BYTES(convert_bytes, "zeros that prepare segments on a file system"),
	BYTES(state_bytes, "suspended machines"),
	BYTES(coalesced_bytes, "overwritten before they had to be stored"),
	BYTES(noop_skipped_bytes, "rewritten with the same content, not stored"),
	BYTES(zero_skipped_bytes, "zeros, not stored"),
	BYTES(compression_saved_bytes, "saved by compression"),
	COUNT(flushes, "flushes asked for by guests"),
	COUNT(batches, "batches appended"),
	COUNT(checkpoints, "roots written"),
	COUNT(segments_cleaned, "segments cleaned"),
	COUNT(sessions, "sessions"),
	COUNT(unclean_detaches, "sessions that did not end cleanly"),
	{"first_used", offsetof(struct sv_ledger, first_used_s), "first used", false},
	{0},
};

static bool is_date(const struct ledger_field *field)
{
	return field->offset == offsetof(struct sv_ledger, first_used_s);
}

uint64_t ledger_get(const struct sv_ledger *ledger, const struct ledger_field *field)
{
	return *(const uint64_t *)((const char *)ledger + field->offset);
}

void ledger_put(struct sv_ledger *ledger, const struct ledger_field *field, uint64_t value)
{
	*(uint64_t *)((char *)ledger + field->offset) = value;
}

void ledger_add(struct sv_ledger *to, const struct sv_ledger *from)
{
	for (const struct ledger_field *f = ledger_fields; f->name; f++) {
		uint64_t a = ledger_get(to, f);
		uint64_t b = ledger_get(from, f);

		if (!is_date(f))
			ledger_put(to, f, a + b < a ? UINT64_MAX : a + b);
		else if (a == 0 || (b != 0 && b < a))
			ledger_put(to, f, b);
	}
}

void ledger_raise(struct sv_ledger *to, const struct sv_ledger *from)
{
	for (const struct ledger_field *f = ledger_fields; f->name; f++) {
		uint64_t a = ledger_get(to, f);
		uint64_t b = ledger_get(from, f);

		if (is_date(f) ? a == 0 : b > a)
			ledger_put(to, f, b);
	}
}

double ledger_amplification(const struct sv_ledger *ledger)
{
	if (ledger->guest_written_bytes == 0)
		return 0;
	return (double)ledger->stick_written_bytes / (double)ledger->guest_written_bytes;
}

void ledger_life(const struct sv_ledger *ledger, uint64_t capacity_bytes, double *ret_low,
		 double *ret_high)
{
	double overwrites = capacity_bytes == 0
				    ? 0
				    : (double)ledger->stick_written_bytes / (double)capacity_bytes;

	*ret_low = overwrites * LEDGER_DEVICE_LOW / LEDGER_CYCLES_HIGH;
	*ret_high = overwrites * LEDGER_DEVICE_HIGH / LEDGER_CYCLES_LOW;
}
