/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map.h: logical block -> place in the log: a tree of small pages, bounded in memory. */
#ifndef STORAGE_MAP_H
#define STORAGE_MAP_H

#include "format.h"
#include "segs.h"

/* A page that must be read from the device before the call can go on: read it without the lock,
 * give it to sv_map_loaded, and call again. */
struct sv_need {
	unsigned level;
	uint64_t index;
	uint64_t entry;
};

struct sv_page {
	uint64_t index;
	uint64_t where; /* entry of its newest copy on the device; 0: none yet */
	uint32_t hash_next;
	uint8_t level;
	bool used : 1, dirty : 1, recent : 1;
	bool ahead : 1; /* came in beside another, and was not asked for yet */
	uint64_t e[SV_PAGE_ENTRIES];
};

/* Guarded by the store's lock; no function here does I/O. */
struct sv_map {
	struct sv_page *pool;
	uint32_t pool_pages;
	uint32_t fresh; /* pages of the pool never used so far */
	uint32_t free_head;
	uint32_t hand; /* of the clock that evicts clean pages */
	uint32_t *buckets;
	uint32_t bucket_mask;
	uint32_t dirty_pages;
	uint32_t ahead_loaded, ahead_used; /* of the last few thousand pages that came in beside */
	unsigned levels;
	uint64_t blocks; /* of the disk */
	uint64_t mapped; /* blocks that have an entry */
	uint64_t top;	 /* entry of the top page on the device */
};

/* `ram_bytes` bounds the pages in memory, at least 64 of them. -ENOMEM. */
int sv_map_init(struct sv_map *map, uint64_t blocks, uint64_t ram_bytes);
void sv_map_free(struct sv_map *map);

/* Another bound, with all dirty pages kept; pages move. -ENOMEM; -ENOBUFS: they are too many. */
int sv_map_resize(struct sv_map *map, uint64_t ram_bytes);

/*
 * All of these: 0, -EAGAIN with *need filled (nothing changed), or -ENOBUFS: every page in memory
 * is dirty and a checkpoint must come first.
 */
/* The page, borrowed until the next call; NULL where the range is a hole and not `create`. */
int sv_map_page(struct sv_map *map, unsigned level, uint64_t index, bool create,
		struct sv_page **ret_page, struct sv_need *need);
int sv_map_get(struct sv_map *map, uint64_t lba, uint64_t *ret_entry, struct sv_need *need);
/* Maps a block as of batch `seq` and keeps the live bytes of both segments right (G1). */
int sv_map_set(struct sv_map *map, struct sv_segs *segs, uint64_t lba, uint64_t entry, uint64_t seq,
	       struct sv_need *need);
/* Unmaps [lba, end) from the front; *ret_lba says how far it got (end when 0 is returned). */
int sv_map_clear(struct sv_map *map, struct sv_segs *segs, uint64_t lba, uint64_t end, uint64_t seq,
		 uint64_t *ret_lba, struct sv_need *need);
/* The first block at or after lba whose leaf exists; map->blocks if there is none. */
int sv_map_next(struct sv_map *map, uint64_t lba, uint64_t *ret_lba, struct sv_need *need);

/* Puts a page that was read into memory, unless it came in otherwise or moved meanwhile. */
int sv_map_loaded(struct sv_map *map, const struct sv_need *need, const uint64_t *entries);
/* The page, loaded just now, was not asked for: it came in beside one that was. */
void sv_map_beside(struct sv_map *map, unsigned level, uint64_t index);
/* Whether such pages were asked for later often enough: reading 32 KiB of them costs what a random
 * read costs on a fast stick, four of those on a slow one; one that is used saves one such read. */
bool sv_map_ahead_pays(const struct sv_map *map);
/* The same for a page that is damaged: what lay under it is lost, but for pages in memory. */
int sv_map_lose(struct sv_map *map, const struct sv_need *need);
/* A clean or dirty page in memory, or NULL; no side effect. */
struct sv_page *sv_map_peek(const struct sv_map *map, unsigned level, uint64_t index);
void sv_map_mark(struct sv_map *map, struct sv_page *page);
/* A dirty page was written to `entry`: its parent learns it. The parent must be in memory
 * (sv_map_page with create). `seq`: of the batch that holds it. Entry 0 takes an empty page out
 * of the tree and frees it. */
void sv_map_written(struct sv_map *map, struct sv_segs *segs, struct sv_page *page, uint64_t entry,
		    uint64_t seq);
/* Adds what the units of a leaf take beyond their live blocks (segs.h: slack). */
void sv_leaf_slack(const struct sv_page *leaf, struct sv_segs *segs);
bool sv_page_is_zero(const struct sv_page *page);
static inline unsigned sv_map_top_level(const struct sv_map *map)
{
	return map->levels - 1;
}

#endif
