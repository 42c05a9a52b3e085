/* SPDX-License-Identifier: GPL-2.0-or-later */
/* load.c: one workload on one file or device with direct I/O, for a fixed time; prints JSON. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fsim_random.h"

/*
 *	bench-load MODE FILE [--span BYTES] [--from BYTES] [--block BYTES] [--seconds S] [--ops N]
 *		[--fsync N] [--pause US] [--threads N] [--seed N] [--compressible PERCENT]
 *
 *	fill		write the span once, in order, 1 MiB each; one fdatasync at the end
 *	randwrite	random blocks of the span; fdatasync after every N
 *	randread	random blocks
 *	seqwrite	in order, over again; fdatasync at the end
 *	seqread		in order, over again
 *	append		in order, over again, with an fdatasync after each: what a log would do
 *
 * FILE is a file, a device or an NBD server's address (nbd+unix:...). The span begins at --from;
 * --pause is slept before each request and not counted in its latency.
 *
 * Data cannot be compressed (of each 64 bytes PERCENT are spaces, if that is given) and no two
 * blocks are equal: a pool of random bytes, each 4 KiB of it stamped with a number when it is
 * written. Requests that began before the time was over are
 * counted, and so is the time they and the last fdatasync took.
 */
#define STAMP_BYTES 4096u
#define POOL_BYTES (16u << 20)
#define BUCKETS 4096 /* of latencies: 16 for each doubling of microseconds */
#define BUCKETS_PER_DOUBLING 16

enum mode { FILL, RANDWRITE, RANDREAD, SEQWRITE, SEQREAD, APPEND, MODES };

static const char *const mode_names[MODES + 1] = {
	"fill", "randwrite", "randread", "seqwrite", "seqread", "append", NULL,
};

struct job {
	enum mode mode;
	const char *path;
	int fd; /* -1: by NBD */
	uint64_t span_bytes, from_bytes;
	uint64_t block_bytes;
	double seconds;
	uint64_t max_ops;     /* 0: no limit */
	uint64_t fsync_every; /* 0: only at the end */
	unsigned threads;
	uint64_t seed;
	uint64_t compressible; /* percent */
	unsigned pause_us;
	double deadline_s;
	uint8_t *pool;
};

struct worker {
	const struct job *job;
	pthread_t thread;
	struct nbd_handle *nbd;
	unsigned index;
	uint64_t ops, fsyncs;
	int error;
	double max_s;
	uint32_t histogram[BUCKETS];
};

static double now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool writes(enum mode mode)
{
	return mode != RANDREAD && mode != SEQREAD;
}

static unsigned bucket_of(double s)
{
	double us = s * 1e6;
	unsigned bucket = 0;
	while (us >= 2 && bucket + BUCKETS_PER_DOUBLING < BUCKETS) {
		us /= 2;
		bucket += BUCKETS_PER_DOUBLING;
	}
	return us > 1 ? bucket + (unsigned)((us - 1) * BUCKETS_PER_DOUBLING) : bucket;
}

static double bucket_us(unsigned bucket)
{
	unsigned part = bucket % BUCKETS_PER_DOUBLING;
	double us = 1 + (double)part / BUCKETS_PER_DOUBLING;
	for (unsigned i = bucket / BUCKETS_PER_DOUBLING; i > 0; i--)
		us *= 2;
	return us;
}

/* The next piece of the pool, with fresh stamps. */
static const uint8_t *next_data(const struct worker *w, uint8_t *buf)
{
	const struct job *job = w->job;
	uint64_t stamp = job->seed << 48 ^ (uint64_t)w->index << 40 ^ w->ops;
	uint64_t from = w->ops * job->block_bytes % (POOL_BYTES - job->block_bytes + 1);

	memcpy(buf, job->pool + from / STAMP_BYTES * STAMP_BYTES, job->block_bytes);
	for (uint64_t at = 0; at < job->block_bytes; at += STAMP_BYTES) {
		uint64_t state = stamp + at;
		for (unsigned word = 0; word < 4; word++) {
			uint64_t value = fsim_random(&state);
			memcpy(buf + at + word * sizeof(value), &value, sizeof(value));
		}
	}
	return buf;
}

static int nbd_result(int r)
{
	return r == 0 ? 0 : nbd_get_errno() ? -nbd_get_errno() : -EIO;
}

static int flush(struct worker *w)
{
	if (w->nbd != NULL)
		return nbd_result(nbd_flush(w->nbd, 0));
	return fdatasync(w->job->fd) < 0 ? -errno : 0;
}

