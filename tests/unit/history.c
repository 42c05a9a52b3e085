/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history.c: the history of a store: bounded, with its sums, the same after a crash. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_crash.h"
#include "history.h"
#include "prng.h"

#define DAY_S 86400u
#define BEGIN_DAY 20000u

static struct sv_history *fresh(void)
{
	struct sv_history *h = calloc(1, sizeof(*h));
	struct sv_ledger nothing = {0};

	assert_non_null(h);
	sv_history_note(h, &nothing, (uint64_t)BEGIN_DAY * DAY_S);
	return h;
}

/* H2 and H3. */
static void check_sums(struct sv_history *h, uint64_t stick, uint64_t guest)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < h->spans; i++) {
		assert_true(h->span[i].days && h->span[i].day >= end);
		end = (uint64_t)h->span[i].day + h->span[i].days;
		stick -= h->span[i].counts.stick_written_bytes;
		guest -= h->span[i].counts.guest_written_bytes;
	}
	assert_int_equal(stick, 0);
	assert_int_equal(guest, 0);
}

static void years_stay_bounded(void **state)
{
	struct sv_history *h = fresh();
	struct sv_ledger l = {0};
	uint32_t most = 0, today;

	(void)state;
	for (today = BEGIN_DAY; today < BEGIN_DAY + 30 * 365; today++) {
		l.stick_written_bytes += 1000 + today;
		l.guest_written_bytes += 7;
		sv_history_note(h, &l, (uint64_t)today * DAY_S + 5);
		most = h->spans > most ? h->spans : most;
		if (today % 97 == 0)
			check_sums(h, l.stick_written_bytes, l.guest_written_bytes);
	}
	check_sums(h, l.stick_written_bytes, l.guest_written_bytes);
	assert_in_range(most, 150, SV_HISTORY_SPANS - 1); /* the hard bound was not needed */
	today--;
	for (uint32_t i = 0; i < h->spans; i++) {
		uint32_t last = h->span[i].day + h->span[i].days - 1, old = today - last;
		uint32_t days = h->span[i].days;

		if (old < 90)
			assert_int_equal(days, 1);
		else if (old < 364)
			assert_in_range(days, 1, 7);
		else if (old < 6 * 364)
			assert_in_range(days, 7, 28);
		else
			assert_int_equal(i, 0);
	}
	free(h);
}

/* Hosts whose clocks are wrong by years in both directions. */
static void wild_clocks(void **state)
{
	struct sv_history *h = fresh();
	struct sv_ledger l = {0};
	struct prng rng = {5};

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t day = prng_below(&rng, 3) ? BEGIN_DAY + i / 40 : prng_below(&rng, 60000);

		l.stick_written_bytes += prng_below(&rng, 5000);
		l.guest_written_bytes += prng_below(&rng, 5000);
		sv_history_note(h, &l, i == 500 ? UINT64_MAX : day * DAY_S);
		assert_true(h->spans <= SV_HISTORY_SPANS);
		if (i % 50 == 0)
			check_sums(h, l.stick_written_bytes, l.guest_written_bytes);
	}
	check_sums(h, l.stick_written_bytes, l.guest_written_bytes);
	free(h);
}

static void record_of(const struct sv_history *h, uint8_t *buf, size_t *ret_len)
{
	struct sv_cur c = sv_cur_over(buf, SV_HISTORY_MAX_BYTES);

	sv_history_put(&c, h);
	assert_false(c.bad);
	*ret_len = c.off;
}

/* A history with as much in it as there can be. */
static struct sv_history *full(void)
{
	struct sv_history *h = fresh();
	struct sv_ledger l = {0};
	struct sv_past_host host = {.sessions = 3, .unclean = 1, .stick_written_bytes = 4096};
	struct sv_past_session session = {.ended = SV_ENDED_CLOSED};

	for (uint32_t day = BEGIN_DAY; day < BEGIN_DAY + 3000; day++) {
		l.stick_written_bytes += day;
		l.flushes += 2;
		sv_history_note(h, &l, (uint64_t)day * DAY_S);
		sv_history_wrote(h, day, 1 << 20, 1000 + day * 7919 % 5003, (uint64_t)day * DAY_S);
	}
	for (unsigned i = 0; i < 100; i++) {
		host.host[0] = session.host[0] = (char)('A' + i % 40);
		host.last_s = session.since_s = session.until_s = i;
		sv_history_add_host(h, &host);
		sv_history_add_session(h, &session);
	}
	return h;
}

