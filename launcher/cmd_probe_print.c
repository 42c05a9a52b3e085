/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_probe_print.c: how far a probe is; what it found, as a table with what it means, as JSON. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "probe_stick.h"
#include "size.h"
#include "ui.h"

static void block_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(how, &set, NULL);
}

void probe_progress_start(struct probe_progress *progress)
{
	*progress = (struct probe_progress){.terminal = isatty(STDERR_FILENO) == 1};
	block_signals(SIG_BLOCK);
}

bool probe_progress_step(void *ctx, const char *what, uint64_t done, uint64_t total)
{
	struct probe_progress *p = ctx;
	sigset_t waiting;

	if (p->terminal && total > 0) {
		fprintf(stderr, "\r\033[K%s  %.0f %%", what, 100.0 * (double)done / (double)total);
		fflush(stderr);
		p->shown = true;
	}
	if (sigpending(&waiting) == 0 &&
	    (sigismember(&waiting, SIGINT) == 1 || sigismember(&waiting, SIGTERM) == 1 ||
	     sigismember(&waiting, SIGHUP) == 1))
		p->caught = true;
	return !p->caught;
}

/* A signal that was caught stays pending: the process ends with its own status. */
void probe_progress_end(struct probe_progress *progress)
{
	if (progress->shown)
		fprintf(stderr, "\r\033[K");
	if (!progress->caught)
		block_signals(SIG_UNBLOCK);
}

static bool link_is_slow(const struct facts *f)
{
	return f->stick_usb == FACT_YES && f->stick_usb_version >= 0x0300 && f->stick_speed_mbps &&
	       f->stick_speed_mbps <= 480;
}

static json_t *number(uint64_t value)
{
	return value ? json_integer((json_int_t)value) : json_null();
}

static json_t *seconds(uint64_t ns)
{
	return ns ? json_real((double)ns / 1e9) : json_null();
}

static json_t *text(const char *value)
{
	json_t *json = value ? json_string(value) : NULL;

	return json ? json : json_null();
}

/* What is used where nothing was found is said to be assumed. */
static const char *method_of(enum probe_method method)
{
	const char *name = probe_method_name(method);

	return name ? name : "assumed";
}

static uint64_t page_used(const struct probe_result *r)
{
	return r->page_bytes ? r->page_bytes : PROBE_ASSUMED_PAGE_BYTES;
}

static uint64_t unit_used(const struct probe_result *r)
{
	return r->erase_bytes ? r->erase_bytes : PROBE_ASSUMED_UNIT_BYTES;
}

/* As storage chooses it: whole units, at least 8 MiB. */
static uint64_t segment_used(const struct probe_result *r)
{
	uint64_t unit = unit_used(r), least = UINT64_C(8) << 20;

	return (least + unit - 1) / unit * unit;
}

static void add_link(json_t *json, const struct facts *f)
{
	json_object_set_new(json, "usb",
			    f->stick_usb == FACT_UNKNOWN ? json_null()
							 : json_boolean(f->stick_usb == FACT_YES));
	json_object_set_new(json, "link_mbps", number(f->stick_speed_mbps));
	json_object_set_new(json, "usb_version", number(f->stick_usb_version));
	json_object_set_new(json, "link_slow", json_boolean(link_is_slow(f)));
	json_object_set_new(json, "driver", text(f->stick_driver));
	json_object_set_new(json, "port", text(f->stick_port));
	json_object_set_new(json, "hubs", text(f->stick_hubs));
	json_object_set_new(json, "node", text(f->stick_node));
	json_object_set_new(json, "fs", text(f->stick_fs));
}

static void add_figures(json_t *json, const struct probe_result *r)
{
	json_object_set_new(json, "read_bytes_per_s", number(r->read_rate));
	json_object_set_new(json, "write_bytes_per_s", number(r->write_rate));
	json_object_set_new(json, "slow_write_bytes_per_s", number(r->slow_write_rate));
	json_object_set_new(json, "fast_cache_bytes", number(r->cache_bytes));
	json_object_set_new(json, "fast_cache_looked_bytes", number(r->cache_looked_bytes));
	json_object_set_new(json, "command_s", seconds(r->command_ns));
	json_object_set_new(json, "random_read_s", seconds(r->random_read_ns));
	json_object_set_new(json, "random_write_s", seconds(r->random_write_ns));
	json_object_set_new(json, "merge_s", seconds(r->merge_ns));
	json_object_set_new(json, "page_bytes", number(page_used(r)));
	json_object_set_new(json, "page_method", text(method_of(r->page_method)));
	json_object_set_new(json, "erase_unit_bytes", number(unit_used(r)));
	json_object_set_new(json, "erase_unit_method", text(method_of(r->erase_method)));
	json_object_set_new(json, "open_units", number(r->open_units));
	json_object_set_new(json, "open_units_more", json_boolean(r->open_units_more));
	json_object_set_new(json, "page_mapped", json_boolean(r->page_mapped));
	json_object_set_new(json, "written_bytes", json_integer((json_int_t)r->written_bytes));
}

