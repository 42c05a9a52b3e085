/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_advice.c: what the figures of `wear` mean, and what to do about them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "size.h"
#include "wear_report.h"

/*
 * A rule looks at the figures and says at most one line. The order is that of urgency. Nothing is
 * said that the figures do not show: of a life that is not known there is no word of comfort.
 */
#define MUCH_AMPLIFICATION 3.0
#define MANY_BYTES (UINT64_C(1) << 30) /* below, ratios say nothing yet */
#define SLOW_SECONDS 1.0

static void say(json_t *lines, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(json_t *lines, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_array_append_new(lines, json_string(text));
}

static double real(const json_t *report, const char *key)
{
	return json_number_value(json_object_get(report, key));
}

static bool known(const json_t *report, const char *key)
{
	return json_is_number(json_object_get(report, key));
}

static const char *human(double bytes, char *buf, size_t buf_bytes)
{
	return size_human((uint64_t)bytes, buf, buf_bytes);
}

static void on_life(const json_t *report, json_t *lines)
{
	if (!known(report, "life_used_high"))
		say(lines, "The size of the stick is not known, so nothing is said of its life.");
	else if (real(report, "life_used_low") >= 1)
		say(lines, "Even good cells are worn out by this much. Replace the stick: back up "
			   "now, and move the VMs to another one.");
	else if (real(report, "life_used_high") >= 1)
		say(lines, "A stick of poor cells would be worn out by now, one of good cells is "
			   "not. Keep a backup, and take slow segments or errors as a reason to "
			   "replace it.");
	else if (real(report, "life_used_high") >= 0.5)
		say(lines, "More than half of a poor stick's life is used. Keep backups.");
	else
		say(lines, "The stick is far from worn out, even if its cells are poor ones.");
}

static void on_pace(const json_t *report, json_t *lines)
{
	char text[32], many[32];
	double high = real(report, "years_left_high");

	if (!known(report, "years_left_low"))
		return;
	snprintf(many, sizeof(many), high >= 100 ? "over 100" : "%.3g", high);
	say(lines,
	    "At the pace of the last %.0f days (%s a day) it lasts between %.2g and %s more years.",
	    real(report, "pace_days"), human(real(report, "pace_bytes_per_day"), text, 32),
	    real(report, "years_left_low"), many);
}

/* The largest of what is not guest data, and what makes it less. */
static void on_amplification(const json_t *report, json_t *lines)
{
	static const struct {
		const char *key, *what;
	} causes[] = {
		{"padding_bytes",
		 "padding: the guest flushes often and little at a time. A disk on a raw partition "
		 "('create --place') pads less; databases and browsers can be told to sync less"},
		{"cleaner_bytes", "the cleaner: the stick is nearly full. Delete what is not "
				  "needed and run fstrim in the guest"},
		{"metadata_bytes", "metadata: small writes all over the disk. Let the guest gather "
				   "them (noatime, fewer logs)"},
		{"convert_bytes",
		 "preparing segments on the host's file system: it ends when all of them were "
		 "written once. A raw partition has none of it"},
		{"state_bytes", "suspended machines: shut down instead of suspending now and then"},
	};
	size_t worst = 0;

	if (real(report, "write_amplification") < MUCH_AMPLIFICATION ||
	    real(report, "stick_written_bytes") < (double)MANY_BYTES)
		return;
	for (size_t i = 1; i < sizeof(causes) / sizeof(causes[0]); i++)
		if (real(report, causes[i].key) > real(report, causes[worst].key))
			worst = i;
	say(lines, "Much more is written than guests write, most of it for %s.",
	    causes[worst].what);
}

static void on_unclean(const json_t *report, json_t *lines)
{
	double unclean = real(report, "unclean_detaches"), all = real(report, "sessions");

	if (unclean >= 3 && unclean * 5 >= all)
		say(lines,
		    "%.0f of %.0f sessions did not end cleanly: end them with 'stickvm stop', and "
		    "unplug the stick only then.",
		    unclean, all);
}

static void on_slow(const json_t *report, json_t *lines)
{
	const json_t *slow = json_array_get(json_object_get(report, "slow_segments"), 0);
	double worst = real(slow, "worst_seconds");

	if (worst >= SLOW_SECONDS)
		say(lines,
		    "The slowest write took %.1f s (segment %.0f of %s). One alone means little; "
		    "when they become more from month to month, the stick is ageing.",
		    worst, real(slow, "segment"), json_string_value(json_object_get(slow, "vm")));
}

static void on_undated(const json_t *report, json_t *lines)
{
	double bytes = real(json_object_get(report, "history"), "undated_stick_written_bytes");
	char text[32];

	if (bytes * 100 >= real(report, "stick_written_bytes") && bytes > 0)
		say(lines,
		    "Of %s it is not known when they were written (before there was a history, by "
		    "disks that were removed by hand, or by one that is in use elsewhere).",
		    human(bytes, text, sizeof(text)));
}

json_t *wear_advice(const json_t *report)
{
	json_t *lines = json_array();

	if (strcmp(json_string_value(json_object_get(report, "scope")), "stick") == 0) {
		on_life(report, lines);
		on_pace(report, lines);
	}
	on_amplification(report, lines);
	on_unclean(report, lines);
	on_slow(report, lines);
	on_undated(report, lines);
	say(lines, "Writes to the stick by others than stickvm are not seen here. After a crash "
		   "or a pull the counters may lack what was written since the last batch that "
		   "reached the stick (at most some seconds).");
	return lines;
}
