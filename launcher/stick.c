/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick.c: the stick's own file: identity, measured geometry, ledger; and the VMs' folders. */
#include "stick.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "ident.h"
#include "size.h"
#include "wear_history.h"
#include "ydoc.h"

#define DELETED "deleted"

static char *stick_file(const char *dir)
{
	return file_path("%s/stickvm/stick.yaml", dir);
}

char *stick_vm_path(const struct stick *stick, const char *name, const char *file)
{
	return file_path("%s/stickvm/vms/%s%s%s", stick->dir, name, file ? "/" : "",
			 file ? file : "");
}

void stick_free(struct stick *stick)
{
	free(stick->dir);
	free(stick->uuid);
	for (size_t i = 0; i < stick->entry_count; i++)
		free(stick->entries[i].history);
	free(stick->entries);
	*stick = (struct stick){0};
}

void stick_id_text(const uint8_t id[SV_STORE_ID_BYTES], char ret_text[40])
{
	for (size_t i = 0; i < SV_STORE_ID_BYTES; i++)
		snprintf(ret_text + 2 * i, 3, "%02x", id[i]);
}

static struct stick_entry *find_entry(struct stick *stick, const char *id)
{
	for (size_t i = 0; i < stick->entry_count; i++) {
		if (strcmp(stick->entries[i].id, id) == 0)
			return &stick->entries[i];
	}
	return NULL;
}

/* The entry of a store, made where there is none; NULL without memory. Entries move when one is
 * made. */
static struct stick_entry *entry_of(struct stick *stick, const char *id)
{
	struct stick_entry *grown = find_entry(stick, id);

	if (grown)
		return grown;
	grown = realloc(stick->entries, (stick->entry_count + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	stick->entries = grown;
	grown += stick->entry_count++;
	*grown = (struct stick_entry){0};
	snprintf(grown->id, sizeof(grown->id), "%s", id);
	return grown;
}

static bool read_number(const char *text, uint64_t *ret_number)
{
	char *end;

	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
}

/* What is written back as it is, so that it must be a plain word for YAML. */
static bool is_word(const char *text)
{
	return isalnum((unsigned char)text[0]) &&
	       text[strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "-_")] == '\0';
}

/* The entry that "ID.REST" is about, and REST; NULL where there cannot be one. */
static struct stick_entry *named_entry(struct stick *stick, const char *key, const char **ret_rest)
{
	const char *dot = strchr(key, '.');
	char id[40];

