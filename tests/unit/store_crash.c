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

#include <cmocka.h>

#include "crash_farm.h"
#include "store_runner.h"

/*
 * Without arguments: the default tier. With them, one kind of it:
 *   unit-store_crash --cut=none|linear|exhaustive|before:K:SEED|inside:K:SEED|after:K:SEED
 *                    [--geometry=N] [--mode=plain|liar|paired] [--seed=N] [--ops=N] [--seeds=N]
 *   unit-store_crash --images=N [--seed=N]   runs on, from seed to seed, until N distinct images
 *                                            were met
 * linear: every write, before, inside and after it; exhaustive: each of these eight times.
 * Every failure prints the line that replays it.
 */
#ifdef __SANITIZE_ADDRESS__ /* some five times as slow: it looks for other things */
#define OPS 100u
#define DEFAULT_IMAGES 5000u
#else
#define OPS 400u
#define DEFAULT_IMAGES 25000u
#endif
#define LINEAR_SEEDS 1u
#define EXHAUSTIVE_SEEDS 8u

static const char *const mode_names[RUNNER_MODES] = {"plain", "liar", "paired"};
static const char *const when_names[] = {"never", "before", "inside", "after"};

struct job {
	struct runner_config config;
	unsigned seeds;
	unsigned cut_seeds;	  /* of every write; 0: see `when` */
	enum dev_crash_when when; /* of a single cut; DEV_CRASH_NEVER: none */
	uint64_t write, cut_seed;
	uint64_t images; /* to be met; 0: no such number */
};

static bool say_failure(const struct runner *run, const char *cut)
{
	const struct runner_config *config = &run->config;

	print_error("store_crash: %s\n  replay: unit-store_crash --cut=%s --geometry=%u --mode=%s "
		    "--seed=%" PRIu64 " --ops=%u\n",
		    run->why, cut, config->geometry, mode_names[config->mode], config->seed,
		    config->ops);
	return false;
}

static bool one_cut(struct crash_farm *farm, struct runner *run, enum dev_crash_when when,
		    uint64_t write, uint64_t seed)
{
	char name[80];

	if (!runner_cut(run, when, write, seed)) {
		snprintf(name, sizeof(name), "%s:%" PRIu64 ":%" PRIu64, when_names[when], write,
			 seed);
		return say_failure(run, name);
	}
	for (unsigned i = 0; i < run->print_count; i++)
		crash_farm_image(farm, run->prints[i]);
	return true;
}

/* Every write of the run, one after the other, before, inside and after it; and behind all. */
static bool cut_everywhere(struct crash_farm *farm, struct runner *run, unsigned seeds)
{
	uint64_t writes = dev_crash_recorded(run->medium);
	struct prng rng = {run->config.seed ^ 0xc7};
	bool good = true;

	for (uint64_t write = 1; good && write <= writes; write++)
		for (unsigned i = 0; good && i < 3 * seeds; i++) {
			enum dev_crash_when when = DEV_CRASH_BEFORE + (enum dev_crash_when)(i % 3);

			good = one_cut(farm, run, when, write, prng_next(&rng) >> 40);
		}
	return good && one_cut(farm, run, DEV_CRASH_BEFORE, writes + 1, prng_next(&rng) >> 40);
}

static bool run_one(struct crash_farm *farm, const struct job *job,
		    const struct runner_config *config)
{
	struct crash_counts more = {.runs = 1};
	struct runner run;
	bool good = runner_record(config, &run);

	if (!good)
		say_failure(&run, "none");
	else if (job->cut_seeds > 0)
		good = cut_everywhere(farm, &run, job->cut_seeds);
	else if (job->when != DEV_CRASH_NEVER)
		good = one_cut(farm, &run, job->when, job->write, job->cut_seed);
	more.losses = run.losses;
	more.losses_said = run.losses_said;
	more.losses_told = run.losses_told;
	more.damaged = run.damaged;
	crash_farm_add(farm, &more);
	runner_free(&run);
	return good;
}

/* The number says which seed, geometry and mode; seeds come last, so that any range has all. */
static bool run_number(struct crash_farm *of, uint64_t number, void *context)
{
	const struct job *job = context;
	struct runner_config config = job->config;
	struct crash_counts counts;

	crash_farm_counts(of, &counts);
	if (counts.distinct >= job->images)
		return true;
	config.geometry = (unsigned)(number / RUNNER_MODES % runner_geometry_count);
	config.mode = (enum runner_mode)(number % RUNNER_MODES);
	config.seed = 1 + number / RUNNER_MODES / runner_geometry_count;
	return run_one(of, job, &config);
}

