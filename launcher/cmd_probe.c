/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_probe.c: `probe`: measures a stick, or finds out whether it is a fake. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "file.h"
#include "probe_fake.h"
#include "probe_place.h"
#include "probe_save.h"
#include "probe_stick.h"
#include "size.h"
#include "ui.h"
#include "verbs.h"

#define MIB (UINT64_C(1) << 20)

/* More than the caches that were found in fakes. */
#define SPILL_BYTES (16 * MIB)
/* Partition tables and first blocks of file systems are left alone. */
#define HEAD_BYTES MIB

/* What is to be probed, and the stick that keeps what is found. */
struct job {
	const struct args *args;
	const char *path;
	struct stick stick;
	bool prepared;
};

static int take_path(struct job *job, struct err *err)
{
	job->path = args_operand(job->args, 0);
	if (!job->path) {
		if (stick_open(job->args->stick, &job->stick, err) < 0)
			return -1;
		job->path = job->stick.dir;
		job->prepared = true;
		return 0;
	}
	if (!stick_prepared(job->path))
		return 0;
	job->prepared = stick_load(job->path, &job->stick, err) == 0;
	return job->prepared ? 0 : -1;
}

static bool is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Whether a scratch file may be written; nobody to ask is a no. */
static bool may_write(const struct job *job)
{
	const char *question =
		args_has(job->args, "full")
			? "A scratch file of 256 MiB is written over and over, up to 8 GiB in "
			  "all, and removed. Go on? (n: only read)"
			: "Up to 300 MiB are written to a scratch file, which is removed. Go on? "
			  "(n: only read)";

	if (!is_folder(job->path) || args_has(job->args, "yes"))
		return is_folder(job->path);
	return ui_interactive() && ui_ask(question);
}

static int measure(struct job *job)
{
	struct probe_stick probe;
	struct err err;
	bool write = may_write(job);
	int status = EXIT_DONE;

	if (probe_stick(job->path, job->prepared ? &job->stick : NULL, args_has(job->args, "full"),
			write, &probe, &err) < 0)
		return ui_fail(job->args, &err);
	if (!write && is_folder(job->path))
		ui_warn(job->args, "nothing was written, so less is known; --yes lets it use a "
				   "scratch file");
	if (args_has(job->args, "json"))
		status = ui_json(job->args, probe_stick_json(&probe));
	else
		probe_stick_print(&probe);
	probe_stick_free(&probe);
	return status;
}

static int open_place(const struct job *job, struct probe_place *place, struct err *err)
{
	bool folder = is_folder(job->path);
	struct facts facts = {0};
	struct probe_place_wanted wanted = {.path = job->path, .capacity = !folder};
	uint64_t free_bytes = stick_free_bytes(job->path);
	int rc;

	facts_gather_stick(job->path, &facts);
	wanted.node = facts.stick_node;
	if (folder)
		wanted.scratch_bytes = free_bytes / 20 * 19 / MIB * MIB;
	rc = probe_place_open(&wanted, place, err);
	facts_free(&facts);
	if (rc < 0)
		return -1;
	if (!folder)
		return 0;
	if (place->scratch.fd < 0 || place->scratch.extent_count == 0)
		rc = err_set(err, EXIT_FAILED,
			     "%s: this file system does not tell where its files lie; unmount the "
			     "stick and give its device",
			     job->path);
	else if (place->disk_fd < 0)
		rc = err_set(err, EXIT_FAILED,
			     "%s: the device below must be read past the file system; run it as "
			     "root",
			     job->path);
	if (rc < 0)
		probe_place_close(place);
	return rc;
}

/* A run that was cut short left its tags on the stick. True in *ret_again: the place must be opened
 * anew, since all of the device was opened for writing. */
static int restore(const struct job *job, const char *name, struct probe_place *place,
		   uint64_t *ret_restored, bool *ret_again, struct err *err)
{
	char *path;
	int rc;

	*ret_again = probe_save_pending(name);
	if (!*ret_again)
		return 0;
	rc = probe_place_open_disk(place);
	if (rc == 0)
		rc = probe_save_restore(name, place->disk_bytes, place->target.ops, place,
					ret_restored);
	if (rc == 0 || rc == -EBADMSG) /* it ended before anything was written */
		return 0;
	path = probe_save_path(name);
	err_set(err, EXIT_FAILED,
		"%s: an earlier test was cut short, and what it wrote over cannot be put back: %s; "
		"it is kept in %s",
		job->path, strerror(-rc), path ? path : name);
	free(path);
	return -1;
}

static int run_test(const struct job *job, struct probe_place *place, const char *name,
		    struct probe_capacity *ret, struct err *err)
{
	struct probe_progress progress;
	struct probe_capacity_params params = {.size_bytes =
						       place->disk_skew_bytes + place->disk_bytes,
					       .free = place->free,
					       .free_count = place->free_count,
					       .spill_bytes = SPILL_BYTES,
					       .report = probe_progress_step,
					       .report_ctx = &progress};
	struct probe_save *save;
	char *path = probe_save_path(name);
	int rc;

