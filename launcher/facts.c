/* SPDX-License-Identifier: GPL-2.0-or-later */
/* facts.c: the table of facts, and what comes from it: JSON both ways, views, the gathering. */
/*
 * Facts are plain data, so that a bug report is a test case: `run --dry-run --json` prints them,
 * facts_from_json loads them, and the decisions follow from them alone. The table names each
 * field once; nothing else in the launcher lists them.
 */
#include "facts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"
#include "vm_cache.h"

#define FIELD_BOOL(section, key)                                                                   \
	{                                                                                          \
#section "." #key, FACT_TYPE_BOOL, offsetof(struct facts, section##_##key)         \
	}
#define FIELD_U64(section, key)                                                                    \
	{                                                                                          \
#section "." #key, FACT_TYPE_U64, offsetof(struct facts, section##_##key)          \
	}
#define FIELD_TEXT(section, key)                                                                   \
	{                                                                                          \
#section "." #key, FACT_TYPE_TEXT, offsetof(struct facts, section##_##key)         \
	}

const struct fact_field facts_table[] = {
	FIELD_TEXT(host, kernel),
	FIELD_TEXT(host, cpu_model),
	FIELD_TEXT(host, cpu_flags),
	FIELD_U64(host, cpus),
	FIELD_U64(host, mem_bytes),
	FIELD_U64(host, mem_free_bytes),
	FIELD_BOOL(host, io_uring),
	FIELD_BOOL(host, fuse),
	FIELD_TEXT(host, x11),
	FIELD_TEXT(host, wayland),
	FIELD_BOOL(host, terminal),
	FIELD_U64(host, ssh_port),
	FIELD_TEXT(host, scratch_folder),
	FIELD_U64(host, scratch_free_bytes),
	FIELD_TEXT(host, cache_folder),
	FIELD_U64(host, cache_free_bytes),
	FIELD_BOOL(host, cache_on_stick),
	FIELD_TEXT(kvm, verdict),
	FIELD_U64(kvm, loops_per_s),
	FIELD_TEXT(qemu, path),
	FIELD_TEXT(qemu, version),
	FIELD_TEXT(qemu, displays),
	FIELD_BOOL(qemu, io_uring),
	FIELD_BOOL(qemu, sandbox),
	FIELD_TEXT(firmware, code),
	FIELD_TEXT(firmware, vars),
	FIELD_TEXT(stick, path),
	FIELD_TEXT(stick, node),
	FIELD_BOOL(stick, usb),
	FIELD_TEXT(stick, vendor),
	FIELD_TEXT(stick, product),
	FIELD_TEXT(stick, usb_id),
	FIELD_TEXT(stick, port),
	FIELD_TEXT(stick, hubs),
	FIELD_U64(stick, speed_mbps),
	FIELD_U64(stick, usb_version),
	FIELD_TEXT(stick, driver),
	FIELD_U64(stick, power_ma),
	FIELD_BOOL(stick, removable),
	FIELD_TEXT(stick, fs),
	FIELD_TEXT(stick, mount_point),
	FIELD_TEXT(stick, mount_options),
	FIELD_BOOL(stick, read_only),
	FIELD_U64(stick, size_bytes),
	FIELD_U64(stick, free_bytes),
	FIELD_U64(stick, read_rate),
	FIELD_U64(stick, write_rate),
	FIELD_U64(stick, random_read_us),
};
const size_t facts_table_len = sizeof facts_table / sizeof facts_table[0];

static void *field_at(struct facts *facts, const struct fact_field *field)
{
	return (char *)facts + field->offset;
}

static const void *field_in(const struct facts *facts, const struct fact_field *field)
{
	return (const char *)facts + field->offset;
}

const struct fact_field *facts_find(const char *name)
{
	for (size_t i = 0; i < facts_table_len; i++)
		if (strcmp(facts_table[i].name, name) == 0)
			return &facts_table[i];
	return NULL;
}

void facts_set_text(char **field, const char *value)
{
	free(*field);
	*field = NULL;
	if (value) {
		*field = strdup(value);
		if (!*field)
			abort();
	}
}

void facts_free(struct facts *facts)
{
	for (size_t i = 0; i < facts_table_len; i++)
		if (facts_table[i].type == FACT_TYPE_TEXT)
			facts_set_text(field_at(facts, &facts_table[i]), NULL);
	memset(facts, 0, sizeof *facts);
}

static json_t *field_to_json(const struct facts *facts, const struct fact_field *field)
{
	const void *at = field_in(facts, field);

	switch (field->type) {
	case FACT_TYPE_BOOL: {
		enum fact_bool value = *(const enum fact_bool *)at;
		return value == FACT_UNKNOWN ? json_null() : json_boolean(value == FACT_YES);
	}
	case FACT_TYPE_U64: {
		uint64_t value = *(const uint64_t *)at;
		return value == 0 ? json_null() : json_integer((json_int_t)value);
	}
	case FACT_TYPE_TEXT:
		break;
	}
	const char *text = *(char *const *)at;
	/* Text from a device may be any bytes. */
	json_t *json = text ? json_string(text) : json_null();
	return json ? json : json_null();
}

