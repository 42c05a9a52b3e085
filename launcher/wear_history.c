/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_history.c: histories of stores as JSON, and as lines of the stick's own file. */
#include "wear_history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stickvm/status_json.h"
#include "ydoc.h"

#define DAY_S 86400

uint32_t history_today(void)
{
	return (uint32_t)(time(NULL) / DAY_S);
}

json_t *history_to_json(const struct sv_history *history)
{
	char *text;
	json_t *json;

	if (sv_history_json(history, &text) < 0)
		return NULL;
	json = json_loads(text, 0, NULL);
	free(text);
	return json;
}

/* ---- from JSON ---- */

static uint64_t number(const json_t *json, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(json, key));

	return n > 0 ? (uint64_t)n : 0;
}

static uint64_t microseconds(const json_t *json, const char *key)
{
	double s = json_number_value(json_object_get(json, key));

	return s > 0 && s < 1e12 ? (uint64_t)(s * 1e6 + 0.5) : 0;
}

static void copy_host(char host[64], const char *text)
{
	memset(host, 0, 64); /* what is behind the text is written, too */
	snprintf(host, 64, "%s", text ? text : "");
}

static void take_span(struct sv_history *h, const json_t *json)
{
	struct sv_span s = {.day = (uint32_t)number(json, "day"),
			    .days = (uint32_t)number(json, "days")};

	for (const struct sv_counts_field *f = sv_counts_fields; f[1].name; f++)
		*sv_counts_at(&s.counts, f) = number(json, f->name);
	s.counts.write_us = microseconds(json, "write_seconds");
	sv_history_add_span(h, &s, 0);
}

static enum sv_ended ended_of(const char *text)
{
	if (text && strcmp(text, "closed") == 0)
		return SV_ENDED_CLOSED;
	return text && strcmp(text, "unclean") == 0 ? SV_ENDED_UNCLEAN : SV_ENDED_NOT;
}

static void take_session(struct sv_history *h, const json_t *json)
{
	struct sv_past_session s = {
		.since_s = number(json, "since"),
		.until_s = number(json, "until"),
		.ended = ended_of(json_string_value(json_object_get(json, "ended"))),
		.guest_written_bytes = number(json, "guest_written_bytes"),
		.stick_written_bytes = number(json, "stick_written_bytes")};

	copy_host(s.host, json_string_value(json_object_get(json, "host")));
	sv_history_add_session(h, &s);
}

static void take_host(struct sv_history *h, const json_t *json)
{
	struct sv_past_host p = {.sessions = number(json, "sessions"),
				 .unclean = number(json, "unclean"),
				 .guest_written_bytes = number(json, "guest_written_bytes"),
				 .stick_written_bytes = number(json, "stick_written_bytes"),
				 .last_s = number(json, "last")};

	copy_host(p.host, json_string_value(json_object_get(json, "host")));
	sv_history_add_host(h, &p);
}

static void take_slow(struct sv_history *h, const json_t *json)
{
	if (h->slows == SV_HISTORY_SLOW)
		return;
	h->slow[h->slows++] = (struct sv_slow){.segment = (uint32_t)number(json, "segment"),
					       .writes = number(json, "writes"),
					       .bytes = number(json, "bytes"),
					       .total_us = microseconds(json, "total_seconds"),
					       .worst_us = microseconds(json, "worst_seconds")};
}

bool history_from_json(const json_t *json, struct sv_history *ret_history)
{
	static const struct {
		const char *key;
		void (*take)(struct sv_history *h, const json_t *json);
	} parts[] = {{"spans", take_span},
		     {"sessions", take_session},
		     {"hosts", take_host},
		     {"slow_segments", take_slow}};
	size_t i;
	json_t *one;

	if (!json_is_integer(json_object_get(json, "since")))
		return false;
	memset(ret_history, 0, sizeof(*ret_history));
	ret_history->begun = true;
	ret_history->since_s = number(json, "since");
	for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++)
		json_array_foreach(json_object_get(json, parts[k].key), i, one) parts[k].take(
			ret_history, one);
	return true;
}

/* ---- lines ---- */

static void print_name(FILE *out, const char *numbers, const char *host)
{
	char line[256];
	char *quoted;

	snprintf(line, sizeof(line), "%s %s", numbers, host);
	quoted = ydoc_quote(line);
	fprintf(out, "%s\n", quoted ? quoted : "0");
	free(quoted);
}