static json_t *used_json(const struct probe_stick *probe)
{
	const struct probe_result *r = &probe->result;
	const struct measured *m = &probe->measured;

	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "segment_bytes", (json_int_t)segment_used(r),
			 "page_bytes", (json_int_t)page_used(r), "open_units",
			 (json_int_t)(r->open_units ? r->open_units : 1), "batch_bytes",
			 (json_int_t)measured_batch_bytes(m->write_rate), "unit_bytes",
			 (json_int_t)measured_unit_bytes(m->read_rate, m->random_read_us));
}

static json_t *history_json(const struct measured_history *history)
{
	json_t *array = json_array();

	for (size_t i = 0; i < history->count; i++) {
		const struct measured *e = &history->entries[i];
		json_t *entry = json_pack("{s:I}", "at", (json_int_t)e->at_s);

		for (const struct measured_field *f = measured_fields; f->name; f++)
			if (f->in_history)
				json_object_set_new(entry, f->name, number(measured_get(e, f)));
		json_array_append_new(array, entry);
	}
	return array;
}

json_t *probe_stick_json(const struct probe_stick *probe)
{
	const struct slower *s = &probe->slower;
	json_t *json =
		json_pack("{s:s, s:I, s:f, s:b, s:b, s:b, s:b}", "path", probe->facts.stick_path,
			  "at", (json_int_t)probe->result.at_s, "duration_s",
			  (double)probe->result.took_ns / 1e9, "full", probe->full, "direct",
			  probe->direct, "alignment_known", probe->aligned, "kept", probe->kept);

	add_link(json, &probe->facts);
	add_figures(json, &probe->result);
	json_object_set_new(json, "slower",
			    s->what ? json_pack("{s:s, s:I, s:I}", "what", s->what, "before",
						(json_int_t)s->before, "now", (json_int_t)s->now)
				    : json_null());
	json_object_set_new(json, "used", used_json(probe));
	json_object_set_new(json, "history", history_json(&probe->history));
	return json;
}

/* "-" where it is unknown. */
static const char *rate_text(uint64_t rate, char *buf, size_t bytes)
{
	if (rate == 0)
		return "-";
	snprintf(buf, bytes, rate < 10000000 ? "%.1f MB/s" : "%.0f MB/s", (double)rate / 1e6);
	return buf;
}

static const char *time_text(uint64_t ns, char *buf, size_t bytes)
{
	if (ns == 0)
		return "-";
	snprintf(buf, bytes, ns < 10000000 ? "%.2f ms" : "%.0f ms", (double)ns / 1e6);
	return buf;
}

static void row(struct ui_table *table, const char *what, const char *value, const char *meaning)
{
	const char *cells[] = {what, value, meaning};

	ui_table_row(table, cells);
}

static void link_rows(struct ui_table *table, const struct facts *f)
{
	char link[64], where[160];

	if (f->stick_usb != FACT_YES) {
		row(table, "link", f->stick_usb == FACT_NO ? "not USB" : "unknown", "");
		return;
	}
	snprintf(link, sizeof link, "%" PRIu64 " Mbit/s", f->stick_speed_mbps);
	snprintf(where, sizeof where, "%s, port %s%s%.90s",
		 f->stick_driver ? f->stick_driver : "no driver",
		 f->stick_port ? f->stick_port : "unknown",
		 f->stick_hubs && f->stick_hubs[0] ? ", behind " : "",
		 f->stick_hubs ? f->stick_hubs : "");
	row(table, "link", link, where);
}

