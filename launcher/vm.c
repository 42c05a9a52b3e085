/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm.c: a VM's settings file, from one table: names, types, bounds, comments, what is fixed. */
#include "vm.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "size.h"
#include "ydoc.h"

enum kind { KIND_TEXT, KIND_WORD, KIND_SIZE, KIND_U32, KIND_PORT, KIND_TIME };

struct setting {
	const char *key;
	enum kind kind;
	size_t offset;		  /* of the field in struct vm */
	const char *const *words; /* of KIND_WORD, in the order of the enum */
	uint64_t low, high;	  /* of numbers and sizes, both allowed */
	uint64_t multiple;	  /* of sizes */
	bool (*text_ok)(const char *text);
	const char *allowed; /* what may stand there */
	const char *comment; /* above it in a fresh file */
	bool optional;
	const char *fixed; /* NULL: `set` may change it; else what to do instead */
};

static const char *const os_words[] = {"linux", "windows", "other", NULL};
static const char *const bus_words[] = {"virtio-blk", "virtio-scsi", "nvme", "sata", "usb", NULL};
static const char *const firmware_words[] = {"bios", "uefi", NULL};
static const char *const cpu_words[] = {"roam", "roam-v3", "host", NULL};
static const char *const policy_words[] = {"stick", "host", NULL};

static bool uuid_ok(const char *text)
{
	for (unsigned i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	return text[36] == '\0';
}

static bool mac_ok(const char *text)
{
	for (unsigned i = 0; i < 17; i++) {
		if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
			return false;
	}
	/* The lowest bit of the first byte marks a group of stations, which none can be. */
	return text[17] == '\0' && strchr("02468aceACE", text[1]) != NULL;
}

static bool machine_ok(const char *text)
{
	unsigned major;
	unsigned minor;
	int end = 0;

	return sscanf(text, "pc-q35-%3u.%3u%n", &major, &minor, &end) == 2 && text[end] == '\0';
}

/* UTF-8 without control characters: what every file system and YAML can hold. */
static bool path_ok(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p) {
		unsigned follow = *p < 0x80 ? 0 : *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;

		if (*p < 0x20 || *p == 0x7f || (*p >= 0x80 && *p < 0xc2) || *p > 0xf4)
			return false;
		for (p++; follow > 0; follow--, p++) {
			if ((*p & 0xc0) != 0x80)
				return false;
		}
	}
	return text[0] != '\0';
}

static bool place_ok(const char *text)
{
	return text[0] == '/' && path_ok(text);
}

#define CACHE_LEAST_BYTES (UINT64_C(8) << 20)
#define CACHE_MOST_BYTES (UINT64_C(128) << 30)

int vm_cache_parse(const char *text, bool *ret_auto, uint64_t *ret_bytes)
{
	uint64_t bytes = 0;

	*ret_auto = strcmp(text, "auto") == 0;
	if (!*ret_auto && strcmp(text, "off") != 0 &&
	    (size_parse(text, &bytes) < 0 || bytes < CACHE_LEAST_BYTES || bytes > CACHE_MOST_BYTES))
		return -EINVAL;
	*ret_bytes = bytes;
	return 0;
}

static bool cache_ok(const char *text)
{
	uint64_t bytes;
	bool is_auto;

	return vm_cache_parse(text, &is_auto, &bytes) == 0;
}

#define FIELD(name) offsetof(struct vm, name)
#define GiB (UINT64_C(1) << 30)
#define MiB (UINT64_C(1) << 20)

