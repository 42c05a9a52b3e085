/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_files.c: fuzz target: what lies in the host cache's folder, under the right key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "cache_impl.h"
#include "file.h"
#include "fuzz.h"
#include "prng.h"

/*
 * An input makes up to four files, and says what happens then:
 *
 *   files (1)  of each: number (1) queue (1) KiB (1) units (1) lines (1)
 *                       units: which (1) offset / 16 (2)
 *                       lines: which (1) offset / 16 (2) bytes (2); of unit 255: 12 bytes as is
 *                       end: as is (1): 0, or `at` (8) and the number of lines (4)
 *                       patches (1): offset (2) length (1) bytes
 *   then steps (1 each): read or offer a unit
 *
 * Units and tables are sealed with the key of their file, so that what is tried is what the code
 * believes of values. A unit that is read must be what it always was, no read may go past a file's
 * end, and a table's size is the file's to bound.
 */
#define FILES 4u
#define FILE_MOST (256u << 10)
#define UNITS 64u

static const uint8_t store_key[32] = {1, 2, 3}, store_id[16] = {7};

/* ---- units ---- */

static struct sv_host_key key_of(unsigned which)
{
	const unsigned n = which % UNITS;

	return (struct sv_host_key){.place = UINT64_C(65536) * n,
				    .generation = 1000 + n,
				    .lineage = n % 3,
				    .len_bytes = n % 8 ? 16 * n : 60000 + 16 * n};
}

static void unit_of(unsigned which, uint8_t *ret_unit)
{
	struct prng rng = {.state = which % UNITS + 1};

	prng_fill(&rng, ret_unit, key_of(which).len_bytes);
}

static uint64_t hash_of(unsigned which)
{
	struct sv_host_key key = key_of(which);

	return sv_host_hash(&key);
}

/* ---- files ---- */

struct made {
	uint8_t bytes[FILE_MOST + 4096];
	size_t used;
	struct sv_cipher cipher;
};

static void make_head(struct made *m, uint64_t number, uint8_t queue)
{
	struct sv_cur c = sv_cur_over(m->bytes, SV_CIPHER_HEAD_BYTES);
	struct sv_cipher_head head;

	memset(m->bytes, 0, sizeof(m->bytes));
	sv_put_bytes(&c, "svCACHE1", 8);
	sv_put8(&c, SV_SUITE_CHACHA20_POLY1305);
	sv_put8(&c, queue);
	sv_put_le(&c, 0, 6);
	sv_put64(&c, number);
	fuzz_must(sv_cipher_of(store_key, store_id, m->bytes, &head, &m->cipher) == 0);
}

/* Sealed where it lies; false: there is no room for it before `end`. */
static void put_unit(struct made *m, unsigned which, size_t at, size_t end)
{
	struct sv_host_key key = key_of(which);
	size_t item = sv_item_bytes(key.len_bytes);

	if (at < SV_CIPHER_HEAD_BYTES || at + item > end)
		return;
	memset(m->bytes + at, 0, item);
	sv_item_head_put(&key, m->bytes + at);
	unit_of(which, m->bytes + at + SV_ITEM_HEAD_BYTES);
	sv_cipher_seal(&m->cipher, SV_SEALED_UNIT, at, m->bytes + at, item - SV_CIPHER_TAG_BYTES,
		       m->bytes + at);
}

static void put_line(struct sv_cur *c, struct fuzz_in *in)
{
	uint8_t which = fuzz_u8(in);

	if (which == 255) {
		uint8_t raw[SV_CHUNK_LINE_BYTES - 4] = {0};
		size_t len;
		const uint8_t *bytes = fuzz_bytes(in, sizeof(raw), &len);

		if (len > 0)
			memcpy(raw, bytes, len);
		sv_put_bytes(c, raw, 8);
		sv_put32(c, (uint32_t)raw[8] << 8);
		sv_put32(c, raw[9] | (uint32_t)raw[10] << 8 | (uint32_t)raw[11] << 24);
		return;
	}
	sv_put64(c, hash_of(which));
	sv_put32(c, 16u * fuzz_u16(in));
	sv_put32(c, fuzz_u16(in));
}

static void put_table(struct made *m, struct fuzz_in *in, unsigned lines)
{
	size_t len = (size_t)lines * SV_CHUNK_LINE_BYTES;
	struct sv_cur c =
		sv_cur_over(m->bytes + m->used, len + SV_CIPHER_TAG_BYTES + SV_CHUNK_TRAILER_BYTES);
	uint64_t at = m->used;

	for (unsigned i = 0; i < lines; i++)
		put_line(&c, in);
	sv_cipher_seal(&m->cipher, SV_SEALED_TABLE, at, m->bytes + at, len, m->bytes + at);
	c.off = len + SV_CIPHER_TAG_BYTES;
	if (fuzz_u8(in)) {
		at = fuzz_u16(in) | (uint64_t)fuzz_u16(in) << 16;
		at |= (uint64_t)fuzz_u16(in) << 32 | (uint64_t)fuzz_u16(in) << 48;
		lines = fuzz_u16(in) | (uint32_t)fuzz_u16(in) << 16;
	}
	sv_put64(&c, at);
	sv_put32(&c, lines);
	sv_put32(&c, SV_CHUNK_TRAILER_MAGIC);
	m->used += c.off;
}

