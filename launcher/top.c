/* SPDX-License-Identifier: GPL-2.0-or-later */
/* top.c: samples of the disks that are mounted on this host, and the rates between two of them. */
#include "top.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "file.h"
#include "mountinfo.h"

#define PREFIX "stickvm:"

static uint64_t number(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

bool top_take(const json_t *status, const char *name, struct top_vm *ret_vm)
{
	const json_t *ledger = json_object_get(status, "ledger");
	const char *id = json_string_value(json_object_get(status, "store_id"));
	const char *state = json_string_value(json_object_get(status, "state"));
	struct top_vm vm = {
		.cached = number(status, "cache_limit_bytes") > 0,
		.guest_read = number(ledger, "guest_read_bytes"),
		.guest_written = number(ledger, "guest_written_bytes"),
		.stick_read = number(ledger, "stick_read_bytes"),
		.stick_written = number(ledger, "stick_written_bytes"),
		.cleaner = number(ledger, "cleaner_bytes"),
		.flushes = number(ledger, "flushes"),
		.hits = number(status, "cache_hits"),
		.misses = number(status, "cache_misses"),
		.dirty_bytes = number(status, "dirty_bytes"),
		.used_bytes = number(status, "used_bytes"),
		.capacity_bytes = number(status, "capacity_bytes"),
		.segments = number(status, "segments"),
		.free_segments = number(status, "free_segments"),
	};

	if (!ledger || !id || !state)
		return false;
	snprintf(vm.name, sizeof(vm.name), "%s", name);
	snprintf(vm.id, sizeof(vm.id), "%s", id);
	snprintf(vm.state, sizeof(vm.state), "%s", state);
	*ret_vm = vm;
	return true;
}

struct reading {
	const char *name;
	struct top_sample *sample;
};

static bool read_one(void *ctx, const struct mountinfo *mi)
{
	struct reading *r = ctx;
	const char *hash;
	char name[72], *path;
	json_t *status;

	if (strncmp(mi->source, PREFIX, strlen(PREFIX)) != 0)
		return true;
	hash = strrchr(mi->source, '#');
	snprintf(name, sizeof(name), "%.*s",
		 hash ? (int)(hash - mi->source - (int)strlen(PREFIX)) : 71,
		 mi->source + strlen(PREFIX));
	if (r->name && strcmp(r->name, name) != 0)
		return true;
	path = file_path("%s/status.json", mi->point);
	status = path ? json_load_file(path, 0, NULL) : NULL;
	if (top_take(status, name, &r->sample->vm[r->sample->count]))
		r->sample->count++;
	json_decref(status);
	free(path);
	return r->sample->count < TOP_VMS;
}

static int by_name(const void *a, const void *b)
{
	const struct top_vm *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : strcmp(x->id, y->id);
}

void top_read(const char *mountinfo, const char *name, struct top_sample *ret_sample)
{
	struct reading r = {.name = name, .sample = ret_sample};
	struct timespec ts;

	memset(ret_sample, 0, sizeof(*ret_sample));
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ret_sample->at_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	mountinfo_each(mountinfo, read_one, &r);
	qsort(ret_sample->vm, ret_sample->count, sizeof(ret_sample->vm[0]), by_name);
}

static const struct top_vm *find(const struct top_sample *sample, const char *id)
{
	for (unsigned i = 0; i < sample->count; i++)
		if (strcmp(sample->vm[i].id, id) == 0)
			return &sample->vm[i];
	return NULL;
}

static double grown(uint64_t before, uint64_t now)
{
	return now > before ? (double)(now - before) : 0;
}

struct top_rates top_rate(const struct top_sample *before, const struct top_sample *now,
			  unsigned index)
{
	const struct top_vm *b = &now->vm[index], *a = find(before, b->id);
	double s = (double)(now->at_ms - before->at_ms) / 1000;
	struct top_rates r = {.times = -1, .hits = -1};
	double hits, misses;

	if (!a || s <= 0)
		return r;
	hits = grown(a->hits, b->hits);
	misses = grown(a->misses, b->misses);
	r.guest_read = grown(a->guest_read, b->guest_read) / s;
	r.guest_written = grown(a->guest_written, b->guest_written) / s;
	r.stick_read = grown(a->stick_read, b->stick_read) / s;
	r.stick_written = grown(a->stick_written, b->stick_written) / s;
	r.cleaner = grown(a->cleaner, b->cleaner) / s;
	r.flushes = grown(a->flushes, b->flushes) / s;
	if (r.guest_written > 0)
		r.times = r.stick_written / r.guest_written;
	if (hits + misses > 0)
		r.hits = hits / (hits + misses);
	return r;
}

static json_t *known(double value)
{
	return value >= 0 ? json_real(value) : json_null();
}

json_t *top_json(const struct top_sample *before, const struct top_sample *now)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < now->count; i++) {
		const struct top_vm *vm = &now->vm[i];
		struct top_rates r = top_rate(before, now, i);

		json_array_append_new(
			array, json_pack("{ss ss ss so so so so so so so so sI sI sI sI sI}",
					 "name", vm->name, "store_id", vm->id, "state", vm->state,
					 "guest_read_bytes_per_s", known(r.guest_read),
					 "guest_written_bytes_per_s", known(r.guest_written),
					 "stick_read_bytes_per_s", known(r.stick_read),
					 "stick_written_bytes_per_s", known(r.stick_written),
					 "cleaner_bytes_per_s", known(r.cleaner), "flushes_per_s",
					 known(r.flushes), "write_amplification", known(r.times),
					 "cache_hit_ratio", known(r.hits), "dirty_bytes",
					 (json_int_t)vm->dirty_bytes, "used_bytes",
					 (json_int_t)vm->used_bytes, "capacity_bytes",
					 (json_int_t)vm->capacity_bytes, "segments",
					 (json_int_t)vm->segments, "free_segments",
					 (json_int_t)vm->free_segments));
	}
	return array;
}
