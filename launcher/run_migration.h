/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_migration.h: QEMU's machine state through a socket, in or out: commands and progress. */
#ifndef LAUNCHER_RUN_MIGRATION_H
#define LAUNCHER_RUN_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>

enum migration_state {
	MIGRATION_NOT = 0,
	MIGRATION_ASKED,
	MIGRATION_GOING,
	MIGRATION_DONE,
	MIGRATION_FAILED
};

struct migration {
	enum migration_state state;
	int64_t look_ms; /* CLOCK_MONOTONIC: when QEMU is asked again; INT64_MAX: not */
	char why[160];	 /* FAILED: a clause */
};

#endif
