/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_holder.h: who holds the lock on a disk. */
#ifndef LAUNCHER_LOCK_HOLDER_H
#define LAUNCHER_LOCK_HOLDER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Puts who has locked the place at `path` (a folder, or a raw device or file) into `text`:
 * "stickvm, pid 4711, user nobody". False where the kernel does not tell: the holder lives in
 * another PID namespace, or has the device in another way than by a lock (a mount).
 */
bool lock_holder(const char *path, char *text, size_t text_bytes);

#endif
