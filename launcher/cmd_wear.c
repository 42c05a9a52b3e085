/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_wear.c: `wear`: the ledger of the stick or of one VM, and what life is left. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mounts.h"
#include "size.h"
#include "stickvm/place.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"
#include "vm_store.h"

/* The counters of one VM, and how new they are. */
struct reading {
	char name[72];
	const char *as_of; /* "now", "its last session", "unknown" */
	struct sv_ledger ledger;
};

/* All that is reported. */
struct report {
	const struct stick *stick;
	bool whole; /* the stick, not one VM */
	struct sv_ledger total;
	uint64_t capacity_bytes;
	bool host_known;
	uint64_t host_written_bytes;
	struct reading *readings;
	size_t count;
};

static const char *id_of_vm(const struct stick *stick, const char *name, struct sv_ledger *ledger)
{
	for (size_t i = 0; i < stick->entry_count; i++) {
		if (strcmp(stick->entries[i].vm, name) == 0) {
			*ledger = stick->entries[i].ledger;
			return stick->entries[i].id;
		}
	}
	return NULL;
}

/* Of a VM that is in use: through its mount, else as the stick's file has them. */
static void read_busy(const struct stick *stick, struct reading *r)
{
	const char *id = id_of_vm(stick, r->name, &r->ledger);

	r->as_of = id ? "its last session" : "unknown";
	if (id && mounts_ledger("/proc/self/mountinfo", id, &r->ledger))
		r->as_of = "now";
}

static int read_vm(const struct args *args, struct stick *stick, const char *name,
		   struct reading *r)
{
	static const struct sv_open_options quiet = {.read_only = true, .manual = true};
	struct sv_store *store = NULL;
	struct sv_status status;
	struct vm vm = {0};
	struct err err;
	char id[40];
	int rc = vm_pick_load(stick, name, &vm, &err);

	*r = (struct reading){.as_of = "now"};
	snprintf(r->name, sizeof(r->name), "%s", name);
	if (rc == 0)
		rc = vm_store_open(stick, &vm, &quiet, &store, &err);
	vm_free(&vm);
	if (rc < 0) {
		read_busy(stick, r);
		return err.status == EXIT_LOCKED ? EXIT_DONE : ui_fail(args, &err);
	}
	sv_store_status(store, &status);
	sv_store_abandon(store);
	r->ledger = status.ledger;
	stick_id_text(status.store_id, id);
	stick_note_memory(stick, id, name, &r->ledger);
	return EXIT_DONE;
}

static int gather(const struct args *args, struct stick *stick, char **names, size_t count,
		  struct report *report)
{
	int status = EXIT_DONE;

	*report = (struct report){.stick = stick, .count = count};
	report->readings = calloc(count + 1, sizeof(*report->readings));
	for (size_t i = 0; report->readings && i < count; i++) {
		int one = read_vm(args, stick, names[i], &report->readings[i]);

		status = one != EXIT_DONE ? one : status;
	}
	report->whole = args_operand(args, 0) == NULL;
	if (!report->readings)
		report->count = 0;
	for (size_t i = 0; report->whole && i < stick->entry_count; i++)
		ledger_add(&report->total, &stick->entries[i].ledger);
	for (size_t i = 0; !report->whole && i < report->count; i++)
		ledger_add(&report->total, &report->readings[i].ledger);
	report->capacity_bytes = stick_capacity(stick->dir);
	report->host_known = sv_place_host_written(stick->dir, &report->host_written_bytes);
	return status;
}

static json_t *ledger_json(const struct sv_ledger *ledger)
{
	json_t *json = json_object();
	double wa = ledger_amplification(ledger);

	for (const struct ledger_field *f = ledger_fields; f->name; f++)
		json_object_set_new(json, f->name, json_integer((json_int_t)ledger_get(ledger, f)));
	json_object_set_new(json, "write_amplification", wa > 0 ? json_real(wa) : json_null());
	return json;
}

static json_t *report_json(const struct report *report)
{
	json_t *json = ledger_json(&report->total);
	json_t *vms = json_array();
	bool known = report->capacity_bytes > 0;
	double low, high;

	ledger_life(&report->total, report->capacity_bytes, &low, &high);
	json_object_set_new(json, "life_used_low", known ? json_real(low) : json_null());
	json_object_set_new(json, "life_used_high", known ? json_real(high) : json_null());
	json_object_set_new(json, "scope", json_string(report->whole ? "stick" : "vm"));
	json_object_set_new(json, "stick", json_string(report->stick->uuid));
	json_object_set_new(json, "capacity_bytes",
			    json_integer((json_int_t)report->capacity_bytes));
	json_object_set_new(json, "host_written_bytes",
			    report->host_known
				    ? json_integer((json_int_t)report->host_written_bytes)
				    : json_null());
	json_object_set_new(json, "others_writes_unseen", json_true());
	for (size_t i = 0; i < report->count; i++) {
		const struct reading *r = &report->readings[i];
		json_t *one = ledger_json(&r->ledger);

		json_object_set_new(one, "name", json_string(r->name));
		json_object_set_new(one, "current", json_boolean(strcmp(r->as_of, "now") == 0));
		json_array_append_new(vms, one);
	}
	json_object_set_new(json, "vms", vms);
	return json;
}

