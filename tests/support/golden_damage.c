/* SPDX-License-Identifier: GPL-2.0-or-later */
/* golden_damage.c: the images of tests/golden/stores, whole and damaged in every known way. */
#include "golden_damage.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "golden_life.h"

/*
 * One image a kind of damage of FORMAT.md's table "What is checked, and what is not". Damage is
 * done at places found by looking through the store, so that it does not depend on where the
 * engine of the day put things.
 */
#define MOST_BATCHES 2048u

struct golden {
	const char *name;
	enum golden_end end;
	void (*damage)(struct store_image *image);
};

static struct edit_batch batches[MOST_BATCHES];

/* The newest batch of the chain that `wanted` likes, `skip` of them passed over. */
static const struct edit_batch *newest(const struct store_image *image,
				       bool (*wanted)(const struct store_image *image,
						      const struct edit_batch *batch),
				       unsigned skip)
{
	unsigned count = image_chain(image, batches, MOST_BATCHES);

	for (unsigned i = count; i-- > 0;)
		if (wanted(image, &batches[i]) && skip-- == 0)
			return &batches[i];
	abort();
}

static bool any(const struct store_image *image, const struct edit_batch *batch)
{
	(void)image;
	(void)batch;
	return true;
}

static bool first_unit(const struct store_image *image, const struct edit_batch *batch,
		       struct edit_unit *ret_unit)
{
	for (unsigned i = 0; image_record(image, batch, i, ret_unit); i++)
		if (ret_unit->rec.type == SV_REC_DATA)
			return true;
	return false;
}

static bool has_data(const struct store_image *image, const struct edit_batch *batch)
{
	struct edit_unit u;

	return first_unit(image, batch, &u);
}

static bool has_born(const struct store_image *image, const struct edit_batch *batch)
{
	struct edit_unit u;

	for (unsigned i = 0; image_record(image, batch, i, &u); i++)
		if (u.rec.type == SV_REC_BORN)
			return true;
	return false;
}

/* ---- the damage ---- */

static void lose_first_anchor(struct store_image *image)
{
	memset(image->bytes, 0xa5, SV_ANCHOR_BYTES);
}

static void lose_second_anchor(struct store_image *image)
{
	image_flip(image, image->segment_bytes + 100);
}

static void lose_both_anchors(struct store_image *image)
{
	image_flip(image, 100);
	lose_second_anchor(image);
}

static void lose_everything(struct store_image *image)
{
	memset(image->bytes, 0, image->len_bytes);
}

static void put_both(struct store_image *image, const struct sv_anchor *a, uint32_t version)
{
	image_put_anchor(image, 0, a, version);
	image_put_anchor(image, 1, a, version);
}

static void make_newer(struct store_image *image)
{
	struct sv_anchor a = image_anchor(image, 0);

	put_both(image, &a, SV_FORMAT_VERSION + 1);
}

static void set_incompat(struct store_image *image)
{
	struct sv_anchor a = image_anchor(image, 0);

	a.features.incompat = UINT64_C(1) << 40;
	put_both(image, &a, SV_FORMAT_VERSION);
}

static void set_ro_compat(struct store_image *image)
{
	struct sv_anchor a = image_anchor(image, 0);

	a.features.ro_compat = UINT64_C(1) << 40;
	put_both(image, &a, SV_FORMAT_VERSION);
}

static void set_compat(struct store_image *image)
{
	struct sv_anchor a = image_anchor(image, 0);

	a.features.compat = UINT64_C(1) << 40;
	put_both(image, &a, SV_FORMAT_VERSION);
}

/* The older anchor names the same root: no other is left. */
static void lose_root_header(struct store_image *image)
{
	struct sv_anchor a = image_anchor(image, 0);

	put_both(image, &a, SV_FORMAT_VERSION);
	image_flip(image, (uint64_t)a.root.segment * image->segment_bytes + a.root.offset + 60);
}

static void lose_new_header(struct store_image *image)
{
	image_flip(image, newest(image, any, 1)->place + 60);
}

/* The batch behind the root: everything after it is missing, further back than the stick was
 * trusted to lose (the window is made as small as can be). */
static void lose_old_header(struct store_image *image)
{
	struct sv_anchor a = image_anchor(image, 0);
	unsigned count = image_chain(image, batches, MOST_BATCHES);

	assert(count > 8);
	a.lie_window_bytes = 0;
	put_both(image, &a, SV_FORMAT_VERSION);
	image_flip(image, batches[1].place + 60);
}

