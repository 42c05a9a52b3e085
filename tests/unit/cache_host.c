/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_host.c: the cache on the host under restarts, faults, other keys and meddling; a model says
 * what every unit must be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_host.h"
#include "prng.h"

#define MIB (1u << 20)
#define UNITS 3000u

static const uint8_t key_a[32] = {1, 2, 3}, key_b[32] = {3, 2, 1};
static const uint8_t store_a[16] = {7}, store_b[16] = {8};

struct world {
	char dir[64];
	struct sv_host_params params;
	struct sv_host_cache *c;
};

static struct sv_host_key key_of(uint32_t n)
{
	struct prng rng = {n};

	return (struct sv_host_key){.place = (uint64_t)n * 65536,
				    .generation = prng_next(&rng),
				    .lineage = n % 3,
				    .len_bytes = (uint32_t)(n % 4 ? 4112 : 16 + n * 16 % 60000)};
}

/* What unit n holds, always. */
static void unit_of(uint32_t n, uint8_t *ret_unit)
{
	struct prng rng = {n + 1000000};

	prng_fill(&rng, ret_unit, key_of(n).len_bytes);
}

static void offer(struct sv_host_cache *c, uint32_t n)
{
	static _Thread_local uint8_t unit[65536];
	struct sv_host_key key = key_of(n);

	unit_of(n, unit);
	sv_host_offer(c, &key, unit);
}

/* Whether it is there; if it is, it must be right. */
static bool read_unit(struct sv_host_cache *c, uint32_t n)
{
	static _Thread_local uint8_t buf[65536 + SV_HOST_EXTRA_BYTES], unit[65536];
	struct sv_host_key key = key_of(n);
	uint8_t *got;

	if (!sv_host_read(c, &key, buf, &got))
		return false;
	unit_of(n, unit);
	assert_memory_equal(got, unit, key.len_bytes);
	return true;
}

static unsigned count_there(struct sv_host_cache *c, uint32_t from, uint32_t to)
{
	unsigned n = 0;

	for (uint32_t i = from; i < to; i++)
		n += read_unit(c, i);
	return n;
}

static void world_make(struct world *w)
{
	*w = (struct world){.dir = "/tmp/stickvm-cache-XXXXXX"};
	assert_non_null(mkdtemp(w->dir));
	w->params = (struct sv_host_params){.dir = w->dir,
					    .key = key_a,
					    .store_id = store_a,
					    .bytes = 32 * MIB,
					    .manual = true};
}

static void world_open(struct world *w)
{
	assert_int_equal(sv_host_open(&w->params, &w->c), 0);
}

static void world_close(struct world *w)
{
	sv_host_close(w->c);
	w->c = NULL;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	remove(path);
	return 0;
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void world_free(struct world *w)
{
	world_close(w);
	remove_tree(w->dir);
}

static uint64_t tree_bytes;

static int add_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	tree_bytes += flag == FTW_F ? (uint64_t)st->st_size : 0;
	return 0;
}

static uint64_t bytes_of(const char *path)
{
	tree_bytes = 0;
	nftw(path, add_one, 16, FTW_PHYS);
	return tree_bytes;
}

/* Calls what with each cache file's path. */
static unsigned each_file(const struct world *w, void (*what)(const char *path, unsigned n))
{
	DIR *top = opendir(w->dir);
	const struct dirent *de, *fe;
	unsigned n = 0;

	assert_non_null(top);
	while ((de = readdir(top))) {
		char folder[512];
		DIR *sub;

		if (de->d_name[0] == '.')
			continue;
		snprintf(folder, sizeof(folder), "%s/%.200s", w->dir, de->d_name);
		sub = opendir(folder);
		while (sub && (fe = readdir(sub))) {
			char path[1024];

			if (!strstr(fe->d_name, ".cache"))
				continue;
			snprintf(path, sizeof(path), "%s/%.200s", folder, fe->d_name);
			what(path, n++);
		}
		if (sub)
			closedir(sub);
	}
	closedir(top);
	return n;
}

/* ---- what it keeps ---- */

static void test_keeps_and_bounds(void **state)
{
	struct sv_host_stats stats;
	struct world w;

	(void)state;
	world_make(&w);
	w.params.bytes = 8 * MIB;
	world_open(&w);
	for (uint32_t i = 0; i < UNITS; i++) {
		offer(w.c, i);
		if (i > 20)
			assert_true(read_unit(w.c, i - 1 - i % 3)); /* the newest are there */
		assert_true(i % 100 || bytes_of(w.dir) <= w.params.bytes);
	}
	sv_host_stats(w.c, &stats);
	assert_true(stats.bytes <= w.params.bytes);
	assert_true(stats.bytes > w.params.bytes / 2);
	assert_int_equal(stats.bad, 0);
	assert_true(count_there(w.c, 0, UNITS) < UNITS / 2);
	assert_true(bytes_of(w.dir) <= w.params.bytes);
	world_free(&w);
}