	if (!dot || (size_t)(dot - key) >= sizeof(id))
		return NULL;
	snprintf(id, sizeof(id), "%.*s", (int)(dot - key), key);
	*ret_rest = dot + 1;
	return is_word(id) ? entry_of(stick, id) : NULL;
}

/* "history.ID.KEY" */
static bool take_history(struct stick *stick, const char *key, const char *value)
{
	const char *rest;
	struct stick_entry *entry = named_entry(stick, key, &rest);

	if (entry && !entry->history)
		entry->history = calloc(1, sizeof(*entry->history));
	return entry && entry->history && history_take(entry->history, rest, value);
}

/* "ledger.ID.COUNTER". A counter that this version does not know is left out of the sum. */
static bool take_ledger(struct stick *stick, const char *key, const char *value)
{
	const char *rest;
	struct stick_entry *entry = named_entry(stick, key, &rest);
	uint64_t number;

	if (!entry)
		return false;
	if (strcmp(rest, "vm") == 0) {
		snprintf(entry->vm, sizeof(entry->vm), "%s", value);
		return true;
	}
	if (!read_number(value, &number))
		return false;
	for (const struct ledger_field *f = ledger_fields; f->name; f++) {
		if (strcmp(f->name, rest) == 0)
			ledger_put(&entry->ledger, f, number);
	}
	return true;
}

static bool take_geometry(struct stick *stick, const char *key, const char *value)
{
	uint64_t number;

	if (size_parse(value, &number) < 0 || number > UINT32_MAX)
		return false;
	if (strcmp(key, "page") == 0)
		stick->page_bytes = (uint32_t)number;
	else if (strcmp(key, "erase_unit") == 0)
		stick->erase_bytes = (uint32_t)number;
	else if (strcmp(key, "open_units") == 0)
		stick->open_units = (uint32_t)number;
	else
		return false;
	return true;
}

/* "probe.NAME", "probes.TIME.NAME". A name that this version does not know is left out. */
static bool take_probe(struct stick *stick, const char *key, const char *value)
{
	const char *dot = strchr(key, '.');
	uint64_t number, at_s;
	char time[24];

	if (!read_number(value, &number))
		return false;
	if (strncmp(key, "probe.", 6) == 0) {
		measured_put(&stick->measured, key + 6, number);
		return true;
	}
	key = dot + 1;
	dot = strchr(key, '.');
	if (!dot || (size_t)(dot - key) >= sizeof(time))
		return false;
	snprintf(time, sizeof(time), "%.*s", (int)(dot - key), key);
	if (!read_number(time, &at_s))
		return false;
	if (strcmp(dot + 1, "at_s") != 0)
		measured_put(history_at(&stick->history, at_s), dot + 1, number);
	return true;
}

static bool take_key(struct stick *stick, const char *key, const char *value)
{
	if (strncmp(key, "ledger.", 7) == 0)
		return take_ledger(stick, key + 7, value);
	if (strncmp(key, "history.", 8) == 0)
		return take_history(stick, key + 8, value);
	if (strncmp(key, "geometry.", 9) == 0)
		return take_geometry(stick, key + 9, value);
	if (strncmp(key, "probe.", 6) == 0 || strncmp(key, "probes.", 7) == 0)
		return take_probe(stick, key, value);
	if (strcmp(key, "created") == 0)
		return read_number(value, &stick->created_s);
	if (strcmp(key, "uuid") == 0 && !stick->uuid && is_word(value))
		stick->uuid = strdup(value);
	return strcmp(key, "uuid") == 0 && stick->uuid;
}

static int read_file(struct stick *stick, struct err *err)
{
	char *path = stick_file(stick->dir);
	struct ydoc doc = {0};
	int rc = path ? ydoc_read(path, &doc, err) : err_set(err, EXIT_FAILED, "out of memory");

	free(path);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < doc.count && rc == 0; i++) {
		const struct ydoc_entry *e = &doc.entries[i];

		if (!take_key(stick, e->key, e->value))
			rc = err_set(err, EXIT_FAILED,
				     "%s:%u: '%.64s: %.64s' has no place here; correct the line, "
				     "or take it out",
				     doc.path, e->line, e->key, e->value);
	}
	if (rc == 0 && !stick->uuid)
		rc = err_set(err, EXIT_FAILED,
			     "%s: uuid is missing; restore the file, or move it "
			     "away and run 'stickvm init' (the ledger starts anew)",
			     doc.path);
	ydoc_free(&doc);
	return rc;
}

static void print_geometry(FILE *out, const struct stick *stick)
{
	char buf[32];

	if (!stick->page_bytes && !stick->erase_bytes && !stick->open_units)
		return;
	fprintf(out, "geometry:\n");
	if (stick->page_bytes)
		fprintf(out, "  page: %s\n", size_exact(stick->page_bytes, buf, sizeof(buf)));
	if (stick->erase_bytes)
		fprintf(out, "  erase_unit: %s\n",
			size_exact(stick->erase_bytes, buf, sizeof(buf)));
	if (stick->open_units)
		fprintf(out, "  open_units: %" PRIu32 "\n", stick->open_units);
}

static void print_measured(FILE *out, const struct measured *m, const char *indent, bool history)
{
	for (const struct measured_field *f = measured_fields; f->name; f++) {
		if (history ? f->in_history : measured_get(m, f) != 0)
			fprintf(out, "%s%s: %" PRIu64 "\n", indent, f->name, measured_get(m, f));
	}
}

