/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check_parts.c: where on a disk file systems may lie: MBR with logical partitions, and GPT. */
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { SECTOR_BYTES = 512, MBR_ENTRIES = 446, LOGICAL_MOST = 60, GPT_BYTES_MOST = 64 * 1024 };

struct reader {
	check_read *read;
	void *ctx;
	uint64_t disk_bytes;
	struct check_part *parts;
	unsigned count;
};

static uint64_t le(const uint8_t *bytes, unsigned count)
{
	uint64_t value = 0;

	while (count-- > 0)
		value = value << 8 | bytes[count];
	return value;
}

static bool read_at(const struct reader *r, uint8_t *buf, size_t len, uint64_t off)
{
	return off <= r->disk_bytes && len <= r->disk_bytes - off &&
	       r->read(r->ctx, buf, len, off) == 0;
}

static void add(struct reader *r, unsigned number, uint64_t first_sector, uint64_t sectors)
{
	uint64_t all = r->disk_bytes / SECTOR_BYTES;

	if (r->count == CHECK_MOST_PARTS || !sectors || first_sector >= all)
		return;
	if (sectors > all - first_sector)
		sectors = all - first_sector;
	r->parts[r->count++] =
		(struct check_part){number, first_sector * SECTOR_BYTES, sectors * SECTOR_BYTES};
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

/* Each logical partition has a table of its own, which names the next one. */
static void add_logical(struct reader *r, uint64_t base)
{
	uint64_t at = base;

	for (unsigned i = 0; i < LOGICAL_MOST; i++) {
		uint8_t table[SECTOR_BYTES];
		const uint8_t *e = table + MBR_ENTRIES;

		if (!read_at(r, table, sizeof table, at * SECTOR_BYTES) || table[510] != 0x55 ||
		    table[511] != 0xaa)
			return;
		add(r, 5 + i, at + le(e + 8, 4), le(e + 12, 4));
		if (!is_extended(e[16 + 4]))
			return;
		at = base + le(e + 16 + 8, 4);
	}
}

static bool add_gpt(struct reader *r, uint64_t header_sector)
{
	uint8_t header[SECTOR_BYTES], *entries;
	uint64_t first, count, size;
	bool good;

	if (!read_at(r, header, sizeof header, header_sector * SECTOR_BYTES) ||
	    memcmp(header, "EFI PART", 8) != 0)
		return false;
	first = le(header + 72, 8);
	count = le(header + 80, 4);
	size = le(header + 84, 4);
	if (size < 128 || size > 4096 || !count || count > GPT_BYTES_MOST / size ||
	    first > r->disk_bytes / SECTOR_BYTES)
		return false;
	entries = calloc(1, GPT_BYTES_MOST);
	good = entries &&
	       read_at(r, entries, (count * size + 511) / 512 * 512, first * SECTOR_BYTES);
	for (uint64_t i = 0; good && i < count; i++) {
		const uint8_t *e = entries + i * size;
		uint64_t from = le(e + 32, 8), to = le(e + 40, 8);

		if (le(e, 8) | le(e + 8, 8) && to >= from)
			add(r, (unsigned)i + 1, from, to - from + 1);
	}
	free(entries);
	return good;
}

unsigned check_parts(check_read *read, void *ctx, uint64_t disk_bytes,
		     struct check_part ret_parts[CHECK_MOST_PARTS])
{
	struct reader r = {read, ctx, disk_bytes, ret_parts, 0};
	uint8_t mbr[SECTOR_BYTES];
	bool have = read_at(&r, mbr, sizeof mbr, 0) && mbr[510] == 0x55 && mbr[511] == 0xaa;

	/* A GPT has a copy at the end; either may be what is damaged. */
	if (add_gpt(&r, 1) || add_gpt(&r, disk_bytes / SECTOR_BYTES - 1))
		return r.count;
	for (unsigned i = 0; have && i < 4; i++) {
		const uint8_t *e = mbr + MBR_ENTRIES + (size_t)16 * i;

		if (is_extended(e[4]))
			add_logical(&r, le(e + 8, 4));
		else if (e[4] != 0)
			add(&r, i + 1, le(e + 8, 4), le(e + 12, 4));
	}
	if (r.count == 0)
		add(&r, 0, 0, disk_bytes / SECTOR_BYTES);
	return r.count;
}

unsigned check_ext_block_bytes(check_read *read, void *ctx, uint64_t off_bytes)
{
	uint8_t super[1024];

	if (read(ctx, super, sizeof super, off_bytes + 1024) != 0 || super[56] != 0x53 ||
	    super[57] != 0xef || le(super + 24, 4) > 6)
		return 0;
	return 1024u << le(super + 24, 4);
}