static void rate_rows(struct ui_table *table, const struct probe_result *r)
{
	char buf[48], meaning[128];

	row(table, "reads in order", rate_text(r->read_rate, buf, sizeof buf), "");
	row(table, "writes in order", rate_text(r->write_rate, buf, sizeof buf),
	    r->write_rate ? "" : "nothing was written");
	if (r->cache_bytes) {
		char cache[32];

		snprintf(meaning, sizeof meaning, "behind the first %s, which a fast cache takes",
			 size_human(r->cache_bytes, cache, sizeof cache));
		row(table, "writes for long", rate_text(r->slow_write_rate, buf, sizeof buf),
		    meaning);
	} else if (r->cache_looked_bytes) {
		char looked[32];

		snprintf(meaning, sizeof meaning, "the rate did not fall within %s",
			 size_human(r->cache_looked_bytes, looked, sizeof looked));
		row(table, "writes for long", "as above", meaning);
	}
	row(table, "a command", time_text(r->command_ns, buf, sizeof buf),
	    "what each costs beside its data");
	row(table, "4 KiB read anywhere", time_text(r->random_read_ns, buf, sizeof buf), "");
	row(table, "4 KiB written anywhere", time_text(r->random_write_ns, buf, sizeof buf),
	    r->random_write_ns > 20000000 ? "why a log is written instead" : "");
}

static const char *how(enum probe_method method)
{
	switch (method) {
	case PROBE_BY_READS:
		return "reads across its borders take longer";
	case PROBE_BY_WRITES:
		return "writes at its borders take longer";
	case PROBE_UNKNOWN:
		break;
	}
	return "assumed: nothing shows it";
}

static void geometry_rows(struct ui_table *table, const struct probe_result *r)
{
	char buf[32], merge[32], meaning[96];

	row(table, "flash page", size_exact(page_used(r), buf, sizeof buf), how(r->page_method));
	row(table, "erase unit", size_exact(unit_used(r), buf, sizeof buf), how(r->erase_method));
	snprintf(buf, sizeof buf, "%" PRIu32 "%s", r->open_units,
		 r->open_units_more ? " or more" : "");
	snprintf(meaning, sizeof meaning, "one too many costs %s",
		 time_text(r->merge_ns, merge, sizeof merge));
	row(table, "open units", r->open_units ? buf : "-",
	    r->merge_ns	     ? meaning
	    : r->page_mapped ? "a page map: no merges"
	    : r->open_units  ? ""
			     : "only writing tells; 1 is used");
}

static void print_used(const struct probe_stick *probe)
{
	const struct measured *m = &probe->measured;
	uint64_t batch = measured_batch_bytes(m->write_rate);
	uint64_t unit = measured_unit_bytes(m->read_rate, m->random_read_us);
	char a[32], b[32], c[32], d[32];

	if (!probe->kept) {
		printf("\nThis was not kept%s.\n",
		       probe->direct ? ": the stick is not prepared (stickvm init)"
				     : ": the file system goes through this host's memory");
		return;
	}
	printf("\nKept on the stick. VMs that are created from now on: segments of %s, appends in "
	       "pages of %s.\n",
	       size_exact(segment_used(&probe->result), a, sizeof a),
	       size_exact(page_used(&probe->result), b, sizeof b));
	if (batch && unit)
		printf("All VMs: batches of up to %s, compressed units of up to %s.\n",
		       size_human(batch, c, sizeof c), size_human(unit, d, sizeof d));
}

static void print_slower(const struct slower *s)
{
	const char *what = strcmp(s->what, "write_rate") == 0  ? "Writing"
			   : strcmp(s->what, "read_rate") == 0 ? "Reading"
							       : "Reading here and there";
	bool rate = strcmp(s->what, "random_read_us") != 0;
	char before[48], now[48];

	if (rate) {
		rate_text(s->before, before, sizeof before);
		rate_text(s->now, now, sizeof now);
	} else {
		time_text(s->before * 1000, before, sizeof before);
		time_text(s->now * 1000, now, sizeof now);
	}
	printf("%s became slower: %s, and %s before (median of %zu). If it stays so when the stick "
	       "has rested and has free space, it is ageing: make a backup.\n",
	       what, now, before, s->earlier);
}

void probe_stick_print(const struct probe_stick *probe)
{
	static const char *const titles[] = {"WHAT", ">VALUE", "MEANING"};
	struct ui_table *table = ui_table_new(3, titles);
	const struct facts *f = &probe->facts;

	link_rows(table, f);
	rate_rows(table, &probe->result);
	geometry_rows(table, &probe->result);
	ui_table_print(table, stdout);
	print_used(probe);
	if (link_is_slow(f))
		printf("The stick can do USB %" PRIu64 ", but the link runs at %" PRIu64
		       " Mbit/s: try another port, cable or hub.\n",
		       f->stick_usb_version >> 8, f->stick_speed_mbps);
	if (probe->slower.what)
		print_slower(&probe->slower);
}