static void make_file(struct fuzz_in *in, const char *folder)
{
	static struct made m;
	uint8_t number = fuzz_u8(in), units, lines, patches;
	char *path = file_path("%s/%016x.cache", folder, number);

	make_head(&m, number, fuzz_u8(in));
	m.used = SV_CIPHER_HEAD_BYTES + 1024u * fuzz_u8(in);
	units = fuzz_u8(in) % 16;
	lines = fuzz_u8(in) % 128;
	for (unsigned i = 0; i < units; i++) {
		uint8_t which = fuzz_u8(in);

		put_unit(&m, which, 16u * fuzz_u16(in), m.used);
	}
	put_table(&m, in, lines);
	patches = fuzz_u8(in) % 8;
	for (unsigned i = 0; i < patches; i++) {
		size_t off = fuzz_u16(in), len;
		const uint8_t *bytes = fuzz_bytes(in, fuzz_u8(in) % 17, &len);

		off = off & 0x8000 ? m.used - (off & 0x7fff) % m.used : off % m.used;
		if (len > 0 && off + len <= m.used)
			memcpy(m.bytes + off, bytes, len);
	}
	fuzz_must(path != NULL);
	fuzz_put_file(path, m.bytes, m.used);
	free(path);
}

/* ---- the host's file system, watched ---- */

static int watched_read(void *ctx, int fd, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	struct stat st;

	fuzz_must(fstat(fd, &st) == 0);
	fuzz_must(off_bytes <= (uint64_t)st.st_size);
	fuzz_must(len_bytes <= (uint64_t)st.st_size - off_bytes);
	return sv_cache_fs_host.read(ctx, fd, buf, len_bytes, off_bytes);
}

static struct sv_host_cache *open_cache(void)
{
	static struct sv_cache_fs fs;
	const struct sv_host_params params = {.dir = fuzz_folder(),
					      .key = store_key,
					      .store_id = store_id,
					      .bytes = SV_HOST_LEAST_BYTES,
					      .manual = true,
					      .fs = &fs};
	struct sv_host_cache *c = NULL;

	fs = sv_cache_fs_host;
	fs.read = watched_read;
	fuzz_must(sv_host_open(&params, &c) == 0);
	return c;
}

static void read_unit(struct sv_host_cache *c, unsigned which)
{
	static uint8_t buf[65536 + SV_HOST_EXTRA_BYTES], unit[65536];
	struct sv_host_key key = key_of(which);
	uint8_t *got;

	if (!sv_host_read(c, &key, buf, &got))
		return;
	unit_of(which, unit);
	fuzz_must(memcmp(got, unit, key.len_bytes) == 0);
}

static void offer_unit(struct sv_host_cache *c, unsigned which)
{
	static uint8_t unit[65536];
	struct sv_host_key key = key_of(which);

	unit_of(which, unit);
	sv_host_offer(c, &key, unit);
}

static void use(struct sv_host_cache *c, struct fuzz_in *in)
{
	struct sv_host_stats stats;

	for (unsigned i = 0; i < 64 && in->left > 0; i++) {
		uint8_t step = fuzz_u8(in);

		if (step & 128)
			offer_unit(c, step);
		else
			read_unit(c, step);
	}
	sv_host_stats(c, &stats);
	fuzz_must(stats.bytes <= SV_HOST_LEAST_BYTES + (uint64_t)FILES * sizeof(struct made));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	char name[17], *folder;
	struct sv_host_cache *c;

	fuzz_must(sv_cipher_name(store_key, store_id, name) == 0);
	folder = file_path("%s/%s", fuzz_folder(), name);
	fuzz_must(folder != NULL && file_remove_tree(folder) == 0 && mkdir(folder, 0700) == 0);
	for (unsigned files = fuzz_u8(&in) % (FILES + 1); files > 0; files--)
		make_file(&in, folder);
	c = open_cache();
	for (unsigned i = 0; i < UNITS; i += 3)
		read_unit(c, i);
	use(c, &in);
	sv_host_close(c);
	c = open_cache();
	for (unsigned i = 0; i < UNITS; i++)
		read_unit(c, i);
	sv_host_close(c);
	free(folder);
	return 0;
}
