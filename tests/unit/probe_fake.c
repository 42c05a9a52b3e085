/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_fake.c: fakes of all kinds are told, and what they held is still there, cut or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe_fake.h"
#include "probe_rig.h"
#include "probe_save.h"
#include "stick.h"

#define MIB (UINT64_C(1) << 20)
#define SIZE (64 * MIB)

static int keep_nothing(void *ctx, const void *data, size_t len_bytes, uint64_t off_bytes)
{
	(void)ctx;
	(void)data;
	(void)len_bytes;
	(void)off_bytes;
	return 0;
}

static int commit_nothing(void *ctx)
{
	(void)ctx;
	return 0;
}

static const struct probe_range everywhere = {0, SIZE};

static struct probe_capacity_params params_of(const struct probe_range *free, size_t count)
{
	return (struct probe_capacity_params){
		.size_bytes = SIZE,
		.free = free,
		.free_count = count,
		.spill_bytes = 2 * MIB,
		.seed = 99,
		.saver = {keep_nothing, commit_nothing, NULL},
	};
}

/* Every block says where it is, as far as the stick holds it. */
static void fill(struct probe_rig *rig)
{
	uint64_t *buf = malloc(MIB);

	for (uint64_t at = 0; at < SIZE; at += MIB) {
		for (size_t i = 0; i < MIB / 8; i++)
			buf[i] = (at + i * 8) * 31 + 7;
		assert_int_equal(fsim_stick_write(rig->stick, rig->handle, buf, MIB, at), 0);
	}
	free(buf);
}

static uint8_t *content(struct probe_rig *rig)
{
	uint8_t *all = malloc(SIZE);

	for (uint64_t at = 0; at < SIZE; at += MIB)
		assert_int_equal(fsim_stick_read(rig->stick, rig->handle, all + at, MIB, at), 0);
	return all;
}

struct fake_case {
	enum fsim_fake fake;
	uint64_t real, wrap;
	uint32_t cache;
	enum probe_fake want;
};

static const struct fake_case cases[] = {
	{FSIM_GOOD, 0, 0, 0, PROBE_GENUINE},
	{FSIM_BAD, 0, 0, 0, PROBE_BAD},
	{FSIM_BAD, 0, 0, 1 << 20, PROBE_BAD},
	{FSIM_LIMBO, 16 * MIB, 0, 0, PROBE_LIMBO},
	{FSIM_LIMBO, 9 * MIB + 12288, 0, 0, PROBE_LIMBO},
	{FSIM_LIMBO, 9 * MIB + 12288, 0, 512 << 10, PROBE_LIMBO},
	{FSIM_LIMBO, SIZE - 3 * MIB, 0, 0, PROBE_LIMBO},
	{FSIM_LIMBO, 3 * MIB, 0, 0, PROBE_LIMBO},
	{FSIM_WRAPAROUND, 16 * MIB, 0, 0, PROBE_WRAPAROUND},
	{FSIM_WRAPAROUND, 4 * MIB, 0, 0, PROBE_WRAPAROUND},
	{FSIM_WRAPAROUND, 32 * MIB, 0, 512 << 10, PROBE_WRAPAROUND},
	{FSIM_CHAIN, 9 * MIB, 16 * MIB, 0, PROBE_CHAIN},
	{FSIM_CHAIN, 23 * MIB, 32 * MIB, 512 << 10, PROBE_CHAIN},
};

static struct probe_rig rig_of(const struct fake_case *f)
{
	struct fsim_config config = {.profile = fsim_profile_find("P4"),
				     .size_bytes = SIZE,
				     .seed = 1,
				     .fake = f->fake,
				     .real_bytes = f->real,
				     .wrap_bytes = f->wrap,
				     .fake_cache_bytes = f->cache};
	struct probe_rig rig = probe_rig_new(&config);

	fill(&rig);
	return rig;
}

static void check_sizes(const struct fake_case *f, const struct probe_capacity *r)
{
	switch (f->fake) {
	case FSIM_GOOD:
		assert_int_equal(r->real_bytes, SIZE);
		assert_int_equal(r->reached_bytes, SIZE);
		assert_int_equal(r->lost, 0);
		break;
	case FSIM_BAD:
		assert_int_equal(r->real_bytes, 0);
		break;
	case FSIM_WRAPAROUND:
		assert_int_equal(r->wrap_bytes, f->real);
		assert_int_equal(r->real_bytes, f->real);
		break;
	case FSIM_CHAIN:
		assert_int_equal(r->wrap_bytes, f->wrap);
		/* fall through */
	case FSIM_LIMBO:
		assert_true(r->real_bytes <= f->real);
		assert_true(r->real_bytes + r->precision_bytes >= f->real);
		assert_true(r->precision_bytes <= 4096);
		break;
	}
}

