/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_cache.c: a store with its caches: what it reads is the model's, whatever happens to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "image_edit.h"
#include "prng.h"
#include "store_impl.h"

#define DISK_BYTES (16u << 20)
#define PLACE_BYTES (40u << 20)
#define BLOCKS (DISK_BYTES / SV_BLOCK_BYTES)

static const uint8_t key[SV_CACHE_KEY_BYTES] = {1};

struct world {
	struct store_image image;
	struct sv_store *st;
	char dir[64];
	bool threads, read_only;
	uint64_t ram_bytes, cache_bytes;
	uint8_t *model;
	struct prng rng;
};

static void world_open(struct world *w)
{
	const struct sv_open_options opts = {.manual = !w->threads,
					     .read_only = w->read_only,
					     .batch_bytes = 512 << 10,
					     .cache_ram_bytes = w->ram_bytes,
					     .cache_dir = w->dir,
					     .cache_key = key,
					     .cache_bytes = w->cache_bytes};

	assert_int_equal(sv_store_open(image_dev(&w->image), &opts, &w->st), 0);
}

static void world_close(struct world *w)
{
	assert_int_equal(sv_store_close(w->st), 0);
	image_look(&w->image);
}

static void world_make(struct world *w)
{
	const struct sv_format_params params = {.size_bytes = DISK_BYTES,
						.segment_bytes = 256 << 10,
						.page_bytes = 4096,
						.lie_window_bytes = 128 << 10,
						.checkpoint_bytes = 1 << 20};

	struct sv_dev *dev;

	*w = (struct world){.dir = "/tmp/stickvm-store-cache-XXXXXX",
			    .ram_bytes = 1, /* none */
			    .cache_bytes = 16 << 20,
			    .rng = {7}};
	assert_non_null(mkdtemp(w->dir));
	w->model = calloc(1, DISK_BYTES);
	assert_non_null(w->model);
	image_zeros(PLACE_BYTES, &w->image);
	dev = image_dev(&w->image);
	assert_int_equal(sv_store_format(dev, &params), 0);
	sv_dev_close(dev);
	image_look(&w->image);
	world_open(w);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	remove(path);
	return 0;
}

