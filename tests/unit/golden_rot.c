/* SPDX-License-Identifier: GPL-2.0-or-later */
/* golden_rot.c: one sector rots, anywhere: it costs what it must, and is never passed over. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev_faulty.h"
#include "effort.h"
#include "stickvm/store.h"
#include "store_life.h"

#define SEGMENT_BYTES (64u << 10)
#define PAGE_BYTES 4096u
#define PLACE_BYTES (16u << 20)
#define DISK_BYTES (2u << 20)
#define MOST_BATCHES 4096u

/* A store that was worked on, and what its disk holds. */
struct world {
	struct store_life life;
	struct edit_batch chain[MOST_BATCHES];
	unsigned batches;
};

struct plan {
	unsigned sessions, writes;
	uint64_t lie_window_bytes, checkpoint_bytes;
	bool closed; /* the last session ended well */
};

static struct life_way way = {
	.host = "rot", .batch_bytes = 128 << 10, .flush_one_in = 4, .clean_one_in = 40};

static struct sv_format_params params(uint32_t segment_bytes, uint64_t lie_window_bytes,
				      uint64_t checkpoint_bytes)
{
	return (struct sv_format_params){.size_bytes = DISK_BYTES,
					 .segment_bytes = segment_bytes,
					 .page_bytes = PAGE_BYTES,
					 .lie_window_bytes = lie_window_bytes,
					 .checkpoint_bytes = checkpoint_bytes};
}

static void format(struct store_image *image, uint32_t segment_bytes)
{
	const struct sv_format_params small = params(segment_bytes, 64 << 10, 256 << 10);

	life_format(image, &small);
}

static struct world *world_make(const struct plan *plan)
{
	const struct sv_format_params sizes =
		params(SEGMENT_BYTES, plan->lie_window_bytes, plan->checkpoint_bytes);
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	store_life_begin(&way, PLACE_BYTES, &sizes, 7, &w->life);
	store_life_sessions(&w->life, plan->sessions, plan->writes, plan->closed);
	w->batches = image_chain(&w->life.image, w->chain, MOST_BATCHES);
	return w;
}

static void world_free(struct world *w)
{
	store_life_free(&w->life);
	free(w);
}

/* How many blocks read as something else than what they hold; EIO is no such thing. */
static unsigned false_blocks(const struct world *w, struct sv_store *store)
{
	static uint8_t got[SV_BLOCK_BYTES];
	unsigned bad = 0;

	for (uint64_t off = 0; off < DISK_BYTES; off += SV_BLOCK_BYTES) {
		int r = sv_store_read(store, got, SV_BLOCK_BYTES, off);

		assert_true(r == 0 || r == -EIO);
		bad += r == 0 && memcmp(got, w->life.disk + off, SV_BLOCK_BYTES) != 0;
	}
	return bad;
}

/* The newest batch that the chain or an anchor proves to have been flushed. */
static uint64_t proven_seq(const struct world *w)
{
	const struct sv_head *tail = &w->chain[w->batches - 1].head;

	return tail->flags & SV_BATCH_CLOSE ? tail->seq : tail->flushed_seq;
}

/* Whether a batch behind that one names what was born there: it belongs to that batch. */
static bool was_born_behind(const struct world *w, uint64_t place, uint64_t seq)
{
	struct edit_unit u;

	for (unsigned i = 0; i < w->batches; i++)
		for (unsigned k = 0; w->chain[i].head.seq > seq &&
				     image_record(&w->life.image, &w->chain[i], k, &u);
		     k++)
			if (u.rec.type == SV_REC_BORN && place + 512 > u.rec.new_place &&
			    place < u.rec.new_place + u.rec.stored_bytes)
				return true;
	return false;
}

/* Whether what lies there was proven to be flushed, so that its loss must be noticed. */
static bool proven(const struct world *w, uint64_t place)
{
	for (unsigned i = 0; i < w->batches; i++)
		if (place >= w->chain[i].place &&
		    place < w->chain[i].place + w->chain[i].head.total_bytes)
			return w->chain[i].head.seq <= proven_seq(w);
	return !was_born_behind(w, place, proven_seq(w));
}

/* Promise 4: never wrong data, never older data, unless opening said that there is a loss. */
static void one_sector(struct world *w, uint64_t at)
{
	struct sv_recovery recovery;
	struct sv_store *store;
	unsigned bad;

	if (life_open(&way, &w->life.image, true, &store) < 0)
		return;
	sv_store_recovery(store, &recovery);
	bad = false_blocks(w, store);
	if (bad && !recovery.lost_flushed_batches && proven(w, at))
		fail_msg("rot at %06" PRIx64 " hides the newest content of %u blocks in silence",
			 at, bad);
	sv_store_abandon(store);
}

