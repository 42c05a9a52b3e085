/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_file_linux.c: one container as the host sees it: opened, transferred, allocated, located.
 */
#include "place_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/*
 * O_DIRECT, always where it is accepted: what the guest was promised must not wait in the host's
 * memory, a failed write must be repeatable (after a failed write-back the kernel calls the page
 * clean), and the guest has a cache of its own. Where it is refused, the page cache is used
 * without read-ahead.
 *
 * The size of a sector is asked of the block device, or of statx; a file system that says nothing
 * (FUSE) is tried with a read of 512 bytes.
 *
 * Locks are flock's: they belong to the open file, so a second open in the same process is kept
 * out too; they are gone when the process is; and they work on ext4, exfat-fuse, ntfs-3g and
 * block devices alike.
 */
#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x2000u
#endif

#define PROBE_BYTES 4096u
#define ZEROS_BYTES (1u << 20)
#define EXTENTS_AT_ONCE 256u

/* The tail of struct statx since Linux 6.1, which older headers call spare. */
static bool statx_sector(int fd, uint32_t *ret_bytes)
{
	struct statx stx;
	uint32_t dio[2];

	memset(&stx, 0, sizeof(stx));
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 ||
	    (stx.stx_mask & STATX_DIOALIGN) == 0)
		return false;
	memcpy(dio, (const char *)&stx + 0x98, sizeof(dio)); /* memory, then offset alignment */
	*ret_bytes = dio[1];
	return true;
}

static bool probe_read(int fd, void *buf, size_t len_bytes)
{
	return pread(fd, buf, len_bytes, 0) >= 0;
}

/* 0 where direct I/O does not work at all. */
static uint32_t direct_sector(int fd, const struct stat *st)
{
	uint32_t bytes = 0;
	void *buf;
	int logical;

	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKSSZGET, &logical) == 0 && logical > 0)
		bytes = (uint32_t)logical;
	else if (!statx_sector(fd, &bytes)) {
		if (posix_memalign(&buf, PROBE_BYTES, PROBE_BYTES) != 0)
			return 0;
		bytes = probe_read(fd, buf, 512) ? 512 : probe_read(fd, buf, 4096) ? 4096 : 0;
		free(buf);
	}
	if (bytes == 0 || bytes > 4096)
		return 0;
	return bytes <= 512 ? 512 : 4096;
}

static int size_of(int fd, const struct stat *st, uint64_t *ret_bytes)
{
	uint64_t bytes = (uint64_t)st->st_size;

	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return -errno;
	*ret_bytes = bytes;
	return 0;
}

static int drop_direct(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return -errno;
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	return 0;
}

static int open_direct(int dir_fd, const char *name, int flags, bool *ret_direct)
{
	int fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NOCTTY | O_DIRECT, 0600);

	*ret_direct = fd >= 0;
	if (fd < 0 && errno == EINVAL)
		fd = openat(dir_fd, name, (flags & ~(O_CREAT | O_EXCL)) | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 && errno == ENOENT && (flags & O_CREAT) != 0)
		fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NOCTTY, 0600);
	return fd < 0 ? -errno : fd;
}

int place_file_open(int dir_fd, const char *name, int flags, struct place_file *ret_file)
{
	struct place_file file = {.sector_bytes = 512};
	bool in_folder = dir_fd != AT_FDCWD;
	struct stat st;
	int r;

	if (in_folder)
		flags |= O_NOFOLLOW | O_NONBLOCK; /* a pipe would wait for its other end */
	file.fd = open_direct(dir_fd, name, flags, &file.direct);
	if (file.fd < 0)
		return in_folder && file.fd == -ELOOP ? -EBADMSG : file.fd;
	r = fstat(file.fd, &st) < 0 ? -errno : size_of(file.fd, &st, &file.size_bytes);
	if (r == 0 && in_folder && !S_ISREG(st.st_mode))
		r = -EBADMSG;
	if (r < 0)
		goto fail;
	if (file.direct) {
		file.sector_bytes = direct_sector(file.fd, &st);
		file.direct = file.sector_bytes != 0;
	}
	if (!file.direct) {
		file.sector_bytes = 512;
		r = drop_direct(file.fd);
		if (r < 0)
			goto fail;
	}
	*ret_file = file;
	return 0;
fail:
	close(file.fd);
	return r;
}

