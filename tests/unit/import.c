/* SPDX-License-Identifier: GPL-2.0-or-later */
/* import.c: the copy of a source into a sink: what is written, and how it ends when it fails. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "stickvm/source.h"

#include "prng.h"

#define BLOCK 4096u
#define CHUNK (1u << 20)

/* A source in memory: `map` says for each sector whether it is data; a hole's bytes are zeros. */
struct fake_source {
	struct sv_source head;
	uint8_t *disk;
	uint8_t *map;
	uint64_t bad_off_bytes; /* reads that touch it fail; UINT64_MAX: none */
	unsigned reads;
};

static int fake_read(struct sv_source *src, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct fake_source *fs = (struct fake_source *)src;

	fs->reads++;
	if (fs->bad_off_bytes >= off_bytes && fs->bad_off_bytes < off_bytes + len_bytes)
		return -EIO;
	memcpy(buf, fs->disk + off_bytes, len_bytes);
	return 0;
}

static int fake_next(struct sv_source *src, uint64_t off_bytes, enum sv_extent *ret_kind,
		     uint64_t *ret_len_bytes)
{
	struct fake_source *fs = (struct fake_source *)src;
	uint64_t sector = off_bytes / 512;
	uint64_t end = sector + 1;

	while (end * 512 < src->size_bytes && fs->map[end] == fs->map[sector])
		end++;
	*ret_kind = fs->map[sector] ? SV_EXTENT_DATA : SV_EXTENT_HOLE;
	*ret_len_bytes = end * 512 - off_bytes;
	return 0;
}

static const struct sv_source_ops fake_ops = {.read = fake_read, .next = fake_next};

static void fake_init(struct fake_source *fs, uint64_t size_bytes)
{
	*fs = (struct fake_source){
		.head = {.ops = &fake_ops, .format = "fake", .size_bytes = size_bytes},
		.disk = calloc(1, size_bytes),
		.map = calloc(1, size_bytes / 512),
		.bad_off_bytes = UINT64_MAX,
	};
	assert_non_null(fs->disk);
	assert_non_null(fs->map);
}

static void fake_free(struct fake_source *fs)
{
	free(fs->disk);
	free(fs->map);
}

/* Sectors [first, first + count) become data; `value` 0 makes them zeros that are not a hole. */
static void fake_data(struct fake_source *fs, uint64_t first, uint64_t count, int value)
{
	memset(fs->map + first, 1, count);
	memset(fs->disk + first * 512, value, count * 512);
}

/* A sink in memory that holds the import to its contract. */
struct fake_sink {
	struct sv_import_sink head;
	uint8_t *disk;
	uint64_t size_bytes;
	uint64_t end_bytes; /* of the last write */
	uint64_t written_bytes;
	uint64_t room_bytes; /* -ENOSPC beyond */
	int flush_result;
	unsigned flushes;
};

static int sink_write(void *ctx, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct fake_sink *sink = ctx;

	assert_in_range(len_bytes, 1, CHUNK);
	assert_int_equal(off_bytes % BLOCK, 0);
	assert_true(len_bytes % BLOCK == 0 || off_bytes + len_bytes == sink->size_bytes);
	assert_true(off_bytes >= sink->end_bytes); /* M1 */
	assert_true(off_bytes + len_bytes <= sink->size_bytes);
	assert_int_equal(sink->flushes, 0);
	if (sink->written_bytes + len_bytes > sink->room_bytes)
		return -ENOSPC;
	memcpy(sink->disk + off_bytes, buf, len_bytes);
	sink->end_bytes = off_bytes + len_bytes;
	sink->written_bytes += len_bytes;
	return 0;
}

static int sink_flush(void *ctx)
{
	struct fake_sink *sink = ctx;

	sink->flushes++;
	return sink->flush_result;
}

static void sink_init(struct fake_sink *sink, uint64_t size_bytes)
{
	*sink = (struct fake_sink){
		.head = {.write = sink_write, .flush = sink_flush, .ctx = sink},
		.disk = calloc(1, size_bytes),
		.size_bytes = size_bytes,
		.room_bytes = UINT64_MAX,
	};
	assert_non_null(sink->disk);
}

/* What an import must write of a disk: its blocks that are not all zeros. */
static uint64_t live_bytes(const struct fake_source *fs)
{
	static const uint8_t zeros[BLOCK];
	uint64_t live = 0;

	for (uint64_t off = 0; off < fs->head.size_bytes; off += BLOCK) {
		uint64_t len = fs->head.size_bytes - off;
		len = len < BLOCK ? len : BLOCK;
		if (memcmp(fs->disk + off, zeros, len) != 0)
			live += len;
	}
	return live;
}

static void expect_import(struct fake_source *fs)
{
	struct sv_import_result result;
	struct fake_sink sink;

	sink_init(&sink, fs->head.size_bytes);
	assert_int_equal(sv_import(&fs->head, &sink.head, NULL, &result), 0);
	assert_memory_equal(sink.disk, fs->disk, fs->head.size_bytes);
	assert_int_equal(sink.flushes, 1);
	assert_int_equal(sink.written_bytes, live_bytes(fs));
	assert_int_equal(result.progress.data_bytes, live_bytes(fs));
	assert_int_equal(result.progress.done_bytes, fs->head.size_bytes);
	assert_int_equal(result.progress.total_bytes, fs->head.size_bytes);
	free(sink.disk);
}

static void test_runs_that_fit_no_block(void **state)
{
	struct fake_source fs;

	(void)state;
	fake_init(&fs, 3 * CHUNK + 512 * 5);
	fake_data(&fs, 3, 2, 1);	  /* inside a block */
	fake_data(&fs, 8 * 20 + 7, 2, 2); /* across two */
	fake_data(&fs, 2047, 2, 3);	  /* across two chunks */
	fake_data(&fs, 6144 + 4, 1, 4);	  /* the last sector */
	expect_import(&fs);
	fake_free(&fs);
}

