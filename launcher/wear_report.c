/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_report.c: gathers the counters and histories of a stick or a VM, and writes them as JSON. */
#include "wear_report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mounts.h"
#include "stickvm/place.h"
#include "ui.h"
#include "vm_pick.h"
#include "vm_store.h"
#include "wear_history.h"

#define PACE_DAYS 30u	   /* over so many the pace is taken */
#define PACE_LEAST_DAYS 7u /* fewer say nothing of a year */
#define DAYS_A_YEAR 365.25

/* ---- one VM ---- */

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
static void read_busy(struct stick *stick, struct wear_reading *r)
{
	const char *id = id_of_vm(stick, r->name, &r->ledger);
	json_t *json = NULL;

	r->as_of = id ? "its last session" : "unknown";
	if (id && mounts_ledger("/proc/self/mountinfo", id, &r->ledger, &json)) {
		r->as_of = "now";
		stick_note_memory(stick, id, r->name, &r->ledger);
	}
	if (json && !history_from_json(json, r->history))
		r->history->begun = false;
	json_decref(json);
}

static int read_vm(const struct args *args, struct stick *stick, const char *name,
		   struct wear_reading *r)
{
	static const struct sv_open_options quiet = {.read_only = true, .manual = true};
	struct sv_store *store = NULL;
	struct sv_status status;
	struct vm vm = {0};
	struct err err;
	char id[40];
	int rc = vm_pick_load(stick, name, &vm, &err);

	*r = (struct wear_reading){.as_of = "now", .history = calloc(1, sizeof(*r->history))};
	snprintf(r->name, sizeof(r->name), "%s", name);
	if (rc == 0 && !r->history)
		rc = err_set(&err, EXIT_FAILED, "out of memory");
	if (rc == 0)
		rc = vm_store_open(stick, &vm, &quiet, &store, &err);
	vm_free(&vm);
	if (rc < 0) {
		if (r->history)
			read_busy(stick, r);
		return err.status == EXIT_LOCKED ? EXIT_DONE : ui_fail(args, &err);
	}
	sv_store_status(store, &status);
	sv_store_history(store, r->history);
	sv_store_abandon(store);
	r->ledger = status.ledger;
	stick_id_text(status.store_id, id);
	stick_note_memory(stick, id, name, &r->ledger);
	return EXIT_DONE;
}

/* ---- all of them ---- */

static void sum_up(struct wear_report *report)
{
	const struct stick *stick = report->stick;
	uint32_t today = history_today();

	for (size_t i = 0; report->whole && i < stick->entry_count; i++) {
		ledger_add(&report->total, &stick->entries[i].ledger);
		if (stick->entries[i].history)
			sv_history_merge(report->history, stick->entries[i].history, today);
	}
	for (size_t i = 0; i < report->count; i++) {
		if (!report->whole)
			ledger_add(&report->total, &report->readings[i].ledger);
		if (report->readings[i].history)
			sv_history_merge(report->history, report->readings[i].history, today);
	}
}

/* What no day is known of. A reading may be a moment newer than the other. */
static void find_undated(struct wear_report *report)
{
	uint64_t dated = 0;

	for (uint32_t i = 0; i < report->history->spans; i++)
		dated += report->history->span[i].counts.stick_written_bytes;
	if (report->total.stick_written_bytes > dated)
		report->undated_bytes = report->total.stick_written_bytes - dated;
}

/* Bytes a day over the last days, those without a session included. */
static void find_pace(struct wear_report *report)
{
	const struct sv_history *h = report->history;
	uint32_t today = history_today(), from;
	uint64_t bytes = 0;

	if (!h->spans || h->span[0].day > today)
		return;
	from = today >= PACE_DAYS ? today - PACE_DAYS + 1 : 0;
	from = h->span[0].day > from ? h->span[0].day : from;
	if (today - from + 1 < PACE_LEAST_DAYS)
		return;
	for (uint32_t i = 0; i < h->spans; i++)
		if (h->span[i].day >= from && h->span[i].day <= today)
			bytes += h->span[i].counts.stick_written_bytes;
	report->pace_days = today - from + 1;
	report->pace_bytes = (double)bytes / report->pace_days;
}

/* Years that are left of a life of which `used` is used, when each cell lasts for `cycles`. */
static double years_of(double used, double pace, double capacity, double cycles, double device)
{
	double left = used < 1 ? 1 - used : 0;

	return left * capacity * cycles / device / (pace * DAYS_A_YEAR);
}

static void find_life(struct wear_report *report)
{
	double capacity = (double)report->capacity_bytes;
	struct wear_interval *used = &report->used;

	if (!report->capacity_bytes)
		return;
	used->known = true;
	ledger_life(&report->total, report->capacity_bytes, &used->low, &used->high);
	if (!report->whole || report->pace_bytes <= 0)
		return;
	report->years.known = true;
	report->years.low = years_of(used->high, report->pace_bytes, capacity, LEDGER_CYCLES_LOW,
				     LEDGER_DEVICE_HIGH);
	report->years.high = years_of(used->low, report->pace_bytes, capacity, LEDGER_CYCLES_HIGH,
				      LEDGER_DEVICE_LOW);
}

int wear_gather(const struct args *args, struct stick *stick, char **names, size_t count,
		struct wear_report *ret_report)
{
	int status = EXIT_DONE;
	struct wear_report *report = ret_report;

