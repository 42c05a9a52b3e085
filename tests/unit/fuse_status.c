/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_status.c: the JSON of a store's state and ledger holds every field under its own name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "stickvm/status_json.h"

static json_t *parse(char *text)
{
	json_t *object;

	assert_int_equal(text[strlen(text) - 1], '\n');
	object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	assert_non_null(object);
	return object;
}

static json_int_t number(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		fail_msg("no number %s", key);
	return json_integer_value(value);
}

/* Counters 1, 2, 3, ... in the order of the struct: a swapped or missing one shows. */
static void every_counter_has_its_key(void **state)
{
	static const char *const keys[] = {
		"guest_written_bytes",
		"guest_read_bytes",
		"guest_discarded_bytes",
		"stick_written_bytes",
		"stick_read_bytes",
		"payload_bytes",
		"padding_bytes",
		"metadata_bytes",
		"cleaner_bytes",
		"convert_bytes",
		"state_bytes",
		"coalesced_bytes",
		"noop_skipped_bytes",
		"zero_skipped_bytes",
		"compression_saved_bytes",
		"flushes",
		"batches",
		"checkpoints",
		"segments_cleaned",
		"sessions",
		"unclean_detaches",
		"first_used",
	};
	const size_t count = sizeof(keys) / sizeof(keys[0]);
	uint64_t counters[sizeof(struct sv_ledger) / sizeof(uint64_t)];
	struct sv_ledger ledger;
	char *text = NULL;
	json_t *object;

	(void)state;
	assert_int_equal(sizeof(ledger), count * sizeof(uint64_t));
	for (size_t i = 0; i < count; i++)
		counters[i] = i + 1;
	memcpy(&ledger, counters, sizeof(ledger));
	assert_int_equal(sv_ledger_json(&ledger, &text), 0);
	object = parse(text);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(number(object, keys[i]), i + 1);
	assert_int_equal(json_object_size(object), count + 1);
	assert_true(json_real_value(json_object_get(object, "write_amplification")) == 4.0);
	json_decref(object);
}

static void nothing_written_has_no_amplification(void **state)
{
	struct sv_ledger ledger = {.stick_written_bytes = 4096, .flushes = UINT64_MAX};
	char *text = NULL;
	json_t *object;

	(void)state;
	assert_int_equal(sv_ledger_json(&ledger, &text), 0);
	object = parse(text);
	assert_true(json_is_null(json_object_get(object, "write_amplification")));
	assert_int_equal(number(object, "flushes"), INT64_MAX);
	json_decref(object);
}

static void status_holds_the_contract(void **state)
{
	const struct {
		enum sv_state state;
		const char *name;
	} names[] = {{SV_OK, "ok"},
		     {SV_DETACHED, "detached"},
		     {SV_FULL, "full"},
		     {SV_READ_ONLY, "read-only"}};
	struct sv_status status = {.store_id = {0x01, 0x23, 0xfe},
				   .epoch = 11,
				   .seq = 12,
				   .size_bytes = UINT64_C(16) << 40,
				   .mapped_bytes = 13,
				   .used_bytes = 14,
				   .capacity_bytes = 15,
				   .dirty_bytes = 16,
				   .segment_bytes = 17,
				   .page_bytes = 18,
				   .segments = 19,
				   .free_segments = 20,
				   .map_ram_bytes = 21,
				   .flush_requested = true,
				   .ledger = {.guest_written_bytes = 22},
				   .session = {.guest_written_bytes = 23}};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *text = NULL;
		json_t *object;

		status.state = names[i].state;
		assert_int_equal(sv_status_json(&status, &text), 0);
		object = parse(text);
		assert_string_equal(json_string_value(json_object_get(object, "state")),
				    names[i].name);
		assert_string_equal(json_string_value(json_object_get(object, "store_id")),
				    "0123fe00000000000000000000000000");
		assert_int_equal(number(object, "epoch"), 11);
		assert_int_equal(number(object, "seq"), 12);
		assert_int_equal(number(object, "size_bytes"), INT64_C(16) << 40);
		assert_int_equal(number(object, "mapped_bytes"), 13);
		assert_int_equal(number(object, "used_bytes"), 14);
		assert_int_equal(number(object, "capacity_bytes"), 15);
		assert_int_equal(number(object, "dirty_bytes"), 16);
		assert_int_equal(number(object, "segment_bytes"), 17);
		assert_int_equal(number(object, "page_bytes"), 18);
		assert_int_equal(number(object, "segments"), 19);
		assert_int_equal(number(object, "free_segments"), 20);
		assert_int_equal(number(object, "map_ram_bytes"), 21);
		assert_true(json_is_false(json_object_get(object, "alignment_known")));
		assert_true(json_is_true(json_object_get(object, "flush_requested")));
		assert_int_equal(number(json_object_get(object, "ledger"), "guest_written_bytes"),
				 22);
		assert_int_equal(number(json_object_get(object, "session"), "guest_written_bytes"),
				 23);
		json_decref(object);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_counter_has_its_key),
		cmocka_unit_test(nothing_written_has_no_amplification),
		cmocka_unit_test(status_holds_the_contract),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
