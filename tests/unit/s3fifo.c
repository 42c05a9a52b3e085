/* SPDX-License-Identifier: GPL-2.0-or-later */
/* s3fifo.c: the policy against plain simulations of S3-FIFO and LRU, on traces with scans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "prng.h"
#include "s3fifo.h"

/*
 * The simulations know numbers from 0 to UNIVERSE - 1 of one size, and hold all in arrays: slow,
 * and short enough to be read beside the paper.
 */
#define UNIVERSE 40000u
#define CAPACITY 2000u
#define ASKED 400000u
#define OBJECT_BYTES 4096u

struct fifo {
	uint32_t v[ASKED * 4];
	size_t first, end;
};

static void fifo_put(struct fifo *f, uint32_t x)
{
	assert_true(f->end < sizeof(f->v) / sizeof(f->v[0]));
	f->v[f->end++] = x;
}

/* As published: small a tenth, ghosts as many as main has room for. */
struct exact {
	struct fifo small, main, ghost;
	uint8_t where[UNIVERSE]; /* 1 small, 2 main */
	uint8_t hits[UNIVERSE];
	size_t ghost_at[UNIVERSE]; /* plus one; 0: none */
};

static size_t count(const struct fifo *f)
{
	return f->end - f->first;
}

static void exact_evict_main(struct exact *e)
{
	for (;;) {
		uint32_t x = e->main.v[e->main.first++];

		if (!e->hits[x]) {
			e->where[x] = 0;
			return;
		}
		e->hits[x]--;
		fifo_put(&e->main, x);
	}
}

static void exact_evict(struct exact *e)
{
	while (count(&e->small) >= CAPACITY / 10) {
		uint32_t x = e->small.v[e->small.first++];

		if (e->hits[x] > 1) {
			e->hits[x] = 0;
			e->where[x] = 2;
			fifo_put(&e->main, x);
			continue;
		}
		e->where[x] = 0;
		fifo_put(&e->ghost, x);
		e->ghost_at[x] = e->ghost.end;
		return;
	}
	exact_evict_main(e);
}

static bool exact_ask(struct exact *e, uint32_t x)
{
	bool ghost;

	if (e->where[x]) {
		e->hits[x] = (uint8_t)(e->hits[x] < 3 ? e->hits[x] + 1 : 3);
		return true;
	}
	if (count(&e->small) + count(&e->main) >= CAPACITY)
		exact_evict(e);
	ghost = e->ghost_at[x] && e->ghost.end - e->ghost_at[x] < CAPACITY - CAPACITY / 10;
	e->hits[x] = 0;
	e->where[x] = ghost ? 2 : 1;
	fifo_put(ghost ? &e->main : &e->small, x);
	return false;
}

/* LRU by the time of the last use: the oldest is looked for in a queue of uses. */
struct lru {
	struct fifo uses;
	size_t last[UNIVERSE]; /* plus one; 0: not there */
	size_t have;
};

static bool lru_ask(struct lru *l, uint32_t x)
{
	bool hit = l->last[x] != 0;

	fifo_put(&l->uses, x);
	l->last[x] = l->uses.end;
	l->have += !hit;
	while (l->have > CAPACITY) {
		uint32_t old = l->uses.v[l->uses.first++];

		if (l->last[old] != l->uses.first)
			continue; /* it was used again */
		l->last[old] = 0;
		l->have--;
	}
	return hit;
}

static bool ours_ask(struct sv_s3 *s3, uint32_t x)
{
	uint64_t key = sv_hash64(&x, sizeof(x), 1);
	uint32_t object = sv_s3_find(s3, key);
	bool keep;

	if (object) {
		sv_s3_hit(s3, object);
		return true;
	}
	while (sv_s3_is_full(s3, OBJECT_BYTES)) {
		object = sv_s3_step(s3, &keep);
		if (!keep)
			sv_s3_drop(s3, object, true);
	}
	assert_true(sv_s3_add(s3, key, OBJECT_BYTES, sv_s3_place(s3, key)) != SV_S3_NONE);
	return false;
}

/* ---- traces ---- */

struct zipf {
	double sum[UNIVERSE];
};

static void zipf_make(struct zipf *z, double skew)
{
	double all = 0;

	for (uint32_t i = 0; i < UNIVERSE; i++)
		z->sum[i] = all += 1 / pow(i + 1, skew);
}

