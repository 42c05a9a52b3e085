/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick.c: one command at a time, on a virtual clock that can be slept for real. */
#include "stick.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pacer.h"
#include "fsim_random.h"
#include "record.h"
#include "timing.h"

/*
 * Two locks. `turn` is held for a whole command, sleep included: Bulk-Only Transport has no
 * queue. `lock` guards everything else and is free while a command sleeps, so that the plug can
 * be pulled under it.
 *
 * States: plugged, unplugged, gone (worn out and vanished). unplug() and the end of life leave
 * plugged, plug() leaves unplugged, nothing leaves gone. A handle is the number of the plugging
 * it was made in; it is alive while plugged and the numbers are equal.
 *
 * A write is applied at its end. When the plug is pulled before that, whoever pulls applies a
 * part of it: `flight` says what is under way.
 */
enum state { PLUGGED, UNPLUGGED, GONE };

struct fault {
	uint64_t countdown; /* requests until it strikes; 0: not armed */
	uint64_t count;	    /* requests that it strikes */
	int error;
};

struct flight {
	const void *buf; /* of a write; NULL: no write is under way */
	size_t len_bytes;
	uint64_t off_bytes;
};

struct fsim_stick {
	struct fsim_config config;
	uint64_t size_bytes;
	pthread_mutex_t turn;
	pthread_mutex_t lock;
	pthread_cond_t pulled;
	struct fsim_timing timing;
	struct fsim_medium medium;
	struct fsim_history history;
	struct fsim_recording *recording;
	struct fsim_pacer pacer;
	bool latency;
	enum state state;
	uint64_t plugging;
	struct flight flight;
	uint64_t unplug_countdown;
	struct fault write_fault, read_fault;
	uint64_t random;
	struct fsim_counters counters; /* the host's side, and the clock */
	struct fsim_counters zero;     /* the flash's side when the counters were reset */
};

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

static bool alive(const struct fsim_stick *stick, uint64_t handle)
{
	return stick->state == PLUGGED && stick->plugging == handle;
}

int fsim_stick_open(struct fsim_stick *stick, uint64_t *ret_handle)
{
	pthread_mutex_lock(&stick->lock);
	int r = stick->state == PLUGGED ? 0 : -ENODEV;
	if (r == 0)
		*ret_handle = stick->plugging;
	pthread_mutex_unlock(&stick->lock);
	return r;
}

/* The power goes: a write in flight arrives in part. Called with the lock held. */
static void cut_power(struct fsim_stick *stick, enum state next)
{
	struct flight *f = &stick->flight;
	bool torn = f->buf != NULL && fsim_history_add(&stick->history, &stick->medium,
						       f->len_bytes, f->off_bytes) == 0;
	if (torn)
		fsim_medium_write(&stick->medium, f->buf, f->len_bytes, f->off_bytes);
	fsim_history_cut(&stick->history, &stick->medium, torn, &stick->random);
	f->buf = NULL;
	stick->unplug_countdown = 0;
	stick->state = next;
	pthread_cond_broadcast(&stick->pulled);
}

/* Lets `busy_ns` pass; false if the handle died meanwhile. Called with the lock held. */
static bool pass_time(struct fsim_stick *stick, uint64_t handle, uint64_t arrival_ns,
		      uint64_t busy_ns)
{
	stick->counters.busy_ns += busy_ns;
	stick->counters.clock_ns += busy_ns;
	if (!stick->latency)
		return true;
	uint64_t idle_ns;
	uint64_t end_ns = fsim_pacer_start(&stick->pacer, arrival_ns, busy_ns, &idle_ns);
	stick->counters.clock_ns += idle_ns;
	fsim_timing_idle(&stick->timing, idle_ns);
	struct timespec until = {
		.tv_sec = (time_t)(end_ns / UINT64_C(1000000000)),
		.tv_nsec = (long)(end_ns % UINT64_C(1000000000)),
	};
	int r = 0;
	while (r == 0 && alive(stick, handle) && fsim_now_ns() < end_ns)
		r = pthread_cond_timedwait(&stick->pulled, &stick->lock, &until);
	return alive(stick, handle);
}