static int transfer(struct worker *w, uint8_t *buf, uint64_t off)
{
	const struct job *job = w->job;
	size_t len = job->block_bytes;
	if (w->nbd != NULL)
		return nbd_result(writes(job->mode)
					  ? nbd_pwrite(w->nbd, next_data(w, buf), len, off, 0)
					  : nbd_pread(w->nbd, buf, len, off, 0));
	ssize_t n = writes(job->mode) ? pwrite(job->fd, next_data(w, buf), len, (off_t)off)
				      : pread(job->fd, buf, len, (off_t)off);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static int one_request(struct worker *w, uint8_t *buf, uint64_t off)
{
	const struct job *job = w->job;
	int r = transfer(w, buf, off);
	if (r == 0 && job->fsync_every > 0 && (w->ops + 1) % job->fsync_every == 0) {
		w->fsyncs++;
		r = flush(w);
	}
	return r;
}

/* By NBD each thread has a connection of its own. */
static int connect_worker(struct worker *w)
{
	if (w->job->fd >= 0)
		return 0;
	w->nbd = nbd_create();
	return w->nbd != NULL ? nbd_result(nbd_connect_uri(w->nbd, w->job->path)) : -ENOMEM;
}

static void count(struct worker *w, double took_s)
{
	w->ops++;
	w->histogram[bucket_of(took_s)]++;
	if (took_s > w->max_s)
		w->max_s = took_s;
}

static bool goes_on(const struct worker *w)
{
	const struct job *job = w->job;
	if (job->max_ops > 0 && w->ops >= job->max_ops)
		return false;
	return job->deadline_s == 0 || now_s() < job->deadline_s;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	const struct job *job = w->job;
	uint64_t blocks = job->span_bytes / job->block_bytes;
	uint64_t random = job->seed * 1000 + w->index;
	bool ordered = job->mode != RANDREAD && job->mode != RANDWRITE;
	uint8_t *buf = aligned_alloc(STAMP_BYTES, job->block_bytes);

	w->error = buf != NULL ? connect_worker(w) : -ENOMEM;
	while (w->error == 0 && goes_on(w)) {
		uint64_t block = ordered ? (w->ops * job->threads + w->index) % blocks
					 : fsim_random_below(&random, blocks);
		if (job->pause_us > 0)
			usleep(job->pause_us);
		double start = now_s();
		w->error = one_request(w, buf, job->from_bytes + block * job->block_bytes);
		count(w, now_s() - start);
	}
	free(buf);
	return NULL;
}

static void merge(struct worker *into, const struct worker *from)
{
	into->ops += from->ops;
	into->fsyncs += from->fsyncs;
	if (from->error < 0)
		into->error = from->error;
	if (from->max_s > into->max_s)
		into->max_s = from->max_s;
	for (unsigned i = 0; i < BUCKETS; i++)
		into->histogram[i] += from->histogram[i];
}

static double percentile_us(const struct worker *w, double share)
{
	uint64_t wanted = (uint64_t)((double)w->ops * share), seen = 0;
	unsigned i = 0;
	while (i + 1 < BUCKETS && (seen += w->histogram[i]) <= wanted)
		i++;
	return bucket_us(i);
}

static void print_result(const struct job *job, const struct worker *sum, double took_s)
{
	double bytes = (double)sum->ops * (double)job->block_bytes;
	printf("{\"mode\": \"%s\", \"block_bytes\": %" PRIu64 ", \"span_bytes\": %" PRIu64
	       ", \"threads\": %u, \"ops\": %" PRIu64 ", \"fsyncs\": %" PRIu64
	       ", \"bytes\": %.0f, \"seconds\": %.4f, \"iops\": %.2f, \"mb_s\": %.3f"
	       ", \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n",
	       mode_names[job->mode], job->block_bytes, job->span_bytes, job->threads, sum->ops,
	       sum->fsyncs, bytes, took_s, (double)sum->ops / took_s, bytes / took_s / 1e6,
	       percentile_us(sum, 0.5), percentile_us(sum, 0.99), sum->max_s * 1e6);
}

static int run(struct job *job)
{
	struct worker *workers = calloc(job->threads, sizeof(*workers));
	struct worker *sum = calloc(1, sizeof(*sum));
	if (workers == NULL || sum == NULL) {
		free(workers);
		free(sum);
		return -ENOMEM;
	}
	double start = now_s();
	job->deadline_s = job->seconds > 0 ? start + job->seconds : 0;
	unsigned started = 0;
	for (; started < job->threads; started++) {
		struct worker *w = &workers[started];
		w->job = job;
		w->index = started;
		if ((sum->error = -pthread_create(&w->thread, NULL, work, w)) < 0)
			break;
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		merge(sum, &workers[i]);
	}
	if (sum->error == 0 && writes(job->mode))
		sum->error = flush(&workers[0]);
	for (unsigned i = 0; i < started; i++)
		nbd_close(workers[i].nbd);
	int r = sum->error;
	if (r == 0)
		print_result(job, sum, now_s() - start);
	free(workers);
	free(sum);
	return r;
}

static int fill_pool(struct job *job)
{
	uint64_t random = job->seed;
	job->pool = aligned_alloc(STAMP_BYTES, POOL_BYTES);
	if (job->pool == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < POOL_BYTES; i += sizeof(uint64_t)) {
		uint64_t value = fsim_random(&random);
		if (i % 64 * 100 < job->compressible * 64)
			value = 0x2020202020202020u;
		memcpy(job->pool + i, &value, sizeof(value));
	}
	return 0;
}

static int open_target(struct job *job)
{
	int flags = writes(job->mode) ? O_RDWR | O_CREAT : O_RDONLY;
	if (strncmp(job->path, "nbd+unix:", 9) == 0)
		return job->span_bytes >= job->block_bytes ? 0 : -EINVAL;
	job->fd = open(job->path, flags | O_DIRECT | O_CLOEXEC, 0600);
	if (job->fd < 0)
		return -errno;
	off_t end = lseek(job->fd, 0, SEEK_END);
	if (job->span_bytes == 0)
		job->span_bytes = end > 0 ? (uint64_t)end : 0;
	if (job->span_bytes < job->block_bytes || job->block_bytes % STAMP_BYTES != 0 ||
	    job->block_bytes > POOL_BYTES / 2)
		return -EINVAL;
	return 0;
}

static void set_defaults(struct job *job)
{
	static const uint64_t blocks[MODES] = {1 << 20, 4096, 4096, 1 << 20, 1 << 20, 80 << 10};
	if (job->block_bytes == 0)
		job->block_bytes = blocks[job->mode];
	if (job->mode == APPEND)
		job->fsync_every = 1;
	if (job->mode == FILL)
		job->seconds = 0;
}

/* A size with K, M or G; 0 if there is no number. */
static uint64_t size_of(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);
	static const char suffixes[] = "KMG";
	const char *suffix = *end != '\0' ? strchr(suffixes, *end) : NULL;
	return suffix != NULL ? value << 10 * (suffix - suffixes + 1) : value;
}

