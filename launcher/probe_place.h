/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_place.h: a real stick behind the table that a probe measures through. */
#ifndef LAUNCHER_PROBE_PLACE_H
#define LAUNCHER_PROBE_PLACE_H

#include <stdatomic.h>

#include "err.h"
#include "probe.h"
#include "stickvm/place.h"

/*
 * A folder, or a device (or a file that stands for one). A folder is measured in a scratch file
 * that has no name; the device below it is only read, and that where this user may. A device itself
 * is only read, but by a test of capacity, which puts everything back.
 */
struct probe_place {
	struct probe_target target; /* its ctx is this struct, so do not move it */
	struct sv_scratch scratch;  /* fd -1: none */
	char disk_node[64];	    /* "/dev/sdb"; "": none is visible */
	int disk_fd;		    /* the whole medium; -1: not readable */
	uint64_t disk_skew_bytes;   /* medium address of its first byte */
	uint64_t disk_bytes;
	int raw_fd; /* written to by a test of capacity of a device; -1 */
	uint64_t raw_skew_bytes, raw_bytes;
	struct probe_range *free; /* what may be written, on the medium, ascending */
	size_t free_count;
	bool direct; /* what is measured is the stick, and not this host's memory */
};

struct probe_place_wanted {
	const char *path;
	const char *node;	/* of a FUSE file system below `path`; NULL: its own number tells */
	uint64_t scratch_bytes; /* 0: write nothing */
	uint64_t zeros_bytes;	/* where the scratch must be written first */
	bool capacity;		/* a device is opened for writing */
};

/* 0, or -1 with the reason. probe_place_close in any case of success. */
int probe_place_open(const struct probe_place_wanted *wanted, struct probe_place *ret_place,
		     struct err *err);
/* Lets all of the disk be written, for putting back what a test of capacity left. 0 or a negative
 * errno. */
int probe_place_open_disk(struct probe_place *place);
void probe_place_close(struct probe_place *place);

/* Whether the path lies on a block device that may be a stick: USB, removable, or a loop. */
bool probe_place_is_stick(const char *path, const char *node);

#endif
