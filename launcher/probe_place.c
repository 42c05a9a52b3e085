/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_place.c: a scratch file, or the device, opened past the page cache and timed. */
#include "probe_place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "file.h"

/* The whole medium below a device number: "/dev/sdb" for sdb1, and where the number begins. */
struct medium {
	char node[64];
	uint64_t start_bytes; /* of the number, on the medium */
	bool loop, removable, usb;
};

static bool read_number(const char *folder, const char *name, uint64_t *ret_number)
{
	char path[PATH_MAX + 32], *text, *end;
	size_t bytes;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (file_read(path, 8192, &text, &bytes) < 0)
		return false;
	*ret_number = strtoull(text, &end, 10);
	bytes = (size_t)(end - text);
	free(text);
	return bytes > 0;
}

static bool find_medium(dev_t number, struct medium *ret_medium)
{
	struct medium m = {0};
	char link[64], *folder, *name;
	uint64_t value;

	snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(number), minor(number));
	folder = realpath(link, NULL);
	if (!folder)
		return false;
	if (read_number(folder, "partition", &value)) {
		if (read_number(folder, "start", &value))
			m.start_bytes = value * 512;
		*strrchr(folder, '/') = '\0';
	}
	m.loop = read_number(folder, "loop/offset", &value);
	if (m.loop)
		m.start_bytes += value;
	m.removable = read_number(folder, "removable", &value) && value == 1;
	m.usb = strstr(folder, "/usb") != NULL;
	name = strrchr(folder, '/') + 1;
	snprintf(m.node, sizeof m.node, "/dev/%.48s", name);
	free(folder);
	*ret_medium = m;
	return true;
}

/* The number of the device that holds the path; 0: none is visible. */
static dev_t device_of(const char *path, const char *node)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return 0;
	if (S_ISBLK(st.st_mode))
		return st.st_rdev;
	if (major(st.st_dev) != 0 || !node)
		return major(st.st_dev) != 0 ? st.st_dev : 0;
	return stat(node, &st) == 0 && S_ISBLK(st.st_mode) ? st.st_rdev : 0;
}

bool probe_place_is_stick(const char *path, const char *node)
{
	dev_t number = device_of(path, node);
	struct medium m;

	return number != 0 && find_medium(number, &m) && (m.usb || m.removable || m.loop);
}

