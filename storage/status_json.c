/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status_json.c: writes a store's state and ledger as JSON, from one table of names. */
#include "stickvm/status_json.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/*
 * The keys are a contract with scripts: a key is the field's name, so that neither can be
 * renamed alone. JSON numbers are written as signed 64-bit integers; a counter beyond 2^63 would
 * take centuries, and is written as 2^63 - 1.
 */
struct counter {
	const char *key;
	size_t offset; /* of a uint64_t */
};

#define LEDGER(field)                                                                              \
	{                                                                                          \
#field, offsetof(struct sv_ledger, field)                                          \
	}
#define STATUS(field)                                                                              \
	{                                                                                          \
#field, offsetof(struct sv_status, field)                                          \
	}

static const struct counter ledger_counters[] = {
	LEDGER(guest_written_bytes),
	LEDGER(guest_read_bytes),
	LEDGER(guest_discarded_bytes),
	LEDGER(stick_written_bytes),
	LEDGER(stick_read_bytes),
	LEDGER(payload_bytes),
	LEDGER(padding_bytes),
	LEDGER(metadata_bytes),
	LEDGER(cleaner_bytes),
	LEDGER(convert_bytes),
	LEDGER(state_bytes),
	LEDGER(coalesced_bytes),
	LEDGER(noop_skipped_bytes),
	LEDGER(zero_skipped_bytes),
	LEDGER(compression_saved_bytes),
	LEDGER(flushes),
	LEDGER(batches),
	LEDGER(checkpoints),
	LEDGER(segments_cleaned),
	LEDGER(sessions),
	LEDGER(unclean_detaches),
	{"first_used", offsetof(struct sv_ledger, first_used_s)},
};

static const struct counter status_counters[] = {
	STATUS(epoch),
	STATUS(seq),
	STATUS(size_bytes),
	STATUS(mapped_bytes),
	STATUS(used_bytes),
	STATUS(capacity_bytes),
	STATUS(dirty_bytes),
	STATUS(segments),
	STATUS(free_segments),
	STATUS(map_ram_bytes),
	STATUS(grace_bytes),
	STATUS(scrubbed_bytes),
	STATUS(scrub_bad_blocks),
	STATUS(scrub_bad_off_bytes),
	STATUS(ram_hits),
	STATUS(cache_hits),
	STATUS(cache_misses),
	STATUS(cache_bytes),
	STATUS(cache_limit_bytes),
	STATUS(cache_written_bytes),
	STATUS(cache_bad),
	STATUS(cache_passed),
};

#undef LEDGER
#undef STATUS

static json_t *json_u64(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

/* Adds `count` counters of the struct at `base`; 0 or -1, as jansson. */
static int add_counters(json_t *object, const struct counter *counters, size_t count,
			const void *base)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value;

		memcpy(&value, (const char *)base + counters[i].offset, sizeof(value));
		if (json_object_set_new(object, counters[i].key, json_u64(value)))
			return -1;
	}
	return 0;
}

/* NULL: out of memory. */
static json_t *ledger_object(const struct sv_ledger *ledger)
{
	const size_t count = sizeof(ledger_counters) / sizeof(ledger_counters[0]);
	json_t *object = json_object();
	json_t *amplification;

	if (ledger->guest_written_bytes)
		amplification = json_real((double)ledger->stick_written_bytes /
					  (double)ledger->guest_written_bytes);
	else
		amplification = json_null();
	if (add_counters(object, ledger_counters, count, ledger) ||
	    json_object_set(object, "write_amplification", amplification)) {
		json_decref(object);
		object = NULL;
	}
	json_decref(amplification);
	return object;
}

static void id_text(const uint8_t *id, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SV_STORE_ID_BYTES; i++) {
		ret_text[2 * i] = digits[id[i] >> 4];
		ret_text[2 * i + 1] = digits[id[i] & 15];
	}
	ret_text[(size_t)2 * SV_STORE_ID_BYTES] = '\0';
}

/* NULL: out of memory. */
static json_t *status_object(const struct sv_status *status)
{
	const size_t count = sizeof(status_counters) / sizeof(status_counters[0]);
	char id[2 * SV_STORE_ID_BYTES + 1];
	json_t *object = json_object();
	int err = 0;

	id_text(status->store_id, id);
	err |= json_object_set_new(object, "store_id", json_string(id));
	err |= json_object_set_new(object, "state", json_string(sv_state_name(status->state)));
	err |= add_counters(object, status_counters, count, status);
	err |= json_object_set_new(object, "segment_bytes", json_u64(status->segment_bytes));
	err |= json_object_set_new(object, "page_bytes", json_u64(status->page_bytes));
	err |= json_object_set_new(object, "grace", json_boolean(status->grace));
	err |= json_object_set_new(object, "alignment_known",
				   json_boolean(status->alignment_known));
	err |= json_object_set_new(object, "flush_requested",
				   json_boolean(status->flush_requested));
	err |= json_object_set_new(object, "session", ledger_object(&status->session));
	err |= json_object_set_new(object, "ledger", ledger_object(&status->ledger));
	if (err) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* Takes over `object`, which may be NULL. */
static int object_text(json_t *object, char **ret_text)
{
	char *text, *line;
	size_t len;

	if (!object)
		return -ENOMEM;
	text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	json_decref(object);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	line = realloc(text, len + 2);
	if (!line) {
		free(text);
		return -ENOMEM;
	}
	line[len] = '\n';
	line[len + 1] = '\0';
	*ret_text = line;
	return 0;
}

const char *sv_state_name(enum sv_state state)
{
	switch (state) {
	case SV_OK:
		return "ok";
	case SV_DETACHED:
		return "detached";
	case SV_FULL:
		return "full";
	case SV_READ_ONLY:
		return "read-only";
	}
	return "unknown";
}

int sv_status_json(const struct sv_status *status, char **ret_text)
{
	return object_text(status_object(status), ret_text);
}

int sv_ledger_json(const struct sv_ledger *ledger, char **ret_text)
{
	return object_text(ledger_object(ledger), ret_text);
}
