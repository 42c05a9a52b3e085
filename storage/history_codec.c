/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history_codec.c: encode and decode of the record that a root carries the history in. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "history.h"

static uint32_t record_bytes(const struct sv_history *h)
{
	return SV_HISTORY_FIXED_BYTES + h->spans * SV_HISTORY_SPAN_BYTES +
	       h->sessions * SV_HISTORY_SESSION_BYTES + h->hosts * SV_HISTORY_HOST_BYTES +
	       h->slows * SV_HISTORY_SLOW_BYTES;
}

/* The two oldest spans become one; false where there is one only. */
static bool join_oldest(struct sv_history *h)
{
	struct sv_span add;

	if (h->spans < 2)
		return false;
	add = h->span[0];
	memmove(&h->span[0], &h->span[1], --h->spans * sizeof(add));
	add.days = h->span[0].day - add.day + 1; /* reaches into the next: they join */
	sv_history_add_span(h, &add, 0);
	return true;
}

uint32_t sv_history_fit(struct sv_history *h, uint32_t limit)
{
	while (record_bytes(h) > limit) {
		if (h->sessions > 1) {
			memmove(&h->session[0], &h->session[1],
				--h->sessions * sizeof(h->session[0]));
		} else if (h->slows) {
			h->slows--;
		} else if (!join_oldest(h)) {
			break; /* SV_HISTORY_LEAST_BYTES */
		}
	}
	return record_bytes(h);
}

static void put_counts(struct sv_cur *c, const struct sv_counts *counts)
{
	struct sv_counts copy = *counts;

	for (const struct sv_counts_field *f = sv_counts_fields; f->name; f++)
		sv_put64(c, *sv_counts_at(&copy, f));
}

static void get_counts(struct sv_cur *c, struct sv_counts *counts)
{
	for (const struct sv_counts_field *f = sv_counts_fields; f->name; f++)
		*sv_counts_at(counts, f) = sv_get64(c);
}

static void get_host(struct sv_cur *c, char host[SV_HOST_BYTES])
{
	sv_get_bytes(c, host, SV_HOST_BYTES);
	host[SV_HOST_BYTES - 1] = '\0';
}

static void put_session(struct sv_cur *c, const struct sv_past_session *s)
{
	sv_put_bytes(c, s->host, SV_HOST_BYTES);
	sv_put64(c, s->since_s);
	sv_put64(c, s->until_s);
	sv_put64(c, s->ended);
	sv_put64(c, s->guest_written_bytes);
	sv_put64(c, s->stick_written_bytes);
}

static void get_session(struct sv_cur *c, struct sv_past_session *s)
{
	uint64_t ended;

	get_host(c, s->host);
	s->since_s = sv_get64(c);
	s->until_s = sv_get64(c);
	ended = sv_get64(c);
	c->bad |= ended > SV_ENDED_UNCLEAN;
	s->ended = c->bad ? SV_ENDED_NOT : (enum sv_ended)ended;
	s->guest_written_bytes = sv_get64(c);
	s->stick_written_bytes = sv_get64(c);
}

static void put_host(struct sv_cur *c, const struct sv_past_host *p)
{
	sv_put_bytes(c, p->host, SV_HOST_BYTES);
	sv_put64(c, p->sessions);
	sv_put64(c, p->unclean);
	sv_put64(c, p->guest_written_bytes);
	sv_put64(c, p->stick_written_bytes);
	sv_put64(c, p->last_s);
}

static void get_past_host(struct sv_cur *c, struct sv_past_host *p)
{
	get_host(c, p->host);
	p->sessions = sv_get64(c);
	p->unclean = sv_get64(c);
	p->guest_written_bytes = sv_get64(c);
	p->stick_written_bytes = sv_get64(c);
	p->last_s = sv_get64(c);
}

static void put_slow(struct sv_cur *c, const struct sv_slow *s)
{
	sv_put32(c, s->segment);
	sv_put32(c, s->day);
	sv_put64(c, s->writes);
	sv_put64(c, s->bytes);
	sv_put64(c, s->total_us);
	sv_put64(c, s->worst_us);
}

static void get_slow(struct sv_cur *c, struct sv_slow *s)
{
	s->segment = sv_get32(c);
	s->day = sv_get32(c);
	s->writes = sv_get64(c);
	s->bytes = sv_get64(c);
	s->total_us = sv_get64(c);
	s->worst_us = sv_get64(c);
}

void sv_history_put(struct sv_cur *c, const struct sv_history *h)
{
	sv_put8(c, SV_REC_HISTORY);
	sv_put8(c, 0);
	sv_put16(c, 0);
	sv_put32(c, record_bytes(h));
	sv_put16(c, (uint16_t)h->spans);
	sv_put16(c, (uint16_t)h->sessions);
	sv_put16(c, (uint16_t)h->hosts);
	sv_put16(c, (uint16_t)h->slows);
	sv_put64(c, h->since_s);
	put_counts(c, &h->as_of);
	for (uint32_t i = 0; i < h->spans; i++) {
		sv_put32(c, h->span[i].day);
		sv_put32(c, h->span[i].days);
		put_counts(c, &h->span[i].counts);
	}
	for (uint32_t i = 0; i < h->sessions; i++)
		put_session(c, &h->session[i]);
	for (uint32_t i = 0; i < h->hosts; i++)
		put_host(c, &h->host[i]);
	for (uint32_t i = 0; i < h->slows; i++)
		put_slow(c, &h->slow[i]);
}

/* Sorted, not overlapping, of this age (H3). */
static bool spans_sane(const struct sv_history *h)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < h->spans; i++) {
		const struct sv_span *s = &h->span[i];

		if (!s->days || s->day < end || (uint64_t)s->day + s->days > UINT32_MAX)
			return false;
		end = (uint64_t)s->day + s->days;
	}
	return true;
}

/* No two have the same name, or there would be no room for another (H4). */
static bool hosts_sane(const struct sv_history *h)
{
	for (uint32_t i = 0; i < h->hosts; i++)
		for (uint32_t k = 0; k < i; k++)
			if (strcmp(h->host[i].host, h->host[k].host) == 0)
				return false;
	return true;
}

static int get_all(struct sv_cur *c, struct sv_history *h)
{
	h->begun = true;
	h->spans = sv_get16(c);
	h->sessions = sv_get16(c);
	h->hosts = sv_get16(c);
	h->slows = sv_get16(c);
	h->since_s = sv_get64(c);
	get_counts(c, &h->as_of);
	if (c->bad || h->spans > SV_HISTORY_SPANS || h->sessions > SV_HISTORY_SESSIONS ||
	    h->hosts > SV_HISTORY_HOSTS || h->slows > SV_HISTORY_SLOW)
		return -EBADMSG;
	for (uint32_t i = 0; i < h->spans; i++) {
		h->span[i].day = sv_get32(c);
		h->span[i].days = sv_get32(c);
		get_counts(c, &h->span[i].counts);
	}
	for (uint32_t i = 0; i < h->sessions; i++)
		get_session(c, &h->session[i]);
	for (uint32_t i = 0; i < h->hosts; i++)
		get_past_host(c, &h->host[i]);
	for (uint32_t i = 0; i < h->slows; i++)
		get_slow(c, &h->slow[i]);
	return c->bad || !spans_sane(h) || !hosts_sane(h) ? -EBADMSG : 0;
}

int sv_history_get(struct sv_cur *c, struct sv_history *ret_hist)
{
	struct sv_history *h = calloc(1, sizeof(*h));
	int r = h ? get_all(c, h) : -ENOMEM;

	if (r == 0)
		*ret_hist = *h;
	free(h);
	return r;
}