/* "host.cpus" into a section name and the key after the dot. */
static const char *split_name(const char *name, char *section, size_t section_bytes)
{
	const char *dot = strchr(name, '.');
	size_t len = (size_t)(dot - name);

	assert(dot && len < section_bytes);
	memcpy(section, name, len);
	section[len] = '\0';
	return dot + 1;
}

json_t *facts_to_json(const struct facts *facts)
{
	json_t *root = json_object(), *object;
	char section[16];

	for (size_t i = 0; i < facts_table_len; i++) {
		const char *key = split_name(facts_table[i].name, section, sizeof section);

		object = json_object_get(root, section);
		if (!object) {
			object = json_object();
			json_object_set_new(root, section, object);
		}
		json_object_set_new(object, key, field_to_json(facts, &facts_table[i]));
	}
	return root;
}

static int field_from_json(const json_t *json, const struct fact_field *field, struct facts *facts)
{
	void *at = field_at(facts, field);

	switch (field->type) {
	case FACT_TYPE_BOOL:
		if (!json_is_boolean(json))
			return -1;
		*(enum fact_bool *)at = json_is_true(json) ? FACT_YES : FACT_NO;
		return 0;
	case FACT_TYPE_U64:
		if (!json_is_integer(json) || json_integer_value(json) < 0)
			return -1;
		*(uint64_t *)at = (uint64_t)json_integer_value(json);
		return 0;
	case FACT_TYPE_TEXT:
		break;
	}
	if (!json_is_string(json))
		return -1;
	facts_set_text(at, json_string_value(json));
	return 0;
}

int facts_from_json(const json_t *json, struct facts *ret_facts, struct err *err)
{
	static const char *const type_names[] = {"true or false", "a number", "a text"};
	struct facts facts = {0};
	char section[16];

	if (!json_is_object(json))
		return err_set(err, EXIT_FAILED, "facts: not a JSON object");
	for (size_t i = 0; i < facts_table_len; i++) {
		const struct fact_field *field = &facts_table[i];
		const char *key = split_name(field->name, section, sizeof section);
		const json_t *value = json_object_get(json_object_get(json, section), key);

		if (!value || json_is_null(value))
			continue;
		if (field_from_json(value, field, &facts) < 0) {
			facts_free(&facts);
			return err_set(err, EXIT_FAILED, "facts: %s: must be %s", field->name,
				       type_names[field->type]);
		}
	}
	*ret_facts = facts;
	return 0;
}

struct facts facts_view(const struct facts *facts, const char *const *names)
{
	struct facts view = {0};

	for (; *names; names++) {
		const struct fact_field *field = facts_find(*names);

		assert(field);
		switch (field->type) {
		case FACT_TYPE_BOOL:
			memcpy(field_at(&view, field), field_in(facts, field),
			       sizeof(enum fact_bool));
			break;
		case FACT_TYPE_U64:
			memcpy(field_at(&view, field), field_in(facts, field), sizeof(uint64_t));
			break;
		case FACT_TYPE_TEXT:
			memcpy(field_at(&view, field), field_in(facts, field), sizeof(char *));
			break;
		}
	}
	return view;
}

bool facts_has_word(const char *list, const char *word)
{
	const size_t word_len = strlen(word);

	while (list && *list) {
		size_t len = strcspn(list, " ");

		if (len == word_len && memcmp(list, word, len) == 0)
			return true;
		list += len;
		list += strspn(list, " ");
	}
	return false;
}

static void gather_cache(const char *stick, struct facts *facts)
{
	struct vm_cache_room room;

	if (!vm_cache_room(stick, &room))
		return;
	facts->host_cache_folder = room.dir;
	facts->host_cache_free_bytes = room.free_bytes;
	facts->host_cache_on_stick = room.on_stick ? FACT_YES : FACT_NO;
}

void facts_gather(const struct facts_wanted *wanted, struct facts *ret_facts)
{
	struct facts facts = {0};

	facts_gather_host("", &facts);
	if (!wanted->no_kvm)
		facts_gather_kvm(&facts);
	facts_gather_firmware("", &facts);
	facts_gather_qemu(wanted->qemu, &facts);
	if (wanted->ssh_port)
		facts_gather_port(wanted->ssh_port, &facts);
	facts.host_scratch_folder = scratch_folder(wanted->stick, &facts.host_scratch_free_bytes);
	if (wanted->stick) {
		gather_cache(wanted->stick, &facts);
		facts_gather_stick(wanted->stick, &facts);
	}
	*ret_facts = facts;
}
