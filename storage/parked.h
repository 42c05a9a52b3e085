/* SPDX-License-Identifier: GPL-2.0-or-later */
/* parked.h: a stream of parked data in memory; private to parked*.c. */
#ifndef STORAGE_PARKED_H
#define STORAGE_PARKED_H

#include "park_format.h"
#include "stickvm/park.h"

struct sv_parked {
	struct sv_park_head head;
	struct sv_park_append *append; /* head.appends of them */
	uint8_t **bytes;	       /* of each */
	struct sv_park_change *change;
	uint8_t **block; /* of each; NULL: a discard */
	size_t changes, change_room;
	uint64_t wrote_bytes; /* to the stick, and not yet in its store's ledger */
};

#endif
