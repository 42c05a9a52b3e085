/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_hold.c: requests wait for a stick that is away, without a thread each, and then succeed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
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
#define CLIENTS 24 /* more than there are threads */
#define THREADS 4

static void start(struct memmount *mount, bool hold)
{
	const struct sv_fuse_options opts = {.threads = THREADS, .hold = hold, .name = "hold"};

	memset(mount, 0, sizeof(*mount));
	memmount_start_with(mount, 8 * MIB, &opts);
}

struct client {
	pthread_t thread;
	const struct memmount *mount;
	unsigned number;
	int error; /* of what it did; -1: it still waits */
};

static int one_request(const struct client *c, int fd, char *buf)
{
	off_t off = (off_t)c->number * 65536;

	memset(buf, (int)c->number + 1, 65536);
	switch (c->number % 5) {
	case 0:
		return pread(fd, buf, 4096, off) == 4096 ? 0 : errno;
	case 1:
		return fdatasync(fd) == 0 ? 0 : errno;
	case 2:
		return lseek(fd, off, SEEK_DATA) >= 0 || errno == ENXIO ? 0 : errno;
	case 3:
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, 65536) == 0
			       ? 0
			       : errno;
	default:
		return pwrite(fd, buf, 65536, off) == 65536 ? 0 : errno;
	}
}

static void *client_main(void *arg)
{
	struct client *c = arg;
	int fd = open(c->mount->file, O_RDWR | O_CLOEXEC);
	char *buf = malloc(65536);

	__atomic_store_n(&c->error, fd < 0 || !buf ? EBADF : one_request(c, fd, buf),
			 __ATOMIC_RELEASE);
	free(buf);
	close(fd);
	return NULL;
}

static void send_all(const struct memmount *mount, struct client *clients)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.mount = mount, .number = i, .error = -1};
		assert_int_equal(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]),
				 0);
	}
}

static unsigned waiting(const struct client *clients)
{
	unsigned count = 0;

	for (unsigned i = 0; i < CLIENTS; i++)
		count += __atomic_load_n(&clients[i].error, __ATOMIC_ACQUIRE) == -1;
	return count;
}

static void join_all(struct client *clients)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
}

static bool says_detached(const struct memmount *mount)
{
	char text[4096];
	int fd = open(mount->status, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "\"detached\"") != NULL;
}

/* All kinds of requests wait, more of them than threads; status.json answers; then all succeed. */
static void held_until_attached(void **state)
{
	struct client clients[CLIENTS];
	struct memmount mount;
	unsigned held;

	(void)state;
	start(&mount, true);
	mount.disk.detached = true;
	send_all(&mount, clients);
	usleep(300000);
	held = waiting(clients);
	for (unsigned i = 0; i < 20; i++) /* each takes a thread for a moment */
		assert_true(says_detached(&mount));
	mount.disk.detached = false;
	join_all(clients);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(clients[i].error, 0);
	for (unsigned i = 4; i < CLIENTS; i += 5)
		for (unsigned at = 0; at < 65536; at += 4095)
			assert_int_equal(memdisk_data(&mount.disk)[i * 65536 + at], i + 1);
	assert_int_equal(memmount_end(&mount), 0);
	assert_true(held > 2 * THREADS); /* the kernel lets one fsync or seek through at a time */
}

/* Without the option: an error, at once. */
static void not_held_by_default(void **state)
{
	struct client clients[CLIENTS];
	struct memmount mount;

	(void)state;
	start(&mount, false);
	mount.disk.detached = true;
	send_all(&mount, clients);
	join_all(clients);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(clients[i].error, EIO);
	mount.disk.detached = false;
	assert_int_equal(memmount_end(&mount), 0);
}

/* Let go: those that wait fail, and those that follow, until the stick was back. */
static void released(void **state)
{
	struct client clients[CLIENTS];
	struct memmount mount;

	(void)state;
	start(&mount, true);
	mount.disk.detached = true;
	send_all(&mount, clients);
	usleep(100000);
	assert_true(waiting(clients) > 0);
	sv_fuse_release_held(mount.fuse);
	join_all(clients);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(clients[i].error, EIO);
	send_all(&mount, clients);
	join_all(clients);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(clients[i].error, EIO);

	mount.disk.detached = false;
	usleep(200000);
	mount.disk.detached = true;
	send_all(&mount, clients);
	usleep(200000);
	assert_true(waiting(clients) > 0); /* the hold is in force again */
	mount.disk.detached = false;
	join_all(clients);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(clients[i].error, 0);
	assert_int_equal(memmount_end(&mount), 0);
}

/* The mount ends while requests are held: each is answered, by us (and what the kernel has not
 * sent yet, by the kernel). */
static void ended(void **state)
{
	struct client clients[CLIENTS];
	struct memmount mount;
	unsigned ours = 0;

	(void)state;
	start(&mount, true);
	mount.disk.detached = true;
	send_all(&mount, clients);
	usleep(100000);
	assert_int_equal(memmount_end(&mount), 0);
	join_all(clients);
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_true(clients[i].error > 0);
		ours += clients[i].error == EIO;
	}
	assert_true(ours > THREADS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(held_until_attached),
		cmocka_unit_test(not_held_by_default),
		cmocka_unit_test(released),
		cmocka_unit_test(ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