/* The sum over the commands that the host makes of a request. */
static uint64_t request_ns(struct fsim_stick *stick, bool write, uint64_t off_bytes,
			   uint64_t len_bytes)
{
	uint64_t ns = 0;
	while (len_bytes > 0) {
		uint64_t len = stick->timing.max_io_bytes;
		if (len > len_bytes)
			len = len_bytes;
		ns += write ? fsim_timing_write(&stick->timing, off_bytes, len)
			    : fsim_timing_read(&stick->timing, off_bytes, len);
		if (write)
			stick->counters.write_commands++;
		else
			stick->counters.read_commands++;
		off_bytes += len;
		len_bytes -= len;
	}
	return ns;
}

/* The error if this request is one that is to fail, else 0. */
static int strike(struct fault *fault)
{
	if (fault->countdown == 0 || --fault->countdown > 0)
		return 0;
	if (--fault->count > 0)
		fault->countdown = 1;
	return fault->error;
}

static void begin_command(struct fsim_stick *stick)
{
	pthread_mutex_lock(&stick->turn);
	pthread_mutex_lock(&stick->lock);
}

/* What moving the data took here counts as time overslept: it lies in the stick's own rate. */
static void end_command(struct fsim_stick *stick)
{
	if (stick->latency)
		fsim_pacer_woke(&stick->pacer, fsim_now_ns());
	pthread_mutex_unlock(&stick->lock);
	pthread_mutex_unlock(&stick->turn);
}

static bool in_range(const struct fsim_stick *stick, size_t len_bytes, uint64_t off_bytes)
{
	return len_bytes % FSIM_SECTOR_BYTES == 0 && off_bytes % FSIM_SECTOR_BYTES == 0 &&
	       off_bytes <= stick->size_bytes && len_bytes <= stick->size_bytes - off_bytes;
}

static int read_locked(struct fsim_stick *stick, uint64_t handle, uint64_t arrival_ns, void *buf,
		       size_t len_bytes, uint64_t off_bytes)
{
	if (!alive(stick, handle))
		return -ENODEV;
	int error = strike(&stick->read_fault);
	uint64_t ns = request_ns(stick, false, off_bytes, len_bytes);
	if (!pass_time(stick, handle, arrival_ns, ns))
		return -ENODEV;
	if (error < 0)
		return error;
	stick->counters.read_bytes += len_bytes;
	if (buf != NULL)
		fsim_medium_read(&stick->medium, buf, len_bytes, off_bytes);
	return 0;
}

int fsim_stick_read(struct fsim_stick *stick, uint64_t handle, void *buf, size_t len_bytes,
		    uint64_t off_bytes)
{
	if (!in_range(stick, len_bytes, off_bytes))
		return -EINVAL;
	uint64_t arrival_ns = fsim_now_ns();
	begin_command(stick);
	int r = read_locked(stick, handle, arrival_ns, buf, len_bytes, off_bytes);
	end_command(stick);
	return r;
}

/* The data of a write reaches the medium. */
static int apply_write(struct fsim_stick *stick, const void *buf, size_t len_bytes,
		       uint64_t off_bytes)
{
	int r = 0;
	if (stick->config.cut.track)
		r = fsim_history_add(&stick->history, &stick->medium, len_bytes, off_bytes);
	if (r == 0 && stick->recording != NULL)
		r = fsim_record_write(stick->recording, buf, len_bytes, off_bytes);
	if (r < 0)
		return r;
	fsim_medium_write(&stick->medium, buf, len_bytes, off_bytes);
	stick->counters.written_bytes += len_bytes;
	return 0;
}

