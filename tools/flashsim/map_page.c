/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map_page.c: class C: every page anywhere, greedy garbage collection. */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "mapping.h"

/*
 * Pages are appended to one open block. When the last free block is taken for that, the full
 * block with the fewest valid pages is the victim: they are appended too, and it is erased.
 * Under uniform random writes on a filled stick this comes to
 *	WA = a / (a + W0(-a e^-a)),	a = 1 + spare.
 * Both maps are allocated whole, but the kernel gives memory only to what is touched: a large
 * stick costs what is written on it.
 *
 * Invariants:
 *  M1  page_of[l] = p + 1 if and only if logical_of[p] = l + 1 and p is valid
 *  M2  valid[b] counts the valid pages of block b
 *  M3  a full block is in exactly one list, that of its valid count; no other block is in one
 *  M4  after a write there is a free block besides the open one
 */
struct page_map {
	struct fsim_map map;
	uint32_t block_pages;
	uint32_t *page_of;     /* logical page -> physical page + 1 */
	uint32_t *logical_of;  /* physical page -> logical page + 1 */
	uint32_t *valid;       /* of a block */
	uint32_t *next, *prev; /* lists of full blocks, by block + 1 */
	uint32_t *heads;       /* of the list for a valid count */
	bool *full;
	uint32_t open_block;
	uint32_t open_used; /* pages of it that are programmed */
};

static void list_add(struct page_map *pm, uint32_t block)
{
	uint32_t *head = &pm->heads[pm->valid[block]];
	pm->prev[block] = 0;
	pm->next[block] = *head;
	if (*head != 0)
		pm->prev[*head - 1] = block + 1;
	*head = block + 1;
}

static void list_remove(struct page_map *pm, uint32_t block)
{
	uint32_t next = pm->next[block], prev = pm->prev[block];
	if (next != 0)
		pm->prev[next - 1] = prev;
	if (prev != 0)
		pm->next[prev - 1] = next;
	else
		pm->heads[pm->valid[block]] = next;
}

static void invalidate(struct page_map *pm, uint32_t logical)
{
	if (pm->page_of[logical] == 0)
		return;
	uint32_t page = pm->page_of[logical] - 1;
	uint32_t block = page / pm->block_pages;

	assert(pm->logical_of[page] == logical + 1); /* M1 */
	if (pm->full[block])
		list_remove(pm, block);
	pm->logical_of[page] = 0;
	pm->valid[block]--;
	if (pm->full[block])
		list_add(pm, block); /* M3 */
}

static void append(struct page_map *pm, uint32_t logical)
{
	assert(pm->open_used < pm->block_pages);
	invalidate(pm, logical);
	uint32_t page = pm->open_block * pm->block_pages + pm->open_used++;
	pm->page_of[logical] = page + 1;
	pm->logical_of[page] = logical + 1;
	pm->valid[pm->open_block]++;
}

static uint32_t choose_victim(const struct page_map *pm)
{
	for (uint32_t count = 0; count < pm->block_pages; count++)
		if (pm->heads[count] != 0)
			return pm->heads[count] - 1;
	assert(false); /* there is spare: some full block holds an invalid page */
	return 0;
}

/* The open block is fresh when this is called, so a victim's pages always fit. */
static uint64_t collect_one(struct page_map *pm)
{
	struct fsim_flash *flash = &pm->map.flash;
	uint32_t victim = choose_victim(pm);
	uint32_t moved = pm->valid[victim];

	list_remove(pm, victim);
	pm->full[victim] = false;
	for (uint32_t i = 0; i < pm->block_pages; i++) {
		uint32_t logical = pm->logical_of[victim * pm->block_pages + i];
		if (logical != 0)
			append(pm, logical - 1);
	}
	assert(pm->valid[victim] == 0); /* M2 */
	fsim_flash_count_copy(flash, moved);
	fsim_flash_release(flash, victim);
	return fsim_flash_erase_ns(flash) +
	       fsim_flash_copy_ns(flash, (uint64_t)moved * flash->profile->page_bytes);
}

/* Blocks leave the factory erased: only collecting one costs E. */
static uint64_t open_next(struct page_map *pm)
{
	struct fsim_flash *flash = &pm->map.flash;

	pm->full[pm->open_block] = true;
	list_add(pm, pm->open_block);
	pm->open_block = fsim_flash_take(flash); /* M4 */
	pm->open_used = 0;
	return flash->free_count > 0 ? 0 : collect_one(pm);
}

