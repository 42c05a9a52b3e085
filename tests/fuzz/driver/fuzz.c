/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz.c: what the fuzz targets share: a reader of their input, files in memory. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file.h"

void fuzz_broken(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not true any more: %s\n", file, line, what);
	abort();
}

uint8_t fuzz_u8(struct fuzz_in *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

uint16_t fuzz_u16(struct fuzz_in *in)
{
	uint16_t low = fuzz_u8(in);

	return (uint16_t)(low | fuzz_u8(in) << 8);
}

const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t most, size_t *ret_len)
{
	const uint8_t *at = in->at;

	*ret_len = in->left < most ? in->left : most;
	in->at += *ret_len;
	in->left -= *ret_len;
	return at;
}

uint8_t *fuzz_copy(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (copy == NULL)
		abort();
	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

int fuzz_memory_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0)
		abort();
	while (size > 0) {
		ssize_t n = write(fd, data, size);

		if (n <= 0)
			abort();
		data += n;
		size -= (size_t)n;
	}
	if (lseek(fd, 0, SEEK_SET) != 0)
		abort();
	return fd;
}

void fuzz_file_name(int fd, char ret_path[32])
{
	snprintf(ret_path, 32, "/proc/self/fd/%d", fd);
}

static char folder[64];

static void remove_folder(void)
{
	(void)file_remove_tree(folder);
}

const char *fuzz_folder(void)
{
	if (folder[0] != '\0')
		return folder;
	snprintf(folder, sizeof(folder), "%s/stickvm-fuzz-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(folder) == NULL || atexit(remove_folder) != 0)
		abort();
	return folder;
}

void fuzz_put_file(const char *path, const uint8_t *data, size_t size)
{
	FILE *file = fopen(path, "wb");

	if (file == NULL || (size > 0 && fwrite(data, 1, size, file) != size) || fclose(file) != 0)
		abort();
}
