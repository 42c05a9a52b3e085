/* SPDX-License-Identifier: GPL-2.0-or-later */
/* images.c: disk images for tests: made with QEMU's tools, told apart by the hash of their disk. */
#include "images.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

#define PIECE_BYTES 65536u
#define MAX_WORDS 32

#define DIR_PREFIX "/tmp/stickvm-test-"

int images_begin(void **state)
{
	char dir[] = DIR_PREFIX "XXXXXX";

	(void)state; /* left alone: it would hide the initial state of each test */
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int images_end(void **state)
{
	char dir[64];

	(void)state;
	if (!getcwd(dir, sizeof(dir)) || strncmp(dir, DIR_PREFIX, strlen(DIR_PREFIX)) != 0 ||
	    chdir("/") != 0)
		return -1;
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int run_line(char *line)
{
	posix_spawn_file_actions_t quiet;
	char *words[MAX_WORDS] = {NULL};
	char *rest = line;
	int count = 0, status;
	pid_t pid;

	for (char *w; count < MAX_WORDS - 1 && (w = strtok_r(rest, " ", &rest)); count++)
		for (char *c = words[count] = w; *c; c++)
			*c = *c == '\t' ? ' ' : *c;
	assert_int_equal(posix_spawn_file_actions_init(&quiet), 0);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
	int r = posix_spawnp(&pid, words[0], &quiet, NULL, words, environ);
	posix_spawn_file_actions_destroy(&quiet);
	if (r != 0)
		return 127;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int run_status(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	return run_line(line);
}

void run(const char *fmt, ...)
{
	char line[1024], words[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	snprintf(words, sizeof(words), "%s", line);
	if (run_line(words) != 0)
		fail_msg("failed: %s", line);
}

static uint32_t next_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33);
}

static void fill_random(uint8_t *p, size_t len_bytes, uint64_t *state)
{
	for (size_t i = 0; i < len_bytes; i++)
		p[i] = (uint8_t)next_random(state);
}

static void fill_text(uint8_t *p, size_t len_bytes, uint64_t *state)
{
	for (size_t i = 0; i < len_bytes; i++)
		p[i] = (uint8_t)("the quick brown fox jumps "[i % 26] + next_random(state) % 2);
}

/* What a piece of 64 KiB holds; returns how much of it is to be written. */
static size_t fill_piece(uint8_t *p, uint64_t *state)
{
	memset(p, 0, PIECE_BYTES);
	switch (next_random(state) % 8) {
	case 0:
		fill_random(p, PIECE_BYTES, state);
		return PIECE_BYTES;
	case 1:
	case 2:
		fill_text(p, PIECE_BYTES, state);
		return PIECE_BYTES;
	case 3:
		return PIECE_BYTES; /* written zeros */
	case 4:			    /* one small write somewhere, the rest zeros */
		fill_random(p + 512 * (next_random(state) % 120), 1536, state);
		return PIECE_BYTES;
	default:
		return 0;
	}
}

void make_raw(const char *path, uint64_t size_bytes, uint32_t seed)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t *piece = malloc(PIECE_BYTES);
	uint64_t state = seed;

	assert_true(fd >= 0 && piece);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	for (uint64_t off = 0; off < size_bytes; off += PIECE_BYTES) {
		size_t len = fill_piece(piece, &state);
		if (len > size_bytes - off)
			len = (size_t)(size_bytes - off);
		assert_int_equal(pwrite(fd, piece, len, (off_t)off), len);
	}
	/* The end is where readers go wrong: data up to the last byte. */
	fill_random(piece, 512, &state);
	assert_int_equal(pwrite(fd, piece, 512, (off_t)(size_bytes - 512)), 512);
	free(piece);
	close(fd);
}

void patch(const char *path, uint64_t off_bytes, const void *bytes, size_t len_bytes)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len_bytes, (off_t)off_bytes), len_bytes);
	close(fd);
}

uint64_t file_bytes(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

uint64_t raw_hash(const char *path)
{
	XXH3_state_t *hash = XXH3_createState();
	uint8_t *piece = malloc(PIECE_BYTES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0 && piece && hash);
	XXH3_64bits_reset(hash);
	while ((n = read(fd, piece, PIECE_BYTES)) > 0)
		XXH3_64bits_update(hash, piece, (size_t)n);
	assert_int_equal(n, 0);
	uint64_t digest = XXH3_64bits_digest(hash);
	XXH3_freeState(hash);
	free(piece);
	close(fd);
	return digest;
}

uint64_t source_hash(struct sv_source *src, size_t step)
{
	XXH3_state_t *hash = XXH3_createState();
	uint8_t *buf = malloc(step);

	assert_true(buf && hash);
	XXH3_64bits_reset(hash);
	for (uint64_t off = 0; off < src->size_bytes;) {
		uint64_t rest = src->size_bytes - off;
		size_t len = rest < step ? (size_t)rest : step;
		/* What a reader leaves out must not look like what was read before. */
		memset(buf, 0xa5, len);
		if (sv_source_read(src, buf, len, off) != 0)
			fail_msg("at %llu: %s", (unsigned long long)off, src->error.text);
		XXH3_64bits_update(hash, buf, len);
		off += len;
	}
	uint64_t digest = XXH3_64bits_digest(hash);
	XXH3_freeState(hash);
	free(buf);
	return digest;
}

static bool is_zero(const uint8_t *p, size_t len_bytes)
{
	return p[0] == 0 && memcmp(p, p + 1, len_bytes - 1) == 0;
}

static void expect_zeros(struct sv_source *src, uint64_t off, uint64_t len)
{
	static uint8_t piece[PIECE_BYTES];

	while (len > 0) {
		size_t part = len < PIECE_BYTES ? (size_t)len : PIECE_BYTES;
		memset(piece, 0xa5, part);
		assert_int_equal(sv_source_read(src, piece, part, off), 0);
		if (!is_zero(piece, part))
			fail_msg("the hole at %llu holds data", (unsigned long long)off);
		off += part;
		len -= part;
	}
}

uint64_t source_data_bytes(struct sv_source *src)
{
	uint64_t data_bytes = 0;

	for (uint64_t off = 0; off < src->size_bytes;) {
		enum sv_extent kind;
		uint64_t len;
		if (sv_source_next(src, off, &kind, &len) != 0)
			fail_msg("at %llu: %s", (unsigned long long)off, src->error.text);
		assert_true(len > 0 && len <= src->size_bytes - off);
		assert_true(kind == SV_EXTENT_DATA || kind == SV_EXTENT_HOLE);
		if (kind == SV_EXTENT_DATA)
			data_bytes += len;
		else
			expect_zeros(src, off, len);
		off += len;
	}
	return data_bytes;
}

uint64_t raw_data_bytes(const char *path)
{
	uint8_t *piece = malloc(PIECE_BYTES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t data_bytes = 0;
	ssize_t n;

	assert_true(fd >= 0 && piece);
	while ((n = read(fd, piece, PIECE_BYTES)) > 0)
		if (!is_zero(piece, (size_t)n))
			data_bytes += (uint64_t)n;
	free(piece);
	close(fd);
	return data_bytes;
}