static void every_kind(void **state)
{
	struct probe_capacity_params params = params_of(&everywhere, 1);

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct probe_rig rig = rig_of(&cases[i]);
		struct probe_capacity r;
		uint8_t *before, *after;

		before = content(&rig);
		assert_int_equal(probe_capacity_run(&probe_rig_ops, &rig, &params, &r), 0);
		print_message("%zu: %s, real %.1f MiB, wraps at %.0f MiB, %u of %u lost%s\n", i,
			      probe_fake_name(r.kind), (double)r.real_bytes / (double)MIB,
			      (double)r.wrap_bytes / (double)MIB, r.lost, r.samples,
			      r.cached ? ", cached" : "");
		assert_int_equal(r.kind, cases[i].want);
		check_sizes(&cases[i], &r);
		after = content(&rig);
		if (cases[i].cache == 0) /* else what was remembered is forgotten by now */
			assert_memory_equal(before, after, SIZE);
		free(before);
		free(after);
		probe_rig_free(&rig);
	}
}

/* Only some of it is free: nothing else is written to, and the kind is still told. */
static void in_free_space(void **state)
{
	static const struct probe_range free_space[] = {
		{2 * MIB, MIB}, {25 * MIB, 15 * MIB}, {50 * MIB, 11 * MIB}};
	struct probe_capacity_params params = params_of(free_space, 3);

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct probe_rig rig = rig_of(&cases[i]);
		struct probe_capacity r;

		assert_int_equal(probe_capacity_run(&probe_rig_ops, &rig, &params, &r), 0);
		assert_true((r.kind == PROBE_GENUINE) ==
			    (cases[i].want == PROBE_GENUINE || cases[i].real == SIZE - 3 * MIB));
		assert_true(r.reached_bytes <= 61 * MIB);
		probe_rig_free(&rig);
	}
}

static void too_little_room(void **state)
{
	struct probe_range one = {MIB, 4 * 4096};
	struct probe_capacity_params params = params_of(&one, 1);
	struct probe_rig rig = rig_of(&cases[0]);
	struct probe_capacity r;

	(void)state;
	assert_int_equal(probe_capacity_run(&probe_rig_ops, &rig, &params, &r), -ENOSPC);
	probe_rig_free(&rig);
}

/* Pulled at any command: the file on the host brings back what was there. */
static void cut_and_restored(void **state)
{
	static const size_t which[] = {0, 3, 9, 11};
	char dir[] = "/tmp/stickvm-save.XXXXXX";
	struct probe_capacity_params params = params_of(&everywhere, 1);

	(void)state;
	assert_non_null(mkdtemp(dir));
	setenv("XDG_STATE_HOME", dir, 1);
	for (size_t i = 0; i < sizeof which / sizeof which[0]; i++) {
		struct probe_rig rig = rig_of(&cases[which[i]]);
		uint8_t *before = content(&rig), *after;

		for (uint64_t at = 20; at < 260; at += 23) {
			struct probe_save *save;
			struct probe_capacity r;
			uint64_t restored;

			assert_int_equal(probe_save_open("a/b", SIZE, 99, &save), 0);
			params.saver = probe_save_saver(save);
			rig.fail_with = -ENODEV;
			rig.fail_at = rig.commands + at;
			assert_int_equal(probe_capacity_run(&probe_rig_ops, &rig, &params, &r),
					 -ENODEV);
			probe_save_close(save, false);
			rig.fail_at = 0;
			assert_true(probe_save_pending("a/b"));
			assert_int_equal(probe_save_open("a/b", SIZE, 99, &save), -EEXIST);
			assert_int_equal(probe_save_restore("a/b", SIZE + 4096, &probe_rig_ops,
							    &rig, &restored),
					 -ESTALE);
			assert_int_equal(
				probe_save_restore("a/b", SIZE, &probe_rig_ops, &rig, &restored),
				0);
			assert_false(probe_save_pending("a/b"));
			after = content(&rig);
			assert_memory_equal(before, after, SIZE);
			free(after);
		}
		free(before);
		probe_rig_free(&rig);
	}
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(rmdir("stickvm"), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* What the guest or a person wrote since is not put back over. */
static void newer_is_kept(void **state)
{
	struct probe_rig rig = rig_of(&cases[0]);
	uint8_t old[8192] = {1}, now[8192];
	uint64_t restored = 0;

	(void)state;
	assert_int_equal(probe_capacity_restore(&probe_rig_ops, &rig, 99, old, sizeof old, 5 * MIB,
						&restored),
			 0);
	assert_int_equal(restored, 0);
	assert_int_equal(fsim_stick_read(rig.stick, rig.handle, now, sizeof now, 5 * MIB), 0);
	assert_memory_not_equal(old, now, sizeof old);
	probe_rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),	   cmocka_unit_test(in_free_space),
		cmocka_unit_test(too_little_room), cmocka_unit_test(cut_and_restored),
		cmocka_unit_test(newer_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
