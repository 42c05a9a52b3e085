/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay.c: a recorded boot against a disk, one request after the other; prints how long it waited.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "fsim_random.h"

/*
 *	bench-replay --image TRACE FILE		the disk as it was before that boot
 *	bench-replay [--divide N] [--verify] [--shift BLOCKS] TRACE FILE
 *
 * tools/trace.d/pack.py tells what is in TRACE. Before each request the guest's think time passes,
 * divided by N (10): what a virtual machine in software computes, hardware does in a tenth. With
 * --verify what is read is compared with what must be there, and nothing is timed. --shift reads
 * elsewhere: the same boot of a guest whose files have all moved.
 */
#define MAGIC "svTRACE1"
#define HEAD_BYTES 32u
#define CHUNK_ENTRY_BYTES 4u
#define REQUEST_BYTES 16u
#define BLOCK_BYTES 4096u
#define CHUNK_BLOCKS 16u
#define IO_MOST_BYTES (16u << 20)

struct trace {
	uint8_t *bytes;
	uint64_t disk_bytes, written_bytes;
	uint32_t chunks, requests;
	const uint8_t *chunk, *request, *data;
};

struct request {
	char op;
	uint64_t off_bytes, len_bytes, think_us;
};

struct waits {
	double read_s, write_s, flush_s, max_s;
	double think_s;
	uint64_t read_bytes, written_bytes, reads, writes, flushes, wrong;
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* ---- the trace ---- */

static uint8_t *read_file(const char *path, size_t *ret_len)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *p = NULL;

	if (!f)
		return NULL;
	if (fstat(fileno(f), &st) == 0 && (p = malloc((size_t)st.st_size + 1))) {
		*ret_len = fread(p, 1, (size_t)st.st_size, f);
		if (*ret_len != (size_t)st.st_size) {
			free(p);
			p = NULL;
		}
	}
	fclose(f);
	return p;
}

static bool parse(struct trace *t, size_t len)
{
	uint64_t parts;

	if (len < HEAD_BYTES || memcmp(t->bytes, MAGIC, 8) != 0)
		return false;
	t->disk_bytes = get(t->bytes + 8, 8);
	t->chunks = (uint32_t)get(t->bytes + 16, 4);
	t->requests = (uint32_t)get(t->bytes + 20, 4);
	t->written_bytes = get(t->bytes + 24, 8);
	t->chunk = t->bytes + HEAD_BYTES;
	t->request = t->chunk + (uint64_t)t->chunks * CHUNK_ENTRY_BYTES;
	t->data = t->request + (uint64_t)t->requests * REQUEST_BYTES;
	parts = (uint64_t)(t->data - t->bytes) + t->written_bytes;
	return parts == len && t->disk_bytes <= (uint64_t)t->chunks * CHUNK_BLOCKS * BLOCK_BYTES;
}

static int load(const char *path, struct trace *ret_trace)
{
	size_t packed_len = 0, len;
	uint8_t *packed = read_file(path, &packed_len);
	unsigned long long size;

	if (!packed)
		return -EIO;
	size = ZSTD_getFrameContentSize(packed, packed_len);
	if (size > UINT32_MAX || !(ret_trace->bytes = malloc(size))) {
		free(packed);
		return -EBADMSG;
	}
	len = ZSTD_decompress(ret_trace->bytes, size, packed, packed_len);
	free(packed);
	return !ZSTD_isError(len) && parse(ret_trace, len) ? 0 : -EBADMSG;
}

static struct request request_at(const struct trace *t, uint32_t i)
{
	const uint8_t *p = t->request + (uint64_t)i * REQUEST_BYTES;

	return (struct request){.op = (char)p[0],
				.len_bytes = get(p + 1, 3) * 512,
				.off_bytes = get(p + 4, 4) * 512,
				.think_us = get(p + 8, 8)};
}

/* ---- the image ---- */

