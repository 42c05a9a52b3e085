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
 * A2  No lock is held while the device reads. Who fills the buffer has it alone (`filling`); those
 *     who wait for that are of a stream themselves. Everybody else reads beside it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define STREAM_BYTES (1u << 20)
#define STREAM_LEAST_BYTES (128u << 10)
#define STREAK 2u
#define GAP_BYTES (64u << 10) /* a header between two parts of a batch */
#define ALONE_MOST 64u	      /* reads that are of no stream, and then there is none any more */

int sv_stream_init(struct sv_store *s)
{
	pthread_mutex_init(&s->stream.lock, NULL);
	pthread_cond_init(&s->stream.filled, NULL);
	return posix_memalign((void **)&s->stream.buf, 4096, STREAM_BYTES) ? -ENOMEM : 0;
}

void sv_stream_free(struct sv_store *s)
{
	free(s->stream.buf);
	pthread_mutex_destroy(&s->stream.lock);
	pthread_cond_destroy(&s->stream.filled);
}

void sv_stream_drop(struct sv_store *s)
{
	pthread_mutex_lock(&s->stream.lock);
	s->stream.len = 0;
	s->stream.drops++;
	s->stream.runs = false;
	memset(s->stream.head, 0, sizeof(s->stream.head));
	pthread_mutex_unlock(&s->stream.lock);
}

static int device_read(struct sv_store *s, void *buf, uint64_t len, uint64_t from)
{
	int r = sv_io_read_first(s, buf, len, from);

	if (r == -ENODEV && sv_retain_read(s, buf, len, from))
		return 0;
	if (r == 0)
		atomic_fetch_add_explicit(&s->tally.stick_read, len, memory_order_relaxed);
	return r;
}

/* What is between two pieces is read as well where that takes less time than a seek. A unit's
 * largest size says how much that is: beyond a block, it takes a quarter of a random read. */
uint64_t sv_bridge_bytes(const struct sv_store *s)
{
	return 4 * (s->opts.unit_bytes - sv_min64(s->opts.unit_bytes, SV_BLOCK_BYTES));
}

static uint64_t bridge(const struct sv_store *s, uint64_t from)
{
	uint64_t end = s->stream.place + s->stream.len;

	return s->stream.len && from > end && from - end <= sv_bridge_bytes(s) ? end : from;
}

/* The next piece of the stream into the buffer, up to `from` and from there on, within its segment.
 * The lock is given up meanwhile; nobody else touches the buffer (A2). */
static int refill(struct sv_store *s, uint64_t from, uint64_t wanted)
{
	uint64_t end, len = sv_max64(sv_align_up(wanted * 8, 4096), STREAM_LEAST_BYTES);
	uint64_t drops = s->stream.drops;
	int r;

	from = bridge(s, from);
	end = (from / s->anchor.segment_bytes + 1) * s->anchor.segment_bytes;
	len = sv_min64(sv_min64(len, STREAM_BYTES), end - from);
	s->stream.len = 0;
	s->stream.filling = true;
	pthread_mutex_unlock(&s->stream.lock);
	r = device_read(s, s->stream.buf, len, from);
	pthread_mutex_lock(&s->stream.lock);
	s->stream.filling = false;
	pthread_cond_broadcast(&s->stream.filled);
	if (r < 0)
		return r;
	if (s->stream.drops != drops)
		return -EAGAIN; /* A1: it may be too old */
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

		if (s->stream.filling) {
			pthread_cond_wait(&s->stream.filled, &s->stream.lock);
			continue;
		}
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
	struct sv_stream *stream = &s->stream;
	uint64_t have = 0, end;
	int r;

	if (!ahead)
		return device_read(s, dst, to - from, from);
	pthread_mutex_lock(&stream->lock);
	end = stream->place + stream->len;
	if (!stream->filling && from >= stream->place && from < end && end < to) {
		have = end - from;
		memcpy(dst, stream->buf + (from - stream->place), have);
	}
	pthread_mutex_unlock(&stream->lock);
	r = device_read(s, dst + have, to - from - have, from + have);
	if (r < 0)
		return r;
	pthread_mutex_lock(&stream->lock);
	if (!stream->runs && !stream->filling) {
		stream->len = s->geo.sector_bytes;
		stream->place = to - stream->len;
		memcpy(stream->buf, dst + (stream->place - from), stream->len);
	}
	pthread_mutex_unlock(&stream->lock);
	return 0;
}

/* Whether this read follows others. Reads of other streams, and single ones, come in between: a
 * few ends are remembered, the one that was continued last in front. With the stream's lock. */
static bool is_of_stream(struct sv_stream *stream, uint64_t place, uint32_t len_bytes)
{
	struct sv_stream_head found = {0};
	unsigned i = 0;

	while (i + 1 < SV_STREAM_HEADS &&
	       (place < stream->head[i].next || place - stream->head[i].next > GAP_BYTES))
		i++;
	if (place >= stream->head[i].next && place - stream->head[i].next <= GAP_BYTES)
		found.streak = stream->head[i].streak + 1;
	found.next = place + len_bytes;
	memmove(&stream->head[1], &stream->head[0], i * sizeof(found));
	stream->head[0] = found;
	stream->alone = found.streak >= STREAK ? 0 : stream->alone + 1;
	if (found.streak >= STREAK)
		stream->runs = true;
	else if (stream->alone > ALONE_MOST || found.streak)
		stream->runs = false;
	return found.streak >= STREAK;
}

int sv_read_raw(struct sv_store *s, struct sv_scratch *scratch, uint64_t place, uint32_t len_bytes,
		bool ahead, uint8_t **ret_data)
{
	uint64_t from = sv_align_down(place, s->geo.sector_bytes);
	uint64_t to = sv_align_up(place + len_bytes, s->geo.sector_bytes);
	bool streams = false;
	int r = 0;

	assert(to - from <= SV_SCRATCH_BYTES);
	if (ahead) {
		pthread_mutex_lock(&s->stream.lock);
		streams = is_of_stream(&s->stream, place, len_bytes) && !sv_is_detached(s);
		if (streams)
			r = read_stream(s, scratch->io, from, to);
		pthread_mutex_unlock(&s->stream.lock);
	}
	/* What cannot be read may lie farther on. */
	if (!streams || r == -EIO || r == -EAGAIN)
		r = read_alone(s, scratch->io, from, to, ahead && !streams);
	if (r < 0)
		return r;
	*ret_data = scratch->io + (place - from);
	return 0;
}