static void print_probes(FILE *out, const struct stick *stick)
{
	const struct measured_history *history = &stick->history;

	if (stick->measured.at_s != 0) {
		fprintf(out, "probe:\n");
		print_measured(out, &stick->measured, "  ", false);
	}
	if (history->count > 0)
		fprintf(out, "probes:\n");
	for (size_t i = 0; i < history->count; i++) {
		fprintf(out, "  %" PRIu64 ":\n", history->entries[i].at_s);
		print_measured(out, &history->entries[i], "    ", true);
	}
}

static void print_entry(FILE *out, const struct stick_entry *entry)
{
	char *vm = ydoc_quote(entry->vm);

	fprintf(out, "  %s:\n", entry->id);
	if (vm && entry->vm[0])
		fprintf(out, "    vm: %s\n", vm);
	free(vm);
	for (const struct ledger_field *f = ledger_fields; f->name; f++) {
		if (ledger_get(&entry->ledger, f) != 0)
			fprintf(out, "    %s: %" PRIu64 "\n", f->name,
				ledger_get(&entry->ledger, f));
	}
	if (ledger_get(&entry->ledger, &ledger_fields[0]) == 0 && !entry->vm[0])
		fprintf(out, "    %s: 0\n", ledger_fields[0].name); /* a mapping is never empty */
}

static void print_histories(FILE *out, const struct stick *stick)
{
	bool any = false;

	for (size_t i = 0; i < stick->entry_count; i++) {
		if (!stick->entries[i].history)
			continue;
		fprintf(out, "%s  %s:\n", any ? "" : "history:\n", stick->entries[i].id);
		history_print(out, stick->entries[i].history, 4);
		any = true;
	}
}

static char *file_text(const struct stick *stick)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	fprintf(out,
		"# The stick's identity and its ledger: what was ever written to it by VMs, "
		"by store,\n# the deleted ones summed up. Written by stickvm; do not edit.\n"
		"uuid: %s\ncreated: %" PRIu64 "\n",
		stick->uuid, stick->created_s);
	print_geometry(out, stick);
	print_probes(out, stick);
	if (stick->entry_count > 0)
		fprintf(out, "ledger:\n");
	for (size_t i = 0; i < stick->entry_count; i++)
		print_entry(out, &stick->entries[i]);
	print_histories(out, stick);
	return fclose(out) == 0 ? text : NULL;
}

static int write_file(const struct stick *stick, struct err *err)
{
	char *path = stick_file(stick->dir);
	char *text = file_text(stick);
	int rc = path && text ? file_replace(path, text, strlen(text)) : -ENOMEM;

	if (rc < 0)
		err_set(err, file_status(rc), "%s: cannot be written: %s; %s",
			path ? path : "stick.yaml", strerror(-rc), file_advice(rc));
	free(path);
	free(text);
	return rc < 0 ? -1 : 0;
}

bool stick_prepared(const char *dir)
{
	char *path = stick_file(dir);
	char *fresh = path ? file_path("%s.new", path) : NULL;
	bool yes = fresh && (access(path, F_OK) == 0 || access(fresh, F_OK) == 0);

	free(path);
	free(fresh);
	return yes;
}

int stick_load(const char *dir, struct stick *ret_stick, struct err *err)
{
	struct stick stick = {.dir = realpath(dir, NULL)};

	if (!stick.dir)
		return err_set(err, EXIT_NO_STICK, "%s: %s; is the stick plugged in and mounted?",
			       dir, strerror(errno));
	if (!stick_prepared(stick.dir)) {
		stick_free(&stick);
		return err_set(err, EXIT_NO_STICK,
			       "%s: no stick was prepared here; run 'stickvm "
			       "init %s'",
			       dir, dir);
	}
	if (stick_holds(&stick, NULL, err) < 0 || stick_holds(&stick, "", err) < 0 ||
	    read_file(&stick, err) < 0) {
		stick_free(&stick);
		return -1;
	}
	*ret_stick = stick;
	return 0;
}

