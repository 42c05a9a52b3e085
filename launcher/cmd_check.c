/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_check.c: `check`: verify the store of one VM, or of all; and mend it. */
#include <inttypes.h>
#include <stdlib.h>

#include "check.h"
#include "consent.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"
#include "vm_store.h"

#define PRINT_AT_MOST 100 /* findings; the rest is counted */
#define RANGES_MOST 100000u

/* One check: what it reports to, and what it has seen. */
struct checking {
	const struct args *args;
	const struct vm *vm;
	json_t *findings;
	uint64_t count;
	unsigned kinds;	     /* of enum sv_finding_kind */
	uint64_t lost_bytes; /* of the disk, for want of a map */
	struct check_range *ranges;
	size_t range_count;
	struct ui_progress progress;
};

static void note_range(struct checking *c, const struct sv_finding *finding)
{
	if (finding->len_bytes == 0 || c->range_count == RANGES_MOST)
		return;
	if (finding->kind & (SV_FOUND_LOST | SV_FOUND_MAP))
		c->lost_bytes += finding->len_bytes;
	if (!c->ranges)
		c->ranges = calloc(RANGES_MOST, sizeof *c->ranges);
	if (c->ranges)
		c->ranges[c->range_count++] =
			(struct check_range){finding->off_bytes, finding->len_bytes};
}

static void print_finding(struct checking *c, const struct sv_finding *finding)
{
	char place[40] = "";

	if (finding->place_bytes != UINT64_MAX)
		snprintf(place, sizeof place, " (at %" PRIu64 " of the store)",
			 finding->place_bytes);
	ui_progress_end(&c->progress);
	if (finding->len_bytes > 0)
		printf("%s: bytes %" PRIu64 " to %" PRIu64 " of the disk: %s%s\n", c->vm->name,
		       finding->off_bytes, finding->off_bytes + finding->len_bytes - 1,
		       finding->what, place);
	else
		printf("%s: %s%s\n", c->vm->name, finding->what, place);
}

static void on_finding(void *ctx, const struct sv_finding *finding)
{
	struct checking *c = ctx;

	c->count++;
	c->kinds |= finding->kind;
	note_range(c, finding);
	if (c->count > PRINT_AT_MOST)
		return;
	json_array_append_new(c->findings,
			      json_pack("{s:s, s:I, s:I, s:o}", "what", finding->what, "off_bytes",
					(json_int_t)finding->off_bytes, "len_bytes",
					(json_int_t)finding->len_bytes, "place_bytes",
					finding->place_bytes == UINT64_MAX
						? json_null()
						: json_integer((json_int_t)finding->place_bytes)));
	if (!args_has(c->args, "json"))
		print_finding(c, finding);
}

static void on_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
	struct checking *c = ctx;

	ui_progress_step(&c->progress, done_bytes, total_bytes);
}

/* What recovery saw while it opened the store is part of the verdict. */
static void note_recovery(struct checking *c, struct sv_store *store, json_t *json)
{
	struct sv_recovery rec;
	struct sv_finding lost = {.what = "flushed batches were lost by the stick",
				  .place_bytes = UINT64_MAX};

	sv_store_recovery(store, &rec);
	if (rec.lost_flushed_batches > 0)
		on_finding(c, &lost);
	json_object_set_new(json, "clean", json_boolean(rec.clean));
	json_object_set_new(json, "bad_blocks", json_integer((json_int_t)rec.bad_blocks));
	json_object_set_new(json, "lost_flushed_batches",
			    json_integer((json_int_t)rec.lost_flushed_batches));
}

/* The guest's files on what is damaged. */
static void name_files(struct checking *c, struct sv_store *store, json_t *json)
{
	const char *why;
	json_t *files, *file;
	size_t i;

	if (c->range_count == 0)
		return;
	files = check_names(store, c->ranges, c->range_count, &why);
	if (!args_has(c->args, "json")) {
		json_array_foreach(files, i, file)
			printf("%s: affected: partition %d: %s\n", c->vm->name,
			       (int)json_integer_value(json_object_get(file, "partition")),
			       json_string_value(json_object_get(file, "path")));
		if (why)
			printf("%s: the files that are affected are not named: %s\n", c->vm->name,
			       why);
		else if (json_array_size(files) == 0)
			printf("%s: no file of an ext2, 3 or 4 file system is affected\n",
			       c->vm->name);
	}
	json_object_set_new(json, "files", files);
	json_object_set_new(json, "files_unknown", why ? json_string(why) : json_null());
}

