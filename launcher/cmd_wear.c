/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_wear.c: `wear`: the ledger of the stick or of one VM, and what life is left. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "size.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"
#include "wear_report.h"

static void print_vms(const struct wear_report *report)
{
	static const char *const titles[] = {"VM",	  ">GUEST WROTE", ">STICK WROTE", ">TIMES",
					     ">SESSIONS", ">UNCLEAN",	  "AS OF"};
	struct ui_table *table = ui_table_new(7, titles);

	for (size_t i = 0; i < report->count; i++) {
		const struct wear_reading *r = &report->readings[i];
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

static void print_counters(const struct wear_report *report)
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

/* "name#1a2b" without what tells hosts of one name apart. */
static const char *host_name(const char *host, char *buf, size_t buf_bytes)
{
	snprintf(buf, buf_bytes, "%.*s", (int)strcspn(host, "#"), host);
	return buf[0] ? buf : "unknown, and others";
}

static void print_hosts(const struct wear_report *report)
{
	static const char *const titles[] = {"HOST",	     ">SESSIONS",    ">UNCLEAN",
					     ">GUEST WROTE", ">STICK WROTE", "LAST WRITE"};
	struct ui_table *table = ui_table_new(6, titles);

	for (uint32_t i = 0; i < report->history->hosts; i++) {
		const struct sv_past_host *h = &report->history->host[i];
		char name[72], sessions[32], unclean[32], guest[32], stick[32], last[32];
		const char *cells[] = {
			host_name(h->host, name, sizeof(name)), sessions, unclean, guest, stick,
			ui_time(h->last_s, last, sizeof(last))};

		snprintf(sessions, sizeof(sessions), "%" PRIu64, h->sessions);
		snprintf(unclean, sizeof(unclean), "%" PRIu64, h->unclean);
		size_human(h->guest_written_bytes, guest, sizeof(guest));
		size_human(h->stick_written_bytes, stick, sizeof(stick));
		ui_table_row(table, cells);
	}
	ui_table_print(table, stdout);
}

static void print_life(const struct wear_report *report)
{
	char size[32];

	if (ledger_amplification(&report->total) > 0)
		printf("\nBytes to the stick for each byte that guests wrote: %.2f\n",
		       ledger_amplification(&report->total));
	if (report->used.known)
		printf("Life used by this: between %.2g %% and %.2g %% (of %s, for cells that last "
		       "%.0f or %.0f cycles)\n",
		       100 * report->used.low, 100 * report->used.high,
		       size_human(report->capacity_bytes, size, sizeof(size)), LEDGER_CYCLES_HIGH,
		       LEDGER_CYCLES_LOW);
	if (report->host_known)
		printf("The host wrote %s to the device since it was plugged in, all kinds.\n",
		       size_human(report->host_written_bytes, size, sizeof(size)));
}

static void print_report(const struct wear_report *report)
{
	json_t *json = wear_json(report), *line;
	size_t i;

	if (report->count > 0) {
		print_vms(report);
		putchar('\n');
	}
	if (report->history->hosts > 0) {
		print_hosts(report);
		putchar('\n');
	}
	print_counters(report);
	print_life(report);
	putchar('\n');
	json_array_foreach(json_object_get(json, "advice"), i, line)
		printf("- %s\n", json_string_value(line));
	json_decref(json);
}

static int write_page(const struct args *args, const struct wear_report *report)
{
	const char *path = args_text(args, "html", "");
	json_t *json = wear_json(report);
	char *text = wear_html(json);
	int rc = text ? file_replace(path, text, strlen(text)) : -ENOMEM;
	struct err err;

	json_decref(json);
	free(text);
	if (rc == 0)
		return EXIT_DONE;
	err_set(&err, file_status(rc), "%s: cannot be written: %s; %s", path, strerror(-rc),
		file_advice(rc));
	return ui_fail(args, &err);
}

/* One metric, for the whole stick and for each VM, as Prometheus' text format wants it. */
static void print_metric(const struct wear_report *report, const struct ledger_field *f)
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

static void print_interval(const char *stick, const char *name, const char *help,
			   const struct wear_interval *interval)
{
	if (!interval->known)
		return;
	printf("# HELP stickvm_stick_%s %s, an interval\n# TYPE stickvm_stick_%s gauge\n"
	       "stickvm_stick_%s{stick=\"%s\",bound=\"low\"} %g\n"
	       "stickvm_stick_%s{stick=\"%s\",bound=\"high\"} %g\n",
	       name, help, name, name, stick, interval->low, name, stick, interval->high);
}

static void print_slow(const struct wear_report *report)
{
	printf("# HELP stickvm_vm_slowest_write_seconds the longest single write to the stick\n"
	       "# TYPE stickvm_vm_slowest_write_seconds gauge\n");
	for (size_t i = 0; i < report->count; i++) {
		const struct wear_reading *r = &report->readings[i];

		if (r->history && r->history->slows)
			printf("stickvm_vm_slowest_write_seconds{stick=\"%s\",vm=\"%s\"} %g\n",
			       report->stick->uuid, r->name,
			       (double)r->history->slow[0].worst_us / 1e6);
	}
}

static void print_metrics(const struct wear_report *report)
{
	for (const struct ledger_field *f = ledger_fields; f->name; f++)
		print_metric(report, f);
	print_slow(report);
	if (!report->whole)
		return;
	print_interval(report->stick->uuid, "life_used_ratio", "part of the stick's life",
		       &report->used);
	print_interval(report->stick->uuid, "life_left_years",
		       "years that it lasts at the pace of the last days", &report->years);
}

/* What is asked for, where something is; else the tables. */
static int print_as_asked(const struct args *args, const struct wear_report *report)
{
	int status = EXIT_DONE;

	if (args_has(args, "html"))
		status = write_page(args, report);
	if (args_has(args, "json") && status == EXIT_DONE)
		status = ui_json(args, wear_json(report));
	else if (args_has(args, "prometheus"))
		print_metrics(report);
	else if (!args_has(args, "html"))
		print_report(report);
	return status;
}

int cmd_wear(const struct args *args)
{
	struct wear_report report;
	struct stick stick;
	struct err err;
	char **names;
	size_t count;
	int status, asked;

	if (stick_open(args->stick, &stick, &err) < 0)
		return ui_fail(args, &err);
	if (vm_pick_names(&stick, args_operand(args, 0), &names, &count, &err) < 0) {
		stick_free(&stick);
		return ui_fail(args, &err);
	}
	status = wear_gather(args, &stick, names, count, &report);
	asked = print_as_asked(args, &report);
	wear_report_free(&report);
	stick_names_free(names, count);
	stick_free(&stick);
	return asked != EXIT_DONE ? asked : status;
}
