/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_report.h: what is known of the wear of a stick or of one VM, gathered once for every form
 * in which `wear` says it. */
#ifndef LAUNCHER_WEAR_REPORT_H
#define LAUNCHER_WEAR_REPORT_H

#include <jansson.h>

#include "opts.h"
#include "stick.h"
#include "stickvm/history.h"

/* The counters of one VM, and how new they are. */
struct wear_reading {
	char name[72];
	const char *as_of; /* "now", "its last session", "unknown" */
	struct sv_ledger ledger;
	struct sv_history *history; /* NULL: it could not be read */
};

/* An interval; both 0 where `known` is false. */
struct wear_interval {
	bool known;
	double low, high;
};

struct wear_report {
	const struct stick *stick;
	bool whole; /* the stick, not one VM */
	struct sv_ledger total;
	struct sv_history *history; /* of all that is in the total, as far as it is known by day */
	uint64_t undated_bytes;	    /* to the stick, in the total and not in the history */
	uint64_t capacity_bytes;    /* of the stick; 0: unknown */
	struct wear_interval used;  /* part of the stick's life, 0 to 1 and beyond */
	struct wear_interval years; /* that it lasts at the pace of the last days */
	double pace_bytes;	    /* a day; 0: not known yet */
	uint32_t pace_days;	    /* that it was taken over */
	bool host_known;
	uint64_t host_written_bytes;
	struct wear_reading *readings;
	size_t count;
};

/* The exit status: that of a VM that could not be read, the others are there all the same. The
 * report is the caller's in any case: wear_report_free. */
int wear_gather(const struct args *args, struct stick *stick, char **names, size_t count,
		struct wear_report *ret_report);
void wear_report_free(struct wear_report *report);

/* The keys of the contract, and what the page is made from; the caller's. */
json_t *wear_json(const struct wear_report *report);

/* The page for a browser, from that JSON alone: complete in itself, nothing is loaded. The text
 * is the caller's; NULL without memory. */
char *wear_html(const json_t *report);

/* What to say about it to a person, one line each, from the same JSON; an array of strings. */
json_t *wear_advice(const json_t *report);

#endif
