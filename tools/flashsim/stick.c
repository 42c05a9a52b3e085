/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick.c: a stick's life: making it, pulling its plug, faults, counters. */

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stick_priv.h"

static int init_parts(struct fsim_stick *stick)
{
	const struct fsim_config *c = &stick->config;
	int r = fsim_timing_init(&stick->timing, c->profile, stick->size_bytes, c->seed);
	if (r == 0)
		r = fsim_medium_init(&stick->medium, stick->size_bytes, c->backing_path);
	if (r < 0)
		return r;
	stick->medium.fake = c->fake;
	stick->medium.real_bytes = c->real_bytes;
	stick->medium.wrap_bytes = c->wrap_bytes;
	r = fsim_medium_cache(&stick->medium, c->fake_cache_bytes);
	if (r < 0)
		return r;
	stick->timing.boundaries = c->boundaries;
	if (c->pe_cycles > 0)
		stick->timing.map->flash.pe_cycles = c->pe_cycles;
	if (c->filled)
		stick->timing.map->ops->fill(stick->timing.map);
	return 0;
}

static void init_locks(struct fsim_stick *stick)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&stick->pulled, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&stick->turn, NULL);
	pthread_mutex_init(&stick->lock, NULL);
}

static bool valid_fake(const struct fsim_config *c, uint64_t size_bytes)
{
	bool whole = c->real_bytes % FSIM_SECTOR_BYTES == 0 && c->real_bytes <= size_bytes;
	switch (c->fake) {
	case FSIM_GOOD:
	case FSIM_BAD:
		return true;
	case FSIM_LIMBO:
		return whole && c->real_bytes > 0;
	case FSIM_WRAPAROUND:
		return whole && c->real_bytes > 0 && (c->real_bytes & (c->real_bytes - 1)) == 0;
	case FSIM_CHAIN:
		return whole && c->real_bytes > 0 && c->wrap_bytes > c->real_bytes &&
		       (c->wrap_bytes & (c->wrap_bytes - 1)) == 0;
	}
	return false;
}

int fsim_stick_new(const struct fsim_config *config, struct fsim_stick **ret_stick)
{
	uint64_t size = config->size_bytes ? config->size_bytes : config->profile->size_bytes;
	size -= size % config->profile->erase_bytes;
	if (!valid_fake(config, size))
		return -EINVAL;
	struct fsim_stick *stick = calloc(1, sizeof(*stick));
	if (stick == NULL)
		return -ENOMEM;
	stick->config = *config;
	stick->size_bytes = size;
	stick->latency = config->latency;
	stick->plugging = 1;
	stick->random = config->seed;
	stick->pacer.busy_until_ns = fsim_now_ns();
	init_locks(stick);
	fsim_history_init(&stick->history, &config->cut, config->profile->erase_bytes);
	int r = init_parts(stick);
	if (r < 0) {
		fsim_stick_free(stick);
		return r;
	}
	fsim_stick_reset_counters(stick);
	*ret_stick = stick;
	return 0;
}

void fsim_stick_free(struct fsim_stick *stick)
{
	if (stick == NULL)
		return;
	fsim_record_stop(stick->recording);
	fsim_history_destroy(&stick->history);
	fsim_medium_destroy(&stick->medium);
	fsim_timing_destroy(&stick->timing);
	pthread_cond_destroy(&stick->pulled);
	pthread_mutex_destroy(&stick->turn);
	pthread_mutex_destroy(&stick->lock);
	free(stick);
}

uint64_t fsim_stick_size(const struct fsim_stick *stick)
{
	return stick->size_bytes;
}

const struct fsim_profile *fsim_stick_profile(const struct fsim_stick *stick)
{
	return stick->config.profile;
}

bool fsim_stick_alive(const struct fsim_stick *stick, uint64_t handle)
{
	return stick->state == FSIM_PLUGGED && stick->plugging == handle;
}

int fsim_stick_open(struct fsim_stick *stick, uint64_t *ret_handle)
{
	pthread_mutex_lock(&stick->lock);
	int r = stick->state == FSIM_PLUGGED ? 0 : -ENODEV;
	if (r == 0)
		*ret_handle = stick->plugging;
	pthread_mutex_unlock(&stick->lock);
	return r;
}

/* The power goes: a write in flight arrives in part. Called with the lock held. */
void fsim_stick_cut_power(struct fsim_stick *stick, enum fsim_state next)
{
	const struct fsim_request *f = stick->flight;
	bool torn = f != NULL && fsim_history_add(&stick->history, &stick->medium, f->len_bytes,
						  f->off_bytes) == 0;
	if (torn)
		fsim_medium_write(&stick->medium, f->from, f->len_bytes, f->off_bytes);
	fsim_history_cut(&stick->history, &stick->medium, torn, &stick->random);
	stick->flight = NULL;
	stick->unplug_countdown = 0;
	stick->state = next;
	pthread_cond_broadcast(&stick->pulled);
}

const void *fsim_stick_peek(const struct fsim_stick *stick, size_t len_bytes, uint64_t off_bytes)
{
	return fsim_medium_peek(&stick->medium, len_bytes, off_bytes);
}

int fsim_stick_unplug(struct fsim_stick *stick)
{
	pthread_mutex_lock(&stick->lock);
	int r = stick->state == FSIM_PLUGGED ? 0 : -ENODEV;
	if (r == 0)
		fsim_stick_cut_power(stick, FSIM_UNPLUGGED);
	pthread_mutex_unlock(&stick->lock);
	return r;
}

void fsim_stick_unplug_at_write(struct fsim_stick *stick, uint64_t n)
{
	pthread_mutex_lock(&stick->lock);
	stick->unplug_countdown = n;
	pthread_mutex_unlock(&stick->lock);
}

