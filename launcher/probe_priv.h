/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_priv.h: what the parts of a measurement share; private to probe_run*.c. */
#ifndef LAUNCHER_PROBE_PRIV_H
#define LAUNCHER_PROBE_PRIV_H

#include "probe.h"
#include "probe_find.h"

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1) << 20)
#define SECOND UINT64_C(1000000000)
#define BLOCK_BYTES 4096u
#define REQUEST_BYTES (1u << 20)

struct probing {
	const struct probe_target *target;
	const struct probe_params *params;
	struct probe_result *result;
	uint8_t *buf; /* REQUEST_BYTES of noise: nothing that a stick could compress */
	uint64_t start_ns, deadline_ns;
	uint64_t random;
	struct probe_range written;    /* the part of the scratch that holds data */
	uint64_t in_order_ns;	       /* of small writes, one behind the other */
	uint64_t slow_ns, phase_bytes; /* of merges, as found */
	int error;		       /* the first; everything stops then */
};

uint64_t probing_now(const struct probing *p);
/* The time limit of all parts runs from now. */
void probing_set_limit(struct probing *p);
/* When a part that may take `box_ns` must end. */
uint64_t probing_until(const struct probing *p, uint64_t box_ns);
/* False when the time is over, or after an error. */
bool probing_goes_on(const struct probing *p, uint64_t until_ns);
/* One command; what it took. False after an error. */
bool probing_read(struct probing *p, uint64_t off_bytes, uint64_t len_bytes, uint64_t *ret_ns);
bool probing_write(struct probing *p, uint64_t off_bytes, uint64_t len_bytes, uint64_t *ret_ns);
uint64_t probing_random_below(struct probing *p, uint64_t limit);
/* Tells how far it is; a step is named in the present, "reading in order". */
void probing_report(struct probing *p, const char *what);

/* probe_reads.c */
void probe_reads_in_order(struct probing *p);
void probe_reads_random(struct probing *p);
void probe_reads_borders(struct probing *p);
/* probe_writes.c */
void probe_writes_in_order(struct probing *p);
void probe_writes_units(struct probing *p);
void probe_writes_open(struct probing *p);
void probe_writes_random(struct probing *p);
void probe_writes_cache(struct probing *p);

#endif
