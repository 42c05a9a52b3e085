/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_run.c: a measurement: its order, its time limit, its single commands. */
/*
 * Order: a fast cache is filled first, before anything else has used it up. What is written in
 * order then is what is read afterwards where nothing else may be read; reads leave nothing open in
 * the stick; the walk over units closes what was open before it, so that the count of open units
 * begins in a known state; random writes come last, since they leave the most to tidy up. Each part
 * has a box of time, and all of them one limit, which makes a quick probe quick on the worst stick:
 * a part that ran out of time answers with what it has, or not.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "probe_priv.h"

#define QUICK_LIMIT_NS (13 * SECOND)
#define FULL_LIMIT_NS (120 * SECOND)

const char *probe_method_name(enum probe_method method)
{
	switch (method) {
	case PROBE_BY_READS:
		return "reads";
	case PROBE_BY_WRITES:
		return "writes";
	case PROBE_UNKNOWN:
		break;
	}
	return NULL;
}

uint64_t probing_now(const struct probing *p)
{
	return p->target->ops->now_ns(p->target->ctx);
}

void probing_set_limit(struct probing *p)
{
	const struct probe_params *params = p->params;
	uint64_t usual_ns = params->full ? FULL_LIMIT_NS : QUICK_LIMIT_NS;

	p->deadline_ns = probing_now(p) + (params->limit_ns ? params->limit_ns : usual_ns);
}

uint64_t probing_until(const struct probing *p, uint64_t box_ns)
{
	uint64_t until_ns = probing_now(p) + (p->params->full ? 4 * box_ns : box_ns);

	return until_ns < p->deadline_ns ? until_ns : p->deadline_ns;
}

bool probing_goes_on(const struct probing *p, uint64_t until_ns)
{
	return p->error == 0 && probing_now(p) < until_ns;
}

bool probing_read(struct probing *p, uint64_t off_bytes, uint64_t len_bytes, uint64_t *ret_ns)
{
	const struct probe_target *t = p->target;
	uint8_t *to = p->buf + REQUEST_BYTES; /* the noise stays */
	uint64_t before_ns = probing_now(p);

	if (p->error == 0)
		p->error = t->ops->read(t->ctx, to, len_bytes, off_bytes);
	*ret_ns = probing_now(p) - before_ns;
	return p->error == 0;
}

bool probing_write(struct probing *p, uint64_t off_bytes, uint64_t len_bytes, uint64_t *ret_ns)
{
	const struct probe_target *t = p->target;
	uint64_t before_ns = probing_now(p);

	if (p->error == 0)
		p->error = t->ops->write(t->ctx, p->buf, len_bytes, off_bytes);
	*ret_ns = probing_now(p) - before_ns;
	if (p->error == 0)
		p->result->written_bytes += len_bytes;
	return p->error == 0;
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t probing_random_below(struct probing *p, uint64_t limit)
{
	return limit ? next_random(&p->random) % limit : 0;
}

void probing_report(struct probing *p, const char *what)
{
	const struct probe_params *params = p->params;
	uint64_t total_ns = p->deadline_ns - p->start_ns;
	uint64_t done_ns = probing_now(p) - p->start_ns;

	if (params->report && p->error == 0 &&
	    !params->report(params->report_ctx, what, done_ns < total_ns ? done_ns : total_ns,
			    total_ns))
		p->error = -ECANCELED;
}

static void run(struct probing *p)
{
	bool may_write = p->target->scratch.len_bytes >= 4 * MIB;

	if (may_write && p->params->cache_bytes > 0)
		probe_writes_cache(p);
	if (may_write) {
		probing_report(p, "writing in order");
		probe_writes_in_order(p);
	}
	probing_report(p, "reading in order");
	probe_reads_in_order(p);
	probing_report(p, "reading here and there");
	probe_reads_random(p);
	probing_report(p, "looking for borders");
	probe_reads_borders(p);
	if (!may_write)
		return;
	probing_report(p, "looking for merges");
	probe_writes_units(p);
	probing_report(p, "counting open units");
	probe_writes_open(p);
	probing_report(p, "writing here and there");
	probe_writes_random(p);
	if (p->error == 0)
		p->error = p->target->ops->flush(p->target->ctx);
}

int probe_run(const struct probe_target *target, const struct probe_params *params,
	      struct probe_result *ret_result)
{
	struct probe_result result = {.at_s = (uint64_t)time(NULL)};
	struct probing p = {.target = target, .params = params, .result = &result};
	void *memory = NULL;

	if (posix_memalign(&memory, BLOCK_BYTES, 2 * REQUEST_BYTES) != 0)
		return -ENOMEM;
	p.buf = memory;
	p.random = params->seed + 1;
	for (size_t i = 0; i < REQUEST_BYTES; i += sizeof(uint64_t))
		*(uint64_t *)(p.buf + i) = next_random(&p.random);
	p.start_ns = probing_now(&p);
	probing_set_limit(&p);
	run(&p);
	result.took_ns = probing_now(&p) - p.start_ns;
	free(memory);
	if (p.error == 0)
		*ret_result = result;
	return p.error;
}