/* pread or pwrite until all of it is done. */
static int transfer(int fd, void *to, const void *from, size_t len_bytes, uint64_t off_bytes)
{
	while (len_bytes > 0) {
		ssize_t n = to ? pread(fd, to, len_bytes, (off_t)off_bytes)
			       : pwrite(fd, from, len_bytes, (off_t)off_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		to = to ? (char *)to + n : NULL;
		from = from ? (const char *)from + n : NULL;
		off_bytes += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

/* Where a medium's address lies in the scratch file, and how far it goes on there. */
static bool in_scratch(const struct probe_place *p, uint64_t off_bytes, uint64_t *ret_file_bytes,
		       uint64_t *ret_len_bytes)
{
	if (p->scratch.fd >= 0 && p->scratch.extent_count == 0) {
		*ret_file_bytes = off_bytes;
		*ret_len_bytes = p->scratch.size_bytes - off_bytes;
		return off_bytes < p->scratch.size_bytes;
	}
	for (size_t i = 0; i < p->scratch.extent_count; i++) {
		const struct sv_place_run *run = &p->scratch.extents[i];

		if (off_bytes < run->medium_bytes ||
		    off_bytes >= run->medium_bytes + run->len_bytes)
			continue;
		*ret_file_bytes = run->file_bytes + (off_bytes - run->medium_bytes);
		*ret_len_bytes = run->len_bytes - (off_bytes - run->medium_bytes);
		return true;
	}
	return false;
}

static int place_read(void *ctx, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	const struct probe_place *p = ctx;
	uint64_t file_bytes, run_bytes;

	if (p->disk_fd >= 0)
		return transfer(p->disk_fd, buf, NULL, len_bytes, off_bytes - p->disk_skew_bytes);
	if (!in_scratch(p, off_bytes, &file_bytes, &run_bytes) || run_bytes < len_bytes)
		return -EINVAL;
	return transfer(p->scratch.fd, buf, NULL, len_bytes, file_bytes);
}

static int place_write(void *ctx, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	const struct probe_place *p = ctx;
	const char *from = buf;

	if (p->raw_fd >= 0)
		return transfer(p->raw_fd, NULL, buf, len_bytes, off_bytes - p->raw_skew_bytes);
	while (len_bytes > 0) {
		uint64_t file_bytes, run_bytes;
		size_t len;
		int r;

		if (!in_scratch(p, off_bytes, &file_bytes, &run_bytes))
			return -EINVAL;
		len = run_bytes < len_bytes ? (size_t)run_bytes : len_bytes;
		r = transfer(p->scratch.fd, NULL, from, len, file_bytes);
		if (r < 0)
			return r;
		from += len;
		off_bytes += len;
		len_bytes -= len;
	}
	return 0;
}

static int place_flush(void *ctx)
{
	const struct probe_place *p = ctx;
	int fd = p->raw_fd >= 0 ? p->raw_fd : p->scratch.fd;

	return fd < 0 || fdatasync(fd) == 0 ? 0 : -errno;
}

static uint64_t place_now(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static const struct probe_ops place_ops = {place_read, place_write, place_flush, place_now};

static uint64_t size_of(int fd)
{
	struct stat st;
	uint64_t bytes = 0;

	if (fstat(fd, &st) < 0)
		return 0;
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, &bytes) == 0 ? bytes : 0;
	return (uint64_t)st.st_size;
}

/* The medium as a whole, for reading; without the right to it there is only the scratch. */
static void open_disk(struct probe_place *p, const char *node, uint64_t skew_bytes)
{
	int sector = 512;

	snprintf(p->disk_node, sizeof p->disk_node, "%s", node);
	p->disk_fd = open(node, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (p->disk_fd < 0)
		return;
	p->disk_skew_bytes = skew_bytes;
	p->disk_bytes = size_of(p->disk_fd);
	if (ioctl(p->disk_fd, BLKSSZGET, &sector) == 0 && sector > (int)p->target.sector_bytes)
		p->target.sector_bytes = (uint32_t)sector;
	p->target.readable = (struct probe_range){skew_bytes, p->disk_bytes};
}

static int by_offset(const void *a, const void *b)
{
	const struct probe_range *x = a, *y = b;

	return x->off_bytes < y->off_bytes ? -1 : x->off_bytes > y->off_bytes;
}

/* The scratch's runs in the order of the medium, joined where they touch. */
static int take_free(struct probe_place *p)
{
	size_t count = p->scratch.extent_count, n = 0;

	p->free = calloc(count + 1, sizeof *p->free);
	if (!p->free)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		p->free[i] = (struct probe_range){p->scratch.extents[i].medium_bytes,
						  p->scratch.extents[i].len_bytes};
	if (count == 0)
		p->free[0] = (struct probe_range){0, p->scratch.size_bytes};
	qsort(p->free, count, sizeof *p->free, by_offset);
	for (size_t i = 1; i < count; i++) {
		if (p->free[n].off_bytes + p->free[n].len_bytes == p->free[i].off_bytes)
			p->free[n].len_bytes += p->free[i].len_bytes;
		else
			p->free[++n] = p->free[i];
	}
	p->free_count = n + 1;
	for (size_t i = 0; i < p->free_count; i++)
		if (p->free[i].len_bytes > p->target.scratch.len_bytes)
			p->target.scratch = p->free[i];
	return 0;
}

static int open_folder(const struct probe_place_wanted *wanted, struct probe_place *p,
		       struct err *err)
{
	dev_t number = device_of(wanted->path, wanted->node);
	struct medium m;
	int r = 0;

	if (wanted->scratch_bytes > 0)
		r = sv_scratch_open(wanted->path, wanted->scratch_bytes, wanted->zeros_bytes,
				    &p->scratch);
	if (r < 0)
		return err_set(err, file_status(r), "%s: nothing can be written there: %s; %s",
			       wanted->path, strerror(-r), file_advice(r));
	if (p->scratch.fd >= 0) {
		p->direct = p->scratch.direct;
		p->target.sector_bytes = p->scratch.sector_bytes;
		p->target.aligned = p->scratch.extent_count > 0;
		if (take_free(p) < 0)
			return err_set(err, EXIT_FAILED, "out of memory");
	}
	/* Where the scratch lies is known, or there is none: then addresses are the medium's. */
	if (number != 0 && find_medium(number, &m) && (p->target.aligned || p->scratch.fd < 0)) {
		open_disk(p, m.node, m.loop ? m.start_bytes : 0);
		p->direct |= p->disk_fd >= 0;
		p->target.aligned = true;
	}
	return 0;
}

static int open_raw(const struct probe_place_wanted *wanted, const struct stat *st,
		    struct probe_place *p, struct err *err)
{
	bool block = S_ISBLK(st->st_mode);
	struct medium m = {0};

	if (block && find_medium(st->st_rdev, &m))
		open_disk(p, m.node, m.loop ? m.start_bytes : 0);
	else
		open_disk(p, wanted->path, 0);
	if (p->disk_fd < 0)
		return err_set(err, EXIT_FAILED, "%s: cannot be read: %s; %s", wanted->path,
			       strerror(errno), file_advice(-errno));
	p->direct = true;
	p->target.aligned = true;
	p->raw_skew_bytes = block ? m.start_bytes : 0;
	p->raw_bytes = p->disk_bytes;
	if (!wanted->capacity)
		return 0;
	p->raw_fd = open(wanted->path, O_RDWR | O_DIRECT | O_CLOEXEC | (block ? O_EXCL : 0));
	if (p->raw_fd < 0)
		return err_set(err, errno == EBUSY ? EXIT_LOCKED : EXIT_FAILED,
			       "%s: cannot be written: %s; %s", wanted->path, strerror(errno),
			       errno == EBUSY ? "unmount it first" : file_advice(-errno));
	p->raw_bytes = size_of(p->raw_fd);
	p->free = calloc(1, sizeof *p->free);
	if (!p->free)
		return err_set(err, EXIT_FAILED, "out of memory");
	p->free_count = 1;
	p->free[0] = (struct probe_range){p->raw_skew_bytes, p->raw_bytes};
	return 0;
}

int probe_place_open(const struct probe_place_wanted *wanted, struct probe_place *ret_place,
		     struct err *err)
{
	struct probe_place *p = ret_place;
	struct stat st;
	int rc;

	*p = (struct probe_place){.disk_fd = -1, .raw_fd = -1, .scratch = {.fd = -1}};
	p->target = (struct probe_target){.ops = &place_ops, .ctx = p, .sector_bytes = 512};
	if (stat(wanted->path, &st) < 0)
		return err_set(err, EXIT_NO_STICK, "%s: %s; is the stick plugged in and mounted?",
			       wanted->path, strerror(errno));
	rc = S_ISDIR(st.st_mode) ? open_folder(wanted, p, err) : open_raw(wanted, &st, p, err);
	if (rc < 0)
		probe_place_close(p);
	return rc;
}

int probe_place_open_disk(struct probe_place *place)
{
	int fd = open(place->disk_node, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (place->raw_fd >= 0)
		close(place->raw_fd);
	place->raw_fd = fd;
	place->raw_skew_bytes = place->disk_skew_bytes;
	return 0;
}

void probe_place_close(struct probe_place *place)
{
	sv_scratch_close(&place->scratch);
	if (place->disk_fd >= 0)
		close(place->disk_fd);
	if (place->raw_fd >= 0)
		close(place->raw_fd);
	free(place->free);
	place->free = NULL;
	place->disk_fd = place->raw_fd = -1;
}