static const struct setting settings[] = {
	{.key = "machine",
	 .offset = FIELD(machine),
	 .text_ok = machine_ok,
	 .allowed = "a versioned machine of QEMU, like pc-q35-7.2",
	 .comment = "The guest's hardware. A newer version may change it under the guest's feet."},
	{.key = "cpu",
	 .kind = KIND_WORD,
	 .offset = FIELD(cpu),
	 .words = cpu_words,
	 .allowed = "roam, roam-v3 or host",
	 .comment = "roam runs on every host, roam-v3 on those with AVX2, host on this one only."},
	{.key = "cpus",
	 .kind = KIND_U32,
	 .offset = FIELD(cpus),
	 .low = 1,
	 .high = 255,
	 .allowed = "a number from 1 to 255"},
	{.key = "ram",
	 .kind = KIND_SIZE,
	 .offset = FIELD(ram_bytes),
	 .low = 16 * MiB,
	 .high = 4096 * GiB,
	 .multiple = MiB,
	 .allowed = "a size from 16M to 4T in whole MiB, like 4G"},
	{.key = "os",
	 .kind = KIND_WORD,
	 .offset = FIELD(os),
	 .words = os_words,
	 .allowed = "linux, windows or other"},
	{.key = "firmware",
	 .kind = KIND_WORD,
	 .offset = FIELD(firmware),
	 .words = firmware_words,
	 .allowed = "bios or uefi",
	 .comment = "A guest installed with one does not boot with the other."},
	{.key = "bus",
	 .kind = KIND_WORD,
	 .offset = FIELD(bus),
	 .words = bus_words,
	 .allowed = "virtio-blk, virtio-scsi, nvme, sata or usb",
	 .comment = "Where the guest finds its disk; it needs a driver for it when it boots."},
	{.key = "iso",
	 .offset = FIELD(iso),
	 .text_ok = path_ok,
	 .optional = true,
	 .allowed = "the path of an ISO image, absolute or relative to this folder",
	 .comment = "A CD-ROM; the disk boots before it."},
	{.key = "scratch",
	 .kind = KIND_SIZE,
	 .offset = FIELD(scratch_bytes),
	 .low = MiB,
	 .high = 1024 * GiB,
	 .multiple = MiB,
	 .optional = true,
	 .allowed = "a size from 1M to 1T in whole MiB, like 8G",
	 .comment = "A second disk for swap and temporary files, on the host and blank at each "
		    "start."},
	{.key = "policy",
	 .kind = KIND_WORD,
	 .offset = FIELD(policy),
	 .words = policy_words,
	 .allowed = "stick or host",
	 .comment = "stick: a flush of the guest is on the stick when it returns."},
	{.key = "cache",
	 .offset = FIELD(cache),
	 .text_ok = cache_ok,
	 .optional = true,
	 .allowed = "auto, off, or a size from 8M to 128G",
	 .comment =
		 "What was read is kept on the host's disk, encrypted; auto: by the room there."},
	{.key = "ssh_port",
	 .kind = KIND_PORT,
	 .offset = FIELD(ssh_port),
	 .low = 1024,
	 .high = 65535,
	 .allowed = "a number from 1024 to 65535",
	 .comment = "A port of the host (loopback only) that leads to the guest's ssh."},
	{.key = "mac",
	 .offset = FIELD(mac),
	 .text_ok = mac_ok,
	 .allowed = "six bytes of one station, like 52:54:00:12:34:56"},
	{.key = "uuid",
	 .offset = FIELD(uuid),
	 .text_ok = uuid_ok,
	 .allowed = "a UUID",
	 .fixed = "the guest knows itself by it",
	 .comment = "The rest was fixed when the VM was created; 'stickvm set' refuses it."},
	{.key = "size",
	 .kind = KIND_SIZE,
	 .offset = FIELD(size_bytes),
	 .low = MiB,
	 .high = 16384 * GiB,
	 .multiple = 512,
	 .fixed = "growing it is 'stickvm resize', not in this version",
	 .allowed = "a size from 1M to 16T, a multiple of 512 bytes, like 64G"},
	{.key = "place",
	 .offset = FIELD(place),
	 .text_ok = place_ok,
	 .optional = true,
	 .fixed = "the disk lies there; create another VM",
	 .allowed = "the absolute path of a partition or device"},
	{.key = "created",
	 .kind = KIND_TIME,
	 .offset = FIELD(created_s),
	 .low = 0,
	 .high = UINT64_C(1) << 40,
	 .fixed = "it is a date",
	 .allowed = "seconds since 1970"},
};
#define SETTINGS (sizeof(settings) / sizeof(settings[0]))