static void world_free(struct world *w)
{
	store_image_free(&w->image);
	free(w->model);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Compressible or not, block by block. */
static void write_some(struct world *w, uint64_t lba, unsigned blocks)
{
	uint8_t *at = w->model + lba * SV_BLOCK_BYTES;

	prng_fill(&w->rng, at, (size_t)blocks * SV_BLOCK_BYTES);
	for (unsigned i = 0; i < blocks; i++)
		if ((lba + i) / 16 % 2)
			memset(at + (size_t)i * SV_BLOCK_BYTES + 700, (int)(lba % 100),
			       SV_BLOCK_BYTES - 700);
	assert_int_equal(
		sv_store_write(w->st, at, (size_t)blocks * SV_BLOCK_BYTES, lba * SV_BLOCK_BYTES),
		0);
}

static void read_some(struct world *w, uint64_t lba, unsigned blocks)
{
	static uint8_t buf[64 * SV_BLOCK_BYTES];

	assert_int_equal(
		sv_store_read(w->st, buf, (size_t)blocks * SV_BLOCK_BYTES, lba * SV_BLOCK_BYTES),
		0);
	assert_memory_equal(buf, w->model + lba * SV_BLOCK_BYTES, (size_t)blocks * SV_BLOCK_BYTES);
}

static void read_all(struct world *w)
{
	for (uint64_t lba = 0; lba < BLOCKS; lba += 64)
		read_some(w, lba, 64);
}

static void random_work(struct world *w, unsigned ops)
{
	for (unsigned i = 0; i < ops; i++) {
		unsigned blocks = (unsigned)prng_below(&w->rng, 63) + 1;
		uint64_t lba = prng_below(&w->rng, BLOCKS - blocks);

		switch (prng_below(&w->rng, 7)) {
		case 0:
		case 3:
			write_some(w, lba, blocks);
			break;
		case 1:
			assert_int_equal(sv_store_flush(w->st), 0);
			break;
		case 2:
			memset(w->model + lba * SV_BLOCK_BYTES, 0, (size_t)blocks * SV_BLOCK_BYTES);
			assert_int_equal(sv_store_discard(w->st, blocks * SV_BLOCK_BYTES,
							  lba * SV_BLOCK_BYTES),
					 0);
			break;
		default:
			read_some(w, lba, prng_one_in(&w->rng, 2) ? 1 : blocks);
		}
	}
}

static struct sv_status status_of(struct world *w)
{
	struct sv_status st;

	sv_store_status(w->st, &st);
	return st;
}

/* ---- what is read is right ---- */

static void the_model_is_read(void **state)
{
	uint64_t hits = 0;
	struct world w;

	(void)state;
	world_make(&w);
	for (unsigned session = 0; session < 6; session++) {
		w.ram_bytes = session % 2 ? 8 << 20 : 1;
		random_work(&w, 1500);
		hits += status_of(&w).cache_hits;
		world_close(&w);
		world_open(&w);
		read_all(&w);
		assert_int_equal(status_of(&w).cache_bad, 0);
	}
	assert_true(hits > 1000);
	/* Segments were used again: the same places hold other units. */
	assert_true(status_of(&w).ledger.stick_written_bytes > 3 * PLACE_BYTES);
	world_close(&w);
	world_free(&w);
}

struct meddler {
	struct world *w;
	atomic_bool stop;
};

static _Thread_local unsigned spoiled;

static int spoil_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	int fd = flag == FTW_F ? open(path, O_RDWR | O_CLOEXEC) : -1;
	static const uint8_t junk[9000] = {1, 2, 3};

	(void)ftw;
	if (fd < 0)
		return 0;
	switch (spoiled++ % 4) {
	case 0:
		(void)(ftruncate(fd, st->st_size / 2) < 0);
		break;
	case 1:
		(void)(pwrite(fd, junk, sizeof(junk), st->st_size / 3) < 0);
		break;
	case 2:
		unlink(path);
		break;
	default:
		(void)(pwrite(fd, junk, 1, st->st_size - 1) < 0);
	}
	close(fd);
	return 0;
}

static void *meddle(void *arg)
{
	struct meddler *m = arg;

	for (unsigned i = 0; !atomic_load(&m->stop); i++) {
		nftw(m->w->dir, i % 10 == 9 ? remove_one : spoil_one, 16, FTW_DEPTH | FTW_PHYS);
		usleep(10000);
	}
	return NULL;
}

static void the_model_is_read_while_files_rot(void **state)
{
	struct world w;
	struct meddler m = {.w = &w};
	pthread_t meddler;

	(void)state;
	world_make(&w);
	world_close(&w);
	w.threads = true;
	w.cache_bytes = 8 << 20;
	world_open(&w);
	assert_int_equal(pthread_create(&meddler, NULL, meddle, &m), 0);
	for (unsigned session = 0; session < 4; session++) {
		random_work(&w, 1500);
		world_close(&w);
		world_open(&w);
	}
	read_all(&w);
	atomic_store(&m.stop, true);
	pthread_join(meddler, NULL);
	world_close(&w);
	world_free(&w);
}

/* ---- who serves ---- */

static void after_a_restart_the_stick_is_left_alone(void **state)
{
	struct sv_status st;
	struct world w;

	(void)state;
	world_make(&w);
	write_some(&w, 0, 1024);
	world_close(&w);
	world_open(&w);
	for (uint64_t lba = 0; lba < 1024; lba += 64)
		read_some(&w, lba, 64);
	st = status_of(&w);
	assert_true(st.session.stick_read_bytes > 2 << 20);
	assert_true(st.cache_misses > 500 && st.cache_limit_bytes == w.cache_bytes);
	world_close(&w);
	world_open(&w);
	for (unsigned i = 0; i < 2000; i++)
		read_some(&w, prng_below(&w.rng, 1024), 1);
	st = status_of(&w);
	/* Pages of the map as well, but for those that the close wrote. */
	assert_true(st.cache_hits >= 2000 && st.cache_misses <= 2);
	assert_true(st.session.stick_read_bytes < 80 << 10);
	world_close(&w);
	world_free(&w);
}