/* Of a log that was closed: damage, not its end. */
static void lose_unit(struct store_image *image)
{
	const struct edit_batch *b = newest(image, has_data, 0);
	struct edit_unit u;

	assert(first_unit(image, b, &u));
	image_flip(image, u.place + SV_UNIT_HEAD_BYTES + 5);
}

/* All copies of a page: with one lost, an older root and the chain tell the same. */
static void lose_pages(struct store_image *image, unsigned tree, uint64_t index)
{
	unsigned count = image_batches(image, batches, MOST_BATCHES), lost = 0;
	struct edit_unit u;

	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; image_record(image, &batches[i], k, &u); k++) {
			if (u.rec.type != SV_REC_PAGE || u.rec.tree != tree || u.rec.level != 0 ||
			    u.rec.lba != index)
				continue;
			image_flip(image, u.place + SV_UNIT_HEAD_BYTES + 5);
			lost++;
		}
	assert(lost > 0);
}

static void lose_table(struct store_image *image)
{
	lose_pages(image, SV_TREE_USAGE, 0);
}

/* Behind the window, so that the root above it is used. */
static void lose_leaf(struct store_image *image)
{
	struct sv_anchor a = image_anchor(image, 0);

	a.lie_window_bytes = 0;
	put_both(image, &a, SV_FORMAT_VERSION);
	lose_pages(image, SV_TREE_MAP, 3);
}

/* Of the newest batch that has one: nothing was written there since. */
static void lose_born_unit(struct store_image *image)
{
	const struct edit_batch *b = newest(image, has_born, 0);
	struct edit_unit u;
	unsigned i = 0;

	while (!image_record(image, b, i, &u) || u.rec.type != SV_REC_BORN)
		i++;
	image_flip(image, u.rec.new_place + SV_UNIT_HEAD_BYTES);
}

static void cut_short(struct store_image *image)
{
	image->len_bytes -= image->segment_bytes;
}

static const struct golden goldens[] = {
	{"v1-closed", GOLDEN_CLOSED, NULL},
	{"v1-flushed", GOLDEN_FLUSHED, NULL},
	{"v1-torn", GOLDEN_TORN, NULL},
	{"v1-no-first-anchor", GOLDEN_CLOSED, lose_first_anchor},
	{"v1-no-second-anchor", GOLDEN_FLUSHED, lose_second_anchor},
	{"v1-compat-bit", GOLDEN_CLOSED, set_compat},
	{"v1-lost-within-window", GOLDEN_FLUSHED, lose_new_header},
	{"should-fail-both-anchors", GOLDEN_CLOSED, lose_both_anchors},
	{"should-fail-no-store", GOLDEN_CLOSED, lose_everything},
	{"should-fail-newer-version", GOLDEN_CLOSED, make_newer},
	{"should-fail-incompat-bit", GOLDEN_CLOSED, set_incompat},
	{"should-fail-ro-compat-bit", GOLDEN_CLOSED, set_ro_compat},
	{"should-fail-root-header", GOLDEN_CLOSED, lose_root_header},
	{"should-fail-lost-beyond-window", GOLDEN_FLUSHED, lose_old_header},
	{"should-fail-segment-table", GOLDEN_CLOSED, lose_table},
	{"should-fail-shorter-place", GOLDEN_CLOSED, cut_short},
	{"should-fail-unit", GOLDEN_CLOSED, lose_unit},
	{"should-fail-map-page", GOLDEN_CLOSED, lose_leaf},
	{"v1-born-closed", GOLDEN_BORN, NULL},
	{"v1-born-flushed", GOLDEN_BORN_FLUSHED, NULL},
	{"v1-born-torn", GOLDEN_BORN_TORN, NULL},
	{"should-fail-born-unit", GOLDEN_BORN, lose_born_unit},
};

const char *golden_damage_name(unsigned index)
{
	return index < sizeof(goldens) / sizeof(goldens[0]) ? goldens[index].name : NULL;
}

void golden_damage_make(unsigned index, struct store_image *ret_image)
{
	golden_life_make(goldens[index].end, ret_image);
	if (goldens[index].damage != NULL)
		goldens[index].damage(ret_image);
}