static void hosts_and_sessions_are_bounded(void **state)
{
	struct sv_history *h = full();
	uint64_t sessions = 0, unclean = 0;

	(void)state;
	assert_int_equal(h->hosts, SV_HISTORY_HOSTS);
	assert_int_equal(h->sessions, SV_HISTORY_SESSIONS);
	for (uint32_t i = 0; i < h->hosts; i++) {
		sessions += h->host[i].sessions;
		unclean += h->host[i].unclean;
	}
	assert_int_equal(sessions, 300);
	assert_int_equal(unclean, 100);
	for (uint32_t i = 0; i < h->sessions; i++)
		assert_int_equal(h->session[i].since_s, 100 - SV_HISTORY_SESSIONS + i);
	assert_int_equal(h->slows, SV_HISTORY_SLOW);
	for (uint32_t i = 1; i < h->slows; i++)
		assert_true(h->slow[i - 1].worst_us >= h->slow[i].worst_us);
	assert_int_equal(h->slow[0].worst_us, 1000 + 5002);
	free(h);
}

static void a_slow_segment_stays_one(void **state)
{
	struct sv_history *h = fresh();

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		sv_history_wrote(h, 7, 1000, i == 50 ? 900 : 100, (uint64_t)BEGIN_DAY * DAY_S);
		sv_history_wrote(h, 8 + i, 1000, 200, (uint64_t)BEGIN_DAY * DAY_S);
	}
	assert_int_equal(h->slow[0].segment, 7);
	assert_int_equal(h->slow[0].worst_us, 900);
	for (uint32_t i = 1; i < h->slows; i++)
		assert_int_not_equal(h->slow[i].segment, 7);
	assert_int_equal(h->span[0].counts.write_us, 100 * 200 + 99 * 100 + 900);
	free(h);
}

static void the_record_makes_the_trip(void **state)
{
	struct sv_history *h = full(), *got = calloc(1, sizeof(*got));
	uint8_t *buf = malloc(SV_HISTORY_MAX_BYTES), *again = malloc(SV_HISTORY_MAX_BYTES);
	size_t len, len_again;
	struct sv_cur c;

	(void)state;
	record_of(h, buf, &len);
	c = sv_cur_over(buf, len);
	c.off = SV_REC_HEAD_BYTES;
	assert_int_equal(sv_history_get(&c, got), 0);
	record_of(got, again, &len_again);
	assert_int_equal(len, len_again);
	assert_memory_equal(buf, again, len);
	c = sv_cur_over(buf, len - 1);
	c.off = SV_REC_HEAD_BYTES;
	assert_int_equal(sv_history_get(&c, got), -EBADMSG);
	memset(buf + SV_HISTORY_FIXED_BYTES + 4, 0, 4); /* a span of no days */
	c = sv_cur_over(buf, len);
	c.off = SV_REC_HEAD_BYTES;
	assert_int_equal(sv_history_get(&c, got), -EBADMSG);
	free(buf);
	free(again);
	free(got);
	free(h);
}

static void it_fits_where_there_is_little_room(void **state)
{
	struct sv_history *h = full();
	uint64_t stick = 0;

	(void)state;
	for (uint32_t i = 0; i < h->spans; i++)
		stick += h->span[i].counts.stick_written_bytes;
	for (uint32_t limit = SV_HISTORY_MAX_BYTES; limit >= SV_HISTORY_LEAST_BYTES; limit -= 40) {
		uint8_t *buf = malloc(SV_HISTORY_MAX_BYTES);
		size_t len;

		assert_true(sv_history_fit(h, limit) <= limit);
		record_of(h, buf, &len);
		assert_true(len <= limit);
		free(buf);
		check_sums(h, stick, 0);
	}
	assert_int_equal(h->sessions, 1);
	free(h);
}

/* ---- a store ---- */

static struct dev_crash *new_store(void)
{
	struct sv_geometry geo = {.size_bytes = 16 << 20, .max_bytes = 16 << 20};
	struct sv_format_params params = {.size_bytes = 4 << 20,
					  .segment_bytes = 256 << 10,
					  .page_bytes = 4096,
					  .lie_window_bytes = 64 << 10,
					  .checkpoint_bytes = 512 << 10};
	struct dev_crash *medium = dev_crash_create(&geo);
	struct sv_dev *dev = dev_crash_open(medium, NULL);

	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	return medium;
}

static struct sv_store *open_as(struct dev_crash *medium, const char *host, bool read_only)
{
	struct sv_open_options opts = {.manual = true, .host = host, .read_only = read_only};
	struct sv_store *st;

