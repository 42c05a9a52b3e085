/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_stick.c: opens a stick, measures it, and keeps what was found. */
#include "probe_stick.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "probe_place.h"

#define MIB (UINT64_C(1) << 20)

/* Enough for sixteen units of the largest kind; a file system that must be written to reserve gets
 * what the slowest stick writes in a few seconds. */
#define SCRATCH_BYTES (256 * MIB)
#define ZEROS_BYTES (32 * MIB)
#define LEAST_SCRATCH_BYTES (16 * MIB)
/* Of a fast cache's search: not more than a part of what is free. */
#define CACHE_BYTES (UINT64_C(8) << 30)

static uint64_t scratch_bytes(const char *path)
{
	uint64_t half = stick_free_bytes(path) / 2 / MIB * MIB;

	if (half < LEAST_SCRATCH_BYTES)
		return 0;
	return half < SCRATCH_BYTES ? half : SCRATCH_BYTES;
}

static int measure(struct probe_place *place, struct probe_stick *probe, const char *path,
		   struct err *err)
{
	struct probe_progress progress;
	struct probe_params params = {.full = probe->full,
				      .seed = 1,
				      .report = probe_progress_step,
				      .report_ctx = &progress};
	int rc;

	if (probe->full && place->scratch.fd >= 0)
		params.cache_bytes = CACHE_BYTES;
	probe_progress_start(&progress);
	rc = probe_run(&place->target, &params, &probe->result);
	probe_progress_end(&progress);
	if (rc == -ECANCELED)
		return err_set(err, EXIT_INTERRUPTED, "%s: interrupted; nothing stays behind",
			       path);
	if (rc < 0)
		return err_set(err, file_status(rc), "%s: the measurement failed: %s; %s", path,
			       strerror(-rc), file_advice(rc));
	return 0;
}

static uint64_t us(uint64_t ns)
{
	return (ns + 500) / 1000;
}

static struct measured measured_of(const struct probe_stick *probe)
{
	const struct probe_result *r = &probe->result;

	return (struct measured){
		.at_s = r->at_s,
		.link_mbps = probe->facts.stick_speed_mbps,
		.read_rate = r->read_rate,
		.write_rate = r->write_rate,
		.slow_write_rate = r->slow_write_rate,
		.cache_bytes = r->cache_bytes,
		.command_us = us(r->command_ns),
		.random_read_us = us(r->random_read_ns),
		.random_write_us = us(r->random_write_ns),
		.merge_us = us(r->merge_ns),
	};
}

/* On a file system that reads only, or in the page cache's way, what was found is not the
 * stick's. */
static int keep(struct probe_stick *probe, struct stick *stick, struct err *err)
{
	const struct probe_result *r = &probe->result;
	const struct stick_geometry geometry = {r->page_bytes, r->erase_bytes, r->open_units};

	probe->slower = measured_slower(&stick->history, &probe->measured);
	if (!probe->direct)
		return 0;
	if (stick_note_probe(stick, &probe->measured, &geometry, err) < 0)
		return -1;
	probe->kept = true;
	return 0;
}

int probe_stick(const char *path, struct stick *stick, bool full, bool write,
		struct probe_stick *ret_probe, struct err *err)
{
	struct probe_stick probe = {.full = full};
	struct probe_place_wanted wanted = {.path = path, .zeros_bytes = ZEROS_BYTES};
	struct probe_place place;
	int rc;

	facts_gather_stick(path, &probe.facts);
	wanted.node = probe.facts.stick_node;
	wanted.scratch_bytes = write ? scratch_bytes(path) : 0;
	rc = probe_place_open(&wanted, &place, err);
	if (rc == 0) {
		probe.direct = place.direct;
		probe.aligned = place.target.aligned;
		if (place.disk_fd < 0 && place.scratch.fd < 0)
			rc = err_set(err, EXIT_FAILED,
				     "%s: the device below cannot be read by this user and nothing "
				     "may be written; add --yes to use a scratch file (16 MiB must "
				     "be free twice), or run it as root",
				     path);
		else
			rc = measure(&place, &probe, path, err);
		probe_place_close(&place);
	}
	if (rc == 0)
		probe.measured = measured_of(&probe);
	if (rc == 0 && stick)
		rc = keep(&probe, stick, err);
	if (rc < 0) {
		facts_free(&probe.facts);
		return -1;
	}
	if (stick)
		probe.history = stick->history;
	*ret_probe = probe;
	return 0;
}

void probe_stick_free(struct probe_stick *probe)
{
	facts_free(&probe->facts);
}
