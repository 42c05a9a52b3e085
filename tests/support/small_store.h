/* SPDX-License-Identifier: GPL-2.0-or-later */
/* small_store.h: a store of a few batches, the same bytes on every host and every day. */
#ifndef TEST_SMALL_STORE_H
#define TEST_SMALL_STORE_H

#include <stdint.h>

#include "dev_ram.h"
#include "format.h"

#define SMALL_SEGMENT_BYTES 65536u
#define SMALL_PAGE_BYTES 4096u
#define SMALL_SEGMENTS 6u
#define SMALL_STORE_BYTES (SMALL_SEGMENTS * SMALL_SEGMENT_BYTES)
#define SMALL_DISK_BYTES (1u << 20)
#define SMALL_BATCHES 8u

/*
 * The life of a disk of 1 MiB in eight batches, all in segment 2, written through the codecs alone
 * (the engine would draw its id and its generations at random and ask for the time): made; opened;
 * one write of a raw block, of three blocks that compress, and a discard; a checkpoint (leaves,
 * the top, the segment table, the root); closed. FORMAT.md shows it byte by byte.
 * `ret_bytes` has SMALL_STORE_BYTES.
 */
void small_store_make(uint8_t *ret_bytes);
/* What its disk holds: SMALL_DISK_BYTES. */
void small_store_disk(uint8_t *ret_bytes);
/* The headers' offsets in segment 2, in order. */
uint32_t small_store_batch(unsigned index);

/* A device in memory that holds `bytes` and could be grown to max_bytes. */
struct sv_dev *small_store_dev(const uint8_t *bytes, uint64_t len_bytes, uint64_t max_bytes);

#endif
