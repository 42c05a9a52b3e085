/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_cut.c: the power fails at one write of a recorded run: what must come back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "crash_log.h"
#include "store_runner.h"

/*
 * A cut at device write k falls into the operation that made it: everything before had returned.
 * So the disk that recovery brings back is judged by these rules, with the states as the model
 * numbers them:
 *
 *  J1  It is exactly one state, and none newer than the interrupted operation was making.
 *  J2  It is no older than the newest prefix whose bytes survived (crash_oracle.c). In all modes:
 *      an empty disk, or one that lost what is still there, fails.
 *  J3  It is no older than the floor (the last flush, close or open that had returned), unless
 *      the medium lost or shredded a batch that had been flushed.
 *  J4  If it is older than the floor and something that survived tells, recovery must say that
 *      flushed batches were lost; and it must not say so where none was. A loss that nothing near
 *      the end tells may be found out by a later open, once.
 *  J5  After a second cut, during that recovery: what a first open had shown is there, J1 to J3
 *      hold again. What the first open wrote may have covered what told of the loss. The second
 *      cut is of the same kind as the first: the stick lies, or tears, again.
 *  J6  The store works on, and survives another cut.
 *  J7  Where a clean close survived behind payload that did not, the loss is damage (DESIGN.md,
 *      "Ends of the log"): its blocks may give EIO, and all that can be read is of one state that
 *      J1 and J2 allow.
 */
#define MORE_OPS 12u

struct bounds {
	size_t floor;	 /* J3 */
	size_t survived; /* J2 */
	size_t newest;	 /* J1 */
	bool may_lose;
	bool told;	  /* J4 */
	bool may_be_said; /* J4 */
	bool closed;	  /* J7 */
};

uint64_t runner_reach_bytes(const struct runner *run)
{
	return run->geometry->lie_window_bytes + 4 * (uint64_t)run->geometry->segment_bytes;
}

static const struct runner_op *op_of_write(const struct runner *run, uint64_t write)
{
	size_t i = 0;

	while (i + 1 < run->op_count && run->ops[i].writes < write)
		i++;
	return &run->ops[i];
}

static bool judge(struct runner *run, const struct bounds *b, size_t state)
{
	bool said = run->recovery.lost_flushed_batches > 0;

	if (state < b->survived)
		return runner_failed(run, "state %zu is older than %zu, whose bytes survived",
				     state, b->survived);
	if (state < b->floor && !b->may_lose)
		return runner_failed(run, "state %zu is older than the last flush, %zu", state,
				     b->floor);
	if (said && !b->may_be_said)
		return runner_failed(run, "flushed batches are said to be lost; none was");
	run->unsaid = b->may_be_said && !said;
	if (state >= b->floor)
		return true;
	run->losses++;
	run->losses_said += said;
	run->losses_told += b->told;
	if (b->told && !said)
		return runner_failed(run,
				     "state %zu is older than the last flush, %zu; what tells it "
				     "survived, and nothing is said",
				     state, b->floor);
	return true;
}

static bool look(struct runner *run, const struct bounds *b, size_t *ret_state)
{
	size_t from = b->may_lose ? 0 : b->floor;

	return runner_check_disk(run, from, b->newest, ret_state) && judge(run, b, *ret_state) &&
	       runner_check_structure(run, false);
}

/* J7: whether it was so; the state that all readable blocks are of. */
static bool look_at_damage(struct runner *run, const struct bounds *b, size_t *ret_state)
{
	uint64_t blocks = (run->model.size_bytes + SV_BLOCK_BYTES - 1) / SV_BLOCK_BYTES;
	uint64_t bad = 0, right;
	int r;

	for (uint64_t i = 0; i < blocks; i++) {
		uint64_t at = i * SV_BLOCK_BYTES, left = run->model.size_bytes - at;

		r = sv_store_read(run->store, run->disk + at,
				  left < SV_BLOCK_BYTES ? left : SV_BLOCK_BYTES, at);
		if (r < 0 && r != -EIO)
			return runner_failed(run, "read at %" PRIu64 ": %s", at, strerror(-r));
		run->unreadable[i] = r < 0;
		bad += r < 0;
	}
	for (size_t state = b->newest + 1; state-- > b->survived;) {
		for (right = 0; right < blocks; right++)
			if (!run->unreadable[right] &&
			    !model_block_is(&run->model, state, run->disk, right))
				break;
		if (right < blocks)
			continue;
		*ret_state = state;
		run->damaged += bad > 0;
		return true;
	}
	return runner_failed(run, "what can be read is no state in [%zu, %zu]", b->survived,
			     b->newest);
}