static uint64_t put_page(struct page_map *pm, uint32_t logical)
{
	uint64_t ns = 0;
	while (pm->open_used == pm->block_pages)
		ns += open_next(pm);
	append(pm, logical);
	return ns;
}

static uint64_t page_map_write(struct fsim_map *map, uint64_t off_bytes, uint64_t len_bytes)
{
	struct page_map *pm = (struct page_map *)map;
	uint32_t page_bytes = map->flash.profile->page_bytes;
	uint64_t first = off_bytes / page_bytes;
	uint64_t last = (off_bytes + len_bytes - 1) / page_bytes;
	uint64_t ns = 0;

	/* What goes on in a page that is still buffered needs no page of its own. */
	if (map->flash.tail_open && map->flash.tail_off == off_bytes && off_bytes % page_bytes != 0)
		first++;
	fsim_flash_count_host(&map->flash, off_bytes, len_bytes);
	for (uint64_t logical = first; logical <= last; logical++)
		ns += put_page(pm, (uint32_t)logical);
	return ns;
}

static void page_map_fill(struct fsim_map *map)
{
	struct page_map *pm = (struct page_map *)map;
	uint64_t pages = map->flash.size_bytes / map->flash.profile->page_bytes;
	struct fsim_flash before = map->flash;

	for (uint64_t logical = 0; logical < pages; logical++)
		if (pm->page_of[logical] == 0)
			put_page(pm, (uint32_t)logical);
	map->flash.pages_programmed = before.pages_programmed;
	map->flash.pages_copied = before.pages_copied;
}

static void page_map_free(struct fsim_map *map)
{
	struct page_map *pm = (struct page_map *)map;
	fsim_flash_destroy(&map->flash);
	free(pm->page_of);
	free(pm->logical_of);
	free(pm->valid);
	free(pm->next);
	free(pm->prev);
	free(pm->heads);
	free(pm->full);
	free(pm);
}

static const struct fsim_map_ops page_map_ops = {
	.write = page_map_write,
	.fill = page_map_fill,
	.free = page_map_free,
};

static int allocate(struct page_map *pm, uint32_t logical_pages)
{
	uint32_t blocks = pm->map.flash.blocks;
	size_t pages = (size_t)blocks * pm->block_pages;

	pm->page_of = calloc(logical_pages, sizeof(*pm->page_of));
	pm->logical_of = calloc(pages, sizeof(*pm->logical_of));
	pm->valid = calloc(blocks, sizeof(*pm->valid));
	pm->next = calloc(blocks, sizeof(*pm->next));
	pm->prev = calloc(blocks, sizeof(*pm->prev));
	pm->heads = calloc(pm->block_pages + 1, sizeof(*pm->heads));
	pm->full = calloc(blocks, sizeof(*pm->full));
	return pm->page_of && pm->logical_of && pm->valid && pm->next && pm->prev && pm->heads &&
			       pm->full
		       ? 0
		       : -ENOMEM;
}

/* Nothing is mapped at first: every block is free, not only those beyond the size. */
static void free_all_blocks(struct fsim_flash *flash)
{
	flash->free_count = 0;
	for (uint32_t id = flash->blocks; id-- > 0;)
		flash->free_ids[flash->free_count++] = id;
}

int fsim_page_map_new(const struct fsim_profile *profile, uint64_t size_bytes, uint64_t seed,
		      struct fsim_map **ret_map)
{
	uint64_t pages = size_bytes / profile->page_bytes;
	if (pages > UINT32_MAX / 2)
		return -EFBIG;
	struct page_map *pm = calloc(1, sizeof(*pm));
	if (pm == NULL)
		return -ENOMEM;
	pm->map.ops = &page_map_ops;
	/* Two more than the spare: the open block, and the free one of M4. */
	double spare = (double)(size_bytes / profile->erase_bytes) * profile->spare;
	int r = fsim_flash_init(&pm->map.flash, profile, size_bytes, (uint32_t)ceil(spare) + 2,
				seed);
	if (r < 0) {
		free(pm);
		return r;
	}
	pm->block_pages = profile->erase_bytes / profile->page_bytes;
	r = allocate(pm, (uint32_t)pages);
	if (r < 0) {
		page_map_free(&pm->map);
		return r;
	}
	free_all_blocks(&pm->map.flash);
	pm->open_block = fsim_flash_take(&pm->map.flash);
	*ret_map = &pm->map;
	return 0;
}
