/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_cache.h: where and how large a VM's cache on this host is, and its key on the stick. */
#ifndef LAUNCHER_VM_CACHE_H
#define LAUNCHER_VM_CACHE_H

#include "err.h"
#include "stick.h"
#include "stickvm/store.h"
#include "vm.h"

#define VM_CACHE_NO_WISH "--cache cannot be '%.64s'; it is auto, off, or a size from 8M to 128G"

/* What sv_open_options point to; for as long as the store is being opened. */
struct vm_cache {
	char *dir;
	uint8_t key[SV_CACHE_KEY_BYTES];
};

/*
 * Fills the cache's part of `opts`. `wish`: as the setting `cache`, NULL: what the VM has. No cache
 * where there is no place for one, or no key and the stick may not be written (read_only): that is
 * no error. -1: `wish` is none, or the key on the stick cannot be read or made.
 */
int vm_cache_options(const struct stick *stick, const struct vm *vm, const char *wish,
		     bool read_only, struct vm_cache *ret_cache, struct sv_open_options *opts,
		     struct err *err);
/* Takes an emptied struct as well. */
void vm_cache_free(struct vm_cache *cache);

/* Where caches lie on this host, whether that is there already or not; `dir` is the caller's. */
struct vm_cache_room {
	char *dir;
	uint64_t free_bytes, size_bytes; /* of its file system */
	bool on_stick;			 /* which is the stick's */
};

/* False where this host has no place, or the stick cannot be looked at. */
bool vm_cache_room(const char *stick_dir, struct vm_cache_room *ret_room);

/* The size of a cache that `wish` (as the setting) comes to; *ret_auto: it was chosen here. 0:
 * none. `auto` takes a quarter of what is free, at most 8 GiB, and no more than the host has memory
 * (the index takes a sixty-fourth in memory); none where that is too little to be worth it, or on
 * the stick itself. -EINVAL: it is no wish. */
int vm_cache_choose(const char *wish, uint64_t free_bytes, uint64_t memory_bytes, bool on_stick,
		    bool *ret_auto, uint64_t *ret_bytes);

#endif
