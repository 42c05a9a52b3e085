/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crash_farm.h: many crash states on all processors, and how many of them were distinct. */
#ifndef TEST_CRASH_FARM_H
#define TEST_CRASH_FARM_H

#include <stdbool.h>
#include <stdint.h>

/* What was counted since the farm was made, by all its processes. */
struct crash_counts {
	uint64_t cuts;	      /* crash states that were recovered from */
	uint64_t distinct;    /* images among them that no other cut left */
	uint64_t losses;      /* after which flushed writes were gone (the stick lied) */
	uint64_t losses_said; /* and recovery said so */
	uint64_t losses_told; /* and could have known it */
	uint64_t damaged;     /* after which blocks gave EIO, as DESIGN.md has it */
	uint64_t runs;
};

struct crash_farm;

/* For at most `images` distinct images. Memory failure aborts the test. */
struct crash_farm *crash_farm_new(uint64_t images);
void crash_farm_free(struct crash_farm *farm);
/* From any process of the farm: the image of a cut that was survived. */
void crash_farm_image(struct crash_farm *farm, uint64_t print);
void crash_farm_add(struct crash_farm *farm, const struct crash_counts *more);
void crash_farm_counts(const struct crash_farm *farm, struct crash_counts *ret_counts);
/* One job; false: it failed, and has said so. */
typedef bool crash_job(struct crash_farm *farm, uint64_t number, void *context);
/*
 * Calls `job` with the numbers from `from` to `end`, each once, in as many processes as there are
 * processors, until one returns false. False: one did, or a process died.
 */
bool crash_farm_run(struct crash_farm *farm, uint64_t from, uint64_t end, crash_job *job,
		    void *context);
/* Prints the counts and the rate since the last call, under a name. */
void crash_farm_say(struct crash_farm *farm, const char *what);

#endif
