/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_memdisk.c: a disk in memory behind the FUSE adaptor, which counts, sleeps and fails. */
#include "fuse_memdisk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_MS 30000 /* several times what the slowest test takes */

static void raise_size(atomic_size_t *most, size_t value)
{
	size_t seen = atomic_load(most);

	while (seen < value && !atomic_compare_exchange_weak(most, &seen, value))
		;
}

static void raise_count(atomic_uint *most, unsigned value)
{
	unsigned seen = atomic_load(most);

	while (seen < value && !atomic_compare_exchange_weak(most, &seen, value))
		;
}

/* The contract of the adaptor: whole sectors inside the disk. */
static void check_range(const struct memdisk *disk, uint64_t len_bytes, uint64_t off_bytes)
{
	assert(len_bytes && len_bytes % 512 == 0 && off_bytes % 512 == 0);
	assert(off_bytes <= disk->size_bytes && len_bytes <= disk->size_bytes - off_bytes);
}

static int mem_read(void *ctx, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct memdisk *disk = ctx;

	check_range(disk, len_bytes, off_bytes);
	atomic_fetch_add(&disk->reads, 1);
	raise_size(&disk->largest_read, len_bytes);
	usleep(disk->read_sleep_ms * 1000);
	if (disk->detached)
		return -ENODEV;
	if (disk->read_error)
		return disk->read_error;
	pthread_mutex_lock(&disk->lock);
	memcpy(buf, disk->data + off_bytes, len_bytes);
	pthread_mutex_unlock(&disk->lock);
	return 0;
}

static int mem_write(void *ctx, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct memdisk *disk = ctx;

	check_range(disk, len_bytes, off_bytes);
	atomic_fetch_add(&disk->writes, 1);
	raise_size(&disk->largest_write, len_bytes);
	raise_count(&disk->most_writing, atomic_fetch_add(&disk->writing, 1) + 1);
	usleep(disk->write_sleep_ms * 1000);
	atomic_fetch_sub(&disk->writing, 1);
	if (disk->detached)
		return -ENODEV;
	if (disk->write_error)
		return disk->write_error;
	pthread_mutex_lock(&disk->lock);
	memcpy(disk->data + off_bytes, buf, len_bytes);
	memset(disk->mapped + off_bytes / 4096, 1,
	       (off_bytes + len_bytes + 4095) / 4096 - off_bytes / 4096);
	pthread_mutex_unlock(&disk->lock);
	return 0;
}

static int mem_flush(void *ctx)
{
	struct memdisk *disk = ctx;

	atomic_fetch_add(&disk->flushes, 1);
	usleep(disk->flush_sleep_ms * 1000);
	return disk->detached ? -ENODEV : disk->flush_error;
}

static int mem_discard(void *ctx, uint64_t len_bytes, uint64_t off_bytes)
{
	struct memdisk *disk = ctx;
	uint64_t first = (off_bytes + 4095) / 4096, last = (off_bytes + len_bytes) / 4096;

	check_range(disk, len_bytes, off_bytes);
	atomic_fetch_add(&disk->discards, 1);
	if (disk->detached)
		return -ENODEV;
	pthread_mutex_lock(&disk->lock);
	memset(disk->data + off_bytes, 0, len_bytes);
	if (first < last)
		memset(disk->mapped + first, 0, last - first);
	pthread_mutex_unlock(&disk->lock);
	return 0;
}

static int mem_seek(void *ctx, enum sv_seek what, uint64_t off_bytes, uint64_t *ret_off_bytes)
{
	struct memdisk *disk = ctx;
	uint64_t blocks = (disk->size_bytes + 4095) / 4096, block = off_bytes / 4096;

	if (disk->detached)
		return -ENODEV;
	pthread_mutex_lock(&disk->lock);
	while (block < blocks && disk->mapped[block] != (what == SV_SEEK_DATA))
		block++;
	pthread_mutex_unlock(&disk->lock);
	if (block == blocks && what == SV_SEEK_DATA)
		return -ENXIO;
	off_bytes = block * 4096 > off_bytes ? block * 4096 : off_bytes;
	*ret_off_bytes = off_bytes < disk->size_bytes ? off_bytes : disk->size_bytes;
	return 0;
}

