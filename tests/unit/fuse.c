/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse.c: what a client of the mounted folder sees and gets, over a disk in memory. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "fuse_memdisk.h"

#define MIB (1u << 20)
#define DISK_BYTES (8u * MIB + 512) /* not a multiple of 4096: the end is a half block */

static int setup(void **state)
{
	struct memmount *mount = calloc(1, sizeof(*mount));

	memmount_start(mount, DISK_BYTES, 0, false);
	*state = mount;
	return 0;
}

static int teardown(void **state)
{
	struct memmount *mount = *state;
	int err = memmount_end(mount);

	free(mount);
	return err;
}

static int open_disk(const struct memmount *mount, int flags)
{
	int fd = open(mount->file, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		buf[i] = (uint8_t)(seed >> 16);
	}
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void attributes_are_true(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR);
	struct statvfs fs;
	struct stat st;

	assert_int_equal(stat(mount->file, &st), 0);
	assert_int_equal(st.st_size, DISK_BYTES);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(st.st_blksize, 4096);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(pwrite(fd, "x", 1, 5 * 4096), 1);
	assert_int_equal(stat(mount->file, &st), 0);
	assert_int_equal(st.st_blocks, 8);
	assert_int_equal(statvfs(mount->dir, &fs), 0);
	assert_int_equal(fs.f_blocks, 2u * DISK_BYTES / 4096);
	assert_int_equal(fs.f_blocks - fs.f_bfree, 1);
	close(fd);
}

/* Random byte ranges against a model, from a buffered and an O_DIRECT descriptor in turn. */
static void any_byte_range_reads_back(void **state)
{
	struct memmount *mount = *state;
	int fds[2] = {open_disk(mount, O_RDWR), open_disk(mount, O_RDWR | O_DIRECT)};
	uint8_t *model = calloc(1, DISK_BYTES), *buf = malloc(3 * MIB);
	const unsigned widths[] = {1, 511, 512, 700, 4096, 5000, 70000, 2 * MIB + 3};

	srandom(1);
	for (unsigned i = 0; i < 400; i++) {
		size_t len = 1 + (size_t)random() % widths[i % 8];
		off_t off = random() % (DISK_BYTES - (long)len + 1);

		if (i % 4 == 0) {
			len = (len + 511) / 512 * 512;
			off = off / 512 * 512;
			if ((size_t)off + len > DISK_BYTES)
				off = (off_t)(DISK_BYTES - len);
		}
		fill(buf, len, i);
		assert_int_equal(pwrite(fds[i & 1], buf, len, off), len);
		memcpy(model + off, buf, len);
		off = random() % (DISK_BYTES - (long)len + 1);
		assert_int_equal(pread(fds[~i & 1], buf, len, off), len);
		assert_memory_equal(buf, model + off, len);
	}
	assert_memory_equal(memdisk_data(&mount->disk), model, DISK_BYTES);
	free(model);
	free(buf);
	close(fds[0]);
	close(fds[1]);
}

static void ends_like_a_block_device(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR);
	char buf[1024] = "end";

	assert_int_equal(pread(fd, buf, sizeof(buf), DISK_BYTES - 100), 100);
	assert_int_equal(pread(fd, buf, sizeof(buf), DISK_BYTES), 0);
	assert_int_equal(pread(fd, buf, sizeof(buf), DISK_BYTES + 12345), 0);
	assert_int_equal(pwrite(fd, buf, sizeof(buf), DISK_BYTES - 100), 100);
	assert_int_equal(pwrite(fd, buf, sizeof(buf), DISK_BYTES), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void whole_mebibytes_arrive_whole(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR | O_DIRECT);
	void *buf;

	assert_int_equal(posix_memalign(&buf, 4096, 4 * MIB), 0);
	memset(buf, 'm', 4 * MIB);
	assert_int_equal(pwrite(fd, buf, 4 * MIB, MIB), 4 * MIB);
	assert_int_equal(mount->disk.largest_write, MIB);
	assert_int_equal(mount->disk.writes, 4);
	assert_int_equal(pread(fd, buf, 4 * MIB, 0), 4 * MIB);
	assert_int_equal(mount->disk.largest_read, MIB);
	assert_int_equal(mount->disk.reads, 4);
	free(buf);
	close(fd);
}

