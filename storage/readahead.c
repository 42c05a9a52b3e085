/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * readahead.c: reads of the device, sector by sector, with one stream read ahead.
 *
 * Units are not sectors: a megabyte of blocks is a megabyte and 4 KiB of units, which begins and
 * ends inside sectors. Read as it comes, each request would cost a second, tiny command, and begin
 * one sector before the last one ended, which a stick takes for a seek. So reads that follow each
 * other are served from a buffer that is filled in whole commands, one behind the other.
 *
 * A1  What is in the buffer may be older than the device: a segment may be written, or reused,
 *     meanwhile. Every unit is verified by who reads it, and read again past the buffer
 *     (sv_stream_drop) where it does not verify.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define STREAM_BYTES (1u << 20)
#define STREAM_LEAST_BYTES (128u << 10)
#define STREAK 2u
#define GAP_BYTES (64u << 10) /* a header between two parts of a batch */

int sv_stream_init(struct sv_store *s)
{
	pthread_mutex_init(&s->stream.lock, NULL);
	return posix_memalign((void **)&s->stream.buf, 4096, STREAM_BYTES) ? -ENOMEM : 0;
}

void sv_stream_free(struct sv_store *s)
{
	free(s->stream.buf);
	pthread_mutex_destroy(&s->stream.lock);
}

void sv_stream_drop(struct sv_store *s)
{
	pthread_mutex_lock(&s->stream.lock);
	s->stream.len = 0;
	s->stream.streak = 0;
	pthread_mutex_unlock(&s->stream.lock);
}

static int device_read(struct sv_store *s, void *buf, uint64_t len, uint64_t from)
{
	int r = sv_io_read(s, buf, len, from);

	if (r == -ENODEV && sv_retain_read(s, buf, len, from))
		return 0;
	if (r == 0)
		atomic_fetch_add_explicit(&s->tally.stick_read, len, memory_order_relaxed);
	return r;
}

/* What is between two pieces is read as well where that takes less time than a seek. A unit's
 * largest size says how much that is: beyond a block, it takes a quarter of a random read. */
static uint64_t bridge(const struct sv_store *s, uint64_t from)
{
	uint64_t end = s->stream.place + s->stream.len;
	uint64_t worth = 4 * (s->opts.unit_bytes - sv_min64(s->opts.unit_bytes, SV_BLOCK_BYTES));

	return s->stream.len && from > end && from - end <= worth ? end : from;
}

/* The next piece of the stream into the buffer, up to `from` and from there on, within its segment.
 */
static int refill(struct sv_store *s, uint64_t from, uint64_t wanted)
{
	uint64_t end, len = sv_max64(sv_align_up(wanted * 8, 4096), STREAM_LEAST_BYTES);
	int r;

	from = bridge(s, from);
	end = (from / s->anchor.segment_bytes + 1) * s->anchor.segment_bytes;
	len = sv_min64(sv_min64(len, STREAM_BYTES), end - from);
	s->stream.len = 0;
	r = device_read(s, s->stream.buf, len, from);
	if (r < 0)
		return r;
	s->stream.place = from;
	s->stream.len = len;
	return 0;
}

/* [from, to) out of the stream; the lock of the stream is held. */
static int read_stream(struct sv_store *s, uint8_t *dst, uint64_t from, uint64_t to)
{
	uint64_t wanted = to - from;

	while (from < to) {
		uint64_t end = s->stream.place + s->stream.len;
		uint64_t n;

		if (from < s->stream.place || from >= end) {
			int r = refill(s, from, wanted);

			if (r < 0)
				return r;
			continue;
		}
		n = sv_min64(to, end) - from;
		memcpy(dst, s->stream.buf + (from - s->stream.place), n);
		dst += n;
		from += n;
	}
	return 0;
}

/* A read that is not of the stream; what it shares with the read before it (the sector where one
 * unit ends and the next begins) is not read twice, which a stick would take for a seek. */
static int read_alone(struct sv_store *s, uint8_t *dst, uint64_t from, uint64_t to, bool ahead)
{
	uint64_t have = 0, end;
	int r;

	if (!ahead)
		return device_read(s, dst, to - from, from);
	pthread_mutex_lock(&s->stream.lock);
	end = s->stream.place + s->stream.len;
	if (from >= s->stream.place && from < end && end < to) {
		have = end - from;
		memcpy(dst, s->stream.buf + (from - s->stream.place), have);
	}
	pthread_mutex_unlock(&s->stream.lock);
	r = device_read(s, dst + have, to - from - have, from + have);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->stream.lock);
	if (s->stream.streak < STREAK) {
		s->stream.len = s->geo.sector_bytes;
		s->stream.place = to - s->stream.len;
		memcpy(s->stream.buf, dst + (s->stream.place - from), s->stream.len);
	}
	pthread_mutex_unlock(&s->stream.lock);
	return 0;
}

int sv_read_raw(struct sv_store *s, struct sv_scratch *scratch, uint64_t place, uint32_t len_bytes,
		bool ahead, uint8_t **ret_data)
{
	uint64_t from = sv_align_down(place, s->geo.sector_bytes);
	uint64_t to = sv_align_up(place + len_bytes, s->geo.sector_bytes);
	bool follows, streams = false;
	int r = 0;

	assert(to - from <= SV_SCRATCH_BYTES);
	if (ahead) {
		pthread_mutex_lock(&s->stream.lock);
		follows = place >= s->stream.next && place - s->stream.next <= GAP_BYTES;
		s->stream.streak = follows ? s->stream.streak + 1 : 0;
		s->stream.next = place + len_bytes;
		streams = s->stream.streak >= STREAK && !sv_is_detached(s);
		if (streams)
			r = read_stream(s, scratch->io, from, to);
		pthread_mutex_unlock(&s->stream.lock);
	}
	if (!streams || r == -EIO) /* what cannot be read may lie farther on */
		r = read_alone(s, scratch->io, from, to, ahead && !streams);
	if (r < 0)
		return r;
	*ret_data = scratch->io + (place - from);
	return 0;
}