static void mem_status(void *ctx, struct sv_status *ret_status)
{
	struct memdisk *disk = ctx;
	struct sv_status status = {.size_bytes = disk->size_bytes,
				   .capacity_bytes = 2 * disk->size_bytes,
				   .epoch = 7,
				   .free_segments = 5};

	pthread_mutex_lock(&disk->lock);
	for (uint64_t i = 0; i < (disk->size_bytes + 4095) / 4096; i++)
		status.mapped_bytes += disk->mapped[i] ? 4096 : 0;
	pthread_mutex_unlock(&disk->lock);
	status.used_bytes = status.mapped_bytes;
	status.state = disk->detached ? SV_DETACHED : SV_OK;
	status.session.flushes = atomic_load(&disk->flushes);
	memset(status.store_id, 0xa5, sizeof(status.store_id));
	*ret_status = status;
}

const struct sv_fuse_disk_ops memdisk_ops = {
	.read = mem_read,
	.write = mem_write,
	.flush = mem_flush,
	.discard = mem_discard,
	.seek = mem_seek,
	.status = mem_status,
};

void memdisk_init(struct memdisk *disk, uint64_t size_bytes)
{
	*disk = (struct memdisk){.size_bytes = size_bytes};
	disk->data = calloc(1, size_bytes);
	disk->mapped = calloc(1, (size_bytes + 4095) / 4096);
	pthread_mutex_init(&disk->lock, NULL);
	assert(disk->data && disk->mapped);
}

void memdisk_fini(struct memdisk *disk)
{
	pthread_mutex_destroy(&disk->lock);
	free(disk->data);
	free(disk->mapped);
}

const uint8_t *memdisk_data(struct memdisk *disk)
{
	pthread_mutex_lock(&disk->lock);
	pthread_mutex_unlock(&disk->lock);
	return disk->data;
}

static void *serve(void *arg)
{
	struct memmount *mount = arg;

	return (void *)(intptr_t)sv_fuse_run(mount->fuse);
}

/*
 * Client and server are one process here. If it dies while a client's request is unanswered, the
 * kernel waits for the answer for ever and the process stays. A guard cuts the connection then.
 */
static int start_guard(const char *dir)
{
	int ends[2], status;
	pid_t pid;
	char byte;

	if (pipe2(ends, O_CLOEXEC) || (pid = fork()) < 0)
		abort();
	if (pid) {
		close(ends[0]);
		if (waitpid(pid, &status, 0) != pid || status)
			abort();
		return ends[1];
	}
	close(ends[1]);
	setsid(); /* a test runner that kills a test kills its group and its children */
	pid = fork();
	if (pid)
		_exit(pid < 0);
	if (poll(&(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, GUARD_MS) == 1 &&
	    read(ends[0], &byte, 1) == 1)
		_exit(0);
	umount2(dir, MNT_FORCE);
	umount2(dir, MNT_DETACH);
	_exit(1);
}

void memmount_start(struct memmount *mount, uint64_t size_bytes, unsigned threads, bool read_only)
{
	const struct sv_fuse_options opts = {
		.threads = threads, .read_only = read_only, .name = "memdisk"};

	memmount_start_with(mount, size_bytes, &opts);
}

void memmount_start_with(struct memmount *mount, uint64_t size_bytes,
			 const struct sv_fuse_options *opts)
{
	int err;

	memdisk_init(&mount->disk, size_bytes);
	snprintf(mount->dir, sizeof(mount->dir), "/tmp/unit-fuse-XXXXXX");
	if (!mkdtemp(mount->dir))
		abort();
	snprintf(mount->file, sizeof(mount->file), "%s/disk.raw", mount->dir);
	snprintf(mount->status, sizeof(mount->status), "%s/status.json", mount->dir);
	mount->guard = start_guard(mount->dir);
	err = sv_fuse_mount_disk(&memdisk_ops, &mount->disk, mount->dir, opts, &mount->fuse);
	if (err) {
		fprintf(stderr, "mount: %s: %s\n", strerror(-err), sv_fuse_why());
		rmdir(mount->dir);
		abort();
	}
	if (pthread_create(&mount->thread, NULL, serve, mount))
		abort();
}

int memmount_wait(struct memmount *mount)
{
	void *err;

	if (pthread_join(mount->thread, &err))
		abort();
	sv_fuse_destroy(mount->fuse);
	memdisk_fini(&mount->disk);
	if (write(mount->guard, "", 1) != 1 || close(mount->guard) || rmdir(mount->dir))
		abort();
	return (int)(intptr_t)err;
}

int memmount_end(struct memmount *mount)
{
	sv_fuse_stop(mount->fuse);
	return memmount_wait(mount);
}