/* What is asked for again and again stays while ten times the cache's size passes through. */
static void test_scan_passes(void **state)
{
	unsigned there = 0;
	struct world w;

	(void)state;
	world_make(&w);
	w.params.bytes = 16 * MIB;
	world_open(&w);
	for (unsigned round = 0; round < 4; round++)
		for (uint32_t i = 1; i < 400; i += 2)
			if (!read_unit(w.c, i))
				offer(w.c, i);
	for (uint32_t i = 10000; i < 10000 + 20000; i++)
		if (!read_unit(w.c, i))
			offer(w.c, i);
	for (uint32_t i = 1; i < 400; i += 2)
		there += read_unit(w.c, i);
	assert_true(there >= 190);
	world_free(&w);
}

static void test_restart(void **state)
{
	unsigned before;
	struct world w;

	(void)state;
	world_make(&w);
	world_open(&w);
	for (uint32_t i = 0; i < 1000; i++)
		offer(w.c, i);
	before = count_there(w.c, 0, 1000);
	assert_true(before > 900);
	for (unsigned i = 0; i < 3; i++) {
		world_close(&w);
		world_open(&w);
		assert_int_equal(count_there(w.c, 0, 1000), before);
	}
	/* Smaller from now on. */
	world_close(&w);
	w.params.bytes = SV_HOST_LEAST_BYTES;
	world_open(&w);
	assert_true(count_there(w.c, 0, 1000) > 100);
	assert_true(bytes_of(w.dir) <= w.params.bytes);
	world_free(&w);
}

/* Another key or another store finds nothing, and does no harm to the right one's. */
static void test_other_key(void **state)
{
	struct world w, other;

	(void)state;
	world_make(&w);
	world_open(&w);
	for (uint32_t i = 0; i < 100; i++)
		offer(w.c, i);
	other = w;
	other.params.key = key_b;
	world_open(&other);
	assert_int_equal(count_there(other.c, 0, 100), 0);
	offer(other.c, 5);
	world_close(&other);
	other.params.key = key_a;
	other.params.store_id = store_b;
	world_open(&other);
	assert_int_equal(count_there(other.c, 0, 100), 0);
	world_close(&other);
	assert_int_equal(count_there(w.c, 0, 100), 100);
	/* The same one a second time: only one may have it. */
	other.params = w.params;
	assert_int_equal(sv_host_open(&other.params, &other.c), -EBUSY);
	world_free(&w);
}

static char folder_from[512], folder_to[512];

/* The files of one key, put under the name of another's folder. */
static void move_file(const char *path, unsigned n)
{
	char to[1024];

	(void)n;
	if (strncmp(path, folder_to, strlen(folder_to)) == 0)
		return;
	snprintf(folder_from, sizeof(folder_from), "%.*s", (int)(strrchr(path, '/') - path), path);
	snprintf(to, sizeof(to), "%s%s", folder_to, strrchr(path, '/'));
	assert_int_equal(rename(path, to), 0);
}

static void note_folder(const char *path, unsigned n)
{
	(void)n;
	snprintf(folder_to, sizeof(folder_to), "%.*s", (int)(strrchr(path, '/') - path), path);
}

static void test_moved_files(void **state)
{
	struct world w;

	(void)state;
	world_make(&w);
	w.params.key = key_b;
	world_open(&w);
	offer(w.c, 1);
	world_close(&w);
	each_file(&w, note_folder);
	w.params.key = key_a;
	world_open(&w);
	for (uint32_t i = 0; i < 500; i++)
		offer(w.c, i);
	world_close(&w);
	each_file(&w, move_file);
	w.params.key = key_b;
	world_open(&w);
	assert_true(count_there(w.c, 0, 500) <= 1);
	world_free(&w);
}

static uint8_t needle[64];
static unsigned found_plain;

static void look_for_plain(const char *path, unsigned n)
{
	FILE *f = fopen(path, "re");
	static uint8_t bytes[64 * MIB];
	size_t len;

	(void)n;
	assert_non_null(f);
	len = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	found_plain += memmem(bytes, len, needle, sizeof(needle)) != NULL;
}

