/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history_json.c: writes a store's history as JSON. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stickvm/status_json.h"

#define DAY_S 86400

static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *seconds(uint64_t us)
{
	return json_real((double)us / 1e6);
}

static json_t *date(uint32_t day)
{
	time_t t = (time_t)day * DAY_S;
	struct tm tm;
	char text[32] = "";

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d", &tm);
	return json_string(text);
}

/* A host's name may be anything that lay on a stick. */
static json_t *host_text(const char *host)
{
	json_t *text = json_string(host);

	return text ? text : json_string("?");
}

static const char *ended_text(enum sv_ended ended)
{
	static const char *const words[] = {"not", "closed", "unclean"};

	return words[ended];
}

static json_t *span_json(const struct sv_span *s)
{
	json_t *o = json_pack("{so sI sI}", "date", date(s->day), "day", (json_int_t)s->day, "days",
			      (json_int_t)s->days);
	struct sv_counts counts = s->counts;

	for (const struct sv_counts_field *f = sv_counts_fields; f[1].name; f++)
		json_object_set_new(o, f->name, number(*sv_counts_at(&counts, f)));
	json_object_set_new(o, "write_seconds", seconds(counts.write_us));
	return o;
}

static json_t *session_json(const struct sv_past_session *s)
{
	return json_pack("{so so so ss so so}", "host", host_text(s->host), "since",
			 number(s->since_s), "until", number(s->until_s), "ended",
			 ended_text(s->ended), "guest_written_bytes",
			 number(s->guest_written_bytes), "stick_written_bytes",
			 number(s->stick_written_bytes));
}

static json_t *host_json(const struct sv_past_host *h)
{
	return json_pack("{so so so so so so}", "host", host_text(h->host), "sessions",
			 number(h->sessions), "unclean", number(h->unclean), "last",
			 number(h->last_s), "guest_written_bytes", number(h->guest_written_bytes),
			 "stick_written_bytes", number(h->stick_written_bytes));
}

static json_t *slow_json(const struct sv_slow *s)
{
	double mean = s->writes ? (double)s->total_us / 1e6 / (double)s->writes : 0;

	return json_pack("{sI so so so so sf so}", "segment", (json_int_t)s->segment, "date",
			 date(s->day), "writes", number(s->writes), "bytes", number(s->bytes),
			 "total_seconds", seconds(s->total_us), "mean_seconds", mean,
			 "worst_seconds", seconds(s->worst_us));
}

static json_t *history_object(const struct sv_history *h)
{
	json_t *spans = json_array(), *sessions = json_array();
	json_t *hosts = json_array(), *slows = json_array();

	for (uint32_t i = 0; i < h->spans; i++)
		json_array_append_new(spans, span_json(&h->span[i]));
	for (uint32_t i = 0; i < h->sessions; i++)
		json_array_append_new(sessions, session_json(&h->session[i]));
	for (uint32_t i = 0; i < h->hosts; i++)
		json_array_append_new(hosts, host_json(&h->host[i]));
	for (uint32_t i = 0; i < h->slows; i++)
		json_array_append_new(slows, slow_json(&h->slow[i]));
	return json_pack("{so so so so so}", "since", number(h->since_s), "spans", spans,
			 "sessions", sessions, "hosts", hosts, "slow_segments", slows);
}

int sv_history_json(const struct sv_history *history, char **ret_text)
{
	json_t *object = history_object(history);
	char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

	json_decref(object);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}