	*report = (struct wear_report){.stick = stick, .whole = !args_operand(args, 0)};
	report->readings = calloc(count + 1, sizeof(*report->readings));
	report->history = calloc(1, sizeof(*report->history));
	if (!report->readings || !report->history)
		abort();
	for (; report->count < count; report->count++) {
		int one = read_vm(args, stick, names[report->count],
				  &report->readings[report->count]);

		status = one != EXIT_DONE ? one : status;
	}
	sum_up(report);
	find_undated(report);
	report->capacity_bytes = stick_capacity(stick->dir);
	report->host_known = sv_place_host_written(stick->dir, &report->host_written_bytes);
	find_pace(report);
	find_life(report);
	return status;
}

void wear_report_free(struct wear_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		free(report->readings[i].history);
	free(report->readings);
	free(report->history);
	*report = (struct wear_report){0};
}

/* ---- JSON ---- */

static json_t *ledger_json(const struct sv_ledger *ledger)
{
	json_t *json = json_object();
	double wa = ledger_amplification(ledger);

	for (const struct ledger_field *f = ledger_fields; f->name; f++)
		json_object_set_new(json, f->name, json_integer((json_int_t)ledger_get(ledger, f)));
	json_object_set_new(json, "write_amplification", wa > 0 ? json_real(wa) : json_null());
	return json;
}

static void set_real(json_t *json, const char *key, bool known, double value)
{
	json_object_set_new(json, key, known ? json_real(value) : json_null());
}

static double left(double used)
{
	return used < 1 ? 1 - used : 0;
}

static void put_life(json_t *json, const struct wear_report *report)
{
	const struct wear_interval *used = &report->used, *years = &report->years;

	set_real(json, "life_used_low", used->known, used->low);
	set_real(json, "life_used_high", used->known, used->high);
	set_real(json, "life_left_low", used->known, left(used->high));
	set_real(json, "life_left_high", used->known, left(used->low));
	set_real(json, "years_left_low", years->known, years->low);
	set_real(json, "years_left_high", years->known, years->high);
	set_real(json, "pace_bytes_per_day", report->pace_days > 0, report->pace_bytes);
	json_object_set_new(json, "pace_days", json_integer(report->pace_days));
	json_object_set_new(json, "assumed",
			    json_pack("{sf sf sf sf}", "cycles_low", LEDGER_CYCLES_LOW,
				      "cycles_high", LEDGER_CYCLES_HIGH, "device_amplification_low",
				      LEDGER_DEVICE_LOW, "device_amplification_high",
				      LEDGER_DEVICE_HIGH));
}

static int by_worst(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	double p = json_real_value(json_object_get(x, "worst_seconds"));
	double q = json_real_value(json_object_get(y, "worst_seconds"));

	return p < q ? 1 : p > q ? -1 : 0;
}

/* Of all VMs, slowest first; a segment's number means something in its own VM only. */
static json_t *slow_json(const struct wear_report *report)
{
	json_t **all = calloc(report->count * SV_HISTORY_SLOW + 1, sizeof(json_t *));
	json_t *array = json_array();
	size_t count = 0;

	for (size_t i = 0; all && i < report->count; i++) {
		const struct wear_reading *r = &report->readings[i];
		json_t *history =
			r->history && r->history->begun ? history_to_json(r->history) : NULL;
		json_t *one;
		size_t k;

		json_array_foreach(json_object_get(history, "slow_segments"), k, one)
		{
			json_object_set_new(one, "vm", json_string(r->name));
			all[count++] = json_incref(one);
		}
		json_decref(history);
	}
	if (all)
		qsort(all, count, sizeof(all[0]), by_worst);
	for (size_t i = 0; i < count; i++) {
		if (i < SV_HISTORY_SLOW)
			json_array_append(array, all[i]);
		json_decref(all[i]);
	}
	free(all);
	return array;
}

static void put_history(json_t *json, const struct wear_report *report)
{
	json_t *all = history_to_json(report->history);
	json_t *history = json_object();

	json_object_set(history, "since", json_object_get(all, "since"));
	json_object_set(history, "spans", json_object_get(all, "spans"));
	json_object_set_new(history, "undated_stick_written_bytes",
			    json_integer((json_int_t)report->undated_bytes));
	json_object_set_new(json, "history", history);
	json_object_set(json, "recent_sessions", json_object_get(all, "sessions"));
	json_object_set(json, "hosts", json_object_get(all, "hosts"));
	json_object_set_new(json, "slow_segments", slow_json(report));
	json_decref(all);
}

static json_t *vms_json(const struct wear_report *report)
{
	json_t *vms = json_array();

	for (size_t i = 0; i < report->count; i++) {
		const struct wear_reading *r = &report->readings[i];
		json_t *one = ledger_json(&r->ledger);

		json_object_set_new(one, "name", json_string(r->name));
		json_object_set_new(one, "current", json_boolean(strcmp(r->as_of, "now") == 0));
		json_object_set_new(one, "as_of", json_string(r->as_of));
		json_array_append_new(vms, one);
	}
	return vms;
}

json_t *wear_json(const struct wear_report *report)
{
	json_t *json = ledger_json(&report->total);

	put_life(json, report);
	json_object_set_new(json, "scope", json_string(report->whole ? "stick" : "vm"));
	json_object_set_new(json, "stick", json_string(report->stick->uuid));
	json_object_set_new(json, "generated", json_integer((json_int_t)time(NULL)));
	json_object_set_new(json, "capacity_bytes",
			    json_integer((json_int_t)report->capacity_bytes));
	json_object_set_new(json, "host_written_bytes",
			    report->host_known
				    ? json_integer((json_int_t)report->host_written_bytes)
				    : json_null());
	json_object_set_new(json, "others_writes_unseen", json_true());
	put_history(json, report);
	json_object_set_new(json, "vms", vms_json(report));
	json_object_set_new(json, "advice", wear_advice(json));
	return json;
}
