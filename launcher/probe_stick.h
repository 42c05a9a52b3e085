/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_stick.h: a stick measured, the figures kept on it; for `probe` and `init`. */
#ifndef LAUNCHER_PROBE_STICK_H
#define LAUNCHER_PROBE_STICK_H

#include "facts.h"
#include "measured.h"
#include "probe.h"
#include "stick.h"

/* Until something shows it: what the engine assumes. */
#define PROBE_ASSUMED_PAGE_BYTES (16u << 10)
#define PROBE_ASSUMED_UNIT_BYTES (8u << 20)

struct probe_stick {
	struct facts facts; /* of the stick only */
	struct probe_result result;
	struct measured measured;
	struct slower slower;
	struct measured_history history; /* with this one, where it was kept */
	bool full, direct, aligned;
	bool kept;
};

/*
 * Measures what is at `path` and, where `stick` is not NULL, keeps it there. `write`: a scratch
 * file may be written. Where a device cannot be measured as such (no direct I/O: the host's memory
 * would be), nothing is kept. SIGINT, SIGTERM and SIGHUP end it with EXIT_INTERRUPTED. 0 or -1; on
 * success probe_stick_free.
 */
int probe_stick(const char *path, struct stick *stick, bool full, bool write,
		struct probe_stick *ret_probe, struct err *err);
void probe_stick_free(struct probe_stick *probe);

/* All of it; the caller's. */
json_t *probe_stick_json(const struct probe_stick *probe);
/* A table, and what it means. */
void probe_stick_print(const struct probe_stick *probe);

/* A line of progress on a terminal, and a look at the signals: for struct probe_params. */
struct probe_progress {
	bool terminal;
	bool shown;
	bool caught; /* one of the signals came */
};
void probe_progress_start(struct probe_progress *progress);
bool probe_progress_step(void *progress, const char *what, uint64_t done, uint64_t total);
void probe_progress_end(struct probe_progress *progress);

#endif