static void sweep(const struct plan *plan)
{
	struct world *w = world_make(plan);
	unsigned used = 0, tried = 0;

	for (uint64_t at = 0; at < PLACE_BYTES; at += 512) {
		uint64_t k = at;

		while (k < at + 512 && !w->life.image.bytes[k])
			k++;
		if (k == at + 512 || used++ % effort_step() != 0)
			continue;
		image_flip(&w->life.image, k);
		one_sector(w, at);
		tried++;
		image_flip(&w->life.image, k);
	}
	print_message("golden_rot: %u sectors rotted, one at a time\n", tried);
	world_free(w);
}

static void rot_in_a_closed_store(void **state)
{
	static const struct plan plans[] = {{3, 60, 64 << 10, 256 << 10, true},
					    {8, 6, 1 << 20, 256 << 10, true}};

	(void)state;
	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++)
		sweep(&plans[i]);
}

static void rot_in_a_store_that_was_not_closed(void **state)
{
	const struct plan plan = {3, 60, 64 << 10, 256 << 10, false};

	(void)state;
	sweep(&plan);
}

static void rot_in_what_was_born(void **state)
{
	const struct plan plan = {3, 60, 64 << 10, 256 << 10, false};

	(void)state;
	way.births = SV_BIRTHS_TRIED;
	sweep(&plan);
	way.births = SV_BIRTHS_MEASURED;
}

/*
 * A header that was flushed, with more than lie_window behind it: that is no lie of the stick.
 * The store stays closed, and what lies behind the damage stays where it is.
 */
static void a_rotten_header_beyond_the_window(void **state)
{
	const struct plan plan = {1, 500, 64 << 10, 2 << 20, true};
	struct world *w = world_make(&plan);
	const struct sv_head *tail = &w->chain[w->batches - 1].head;
	/* The header that tells of a flush lies behind it by up to a flush distance. */
	const uint64_t window = plan.lie_window_bytes +
				sv_max64(plan.lie_window_bytes / 2, SEGMENT_BYTES) +
				2 * SEGMENT_BYTES;
	unsigned tried = 0;

	(void)state;
	for (unsigned i = 1; i < w->batches; i++) {
		const struct sv_head *last = &w->chain[i - 1].head;
		struct store_image copy;
		struct sv_store *store;

		if (tail->log_bytes <= last->log_bytes + last->total_bytes + window)
			break;
		image_copy(&w->life.image, &copy);
		image_flip(&copy, w->chain[i].place + 60);
		assert_int_equal(life_open(&way, &copy, true, &store), -EUCLEAN);
		assert_int_equal(life_open(&way, &copy, false, &store), -EUCLEAN);
		image_flip(&copy, w->chain[i].place + 60);
		assert_memory_equal(copy.bytes, w->life.image.bytes, copy.len_bytes);
		store_image_free(&copy);
		tried++;
	}
	assert_in_range(tried, 1, MOST_BATCHES);
	world_free(w);
}

/* All data is there and an older root, too: a bad page of the segment table is not the end. */
static void a_rotten_page_of_the_segment_table(void **state)
{
	const struct plan plan = {3, 60, 64 << 10, 256 << 10, true};
	struct world *w = world_make(&plan);
	unsigned tried = 0;

	(void)state;
	for (unsigned i = 1; i < w->batches; i++) {
		struct edit_unit u;
		struct sv_store *store;

		for (unsigned k = 0; image_record(&w->life.image, &w->chain[i], k, &u); k++) {
			if (u.rec.type != SV_REC_PAGE || u.rec.tree != SV_TREE_USAGE)
				continue;
			image_flip(&w->life.image, u.place + SV_UNIT_HEAD_BYTES);
			store = life_must_open(&way, &w->life.image, true);
			assert_int_equal(false_blocks(w, store), 0);
			sv_store_abandon(store);
			image_flip(&w->life.image, u.place + SV_UNIT_HEAD_BYTES);
			tried++;
		}
	}
	assert_in_range(tried, 1, MOST_BATCHES);
	world_free(w);
}

/*
 * A unit rots in a log that was closed: EIO for its blocks. Work goes on and ends without a close:
 * the next recovery must not take the rot for the end of the log, and the new work with it.
 */
