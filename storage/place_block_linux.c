/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_block_linux.c: what sysfs and SG_IO tell of the medium behind a file. */
#include "place_block.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * /sys/dev/block/MAJOR:MINOR is the partition or disk; a partition's queue and diskseq are its
 * parent's. `start` is in units of 512 bytes whatever the device's sectors are. A loop device's
 * offset stands for a partition's start: a loop is how a partition in an image becomes a device.
 * What is stacked (dm, md) may lie anywhere: its start is unknown.
 */
#define SYNC_TIMEOUT_MS 20000u
#define SYNCHRONIZE_CACHE_10 0x35

static int open_attribute(const struct place_block *block, const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", block->major, block->minor, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* The text of an attribute of the device, or of its parent where it is a partition. */
static bool read_text(const struct place_block *block, const char *name, char *text, size_t size)
{
	char parents[64];
	int fd = open_attribute(block, name);
	ssize_t n;

	if (fd < 0) {
		snprintf(parents, sizeof(parents), "../%s", name);
		fd = open_attribute(block, parents);
	}
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = '\0';
	return true;
}

static bool has(const struct place_block *block, const char *name)
{
	int fd = open_attribute(block, name);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool read_number(const struct place_block *block, const char *name, uint64_t *ret_number)
{
	char text[64], *end;
	uint64_t number;

	if (!read_text(block, name, text, sizeof(text)))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (end == text || errno != 0)
		return false;
	*ret_number = number;
	return true;
}

static void find_start(struct place_block *block)
{
	uint64_t start = 0;

	if (has(block, "partition")) {
		block->start_known = read_number(block, "start", &start);
		block->start_bytes = start * 512;
	} else if (has(block, "loop/offset")) {
		block->start_known = read_number(block, "loop/offset", &block->start_bytes);
	} else {
		block->start_known = !has(block, "dm/name") && !has(block, "md/level");
	}
}

void place_block_find(dev_t device, struct place_block *ret_block)
{
	struct place_block block = {.major = major(device), .minor = minor(device)};
	uint64_t number;
	char text[32];

	if (has(&block, "stat")) {
		block.visible = true;
		find_start(&block);
		if (read_number(&block, "diskseq", &number))
			block.diskseq = number;
		if (read_text(&block, "queue/write_cache", text, sizeof(text)))
			block.write_back = strncmp(text, "write back", 10) == 0;
		if (read_number(&block, "queue/max_sectors_kb", &number) && number < 1u << 20)
			block.max_io_bytes = (uint32_t)number * 1024;
		if (read_number(&block, "queue/discard_max_bytes", &number))
			block.discard_max_bytes = number;
		if (read_number(&block, "queue/discard_granularity", &number))
			block.discard_unit_bytes = (uint32_t)number;
	}
	*ret_block = block;
}

bool place_block_present(const struct place_block *block)
{
	uint64_t diskseq;

	if (!block->visible)
		return true; /* nothing to say */
	if (!has(block, "stat"))
		return false;
	return block->diskseq == 0 || !read_number(block, "diskseq", &diskseq) ||
	       diskseq == block->diskseq;
}

bool place_block_written(const struct place_block *block, uint64_t *ret_bytes)
{
	uint64_t sectors;
	char text[256];

	if (!block->visible || !read_text(block, "stat", text, sizeof(text)))
		return false;
	/* reads, merged, sectors, ms; then the same of writes */
	if (sscanf(text, "%*u %*u %*u %*u %*u %*u %" SCNu64, &sectors) != 1)
		return false;
	*ret_bytes = sectors * 512;
	return true;
}

static int open_node(const struct place_block *block, const char *uevent, int flags)
{
	char text[512], path[300], *name, *end;

	if (!read_text(block, uevent, text, sizeof(text)))
		return -ENODEV;
	name = strstr(text, "DEVNAME=");
	if (name == NULL)
		return -ENODEV;
	name += strlen("DEVNAME=");
	end = strchr(name, '\n');
	if (end != NULL)
		*end = '\0';
	snprintf(path, sizeof(path), "/dev/%.255s", name);
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

bool place_block_answers(const struct place_block *block)
{
	void *buf;
	bool answers;
	int fd;

	if (!block->visible)
		return true;
	fd = open_node(block, "uevent", O_RDONLY | O_DIRECT);
	if (fd < 0)
		return fd != -ENXIO && fd != -ENODEV && fd != -ENOMEDIUM;
	if (posix_memalign(&buf, 4096, 4096) != 0) {
		close(fd);
		return true;
	}
	answers = pread(fd, buf, 4096, 0) >= 0;
	free(buf);
	close(fd);
	return answers;
}

int place_block_open_flush(const struct place_block *block)
{
	char start[11] = {0};
	int fd;

	if (!block->visible)
		return -EOPNOTSUPP;
	fd = open_node(block, "uevent", O_RDONLY);
	if (fd < 0)
		return fd;
	if (pread(fd, start, sizeof(start), 0) == (ssize_t)sizeof(start) &&
	    (memcmp(start + 3, "EXFAT   ", 8) == 0 || memcmp(start + 3, "NTFS    ", 8) == 0))
		return fd;
	close(fd);
	return -EOPNOTSUPP;
}

int place_block_open_sync(const struct place_block *block)
{
	int fd, r;

	if (!block->visible)
		return -EOPNOTSUPP;
	/* the whole disk: the kernel takes SCSI commands through a partition from root only */
	fd = open_node(block, has(block, "partition") ? "../uevent" : "uevent", O_RDWR);
	if (fd < 0)
		return fd;
	r = place_block_sync(fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int place_block_sync(int sync_fd)
{
	unsigned char command[10] = {SYNCHRONIZE_CACHE_10}, sense[32] = {0};
	struct sg_io_hdr io = {
		.interface_id = 'S',
		.dxfer_direction = SG_DXFER_NONE,
		.cmd_len = sizeof(command),
		.cmdp = command,
		.mx_sb_len = sizeof(sense),
		.sbp = sense,
		.timeout = SYNC_TIMEOUT_MS,
	};
	int r;

	do
		r = ioctl(sync_fd, SG_IO, &io);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == ENOTTY || errno == EINVAL ? -EOPNOTSUPP : -errno;
	if ((io.info & SG_INFO_OK_MASK) == SG_INFO_OK)
		return 0;
	if (io.host_status != 0)
		return -EIO;
	/* sense key 5, illegal request: the stick does not know the command */
	return io.sb_len_wr > 2 && (sense[2] & 0xf) == 5 ? -EOPNOTSUPP : -EIO;
}
