/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_crash.c: whatever write the power fails at, the disk comes back as one of its states. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "store_runner.h"

/*
 * Without arguments: the default tier. With them, one kind of it:
 *   unit-store_crash --cut=none|linear|before:K:SEED|inside:K:SEED|after:K:SEED
 *                    [--geometry=N] [--mode=plain|liar|paired] [--seed=N] [--ops=N] [--seeds=N]
 * Every failure prints the line that replays it.
 */
static const char *const mode_names[RUNNER_MODES] = {"plain", "liar", "paired"};
static const char *const when_names[] = {"never", "before", "inside", "after"};

struct job {
	struct runner_config config;
	unsigned seeds;
	bool linear;
	enum dev_crash_when when; /* of a single cut; DEV_CRASH_NEVER: none */
	uint64_t write, cut_seed;
};

static uint64_t cuts_done, losses, losses_said;

static bool say_failure(const struct runner *run, const char *cut)
{
	const struct runner_config *config = &run->config;

	print_error("store_crash: %s\n  replay: unit-store_crash --cut=%s --geometry=%u --mode=%s "
		    "--seed=%" PRIu64 " --ops=%u\n",
		    run->why, cut, config->geometry, mode_names[config->mode], config->seed,
		    config->ops);
	return false;
}

static bool one_cut(struct runner *run, enum dev_crash_when when, uint64_t write, uint64_t seed)
{
	char name[80];

	cuts_done++;
	if (runner_cut(run, when, write, seed))
		return true;
	snprintf(name, sizeof(name), "%s:%" PRIu64 ":%" PRIu64, when_names[when], write, seed);
	return say_failure(run, name);
}

/* Every write of the run, one after the other, before and inside it. */
static bool cut_everywhere(struct runner *run)
{
	uint64_t writes = dev_crash_recorded(run->medium);
	struct prng rng = {run->config.seed ^ 0xc7};

	for (uint64_t write = 1; write <= writes; write++) {
		if (!one_cut(run, DEV_CRASH_BEFORE, write, prng_next(&rng) >> 40) ||
		    !one_cut(run, DEV_CRASH_INSIDE, write, prng_next(&rng) >> 40))
			return false;
	}
	return true;
}

static bool run_job(const struct job *job)
{
	bool good = true;

	for (unsigned i = 0; i < job->seeds && good; i++) {
		struct runner_config config = job->config;
		struct runner run;

		config.seed += i;
		good = runner_record(&config, &run);
		if (!good)
			say_failure(&run, "none");
		else if (job->linear)
			good = cut_everywhere(&run);
		else if (job->when != DEV_CRASH_NEVER)
			good = one_cut(&run, job->when, job->write, job->cut_seed);
		losses += run.losses;
		losses_said += run.losses_said;
		runner_free(&run);
	}
	return good;
}

/* ---- the default tier ---- */

/* Long enough that the cleaner has to run, roots wrap, and every segment is used again. */
static void uncut_runs_keep_every_byte(void **state)
{
	(void)state;
	for (unsigned geometry = 0; geometry < runner_geometry_count; geometry++) {
		struct job job = {.config = {geometry, RUNNER_PLAIN, 100, 4000}, .seeds = 2};
		struct runner run;

		assert_true(run_job(&job));
		assert_true(runner_record(&job.config, &run));
		assert_true(run.last.ledger.segments_cleaned > 20);
		assert_true(run.last.ledger.checkpoints > 20);
		assert_true(run.last.ledger.stick_written_bytes >
			    2 * runner_geometries[geometry].place_bytes);
		runner_free(&run);
	}
}

static void cut_linear(enum runner_mode mode)
{
	for (unsigned geometry = 0; geometry < runner_geometry_count; geometry++) {
		struct job job = {.config = {geometry, mode, 1, 400}, .seeds = 2, .linear = true};

		assert_true(run_job(&job));
	}
	assert_true(cuts_done > 1000);
	print_message("store_crash: %" PRIu64 " cuts so far\n", cuts_done);
}

static void a_cut_leaves_a_state(void **state)
{
	(void)state;
	cut_linear(RUNNER_PLAIN);
}

static void a_lying_stick_leaves_an_older_state(void **state)
{
	(void)state;
	cut_linear(RUNNER_LIAR);
	assert_true(losses_said > 0);
}

static void a_torn_page_takes_no_more_than_it_says(void **state)
{
	(void)state;
	cut_linear(RUNNER_PAIRED);
}

/* ---- the command line ---- */

static bool parse_cut(const char *value, struct job *job)
{
	job->linear = strcmp(value, "linear") == 0;
	if (job->linear || strcmp(value, "none") == 0)
		return true;
	for (int when = DEV_CRASH_BEFORE; when <= DEV_CRASH_AFTER; when++) {
		size_t len = strlen(when_names[when]);

		if (strncmp(value, when_names[when], len) != 0)
			continue;
		job->when = (enum dev_crash_when)when;
		return sscanf(value + len, ":%" SCNu64 ":%" SCNu64, &job->write, &job->cut_seed) ==
		       2;
	}
	return false;
}

static bool parse_mode(const char *value, struct job *job)
{
	for (int mode = 0; mode < RUNNER_MODES; mode++)
		if (strcmp(value, mode_names[mode]) == 0) {
			job->config.mode = (enum runner_mode)mode;
			return true;
		}
	return false;
}

static bool parse_argument(const char *argument, struct job *job)
{
	const char *value = strchr(argument, '=');

	if (value == NULL)
		return false;
	value++;
	if (strncmp(argument, "--cut=", 6) == 0)
		return parse_cut(value, job);
	if (strncmp(argument, "--mode=", 7) == 0)
		return parse_mode(value, job);
	if (sscanf(argument, "--geometry=%u", &job->config.geometry) == 1)
		return job->config.geometry < runner_geometry_count;
	return sscanf(argument, "--seed=%" SCNu64, &job->config.seed) == 1 ||
	       sscanf(argument, "--seeds=%u", &job->seeds) == 1 ||
	       sscanf(argument, "--ops=%u", &job->config.ops) == 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uncut_runs_keep_every_byte),
		cmocka_unit_test(a_cut_leaves_a_state),
		cmocka_unit_test(a_lying_stick_leaves_an_older_state),
		cmocka_unit_test(a_torn_page_takes_no_more_than_it_says),
	};
	struct job job = {.config = {.seed = 1, .ops = 400}, .seeds = 1};

	for (int i = 1; i < argc; i++)
		if (!parse_argument(argv[i], &job)) {
			fprintf(stderr, "unit-store_crash: %s: not an argument\n", argv[i]);
			return 2;
		}
	if (argc > 1) {
		bool good = run_job(&job);

		printf("store_crash: %s after %" PRIu64 " cuts; flushed writes were lost %" PRIu64
		       " times, said %" PRIu64 " times\n",
		       good ? "good" : "FAILED", cuts_done, losses, losses_said);
		return good ? 0 : 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
