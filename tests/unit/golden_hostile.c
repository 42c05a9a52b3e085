/* SPDX-License-Identifier: GPL-2.0-or-later */
/* golden_hostile.c: a log that leads over the same bytes again and again is given up in time. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "image_edit.h"
#include "stickvm/store.h"

#define SEGMENT_BYTES (1u << 20)
#define PLACE_BYTES (64u << 20)
#define MOVES 1600u /* nearly as many as a header can have */
#define HEAD_BYTES (SV_HEAD_FIXED_BYTES + MOVES * SV_REC_MOVE_BYTES + SV_HASH_BYTES)
#define BATCHES 600u /* 60 GB of targets to be read */

static void format(struct store_image *image)
{
	struct sv_format_params params = {
		.size_bytes = 1 << 20, .segment_bytes = SEGMENT_BYTES, .page_bytes = 4096};
	struct sv_dev *dev;

	image_zeros(PLACE_BYTES, image);
	dev = image_dev(image);
	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	image_look(image);
}

/* A batch behind `last`: nothing but moves, all of them of one large unit. */
static void append(struct store_image *image, struct sv_head *last)
{
	struct sv_record move = {.type = SV_REC_MOVE,
				 .blocks = 1,
				 .stored_bytes = SV_UNIT_MAX_BYTES,
				 .new_place = PLACE_BYTES - SV_UNIT_MAX_BYTES};
	struct sv_head h = *last;
	uint8_t *at;
	struct sv_cur c;

	h.offset += h.total_bytes;
	h.head_bytes = h.payload_offset = HEAD_BYTES;
	h.payload_bytes = 0;
	h.total_bytes = (uint32_t)sv_align_up(HEAD_BYTES, 4096);
	h.flags = 0;
	h.records = MOVES;
	h.seq++;
	h.flushed_seq = 0;
	memcpy(h.prev_hash, last->hash, SV_HASH_BYTES);
	if (h.offset + h.total_bytes > SEGMENT_BYTES) {
		h.segment = last->next_segment;
		h.offset = 0;
	}
	h.next_segment = h.segment + 1;
	h.after_segment = h.segment + 2;
	at = image->bytes + (uint64_t)h.segment * SEGMENT_BYTES + h.offset;
	c = sv_cur_over(at + SV_HEAD_FIXED_BYTES, MOVES * SV_REC_MOVE_BYTES);
	for (unsigned i = 0; i < MOVES; i++)
		sv_record_put(&c, &move);
	assert_false(c.bad);
	sv_head_encode(&h, at);
	*last = h;
}

static void test_time_is_bounded(void **state)
{
	struct sv_open_options opts = {.manual = true, .read_only = true};
	struct store_image image;
	struct edit_batch root;
	struct sv_store *store;
	struct sv_dev *dev;

	(void)state;
	format(&image);
	assert_int_equal(image_chain(&image, &root, 1), 1);
	for (unsigned i = 0; i < BATCHES; i++)
		append(&image, &root.head);
	dev = image_dev(&image);
	assert_int_equal(sv_store_open(dev, &opts, &store), -EUCLEAN);
	assert_non_null(strstr(sv_store_why(), "longer than any"));
	sv_dev_close(dev);
	store_image_free(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_time_is_bounded)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