static void test_ciphertext_only(void **state)
{
	static uint8_t unit[65536];
	struct stat st;
	struct world w;

	(void)state;
	world_make(&w);
	world_open(&w);
	for (uint32_t i = 0; i < 200; i++)
		offer(w.c, i);
	world_close(&w);
	unit_of(77, unit);
	memcpy(needle, unit + 100, sizeof(needle));
	found_plain = 0;
	assert_true(each_file(&w, look_for_plain) > 0);
	assert_int_equal(found_plain, 0);
	each_file(&w, note_folder);
	assert_int_equal(stat(folder_to, &st), 0);
	assert_int_equal(st.st_mode & 077, 0);
	remove_tree(w.dir);
}

/* ---- damage at rest ---- */

static unsigned long flip_seed;

static void flip_bits(const char *path, unsigned n)
{
	struct prng rng = {flip_seed + n};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	off_t size = lseek(fd, 0, SEEK_END);

	for (unsigned i = 0; i < 20; i++) {
		off_t at = (off_t)prng_below(&rng, (uint64_t)size);
		uint8_t byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= (uint8_t)(1u << prng_below(&rng, 8));
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
}

static void cut_short(const char *path, unsigned n)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size * (off_t)(n % 5) / 5), 0);
}

static void overwrite(const char *path, unsigned n)
{
	static uint8_t junk[MIB];
	struct prng rng = {n};
	FILE *f = fopen(path, "r+e");

	prng_fill(&rng, junk, sizeof(junk));
	assert_non_null(f);
	assert_int_equal(fwrite(junk, sizeof(junk), 1, f), 1);
	fclose(f);
}

static void damage_and_read(void (*damage)(const char *path, unsigned n), bool while_open)
{
	struct world w;

	world_make(&w);
	world_open(&w);
	for (unsigned round = 0; round < 5; round++) {
		for (uint32_t i = 0; i < 1000; i++)
			offer(w.c, i);
		if (!while_open)
			world_close(&w);
		flip_seed = round * 1000;
		assert_true(each_file(&w, damage) > 0);
		if (!while_open)
			world_open(&w);
		count_there(w.c, 0, 1000); /* what is there is right */
	}
	world_free(&w);
}

static void test_flipped_bits(void **state)
{
	(void)state;
	damage_and_read(flip_bits, false);
	damage_and_read(flip_bits, true);
}

static void test_cut_files(void **state)
{
	(void)state;
	damage_and_read(cut_short, false);
	damage_and_read(cut_short, true);
}

static void test_junk(void **state)
{
	(void)state;
	damage_and_read(overwrite, false);
	damage_and_read(overwrite, true);
}

/* ---- a file system that fails ---- */

struct faults {
	struct prng rng;
	unsigned one_in; /* calls that fail */
	int error;
	uint64_t room_bytes; /* that can be written until the disk is full */
	uint64_t failed;
};

static bool fails(struct faults *f)
{
	bool yes = f->one_in && prng_one_in(&f->rng, f->one_in);

	f->failed += yes;
	return yes;
}

static int bad_create(void *ctx, int dir, const char *name)
{
	return fails(ctx) ? -((struct faults *)ctx)->error
			  : sv_cache_fs_host.create(NULL, dir, name);
}

static int bad_open(void *ctx, int dir, const char *name)
{
	return fails(ctx) ? -((struct faults *)ctx)->error : sv_cache_fs_host.open(NULL, dir, name);
}

static int bad_read(void *ctx, int fd, void *buf, size_t len, uint64_t off)
{
	struct faults *f = ctx;
	int r = sv_cache_fs_host.read(NULL, fd, buf, len, off);

	if (!fails(f))
		return r;
	if (r == 0 && f->error == EILSEQ) { /* says nothing, and is wrong */
		((uint8_t *)buf)[prng_below(&f->rng, len)] ^= 4;
		return 0;
	}
	return -f->error;
}

static int bad_write(void *ctx, int fd, const void *buf, size_t len, uint64_t off)
{
	struct faults *f = ctx;

	if (f->room_bytes < len) {
		(void)sv_cache_fs_host.write(NULL, fd, buf, len / 2, off);
		f->failed++;
		return -ENOSPC;
	}
	f->room_bytes -= len;
	if (fails(f)) {
		(void)sv_cache_fs_host.write(NULL, fd, buf, len / 2, off);
		return -f->error;
	}
	return sv_cache_fs_host.write(NULL, fd, buf, len, off);
}

static int bad_remove(void *ctx, int dir, const char *name)
{
	return fails(ctx) ? -((struct faults *)ctx)->error
			  : sv_cache_fs_host.remove(NULL, dir, name);
}

static struct sv_cache_fs faulty_fs(struct faults *f)
{
	return (struct sv_cache_fs){.ctx = f,
				    .create = bad_create,
				    .open = bad_open,
				    .read = bad_read,
				    .write = bad_write,
				    .remove = bad_remove,
				    .size = sv_cache_fs_host.size,
				    .space = sv_cache_fs_host.space};
}

