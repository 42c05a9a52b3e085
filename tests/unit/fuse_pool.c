/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_pool.c: the serving threads come when requests hang and rest when they are quick again;
 * the range lock keeps apart what conflicts and nothing else. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse_memdisk.h"
#include "fuse_priv.h"

#define MIB (1u << 20)
#define CLIENTS 8

static unsigned active(struct sv_fuse_pool *pool)
{
	unsigned count;

	pthread_mutex_lock(&pool->lock);
	count = pool->started - pool->resting;
	pthread_mutex_unlock(&pool->lock);
	return count;
}

struct client {
	int fd;
	unsigned number;
};

static void *write_one(void *arg)
{
	const struct client *client = arg;
	char buf[4096] = {0};

	return (void *)(intptr_t)(pwrite(client->fd, buf, 4096, client->number * 4096) != 4096);
}

/* CLIENTS writes at once; they succeed. */
static void write_all(const struct memmount *mount)
{
	struct client clients[CLIENTS];
	pthread_t threads[CLIENTS];
	int fd = open(mount->file, O_RDWR | O_DIRECT);

	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.fd = fd, .number = i};
		assert_int_equal(pthread_create(&threads[i], NULL, write_one, &clients[i]), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	close(fd);
}

/* Quick requests for at most `seconds`, until only the base is left. */
static bool calms_down(const struct memmount *mount, int seconds)
{
	struct sv_fuse_pool *pool = &mount->fuse->pool;
	time_t end = time(NULL) + seconds;
	struct stat st;

	while (active(pool) > pool->base_workers) {
		if (time(NULL) > end || stat(mount->file, &st))
			return false;
		usleep(1000);
	}
	return true;
}

static void workers_come_and_rest(void **state)
{
	struct memmount mount;
	struct sv_fuse_pool *pool;

	(void)state;
	memmount_start(&mount, MIB, 10, false);
	pool = &mount.fuse->pool;
	for (unsigned round = 0; round < 3; round++) {
		mount.disk.write_sleep_ms = 200;
		atomic_store(&mount.disk.most_writing, 0);
		write_all(&mount);
		assert_int_equal(mount.disk.most_writing, CLIENTS);
		assert_true(pool->started >= CLIENTS);
		mount.disk.write_sleep_ms = 0;
		assert_true(calms_down(&mount, 10));
		assert_true(pool->started <= 10);
	}
	assert_int_equal(memmount_end(&mount), 0);
}

static void quick_requests_need_the_base_only(void **state)
{
	struct memmount mount;
	struct stat st;

	(void)state;
	memmount_start(&mount, MIB, 0, false);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(stat(mount.file, &st), 0);
	write_all(&mount);
	assert_true(calms_down(&mount, 10));
	assert_false(atomic_load(&mount.fuse->pool.ending));
	assert_int_equal(memmount_end(&mount), 0);
}

static void the_limit_holds(void **state)
{
	struct memmount mount;

	(void)state;
	memmount_start(&mount, MIB, 3, false);
	mount.disk.write_sleep_ms = 50;
	write_all(&mount);
	assert_int_equal(mount.disk.most_writing, 3);
	assert_int_equal(mount.fuse->pool.started, 3);
	assert_int_equal(memmount_end(&mount), 0);
}

/* A second thread takes a range; did it get it at once? */
struct taker {
	struct sv_ranges *ranges;
	uint64_t start, end;
	bool exclusive;
	atomic_bool taken;
};

static void *take(void *arg)
{
	struct taker *taker = arg;

	sv_ranges_lock(taker->ranges, 1, taker->start, taker->end, taker->exclusive);
	atomic_store(&taker->taken, true);
	sv_ranges_unlock(taker->ranges, 1);
	return NULL;
}

static void ranges_conflict_if_one_is_exclusive(void **state)
{
	const struct {
		uint64_t start, end;
		bool first_exclusive, second_exclusive, waits;
	} cases[] = {
		{0, 512, true, true, true},
		{0, 512, true, false, true},
		{0, 512, false, true, true},
		{0, 512, false, false, false},
		{512, 1024, true, true, false},
		{511, 513, true, true, true},
		{100, 200, true, false, true},
		{0, 1u << 30, false, true, true},
		{1u << 20, 1u << 21, true, true, false},
	};
	struct sv_ranges ranges;

	(void)state;
	assert_int_equal(sv_ranges_init(&ranges, 2), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct taker taker = {.ranges = &ranges,
				      .start = cases[i].start,
				      .end = cases[i].end,
				      .exclusive = cases[i].second_exclusive};
		pthread_t thread;

		sv_ranges_lock(&ranges, 0, 0, 512, cases[i].first_exclusive);
		assert_int_equal(pthread_create(&thread, NULL, take, &taker), 0);
		if (cases[i].waits)
			usleep(20000);
		else
			pthread_join(thread, NULL);
		assert_int_equal(atomic_load(&taker.taken), !cases[i].waits);
		sv_ranges_unlock(&ranges, 0);
		if (cases[i].waits)
			pthread_join(thread, NULL);
		assert_true(atomic_load(&taker.taken));
	}
	sv_ranges_fini(&ranges);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workers_come_and_rest),
		cmocka_unit_test(quick_requests_need_the_base_only),
		cmocka_unit_test(the_limit_holds),
		cmocka_unit_test(ranges_conflict_if_one_is_exclusive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
