/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuse_queue.h: requests for the stick, carried out one after another in the order they came. */
#ifndef FLASHSIM_FUSE_QUEUE_H
#define FLASHSIM_FUSE_QUEUE_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include "stick.h"

/*
 * One thread reads requests from the kernel, another one is the stick's. So the control file and
 * the counters can be reached while the stick is busy, and writes keep their order: a stick that
 * gets them swapped merges for nothing, and a real one does not get them swapped.
 */
struct fsim_queue;

int fsim_queue_start(struct fsim_stick *stick, struct fsim_queue **ret_queue);
/* Carries out what is queued, and frees. Takes NULL. */
void fsim_queue_stop(struct fsim_queue *queue);

/*
 * Answers `req` once it has been carried out. The bytes of a write must stay until then: `taken`
 * (may be NULL) is freed afterwards. `size` is what a write answers. On failure (-ENOMEM) nothing
 * was answered and `taken` is still the caller's.
 */
int fsim_queue_add(struct fsim_queue *queue, fuse_req_t req, const struct fsim_request *request,
		   void *taken);

#endif
