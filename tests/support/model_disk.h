/* SPDX-License-Identifier: GPL-2.0-or-later */
/* model_disk.h: every state that a disk has had, to tell which one a recovery brought back. */
#ifndef TEST_MODEL_DISK_H
#define TEST_MODEL_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "image.h"

/*
 * State 0 is the disk at the beginning. A write adds a state for each 4 KiB block that it touches,
 * in ascending order: a disk's writes are not atomic beyond that, and a long one may be cut in
 * two; so it is with the ragged ends of a discard, whose whole blocks are one state. The floor is
 * the newest state that was promised to survive. Copies share what is equal, and each state has a
 * print (a hash of the whole disk that is cheap to carry on), so that thousands of states cost
 * little.
 */
struct model_disk {
	uint64_t size_bytes;
	struct image *states;
	uint64_t *prints;
	size_t count, capacity; /* the current state is count - 1 */
	size_t floor;
};

void model_init(struct model_disk *model, uint64_t size_bytes);
void model_free(struct model_disk *model);
/* A new model whose only state is one of another's. */
void model_fork(const struct model_disk *from, size_t state, struct model_disk *ret_model);
void model_write(struct model_disk *model, const void *buf, uint64_t len_bytes, uint64_t off_bytes);
void model_discard(struct model_disk *model, uint64_t len_bytes, uint64_t off_bytes);
/* Everything so far was promised. */
void model_flushed(struct model_disk *model);
/* Everything up to `state` was. */
void model_flushed_to(struct model_disk *model, size_t state);
/* Forgets the states behind one: what was asked for was refused. */
void model_truncate(struct model_disk *model, size_t state);
/* The newest state from `from` on that holds these bytes there. */
bool model_find_range(const struct model_disk *model, const void *buf, uint64_t len_bytes,
		      uint64_t off_bytes, size_t from, size_t *ret_state);
/* Whether a block of a whole disk is as that state has it. */
bool model_block_is(const struct model_disk *model, size_t state, const void *disk, uint64_t block);
/* Goes back to an earlier state as a new one, which is the floor. */
void model_return_to(struct model_disk *model, size_t state);
void model_read(const struct model_disk *model, void *buf, uint64_t len_bytes, uint64_t off_bytes);

uint64_t model_print_of(const void *disk, uint64_t size_bytes);
/* The newest state in [from, to] that is exactly this disk. */
bool model_find(const struct model_disk *model, const void *disk, size_t from, size_t to,
		size_t *ret_state);
/* Says how a disk differs from the nearest state in [from, to], and which states its sectors
 * are of: what a failure's report needs. */
void model_explain(const struct model_disk *model, const void *disk, size_t from, size_t to,
		   FILE *out);

#endif
