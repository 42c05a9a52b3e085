/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_crash.c: a device in memory whose power can be cut at any write. */
#include "dev_crash.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "crash_log.h"

/*
 * Invariants, under the lock:
 *  C1  `current` is `settled` with every record of the log from `first` on applied in order;
 *  C2  records before `first` are settled: no cut can undo them. Without recording they are gone.
 *  C3  while recording, the log starts at `start`, and `walk` is `start` with the records before
 *      `walk_first` applied: a fork goes on from there instead of from the beginning.
 * A device carries the power cycle it was opened in; a cut begins the next, so old ones are dead.
 */
struct dev_crash {
	pthread_mutex_t lock;
	struct sv_geometry geometry;
	struct image current, settled;
	struct crash_log log;
	size_t first;
	struct dev_crash_cut cut;
	struct dev_crash_report report;
	struct prng rng; /* of discards */
	uint64_t cycle, writes, flushes, recorded;
	bool dead, recording;
	struct image start, walk;
	size_t walk_first;
	uint64_t start_bytes; /* size when recording began */
	dev_crash_hook *hook;
	void *hook_context;
};

struct crash_handle {
	struct sv_dev dev;
	struct dev_crash *medium;
	uint64_t cycle;
};

static void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

static void power_off(struct dev_crash *medium)
{
	struct crash_window window;

	crash_log_window(&medium->log, medium->log.count, medium->cut.liar_bytes, &window);
	if (window.settled < medium->first) /* C2: the window was wider when it settled */
		window.settled = medium->first;
	crash_log_cut(&medium->log, &window, &medium->cut, medium->geometry.erase_bytes,
		      &medium->settled, &medium->report);
	medium->report.writes = medium->writes;
	image_free(&medium->current);
	image_clone(&medium->settled, &medium->current);
	if (medium->recording) {
		image_free(&medium->start);
		image_free(&medium->walk);
		medium->recording = false;
	}
	crash_log_drop_front(&medium->log, medium->log.count);
	medium->first = 0;
	medium->cycle++;
	medium->dead = true;
}

/* Enters a call: the medium, locked, or NULL when the device is dead. */
static struct dev_crash *enter(struct sv_dev *dev)
{
	struct crash_handle *handle = (struct crash_handle *)dev;
	struct dev_crash *medium = handle->medium;

	pthread_mutex_lock(&medium->lock);
	if (handle->cycle == medium->cycle)
		return medium;
	pthread_mutex_unlock(&medium->lock);
	return NULL;
}

/* Lets the test do something before a call. */
static void call_hook(struct sv_dev *dev)
{
	struct dev_crash *medium = ((struct crash_handle *)dev)->medium;

	if (medium->hook != NULL)
		medium->hook(medium->hook_context);
}

static int leave(struct dev_crash *medium, int r)
{
	pthread_mutex_unlock(&medium->lock);
	return r;
}

static void assert_inside(const struct dev_crash *medium, uint64_t off_bytes, uint64_t len_bytes)
{
	uint32_t sector = medium->geometry.sector_bytes;

	assert(off_bytes % sector == 0 && len_bytes % sector == 0);   /* D1 */
	assert(off_bytes + len_bytes <= medium->geometry.size_bytes); /* D2 */
}

/* One write or discard reaches the medium, or the power fails before, in or after it. */
static int put(struct dev_crash *medium, enum crash_event event, const void *data, size_t len_bytes,
	       uint64_t off_bytes)
{
	bool hit = medium->cut.when != DEV_CRASH_NEVER && medium->writes + 1 == medium->cut.write;

	assert_inside(medium, off_bytes, len_bytes);
	if (hit && medium->cut.when == DEV_CRASH_BEFORE) {
		power_off(medium);
		return -ENODEV;
	}
	medium->writes++;
	medium->recorded++;
	crash_log_add(&medium->log, event, data, len_bytes, off_bytes);
	crash_record_apply(&medium->log.records[medium->log.count - 1], &medium->current);
	if (!hit)
		return 0;
	power_off(medium);
	return medium->cut.when == DEV_CRASH_AFTER ? 0 : -ENODEV;
}

