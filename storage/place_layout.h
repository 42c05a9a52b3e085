/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_layout.h: where segments go in a container, given where its bytes lie on the medium. */
#ifndef STICKVM_PLACE_LAYOUT_H
#define STICKVM_PLACE_LAYOUT_H

#include "place_format.h"

/* A run of a file and where it lies, from the beginning of the whole medium. */
struct place_extent {
	uint64_t file_bytes;
	uint64_t medium_bytes;
	uint64_t len_bytes;
};

/* The unit segments are aligned to: the erase unit where it is known, else the segment. */
uint32_t place_layout_unit(const struct place_header *header);
/* Where the container's free tail begins: behind its last piece, or behind the header. */
uint64_t place_layout_used(const struct place_header *header);

/* Adds the segments of the tail up to `end_bytes` that begin on a unit; skips what does not.
 * -EOVERFLOW: no room for another piece (those before it stay added). */
int place_layout_add_aligned(struct place_header *header, const struct place_extent *extents,
			     size_t extent_count, uint64_t end_bytes);
/* Adds the tail's whole segments as neighbours, wherever they lie. */
int place_layout_add_linear(struct place_header *header, uint64_t end_bytes);

/* Takes segments off the end until `data_bytes` are left (a multiple of the segment). */
void place_layout_trim(struct place_header *header, uint64_t data_bytes);

/* Whether every piece begins on a unit and lies in one run, modulo the unit. */
bool place_layout_is_aligned(const struct place_header *header, const struct place_extent *extents,
			     size_t extent_count);

#endif