	assert_int_equal(sv_store_open(dev_crash_open(medium, NULL), &opts, &st), 0);
	return st;
}

static void write_much(struct sv_store *st, unsigned blocks, struct prng *rng)
{
	uint8_t block[SV_BLOCK_BYTES];

	for (unsigned i = 0; i < blocks; i++) {
		prng_fill(rng, block, sizeof(block));
		assert_int_equal(sv_store_write(st, block, sizeof(block),
						prng_below(rng, 1024) * SV_BLOCK_BYTES),
				 0);
		if (i % 32 == 31)
			assert_int_equal(sv_store_flush(st), 0);
	}
	assert_int_equal(sv_store_flush(st), 0);
}

static void growth(struct sv_history *h, const struct sv_ledger *l)
{
	check_sums(h, l->stick_written_bytes, l->guest_written_bytes);
}

/* What was written behind the newest batch no header tells of; here that is at most two anchors. */
static void same_but_for_anchors(const struct sv_history *is, const struct sv_history *was)
{
	const uint64_t most = 2 * SV_ANCHOR_BYTES;

	assert_int_equal(is->spans, was->spans);
	for (uint32_t i = 0; i < is->spans; i++) {
		struct sv_counts a = is->span[i].counts, b = was->span[i].counts;

		assert_int_equal(is->span[i].day, was->span[i].day);
		assert_in_range(b.stick_written_bytes - a.stick_written_bytes, 0, most);
		assert_in_range(b.metadata_bytes - a.metadata_bytes, 0, most);
		a.stick_written_bytes = b.stick_written_bytes;
		a.metadata_bytes = b.metadata_bytes;
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

/* H1: what recovery finds is what was in memory, whether it was closed or not. */
static void it_survives(void **state)
{
	static const char *const hosts[] = {"kitchen", "office", "train"};
	struct sv_history *was = malloc(sizeof(*was)), *is = malloc(sizeof(*is));
	struct dev_crash *medium = new_store();
	struct sv_status status;
	struct prng rng = {3};

	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		struct sv_store *st = open_as(medium, hosts[i % 3], false);

		write_much(st, 300, &rng);
		sv_store_history(st, was);
		sv_store_status(st, &status);
		growth(was, &status.ledger);
		if (i % 3 == 2)
			sv_store_abandon(st);
		else
			assert_int_equal(sv_store_close(st), 0);
		st = open_as(medium, "onlooker", true);
		sv_store_history(st, is);
		sv_store_status(st, &status);
		growth(is, &status.ledger);
		assert_int_equal(is->sessions, i + 1);
		assert_string_equal(is->session[i].host, hosts[i % 3]);
		assert_int_equal(is->session[i].ended, i % 3 == 2 ? SV_ENDED_NOT : SV_ENDED_CLOSED);
		if (i > 0)
			assert_int_not_equal(is->session[i - 1].ended, SV_ENDED_NOT);
		assert_int_equal(is->session[i].guest_written_bytes, 300 * SV_BLOCK_BYTES);
		if (i % 3 == 2)
			same_but_for_anchors(is, was);
		sv_store_abandon(st);
	}
	assert_int_equal(is->hosts, 3);
	assert_int_equal(is->host[2].unclean, 2); /* nobody has come since the third */
	assert_int_equal(is->host[0].sessions + is->host[1].sessions + is->host[2].sessions, 9);
	dev_crash_destroy(medium);
	free(was);
	free(is);
}

static void merging_keeps_the_sums(void **state)
{
	struct sv_history *a = full(), *b = full(), *sum = calloc(1, sizeof(*sum));
	uint64_t stick = 0;

	(void)state;
	for (uint32_t i = 0; i < a->spans; i++)
		stick += a->span[i].counts.stick_written_bytes;
	/* Another day as today: the same days fall into other spans. */
	sv_history_merge(sum, a, BEGIN_DAY + 3000);
	sv_history_merge(sum, b, BEGIN_DAY + 3333);
	check_sums(sum, 2 * stick, 0);
	assert_int_equal(sum->hosts, SV_HISTORY_HOSTS);
	free(a);
	free(b);
	free(sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(years_stay_bounded),
		cmocka_unit_test(wild_clocks),
		cmocka_unit_test(hosts_and_sessions_are_bounded),
		cmocka_unit_test(a_slow_segment_stays_one),
		cmocka_unit_test(the_record_makes_the_trip),
		cmocka_unit_test(it_fits_where_there_is_little_room),
		cmocka_unit_test(merging_keeps_the_sums),
		cmocka_unit_test(it_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