static int crash_read(struct sv_dev *dev, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct dev_crash *medium = enter(dev);

	if (medium == NULL)
		return -ENODEV;
	assert_inside(medium, off_bytes, len_bytes);
	image_read(&medium->current, buf, len_bytes, off_bytes);
	return leave(medium, 0);
}

static int crash_write(struct sv_dev *dev, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct dev_crash *medium;

	call_hook(dev);
	medium = enter(dev);
	if (medium == NULL)
		return -ENODEV;
	return leave(medium, put(medium, CRASH_WRITE, buf, len_bytes, off_bytes));
}

/* Applies what no cut can undo any more, and forgets it unless it is recorded. */
static void settle(struct dev_crash *medium)
{
	struct crash_window window;

	crash_log_window(&medium->log, medium->log.count, medium->cut.liar_bytes, &window);
	for (; medium->first < window.settled; medium->first++)
		crash_record_apply(&medium->log.records[medium->first], &medium->settled);
	if (!medium->recording) {
		crash_log_drop_front(&medium->log, medium->first);
		medium->first = 0;
	}
}

static int crash_flush(struct sv_dev *dev)
{
	struct dev_crash *medium;

	call_hook(dev);
	medium = enter(dev);
	if (medium == NULL)
		return -ENODEV;
	medium->flushes++;
	crash_log_add(&medium->log, CRASH_FLUSH, NULL, 0, 0);
	settle(medium);
	return leave(medium, 0);
}

/* Its range holds old bytes, zeros or garbage afterwards, as the seed says. */
static int crash_discard(struct sv_dev *dev, uint64_t off_bytes, uint64_t len_bytes)
{
	struct dev_crash *medium = enter(dev);
	uint8_t *bytes = NULL;
	uint64_t what;
	int r;

	if (medium == NULL)
		return -ENODEV;
	what = prng_below(&medium->rng, 3);
	if (what > 0)
		bytes = must(calloc(1, len_bytes));
	if (what == 2)
		prng_fill(&medium->rng, bytes, len_bytes);
	r = put(medium, CRASH_DISCARD, bytes, len_bytes, off_bytes);
	free(bytes);
	return leave(medium, r);
}

static int crash_grow(struct sv_dev *dev, uint64_t size_bytes)
{
	struct dev_crash *medium = enter(dev);

	if (medium == NULL)
		return -ENODEV;
	assert(size_bytes % medium->geometry.sector_bytes == 0);
	if (size_bytes > medium->geometry.max_bytes)
		return leave(medium, -ENOSPC);
	if (size_bytes > medium->geometry.size_bytes) {
		medium->geometry.size_bytes = size_bytes;
		crash_log_add(&medium->log, CRASH_GROW, NULL, 0, size_bytes);
		image_resize(&medium->current, size_bytes);
		image_resize(&medium->settled, size_bytes);
	}
	return leave(medium, 0);
}

static int crash_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	struct dev_crash *medium = enter(dev);

	if (medium == NULL)
		return -ENODEV;
	*ret_geometry = medium->geometry;
	return leave(medium, 0);
}

static void crash_close(struct sv_dev *dev)
{
	free(dev);
}

static const struct sv_dev_ops crash_ops = {
	.read = crash_read,
	.write = crash_write,
	.flush = crash_flush,
	.discard = crash_discard,
	.grow = crash_grow,
	.geometry = crash_geometry,
	.close = crash_close,
};

static struct dev_crash *medium_new(const struct sv_geometry *geometry)
{
	struct dev_crash *medium = must(calloc(1, sizeof(*medium)));