/* A block as it was before the boot: random bytes, and a repeated pattern, as many of the first as
 * make it compress like the one that it stands for. */
static void make_block(const struct trace *t, uint64_t lba, uint8_t *dst)
{
	const uint8_t *entry = t->chunk + lba / CHUNK_BLOCKS * CHUNK_ENTRY_BYTES;
	uint64_t seed = lba, word;
	size_t random = BLOCK_BYTES * (size_t)entry[2] / 255;

	if (!(get(entry, 2) >> (lba % CHUNK_BLOCKS) & 1)) {
		memset(dst, 0, BLOCK_BYTES);
		return;
	}
	seed = fsim_random(&seed); /* states of neighbours would be one sequence */
	word = fsim_random(&seed) | 1;
	for (size_t at = 0; at < BLOCK_BYTES; at += sizeof(word)) {
		if (at < random)
			word = fsim_random(&seed);
		memcpy(dst + at, &word, sizeof(word));
	}
}

static int make_image(const struct trace *t, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	uint8_t block[BLOCK_BYTES];
	int r = fd < 0 || ftruncate(fd, (off_t)t->disk_bytes) < 0 ? -errno : 0;

	for (uint64_t lba = 0; r == 0 && lba < t->disk_bytes / BLOCK_BYTES; lba++) {
		if (!(get(t->chunk + lba / CHUNK_BLOCKS * CHUNK_ENTRY_BYTES, 2) >>
			      (lba % CHUNK_BLOCKS) &
		      1))
			continue;
		make_block(t, lba, block);
		if (pwrite(fd, block, BLOCK_BYTES, (off_t)(lba * BLOCK_BYTES)) != BLOCK_BYTES)
			r = -EIO;
	}
	if (fd >= 0 && close(fd) < 0 && r == 0)
		r = -errno;
	return r;
}

/* ---- what must be there ---- */

/* Which blocks the boot wrote so far: those are not compared. */
static bool is_as_before(const uint8_t *written, const struct trace *t, uint64_t lba,
			 uint64_t blocks, const uint8_t *buf)
{
	uint8_t block[BLOCK_BYTES];

	for (uint64_t i = 0; i < blocks; i++) {
		if (written[(lba + i) / 8] >> ((lba + i) % 8) & 1)
			continue;
		make_block(t, lba + i, block);
		if (memcmp(block, buf + i * BLOCK_BYTES, BLOCK_BYTES) != 0)
			return false;
	}
	return true;
}

static void note_written(uint8_t *written, const struct request *q)
{
	for (uint64_t lba = q->off_bytes / BLOCK_BYTES;
	     lba * BLOCK_BYTES < q->off_bytes + q->len_bytes; lba++)
		written[lba / 8] |= (uint8_t)(1u << (lba % 8));
}

/* ---- replay ---- */