int fsim_stick_plug(struct fsim_stick *stick, uint32_t mbit_s)
{
	int r = -EBUSY;
	pthread_mutex_lock(&stick->lock);
	if (stick->state == FSIM_GONE)
		r = -ENODEV;
	if (stick->state == FSIM_UNPLUGGED) {
		stick->state = FSIM_PLUGGED;
		stick->plugging++;
		fsim_timing_link(&stick->timing, mbit_s);
		r = 0;
	}
	pthread_mutex_unlock(&stick->lock);
	return r;
}

static void arm(struct fsim_stick *stick, struct fsim_fault *fault, uint64_t n, uint64_t count,
		int error)
{
	assert(error < 0);
	pthread_mutex_lock(&stick->lock);
	*fault =
		(struct fsim_fault){.countdown = count > 0 ? n : 0, .count = count, .error = error};
	pthread_mutex_unlock(&stick->lock);
}

void fsim_stick_fail_write(struct fsim_stick *stick, uint64_t n, uint64_t count, int error)
{
	arm(stick, &stick->write_fault, n, count, error);
}

void fsim_stick_fail_read(struct fsim_stick *stick, uint64_t n, uint64_t count, int error)
{
	arm(stick, &stick->read_fault, n, count, error);
}

int fsim_stick_corrupt(struct fsim_stick *stick, uint64_t off_bytes, uint64_t len_bytes)
{
	if (off_bytes > stick->size_bytes || len_bytes > stick->size_bytes - off_bytes)
		return -EINVAL;
	uint64_t first = off_bytes - off_bytes % FSIM_SECTOR_BYTES;
	uint64_t end = off_bytes + len_bytes + FSIM_SECTOR_BYTES - 1;
	pthread_mutex_lock(&stick->lock);
	fsim_medium_shred(&stick->medium, end - end % FSIM_SECTOR_BYTES - first, first,
			  &stick->random);
	pthread_mutex_unlock(&stick->lock);
	return 0;
}

int fsim_stick_record(struct fsim_stick *stick, const char *path)
{
	pthread_mutex_lock(&stick->lock);
	int r = fsim_record_stop(stick->recording);
	stick->recording = NULL;
	if (r == 0 && path != NULL)
		r = fsim_record_start(path, &stick->recording);
	pthread_mutex_unlock(&stick->lock);
	return r;
}

int fsim_stick_mark(struct fsim_stick *stick, const char *name)
{
	pthread_mutex_lock(&stick->lock);
	int r = stick->recording != NULL ? fsim_record_mark(stick->recording, name) : -ENOENT;
	pthread_mutex_unlock(&stick->lock);
	return r;
}

void fsim_stick_latency(struct fsim_stick *stick, bool on)
{
	pthread_mutex_lock(&stick->lock);
	if (on && !stick->latency)
		stick->pacer = (struct fsim_pacer){.busy_until_ns = fsim_now_ns()};
	stick->latency = on;
	pthread_mutex_unlock(&stick->lock);
}

void fsim_stick_idle(struct fsim_stick *stick, uint64_t ns)
{
	pthread_mutex_lock(&stick->lock);
	stick->counters.clock_ns += ns;
	fsim_timing_idle(&stick->timing, ns);
	pthread_mutex_unlock(&stick->lock);
}

/* What the flash has counted since the stick was made. */
static struct fsim_counters flash_counters(const struct fsim_stick *stick)
{
	const struct fsim_flash *flash = &stick->timing.map->flash;
	uint64_t cached = (uint64_t)stick->timing.slc_written_bytes;
	return (struct fsim_counters){
		.pages_programmed = flash->pages_programmed + cached / flash->profile->page_bytes,
		.pages_copied = flash->pages_copied,
		.pages_cached = cached / flash->profile->page_bytes,
		.erases = flash->erases_total,
		.failed_blocks = flash->failed,
	};
}

void fsim_stick_counters(struct fsim_stick *stick, struct fsim_counters *ret_counters)
{
	pthread_mutex_lock(&stick->lock);
	struct fsim_counters c = stick->counters, flash = flash_counters(stick);
	c.pages_programmed = flash.pages_programmed - stick->zero.pages_programmed;
	c.pages_copied = flash.pages_copied - stick->zero.pages_copied;
	c.pages_cached = flash.pages_cached - stick->zero.pages_cached;
	c.erases = flash.erases - stick->zero.erases;
	c.failed_blocks = flash.failed_blocks - stick->zero.failed_blocks;
	if (c.written_bytes > 0)
		c.write_amplification = (double)c.pages_programmed *
					stick->config.profile->page_bytes / (double)c.written_bytes;
	pthread_mutex_unlock(&stick->lock);
	*ret_counters = c;
}

void fsim_stick_reset_counters(struct fsim_stick *stick)
{
	pthread_mutex_lock(&stick->lock);
	stick->counters = (struct fsim_counters){.clock_ns = stick->counters.clock_ns};
	stick->zero = flash_counters(stick);
	pthread_mutex_unlock(&stick->lock);
}

int fsim_stick_erases(struct fsim_stick *stick, uint32_t **ret_erases, size_t *ret_count)
{
	const struct fsim_flash *flash = &stick->timing.map->flash;
	uint32_t *erases = malloc(flash->blocks * sizeof(*erases));
	if (erases == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&stick->lock);
	memcpy(erases, flash->erases, flash->blocks * sizeof(*erases));
	pthread_mutex_unlock(&stick->lock);
	*ret_erases = erases;
	*ret_count = flash->blocks;
	return 0;
}
