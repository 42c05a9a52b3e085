/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wear_html.c: the page of `wear --html`, from the JSON of `wear --json` and nothing else.
 *
 * It is one file that any browser opens from the stick: styles and plots are inside, there is no
 * script, and a policy in it (default-src 'none') forbids the browser to load anything. Each
 * figure stands in an element with data-key (its key in the JSON) and data-value (as it is there).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "size.h"
#include "wear_plot.h"
#include "wear_report.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	"style-src 'unsafe-inline'\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<title>Wear of the stick</title>\n<style>\n"
	":root{color-scheme:light dark;--line:#8886;--ink:#2f6fab}\n"
	"body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:1rem auto;padding:0 1rem}\n"
	"h2{font-size:1.15rem;margin:2rem 0 .3rem}\n"
	"p{margin:.3rem 0}\n"
	"svg{width:100%;height:auto;font:12px system-ui,sans-serif;fill:currentColor}\n"
	".g{stroke:var(--line)}.l{fill:none;stroke:var(--ink);stroke-width:1.5}\n"
	".d{fill:var(--ink)}.frame{fill:none;stroke:var(--line)}\n"
	".legend span{margin-right:1rem;white-space:nowrap}\n"
	".legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem}\n"
	"table{border-collapse:collapse;margin:.5rem 0}\n"
	"td,th{padding:.15rem .8rem .15rem 0;text-align:left;border-bottom:1px solid var(--line)}\n"
	"td.n,th.n{text-align:right}\n"
	"li{margin:.3rem 0}\n"
	"</style>\n</head>\n<body>\n";

static json_int_t integer(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

/* Times are UTC here: the page is read elsewhere. */
static void put_time(FILE *out, json_int_t at_s)
{
	time_t t = (time_t)at_s;
	char text[40] = "-";
	struct tm tm;

	if (at_s > 0 && gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm);
	fputs(text, out);
}

/* ---- tables ---- */

static void cell(FILE *out, const char *key, const json_t *value, const char *shown)
{
	char *exact = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));

	fprintf(out, "<td class=\"n\" data-key=\"%s\" data-value=\"", key);
	html_text(out, exact);
	fprintf(out, "\">%s</td>", shown);
	free(exact);
}

static void bytes_cell(FILE *out, const json_t *row, const char *key)
{
	char text[32];

	cell(out, key, json_object_get(row, key),
	     size_human((uint64_t)integer(row, key), text, sizeof(text)));
}

static void count_cell(FILE *out, const json_t *row, const char *key)
{
	char text[32];

	snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, integer(row, key));
	cell(out, key, json_object_get(row, key), text);
}

static void seconds_cell(FILE *out, const json_t *row, const char *key)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f s", json_number_value(json_object_get(row, key)));
	cell(out, key, json_object_get(row, key), text);
}

static void percent_cell(FILE *out, const json_t *row, const char *key)
{
	char text[32];

	snprintf(text, sizeof(text), "%.4g %%", 100 * json_number_value(json_object_get(row, key)));
	cell(out, key, json_object_get(row, key), text);
}

static void text_cell(FILE *out, const char *text)
{
	fputs("<td>", out);
	html_text(out, text);
	fputs("</td>", out);
}

static void time_cell(FILE *out, const json_t *row, const char *key)
{
	fputs("<td>", out);
	put_time(out, integer(row, key));
	fputs("</td>", out);
}

/* "name#1a2b" without what tells hosts of one name apart. */
static const char *host_name(const json_t *row, char *buf, size_t buf_bytes)
{
	const char *host = text_of(row, "host");

	snprintf(buf, buf_bytes, "%.*s", (int)strcspn(host, "#"), host);
	return buf[0] ? buf : "unknown, and others";
}

/* ---- sections ---- */

static void put_counters(FILE *out, const json_t *report)
{
	fputs("<h2>In all</h2>\n<table id=\"totals\">\n", out);
	for (const struct ledger_field *f = ledger_fields; f->name; f++) {
		fprintf(out, "<tr><td>%s</td>", f->help);
		if (f->bytes)
			bytes_cell(out, report, f->name);
		else if (f[1].name)
			count_cell(out, report, f->name);
		else
			time_cell(out, report, f->name);
		fputs("</tr>\n", out);
	}
	fputs("</table>\n", out);
}