void place_file_close(struct place_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

int place_file_read(const struct place_file *file, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	uint8_t *to = buf;

	while (len_bytes > 0) {
		ssize_t n = pread(file->fd, to, len_bytes, (off_t)off_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		to += n;
		off_bytes += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

int place_file_write(const struct place_file *file, const void *buf, size_t len_bytes,
		     uint64_t off_bytes)
{
	const uint8_t *from = buf;

	while (len_bytes > 0) {
		ssize_t n = pwrite(file->fd, from, len_bytes, (off_t)off_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		from += n;
		off_bytes += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

int place_file_discard(const struct place_file *file, uint64_t off_bytes, uint64_t len_bytes)
{
	uint64_t range[2] = {off_bytes, len_bytes};

	if (ioctl(file->fd, BLKDISCARD, range) == 0 || errno == EOPNOTSUPP)
		return 0;
	return -errno;
}

/* Whether the file system keeps times in memory (mount -o lazytime). */
static bool is_lazy(int fd)
{
	char line[4096];
	struct stat st;
	bool lazy = false;
	FILE *f = fstat(fd, &st) == 0 ? fopen("/proc/self/mountinfo", "re") : NULL;

	while (f && fgets(line, sizeof(line), f)) {
		const char *options = strstr(line, " - ");
		unsigned major_id, minor_id;

		if (options && sscanf(line, "%*d %*d %u:%u", &major_id, &minor_id) == 2 &&
		    major_id == major(st.st_dev) && minor_id == minor(st.st_dev))
			lazy |= strstr(line, "lazytime") != NULL;
	}
	if (f)
		fclose(f);
	return lazy;
}

void place_file_fs(int fd, struct place_fs *ret_fs)
{
	struct place_fs fs = {0};
	struct statfs sfs;

	if (fstatfs(fd, &sfs) == 0) {
		switch ((unsigned long)sfs.f_type) {
		case EXT4_SUPER_MAGIC: /* of ext2 and ext3 as well: those refuse to reserve */
			fs = (struct place_fs){.fallocate = true,
					       .extents_true = true,
					       .writes_times = !is_lazy(fd)};
			break;
		case XFS_SUPER_MAGIC:
			fs = (struct place_fs){.fallocate = true, .extents_true = true};
			break;
		case BTRFS_SUPER_MAGIC:
			fs = (struct place_fs){.fallocate = true, .copies = true};
			break;
		case 0x7366746e: /* ntfs3, the kernel's own */
			fs = (struct place_fs){.fallocate = true};
			break;
		case FUSE_SUPER_MAGIC:
			fs = (struct place_fs){.daemon = true};
			break;
		default:
			break;
		}
	}
	*ret_fs = fs;
}

/* btrfs writes in place only files that were marked while they were empty. */
static void mark_in_place(int fd)
{
	int flags;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
		return;
	flags |= FS_NOCOW_FL;
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static int write_zeros(const struct place_file *file, uint64_t end_bytes)
{
	uint64_t at = file->size_bytes;
	void *zeros;
	int r = 0;

	if (posix_memalign(&zeros, 4096, ZEROS_BYTES) != 0)
		return -ENOMEM;
	memset(zeros, 0, ZEROS_BYTES);
	while (at < end_bytes && r == 0) {
		uint64_t n = end_bytes - at < ZEROS_BYTES ? end_bytes - at : ZEROS_BYTES;

		r = place_file_write(file, zeros, (size_t)n, at);
		at += n;
	}
	free(zeros);
	return r;
}

static int reserve(const struct place_file *file, uint64_t end_bytes)
{
	uint64_t from = file->size_bytes;
	int r;

	do
		r = fallocate(file->fd, 0, (off_t)from, (off_t)(end_bytes - from));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int place_file_extend(struct place_file *file, struct place_fs *fs, uint64_t size_bytes)
{
	uint64_t old_bytes = file->size_bytes;
	int r = -EOPNOTSUPP;

	if (size_bytes <= old_bytes)
		return 0;
	if (old_bytes == 0 && fs->copies)
		mark_in_place(file->fd);
	if (fs->fallocate)
		r = reserve(file, size_bytes);
	if (r == -EOPNOTSUPP || r == -ENOSYS) {
		fs->fallocate = false;
		r = write_zeros(file, size_bytes);
	}
	if (r == 0 && fsync(file->fd) < 0)
		r = -errno;
	if (r < 0) {
		if (ftruncate(file->fd, (off_t)old_bytes) == 0) /* gives back what it got */
			(void)fsync(file->fd);
		return r;
	}
	file->size_bytes = size_bytes;
	return 0;
}

static bool extent_is_true(const struct fiemap_extent *extent)
{
	const uint32_t unsure = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC |
				FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_NOT_ALIGNED |
				FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_SHARED;

	return (extent->fe_flags & unsure) == 0;
}

struct extent_list {
	struct place_extent *extents;
	size_t count;
	uint64_t next_bytes; /* where the next call goes on */
	bool last;
};

static int take_extents(struct extent_list *list, const struct fiemap *map, uint64_t start_bytes)
{
	struct place_extent *more;

	if (map->fm_mapped_extents == 0) {
		list->last = true;
		return 0;
	}
	more = realloc(list->extents,
		       (list->count + map->fm_mapped_extents) * sizeof(*list->extents));
	if (more == NULL)
		return -ENOMEM;
	list->extents = more;
	for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
		const struct fiemap_extent *extent = &map->fm_extents[i];

		if (!extent_is_true(extent))
			return -EOPNOTSUPP;
		list->extents[list->count++] = (struct place_extent){
			extent->fe_logical, extent->fe_physical + start_bytes, extent->fe_length};
		list->next_bytes = extent->fe_logical + extent->fe_length;
		list->last = (extent->fe_flags & FIEMAP_EXTENT_LAST) != 0;
	}
	return 0;
}

int place_file_extents(const struct place_file *file, uint64_t end_bytes, uint64_t start_bytes,
		       struct place_extent **ret_extents, size_t *ret_count)
{
	size_t map_bytes = sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent);
	struct fiemap *map = malloc(map_bytes);
	struct extent_list list = {0};
	int r = map == NULL ? -ENOMEM : 0;

	while (r == 0 && !list.last && list.next_bytes < end_bytes) {
		memset(map, 0, map_bytes);
		map->fm_start = list.next_bytes;
		map->fm_length = end_bytes - list.next_bytes;
		map->fm_flags = FIEMAP_FLAG_SYNC;
		map->fm_extent_count = EXTENTS_AT_ONCE;
		if (ioctl(file->fd, FS_IOC_FIEMAP, map) < 0)
			r = errno == ENOTTY || errno == EINVAL ? -EOPNOTSUPP : -errno;
		else
			r = take_extents(&list, map, start_bytes);
	}
	free(map);
	if (r < 0) {
		free(list.extents);
		return r;
	}
	*ret_extents = list.extents;
	*ret_count = list.count;
	return 0;
}

int place_file_lock(const struct place_file *file, bool exclusive)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	struct stat st;
	int tries = fstat(file->fd, &st) == 0 && S_ISBLK(st.st_mode) ? 20 : exclusive ? 10 : 1;
	int r;

	/* udev holds a device for a moment whenever a writer closed it; a short look at the store
	 * (stickvm list) and a process that was killed just now hold files for a moment */
	while ((r = flock(file->fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB)) < 0 &&
	       (errno == EINTR || (errno == EWOULDBLOCK && --tries > 0)))
		nanosleep(&pause, NULL);
	if (r == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EBUSY : -errno;
}
