/* SPDX-License-Identifier: GPL-2.0-or-later */
/* import.c: copies a source into an empty sink: data only, in ascending aligned requests. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stickvm/source.h"
#include "stickvm/store.h"

/*
 *  M1  requests ascend and never overlap; each lies inside one chunk of CHUNK_BYTES.
 *  M2  what was not written is zeros in the source: said by it (hole), or seen (blocks of zeros).
 *  M3  0 is returned only after the sink's flush returned 0.
 *
 * A chunk that is data in part is read whole: the sink maps in blocks of 4 KiB, and a run may
 * start anywhere.
 */
#define CHUNK_BYTES (1u << 20)

struct import {
	struct sv_source *src;
	const struct sv_import_sink *sink;
	const struct sv_import_options *opts;
	struct sv_import_result *result;
	uint8_t *chunk;
};

static int stop(struct import *im, enum sv_import_stage stage, uint64_t off_bytes, int r)
{
	im->result->stage = stage;
	im->result->failed_off_bytes = off_bytes;
	return r;
}

static void report(const struct import *im)
{
	if (im->opts->report)
		im->opts->report(im->opts->ctx, &im->result->progress);
}

static bool is_zero(const uint8_t *p, size_t len_bytes)
{
	return p[0] == 0 && memcmp(p, p + 1, len_bytes - 1) == 0;
}

static size_t block_at(size_t len_bytes, size_t at)
{
	size_t rest = len_bytes - at;

	return rest < SV_BLOCK_BYTES ? rest : SV_BLOCK_BYTES;
}

/* Writes the runs of blocks of a chunk that are not zero. */
static int write_chunk(struct import *im, size_t len_bytes, uint64_t off_bytes)
{
	size_t at = 0;

	while (at < len_bytes) {
		size_t from = at;
		while (at < len_bytes && !is_zero(im->chunk + at, block_at(len_bytes, at)))
			at += block_at(len_bytes, at);
		if (at > from) {
			int r = im->sink->write(im->sink->ctx, im->chunk + from, at - from,
						off_bytes + from);
			if (r < 0)
				return stop(im, SV_IMPORT_WRITE, off_bytes + from, r);
			im->result->progress.data_bytes += at - from;
		}
		while (at < len_bytes && is_zero(im->chunk + at, block_at(len_bytes, at)))
			at += block_at(len_bytes, at);
	}
	return 0;
}

/* The next offset at or after `off_bytes` that may hold data; the disk's end if there is none. */
static int skip_holes(struct import *im, uint64_t off_bytes, uint64_t *ret_off_bytes)
{
	const atomic_bool *cancel = im->opts->cancel;

	while (off_bytes < im->src->size_bytes) {
		enum sv_extent kind;
		uint64_t len_bytes;
		if (cancel && atomic_load(cancel))
			return stop(im, SV_IMPORT_READ, off_bytes, -ECANCELED);
		int r = sv_source_next(im->src, off_bytes, &kind, &len_bytes);
		if (r < 0)
			return stop(im, SV_IMPORT_READ, off_bytes, r);
		if (kind == SV_EXTENT_DATA)
			break;
		off_bytes += len_bytes;
	}
	*ret_off_bytes = off_bytes;
	return 0;
}

static int copy_all(struct import *im)
{
	struct sv_import_progress *progress = &im->result->progress;
	uint64_t size_bytes = im->src->size_bytes;
	uint64_t off_bytes = 0;

	for (;;) {
		int r = skip_holes(im, off_bytes, &off_bytes);
		if (r < 0)
			return r;
		if (off_bytes >= size_bytes)
			return 0;
		/* From the block's start to the end of its chunk, where the last one ended or
		 * later. */
		off_bytes -= off_bytes % SV_BLOCK_BYTES;
		assert(off_bytes >= progress->done_bytes); /* M1 */
		uint64_t len_bytes = CHUNK_BYTES - off_bytes % CHUNK_BYTES;
		if (len_bytes > size_bytes - off_bytes)
			len_bytes = size_bytes - off_bytes;
		r = sv_source_read(im->src, im->chunk, (size_t)len_bytes, off_bytes);
		if (r < 0)
			return stop(im, SV_IMPORT_READ, off_bytes, r);
		r = write_chunk(im, (size_t)len_bytes, off_bytes);
		if (r < 0)
			return r;
		off_bytes += len_bytes;
		progress->done_bytes = off_bytes;
		report(im);
	}
}

int sv_import(struct sv_source *src, const struct sv_import_sink *sink,
	      const struct sv_import_options *opts, struct sv_import_result *ret_result)
{
	static const struct sv_import_options defaults = {0};
	struct import im = {
		.src = src,
		.sink = sink,
		.opts = opts ? opts : &defaults,
		.result = ret_result,
	};

	*ret_result = (struct sv_import_result){.progress.total_bytes = src->size_bytes};
	im.chunk = malloc(CHUNK_BYTES);
	if (!im.chunk)
		return -ENOMEM;
	int r = copy_all(&im);
	free(im.chunk);
	if (r < 0)
		return r;
	r = sink->flush(sink->ctx); /* M3 */
	if (r < 0)
		return stop(&im, SV_IMPORT_FLUSH, src->size_bytes, r);
	ret_result->progress.done_bytes = src->size_bytes;
	report(&im);
	return 0;
}