static const struct setting *find_setting(const char *key)
{
	for (size_t i = 0; i < SETTINGS; i++) {
		if (strcmp(settings[i].key, key) == 0)
			return &settings[i];
	}
	return NULL;
}

static const char *all_keys(char *buf, size_t buf_bytes)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < SETTINGS && used < buf_bytes; i++)
		used += (size_t)snprintf(buf + used, buf_bytes - used, "%s%s", i ? ", " : "",
					 settings[i].key);
	return buf;
}

static void *field(struct vm *vm, const struct setting *s)
{
	return (char *)vm + s->offset;
}

static void put_number(struct vm *vm, const struct setting *s, uint64_t number)
{
	switch (s->kind) {
	case KIND_U32:
		*(uint32_t *)field(vm, s) = (uint32_t)number;
		break;
	case KIND_PORT:
		*(uint16_t *)field(vm, s) = (uint16_t)number;
		break;
	case KIND_WORD: /* every enum of struct vm has the width of unsigned int */
		*(unsigned *)field(vm, s) = (unsigned)number;
		break;
	default:
		*(uint64_t *)field(vm, s) = number;
	}
}

_Static_assert(sizeof(enum vm_os) == sizeof(unsigned), "enums are read through unsigned");

static uint64_t get_number(const struct vm *vm, const struct setting *s)
{
	const char *at = (const char *)vm + s->offset;

	switch (s->kind) {
	case KIND_U32:
		return *(const uint32_t *)at;
	case KIND_PORT:
		return *(const uint16_t *)at;
	case KIND_WORD:
		return *(const unsigned *)at;
	default:
		return *(const uint64_t *)at;
	}
}

static bool parse_number(const struct setting *s, const char *value, uint64_t *ret_number)
{
	uint64_t number;

	if (s->kind == KIND_WORD) {
		for (unsigned i = 0; s->words[i]; i++) {
			if (strcmp(s->words[i], value) == 0) {
				*ret_number = i;
				return true;
			}
		}
		return false;
	}
	if (s->kind != KIND_SIZE && value[strspn(value, "0123456789")] != '\0')
		return false;
	if (size_parse(value, &number) < 0 || number < s->low || number > s->high)
		return false;
	if (s->multiple && number % s->multiple != 0)
		return false;
	*ret_number = number;
	return true;
}

/* False where the value is not allowed. -ENOMEM cannot be told from it and need not be. */
static bool assign(struct vm *vm, const struct setting *s, const char *value)
{
	uint64_t number;
	char **text;
	char *copy;

	if (s->kind != KIND_TEXT) {
		if (!parse_number(s, value, &number))
			return false;
		put_number(vm, s, number);
		return true;
	}
	if (!s->text_ok(value) || strlen(value) >= sizeof(((struct vm_setting *)0)->value))
		return false;
	copy = strdup(value);
	if (!copy)
		return false;
	text = field(vm, s);
	free(*text);
	*text = copy;
	return true;
}

/* The value as the file has it; false where it is not set. */
static bool value_text(const struct vm *vm, const struct setting *s, char *buf, size_t buf_bytes)
{
	if (s->kind == KIND_TEXT) {
		const char *text = *(char *const *)((const char *)vm + s->offset);

		snprintf(buf, buf_bytes, "%s", text ? text : "");
		return text != NULL;
	}
	if (s->optional && get_number(vm, s) == 0) {
		buf[0] = '\0';
		return false;
	}
	if (s->kind == KIND_WORD)
		snprintf(buf, buf_bytes, "%s", s->words[get_number(vm, s)]);
	else if (s->kind == KIND_SIZE)
		size_exact(get_number(vm, s), buf, buf_bytes);
	else
		snprintf(buf, buf_bytes, "%" PRIu64, get_number(vm, s));
	return true;
}