static bool recover(struct runner *run, const struct bounds *b, size_t *ret_state)
{
	int r;

	if (!runner_open(run, NULL, &r))
		return runner_failed(run, "open after the cut: %s: %s", strerror(-r),
				     sv_store_why());
	if (b->closed && !look_at_damage(run, b, ret_state))
		return false;
	return run->damaged > 0 || look(run, b, ret_state);
}

static void note_image(struct runner *run)
{
	if (run->print_count < sizeof(run->prints) / sizeof(run->prints[0]))
		run->prints[run->print_count++] = dev_crash_print(run->medium);
}

/* The records that the medium had seen, and those of them that it had flushed. */
static void find_ends(const struct runner *run, const struct dev_crash_cut *cut, size_t *ret_end,
		      size_t *ret_flushed)
{
	struct crash_window window;
	size_t end = dev_crash_records_until(run->medium, cut);

	crash_log_window(dev_crash_log(run->medium), end, cut->liar_bytes, &window);
	*ret_end = end;
	*ret_flushed = window.flushed;
}

static struct bounds bounds_of(const struct runner *run, const struct dev_crash *medium,
			       const struct dev_crash_cut *cut)
{
	const struct runner_op *op = op_of_write(run, cut->write);
	struct bounds b = {.floor = op->floor, .newest = op->state};
	struct crash_verdict verdict;
	size_t end, flushed;

	if (cut->write > dev_crash_recorded(run->medium)) { /* behind all of them */
		b.floor = run->model.floor;
		b.newest = run->model.count - 1;
	}
	find_ends(run, cut, &end, &flushed);
	crash_oracle_judge(&run->oracle, run->medium, medium, end, flushed, &verdict);
	if (verdict.intact_write != 0)
		b.survived = op_of_write(run, verdict.intact_write)->from;
	b.may_lose = b.may_be_said = verdict.flushed;
	b.told = verdict.told;
	b.closed = verdict.closed;
	return b;
}

/* How the medium of this mode fails. */
static void set_lies(const struct runner *run, struct dev_crash_cut *cut)
{
	uint64_t seed = cut->seed;

	if (run->config.mode == RUNNER_LIAR)
		cut->liar_bytes = run->geometry->lie_window_bytes * (1 + seed % 4) / 4;
	if (run->config.mode == RUNNER_PAIRED)
		cut->paired_bytes = run->geometry->page_bytes * (uint32_t)(1 + seed % 4);
}

/*
 * What may come back after a second cut: on a stick that tears, the first opening may have taken
 * some of what the first cut had left along; so it is looked at again. What a liar loses now was
 * written since the first cut. In both the new opening itself may be lost after it was flushed,
 * which anchors then tell.
 */
static void look_again(const struct runner *run, const struct runner *whole,
		       const struct dev_crash_cut *first_cut, bool was_shown, struct bounds *b)
{
	struct bounds now;

	b->may_be_said |= run->config.mode != RUNNER_PLAIN;
	if (run->config.mode != RUNNER_PAIRED || was_shown) /* all of it had been flushed then */
		return;
	now = bounds_of(whole, run->medium, first_cut);
	b->survived = now.survived;
	b->may_lose |= now.may_lose;
	b->closed = now.closed;
}

