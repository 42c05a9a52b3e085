/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * history.c: the days, sessions and hosts of a store, as the chain tells them.
 *
 * Every header carries the ledger and the time, so the history follows from the headers; a root
 * carries it as far as it has come, since the headers before it are cleaned away.
 *
 * H1  What is in memory is what recovery finds: both take the same batches, one by one
 *     (sv_history_take). So a crash loses what no header tells: the bytes since the last batch
 *     that recovery accepts (those of the guest are lost with it), and, since no ledger has it,
 *     the time that writes took since the last root.
 * H2  The sum over the spans is the ledger's growth since `since_s`. Ageing adds spans up; it
 *     never drops one.
 * H3  Spans are sorted and do not overlap, whatever the clocks of the hosts say: a day is put
 *     where it belongs, also when it is older than others or in the future.
 * H4  All of it is bounded. Where there is no room: the two oldest spans become one, the oldest
 *     session goes (its host keeps its counts), the host that was not seen for longest is added
 *     to the one without a name.
 */
#include "history.h"

#include <assert.h>
#include <stddef.h>

#define DAY_S 86400u

/* From this age on (days, of the last day of a span) days become spans of so many. Each a
 * multiple of the one before, so that spans nest. */
static const struct {
	uint32_t age, days;
} ages[] = {{6 * 364, 0}, {364, 28}, {90, 7}, {0, 1}};

#define F(field)                                                                                   \
	{                                                                                          \
#field, offsetof(struct sv_counts, field)                                          \
	}
const struct sv_counts_field sv_counts_fields[] = {
	F(guest_written_bytes),
	F(guest_read_bytes),
	F(stick_written_bytes),
	F(stick_read_bytes),
	F(payload_bytes),
	F(padding_bytes),
	F(metadata_bytes),
	F(cleaner_bytes),
	F(convert_bytes),
	F(state_bytes),
	F(flushes),
	F(write_us),
	{NULL, 0},
};
#undef F

uint64_t *sv_counts_at(struct sv_counts *counts, const struct sv_counts_field *field)
{
	return (uint64_t *)(void *)((char *)counts + field->offset);
}

static struct sv_counts counts_of(const struct sv_ledger *l)
{
	return (struct sv_counts){
		.guest_written_bytes = l->guest_written_bytes,
		.guest_read_bytes = l->guest_read_bytes,
		.stick_written_bytes = l->stick_written_bytes,
		.stick_read_bytes = l->stick_read_bytes,
		.payload_bytes = l->payload_bytes,
		.padding_bytes = l->padding_bytes,
		.metadata_bytes = l->metadata_bytes,
		.cleaner_bytes = l->cleaner_bytes,
		.convert_bytes = l->convert_bytes,
		.state_bytes = l->state_bytes,
		.flushes = l->flushes,
	};
}

static void add_counts(struct sv_counts *to, const struct sv_counts *from)
{
	struct sv_counts b = *from;

	for (const struct sv_counts_field *f = sv_counts_fields; f->name; f++)
		*sv_counts_at(to, f) += *sv_counts_at(&b, f);
}

/* ---- spans ---- */

static uint32_t last_day(const struct sv_span *s)
{
	return s->day + s->days - 1;
}

/* How many days a span of this age is to have; 0: as many as there are. */
static uint32_t wanted_days(const struct sv_span *s, uint32_t today)
{
	uint32_t age = today > last_day(s) ? today - last_day(s) : 0;
	unsigned i = 0;

	while (age < ages[i].age)
		i++;
	return ages[i].days;
}

/* The span `i` and the one behind it become one (H2). */
static void join(struct sv_history *h, uint32_t i)
{
	struct sv_span *a = &h->span[i], *b = &h->span[i + 1];

	assert(i + 1 < h->spans && b->day > last_day(a)); /* H3 */
	a->days = b->day + b->days - a->day;
	add_counts(&a->counts, &b->counts);
	memmove(b, b + 1, (h->spans - i - 2) * sizeof(*b));
	h->spans--;
}

static void age(struct sv_history *h, uint32_t today)
{
	for (uint32_t i = 0; i + 1 < h->spans;) {
		uint32_t days = wanted_days(&h->span[i + 1], today);

		if (!days || h->span[i].day / days == last_day(&h->span[i + 1]) / days)
			join(h, i);
		else
			i++;
	}
}

/* The span that holds days in [first, last], made where there is none; those in between join. */
static struct sv_span *span_for(struct sv_history *h, uint32_t first, uint32_t last)
{
	struct sv_span *s;
	uint32_t i = 0;

	if (h->spans == SV_HISTORY_SPANS)
		join(h, 0); /* H4 */
	while (i < h->spans && last_day(&h->span[i]) < first)
		i++;
	s = &h->span[i];
	if (i == h->spans || s->day > last) {
		memmove(s + 1, s, (h->spans - i) * sizeof(*s));
		*s = (struct sv_span){.day = first, .days = last - first + 1};
		h->spans++;
		return s;
	}
	while (i + 1 < h->spans && h->span[i + 1].day <= last)
		join(h, i);
	last = last > last_day(s) ? last : last_day(s);
	s->day = first < s->day ? first : s->day;
	s->days = last - s->day + 1;
	return s;
}

