/* SPDX-License-Identifier: GPL-2.0-or-later */
/* measured.h: what a probe found, as it is kept on the stick, compared and used. */
#ifndef LAUNCHER_MEASURED_H
#define LAUNCHER_MEASURED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One probe's figures; 0: not measured. Rates in bytes a second. */
struct measured {
	uint64_t at_s; /* Unix time */
	uint64_t link_mbps;
	uint64_t read_rate;
	uint64_t write_rate;
	uint64_t slow_write_rate; /* behind the fast cache */
	uint64_t cache_bytes;
	uint64_t command_us;
	uint64_t random_read_us; /* of 4 KiB */
	uint64_t random_write_us;
	uint64_t merge_us;
};

/* By name, "read_rate"; each is printed and read from one table. */
struct measured_field {
	const char *name;
	size_t offset;
	bool in_history;
};
extern const struct measured_field measured_fields[]; /* a NULL name ends it */

uint64_t measured_get(const struct measured *m, const struct measured_field *field);
/* False where no field has this name. */
bool measured_put(struct measured *m, const char *name, uint64_t value);

/* Earlier probes, the newest last; the oldest make room. */
#define MEASURED_HISTORY 8

struct measured_history {
	struct measured entries[MEASURED_HISTORY];
	size_t count;
};

/* The entry of that time, made where there is none. */
struct measured *history_at(struct measured_history *history, uint64_t at_s);
/* The newest probe, at_s 0 where there is none. */
struct measured history_newest(const struct measured_history *history);

/*
 * What became slower than the median of the earlier probes in a port of the same speed, by a
 * quarter or more. `earlier` 0: nothing to compare with.
 */
struct slower {
	const char *what; /* "read_rate", ...: a literal; NULL: nothing */
	uint64_t before, now;
	size_t earlier;
};
struct slower measured_slower(const struct measured_history *history, const struct measured *now);

/* The most that a batch gathers: what the stick writes in 2 s, 1 to 16 MiB. 0: unknown. */
#define BATCH_MOST_BYTES (UINT64_C(16) << 20)
uint64_t measured_batch_bytes(uint64_t write_rate);
/* A compressed unit's size: a random read of it costs at most 1.25 times one of 4 KiB; 4 to
 * 64 KiB. 0: unknown. */
uint32_t measured_unit_bytes(uint64_t read_rate, uint64_t random_read_us);

#endif