	pthread_mutex_init(&medium->lock, NULL);
	medium->geometry = *geometry;
	if (medium->geometry.sector_bytes == 0)
		medium->geometry.sector_bytes = 512;
	if (medium->geometry.max_bytes < geometry->size_bytes)
		medium->geometry.max_bytes = geometry->size_bytes;
	return medium;
}

struct dev_crash *dev_crash_create(const struct sv_geometry *geometry)
{
	struct dev_crash *medium = medium_new(geometry);

	image_init(&medium->current, geometry->size_bytes);
	image_init(&medium->settled, geometry->size_bytes);
	return medium;
}

void dev_crash_destroy(struct dev_crash *medium)
{
	if (medium == NULL)
		return;
	image_free(&medium->current);
	image_free(&medium->settled);
	if (medium->recording) {
		image_free(&medium->start);
		image_free(&medium->walk);
	}
	crash_log_free(&medium->log);
	pthread_mutex_destroy(&medium->lock);
	free(medium);
}

struct sv_dev *dev_crash_open(struct dev_crash *medium, const struct dev_crash_cut *cut)
{
	struct crash_handle *handle = must(calloc(1, sizeof(*handle)));

	pthread_mutex_lock(&medium->lock);
	handle->dev = (struct sv_dev){.ops = &crash_ops, .kind = "crash"};
	handle->medium = medium;
	handle->cycle = medium->cycle;
	medium->dead = false;
	medium->writes = 0;
	medium->flushes = 0;
	medium->cut = (struct dev_crash_cut){0};
	if (cut != NULL)
		medium->cut = *cut;
	medium->rng.state = medium->cut.seed;
	pthread_mutex_unlock(&medium->lock);
	return &handle->dev;
}

void dev_crash_power_off(struct dev_crash *medium, const struct dev_crash_cut *cut)
{
	pthread_mutex_lock(&medium->lock);
	if (cut != NULL) {
		medium->cut.seed = cut->seed;
		medium->cut.liar_bytes = cut->liar_bytes;
		medium->cut.paired_bytes = cut->paired_bytes;
	}
	medium->cut.when = DEV_CRASH_AFTER;
	power_off(medium);
	pthread_mutex_unlock(&medium->lock);
}

struct sv_dev *dev_crash_reopen(struct dev_crash *medium, const struct dev_crash_cut *cut)
{
	if (!medium->dead)
		dev_crash_power_off(medium, cut);
	return dev_crash_open(medium, cut);
}

bool dev_crash_dead(const struct dev_crash *medium)
{
	return medium->dead;
}

uint64_t dev_crash_writes(const struct dev_crash *medium)
{
	return medium->writes;
}

uint64_t dev_crash_recorded(struct dev_crash *medium)
{
	uint64_t recorded;

	pthread_mutex_lock(&medium->lock);
	recorded = medium->recorded;
	pthread_mutex_unlock(&medium->lock);
	return recorded;
}

uint64_t dev_crash_flushes(const struct dev_crash *medium)
{
	return medium->flushes;
}

void dev_crash_last_report(const struct dev_crash *medium, struct dev_crash_report *ret_report)
{
	*ret_report = medium->report;
}

void dev_crash_set_max(struct dev_crash *medium, uint64_t max_bytes)
{
	pthread_mutex_lock(&medium->lock);
	if (max_bytes < medium->geometry.size_bytes)
		max_bytes = medium->geometry.size_bytes;
	medium->geometry.max_bytes = max_bytes;
	pthread_mutex_unlock(&medium->lock);
}

void dev_crash_set_hook(struct dev_crash *medium, dev_crash_hook *hook, void *context)
{
	medium->hook = hook;
	medium->hook_context = context;
}

uint64_t dev_crash_print(const struct dev_crash *medium)
{
	return image_print(&medium->current);
}

bool dev_crash_holds(const struct dev_crash *medium, const void *bytes, size_t len_bytes,
		     uint64_t off_bytes)
{
	return off_bytes + len_bytes <= medium->geometry.size_bytes &&
	       image_equals(&medium->current, bytes, len_bytes, off_bytes);
}