void sv_history_add_span(struct sv_history *h, const struct sv_span *span, uint32_t today)
{
	if (!span->days || span->days - 1 > UINT32_MAX - span->day - 1)
		return;
	add_counts(&span_for(h, span->day, last_day(span))->counts, &span->counts);
	age(h, today);
}

static uint32_t day_of(uint64_t time_s)
{
	return (uint32_t)sv_min64(time_s / DAY_S, UINT32_MAX - 1);
}

/* ---- sessions and hosts ---- */

static struct sv_past_host *find_host(struct sv_history *h, const char *name)
{
	for (uint32_t i = 0; i < h->hosts; i++)
		if (strncmp(h->host[i].host, name, sizeof(h->host[i].host)) == 0)
			return &h->host[i];
	return NULL;
}

static void add_to_host(struct sv_past_host *to, const struct sv_past_host *from)
{
	to->sessions += from->sessions;
	to->unclean += from->unclean;
	to->guest_written_bytes += from->guest_written_bytes;
	to->stick_written_bytes += from->stick_written_bytes;
	to->last_s = sv_max64(to->last_s, from->last_s);
}

/* The one with a name that was not seen for longest. */
static struct sv_past_host *oldest_host(struct sv_history *h)
{
	struct sv_past_host *oldest = NULL;

	for (uint32_t i = 0; i < h->hosts; i++)
		if (h->host[i].host[0] && (!oldest || h->host[i].last_s < oldest->last_s))
			oldest = &h->host[i];
	assert(oldest); /* all but one have names */
	return oldest;
}

/* Room for one more; the first that is forgotten makes the one without a name (H4). */
static void forget_a_host(struct sv_history *h)
{
	struct sv_past_host *rest = find_host(h, ""), *oldest;

	if (!rest) {
		rest = oldest_host(h);
		memset(rest->host, 0, sizeof(rest->host));
	}
	oldest = oldest_host(h);
	add_to_host(rest, oldest);
	*oldest = h->host[--h->hosts];
}

static struct sv_past_host *host_for(struct sv_history *h, const char *name)
{
	struct sv_past_host *to = find_host(h, name);

	if (to)
		return to;
	if (h->hosts == SV_HISTORY_HOSTS)
		forget_a_host(h);
	to = &h->host[h->hosts++];
	memset(to, 0, sizeof(*to));
	memcpy(to->host, name, sizeof(to->host));
	to->host[sizeof(to->host) - 1] = '\0';
	return to;
}

void sv_history_add_host(struct sv_history *h, const struct sv_past_host *host)
{
	add_to_host(host_for(h, host->host), host);
}

void sv_history_add_session(struct sv_history *h, const struct sv_past_session *session)
{
	uint32_t i;

	if (h->sessions == SV_HISTORY_SESSIONS) {
		if (session->since_s < h->session[0].since_s)
			return;
		memmove(&h->session[0], &h->session[1], --h->sessions * sizeof(h->session[0]));
	}
	for (i = h->sessions; i > 0 && h->session[i - 1].since_s > session->since_s; i--)
		h->session[i] = h->session[i - 1];
	h->session[i] = *session;
	h->sessions++;
}

static struct sv_past_session *running(struct sv_history *h)
{
	if (!h->sessions || h->session[h->sessions - 1].ended != SV_ENDED_NOT)
		return NULL;
	return &h->session[h->sessions - 1];
}

/* Of a store: the newest is the last one, whatever the clocks say. */
static void begin_session(struct sv_history *h, const struct sv_session *opened)
{
	struct sv_past_session *before = running(h), *now;
	struct sv_past_host *host;

	if (before) {
		before->ended = SV_ENDED_UNCLEAN;
		host_for(h, before->host)->unclean++;
	}
	if (h->sessions == SV_HISTORY_SESSIONS)
		memmove(&h->session[0], &h->session[1], --h->sessions * sizeof(h->session[0]));
	now = &h->session[h->sessions++];
	*now = (struct sv_past_session){.since_s = opened->since_s, .until_s = opened->since_s};
	memcpy(now->host, opened->host, sizeof(now->host));
	host = host_for(h, opened->host);
	host->sessions++;
	host->last_s = opened->since_s;
}

static void note_session(struct sv_history *h, struct sv_past_session *now,
			 const struct sv_counts *add, uint64_t time_s)
{
	struct sv_past_host *host = host_for(h, now->host);

	now->until_s = time_s;
	now->guest_written_bytes += add->guest_written_bytes;
	now->stick_written_bytes += add->stick_written_bytes;
	host->last_s = time_s;
	host->guest_written_bytes += add->guest_written_bytes;
	host->stick_written_bytes += add->stick_written_bytes;
}

