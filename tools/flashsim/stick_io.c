/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick_io.c: one command at a time, on a virtual clock that can be slept for real. */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "fsim_random.h"
#include "stick_priv.h"

/* Lets `busy_ns` pass; false if the handle died meanwhile. Called with the lock held. */
static bool pass_time(struct fsim_stick *stick, const struct fsim_request *req, uint64_t busy_ns)
{
	stick->counters.busy_ns += busy_ns;
	stick->counters.clock_ns += busy_ns;
	if (!stick->latency)
		return true;
	uint64_t idle_ns;
	uint64_t end_ns = fsim_pacer_start(&stick->pacer, req->arrival_ns, busy_ns, &idle_ns);
	stick->counters.clock_ns += idle_ns;
	fsim_timing_idle(&stick->timing, idle_ns);
	struct timespec until = {
		.tv_sec = (time_t)(end_ns / UINT64_C(1000000000)),
		.tv_nsec = (long)(end_ns % UINT64_C(1000000000)),
	};
	int r = 0;
	while (r == 0 && fsim_stick_alive(stick, req->handle) && fsim_now_ns() < end_ns)
		r = pthread_cond_timedwait(&stick->pulled, &stick->lock, &until);
	return fsim_stick_alive(stick, req->handle);
}

/* The sum over the commands that the host makes of a request. */
static uint64_t request_ns(struct fsim_stick *stick, const struct fsim_request *req)
{
	uint64_t off_bytes = req->off_bytes, len_bytes = req->len_bytes, ns = 0;
	bool write = req->op == FSIM_WRITE;
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
static int strike(struct fsim_fault *fault)
{
	if (fault->countdown == 0 || --fault->countdown > 0)
		return 0;
	if (--fault->count > 0)
		fault->countdown = 1;
	return fault->error;
}

static bool in_range(const struct fsim_stick *stick, const struct fsim_request *req)
{
	return req->len_bytes % FSIM_SECTOR_BYTES == 0 && req->off_bytes % FSIM_SECTOR_BYTES == 0 &&
	       req->off_bytes <= stick->size_bytes &&
	       req->len_bytes <= stick->size_bytes - req->off_bytes;
}

static int read_locked(struct fsim_stick *stick, const struct fsim_request *req)
{
	int error = strike(&stick->read_fault);
	if (!pass_time(stick, req, request_ns(stick, req)))
		return -ENODEV;
	if (error < 0)
		return error;
	stick->counters.read_bytes += req->len_bytes;
	if (req->to != NULL)
		fsim_medium_read(&stick->medium, req->to, req->len_bytes, req->off_bytes);
	return 0;
}

/* The data of a write reaches the medium. */
static int apply_write(struct fsim_stick *stick, const struct fsim_request *req)
{
	size_t len_bytes = req->len_bytes;
	uint64_t off_bytes = req->off_bytes;
	int r = 0;
	if (stick->config.cut.track)
		r = fsim_history_add(&stick->history, &stick->medium, len_bytes, off_bytes);
	if (r == 0 && stick->recording != NULL)
		r = fsim_record_write(stick->recording, req->from, len_bytes, off_bytes);
	if (r < 0)
		return r;
	fsim_medium_write(&stick->medium, req->from, len_bytes, off_bytes);
	stick->counters.written_bytes += len_bytes;
	return 0;
}

/* The last spare block is gone. */
static int write_worn(struct fsim_stick *stick, const struct fsim_request *req)
{
	switch (stick->config.end) {
	case FSIM_END_READ_ONLY:
		return -EROFS;
	case FSIM_END_VANISHES:
		fsim_stick_cut_power(stick, FSIM_GONE);
		return -ENODEV;
	case FSIM_END_CORRUPTS:
		break;
	}
	uint64_t sectors = req->len_bytes / FSIM_SECTOR_BYTES;
	uint64_t hit = fsim_random_below(&stick->random, sectors + 3); /* some writes survive */
	if (hit < sectors)
		fsim_medium_shred(&stick->medium, FSIM_SECTOR_BYTES,
				  req->off_bytes + hit * FSIM_SECTOR_BYTES, &stick->random);
	return 0;
}

static int write_locked(struct fsim_stick *stick, const struct fsim_request *req)
{
	const struct fsim_flash *flash = &stick->timing.map->flash;
	if (flash->ended && stick->config.end == FSIM_END_READ_ONLY)
		return -EROFS;
	int error = strike(&stick->write_fault);
	uint64_t ns = request_ns(stick, req);
	if (error == 0)
		stick->flight = req;
	if (stick->unplug_countdown > 0 && --stick->unplug_countdown == 0)
		fsim_stick_cut_power(stick, FSIM_UNPLUGGED);
	bool done = pass_time(stick, req, ns) && fsim_stick_alive(stick, req->handle);
	stick->flight = NULL;
	if (!done)
		return -ENODEV;
	if (error < 0)
		return error;
	int r = apply_write(stick, req);
	if (r == 0 && flash->ended)
		r = write_worn(stick, req);
	return r;
}

static int flush_locked(struct fsim_stick *stick, const struct fsim_request *req)
{
	stick->counters.flush_commands++;
	if (!pass_time(stick, req, fsim_timing_flush(&stick->timing)))
		return -ENODEV;
	fsim_history_flush(&stick->history);
	return stick->recording != NULL ? fsim_record_flush(stick->recording) : 0;
}

static int do_locked(struct fsim_stick *stick, const struct fsim_request *req)
{
	if (!fsim_stick_alive(stick, req->handle))
		return -ENODEV;
	switch (req->op) {
	case FSIM_READ:
		return read_locked(stick, req);
	case FSIM_WRITE:
		return write_locked(stick, req);
	case FSIM_FLUSH:
		return flush_locked(stick, req);
	}
	return -EINVAL;
}

int fsim_stick_do(struct fsim_stick *stick, const struct fsim_request *req)
{
	if (!in_range(stick, req) || (req->len_bytes == 0 && req->op == FSIM_WRITE))
		return -EINVAL;
	pthread_mutex_lock(&stick->turn);
	pthread_mutex_lock(&stick->lock);
	int r = do_locked(stick, req);
	if (stick->latency)
		fsim_pacer_woke(&stick->pacer, fsim_now_ns());
	pthread_mutex_unlock(&stick->lock);
	pthread_mutex_unlock(&stick->turn);
	return r;
}

void fsim_stick_answered(struct fsim_stick *stick)
{
	pthread_mutex_lock(&stick->lock);
	if (stick->latency)
		fsim_pacer_woke(&stick->pacer, fsim_now_ns());
	pthread_mutex_unlock(&stick->lock);
}

int fsim_stick_read(struct fsim_stick *stick, uint64_t handle, void *buf, size_t len_bytes,
		    uint64_t off_bytes)
{
	return fsim_stick_do(stick, &(struct fsim_request){
					    .op = FSIM_READ,
					    .handle = handle,
					    .to = buf,
					    .len_bytes = len_bytes,
					    .off_bytes = off_bytes,
					    .arrival_ns = fsim_now_ns(),
				    });
}

int fsim_stick_write(struct fsim_stick *stick, uint64_t handle, const void *buf, size_t len_bytes,
		     uint64_t off_bytes)
{
	return fsim_stick_do(stick, &(struct fsim_request){
					    .op = FSIM_WRITE,
					    .handle = handle,
					    .from = buf,
					    .len_bytes = len_bytes,
					    .off_bytes = off_bytes,
					    .arrival_ns = fsim_now_ns(),
				    });
}

int fsim_stick_flush(struct fsim_stick *stick, uint64_t handle)
{
	return fsim_stick_do(stick, &(struct fsim_request){
					    .op = FSIM_FLUSH,
					    .handle = handle,
					    .arrival_ns = fsim_now_ns(),
				    });
}