static void test_random_maps(void **state)
{
	struct prng rng = {.state = 7};

	(void)state;
	for (int round = 0; round < 60; round++) {
		struct fake_source fs;
		uint64_t sectors = 1 + prng_below(&rng, 9000);
		fake_init(&fs, sectors * 512);
		for (uint64_t i = prng_below(&rng, 40); i > 0; i--) {
			uint64_t first = prng_below(&rng, sectors);
			uint64_t count = 1 + prng_below(&rng, 300);
			if (count > sectors - first)
				count = sectors - first;
			fake_data(&fs, first, count, (int)prng_below(&rng, 3));
		}
		expect_import(&fs);
		fake_free(&fs);
	}
}

static void test_holes_are_not_read(void **state)
{
	struct fake_source fs;

	(void)state;
	fake_init(&fs, 64 * CHUNK);
	expect_import(&fs);
	assert_int_equal(fs.reads, 0);
	fake_data(&fs, 33 * (CHUNK / 512), 1, 1);
	expect_import(&fs);
	assert_int_equal(fs.reads, 1);
	fake_free(&fs);
}

static void test_read_error_names_the_place(void **state)
{
	struct sv_import_result result;
	struct fake_source fs;
	struct fake_sink sink;

	(void)state;
	fake_init(&fs, 4 * CHUNK);
	fake_data(&fs, 0, 4 * CHUNK / 512, 9);
	fs.bad_off_bytes = 2 * CHUNK + 77;
	sink_init(&sink, fs.head.size_bytes);
	assert_int_equal(sv_import(&fs.head, &sink.head, NULL, &result), -EIO);
	assert_int_equal(result.stage, SV_IMPORT_READ);
	assert_int_equal(result.failed_off_bytes, 2 * CHUNK);
	assert_int_equal(result.progress.done_bytes, 2 * CHUNK);
	assert_int_equal(sink.written_bytes, 2 * CHUNK);
	assert_int_equal(sink.flushes, 0); /* never looks finished */
	free(sink.disk);
	fake_free(&fs);
}

static void test_full_sink(void **state)
{
	struct sv_import_result result;
	struct fake_source fs;
	struct fake_sink sink;

	(void)state;
	fake_init(&fs, 4 * CHUNK);
	fake_data(&fs, 0, 4 * CHUNK / 512, 9);
	sink_init(&sink, fs.head.size_bytes);
	sink.room_bytes = 3 * CHUNK;
	assert_int_equal(sv_import(&fs.head, &sink.head, NULL, &result), -ENOSPC);
	assert_int_equal(result.stage, SV_IMPORT_WRITE);
	assert_int_equal(result.failed_off_bytes, 3 * CHUNK);
	free(sink.disk);
	fake_free(&fs);
}

static void test_failed_flush_is_a_failed_import(void **state)
{
	struct sv_import_result result;
	struct fake_source fs;
	struct fake_sink sink;

	(void)state;
	fake_init(&fs, CHUNK);
	fake_data(&fs, 0, 8, 9);
	sink_init(&sink, fs.head.size_bytes);
	sink.flush_result = -EIO;
	assert_int_equal(sv_import(&fs.head, &sink.head, NULL, &result), -EIO);
	assert_int_equal(result.stage, SV_IMPORT_FLUSH);
	free(sink.disk);
	fake_free(&fs);
}

struct watch {
	uint64_t last_bytes;
	unsigned calls;
	atomic_bool cancel;
	unsigned cancel_at;
};

static void watch_progress(void *ctx, const struct sv_import_progress *progress)
{
	struct watch *w = ctx;

	w->calls++;
	assert_true(progress->done_bytes >= w->last_bytes);
	assert_true(progress->done_bytes <= progress->total_bytes);
	assert_true(progress->data_bytes <= progress->done_bytes);
	w->last_bytes = progress->done_bytes;
	if (w->calls == w->cancel_at)
		atomic_store(&w->cancel, true);
}

static void test_progress_and_cancel(void **state)
{
	struct watch w = {.cancel_at = 0};
	struct sv_import_options opts = {.report = watch_progress, .ctx = &w, .cancel = &w.cancel};
	struct sv_import_result result;
	struct fake_source fs;
	struct fake_sink sink;

	(void)state;
	fake_init(&fs, 8 * CHUNK);
	fake_data(&fs, 0, 6 * CHUNK / 512, 9);
	sink_init(&sink, fs.head.size_bytes);
	assert_int_equal(sv_import(&fs.head, &sink.head, &opts, &result), 0);
	assert_int_equal(w.calls, 7); /* six requests and the end */
	assert_int_equal(w.last_bytes, 8 * CHUNK);
	free(sink.disk);

	w.calls = 0;
	w.last_bytes = 0;
	w.cancel_at = 2;
	sink_init(&sink, fs.head.size_bytes);
	assert_int_equal(sv_import(&fs.head, &sink.head, &opts, &result), -ECANCELED);
	assert_int_equal(result.progress.done_bytes, 2 * CHUNK);
	assert_int_equal(sink.written_bytes, 2 * CHUNK);
	assert_int_equal(sink.flushes, 0);
	free(sink.disk);
	fake_free(&fs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_that_fit_no_block),
		cmocka_unit_test(test_random_maps),
		cmocka_unit_test(test_holes_are_not_read),
		cmocka_unit_test(test_read_error_names_the_place),
		cmocka_unit_test(test_full_sink),
		cmocka_unit_test(test_failed_flush_is_a_failed_import),
		cmocka_unit_test(test_progress_and_cancel),
	};

	return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
