/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_rig.c: a simulated stick behind the table that a probe measures through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "probe_rig.h"
#include "stick.h"

/* Some microseconds always, a millisecond now and then, tens of them rarely. */
static int disturb(struct probe_rig *rig)
{
	rig->commands++;
	if (rig->fail_at && rig->commands >= rig->fail_at)
		return rig->fail_with;
	if (rig->noise.state == 0)
		return 0;
	rig->host_ns += prng_below(&rig->noise, 20000);
	if (prng_one_in(&rig->noise, 30))
		rig->host_ns += prng_below(&rig->noise, 1000000);
	if (prng_one_in(&rig->noise, 60))
		rig->host_ns += 10000000 + prng_below(&rig->noise, 30000000);
	return 0;
}

static int rig_read(void *ctx, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct probe_rig *rig = ctx;
	int r = disturb(rig);

	return r ? r : fsim_stick_read(rig->stick, rig->handle, buf, len_bytes, off_bytes);
}

static int rig_write(void *ctx, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct probe_rig *rig = ctx;
	int r = disturb(rig);

	return r ? r : fsim_stick_write(rig->stick, rig->handle, buf, len_bytes, off_bytes);
}

static int rig_flush(void *ctx)
{
	struct probe_rig *rig = ctx;
	int r = disturb(rig);

	return r ? r : fsim_stick_flush(rig->stick, rig->handle);
}

static uint64_t rig_now(void *ctx)
{
	const struct probe_rig *rig = ctx;
	struct fsim_counters counters;

	fsim_stick_counters(rig->stick, &counters);
	return counters.clock_ns + rig->host_ns;
}

const struct probe_ops probe_rig_ops = {rig_read, rig_write, rig_flush, rig_now};

struct probe_rig probe_rig_new(const struct fsim_config *config)
{
	struct probe_rig rig = {.fail_with = -5};

	assert_int_equal(fsim_stick_new(config, &rig.stick), 0);
	assert_int_equal(fsim_stick_open(rig.stick, &rig.handle), 0);
	return rig;
}

void probe_rig_free(struct probe_rig *rig)
{
	fsim_stick_free(rig->stick);
}
