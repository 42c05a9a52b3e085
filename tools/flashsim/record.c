/* SPDX-License-Identifier: GPL-2.0-or-later */
/* record.c: the dm-log-writes format: a super sector, then entry sectors followed by their data. */
#include "record.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Sector 0: magic, version, number of entries (u64 each), sector size (u32); little-endian.
 * An entry: sector, sectors, flags, length of a mark's text (u64 each), filling a sector; then
 * the data. A mark's text lies in the entry's own sector.
 * The number of entries is written when the recording stops.
 */
#define SECTOR_BYTES 512
#define MAGIC UINT64_C(0x6a736677736872)
#define VERSION 1
#define ENTRY_BYTES 32

struct fsim_recording {
	FILE *file;
	uint64_t entries;
};

static void put_u64(uint8_t *to, uint64_t value)
{
	value = htole64(value);
	memcpy(to, &value, sizeof(value));
}

static int put_super(struct fsim_recording *rec)
{
	uint8_t sector[SECTOR_BYTES] = {0};
	uint32_t sector_bytes = htole32(SECTOR_BYTES);
	put_u64(sector, MAGIC);
	put_u64(sector + 8, VERSION);
	put_u64(sector + 16, rec->entries);
	memcpy(sector + 24, &sector_bytes, sizeof(sector_bytes));
	if (fseeko(rec->file, 0, SEEK_SET) < 0)
		return -errno;
	return fwrite(sector, sizeof(sector), 1, rec->file) == 1 ? 0 : -EIO;
}

int fsim_record_start(const char *path, struct fsim_recording **ret_rec)
{
	struct fsim_recording *rec = calloc(1, sizeof(*rec));
	if (rec == NULL)
		return -ENOMEM;
	rec->file = fopen(path, "wbe");
	int r = rec->file == NULL ? -errno : put_super(rec);
	if (r < 0) {
		if (rec->file != NULL)
			fclose(rec->file);
		free(rec);
		return r;
	}
	*ret_rec = rec;
	return 0;
}

static int put_entry(struct fsim_recording *rec, uint64_t sector, uint64_t sectors, uint64_t flags,
		     const char *mark)
{
	uint8_t entry[SECTOR_BYTES] = {0};
	size_t len = strlen(mark);
	if (len > sizeof(entry) - ENTRY_BYTES)
		return -ENAMETOOLONG;
	put_u64(entry, sector);
	put_u64(entry + 8, sectors);
	put_u64(entry + 16, flags);
	put_u64(entry + 24, len);
	memcpy(entry + ENTRY_BYTES, mark, len);
	if (fwrite(entry, sizeof(entry), 1, rec->file) != 1)
		return -EIO;
	rec->entries++;
	return 0;
}

int fsim_record_write(struct fsim_recording *rec, const void *buf, size_t len_bytes,
		      uint64_t off_bytes)
{
	assert(len_bytes % SECTOR_BYTES == 0 && off_bytes % SECTOR_BYTES == 0);
	int r = put_entry(rec, off_bytes / SECTOR_BYTES, len_bytes / SECTOR_BYTES, 0, "");
	if (r == 0 && fwrite(buf, len_bytes, 1, rec->file) != 1)
		r = -EIO;
	return r;
}

int fsim_record_flush(struct fsim_recording *rec)
{
	return put_entry(rec, 0, 0, FSIM_LOG_FLUSH, "");
}

int fsim_record_mark(struct fsim_recording *rec, const char *name)
{
	return put_entry(rec, 0, 0, FSIM_LOG_MARK, name);
}

int fsim_record_stop(struct fsim_recording *rec)
{
	if (rec == NULL)
		return 0;
	int r = put_super(rec);
	if (fclose(rec->file) != 0 && r == 0)
		r = -errno;
	free(rec);
	return r;
}