static void rot_behind_a_close_stays_what_it_is(void **state)
{
	const struct plan plan = {1, 20, 1 << 20, 4 << 20, true};
	struct world *w = world_make(&plan);
	static uint8_t block[SV_BLOCK_BYTES];
	struct sv_recovery recovery;
	struct sv_store *store;
	struct edit_unit u;
	unsigned i = w->batches;

	(void)state;
	do
		assert_true(i-- > 1);
	while (!image_record(&w->life.image, &w->chain[i], 0, &u) || u.rec.type != SV_REC_DATA);
	image_flip(&w->life.image, u.place + SV_UNIT_HEAD_BYTES);
	for (unsigned round = 0; round < 3; round++) {
		uint64_t off = (u.rec.lba + 100 + round) % 500 * SV_BLOCK_BYTES;

		store = life_must_open(&way, &w->life.image, false);
		sv_store_recovery(store, &recovery);
		assert_int_equal(recovery.lost_flushed_batches, 0);
		assert_int_equal(
			sv_store_read(store, block, SV_BLOCK_BYTES, u.rec.lba * SV_BLOCK_BYTES),
			-EIO);
		assert_int_equal(false_blocks(w, store), 0);
		memset(w->life.disk + off, (int)round + 1, SV_BLOCK_BYTES);
		assert_int_equal(sv_store_write(store, w->life.disk + off, SV_BLOCK_BYTES, off), 0);
		assert_int_equal(sv_store_flush(store), 0);
		sv_store_abandon(store);
	}
	world_free(w);
}

/* ---- anchors ---- */

static void put_first_block(struct store_image *image, int value)
{
	static uint8_t block[SV_BLOCK_BYTES];
	struct sv_store *store = life_must_open(&way, image, false);

	memset(block, value, sizeof(block));
	assert_int_equal(sv_store_write(store, block, sizeof(block), 0), 0);
	assert_int_equal(sv_store_close(store), 0);
}

static int first_byte(struct store_image *image)
{
	static uint8_t block[SV_BLOCK_BYTES];
	struct sv_store *store = life_must_open(&way, image, true);

	assert_int_equal(sv_store_read(store, block, sizeof(block), 0), 0);
	sv_store_abandon(store);
	return block[0];
}

/* The place held a store with other segments before: its second anchor must not come back. */
static void the_anchor_of_an_earlier_store(void **state)
{
	struct store_image image;

	(void)state;
	image_zeros(PLACE_BYTES, &image);
	format(&image, 64 << 10);
	put_first_block(&image, 11);
	format(&image, 256 << 10);
	put_first_block(&image, 22);
	assert_int_equal(first_byte(&image), 22);
	image_flip(&image, 100);
	assert_int_equal(first_byte(&image), 22);
	store_image_free(&image);
}

/* An anchor that cannot be read is no worse than one that is damaged. */
static void an_anchor_that_cannot_be_read(void **state)
{
	struct store_image image;

	(void)state;
	image_zeros(PLACE_BYTES, &image);
	format(&image, SEGMENT_BYTES);
	put_first_block(&image, 11);
	for (unsigned which = 0; which < 2; which++) {
		struct dev_faulty faults = {.bad_off_bytes = which * (uint64_t)SEGMENT_BYTES,
					    .bad_len_bytes = 512};
		struct sv_open_options opts = {.manual = true, .read_only = true};
		struct sv_store *store;
		int r = sv_store_open(dev_faulty_create(image_dev(&image), &faults), &opts, &store);

		if (r < 0)
			fail_msg("anchor %u cannot be read: %s", which, strerror(-r));
		sv_store_abandon(store);
	}
	store_image_free(&image);
}

/* A newer store whose first anchor is torn is a newer store, not a damaged one. */
static void a_newer_store_with_a_torn_anchor(void **state)
{
	struct store_image image;

	(void)state;
	image_zeros(PLACE_BYTES, &image);
	format(&image, SEGMENT_BYTES);
	image_look(&image);
	for (unsigned torn = 0; torn < 2; torn++) {
		struct store_image copy;
		struct sv_anchor a = image_anchor(&image, 0);
		struct sv_store *store;

		image_copy(&image, &copy);
		image_put_anchor(&copy, 0, &a, SV_FORMAT_VERSION + 1);
		image_put_anchor(&copy, 1, &a, SV_FORMAT_VERSION + 1);
		image_flip(&copy, torn * SEGMENT_BYTES + 100);
		assert_int_equal(life_open(&way, &copy, true, &store), -EPROTONOSUPPORT);
		store_image_free(&copy);
	}
	store_image_free(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rot_in_a_closed_store),
		cmocka_unit_test(a_rotten_header_beyond_the_window),
		cmocka_unit_test(rot_in_a_store_that_was_not_closed),
		cmocka_unit_test(rot_in_what_was_born),
		cmocka_unit_test(a_rotten_page_of_the_segment_table),
		cmocka_unit_test(rot_behind_a_close_stays_what_it_is),
		cmocka_unit_test(the_anchor_of_an_earlier_store),
		cmocka_unit_test(an_anchor_that_cannot_be_read),
		cmocka_unit_test(a_newer_store_with_a_torn_anchor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
