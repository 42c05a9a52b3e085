/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place_format.h: the header of a container, as it lies on the medium. See FORMAT.md. */
#ifndef STICKVM_PLACE_FORMAT_H
#define STICKVM_PLACE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACE_VERSION 1u
#define PLACE_HEADER_AREA_BYTES 65536u /* before the first byte of data */
#define PLACE_HEADER_COPY_BYTES 32768u /* each of the two copies may be so long */
#define PLACE_HEADER_MAX_PIECES 512u
#define PLACE_ID_BYTES 16u

enum place_flags {
	PLACE_RAW = 1u << 0,	    /* a partition, a device, or a file used like one */
	PLACE_SEALED = 1u << 1,	    /* full: the container after it must be there */
	PLACE_FALLOCATED = 1u << 2, /* grown by allocation: a first write changes metadata */
};

/* A run of whole segments in the container file. Addresses run through the pieces in order. */
struct place_piece {
	uint64_t file_bytes; /* where it begins in the file */
	uint64_t len_bytes;
};

struct place_header {
	uint8_t id[PLACE_ID_BYTES]; /* of the place: the same in every container */
	uint32_t index;		    /* of the container, from 0 */
	uint32_t flags;
	uint64_t generation;	  /* of this header: the larger one of two copies counts */
	uint64_t base_bytes;	  /* address of its first byte of data */
	uint64_t container_bytes; /* largest size of a file; 0: the whole device */
	uint64_t max_bytes;	  /* of the place; 0: no limit */
	uint32_t segment_bytes;
	uint32_t page_bytes; /* measured; 0: unknown; so are the next two */
	uint32_t erase_bytes;
	uint32_t open_units;
	uint32_t ro_compatible; /* feature bits: any that is set forbids writing (none known) */
	uint32_t piece_count;
	struct place_piece pieces[PLACE_HEADER_MAX_PIECES];
};

/* Writes one copy, PLACE_HEADER_COPY_BYTES long, padded with zeros. */
void place_header_encode(const struct place_header *header, uint8_t *ret_bytes);
/*
 * Reads one copy. -EMEDIUMTYPE: not a header; -EBADMSG: damaged, or values out of range;
 * -EPROTONOSUPPORT: whole, but of a newer version or with an unknown incompatible feature.
 */
int place_header_decode(const uint8_t *bytes, struct place_header *ret_header);
/* Takes the better of the two copies in a header area; `*ret_whole` says which are good. */
int place_header_choose(const uint8_t *area, struct place_header *ret_header, bool (*ret_whole)[2]);

uint64_t place_header_data_bytes(const struct place_header *header);

#endif