	if (getrandom(&params.seed, sizeof params.seed, 0) < 0 || params.seed == 0)
		params.seed = 1;
	rc = probe_save_open(name, place->disk_bytes, params.seed, &save);
	if (rc < 0) {
		err_set(err, EXIT_FAILED, "%s: what will be written over cannot be kept here: %s",
			path ? path : name, strerror(-rc));
		free(path);
		return -1;
	}
	params.saver = probe_save_saver(save);
	probe_progress_start(&progress);
	rc = probe_capacity_run(place->target.ops, place, &params, ret);
	probe_progress_end(&progress);
	probe_save_close(save, rc != -ENODEV && rc != -ENXIO);
	if (rc == -ECANCELED)
		err_set(err, EXIT_INTERRUPTED, "%s: interrupted; what was there is back",
			job->path);
	else if (rc == -ENODEV || rc == -ENXIO)
		err_set(err, EXIT_NO_STICK,
			"%s: the stick went away; plug it in and run this again, which puts back "
			"what was there (kept in %s)",
			job->path, path ? path : name);
	else if (rc == -ENOSPC)
		err_set(err, EXIT_FAILED, "%s: too little is free to try; free some space",
			job->path);
	else if (rc < 0)
		err_set(err, file_status(rc), "%s: the test failed: %s; %s", job->path,
			strerror(-rc), file_advice(rc));
	free(path);
	return rc < 0 ? -1 : 0;
}

static json_t *capacity_json(const struct job *job, const struct probe_capacity *c,
			     uint64_t restored)
{
	return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:b, s:i, s:i, s:I, s:i, s:I}",
			 "path", job->path, "kind", probe_fake_name(c->kind), "genuine",
			 c->kind == PROBE_GENUINE, "announced_bytes",
			 (json_int_t)c->announced_bytes, "real_bytes", (json_int_t)c->real_bytes,
			 "precision_bytes", (json_int_t)c->precision_bytes, "wrap_bytes",
			 (json_int_t)c->wrap_bytes, "cached", c->cached, "samples", (int)c->samples,
			 "lost", (int)c->lost, "reached_bytes", (json_int_t)c->reached_bytes,
			 "changed", (int)c->changed, "restored_blocks", (json_int_t)restored);
}

static void print_capacity(const struct probe_capacity *c)
{
	static const char *const ways[] = {
		[PROBE_GENUINE] = "",
		[PROBE_BAD] = "It holds nothing.",
		[PROBE_LIMBO] = "What is written beyond that is lost.",
		[PROBE_WRAPAROUND] = "What is written beyond that overwrites what is before.",
		[PROBE_CHAIN] =
			"What is written beyond that is lost, or overwrites what is before.",
	};
	char says[32], has[32], reached[32];

	size_human(c->announced_bytes, says, sizeof says);
	size_human(c->real_bytes, has, sizeof has);
	if (c->kind == PROBE_GENUINE) {
		printf("No sign of a fake: %" PRIu32 " places up to %s of %s hold what is written "
		       "there.\n",
		       c->samples, size_human(c->reached_bytes, reached, sizeof reached), says);
		if (c->reached_bytes < c->announced_bytes / 20 * 19)
			printf("Beyond that nothing was free to try; the unmounted device can be "
			       "tried to its end.\n");
		return;
	}
	printf("A FAKE (%s): it says %s and holds %s. %s\nBring it back to the shop. To use it all "
	       "the same, make a partition of no more than that.\n",
	       probe_fake_name(c->kind), says, has, ways[c->kind]);
}

static bool allowed(const struct job *job, struct err *err)
{
	if (args_has(job->args, "yes"))
		return true;
	if (!ui_interactive()) {
		err_set(err, EXIT_USAGE,
			"--capacity writes to the stick (and puts back what was there), and there "
			"is nobody to ask; add --yes");
		return false;
	}
	if (ui_ask("Places all over the stick are written to; what was there is put back. Go on?"))
		return true;
	err_set(err, EXIT_FAILED, "%s: not done; nothing was changed", job->path);
	return false;
}

/* Free ranges without the head of the medium. */
static void spare_head(struct probe_place *place)
{
	for (size_t i = 0; i < place->free_count; i++) {
		struct probe_range *r = &place->free[i];
		uint64_t end = r->off_bytes + r->len_bytes;
		uint64_t from = r->off_bytes < HEAD_BYTES ? HEAD_BYTES : r->off_bytes;

		*r = (struct probe_range){from, end > from ? end - from : 0};
	}
}

static int capacity(struct job *job)
{
	struct probe_capacity result;
	struct probe_place place;
	struct err err;
	uint64_t restored = 0;
	bool again = false;
	char *name = NULL;
	int rc;

	if (!allowed(job, &err) || open_place(job, &place, &err) < 0)
		return ui_fail(job->args, &err);
	name = plugged_stable_name(place.disk_node);
	rc = name ? restore(job, name, &place, &restored, &again, &err)
		  : err_set(&err, EXIT_FAILED, "out of memory");
	if (rc == 0 && again) {
		probe_place_close(&place);
		rc = open_place(job, &place, &err);
	}
	if (restored > 0)
		ui_warn(job->args,
			"an earlier test was cut short; %" PRIu64
			" blocks that it wrote over were put back",
			restored);
	spare_head(&place);
	if (rc == 0)
		rc = run_test(job, &place, name, &result, &err);
	probe_place_close(&place);
	free(name);
	if (rc < 0)
		return ui_fail(job->args, &err);
	if (args_has(job->args, "json"))
		rc = ui_json(job->args, capacity_json(job, &result, restored));
	else
		print_capacity(&result);
	return rc == 0 && result.kind != PROBE_GENUINE ? EXIT_DAMAGE : rc;
}

int cmd_probe(const struct args *args)
{
	struct job job = {.args = args};
	struct err err;
	int status;

	if (args_has(args, "quick") + args_has(args, "full") + args_has(args, "capacity") > 1) {
		err_set(&err, EXIT_USAGE, "--quick, --full, --capacity: give one of them");
		return ui_fail(args, &err);
	}
	if (take_path(&job, &err) < 0)
		return ui_fail(args, &err);
	status = args_has(args, "capacity") ? capacity(&job) : measure(&job);
	if (job.prepared)
		stick_free(&job.stick);
	return status;
}
