/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune_rows.h: what the rows of the table of decisions share; private to tune*.c. */
#ifndef LAUNCHER_TUNE_ROWS_H
#define LAUNCHER_TUNE_ROWS_H

#include "tune.h"

struct input {
	const struct facts *facts; /* a view: only what the row names is known */
	const struct vm *vm;
	const struct wishes *wishes;
};

/* Decides one row: sets its own fields of the plan, and value and reason of the row. */
typedef void decide(const struct input *in, struct plan *plan, struct decision *row);

void row_value(struct decision *row, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void row_reason(struct decision *row, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As row_reason, and the user is told even without --dry-run. */
void row_note(struct decision *row, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The reason is then the whole message: "what: why; what to do". */
void row_refuse(struct decision *row, enum exit_status status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* What runs the machine. */
decide decide_qemu, decide_accel, decide_cpu, decide_memory, decide_cores, decide_firmware,
	decide_ssh_port;
/* How the disk reaches the guest. */
decide decide_transport, decide_cache, decide_aio, decide_iothread, decide_queues, decide_discard,
	decide_zeroes, decide_errors, decide_batch_size, decide_unit_size, decide_batch_age,
	decide_map_ram, decide_durability, decide_scratch, decide_host_cache;
/* The stick and the file system on it. */
decide decide_link, decide_place;
/* What a person sees of the guest. */
decide decide_display, decide_serial, decide_sandbox;

#endif