static int parse(int argc, char **argv, struct job *job)
{
	static const struct option list[] = {
		{"span", required_argument, NULL, 's'},
		{"from", required_argument, NULL, 'o'},
		{"pause", required_argument, NULL, 'p'},
		{"block", required_argument, NULL, 'b'},
		{"seconds", required_argument, NULL, 't'},
		{"ops", required_argument, NULL, 'n'},
		{"fsync", required_argument, NULL, 'f'},
		{"threads", required_argument, NULL, 'q'},
		{"seed", required_argument, NULL, 'r'},
		{"compressible", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	uint64_t values['t' + 1] = {['q'] = 1, ['r'] = 1};
	int c;
	while ((c = getopt_long(argc, argv, "", list, NULL)) != -1) {
		if (c == '?')
			return -EINVAL;
		if (c == 't')
			job->seconds = strtod(optarg, NULL);
		else
			values[c] = size_of(optarg);
	}
	if (optind != argc - 2 || values['q'] == 0 || values['q'] > 1024 || values['c'] > 100)
		return -EINVAL;
	job->span_bytes = values['s'];
	job->from_bytes = values['o'];
	job->pause_us = (unsigned)values['p'];
	job->block_bytes = values['b'];
	job->max_ops = values['n'];
	job->fsync_every = values['f'];
	job->threads = (unsigned)values['q'];
	job->seed = values['r'];
	job->compressible = values['c'];
	for (int i = 0; i < MODES; i++)
		if (strcmp(mode_names[i], argv[optind]) == 0)
			job->mode = (enum mode)i;
	job->path = argv[optind + 1];
	return job->mode < MODES ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct job job = {.mode = MODES, .fd = -1};
	if (parse(argc, argv, &job) < 0) {
		fprintf(stderr, "usage: bench-load fill|randwrite|randread|seqwrite|seqread|append"
				" FILE [--span B] [--from B] [--block B] [--seconds S] [--ops N]"
				" [--fsync N] [--pause US] [--threads N] [--seed N]"
				" [--compressible PERCENT]\n");
		return 2;
	}
	set_defaults(&job);
	int r = open_target(&job);
	if (r == 0 && job.mode == FILL)
		job.max_ops = job.span_bytes / job.block_bytes;
	if (r == 0 && job.seconds == 0 && job.max_ops == 0)
		r = -EINVAL;
	if (r == 0)
		r = fill_pool(&job);
	if (r == 0)
		r = run(&job);
	if (r < 0)
		fprintf(stderr, "bench-load: %s: %s\n", job.path, strerror(-r));
	if (job.fd >= 0)
		close(job.fd);
	free(job.pool);
	return r < 0;
}
