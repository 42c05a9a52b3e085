/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crash_farm.c: many crash states on all processors, and how many of them were distinct. */
#include "crash_farm.h"

#include <inttypes.h>
#include <malloc.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Processes, not threads: a run that crashes takes one process along and is still counted as a
 * failure, and the engine under test shares nothing. The counters and the set of images lie in
 * memory that all of them share.
 *
 * The set is a table of prints (64-bit hashes of whole images) with open addressing, twice as
 * large as what it is to hold. Two images with one print are counted as one: the number of
 * distinct images is never too high.
 */
#define MOST_WORKERS 16

struct crash_farm {
	atomic_uint_fast64_t next_job;
	atomic_bool failed;
	atomic_uint_fast64_t cuts, distinct, losses, losses_said, losses_told, damaged, runs;
	struct crash_counts said;
	double said_s;
	uint64_t slots, bytes;
	atomic_uint_fast64_t set[];
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct crash_farm *crash_farm_new(uint64_t images)
{
	struct crash_farm *farm;
	uint64_t slots = 1024, bytes;

	while (slots < 2 * images)
		slots *= 2;
	bytes = sizeof(*farm) + slots * sizeof(farm->set[0]);
	farm = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (farm == MAP_FAILED)
		abort();
	farm->slots = slots;
	farm->bytes = bytes;
	farm->said_s = now_s();
	/* A store takes and gives back some large blocks with every open: without the kernel. */
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	return farm;
}

void crash_farm_free(struct crash_farm *farm)
{
	if (farm != NULL)
		munmap(farm, farm->bytes);
}

void crash_farm_image(struct crash_farm *farm, uint64_t print)
{
	uint64_t value = print == 0 ? 1 : print, i = value % farm->slots, tries;

	atomic_fetch_add(&farm->cuts, 1);
	for (tries = 0; tries < farm->slots; tries++, i = (i + 1) % farm->slots) {
		uint_fast64_t there = 0;

		if (atomic_compare_exchange_strong(&farm->set[i], &there, value)) {
			atomic_fetch_add(&farm->distinct, 1);
			return;
		}
		if (there == value)
			return;
	}
}

void crash_farm_add(struct crash_farm *farm, const struct crash_counts *more)
{
	atomic_fetch_add(&farm->losses, more->losses);
	atomic_fetch_add(&farm->losses_said, more->losses_said);
	atomic_fetch_add(&farm->losses_told, more->losses_told);
	atomic_fetch_add(&farm->damaged, more->damaged);
	atomic_fetch_add(&farm->runs, more->runs);
}

void crash_farm_counts(const struct crash_farm *farm, struct crash_counts *ret_counts)
{
	*ret_counts = (struct crash_counts){
		.cuts = farm->cuts,
		.distinct = farm->distinct,
		.losses = farm->losses,
		.losses_said = farm->losses_said,
		.losses_told = farm->losses_told,
		.damaged = farm->damaged,
		.runs = farm->runs,
	};
}

static unsigned processors(void)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return count < 1 ? 1 : count > MOST_WORKERS ? MOST_WORKERS : (unsigned)count;
}

static void work(struct crash_farm *farm, uint64_t end, crash_job *job, void *context)
{
	while (!farm->failed) {
		uint64_t number = atomic_fetch_add(&farm->next_job, 1);

		if (number >= end)
			return;
		if (!job(farm, number, context))
			farm->failed = true;
	}
}

bool crash_farm_run(struct crash_farm *farm, uint64_t from, uint64_t end, crash_job *job,
		    void *context)
{
	unsigned workers = processors();
	pid_t pids[MOST_WORKERS];

	farm->next_job = from;
	farm->failed = false;
	fflush(NULL);
	for (unsigned i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			abort();
		if (pids[i] == 0) {
			work(farm, end, job, context);
			exit(0);
		}
	}
	for (unsigned i = 0; i < workers; i++) {
		int status = -1;

		if (waitpid(pids[i], &status, 0) != pids[i] || status != 0)
			farm->failed = true;
	}
	return !farm->failed;
}

void crash_farm_say(struct crash_farm *farm, const char *what)
{
	struct crash_counts now;
	double s = now_s(), took_s = s - farm->said_s;

	crash_farm_counts(farm, &now);
	printf("%s: %" PRIu64 " cuts, %" PRIu64 " distinct images, in %.1f s (%.0f cuts/s); "
	       "%" PRIu64 " cuts, %" PRIu64 " distinct in all\n",
	       what, now.cuts - farm->said.cuts, now.distinct - farm->said.distinct, took_s,
	       (double)(now.cuts - farm->said.cuts) / (took_s > 0 ? took_s : 1), now.cuts,
	       now.distinct);
	if (now.losses > farm->said.losses)
		printf("%s: flushed writes were gone after %" PRIu64 " cuts; said %" PRIu64
		       " times, could be known %" PRIu64 " times; %" PRIu64
		       " cuts left damage behind a close\n",
		       what, now.losses - farm->said.losses,
		       now.losses_said - farm->said.losses_said,
		       now.losses_told - farm->said.losses_told, now.damaged - farm->said.damaged);
	farm->said = now;
	farm->said_s = s;
	fflush(stdout);
}