/* The last spare block is gone. */
static int write_worn(struct fsim_stick *stick, size_t len_bytes, uint64_t off_bytes)
{
	switch (stick->config.end) {
	case FSIM_END_READ_ONLY:
		return -EROFS;
	case FSIM_END_VANISHES:
		cut_power(stick, GONE);
		return -ENODEV;
	case FSIM_END_CORRUPTS:
		break;
	}
	uint64_t sectors = len_bytes / FSIM_SECTOR_BYTES;
	uint64_t hit = fsim_random_below(&stick->random, sectors + 3); /* some writes survive */
	if (hit < sectors)
		fsim_medium_shred(&stick->medium, FSIM_SECTOR_BYTES,
				  off_bytes + hit * FSIM_SECTOR_BYTES, &stick->random);
	return 0;
}

static int write_locked(struct fsim_stick *stick, uint64_t handle, uint64_t arrival_ns,
			const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	const struct fsim_flash *flash = &stick->timing.map->flash;
	if (!alive(stick, handle))
		return -ENODEV;
	if (flash->ended && stick->config.end == FSIM_END_READ_ONLY)
		return -EROFS;
	int error = strike(&stick->write_fault);
	uint64_t ns = request_ns(stick, true, off_bytes, len_bytes);
	if (error == 0)
		stick->flight = (struct flight){buf, len_bytes, off_bytes};
	if (stick->unplug_countdown > 0 && --stick->unplug_countdown == 0)
		cut_power(stick, UNPLUGGED);
	bool done = pass_time(stick, handle, arrival_ns, ns) && alive(stick, handle);
	stick->flight.buf = NULL;
	if (!done)
		return -ENODEV;
	if (error < 0)
		return error;
	int r = apply_write(stick, buf, len_bytes, off_bytes);
	if (r == 0 && flash->ended)
		r = write_worn(stick, len_bytes, off_bytes);
	return r;
}

int fsim_stick_write(struct fsim_stick *stick, uint64_t handle, const void *buf, size_t len_bytes,
		     uint64_t off_bytes)
{
	if (!in_range(stick, len_bytes, off_bytes) || len_bytes == 0)
		return -EINVAL;
	uint64_t arrival_ns = fsim_now_ns();
	begin_command(stick);
	int r = write_locked(stick, handle, arrival_ns, buf, len_bytes, off_bytes);
	end_command(stick);
	return r;
}

static int flush_locked(struct fsim_stick *stick, uint64_t handle, uint64_t arrival_ns)
{
	if (!alive(stick, handle))
		return -ENODEV;
	stick->counters.flush_commands++;
	if (!pass_time(stick, handle, arrival_ns, fsim_timing_flush(&stick->timing)))
		return -ENODEV;
	fsim_history_flush(&stick->history);
	return stick->recording != NULL ? fsim_record_flush(stick->recording) : 0;
}

int fsim_stick_flush(struct fsim_stick *stick, uint64_t handle)
{
	uint64_t arrival_ns = fsim_now_ns();
	begin_command(stick);
	int r = flush_locked(stick, handle, arrival_ns);
	end_command(stick);
	return r;
}

const void *fsim_stick_peek(const struct fsim_stick *stick, size_t len_bytes, uint64_t off_bytes)
{
	return fsim_medium_peek(&stick->medium, len_bytes, off_bytes);
}

int fsim_stick_unplug(struct fsim_stick *stick)
{
	pthread_mutex_lock(&stick->lock);
	int r = stick->state == PLUGGED ? 0 : -ENODEV;
	if (r == 0)
		cut_power(stick, UNPLUGGED);
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
	if (stick->state == GONE)
		r = -ENODEV;
	if (stick->state == UNPLUGGED) {
		stick->state = PLUGGED;
		stick->plugging++;
		fsim_timing_link(&stick->timing, mbit_s);
		r = 0;
	}
	pthread_mutex_unlock(&stick->lock);
	return r;
}

static void arm(struct fsim_stick *stick, struct fault *fault, uint64_t n, uint64_t count,
		int error)
{
	assert(error < 0);
	pthread_mutex_lock(&stick->lock);
	*fault = (struct fault){.countdown = count > 0 ? n : 0, .count = count, .error = error};
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