static void sync_and_close_flush(void **state)
{
	struct memmount *mount = *state;
	atomic_uint *flushes = &mount->disk.flushes;
	int fd = open_disk(mount, O_RDWR);
	struct iovec iov = {.iov_base = (char[512]){'s'}, .iov_len = 512};

	assert_int_equal(pwritev(fd, &iov, 1, 0), 512);
	assert_int_equal(*flushes, 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(*flushes, 1);
	assert_int_equal(fdatasync(fd), 0);
	assert_int_equal(*flushes, 2);
	assert_int_equal(pwritev2(fd, &iov, 1, 512, RWF_DSYNC), 512);
	assert_int_equal(*flushes, 3);
	assert_int_equal(pwritev2(fd, &iov, 1, 512, RWF_SYNC), 512);
	assert_int_equal(*flushes, 4);
	assert_int_equal(close(fd), 0);
	assert_int_equal(*flushes, 5);
	fd = open_disk(mount, O_WRONLY | O_DSYNC);
	assert_int_equal(pwritev(fd, &iov, 1, 1), 512);
	assert_int_equal(*flushes, 6);
	close(fd);
	fd = open_disk(mount, O_WRONLY | O_SYNC | O_DIRECT);
	assert_int_equal(pwritev(fd, &iov, 1, 0), 512);
	assert_int_equal(*flushes, 8);
	close(fd);
	fd = open_disk(mount, O_RDONLY); /* a reader's close costs the stick nothing */
	close(fd);
	assert_int_equal(*flushes, 9);
}

static void holes_are_punched_and_found(void **state)
{
	struct memmount *mount = *state;
	const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int fd = open_disk(mount, O_RDWR);
	uint8_t *model = malloc(MIB), *buf = malloc(MIB);
	struct stat st;

	fill(model, MIB, 3);
	assert_int_equal(pwrite(fd, model, MIB, MIB), MIB);
	assert_int_equal(lseek(fd, 0, SEEK_DATA), MIB);
	assert_int_equal(lseek(fd, MIB + 5, SEEK_DATA), MIB + 5);
	assert_int_equal(lseek(fd, MIB, SEEK_HOLE), 2 * MIB);
	assert_int_equal(lseek(fd, 2 * MIB, SEEK_DATA), -1);
	assert_int_equal(errno, ENXIO);
	assert_int_equal(lseek(fd, DISK_BYTES, SEEK_HOLE), -1);
	assert_int_equal(errno, ENXIO);

	assert_int_equal(fallocate(fd, punch, MIB + 8192, 65536), 0);
	memset(model + 8192, 0, 65536);
	assert_int_equal(lseek(fd, MIB, SEEK_HOLE), MIB + 8192);
	assert_int_equal(lseek(fd, MIB + 8192, SEEK_DATA), MIB + 8192 + 65536);
	assert_int_equal(mount->disk.discards, 1);
	assert_int_equal(fallocate(fd, punch, MIB + 100001, 5555), 0);
	memset(model + 100001, 0, 5555);
	assert_int_equal(fallocate(fd, punch, MIB + 200001, 7), 0);
	memset(model + 200001, 0, 7);
	assert_int_equal(fallocate(fd, FALLOC_FL_ZERO_RANGE, MIB + 300000, 4096), 0);
	memset(model + 300000, 0, 4096);
	assert_int_equal(pread(fd, buf, MIB, MIB), MIB);
	assert_memory_equal(buf, model, MIB);

	assert_int_equal(fallocate(fd, punch, 0, 4 * (off_t)DISK_BYTES), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	assert_int_equal(st.st_size, DISK_BYTES);
	free(model);
	free(buf);
	close(fd);
}

static void size_and_folder_are_fixed(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR);
	char path[128];
	struct stat st;

	assert_int_equal(pwrite(fd, "kept", 4, 0), 4);
	assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(truncate(mount->file, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, DISK_BYTES + 1), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(fallocate(fd, 0, 0, 4096), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, DISK_BYTES + 1), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	close(fd);
	fd = open_disk(mount, O_WRONLY | O_TRUNC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, DISK_BYTES);
	close(fd);
	assert_memory_equal(memdisk_data(&mount->disk), "kept", 4);
	assert_int_equal(unlink(mount->file), -1);
	assert_int_equal(errno, EPERM);
	snprintf(path, sizeof(path), "%s/other", mount->dir);
	assert_int_equal(open(path, O_RDWR | O_CREAT, 0600), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(chmod(mount->file, 0666), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(utimensat(AT_FDCWD, mount->file, NULL, 0), 0);
}

static void mmap_is_private_only(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR);
	char *map;

	assert_int_equal(pwrite(fd, "mapped", 6, 4096), 6);
	assert_ptr_equal(mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, ENODEV);
	map = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_memory_equal(map + 4096, "mapped", 6);
	munmap(map, 8192);
	close(fd);
}

static void status_is_fresh_json(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR);
	json_t *before, *after, *session;

	before = json_load_file(mount->status, 0, NULL);
	assert_non_null(before);
	assert_string_equal(json_string_value(json_object_get(before, "store_id")),
			    "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5");
	assert_string_equal(json_string_value(json_object_get(before, "state")), "ok");
	assert_int_equal(json_integer_value(json_object_get(before, "epoch")), 7);
	assert_int_equal(json_integer_value(json_object_get(before, "free_segments")), 5);
	assert_int_equal(json_integer_value(json_object_get(before, "size_bytes")), DISK_BYTES);
	assert_int_equal(json_integer_value(json_object_get(before, "used_bytes")), 0);
	assert_true(json_is_integer(json_object_get(before, "dirty_bytes")));
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_int_equal(fsync(fd), 0);
	after = json_load_file(mount->status, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(after, "used_bytes")), 4096);
	session = json_object_get(after, "session");
	assert_int_equal(json_integer_value(json_object_get(session, "flushes")), 1);
	assert_int_equal(open(mount->status, O_RDWR), -1);
	assert_int_equal(errno, EACCES);
	json_decref(before);
	json_decref(after);
	close(fd);
}

static void errors_reach_the_client(void **state)
{
	struct memmount *mount = *state;
	const struct {
		int disk, client;
	} cases[] = {
		{-ENODEV, EIO}, {-ENOSPC, ENOSPC}, {-EIO, EIO},
		{-ENOSYS, EIO}, {-EBADMSG, EIO},   {-EROFS, EROFS},
	};
	int fd = open_disk(mount, O_RDWR);
	char buf[512] = {0};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		mount->disk.write_error = cases[i].disk;
		mount->disk.read_error = cases[i].disk;
		mount->disk.flush_error = cases[i].disk;
		assert_int_equal(pwrite(fd, buf, 512, 0), -1);
		assert_int_equal(errno, cases[i].client);
		assert_int_equal(pwrite(fd, buf, 100, 0), -1);
		assert_int_equal(errno, cases[i].client);
		assert_int_equal(pread(fd, buf, 512, 0), -1);
		assert_int_equal(errno, cases[i].client);
		assert_int_equal(fsync(fd), -1);
		assert_int_equal(errno, cases[i].client);
		mount->disk.write_error = 0;
		assert_int_equal(pwritev2(fd, &(struct iovec){buf, 512}, 1, 0, RWF_DSYNC), -1);
		assert_int_equal(errno, cases[i].client);
	}
	mount->disk.read_error = 0;
	mount->disk.flush_error = 0;
	assert_int_equal(pwrite(fd, buf, 512, 0), 512);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

struct writer {
	int fd;
	off_t off;
	size_t len;
	unsigned count;
	char fill;
	off_t step;
	int flags;
};

static void *write_many(void *arg)
{
	const struct writer *writer = arg;
	char buf[4096];

	memset(buf, writer->fill, sizeof(buf));
	for (unsigned i = 0; i < writer->count; i++) {
		struct iovec iov = {.iov_base = buf, .iov_len = writer->len};
		off_t off = writer->off + (off_t)i * writer->step;

		if (pwritev2(writer->fd, &iov, 1, off, writer->flags) != (ssize_t)writer->len)
			return (void *)1;
	}
	return NULL;
}

static void run_writers(struct writer *writers, unsigned count)
{
	pthread_t threads[8];

	for (unsigned i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
	for (unsigned i = 0; i < count; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

/* Two neighbours write bytes of the same sectors at once, a third whole sectors beside them. */
static void neighbours_in_a_sector_survive(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR);
	struct writer writers[3] = {
		{.fd = fd, .off = 0, .len = 200, .count = 2000, .fill = 'a', .step = 512},
		{.fd = fd, .off = 200, .len = 400, .count = 2000, .fill = 'b', .step = 512},
		{.fd = fd, .off = 2 * MIB, .len = 512, .count = 2000, .fill = 'c', .step = 512},
	};
	const uint8_t *data;

	/* b reaches 88 bytes into the next sector, where a then writes, or has written. */
	run_writers(writers, 3);
	data = memdisk_data(&mount->disk);
	for (unsigned i = 1; i < 2000; i++) {
		for (unsigned j = 88; j < 200; j++)
			assert_int_equal(data[512 * i + j], 'a');
		for (unsigned j = 200; j < 512; j++)
			assert_int_equal(data[512 * i + j], 'b');
		assert_int_equal(data[2 * MIB + 512 * i], 'c');
	}
	close(fd);
}

/* The proof of FOPEN_PARALLEL_DIRECT_WRITES: slow writes to one file overlap in time. */
static void writes_do_not_serialise(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR | O_DIRECT);
	struct writer writers[8];
	double start;

	mount->disk.write_sleep_ms = 300;
	for (unsigned i = 0; i < 8; i++)
		writers[i] = (struct writer){.fd = fd, .off = i * 4096, .len = 4096, .count = 1};
	start = now_s();
	run_writers(writers, 8);
	assert_true(now_s() - start < 1.5);
	assert_int_equal(mount->disk.most_writing, 8);
	close(fd);
}

/* Flushes of O_DSYNC writes overlap, too (those of fsync cannot: the kernel's inode lock). */
static void synchronous_writes_share_time(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR | O_DIRECT);
	struct writer writers[4];
	double start;

	mount->disk.flush_sleep_ms = 300;
	for (unsigned i = 0; i < 4; i++)
		writers[i] = (struct writer){
			.fd = fd, .off = i * 4096, .len = 4096, .count = 1, .flags = RWF_DSYNC};
	start = now_s();
	run_writers(writers, 4);
	assert_true(now_s() - start < 0.9);
	assert_int_equal(mount->disk.flushes, 4);
	close(fd);
}

static void *slow_write(void *arg)
{
	struct memmount *mount = arg;
	int fd = open(mount->file, O_RDWR);
	ssize_t done = pwrite(fd, "taken up", 8, 0);

	close(fd);
	return (void *)(intptr_t)done;
}

/* A stop answers what was taken up, and signals that hit the process do no harm. */
static void stop_loses_no_request(void **state)
{
	struct memmount mount;
	pthread_t thread;
	void *done;

	(void)state;
	memmount_start(&mount, MIB, 0, false);
	mount.disk.write_sleep_ms = 500;
	assert_int_equal(pthread_create(&thread, NULL, slow_write, &mount), 0);
	while (!atomic_load(&mount.disk.writing))
		usleep(1000);
	for (unsigned i = 0; i < 20; i++)
		pthread_kill(mount.thread, SIGURG);
	sv_fuse_stop(mount.fuse);
	assert_int_equal(pthread_join(thread, &done), 0);
	assert_int_equal((intptr_t)done, 8);
	assert_memory_equal(memdisk_data(&mount.disk), "taken up", 8);
	assert_int_equal(memmount_end(&mount), 0);
}

static void umount_ends_the_run(void **state)
{
	struct memmount mount;
	int fd;

	(void)state;
	memmount_start(&mount, MIB, 0, false);
	fd = open_disk(&mount, O_RDWR);
	assert_int_equal(umount2(mount.dir, 0), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	close(fd);
	assert_int_equal(umount2(mount.dir, 0), 0);
	assert_int_equal(memmount_wait(&mount), 0); /* no stop needed: run returns by itself */
}

/*
 * A client that holds files open when the server stops gets an error, not a hang; texts that are
 * never released are freed (what a leak is, the sanitizer's build tells).
 */
static void stop_leaves_no_hanging_client(void **state)
{
	struct memmount mount;
	char path[PATH_MAX];
	int fd, texts[2];
	char byte;

	(void)state;
	memmount_start(&mount, MIB, 0, false);
	fd = open_disk(&mount, O_RDWR);
	snprintf(path, sizeof(path), "%s/status.json", mount.dir);
	for (int i = 0; i < 2; i++) {
		texts[i] = open(path, O_RDONLY);
		assert_int_equal(pread(texts[i], &byte, 1, 0), 1);
	}
	assert_int_equal(memmount_end(&mount), 0);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ENOTCONN);
	close(fd);
	close(texts[0]);
	close(texts[1]);
}

static void read_only_refuses_writers(void **state)
{
	struct memmount mount;
	char byte;
	int fd;

	(void)state;
	memmount_start(&mount, MIB, 1, true);
	assert_int_equal(open(mount.file, O_RDWR), -1);
	assert_int_equal(errno, EROFS);
	fd = open_disk(&mount, O_RDONLY);
	assert_int_equal(pread(fd, &byte, 1, 77), 1);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	assert_int_equal(mount.disk.flushes, 0);
	assert_int_equal(memmount_end(&mount), 0);
}

/* Status is answered while every writer is held up by the stick. */
static void status_answers_beside_slow_writes(void **state)
{
	struct memmount *mount = *state;
	int fd = open_disk(mount, O_RDWR | O_DIRECT);
	struct writer writer = {.fd = fd, .len = 4096, .count = 1};
	struct stat st;
	pthread_t thread;
	double start;

	mount->disk.write_sleep_ms = 1000;
	assert_int_equal(pthread_create(&thread, NULL, write_many, &writer), 0);
	while (!atomic_load(&mount->disk.writing))
		usleep(1000);
	start = now_s();
	assert_int_equal(stat(mount->status, &st), 0);
	assert_true(st.st_size > 100);
	assert_true(now_s() - start < 0.5);
	pthread_join(thread, NULL);
	close(fd);
}

static void bad_mounts_are_refused(void **state)
{
	struct memmount mount;
	struct sv_fuse *other = NULL;
	struct sv_fuse_options opts = {.name = "a,b"};

	(void)state;
	memmount_start(&mount, MIB, 0, false);
	assert_int_equal(sv_fuse_mount_disk(&memdisk_ops, &mount.disk, "/nowhere", NULL, &other),
			 -ENOENT);
	assert_int_equal(sv_fuse_mount_disk(&memdisk_ops, &mount.disk, mount.file, NULL, &other),
			 -ENOTDIR);
	assert_int_equal(sv_fuse_mount_disk(&memdisk_ops, &mount.disk, mount.dir, NULL, &other),
			 -ENOTEMPTY);
	assert_int_equal(sv_fuse_mount_disk(&memdisk_ops, &mount.disk, "/mnt", &opts, &other),
			 -EINVAL);
	assert_null(other);
	assert_int_equal(memmount_end(&mount), 0);
}

#define MOUNTED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MOUNTED(attributes_are_true),
		MOUNTED(any_byte_range_reads_back),
		MOUNTED(ends_like_a_block_device),
		MOUNTED(whole_mebibytes_arrive_whole),
		MOUNTED(sync_and_close_flush),
		MOUNTED(holes_are_punched_and_found),
		MOUNTED(size_and_folder_are_fixed),
		MOUNTED(mmap_is_private_only),
		MOUNTED(status_is_fresh_json),
		MOUNTED(errors_reach_the_client),
		MOUNTED(neighbours_in_a_sector_survive),
		MOUNTED(writes_do_not_serialise),
		MOUNTED(synchronous_writes_share_time),
		MOUNTED(status_answers_beside_slow_writes),
		cmocka_unit_test(stop_loses_no_request),
		cmocka_unit_test(umount_ends_the_run),
		cmocka_unit_test(stop_leaves_no_hanging_client),
		cmocka_unit_test(read_only_refuses_writers),
		cmocka_unit_test(bad_mounts_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