static void print_spans(FILE *out, const struct sv_history *h, int indent)
{
	for (uint32_t i = 0; i < h->spans; i++) {
		struct sv_counts counts = h->span[i].counts;

		fprintf(out, "%*sd%" PRIu32 "x%" PRIu32 ":", indent, "", h->span[i].day,
			h->span[i].days);
		for (const struct sv_counts_field *f = sv_counts_fields; f->name; f++)
			fprintf(out, " %" PRIu64, *sv_counts_at(&counts, f));
		fputc('\n', out);
	}
}

void history_print(FILE *out, const struct sv_history *h, int indent)
{
	char numbers[160];

	fprintf(out, "%*ssince: %" PRIu64 "\n", indent, "", h->since_s);
	print_spans(out, h, indent);
	for (uint32_t i = 0; i < h->hosts; i++) {
		const struct sv_past_host *p = &h->host[i];

		snprintf(numbers, sizeof(numbers),
			 "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, p->sessions,
			 p->unclean, p->guest_written_bytes, p->stick_written_bytes, p->last_s);
		fprintf(out, "%*shost%" PRIu32 ": ", indent, "", i);
		print_name(out, numbers, p->host);
	}
	for (uint32_t i = 0; i < h->sessions; i++) {
		const struct sv_past_session *s = &h->session[i];

		snprintf(numbers, sizeof(numbers),
			 "%" PRIu64 " %" PRIu64 " %d %" PRIu64 " %" PRIu64, s->since_s, s->until_s,
			 (int)s->ended, s->guest_written_bytes, s->stick_written_bytes);
		fprintf(out, "%*ssession%" PRIu32 ": ", indent, "", i);
		print_name(out, numbers, s->host);
	}
}

/* The next number of a line; false where there is none. */
static bool next(const char **at, uint64_t *ret_number)
{
	char *end;

	*at += strspn(*at, " ");
	if (**at < '0' || **at > '9')
		return false;
	*ret_number = strtoull(*at, &end, 10);
	*at = end;
	return true;
}

static bool take_numbers(const char **at, uint64_t *numbers, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!next(at, &numbers[i]))
			return false;
	*at += **at == ' ';
	return true;
}

static bool take_span_line(struct sv_history *h, const char *key, const char *value)
{
	struct sv_span s;
	int end = 0;

	if (sscanf(key, "d%10" SCNu32 "x%10" SCNu32 "%n", &s.day, &s.days, &end) != 2 || key[end])
		return false;
	for (const struct sv_counts_field *f = sv_counts_fields; f->name; f++)
		if (!next(&value, sv_counts_at(&s.counts, f)))
			return false;
	sv_history_add_span(h, &s, 0);
	return true;
}

static bool take_host_line(struct sv_history *h, const char *value)
{
	struct sv_past_host p;
	uint64_t n[5];

	if (!take_numbers(&value, n, 5))
		return false;
	p = (struct sv_past_host){.sessions = n[0],
				  .unclean = n[1],
				  .guest_written_bytes = n[2],
				  .stick_written_bytes = n[3],
				  .last_s = n[4]};
	copy_host(p.host, value);
	sv_history_add_host(h, &p);
	return true;
}

static bool take_session_line(struct sv_history *h, const char *value)
{
	struct sv_past_session s;
	uint64_t n[5];

	if (!take_numbers(&value, n, 5) || n[2] > SV_ENDED_UNCLEAN)
		return false;
	s = (struct sv_past_session){.since_s = n[0],
				     .until_s = n[1],
				     .ended = (enum sv_ended)n[2],
				     .guest_written_bytes = n[3],
				     .stick_written_bytes = n[4]};
	copy_host(s.host, value);
	sv_history_add_session(h, &s);
	return true;
}

bool history_take(struct sv_history *h, const char *key, const char *value)
{
	h->begun = true;
	if (strcmp(key, "since") == 0)
		return next(&value, &h->since_s) && !*value;
	if (strncmp(key, "host", 4) == 0)
		return take_host_line(h, value);
	if (strncmp(key, "session", 7) == 0)
		return take_session_line(h, value);
	return take_span_line(h, key, value);
}
