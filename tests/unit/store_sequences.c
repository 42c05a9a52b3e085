/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_sequences.c: every sequence of up to three verbs, cut at every device write. */
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
 * On a tiny geometry, behind a prefix that leaves segments worth cleaning, few free ones, and a
 * place that can grow by one segment with each open. Verbs that need an open store open it first.
 *
 *   unit-store_sequences [--mode=plain|liar|paired] [--length=N] [--seed=N]
 *                        [--sequence=VERB,VERB,... [--cut=before|inside|after:K:SEED]]
 * Every failure prints the line that replays it.
 */
#ifdef __SANITIZE_ADDRESS__ /* some five times as slow: it looks for other things */
#define LENGTH 2u
#else
#define LENGTH 3u
#endif
#define MOST 4u

static const enum runner_op_kind verbs[] = {
	RUNNER_WRITE, RUNNER_SMALL,	 RUNNER_OVER,  RUNNER_ZERO,  RUNNER_DISCARD, RUNNER_FLUSH,
	RUNNER_READ,  RUNNER_CHECKPOINT, RUNNER_CLEAN, RUNNER_CLOSE, RUNNER_ABANDON, RUNNER_OPEN,
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const enum runner_op_kind prefix[] = {
	RUNNER_OPEN,  RUNNER_WRITE,   RUNNER_FLUSH, RUNNER_WRITE,      RUNNER_WRITE,
	RUNNER_FLUSH, RUNNER_OVER,    RUNNER_FLUSH, RUNNER_CHECKPOINT, RUNNER_WRITE,
	RUNNER_FLUSH, RUNNER_DISCARD, RUNNER_WRITE, RUNNER_FLUSH,      RUNNER_CLEAN,
	RUNNER_CLOSE, RUNNER_OPEN,    RUNNER_WRITE, RUNNER_OVER,       RUNNER_FLUSH,
	RUNNER_WRITE, RUNNER_FLUSH,   RUNNER_OVER,  RUNNER_WRITE,      RUNNER_FLUSH,
};
#define PREFIX ((unsigned)(sizeof(prefix) / sizeof(prefix[0])))

static const char *const mode_names[RUNNER_MODES] = {"plain", "liar", "paired"};
static const char *const when_names[] = {"never", "before", "inside", "after"};

struct plan {
	enum runner_mode mode;
	unsigned length;
	uint64_t seed;
	enum runner_op_kind kinds[MOST];
	unsigned count;		  /* of a single sequence; 0: all of them */
	enum dev_crash_when when; /* of a single cut */
	uint64_t write, cut_seed;
};

static struct crash_farm *farm;

static bool say_failure(const struct runner *run, const struct plan *plan, const char *cut)
{
	char text[120] = "";

	for (unsigned i = 0; i < plan->count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? "," : "",
			 runner_op_names[plan->kinds[i]]);
	print_error("store_sequences: %s\n  replay: unit-store_sequences --sequence=%s --mode=%s "
		    "--seed=%" PRIu64 "%s\n",
		    run->why, text, mode_names[plan->mode], plan->seed, cut);
	return false;
}

static bool cut_at(struct runner *run, const struct plan *plan, enum dev_crash_when when,
		   uint64_t write, uint64_t seed)
{
	char cut[80];

	if (!runner_cut(run, when, write, seed)) {
		snprintf(cut, sizeof(cut), " --cut=%s:%" PRIu64 ":%" PRIu64, when_names[when],
			 write, seed);
		return say_failure(run, plan, cut);
	}
	for (unsigned i = 0; i < run->print_count; i++)
		crash_farm_image(farm, run->prints[i]);
	return true;
}

static bool cut_sequence(struct runner *run, const struct plan *plan)
{
	uint64_t writes = dev_crash_recorded(run->medium);
	struct prng rng = {plan->seed ^ 0xc7};
	bool good = true;

	if (plan->when != DEV_CRASH_NEVER)
		return cut_at(run, plan, plan->when, plan->write, plan->cut_seed);
	for (uint64_t write = run->first_write; good && write <= writes; write++)
		for (unsigned i = 0; good && i < 3; i++)
			good = cut_at(run, plan, DEV_CRASH_BEFORE + (enum dev_crash_when)i, write,
				      prng_next(&rng) >> 40);
	return good && cut_at(run, plan, DEV_CRASH_BEFORE, writes + 1, prng_next(&rng) >> 40);
}

static bool run_sequence(const struct plan *plan)
{
	struct runner_config config = {runner_tiny, plan->mode, plan->seed, 0, true};
	struct crash_counts more = {.runs = 1};
	struct runner run;
	bool good = runner_record_sequence(&config, prefix, PREFIX, plan->kinds, plan->count, &run);

	good = good ? cut_sequence(&run, plan) : say_failure(&run, plan, "");
	more.losses = run.losses;
	more.losses_said = run.losses_said;
	more.losses_told = run.losses_told;
	more.damaged = run.damaged;
	crash_farm_add(farm, &more);
	runner_free(&run);
	return good;
}

/* Number 0 is the empty sequence, then those of one verb, of two, ... */
static bool run_number(struct crash_farm *of, uint64_t number, void *context)
{
	struct plan plan = *(struct plan *)context;
	uint64_t n = 1;

	(void)of;
	for (plan.count = 0; number >= n; plan.count++) {
		number -= n;
		n *= VERBS;
	}
	for (unsigned i = 0; i < plan.count; i++, number /= VERBS)
		plan.kinds[i] = verbs[number % VERBS];
	return run_sequence(&plan);
}

static uint64_t sequences_to(unsigned length)
{
	uint64_t n = 1, all = 1;

	while (length-- > 0)
		all += n *= VERBS;
	return all;
}

static bool run_all(struct plan *plan)
{
	bool good = crash_farm_run(farm, 0, sequences_to(plan->length), run_number, plan);
	char name[60];

	snprintf(name, sizeof(name), "store_sequences, %s, %" PRIu64 " sequences",
		 mode_names[plan->mode], sequences_to(plan->length));
	crash_farm_say(farm, name);
	return good;
}

static void all_sequences_of_three_on_an_honest_stick(void **state)
{
	struct plan plan = {.length = LENGTH, .seed = 1};
	struct crash_counts counts;

	(void)state;
	assert_true(run_all(&plan));
	crash_farm_counts(farm, &counts);
	assert_int_equal(counts.runs, sequences_to(LENGTH));
}

static void all_sequences_of_two_on_others(void **state)
{
	struct plan plan = {.length = 2, .seed = 2};
	struct crash_counts counts;

	(void)state;
	for (plan.mode = RUNNER_LIAR; plan.mode < RUNNER_MODES; plan.mode++)
		assert_true(run_all(&plan));
	crash_farm_counts(farm, &counts);
	assert_true(counts.losses_told > 20);
}

/* ---- the command line ---- */

static bool parse_name(const char *value, const char *const *names, int count, int *ret_index)
{
	for (int i = 0; i < count; i++) {
		size_t len = strlen(names[i]);

		if (strncmp(value, names[i], len) == 0 && strchr(",:", value[len]) != NULL) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

static bool parse_sequence(const char *value, struct plan *plan)
{
	int kind;

	while (*value != '\0') {
		if (plan->count == MOST || !parse_name(value, runner_op_names, RUNNER_OPS, &kind))
			return false;
		plan->kinds[plan->count++] = (enum runner_op_kind)kind;
		value += strlen(runner_op_names[kind]);
		value += *value == ',';
	}
	return plan->count > 0;
}

static bool parse_argument(const char *argument, struct plan *plan)
{
	const char *value = strchr(argument, '=');
	int i;

	if (value++ == NULL)
		return false;
	if (strncmp(argument, "--sequence=", 11) == 0)
		return parse_sequence(value, plan);
	if (strncmp(argument, "--mode=", 7) == 0) {
		if (!parse_name(value, mode_names, RUNNER_MODES, &i))
			return false;
		plan->mode = (enum runner_mode)i;
		return true;
	}
	if (strncmp(argument, "--cut=", 6) == 0) {
		if (!parse_name(value, when_names, 4, &i))
			return false;
		plan->when = (enum dev_crash_when)i;
		return sscanf(value + strlen(when_names[i]), ":%" SCNu64 ":%" SCNu64, &plan->write,
			      &plan->cut_seed) == 2;
	}
	return sscanf(argument, "--length=%u", &plan->length) == 1 ||
	       sscanf(argument, "--seed=%" SCNu64, &plan->seed) == 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_sequences_of_three_on_an_honest_stick),
		cmocka_unit_test(all_sequences_of_two_on_others),
	};
	struct plan plan = {.length = 3, .seed = 1};
	bool good;
	int r;

	for (int i = 1; i < argc; i++)
		if (!parse_argument(argv[i], &plan)) {
			fprintf(stderr, "unit-store_sequences: %s: not an argument\n", argv[i]);
			return 2;
		}
	farm = crash_farm_new(400000);
	if (argc > 1) {
		good = plan.count > 0 ? run_sequence(&plan) : run_all(&plan);
		printf("store_sequences: %s\n", good ? "good" : "FAILED");
		r = good ? 0 : 1;
	} else {
		r = cmocka_run_group_tests(tests, NULL, NULL);
	}
	crash_farm_free(farm);
	return r;
}