void vm_free(struct vm *vm)
{
	free(vm->name);
	for (size_t i = 0; i < SETTINGS; i++) {
		if (settings[i].kind == KIND_TEXT)
			free(*(char **)field(vm, &settings[i]));
	}
	*vm = (struct vm){0};
}

static int take_entry(struct vm *vm, const struct ydoc *doc, const struct ydoc_entry *entry,
		      struct err *err)
{
	const struct setting *s = find_setting(entry->key);
	char keys[256];

	if (!s)
		return err_set(err, EXIT_FAILED, "%s:%u: '%.64s' is not a setting; allowed: %s",
			       doc->path, entry->line, entry->key, all_keys(keys, sizeof(keys)));
	if (!assign(vm, s, entry->value))
		return err_set(err, EXIT_FAILED, "%s:%u: %s cannot be '%.64s'; allowed: %s",
			       doc->path, entry->line, s->key, entry->value, s->allowed);
	return 0;
}

static int take_document(struct vm *vm, const struct ydoc *doc, struct err *err)
{
	for (size_t i = 0; i < doc->count; i++) {
		if (take_entry(vm, doc, &doc->entries[i], err) < 0)
			return -1;
	}
	for (size_t i = 0; i < SETTINGS; i++) {
		if (!settings[i].optional && !ydoc_find(doc, settings[i].key))
			return err_set(err, EXIT_FAILED,
				       "%s: %s is missing; add a line '%s: ...' "
				       "(allowed: %s)",
				       doc->path, settings[i].key, settings[i].key,
				       settings[i].allowed);
	}
	return 0;
}

static char *name_of_folder(const char *path)
{
	char *full = realpath(path, NULL);
	char *name = full ? strdup(basename(dirname(full))) : NULL;

	free(full);
	return name;
}

int vm_load(const char *path, struct vm *ret_vm, struct err *err)
{
	struct vm vm = {0};
	struct ydoc doc;
	int rc;

	if (ydoc_read(path, &doc, err) < 0)
		return -1;
	rc = take_document(&vm, &doc, err);
	ydoc_free(&doc);
	if (rc == 0) {
		vm.name = name_of_folder(path);
		if (!vm.name)
			rc = err_set(err, EXIT_FAILED, "%s: out of memory", path);
	}
	if (rc < 0) {
		vm_free(&vm);
		return rc;
	}
	*ret_vm = vm;
	return 0;
}

static char *fresh_text(const struct vm *vm)
{
	char value[sizeof(((struct vm_setting *)0)->value)];
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	fprintf(out, "# A stickvm VM. Edit it by hand or with 'stickvm set'; comments are kept.\n");
	for (size_t i = 0; i < SETTINGS; i++) {
		const struct setting *s = &settings[i];
		bool have = value_text(vm, s, value, sizeof(value));
		char *quoted = have ? ydoc_quote(value) : NULL;

		if (s->comment)
			fprintf(out, "\n# %s\n", s->comment);
		fprintf(out, "# %s: %s\n", s->key, s->allowed);
		if (quoted)
			fprintf(out, "%s: %s\n", s->key, quoted);
		free(quoted);
	}
	return fclose(out) == 0 ? text : NULL;
}

/* The file's own text with only the changed values replaced; last first, so that the places of
 * the entries before stay true. NULL without memory. */
static char *updated_text(struct ydoc *doc, const struct vm *vm)
{
	char value[sizeof(((struct vm_setting *)0)->value)];
	char *text;
	int rc = 0;

	for (size_t i = doc->count; i > 0 && rc == 0; i--) {
		const struct ydoc_entry *entry = &doc->entries[i - 1];
		const struct setting *s = find_setting(entry->key);
		struct vm was = {0};
		char before[sizeof(value)];

		if (!value_text(vm, s, value, sizeof(value))) {
			rc = ydoc_remove(doc, entry);
			continue;
		}
		if (!assign(&was, s, entry->value) ||
		    !value_text(&was, s, before, sizeof(before)) || strcmp(before, value) != 0)
			rc = ydoc_replace(doc, entry, value);
		vm_free(&was);
	}
	for (size_t i = 0; i < SETTINGS && rc == 0; i++) {
		if (!ydoc_find(doc, settings[i].key) &&
		    value_text(vm, &settings[i], value, sizeof(value)))
			rc = ydoc_append(doc, settings[i].key, value);
	}
	if (rc < 0)
		return NULL;
	text = doc->text;
	doc->text = NULL;
	return text;
}

