/* SPDX-License-Identifier: GPL-2.0-or-later */
/* crash_log.h: what a simulated medium was told, and what a power cut makes of it. */
#ifndef TEST_CRASH_LOG_H
#define TEST_CRASH_LOG_H

#include "dev_crash.h"
#include "image.h"
#include "prng.h"

enum crash_event { CRASH_WRITE, CRASH_DISCARD, CRASH_FLUSH, CRASH_GROW };

/* A discard carries what its range holds afterwards; without data it changed nothing. */
struct crash_record {
	enum crash_event event;
	uint64_t off_bytes; /* of a grow: the new size */
	size_t len_bytes;
	uint8_t *data; /* owned */
};

struct crash_log {
	struct crash_record *records;
	size_t count;
	size_t capacity;
};

/* Where recovery from a cut after records [0, end) may differ from what was written. */
struct crash_window {
	size_t settled; /* records before this one survive every cut */
	size_t flushed; /* records before this one were flushed (lost only by a liar) */
	size_t end;
};

void crash_log_add(struct crash_log *log, enum crash_event event, const void *data,
		   size_t len_bytes, uint64_t off_bytes);
void crash_log_drop_front(struct crash_log *log, size_t count);
void crash_log_free(struct crash_log *log);

void crash_log_window(const struct crash_log *log, size_t end, uint64_t liar_bytes,
		      struct crash_window *ret_window);
void crash_record_apply(const struct crash_record *record, struct image *image);

/* Lets the power fail: `image` holds the settled records, and holds what is left afterwards. */
void crash_log_cut(const struct crash_log *log, const struct crash_window *window,
		   const struct dev_crash_cut *cut, uint32_t erase_bytes, struct image *image,
		   struct dev_crash_report *ret_report);

#endif