static void test_faults(void **state)
{
	static const int errors[] = {EIO, ENOSPC, EILSEQ, ENOENT, EMFILE};

	(void)state;
	for (unsigned e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
		struct faults f = {.rng = {e}, .error = errors[e], .room_bytes = UINT64_MAX};
		struct sv_cache_fs fs = faulty_fs(&f);
		struct world w;

		world_make(&w);
		w.params.fs = &fs;
		w.params.pause_ms = 1;
		w.params.bytes = 8 * MIB;
		for (unsigned session = 0; session < 4; session++) {
			f.one_in = 0;
			world_open(&w);
			f.one_in = 30;
			for (uint32_t i = 0; i < 1000; i++) {
				offer(w.c, i * (session + 1));
				read_unit(w.c, i);
			}
			world_close(&w);
		}
		assert_true(f.failed > 20);
		world_open(&w);
		world_free(&w);
	}
}

/* Nothing is written for a while after the disk is full; then it goes on. */
static void test_disk_full(void **state)
{
	struct faults f = {.room_bytes = 3 * MIB};
	struct sv_cache_fs fs = faulty_fs(&f);
	struct sv_host_stats stats;
	struct world w;

	(void)state;
	world_make(&w);
	w.params.fs = &fs;
	world_open(&w);
	for (uint32_t i = 0; i < 2000; i++) {
		offer(w.c, i);
		read_unit(w.c, i);
	}
	assert_int_equal(f.failed, 1); /* it is not asked again and again */
	sv_host_stats(w.c, &stats);
	assert_true(stats.passed > 0 && stats.written_bytes <= 3 * MIB);
	f.room_bytes = UINT64_MAX;
	world_close(&w);
	world_open(&w);
	for (uint32_t i = 0; i < 500; i++)
		offer(w.c, i);
	assert_int_equal(count_there(w.c, 0, 500), 500);
	world_free(&w);
}

/* What the user wants to stay free on the disk stays free. */
static void test_leaves_room(void **state)
{
	struct world w;

	(void)state;
	world_make(&w);
	w.params.leave_bytes = UINT64_MAX / 2;
	world_open(&w);
	for (uint32_t i = 0; i < 100; i++)
		offer(w.c, i);
	assert_int_equal(count_there(w.c, 0, 100), 0);
	assert_true(bytes_of(w.dir) < MIB);
	world_free(&w);
}

/* ---- meddling while it runs ---- */

struct meddler {
	const struct world *w;
	atomic_bool stop;
	unsigned kind;
};

static void nudge(const char *path, unsigned n)
{
	(void)(n % 2 ? truncate(path, 5000) : unlink(path));
}

static void *meddle(void *arg)
{
	struct meddler *m = arg;

	for (unsigned i = 0; !atomic_load(&m->stop); i++) {
		char folder[512];

		switch ((i + m->kind) % 4) {
		case 0:
			each_file(m->w, nudge);
			break;
		case 1:
			each_file(m->w, note_folder);
			snprintf(folder, sizeof(folder), "%s", folder_to);
			remove_tree(folder);
			break;
		default:
			break;
		}
		usleep(20000);
	}
	return NULL;
}

static void *use(void *arg)
{
	struct world *w = arg;
	struct prng rng = {(uintptr_t)&rng};

	for (unsigned i = 0; i < 30000; i++) {
		uint32_t n = (uint32_t)prng_below(&rng, prng_one_in(&rng, 2) ? 300 : UNITS);

		if (!read_unit(w->c, n))
			offer(w->c, n);
	}
	return NULL;
}

static void test_meddling(void **state)
{
	struct sv_host_stats stats;
	pthread_t users[3], meddler;
	struct world w;
	struct meddler m = {.w = &w};

	(void)state;
	world_make(&w);
	w.params.bytes = 8 * MIB;
	w.params.manual = false;
	world_open(&w);
	pthread_create(&meddler, NULL, meddle, &m);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&users[i], NULL, use, &w);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(users[i], NULL);
	atomic_store(&m.stop, true);
	pthread_join(meddler, NULL);
	sv_host_stats(w.c, &stats);
	assert_true(stats.hits > 1000);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeps_and_bounds),
		cmocka_unit_test(test_scan_passes),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_other_key),
		cmocka_unit_test(test_moved_files),
		cmocka_unit_test(test_ciphertext_only),
		cmocka_unit_test(test_flipped_bits),
		cmocka_unit_test(test_cut_files),
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_leaves_room),
		cmocka_unit_test(test_meddling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