static void print_vms(const struct report *report)
{
	static const char *const titles[] = {"VM",	  ">GUEST WROTE", ">STICK WROTE", ">TIMES",
					     ">SESSIONS", ">UNCLEAN",	  "AS OF"};
	struct ui_table *table = ui_table_new(7, titles);

	for (size_t i = 0; i < report->count; i++) {
		const struct reading *r = &report->readings[i];
		char guest[32], stick[32], wa[32], sessions[32], unclean[32];
		const char *cells[] = {r->name, guest, stick, wa, sessions, unclean, r->as_of};

		size_human(r->ledger.guest_written_bytes, guest, sizeof(guest));
		size_human(r->ledger.stick_written_bytes, stick, sizeof(stick));
		snprintf(wa, sizeof(wa), "%.2f", ledger_amplification(&r->ledger));
		snprintf(sessions, sizeof(sessions), "%" PRIu64, r->ledger.sessions);
		snprintf(unclean, sizeof(unclean), "%" PRIu64, r->ledger.unclean_detaches);
		ui_table_row(table, cells);
	}
	ui_table_print(table, stdout);
}

static void print_counters(const struct report *report)
{
	static const char *const titles[] = {"COUNTER", ">TOTAL", "MEANING"};
	struct ui_table *table = ui_table_new(3, titles);
	char text[32];

	for (const struct ledger_field *f = ledger_fields; f->name; f++) {
		uint64_t value = ledger_get(&report->total, f);
		const char *cells[] = {f->name, text, f->help};

		if (f->bytes)
			size_human(value, text, sizeof(text));
		else if (f[1].name)
			snprintf(text, sizeof(text), "%" PRIu64, value);
		else
			ui_time(value, text, sizeof(text));
		ui_table_row(table, cells);
	}
	ui_table_print(table, stdout);
}

static void print_life(const struct report *report)
{
	double low, high;
	char size[32];

	ledger_life(&report->total, report->capacity_bytes, &low, &high);
	if (ledger_amplification(&report->total) > 0)
		printf("\nBytes to the stick for each byte that guests wrote: %.2f\n",
		       ledger_amplification(&report->total));
	if (report->capacity_bytes > 0)
		printf("Life used by this: between %.2g %% and %.2g %% (of %s, for cells that last "
		       "3000 or 300 cycles)\n",
		       100 * low, 100 * high,
		       size_human(report->capacity_bytes, size, sizeof(size)));
	if (report->host_known)
		printf("The host wrote %s to the device since it was plugged in, all kinds.\n",
		       size_human(report->host_written_bytes, size, sizeof(size)));
	printf("Writes to the stick by others than stickvm are not seen here.\n");
}

static void print_report(const struct report *report)
{
	if (report->count > 0)
		print_vms(report);
	if (report->count > 0)
		putchar('\n');
	print_counters(report);
	print_life(report);
}

/* One metric, for the whole stick and for each VM, as Prometheus' text format wants it. */
static void print_metric(const struct report *report, const struct ledger_field *f)
{
	const char *kind = f[1].name ? "counter" : "gauge";
	const char *total = f[1].name ? "_total" : "_seconds";

	if (report->whole) {
		printf("# HELP stickvm_stick_%s%s %s\n# TYPE stickvm_stick_%s%s %s\n", f->name,
		       total, f->help, f->name, total, kind);
		printf("stickvm_stick_%s%s{stick=\"%s\"} %" PRIu64 "\n", f->name, total,
		       report->stick->uuid, ledger_get(&report->total, f));
	}
	printf("# HELP stickvm_vm_%s%s %s\n# TYPE stickvm_vm_%s%s %s\n", f->name, total, f->help,
	       f->name, total, kind);
	for (size_t i = 0; i < report->count; i++)
		printf("stickvm_vm_%s%s{stick=\"%s\",vm=\"%s\"} %" PRIu64 "\n", f->name, total,
		       report->stick->uuid, report->readings[i].name,
		       ledger_get(&report->readings[i].ledger, f));
}

static void print_metrics(const struct report *report)
{
	double low, high;

	for (const struct ledger_field *f = ledger_fields; f->name; f++)
		print_metric(report, f);
	if (!report->whole || report->capacity_bytes == 0)
		return;
	ledger_life(&report->total, report->capacity_bytes, &low, &high);
	printf("# HELP stickvm_stick_life_used_ratio part of the stick's life, an interval\n"
	       "# TYPE stickvm_stick_life_used_ratio gauge\n"
	       "stickvm_stick_life_used_ratio{stick=\"%s\",bound=\"low\"} %g\n"
	       "stickvm_stick_life_used_ratio{stick=\"%s\",bound=\"high\"} %g\n",
	       report->stick->uuid, low, report->stick->uuid, high);
}

int cmd_wear(const struct args *args)
{
	struct report report;
	struct stick stick;
	struct err err;
	char **names;
	size_t count;
	int status;

	if (stick_open(args->stick, &stick, &err) < 0)
		return ui_fail(args, &err);
	if (vm_pick_names(&stick, args_operand(args, 0), &names, &count, &err) < 0) {
		stick_free(&stick);
		return ui_fail(args, &err);
	}
	status = gather(args, &stick, names, count, &report);
	if (args_has(args, "json")) {
		int rc = ui_json(args, report_json(&report));

		status = rc != EXIT_DONE ? rc : status;
	} else if (args_has(args, "prometheus")) {
		print_metrics(&report);
	} else {
		print_report(&report);
	}
	free(report.readings);
	stick_names_free(names, count);
	stick_free(&stick);
	return status;
}