const struct crash_log *dev_crash_log(const struct dev_crash *medium)
{
	return &medium->log;
}

void dev_crash_record(struct dev_crash *medium)
{
	pthread_mutex_lock(&medium->lock);
	assert(!medium->recording);
	crash_log_drop_front(&medium->log, medium->log.count); /* what was before is settled */
	image_free(&medium->settled);
	image_clone(&medium->current, &medium->settled);
	image_clone(&medium->current, &medium->start);
	image_clone(&medium->current, &medium->walk);
	medium->start_bytes = medium->geometry.size_bytes;
	medium->first = 0;
	medium->walk_first = 0;
	medium->recorded = 0;
	medium->recording = true;
	pthread_mutex_unlock(&medium->lock);
}

/* How many records the medium had seen when the cut came. */
size_t dev_crash_records_until(const struct dev_crash *medium, const struct dev_crash_cut *cut)
{
	const struct crash_log *log = &medium->log;
	uint64_t seen = 0;
	size_t i;

	for (i = 0; i < log->count; i++) {
		if (log->records[i].event != CRASH_WRITE && log->records[i].event != CRASH_DISCARD)
			continue;
		if (++seen == cut->write)
			return cut->when == DEV_CRASH_BEFORE ? i : i + 1;
	}
	return i;
}

static uint64_t size_after(const struct dev_crash *medium, size_t end)
{
	uint64_t size_bytes = medium->start_bytes;

	for (size_t i = 0; i < end; i++)
		if (medium->log.records[i].event == CRASH_GROW)
			size_bytes = medium->log.records[i].off_bytes;
	return size_bytes;
}

struct dev_crash *dev_crash_fork(struct dev_crash *medium, const struct dev_crash_cut *cut)
{
	struct dev_crash *fork = medium_new(&medium->geometry);
	struct crash_window window;
	size_t end;

	pthread_mutex_lock(&medium->lock);
	assert(medium->recording);
	end = dev_crash_records_until(medium, cut);
	crash_log_window(&medium->log, end, cut->liar_bytes, &window);
	if (window.settled < medium->walk_first) { /* C3: an earlier cut than the last one */
		image_free(&medium->walk);
		image_clone(&medium->start, &medium->walk);
		medium->walk_first = 0;
	}
	for (; medium->walk_first < window.settled; medium->walk_first++)
		crash_record_apply(&medium->log.records[medium->walk_first], &medium->walk);
	image_clone(&medium->walk, &fork->settled);
	crash_log_cut(&medium->log, &window, cut, medium->geometry.erase_bytes, &fork->settled,
		      &fork->report);
	image_clone(&fork->settled, &fork->current);
	fork->geometry.size_bytes = size_after(medium, end);
	fork->report.writes = cut->write;
	fork->dead = true;
	pthread_mutex_unlock(&medium->lock);
	return fork;
}

struct dev_crash *dev_crash_clone(struct dev_crash *medium)
{
	struct dev_crash *clone = medium_new(&medium->geometry);

	pthread_mutex_lock(&medium->lock);
	image_clone(&medium->current, &clone->current);
	image_clone(&medium->current, &clone->settled);
	pthread_mutex_unlock(&medium->lock);
	return clone;
}

void dev_crash_corrupt(struct dev_crash *medium, uint64_t off_bytes, uint8_t mask)
{
	uint8_t byte;

	pthread_mutex_lock(&medium->lock);
	image_read(&medium->settled, &byte, 1, off_bytes);
	byte ^= mask;
	image_write(&medium->settled, &byte, 1, off_bytes);
	image_read(&medium->current, &byte, 1, off_bytes);
	byte ^= mask;
	image_write(&medium->current, &byte, 1, off_bytes);
	pthread_mutex_unlock(&medium->lock);
}