static void think(double seconds)
{
	struct timespec t = {.tv_sec = (time_t)seconds,
			     .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static int perform(int fd, const struct request *q, uint8_t *buf, const uint8_t *data)
{
	ssize_t n = (ssize_t)q->len_bytes;

	switch (q->op) {
	case 'r':
		return pread(fd, buf, q->len_bytes, (off_t)q->off_bytes) == n ? 0 : -EIO;
	case 'w':
		memcpy(buf, data, q->len_bytes);
		return pwrite(fd, buf, q->len_bytes, (off_t)q->off_bytes) == n ? 0 : -EIO;
	case 'z':
	case 't':
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (off_t)q->off_bytes, n) < 0
			       ? -errno
			       : 0;
	default:
		return fdatasync(fd) < 0 ? -errno : 0;
	}
}

static void count(struct waits *w, const struct request *q, double s)
{
	w->max_s = s > w->max_s ? s : w->max_s;
	if (q->op == 'r') {
		w->read_s += s;
		w->reads++;
		w->read_bytes += q->len_bytes;
	} else if (q->op == 'f') {
		w->flush_s += s;
		w->flushes++;
	} else {
		w->write_s += s;
		w->writes++;
		w->written_bytes += q->len_bytes;
	}
}

static int replay(const struct trace *t, const char *path, double divide, bool verify,
		  uint64_t shift_bytes, struct waits *w)
{
	int fd = open(path, O_RDWR | O_DIRECT);
	uint8_t *written = calloc(1, t->disk_bytes / BLOCK_BYTES / 8 + 1), *buf = NULL;
	const uint8_t *data = t->data;
	int r = fd < 0 ? -errno : 0;

	if (!written || posix_memalign((void **)&buf, 4096, IO_MOST_BYTES))
		r = -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < t->requests; i++) {
		struct request q = request_at(t, i);
		double start;

		if (q.off_bytes + q.len_bytes > t->disk_bytes || q.len_bytes > IO_MOST_BYTES) {
			r = -EBADMSG;
			break;
		}
		if (q.op == 'r' && shift_bytes)
			q.off_bytes = (q.off_bytes + shift_bytes) % (t->disk_bytes - q.len_bytes) /
				      512 * 512;
		if (!verify)
			think((double)q.think_us / 1e6 / divide);
		w->think_s += (double)q.think_us / 1e6 / divide;
		start = now_s();
		r = perform(fd, &q, buf, data);
		count(w, &q, now_s() - start);
		if (q.op == 'w')
			data += q.len_bytes;
		if (q.op != 'r')
			note_written(written, &q);
		else if (verify && q.off_bytes % BLOCK_BYTES == 0)
			w->wrong += !is_as_before(written, t, q.off_bytes / BLOCK_BYTES,
						  q.len_bytes / BLOCK_BYTES, buf);
	}
	free(buf);
	free(written);
	if (fd >= 0)
		close(fd);
	return r;
}

static void print(const struct waits *w)
{
	printf("{\"wait_s\": %.3f, \"read_wait_s\": %.3f, \"write_wait_s\": %.3f, "
	       "\"flush_wait_s\": %.3f, \"max_wait_s\": %.3f, \"think_s\": %.3f, "
	       "\"reads\": %" PRIu64 ", \"read_bytes\": %" PRIu64 ", \"writes\": %" PRIu64
	       ", \"written_bytes\": %" PRIu64 ", \"flushes\": %" PRIu64 ", \"wrong\": %" PRIu64
	       "}\n",
	       w->read_s + w->write_s + w->flush_s, w->read_s, w->write_s, w->flush_s, w->max_s,
	       w->think_s, w->reads, w->read_bytes, w->writes, w->written_bytes, w->flushes,
	       w->wrong);
}

int main(int argc, char **argv)
{
	static const struct option list[] = {
		{"image", no_argument, NULL, 'i'},
		{"divide", required_argument, NULL, 'd'},
		{"verify", no_argument, NULL, 'v'},
		{"shift", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	bool image = false, verify = false;
	uint64_t shift_bytes = 0;
	struct waits waits = {0};
	struct trace trace = {0};
	double divide = 10;
	int c, r;

	while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
		image |= c == 'i';
		verify |= c == 'v';
		if (c == 'd')
			divide = strtod(optarg, NULL);
		if (c == 's')
			shift_bytes = strtoull(optarg, NULL, 10) * BLOCK_BYTES;
	}
	if (argc - optind != 2 || divide <= 0) {
		fprintf(stderr, "usage: bench-replay [--image | --divide N | --verify | --shift N]"
				" TRACE FILE\n");
		return 2;
	}
	r = load(argv[optind], &trace);
	if (r == 0 && image)
		r = make_image(&trace, argv[optind + 1]);
	else if (r == 0)
		r = replay(&trace, argv[optind + 1], divide, verify, shift_bytes, &waits);
	free(trace.bytes);
	if (r < 0) {
		fprintf(stderr, "bench-replay: %s\n", strerror(-r));
		return 1;
	}
	if (!image)
		print(&waits);
	return waits.wrong > 0;
}
