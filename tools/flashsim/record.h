/* SPDX-License-Identifier: GPL-2.0-or-later */
/* record.h: every write and flush in a file of the dm-log-writes format. */
#ifndef FLASHSIM_RECORD_H
#define FLASHSIM_RECORD_H

#include <stddef.h>
#include <stdint.h>

/* Flags of an entry, as in the kernel's dm-log-writes. */
#define FSIM_LOG_FLUSH 1u
#define FSIM_LOG_FUA 2u
#define FSIM_LOG_DISCARD 4u
#define FSIM_LOG_MARK 8u

struct fsim_recording;

int fsim_record_start(const char *path, struct fsim_recording **ret_rec);
/* Each appends one entry: 0 or a negative errno. */
int fsim_record_write(struct fsim_recording *rec, const void *buf, size_t len_bytes,
		      uint64_t off_bytes);
int fsim_record_flush(struct fsim_recording *rec);
int fsim_record_mark(struct fsim_recording *rec, const char *name);
/* Completes the file. Takes NULL. */
int fsim_record_stop(struct fsim_recording *rec);

#endif