/* What init made so far, to be taken away again when it fails; only what was not there before. */
struct made {
	char *base; /* .../stickvm */
	char *vms;
	bool made_base;
	bool made_vms;
};

static void unmake(const struct made *m)
{
	if (m->made_vms)
		rmdir(m->vms);
	if (m->made_base)
		rmdir(m->base);
}

static int make_folder(const char *path, bool *ret_made, struct err *err)
{
	struct stat st;
	int rc = 0;

	if (mkdir(path, 0755) == 0) {
		*ret_made = true;
		return 0;
	}
	rc = -errno;
	if (rc == -EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	if (rc == -EEXIST)
		rc = -ENOTDIR;
	return err_set(err, file_status(rc), "%s: cannot be made: %s; %s", path, strerror(-rc),
		       file_advice(rc));
}

static int make_layout(struct stick *stick, struct err *err)
{
	struct made made = {.base = file_path("%s/stickvm", stick->dir),
			    .vms = file_path("%s/stickvm/vms", stick->dir)};
	int rc = -1;

	stick->uuid = ident_uuid();
	stick->created_s = (uint64_t)time(NULL);
	if (!made.base || !made.vms || !stick->uuid)
		err_set(err, EXIT_FAILED, "out of memory");
	else if (make_folder(made.base, &made.made_base, err) == 0 &&
		 stick_holds(stick, NULL, err) == 0 &&
		 make_folder(made.vms, &made.made_vms, err) == 0 &&
		 stick_holds(stick, "", err) == 0 && write_file(stick, err) == 0)
		rc = 0;
	if (rc < 0)
		unmake(&made);
	else
		file_sync_folder(stick->dir);
	free(made.base);
	free(made.vms);
	return rc;
}

static int check_folder(const char *dir, struct err *err)
{
	struct stat st;

	if (stat(dir, &st) < 0)
		return err_set(err,
			       errno == ENOENT || errno == ENODEV ? EXIT_NO_STICK : EXIT_FAILED,
			       "%s: %s; mount the stick first, and give the folder where it is "
			       "mounted",
			       dir, strerror(errno));
	if (S_ISBLK(st.st_mode))
		return err_set(
			err, EXIT_USAGE,
			"%s: is a device, and a stick's settings need a file system; make a "
			"small partition with one, mount it and run init on that folder; the "
			"rest of the stick can be given to a VM with 'stickvm create NAME "
			"--place PARTITION'",
			dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, EXIT_USAGE,
			       "%s: not a folder; give the folder where the stick "
			       "is mounted",
			       dir);
	return 0;
}

int stick_init(const char *dir, struct stick *ret_stick, bool *ret_fresh, struct err *err)
{
	struct stick stick = {0};

	if (check_folder(dir, err) < 0)
		return -1;
	if (stick_prepared(dir)) {
		*ret_fresh = false;
		return stick_load(dir, ret_stick, err);
	}
	stick.dir = realpath(dir, NULL);
	if (!stick.dir)
		return err_set(err, EXIT_NO_STICK, "%s: %s", dir, strerror(errno));
	if (make_layout(&stick, err) < 0) {
		stick_free(&stick);
		return -1;
	}
	*ret_stick = stick;
	*ret_fresh = true;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void stick_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* Whether it is a VM's folder: a name that can be one, and settings inside. What `create` has
 * not finished has none yet. */
static bool is_vm(const struct stick *stick, const char *name)
{
	char *path = stick_vm_path(stick, name, "vm.yaml");
	struct err ignored;
	bool yes = path && vm_name_check(name, &ignored) == 0 && access(path, F_OK) == 0;

	free(path);
	return yes;
}

static int collect(const struct stick *stick, DIR *folder, char ***names, size_t *count)
{
	const struct dirent *de;

	while ((de = readdir(folder))) {
		char **grown;

		if (!is_vm(stick, de->d_name))
			continue;
		grown = realloc(*names, (*count + 1) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		*names = grown;
		grown[*count] = strdup(de->d_name);
		if (!grown[*count])
			return -ENOMEM;
		(*count)++;
	}
	return 0;
}

int stick_vms(const struct stick *stick, char ***ret_names, size_t *ret_count, struct err *err)
{
	char *path = file_path("%s/stickvm/vms", stick->dir);
	DIR *folder = path ? opendir(path) : NULL;
	char **names = NULL;
	size_t count = 0;
	int rc = 0;

	if (folder)
		rc = collect(stick, folder, &names, &count);
	else if (errno != ENOENT)
		rc = -errno;
	if (folder)
		closedir(folder);
	if (rc < 0) {
		err_set(err, file_status(rc), "%s: cannot be read: %s; %s", path ? path : "vms",
			strerror(-rc), file_advice(rc));
		stick_names_free(names, count);
		free(path);
		return -1;
	}
	free(path);
	if (count > 0)
		qsort(names, count, sizeof(*names), by_name);
	*ret_names = names;
	*ret_count = count;
	return 0;
}

/* "a, b, c", cut where the buffer ends. */
static void join(char *buf, size_t buf_bytes, char **names, size_t count)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < count && used < buf_bytes; i++)
		used += (size_t)snprintf(buf + used, buf_bytes - used, "%s%s", i ? ", " : "",
					 names[i]);
}

static int choose(const struct stick *stick, const char *name, char **names, size_t count,
		  char **ret_name, struct err *err)
{
	char all[256];

	join(all, sizeof(all), names, count);
	for (size_t i = 0; name && i < count; i++) {
		if (strcmp(names[i], name) == 0) {
			*ret_name = strdup(name);
			return *ret_name ? 0 : err_set(err, EXIT_FAILED, "out of memory");
		}
	}
	if (count == 0)
		return err_set(err, EXIT_FAILED,
			       "%s: there is no VM on this stick; make one with "
			       "'stickvm create'",
			       name ? name : stick->dir);
	if (name)
		return err_set(err, EXIT_FAILED, "%s: no such VM; there are: %s", name, all);
	if (count > 1)
		return err_set(err, EXIT_USAGE, "which VM? name one of: %s", all);
	*ret_name = strdup(names[0]);
	return *ret_name ? 0 : err_set(err, EXIT_FAILED, "out of memory");
}

int stick_pick(const struct stick *stick, const char *name, char **ret_name, struct err *err)
{
	char **names;
	size_t count;
	int rc;

	if (name && vm_name_check(name, err) < 0)
		return -1;
	if (stick_vms(stick, &names, &count, err) < 0)
		return -1;
	rc = choose(stick, name, names, count, ret_name, err);
	stick_names_free(names, count);
	return rc;
}

int stick_note_memory(struct stick *stick, const char *id, const char *vm,
		      const struct sv_ledger *ledger)
{
	struct stick_entry *entry = entry_of(stick, id);

	if (!entry)
		return -ENOMEM;
	snprintf(entry->vm, sizeof(entry->vm), "%s", vm);
	ledger_raise(&entry->ledger, ledger);
	return 0;
}

/* In place of what was known before: it is the same store's. */
static int keep_history(struct stick *stick, const char *id, const struct sv_history *history)
{
	struct stick_entry *entry = find_entry(stick, id);

	if (!history || !history->begun)
		return 0;
	if (!entry->history)
		entry->history = malloc(sizeof(*history));
	if (!entry->history)
		return -ENOMEM;
	*entry->history = *history;
	return 0;
}

/* What is known of the entry's days goes to those of the deleted ones. */
static int retire_history(struct stick_entry *sum, struct stick_entry *entry)
{
	if (!entry->history)
		return 0;
	if (!sum->history)
		sum->history = calloc(1, sizeof(*sum->history));
	if (!sum->history)
		return -ENOMEM;
	sv_history_merge(sum->history, entry->history, history_today());
	free(entry->history);
	entry->history = NULL;
	return 0;
}

/* Sums an entry up under "deleted" and takes it out. */
static int retire(struct stick *stick, const char *id)
{
	struct stick_entry *sum;
	struct stick_entry *entry;

	if (!entry_of(stick, DELETED))
		return -ENOMEM;
	sum = find_entry(stick, DELETED);
	entry = find_entry(stick, id);
	if (!sum || !entry)
		return -ENOENT;
	if (retire_history(sum, entry) < 0)
		return -ENOMEM;
	ledger_add(&sum->ledger, &entry->ledger);
	*entry = stick->entries[--stick->entry_count];
	return 0;
}

/* Whoever writes stick.yaml holds this; the file itself is replaced, so the folder is locked. */
static int lock_stick(const struct stick *stick)
{
	char *path = file_path("%s/stickvm", stick->dir);
	int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	free(path);
	if (fd >= 0 && flock(fd, LOCK_EX) < 0 && errno != ENOSYS && errno != ENOTSUP &&
	    errno != EINVAL) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Reads stick.yaml anew under the lock, lets `change` change it, and writes it. */
static int change_file(struct stick *stick, int (*change)(struct stick *fresh, const void *ctx),
		       const void *ctx, struct err *err)
{
	struct stick fresh = {0};
	int lock = lock_stick(stick);
	int rc;

	if (lock < 0)
		return err_set(err, file_status(-errno), "%s: the stick cannot be locked: %s",
			       stick->dir, strerror(errno));
	rc = stick_load(stick->dir, &fresh, err);
	if (rc == 0 && change(&fresh, ctx) < 0)
		rc = err_set(err, EXIT_FAILED, "out of memory");
	if (rc == 0)
		rc = write_file(&fresh, err);
	close(lock);
	if (rc < 0) {
		stick_free(&fresh);
		return -1;
	}
	stick_free(stick);
	*stick = fresh;
	return 0;
}

struct ledger_note {
	char id[40];
	const char *vm;
	const struct sv_ledger *ledger;
	const struct sv_history *history;
	bool deleted;
};

static int take_ledger_note(struct stick *fresh, const void *ctx)
{
	const struct ledger_note *n = ctx;
	int rc = stick_note_memory(fresh, n->id, n->vm, n->ledger);

	if (rc == 0)
		rc = keep_history(fresh, n->id, n->history);
	return rc == 0 && n->deleted ? retire(fresh, n->id) : rc;
}

int stick_note(struct stick *stick, const uint8_t id[SV_STORE_ID_BYTES], const char *vm,
	       const struct sv_ledger *ledger, bool deleted, struct err *err)
{
	return stick_note_last(stick, id, vm, ledger, NULL, deleted, err);
}

int stick_note_last(struct stick *stick, const uint8_t id[SV_STORE_ID_BYTES], const char *vm,
		    const struct sv_ledger *ledger, const struct sv_history *history, bool deleted,
		    struct err *err)
{
	struct ledger_note n = {.vm = vm, .ledger = ledger, .history = history, .deleted = deleted};

	stick_id_text(id, n.id);
	return change_file(stick, take_ledger_note, &n, err);
}

struct probe_note {
	const struct measured *measured;
	const struct stick_geometry *geometry;
};

static int take_probe_note(struct stick *fresh, const void *ctx)
{
	const struct probe_note *n = ctx;
	struct measured *entry = history_at(&fresh->history, n->measured->at_s);

	*entry = *n->measured;
	for (const struct measured_field *f = measured_fields; f->name; f++) {
		uint64_t value = measured_get(n->measured, f);

		if (value != 0) /* what this probe left out stays known */
			measured_put(&fresh->measured, f->name, value);
	}
	if (n->geometry->page_bytes)
		fresh->page_bytes = n->geometry->page_bytes;
	if (n->geometry->erase_bytes)
		fresh->erase_bytes = n->geometry->erase_bytes;
	if (n->geometry->open_units)
		fresh->open_units = n->geometry->open_units;
	return 0;
}

int stick_note_probe(struct stick *stick, const struct measured *measured,
		     const struct stick_geometry *geometry, struct err *err)
{
	const struct probe_note n = {measured, geometry};

	return change_file(stick, take_probe_note, &n, err);
}