/* Rounds of all geometries and modes from a seed on, until so many distinct images were met. */
static bool run_until(struct crash_farm *farm, uint64_t seed, uint64_t images, const char *name)
{
	struct job job = {.config = {.ops = OPS}, .cut_seeds = LINEAR_SEEDS, .images = images};
	uint64_t step = RUNNER_MODES * runner_geometry_count, from = (seed - 1) * step;
	struct crash_counts counts = {0};
	bool good = true;

	while (good && counts.distinct < images) {
		good = crash_farm_run(farm, from, from + step, run_number, &job);
		from += step;
		crash_farm_say(farm, name);
		crash_farm_counts(farm, &counts);
	}
	return good;
}

/* ---- the default tier ---- */

static struct crash_farm *farm;

/* Long enough that the cleaner has to run, roots wrap, and every segment is used again. */
static bool uncut(struct crash_farm *of, uint64_t number, void *context)
{
	unsigned geometry = (unsigned)number;
	struct runner_config config = {geometry, RUNNER_PLAIN, 100, 4000, false};
	bool fills = strncmp(runner_geometries[geometry].name, "full", 4) == 0;
	bool bears = runner_geometries[geometry].births == SV_BIRTHS_TRIED;
	uint64_t place_bytes = runner_geometries[geometry].place_bytes;
	struct runner run;
	bool good = runner_record(&config, &run);

	(void)of;
	(void)context;
	if (!good)
		say_failure(&run, "none");
	if (good && (run.last.ledger.segments_cleaned <= 20 || run.last.ledger.checkpoints <= 20 ||
		     run.last.ledger.stick_written_bytes <= 2 * place_bytes || run.nested < 100 ||
		     (fills && run.full < 10) || (bears && run.born < (fills ? 300 : 1000)))) {
		print_error("geometry %s: too little happened: %" PRIu64 " cleaned, %" PRIu64
			    " roots, %" PRIu64 " bytes, %" PRIu64 " nested, %" PRIu64
			    " refused, %" PRIu64 " born\n",
			    run.geometry->name, run.last.ledger.segments_cleaned,
			    run.last.ledger.checkpoints, run.last.ledger.stick_written_bytes,
			    run.nested, run.full, run.born);
		good = false;
	}
	runner_free(&run);
	return good;
}

static void uncut_runs_keep_every_byte(void **state)
{
	(void)state;
	assert_true(crash_farm_run(farm, 0, runner_geometry_count, uncut, NULL));
}

static void every_cut_leaves_the_newest_state_that_survived(void **state)
{
	struct crash_counts counts;

	(void)state;
	assert_true(run_until(farm, 1, DEFAULT_IMAGES, "store_crash"));
	crash_farm_counts(farm, &counts);
	assert_true(counts.distinct >= DEFAULT_IMAGES);
	assert_true(counts.losses_said > 0);
	assert_true(counts.losses_told > 0);
}

/* ---- the command line ---- */

static bool parse_cut(const char *value, struct job *job)
{
	if (strcmp(value, "linear") == 0)
		job->cut_seeds = LINEAR_SEEDS;
	if (strcmp(value, "exhaustive") == 0)
		job->cut_seeds = EXHAUSTIVE_SEEDS;
	if (job->cut_seeds > 0 || strcmp(value, "none") == 0)
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
		return job->config.geometry <= runner_tiny;
	return sscanf(argument, "--seed=%" SCNu64, &job->config.seed) == 1 ||
	       sscanf(argument, "--seeds=%u", &job->seeds) == 1 ||
	       sscanf(argument, "--images=%" SCNu64, &job->images) == 1 ||
	       sscanf(argument, "--ops=%u", &job->config.ops) == 1;
}

static int run_command(struct job *job)
{
	bool good = true;

	if (job->images > 0)
		good = run_until(farm, job->config.seed, job->images, "store_crash");
	for (unsigned i = 0; job->images == 0 && i < job->seeds && good; i++) {
		good = run_one(farm, job, &job->config);
		job->config.seed++;
	}
	if (job->images == 0)
		crash_farm_say(farm, "store_crash");
	printf("store_crash: %s\n", good ? "good" : "FAILED");
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uncut_runs_keep_every_byte),
		cmocka_unit_test(every_cut_leaves_the_newest_state_that_survived),
	};
	struct job job = {.config = {.seed = 1, .ops = OPS}, .seeds = 1};
	int r;

	for (int i = 1; i < argc; i++)
		if (!parse_argument(argv[i], &job)) {
			fprintf(stderr, "unit-store_crash: %s: not an argument\n", argv[i]);
			return 2;
		}
	farm = crash_farm_new(job.images > DEFAULT_IMAGES ? 2 * job.images : 4 * DEFAULT_IMAGES);
	r = argc > 1 ? run_command(&job) : cmocka_run_group_tests(tests, NULL, NULL);
	crash_farm_free(farm);
	return r;
}
