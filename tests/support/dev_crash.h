/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev_crash.h: a device in memory whose power can be cut at any write. */
#ifndef TEST_DEV_CRASH_H
#define TEST_DEV_CRASH_H

#include "stickvm/dev.h"

/*
 * The medium outlives the devices opened on it, as a stick outlives its node: a test opens a
 * device, lets the power fail, and opens the medium again. Memory failure aborts the test.
 *
 * What a cut leaves: everything flushed; of what was not, each 512-byte sector is kept, dropped
 * (the old content) or garbage, in one of several patterns that the seed picks (all kept, none,
 * in order up to a torn write, any subset of writes, any subset of sectors, ...). Writes between
 * two flushes reorder freely. A discarded range holds old bytes, zeros or garbage.
 *
 * Writes and discards are counted together, from 1, since the device was opened (of a fork: since
 * recording began). Flushes are not counted: a cut inside a flush is one before the next write.
 */
struct crash_log;
struct dev_crash;

enum dev_crash_when {
	DEV_CRASH_NEVER,
	DEV_CRASH_BEFORE, /* the write is not seen by the medium and returns -ENODEV */
	DEV_CRASH_INSIDE, /* the write was under way and returns -ENODEV */
	DEV_CRASH_AFTER,  /* the write returns 0, the next call of any kind -ENODEV */
};

struct dev_crash_cut {
	enum dev_crash_when when;
	uint64_t write;	       /* which one, from 1 */
	uint64_t seed;	       /* of everything random */
	uint64_t liar_bytes;   /* any of the last bytes acknowledged and flushed may be dropped */
	uint32_t paired_bytes; /* so much before a torn write, in its erase unit, may be garbage */
};

struct dev_crash_report {
	uint64_t kept_sectors;	  /* of what was not settled */
	uint64_t dropped_sectors; /* not flushed, and lost */
	uint64_t garbage_sectors; /* not flushed, and shredded */
	uint64_t lied_sectors;	  /* flushed, and lost all the same */
	uint64_t paired_sectors;  /* shredded by a torn write behind them */
	uint64_t writes;	  /* that the medium saw before the cut */
};

struct dev_crash *dev_crash_create(const struct sv_geometry *geometry);
void dev_crash_destroy(struct dev_crash *medium); /* takes NULL */

/* A device on the medium; the caller's. `cut` (may be NULL: never) is armed from now on. */
struct sv_dev *dev_crash_open(struct dev_crash *medium, const struct dev_crash_cut *cut);
/* Cuts the power now, if that has not happened, and opens the medium again. */
struct sv_dev *dev_crash_reopen(struct dev_crash *medium, const struct dev_crash_cut *cut);
/* Cuts the power now: open devices die. Seed, liar and paired come from `cut`. */
void dev_crash_power_off(struct dev_crash *medium, const struct dev_crash_cut *cut);

bool dev_crash_dead(const struct dev_crash *medium);
uint64_t dev_crash_writes(const struct dev_crash *medium);
/* The same since dev_crash_record: what a fork's cut counts. */
uint64_t dev_crash_recorded(struct dev_crash *medium);
uint64_t dev_crash_flushes(const struct dev_crash *medium);
/* Of the last cut. */
void dev_crash_last_report(const struct dev_crash *medium, struct dev_crash_report *ret_report);

/* How far the medium can grow from now on: other files on it come and go. */
void dev_crash_set_max(struct dev_crash *medium, uint64_t max_bytes);
/* `hook` is called before every write and flush, by the thread that makes it and with no lock of
 * the medium held: it may use the medium. NULL: none. */
typedef void dev_crash_hook(void *context);
void dev_crash_set_hook(struct dev_crash *medium, dev_crash_hook *hook, void *context);
/* A hash of all that is on the medium: two that differ are distinct. */
uint64_t dev_crash_print(const struct dev_crash *medium);
/* Whether the medium holds these bytes there. */
bool dev_crash_holds(const struct dev_crash *medium, const void *bytes, size_t len_bytes,
		     uint64_t off_bytes);

/*
 * Offline: keeps everything from now on, so that one run serves any number of cuts. A fork is a
 * new medium, as the cut would have left this one; cheap when `cut->write` ascends.
 */
void dev_crash_record(struct dev_crash *medium);
struct dev_crash *dev_crash_fork(struct dev_crash *medium, const struct dev_crash_cut *cut);
/* What was recorded, in order of issue; borrowed until the next call that changes the medium. */
const struct crash_log *dev_crash_log(const struct dev_crash *medium);
/* How many of them the medium had seen when this cut came. */
size_t dev_crash_records_until(const struct dev_crash *medium, const struct dev_crash_cut *cut);
/* A new medium with the content that reads see now. */
struct dev_crash *dev_crash_clone(struct dev_crash *medium);
/* XORs `mask` into one byte of the medium: silent corruption, at rest. */
void dev_crash_corrupt(struct dev_crash *medium, uint64_t off_bytes, uint8_t mask);

#endif
