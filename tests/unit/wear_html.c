/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_html.c: the page of `wear` from reports at their edges; histories as lines and as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wear_history.h"
#include "wear_report.h"
#include "ydoc.h"

/* Every element that is opened is closed in order; those that HTML never closes aside. */
static void check_nesting(const char *page)
{
	char open[64][16];
	unsigned depth = 0;

	for (const char *at = strchr(page, '<'); at; at = strchr(at + 1, '<')) {
		const char *end = strchr(at, '>');
		bool closes = at[1] == '/';
		char name[16] = "";

		assert_non_null(end);
		sscanf(at + 1 + closes, "%15[a-zA-Z0-9]", name);
		if (at[1] == '!' || end[-1] == '/' || strcmp(name, "meta") == 0)
			continue;
		if (!closes) {
			assert_true(depth < 64);
			memcpy(open[depth++], name, sizeof(name));
			continue;
		}
		if (!depth || strcmp(open[depth - 1], name) != 0)
			fail_msg("</%s> closes <%s>", name, depth ? open[depth - 1] : "");
		depth--;
	}
	assert_int_equal(depth, 0);
}

static void check_page(const struct wear_report *report)
{
	json_t *json = wear_json(report);
	char *page = wear_html(json);

	assert_non_null(page);
	check_nesting(page);
	assert_null(strstr(page, "nan"));
	assert_null(strstr(page, "inf\""));
	assert_null(strstr(page, "<script"));
	free(page);
	json_decref(json);
}

static struct stick *a_stick(void)
{
	static char uuid[] = "5f0c1a52-7a35-4d0e-9a30-0f2d6f9f7c11", dir[] = "/nowhere";
	static struct stick stick = {.dir = dir, .uuid = uuid};

	return &stick;
}

static void nothing_known(void **state)
{
	struct sv_history *h = calloc(1, sizeof(*h));
	struct wear_report r = {.stick = a_stick(), .whole = true, .history = h};

	(void)state;
	check_page(&r);
	r.used.known = true;
	r.capacity_bytes = 1;
	check_page(&r);
	free(h);
}

static struct sv_history *a_history(uint64_t scale)
{
	struct sv_history *h = calloc(1, sizeof(*h));
	struct sv_past_host host = {
		.host = "<script>\"&\x01\xff", .sessions = scale, .unclean = 1, .last_s = scale};
	struct sv_past_session session = {.host = "x", .since_s = scale, .ended = SV_ENDED_UNCLEAN};

	h->begun = true;
	h->since_s = 5;
	for (uint32_t i = 0; i < 60; i++) {
		struct sv_span span = {.day = 20000 + 2 * i,
				       .days = 1 + i % 2,
				       .counts = {.guest_written_bytes = i % 3 ? scale : 0,
						  .stick_written_bytes = scale,
						  .payload_bytes = scale,
						  .write_us = i % 5 ? 1000000 : 0}};

		sv_history_add_span(h, &span, 0);
	}
	sv_history_add_host(h, &host);
	sv_history_add_session(h, &session);
	return h;
}

static void large_and_hostile(void **state)
{
	static const uint64_t scales[] = {0, 1, 4096, UINT64_C(1) << 40, UINT64_C(1) << 62};

	(void)state;
	for (size_t i = 0; i < sizeof(scales) / sizeof(scales[0]); i++) {
		struct sv_history *h = a_history(scales[i]);
		struct wear_reading one = {.name = "<b>", .as_of = "now", .history = h};
		struct wear_report r = {.stick = a_stick(),
					.whole = i % 2,
					.history = h,
					.readings = &one,
					.count = 1,
					.used = {true, 0.5, 1e9}};

		h->slows = 1;
		h->slow[0] = (struct sv_slow){.segment = 3, .writes = i, .worst_us = scales[i]};
		r.total.stick_written_bytes = scales[i];
		check_page(&r);
		free(h);
	}
}

static void same_history(const struct sv_history *a, const struct sv_history *b)
{
	assert_int_equal(a->since_s, b->since_s);
	assert_int_equal(a->spans, b->spans);
	assert_memory_equal(a->span, b->span, a->spans * sizeof(a->span[0]));
	assert_int_equal(a->hosts, b->hosts);
	assert_memory_equal(a->host, b->host, a->hosts * sizeof(a->host[0]));
	assert_int_equal(a->sessions, b->sessions);
	assert_memory_equal(a->session, b->session, a->sessions * sizeof(a->session[0]));
}

static void name_host(struct sv_history *h, const char *name)
{
	memset(h->host[0].host, 0, sizeof(h->host[0].host));
	snprintf(h->host[0].host, sizeof(h->host[0].host), "%s", name);
}

static void json_makes_the_trip(void **state)
{
	struct sv_history *h = a_history(12345678901), *got = calloc(1, sizeof(*got));
	json_t *json;

	(void)state;
	name_host(h, "kitchen#1");
	json = history_to_json(h);
	assert_true(history_from_json(json, got));
	same_history(h, got);
	json_decref(json);
	json = json_pack("{s:i}", "store_id", 5);
	assert_false(history_from_json(json, got));
	json_decref(json);
	free(h);
	free(got);
}

/* Each line as the stick's file has it, read by the reader of that file. */
static void lines_make_the_trip(void **state)
{
	struct sv_history *h = a_history(12345678901), *got = calloc(1, sizeof(*got));
	char path[] = "/tmp/wear-lines-XXXXXX";
	struct ydoc doc;
	struct err err;
	FILE *out;
	int fd = mkstemp(path);

	(void)state;
	name_host(h, "a: \"b\" # c'");
	out = fdopen(fd, "w");
	assert_non_null(out);
	history_print(out, h, 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(ydoc_read(path, &doc, &err), 0);
	for (size_t i = 0; i < doc.count; i++)
		assert_true(history_take(got, doc.entries[i].key, doc.entries[i].value));
	same_history(h, got);
	assert_false(history_take(got, "d5x0z", "1 2 3 4 5 6 7 8 9 10 11 12"));
	assert_false(history_take(got, "d5x1", "1 2 3"));
	assert_false(history_take(got, "session9", "1 2 3 4 5 x"));
	assert_false(history_take(got, "host9", "1 2 -3 4 5 x"));
	ydoc_free(&doc);
	remove(path);
	free(h);
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_known),
		cmocka_unit_test(large_and_hostile),
		cmocka_unit_test(json_makes_the_trip),
		cmocka_unit_test(lines_make_the_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