static void put_life(FILE *out, const json_t *report)
{
	const json_t *low = json_object_get(report, "life_used_low");
	const json_t *high = json_object_get(report, "life_used_high");
	const json_t *assumed = json_object_get(report, "assumed");

	fputs("<h2>Life left</h2>\n", out);
	if (!json_is_number(low) || !json_is_number(high)) {
		fputs("<p>The size of the stick is not known, so nothing is said of it.</p>\n",
		      out);
		return;
	}
	plot_life(out, json_number_value(low), json_number_value(high));
	fputs("<table id=\"life\"><tr><th></th><th class=\"n\">if its cells are good</th>"
	      "<th class=\"n\">if they are poor</th></tr>\n<tr><td>used</td>",
	      out);
	percent_cell(out, report, "life_used_low");
	percent_cell(out, report, "life_used_high");
	fputs("</tr>\n<tr><td>left</td>", out);
	percent_cell(out, report, "life_left_high");
	percent_cell(out, report, "life_left_low");
	fprintf(out,
		"</tr></table>\n<p>Nobody but its maker knows how much a stick endures, so this is "
		"an interval: bytes to the stick / its size, over %.0f cycles with each byte "
		"programmed %.0f time, and over %.0f with each programmed %.0f times. Only the "
		"orange part is in doubt.</p>\n",
		json_number_value(json_object_get(assumed, "cycles_high")),
		json_number_value(json_object_get(assumed, "device_amplification_low")),
		json_number_value(json_object_get(assumed, "cycles_low")),
		json_number_value(json_object_get(assumed, "device_amplification_high")));
}

static void put_advice(FILE *out, const json_t *report)
{
	json_t *line;
	size_t i;

	fputs("<h2>What it means</h2>\n<ul>\n", out);
	json_array_foreach(json_object_get(report, "advice"), i, line)
	{
		fputs("<li>", out);
		html_text(out, json_string_value(line));
		fputs("</li>\n", out);
	}
	fputs("</ul>\n", out);
}

static void put_days_table(FILE *out, const json_t *spans)
{
	json_t *span;
	size_t i;

	fputs("<details><summary>These figures as a table</summary><table id=\"days\">\n"
	      "<tr><th>from</th><th class=\"n\">days</th><th class=\"n\">guests wrote</th>"
	      "<th class=\"n\">to the stick</th>",
	      out);
	for (const struct plot_cause *c = plot_causes; c->key; c++)
		fprintf(out, "<th class=\"n\">%s</th>", c->name);
	fputs("</tr>\n", out);
	json_array_foreach((json_t *)spans, i, span)
	{
		fputs("<tr>", out);
		text_cell(out, text_of(span, "date"));
		count_cell(out, span, "days");
		bytes_cell(out, span, "guest_written_bytes");
		bytes_cell(out, span, "stick_written_bytes");
		for (const struct plot_cause *c = plot_causes; c->key; c++)
			bytes_cell(out, span, c->key);
		fputs("</tr>\n", out);
	}
	fputs("</table></details>\n", out);
}

static void put_days(FILE *out, const json_t *report)
{
	const json_t *spans = json_object_get(json_object_get(report, "history"), "spans");

	if (json_array_size(spans) == 0) {
		fputs("<h2>Written by day</h2>\n<p>Nothing was written yet.</p>\n", out);
		return;
	}
	fputs("<h2>Written to the stick a day, by cause</h2>\n<p>A bar is a day; days older than "
	      "90 days are kept as weeks, older than a year as four weeks, and their bar is the "
	      "mean day. Days (UTC) without a session have none.</p>\n",
	      out);
	plot_days(out, spans);
	put_days_table(out, spans);
	fputs("<h2>Bytes to the stick for each byte that guests wrote</h2>\n", out);
	plot_quotient(out, spans, "stick_written_bytes", "guest_written_bytes", 1, "");
	fputs("<h2>How fast the stick took them</h2>\n<p>A stick that ages becomes slower; so does "
	      "one in a slower port.</p>\n",
	      out);
	plot_quotient(out, spans, "stick_written_bytes", "write_seconds", 1e-6, " MB/s");
}