static uint32_t zipf_draw(const struct zipf *z, struct prng *seed)
{
	double u = (double)(prng_next(seed) >> 11) / 9007199254740992.0 * z->sum[UNIVERSE - 1];
	uint32_t low = 0, high = UNIVERSE - 1;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (z->sum[mid] < u)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct ratios {
	double ours, exact, lru;
};

/* `trace` has ASKED numbers. */
static struct ratios run(const uint32_t *trace, const char *name)
{
	struct exact *e = calloc(1, sizeof(*e));
	struct lru *l = calloc(1, sizeof(*l));
	struct ratios r = {0};
	struct sv_s3 s3;

	assert_true(e && l);
	assert_int_equal(sv_s3_init(&s3, CAPACITY * OBJECT_BYTES, CAPACITY), 0);
	for (uint32_t i = 0; i < ASKED; i++) {
		r.ours += ours_ask(&s3, trace[i]);
		r.exact += exact_ask(e, trace[i]);
		r.lru += lru_ask(l, trace[i]);
	}
	assert_true(sv_s3_bytes(&s3) <= CAPACITY * OBJECT_BYTES);
	sv_s3_free(&s3);
	free(e);
	free(l);
	r.ours /= ASKED;
	r.exact /= ASKED;
	r.lru /= ASKED;
	print_message("%s: ours %.4f, S3-FIFO %.4f, LRU %.4f\n", name, r.ours, r.exact, r.lru);
	return r;
}

static uint32_t *trace_new(void)
{
	uint32_t *trace = calloc(ASKED, sizeof(*trace));

	assert_non_null(trace);
	return trace;
}

static void test_zipf(void **state)
{
	struct zipf *z = malloc(sizeof(*z));
	uint32_t *trace = trace_new();
	struct prng seed = {1};
	struct ratios r;

	(void)state;
	assert_non_null(z);
	zipf_make(z, 1.0);
	for (uint32_t i = 0; i < ASKED; i++)
		trace[i] = zipf_draw(z, &seed);
	r = run(trace, "zipf");
	assert_true(fabs(r.ours - r.exact) < 0.004);
	assert_true(r.ours > r.lru);
	free(trace);
	free(z);
}

/* Every tenth of the time somebody reads everything once, in order. */
static void test_scans(void **state)
{
	struct zipf *z = malloc(sizeof(*z));
	uint32_t *trace = trace_new();
	struct prng seed = {2};
	struct ratios r;

	(void)state;
	assert_non_null(z);
	zipf_make(z, 1.0);
	for (uint32_t i = 0; i < ASKED; i++)
		trace[i] = i / 10000 % 2 ? UNIVERSE / 2 + i % 10000
					 : zipf_draw(z, &seed) % (UNIVERSE / 2);
	r = run(trace, "zipf and scans");
	assert_true(fabs(r.ours - r.exact) < 0.004);
	assert_true(r.ours > r.lru + 0.02); /* the scans cost LRU its content, and not us */
	free(trace);
	free(z);
}

/* Round and round a little more than fits: LRU never hits. */
static void test_loop(void **state)
{
	uint32_t *trace = trace_new();
	struct ratios r;

	(void)state;
	for (uint32_t i = 0; i < ASKED; i++)
		trace[i] = i % (CAPACITY + CAPACITY / 10);
	r = run(trace, "loop");
	assert_true(r.lru == 0);
	assert_true(fabs(r.ours - r.exact) < 0.02);
	free(trace);
}

/* Sizes of all kinds: the sums hold, nothing is lost or twice. */
static void test_sizes(void **state)
{
	const uint64_t capacity = 1 << 20;
	struct prng seed = {3};
	struct sv_s3 s3;

	(void)state;
	assert_int_equal(sv_s3_init(&s3, capacity, 500), 0);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t key = prng_next(&seed) % 3000 * 0x9e3779b97f4a7c15u;
		uint32_t bytes = (uint32_t)(key >> 40) % 65536 + 1, object = sv_s3_find(&s3, key);
		bool keep;

		if (object) {
			assert_int_equal(s3.v[object].bytes, bytes);
			if (i % 50 == 0)
				sv_s3_drop(&s3, object, false);
			else
				sv_s3_hit(&s3, object);
			continue;
		}
		while (sv_s3_is_full(&s3, bytes)) {
			object = sv_s3_step(&s3, &keep);
			assert_true(object != SV_S3_NONE);
			if (!keep)
				sv_s3_drop(&s3, object, i % 2);
		}
		object = sv_s3_add(&s3, key, bytes, sv_s3_place(&s3, key));
		assert_true(object != SV_S3_NONE && sv_s3_find(&s3, key) == object);
		assert_true(sv_s3_bytes(&s3) <= capacity && sv_s3_count(&s3) <= 500);
	}
	for (unsigned q = 0; q < SV_S3_QUEUES; q++) {
		uint64_t bytes = 0;
		uint32_t n = 0;

		for (uint32_t o = s3.queue[q].oldest; o; o = s3.v[o].newer, n++)
			bytes += s3.v[o].bytes;
		assert_int_equal(bytes, s3.queue[q].bytes);
		assert_int_equal(n, s3.queue[q].count);
	}
	sv_s3_free(&s3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zipf),
		cmocka_unit_test(test_scans),
		cmocka_unit_test(test_loop),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