int vm_save(const char *path, const struct vm *vm, struct err *err)
{
	struct vm check = {0};
	struct ydoc doc = {0};
	struct err ignored;
	char *text;
	int rc;

	/* A file that does not parse is not worth keeping; set and run would have refused it. */
	if (ydoc_read(path, &doc, &ignored) == 0 && take_document(&check, &doc, &ignored) == 0)
		text = updated_text(&doc, vm);
	else
		text = fresh_text(vm);
	vm_free(&check);
	ydoc_free(&doc);
	rc = text ? file_replace(path, text, strlen(text)) : -ENOMEM;
	free(text);
	if (rc < 0)
		return err_set(err, file_status(rc), "%s: cannot be written: %s; %s", path,
			       strerror(-rc), file_advice(rc));
	return 0;
}

/* Of a setting that may be absent. */
static void clear(struct vm *vm, const struct setting *s)
{
	char **text = field(vm, s);

	if (s->kind != KIND_TEXT) {
		put_number(vm, s, 0);
		return;
	}
	free(*text);
	*text = NULL;
}

int vm_set(struct vm *vm, const char *key, const char *value, struct err *err)
{
	const struct setting *s = find_setting(key);
	char keys[256];

	if (!s)
		return err_set(err, EXIT_USAGE, "%.64s: not a setting; allowed: %s", key,
			       all_keys(keys, sizeof(keys)));
	if (s->fixed)
		return err_set(err, EXIT_USAGE, "%s: cannot be set; %s", key, s->fixed);
	if (s->optional && value[0] == '\0') {
		clear(vm, s);
		return 0;
	}
	if (!assign(vm, s, value))
		return err_set(err, EXIT_USAGE, "%s: cannot be '%.64s'; allowed: %s", key, value,
			       s->allowed);
	return 0;
}

int vm_get(const struct vm *vm, unsigned index, struct vm_setting *ret_setting)
{
	const struct setting *s;

	if (index >= SETTINGS)
		return -ENOENT;
	s = &settings[index];
	snprintf(ret_setting->key, sizeof(ret_setting->key), "%s", s->key);
	ret_setting->allowed = s->allowed;
	ret_setting->fixed = s->fixed != NULL;
	return value_text(vm, s, ret_setting->value, sizeof(ret_setting->value)) ? 0 : -ENODATA;
}

const char *vm_os_text(enum vm_os os)
{
	return os_words[os];
}

const char *vm_bus_text(enum vm_bus bus)
{
	return bus_words[bus];
}

const char *vm_firmware_text(enum vm_firmware firmware)
{
	return firmware_words[firmware];
}

const char *vm_cpu_text(enum vm_cpu cpu)
{
	return cpu_words[cpu];
}

const char *vm_policy_text(enum vm_policy policy)
{
	return policy_words[policy];
}

int vm_name_check(const char *name, struct err *err)
{
	size_t len = strlen(name);
	size_t good = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				   "._-");

	if (len == 0 || len > 64 || good != len || name[0] == '.' || name[0] == '-' ||
	    name[len - 1] == '.') /* exFAT and NTFS drop a dot at the end */
		return err_set(err, EXIT_USAGE,
			       "'%.80s': not a name for a VM; use 1 to 64 of "
			       "A-Z a-z 0-9 . _ - that neither begin with '.' or '-' nor end "
			       "with '.'",
			       name);
	return 0;
}