/* Opens with a cut under way; then again (J5). */
static bool recover_twice(struct runner *run, const struct runner *whole,
			  const struct dev_crash_cut *first_cut, const struct bounds *first,
			  uint64_t seed, size_t *ret_state)
{
	struct dev_crash_cut cut = {
		.when = DEV_CRASH_BEFORE + (enum dev_crash_when)(seed / 3 % 3),
		.write = 1 + seed / 9 % 6,
		.seed = seed ^ 0x5eed,
	};
	struct bounds b = *first;
	size_t shown;
	bool opened, was_shown = false;
	int r;

	set_lies(run, &cut);
	opened = runner_open(run, &cut, &r);
	if (!opened && r != -ENODEV)
		return runner_failed(run, "open under a second cut: %s: %s", strerror(-r),
				     sv_store_why());
	if (opened && dev_crash_dead(run->medium)) {
		/* The power went with the last write of the open: nobody was shown anything. */
		runner_abandon(run);
	} else if (opened) {
		if (first->closed && !look_at_damage(run, first, ret_state))
			return false;
		if (run->damaged > 0)
			return true;
		if (!look(run, first, &shown))
			return false;
		runner_abandon(run);
		dev_crash_power_off(run->medium, &cut);
		was_shown = true;
		b.floor = b.survived = b.newest = shown;
		b.may_lose = false;
	}
	note_image(run);
	look_again(run, whole, first_cut, was_shown, &b);
	b.told = false;
	if (!recover(run, &b, ret_state))
		return runner_failed(run, "after a second cut (%s)",
				     opened ? "opened" : "not opened");
	return true;
}

/* The store is used after the recovery, cut again, and used again (J6). */
static bool go_on(struct runner *run, uint64_t seed)
{
	struct dev_crash_cut cut = {.seed = seed ^ 0xc07};
	struct bounds b = {.may_be_said = run->unsaid};
	size_t state;

	run->rng.state = seed;
	if (!runner_work(run, MORE_OPS))
		return runner_failed(run, "after the recovery");
	b.floor = b.survived = run->model.floor;
	b.newest = run->model.count - 1;
	runner_abandon(run);
	dev_crash_power_off(run->medium, &cut);
	note_image(run);
	return recover(run, &b, &state) || runner_failed(run, "in a later cut");
}

static bool cut_and_go_on(struct runner *run, const struct runner *whole_run,
			  const struct dev_crash_cut *cut, const struct bounds *b, uint64_t seed)
{
	struct model_disk whole = run->model;
	size_t state;
	bool good;

	note_image(run);
	good = seed % 3 == 0 ? recover_twice(run, whole_run, cut, b, seed, &state)
			     : recover(run, b, &state);
	run->model = (struct model_disk){0}; /* it was borrowed */
	if (!good || run->damaged > 0)	     /* nobody works on with that before a repair */
		return good;
	model_fork(&whole, state, &run->model);
	if (run->config.brief && seed % 4 != 0)
		return true;
	return go_on(run, seed);
}

bool runner_cut(struct runner *run, enum dev_crash_when when, uint64_t write, uint64_t seed)
{
	const struct runner_op *op = op_of_write(run, write);
	struct runner cut_run = {0};
	struct dev_crash_cut cut = {.when = when, .write = write, .seed = seed};
	struct bounds b;
	bool good;

	set_lies(run, &cut);
	runner_prepare(&cut_run, &run->config);
	cut_run.medium = dev_crash_fork(run->medium, &cut);
	cut_run.max_bytes = run->max_bytes;
	cut_run.model = run->model;
	b = bounds_of(run, cut_run.medium, &cut);
	good = cut_and_go_on(&cut_run, run, &cut, &b, seed);
	run->losses += cut_run.losses;
	run->losses_said += cut_run.losses_said;
	run->losses_told += cut_run.losses_told;
	run->damaged += cut_run.damaged;
	memcpy(run->prints, cut_run.prints, sizeof(run->prints));
	run->print_count = cut_run.print_count;
	if (!good)
		runner_failed(run,
			      "%s (operation %zu of %zu, %s, floor %zu, survived %zu, newest %zu)",
			      cut_run.why, (size_t)(op - run->ops), run->op_count,
			      runner_op_names[op->kind], b.floor, b.survived, b.newest);
	runner_free(&cut_run);
	return good;
}
