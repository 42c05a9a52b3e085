/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flashsim_profiles.c: each simulated stick within 10 % of its published figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fsim_random.h"
#include "timing.h"

#define MIB (UINT64_C(1) << 20)
#define BLOCK_BYTES 4096u
#define TOLERANCE 0.10

/*
 * The published points, as in the table of the sticks: they are kept apart from the profiles, so
 * that a change of a profile cannot change what it is held to. 0: nothing was published.
 */
struct published {
	const char *id;
	double read_mb_s, write_mb_s, read_iops, write_iops;
	uint64_t span_bytes; /* of the random writes */
};

static const struct published points[] = {
	{"P0", 85, 12, 45, 0, 0},
	{"P1", 13.5, 8.6, 1164, 1.7, 1000 * MIB},
	{"P2", 20, 8.79, 1360, 4.1, 1000 * MIB},
	{"P3", 136, 98, 1010, 141, 100 * MIB},
	{"P4", 123, 59, 1394, 410, 1024 * MIB},
	{"P5", 226, 35, 3301, 2864, 1024 * MIB},
	{"P6", 386, 353, 3403, 2354, 1024 * MIB},
	{"P7", 1000, 900, 5000, 5000, 1024 * MIB},
};

static void near(const char *id, const char *what, double got, double published)
{
	print_message("%s %-16s %8.4g, published %8.4g (%+.1f %%)\n", id, what, got, published,
		      100 * (got / published - 1));
	assert_true(got > published * (1 - TOLERANCE));
	assert_true(got < published * (1 + TOLERANCE));
}

static void start(const char *id, struct fsim_timing *ret_timing)
{
	const struct fsim_profile *profile = fsim_profile_find(id);
	assert_non_null(profile);
	assert_int_equal(fsim_timing_init(ret_timing, profile, profile->size_bytes, 1), 0);
}

/* As the host would: split into what it sends at most. */
static uint64_t request(struct fsim_timing *t, bool write, uint64_t off, uint64_t len)
{
	uint64_t ns = 0;
	while (len > 0) {
		uint64_t part = len < t->max_io_bytes ? len : t->max_io_bytes;
		ns += write ? fsim_timing_write(t, off, part) : fsim_timing_read(t, off, part);
		off += part;
		len -= part;
	}
	return ns;
}

static double sequential_mb_s(const char *id, bool write)
{
	const uint64_t total = 1024 * MIB;
	struct fsim_timing t;
	uint64_t ns = 0;
	start(id, &t);
	for (uint64_t off = 0; off < total; off += MIB)
		ns += request(&t, write, off, MIB);
	fsim_timing_destroy(&t);
	return (double)total * 1e3 / (double)ns;
}

static double random_iops(const char *id, bool write, uint64_t span)
{
	const uint64_t count = 20000;
	struct fsim_timing t;
	uint64_t ns = 0, seed = 7;
	start(id, &t);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t off = fsim_random_below(&seed, span / BLOCK_BYTES) * BLOCK_BYTES;
		ns += request(&t, write, off, BLOCK_BYTES);
	}
	fsim_timing_destroy(&t);
	return (double)count * 1e9 / (double)ns;
}

static void published_points(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		const struct published *p = &points[i];
		near(p->id, "seq read MB/s", sequential_mb_s(p->id, false), p->read_mb_s);
		near(p->id, "seq write MB/s", sequential_mb_s(p->id, true), p->write_mb_s);
		near(p->id, "rand read IOPS", random_iops(p->id, false, 1024 * MIB), p->read_iops);
		if (p->write_iops > 0)
			near(p->id, "rand write IOPS", random_iops(p->id, true, p->span_bytes),
			     p->write_iops);
	}
	assert_null(fsim_profile_at(sizeof(points) / sizeof(points[0])));
}

/* `flashbench --open-au`: equal chunks of `units` allocation units in turn, ten rounds. */
static double open_units_mb_s(uint64_t chunk_bytes, uint64_t units)
{
	const uint64_t unit_bytes = 4 * MIB, rounds = 10;
	struct fsim_timing t;
	uint64_t ns = 0;
	start("P2", &t);
	for (uint64_t round = 0; round < rounds; round++)
		for (uint64_t in = 0; in < unit_bytes; in += chunk_bytes)
			for (uint64_t u = 0; u < units; u++)
				ns += request(&t, true, (4 + u) * unit_bytes + in, chunk_bytes);
	fsim_timing_destroy(&t);
	return (double)(rounds * units * unit_bytes) * 1e3 / (double)ns;
}

static void flashbench_points(void **state)
{
	static const struct {
		uint64_t chunk_bytes;
		double mb_s;
	} three[] = {
		{4 * MIB, 7.75}, {2 * MIB, 5.03}, {MIB, 3.24}, {MIB / 2, 1.76}, {MIB / 4, 0.912}};
	(void)state;
	for (size_t i = 0; i < sizeof(three) / sizeof(three[0]); i++)
		near("P2", "3 units in turn", open_units_mb_s(three[i].chunk_bytes, 3),
		     three[i].mb_s);
	for (uint64_t chunk = MIB / 4; chunk <= 4 * MIB; chunk *= 2)
		near("P2", "2 units in turn", open_units_mb_s(chunk, 2), 8.79);
}

/* P7's cache is as large as 95 GB; what comes after that is slow until there was time to fold. */
static void cache_runs_out(void **state)
{
	struct fsim_timing t;
	(void)state;
	start("P7", &t);
	uint64_t off = 0;
	for (; off < UINT64_C(95000000000) / MIB * MIB; off += MIB)
		fsim_timing_write(&t, off, MIB);
	uint64_t ns = 0, from = off;
	for (; off < from + 256 * MIB; off += MIB)
		ns += fsim_timing_write(&t, off, MIB);
	near("P7", "cache full MB/s", (double)(off - from) * 1e3 / (double)ns, 80);
	fsim_timing_idle(&t, UINT64_C(60000000000));
	ns = 0;
	for (from = off; off < from + 256 * MIB; off += MIB)
		ns += fsim_timing_write(&t, off, MIB);
	near("P7", "cache idle MB/s", (double)(off - from) * 1e3 / (double)ns, 900);
	fsim_timing_destroy(&t);
}

/* A USB 3 stick in a USB 2 port is held back by it, and back in its own port it is not. */
static void slow_port(void **state)
{
	struct fsim_timing t;
	(void)state;
	start("P6", &t);
	fsim_timing_link(&t, 480);
	uint64_t slow = request(&t, false, 0, MIB);
	fsim_timing_link(&t, 0);
	uint64_t fast = request(&t, false, MIB, MIB);
	assert_true(slow > 25000000 && slow < 30000000);
	assert_true(fast < 3000000);
	fsim_timing_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_points),
		cmocka_unit_test(flashbench_points),
		cmocka_unit_test(cache_runs_out),
		cmocka_unit_test(slow_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
