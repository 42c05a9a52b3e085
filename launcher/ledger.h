/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ledger.h: the counters of a store by name, for files, tables, JSON and metrics; what they mean
 * for the life of a stick. */
#ifndef LAUNCHER_LEDGER_H
#define LAUNCHER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stickvm/store.h"

struct ledger_field {
	const char *name; /* as in `wear --json` */
	size_t offset;	  /* in struct sv_ledger */
	const char *help;
	bool bytes; /* else a count; first_used is a time */
};

/* Ends with a NULL name. first_used is the last. */
extern const struct ledger_field ledger_fields[];

uint64_t ledger_get(const struct sv_ledger *ledger, const struct ledger_field *field);
void ledger_put(struct sv_ledger *ledger, const struct ledger_field *field, uint64_t value);
/* Sums; of the dates the earlier one. */
void ledger_add(struct sv_ledger *to, const struct sv_ledger *from);
/* Counters only ever rise, so the larger of two readings is the newer one, field by field. */
void ledger_raise(struct sv_ledger *to, const struct sv_ledger *from);

/* Bytes to the stick for a byte of the guest; 0 before the guest wrote anything. */
double ledger_amplification(const struct sv_ledger *ledger);

/*
 * The part of a stick's life that has been used, 0 to 1 and beyond, as an interval, since neither
 * the cells' endurance nor what the controller writes on its own is known: bytes x amplification
 * / (capacity x cycles). Low: every byte programmed once, 3000 cycles. High: programmed twice (a
 * folding SLC cache), 300 cycles. Both 0 where the capacity is unknown.
 */
#define LEDGER_CYCLES_LOW 300.0
#define LEDGER_CYCLES_HIGH 3000.0
#define LEDGER_DEVICE_LOW 1.0 /* times that the stick programs a byte */
#define LEDGER_DEVICE_HIGH 2.0
void ledger_life(const struct sv_ledger *ledger, uint64_t capacity_bytes, double *ret_low,
		 double *ret_high);

#endif
