/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plan.h: what a run does and why: the decisions as rows, and their typed values. */
#ifndef LAUNCHER_PLAN_H
#define LAUNCHER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "err.h"

enum plan_accel { PLAN_TCG = 0, PLAN_KVM };
enum plan_display {
	PLAN_NO_DISPLAY = 0,
	PLAN_GTK,
	PLAN_SDL,
	PLAN_VNC,
	PLAN_SPICE,
};
enum plan_serial { PLAN_SERIAL_NULL = 0, PLAN_SERIAL_STDIO, PLAN_SERIAL_FILE };
enum plan_aio { PLAN_THREADS = 0, PLAN_IO_URING };

/* How much a row has to say. */
enum plan_level {
	PLAN_PLAIN = 0,
	PLAN_NOTE,    /* works, but the user should know */
	PLAN_REFUSED, /* cannot run like this */
};

/* One row of the table. `name` and `facts` are literals. */
struct decision {
	const char *name;
	const char *const *facts; /* the facts that it names, NULL-terminated */
	enum plan_level level;
	enum exit_status status; /* under PLAN_REFUSED */
	char value[112];
	char reason[320];
};

enum { PLAN_MAX_DECISIONS = 32 };

struct plan {
	struct decision decisions[PLAN_MAX_DECISIONS];
	size_t count;

	/* The values, for argv and run. Texts are borrowed from the facts and the wishes. */
	const char *qemu;
	enum plan_accel accel;
	char cpu[112];
	const char *firmware_code; /* NULL: BIOS */
	const char *firmware_vars; /* the template */
	enum plan_aio aio;
	bool iothread;
	uint32_t queues;
	uint32_t queue_entries;
	bool stop_on_error;
	uint64_t batch_bytes;
	uint32_t batch_age_ms;
	uint64_t map_ram_bytes;
	uint32_t unit_bytes;	/* of compressed units; 0: the engine's default */
	uint64_t scratch_bytes; /* 0: none */
	const char *scratch_folder;
	enum plan_display display;
	enum plan_serial serial;
	const char *serial_file;
	bool sandbox;
	bool sandbox_resources; /* deny resource control as well */
	uint16_t ssh_port;	/* 0: none is free */
};

/* NULL where no row has this name. */
const struct decision *plan_find(const struct plan *plan, const char *name);

/* 0, or -1 with the first row that refuses in `err`. */
int plan_check(const struct plan *plan, struct err *err);

/* The rows as an array of {name, value, reason, facts, level}; the caller's. */
json_t *plan_to_json(const struct plan *plan);

/* The rows as lines for a person, `width` columns wide at most (reasons are wrapped). The text
 * is the caller's; NULL when out of memory. */
char *plan_to_text(const struct plan *plan, unsigned width);

#endif