/* ---- the log ---- */

static void begin(struct sv_history *h, const struct sv_ledger *ledger, uint64_t time_s)
{
	*h = (struct sv_history){.begun = true, .since_s = time_s, .as_of = counts_of(ledger)};
}

void sv_history_note(struct sv_history *h, const struct sv_ledger *ledger, uint64_t time_s)
{
	struct sv_span add = {.day = day_of(time_s), .days = 1, .counts = counts_of(ledger)};
	struct sv_past_session *now = running(h);
	uint64_t any = 0;

	if (!h->begun) {
		begin(h, ledger, time_s);
		return;
	}
	for (const struct sv_counts_field *f = sv_counts_fields; f->name; f++) {
		uint64_t *known = sv_counts_at(&h->as_of, f), *v = sv_counts_at(&add.counts, f);
		uint64_t at = *v;

		if (v == &add.counts.write_us)
			continue; /* not of the ledger */
		*v = at > *known ? at - *known : 0;
		*known = at;
		any |= *v;
	}
	if (!any)
		return;
	sv_history_add_span(h, &add, add.day);
	if (now)
		note_session(h, now, &add.counts, time_s);
}

static bool is_type(struct sv_cur *c, unsigned type, struct sv_record *ret_rec)
{
	while (sv_record_get(c, ret_rec) == 0)
		if (ret_rec->type == type)
			return true;
	return false;
}

/* The history that a root carries; nothing where an older version wrote it. */
static void load_record(struct sv_history *h, struct sv_cur c)
{
	struct sv_record rec;

	if (!is_type(&c, SV_REC_HISTORY, &rec))
		return;
	c.len = c.off;
	c.off -= rec.stored_bytes - SV_REC_HEAD_BYTES;
	sv_history_get(&c, h); /* one that makes no sense is as good as none */
}

void sv_history_take(struct sv_history *h, const struct sv_head *head, const uint8_t *raw,
		     bool load)
{
	struct sv_cur c = sv_cur_over((uint8_t *)raw + SV_HEAD_FIXED_BYTES,
				      head->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	const struct sv_ledger nothing = {0};
	struct sv_past_session *now;
	struct sv_record rec;

	if (load && head->flags & SV_BATCH_ROOT)
		load_record(h, c);
	if (!h->begun) /* nobody has opened it yet: this is the format's own root */
		begin(h, head->ledger.sessions ? &head->ledger : &nothing, head->time_s);
	if (head->flags & SV_BATCH_OPEN && is_type(&c, SV_REC_SESSION, &rec))
		begin_session(h, &rec.session);
	sv_history_note(h, &head->ledger, head->time_s);
	now = head->flags & SV_BATCH_CLOSE ? running(h) : NULL;
	if (now)
		now->ended = SV_ENDED_CLOSED;
}

void sv_history_merge(struct sv_history *to, const struct sv_history *from, uint32_t today)
{
	if (!from->begun)
		return;
	if (!to->begun || from->since_s < to->since_s)
		to->since_s = from->since_s;
	to->begun = true;
	add_counts(&to->as_of, &from->as_of);
	for (uint32_t i = 0; i < from->spans; i++)
		sv_history_add_span(to, &from->span[i], today);
	for (uint32_t i = 0; i < from->hosts; i++)
		sv_history_add_host(to, &from->host[i]);
	for (uint32_t i = 0; i < from->sessions; i++)
		sv_history_add_session(to, &from->session[i]);
}

/* ---- slow segments ---- */

void sv_history_wrote(struct sv_history *h, uint32_t segment, uint32_t len_bytes, uint64_t took_us,
		      uint64_t time_s)
{
	struct sv_span time = {.day = day_of(time_s), .days = 1, .counts.write_us = took_us};
	struct sv_slow add = {.segment = segment,
			      .day = time.day,
			      .writes = 1,
			      .bytes = len_bytes,
			      .total_us = took_us,
			      .worst_us = took_us};
	uint32_t i = 0;

	if (!h->begun)
		return;
	sv_history_add_span(h, &time, time.day);
	while (i < h->slows && h->slow[i].segment != segment)
		i++;
	if (i < h->slows) {
		add.writes += h->slow[i].writes;
		add.bytes += h->slow[i].bytes;
		add.total_us += h->slow[i].total_us;
		if (h->slow[i].worst_us > took_us) {
			add.worst_us = h->slow[i].worst_us;
			add.day = h->slow[i].day;
		}
	} else if (h->slows < SV_HISTORY_SLOW) {
		h->slows++;
	} else if (h->slow[--i].worst_us >= took_us) {
		return;
	}
	for (; i > 0 && h->slow[i - 1].worst_us < add.worst_us; i--)
		h->slow[i] = h->slow[i - 1];
	h->slow[i] = add;
}