static int check_open(struct checking *c, struct sv_store *store, json_t *json, struct err *err)
{
	bool deep = args_has(c->args, "deep") || args_has(c->args, "repair");
	int rc;

	note_recovery(c, store, json);
	ui_progress_start(&c->progress, "checking");
	rc = sv_store_check(store, deep, on_finding, c, on_progress);
	ui_progress_end(&c->progress);
	if (rc < 0)
		return vm_store_fail(err, c->vm, rc);
	name_files(c, store, json);
	if (c->count > 0)
		return err_set(
			err, EXIT_DAMAGE,
			"%s: %" PRIu64 " finding%s; copy what can be read "
			"(stickvm mount --read-only), mend what can be mended (stickvm check "
			"--repair), and restore the rest from a backup",
			c->vm->name, c->count, c->count == 1 ? "" : "s");
	return 0;
}

/* One look at the store. *ret_opens: it could be opened. */
static int look(struct checking *c, const struct stick *stick, json_t *json, bool *ret_opens,
		struct err *err)
{
	static const struct sv_open_options quiet = {.read_only = true, .manual = true};
	struct sv_store *store;
	int rc = vm_store_open(stick, c->vm, &quiet, &store, err);

	*ret_opens = rc == 0;
	if (rc < 0)
		return rc;
	rc = check_open(c, store, json, err);
	sv_store_abandon(store);
	return rc;
}

static void forget(struct checking *c)
{
	free(c->ranges);
	c->ranges = NULL;
	c->range_count = 0;
	c->count = c->lost_bytes = c->kinds = 0;
	json_array_clear(c->findings);
}

/* Mends, and looks again: what is left then is the verdict. */
static int mend(struct checking *c, struct stick *stick, bool opens, json_t *json, struct err *err)
{
	struct check_repair_plan plan = {
		.kinds = c->kinds, .opens = opens, .lost_bytes = c->lost_bytes};
	json_t *repair = json_object();
	struct err why = *err;
	char *text = NULL;
	int rc = check_repair(stick, c->vm, &plan, repair, &text, &why);

	if (text && !args_has(c->args, "json"))
		printf("%s: %s\n", c->vm->name, text);
	free(text);
	json_object_set_new(json, "repair", repair);
	if (rc < 0) {
		*err = why;
		return rc;
	}
	forget(c);
	return look(c, stick, json, &opens, err);
}

/* The status of one VM; its JSON is added to `array`. */
static int check_one(const struct args *args, struct stick *stick, const char *name, json_t *array)
{
	struct checking c = {.args = args, .findings = json_array()};
	json_t *json = json_pack("{s:s}", "name", name);
	struct vm vm = {0};
	struct err err;
	bool opens = true;
	int rc = vm_pick_load(stick, name, &vm, &err);

	c.vm = &vm;
	if (rc == 0)
		rc = consent_ask(args, stick, &vm, NULL, &err);
	if (rc == 0) {
		rc = look(&c, stick, json, &opens, &err);
		if (rc < 0 && err.status == EXIT_DAMAGE && args_has(args, "repair"))
			rc = mend(&c, stick, opens, json, &err);
	}
	if (rc == 0 && !args_has(args, "json"))
		printf("%s: no damage found%s\n", name,
		       args_has(args, "deep") || args_has(args, "repair")
			       ? ""
			       : " (structure only; --deep reads every byte)");
	json_object_set_new(json, "ok", json_boolean(rc == 0));
	json_object_set_new(json, "findings", c.findings);
	json_object_set_new(json, "finding_count", json_integer((json_int_t)c.count));
	if (rc < 0)
		json_object_set_new(json, "error", json_string(err.text));
	json_array_append_new(array, json);
	free(c.ranges);
	vm_free(&vm);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}

/* Damage outweighs everything else that went wrong with another VM. */
static int worse(int a, int b)
{
	if (a == EXIT_DAMAGE || b == EXIT_DAMAGE)
		return EXIT_DAMAGE;
	return a != EXIT_DONE ? a : b;
}

int cmd_check(const struct args *args)
{
	struct stick stick;
	struct err err;
	char **names;
	size_t count;
	json_t *array;
	int status = EXIT_DONE;

	if (stick_open(args->stick, &stick, &err) < 0)
		return ui_fail(args, &err);
	if (vm_pick_names(&stick, args_operand(args, 0), &names, &count, &err) < 0) {
		stick_free(&stick);
		return ui_fail(args, &err);
	}
	array = json_array();
	for (size_t i = 0; i < count; i++)
		status = worse(status, check_one(args, &stick, names[i], array));
	if (args_has(args, "json"))
		status = worse(status, ui_json(args, json_pack("{s:O}", "vms", array)));
	json_decref(array);
	stick_names_free(names, count);
	stick_free(&stick);
	return status;
}