static void put_slow(FILE *out, const json_t *report)
{
	json_t *slow = json_object_get(report, "slow_segments"), *one;
	json_t *rows = json_array();
	size_t i;

	if (json_array_size(slow) == 0) {
		json_decref(rows);
		return;
	}
	json_array_foreach(slow, i, one)
	{
		char label[128];

		snprintf(label, sizeof(label), "%.60s, segment %" JSON_INTEGER_FORMAT,
			 text_of(one, "vm"), integer(one, "segment"));
		json_array_append_new(rows, json_pack("{ss sO}", "label", label, "worst",
						      json_object_get(one, "worst_seconds")));
	}
	fputs("<h2>Slowest segments</h2>\n<p>The longest that a single write to each took.</p>\n",
	      out);
	plot_bars(out, rows, "label", "worst", NULL, " s");
	json_decref(rows);
	fputs("<table id=\"slow\"><tr><th>VM</th><th class=\"n\">segment</th><th>on</th>"
	      "<th class=\"n\">writes</th><th class=\"n\">mean</th><th class=\"n\">worst</th>"
	      "</tr>\n",
	      out);
	json_array_foreach(slow, i, one)
	{
		fputs("<tr>", out);
		text_cell(out, text_of(one, "vm"));
		count_cell(out, one, "segment");
		text_cell(out, text_of(one, "date"));
		count_cell(out, one, "writes");
		seconds_cell(out, one, "mean_seconds");
		seconds_cell(out, one, "worst_seconds");
		fputs("</tr>\n", out);
	}
	fputs("</table>\n", out);
}

static void put_hosts(FILE *out, const json_t *report)
{
	json_t *hosts = json_object_get(report, "hosts"), *rows = json_deep_copy(hosts), *one;
	char name[80];
	size_t i;

	json_array_foreach(rows, i, one)
		json_object_set_new(one, "host", json_string(host_name(one, name, sizeof(name))));
	fputs("<h2>Sessions by host</h2>\n<p class=\"legend\"><span>"
	      "<i style=\"background:#2f6fab\"></i>sessions</span><span>"
	      "<i style=\"background:#b5403a\"></i>of these, not ended cleanly</span></p>\n",
	      out);
	plot_bars(out, rows, "host", "sessions", "unclean", "");
	fputs("<table id=\"hosts\"><tr><th>host</th><th class=\"n\">sessions</th>"
	      "<th class=\"n\">unclean</th><th class=\"n\">guests wrote</th>"
	      "<th class=\"n\">to the stick</th><th>last (UTC)</th></tr>\n",
	      out);
	json_array_foreach(rows, i, one)
	{
		fputs("<tr>", out);
		text_cell(out, text_of(one, "host"));
		count_cell(out, one, "sessions");
		count_cell(out, one, "unclean");
		bytes_cell(out, one, "guest_written_bytes");
		bytes_cell(out, one, "stick_written_bytes");
		time_cell(out, one, "last");
		fputs("</tr>\n", out);
	}
	fputs("</table>\n", out);
	json_decref(rows);
}

static void put_sessions(FILE *out, const json_t *report)
{
	json_t *sessions = json_object_get(report, "recent_sessions");

	fputs("<h2>The last sessions</h2>\n<table id=\"sessions\"><tr><th>host</th>"
	      "<th>since (UTC)</th><th>last write</th><th>ended</th>"
	      "<th class=\"n\">guests wrote</th><th class=\"n\">to the stick</th></tr>\n",
	      out);
	for (size_t i = json_array_size(sessions); i-- > 0;) {
		const json_t *one = json_array_get(sessions, i);
		const char *ended = text_of(one, "ended");
		char name[80];

		fputs("<tr>", out);
		text_cell(out, host_name(one, name, sizeof(name)));
		time_cell(out, one, "since");
		time_cell(out, one, "until");
		text_cell(out, strcmp(ended, "not") == 0 ? "runs, or was cut off" : ended);
		bytes_cell(out, one, "guest_written_bytes");
		bytes_cell(out, one, "stick_written_bytes");
		fputs("</tr>\n", out);
	}
	fputs("</table>\n", out);
}

char *wear_html(const json_t *report)
{
	bool whole = strcmp(text_of(report, "scope"), "stick") == 0;
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (!out)
		return NULL;
	fputs(head, out);
	fputs("<h1>", out);
	html_text(out, whole ? "Wear of the stick"
			     : text_of(json_array_get(json_object_get(report, "vms"), 0), "name"));
	fputs("</h1>\n<p>", out);
	html_text(out, text_of(report, "stick"));
	fputs(", as of ", out);
	put_time(out, integer(report, "generated"));
	fputs(" UTC</p>\n", out);
	if (whole)
		put_life(out, report);
	put_advice(out, report);
	put_days(out, report);
	put_slow(out, report);
	put_hosts(out, report);
	put_sessions(out, report);
	put_counters(out, report);
	fputs("</body>\n</html>\n", out);
	return fclose(out) == 0 ? text : NULL;
}