static void memory_serves_what_was_expanded(void **state)
{
	struct sv_status st;
	struct world w;

	(void)state;
	world_make(&w);
	world_close(&w);
	w.ram_bytes = 4 << 20;
	world_open(&w);
	write_some(&w, 16, 16); /* compresses */
	assert_int_equal(sv_store_flush(w.st), 0);
	for (unsigned i = 0; i < 160; i++)
		read_some(&w, 16 + i % 16, 1);
	st = status_of(&w);
	assert_true(st.ram_hits > 140);
	assert_true(st.cache_misses < 16);
	world_close(&w);
	world_free(&w);
}

/* Rot on the stick does not hurt who has a copy; it is found all the same. */
static void checks_look_at_the_stick(void **state)
{
	struct sv_page leaf;
	struct world w;
	unsigned steps = 0;

	(void)state;
	world_make(&w);
	write_some(&w, 0, 8);
	assert_int_equal(sv_store_flush(w.st), 0);
	read_some(&w, 0, 8);
	assert_int_equal(sv_copy_page(w.st, 0, 0, &leaf), 0);
	image_look(&w.image);
	world_close(&w);
	image_flip(&w.image, sv_entry_place(leaf.e[3]) + 700);
	w.read_only = true;
	world_open(&w);
	read_some(&w, 0, 8);
	while (w.st->scrub.passes < 2 && steps++ < 1000)
		assert_int_equal(sv_scrub_step(w.st), 0);
	assert_int_equal(status_of(&w).scrub_bad_blocks, 1);
	sv_store_abandon(w.st);
	world_free(&w);
}

/* ---- copies of the stick ---- */

/*
 * A copy of a closed store goes on in the same segment, under the same generation, at the same
 * place, with a unit of the same blocks and length: all that a unit's check binds. Both copies
 * share a cache. Then an older copy is put back: the same again.
 */
static void copies_do_not_mix(void **state)
{
	struct sv_page here, there;
	struct store_image copy;
	struct world w;

	(void)state;
	world_make(&w);
	for (unsigned i = 0; i < 40; i++) /* away from the segment with the anchors' root */
		write_some(&w, 64 * (i % 4), 16);
	world_close(&w);
	image_copy(&w.image, &copy);
	for (unsigned round = 0; round < 4; round++) {
		world_open(&w);
		world_close(&w);
		memcpy(copy.bytes, w.image.bytes, copy.len_bytes);
		world_open(&w);
		write_some(&w, 5, 1);
		assert_int_equal(sv_store_flush(w.st), 0);
		read_some(&w, 5, 1); /* and it is cached */
		read_some(&w, 5, 1);
		assert_int_equal(sv_copy_page(w.st, 0, 0, &here), 0);
		world_close(&w);
		memcpy(w.image.bytes, copy.bytes, copy.len_bytes);
		world_open(&w);
		write_some(&w, 5, 1);
		assert_int_equal(sv_store_flush(w.st), 0);
		assert_int_equal(sv_copy_page(w.st, 0, 0, &there), 0);
		assert_int_equal(here.e[5], there.e[5]); /* else this shows nothing */
		read_some(&w, 5, 1);
		world_close(&w);
		world_open(&w); /* what the table on the stick says */
		read_some(&w, 5, 1);
		world_close(&w);
	}
	store_image_free(&copy);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_model_is_read),
		cmocka_unit_test(the_model_is_read_while_files_rot),
		cmocka_unit_test(after_a_restart_the_stick_is_left_alone),
		cmocka_unit_test(memory_serves_what_was_expanded),
		cmocka_unit_test(checks_look_at_the_stick),
		cmocka_unit_test(copies_do_not_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
