/* SPDX-License-Identifier: GPL-2.0-or-later */
/* big.c: a huge, sparse disk: how long it takes to open, and how much memory; also after a crash.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dev_flashsim.h"
#include "fsim_random.h"
#include "stickvm/store.h"

/*
 *	bench-big [PROFILE [DISK_GIB [DATA_MIB]]]
 *
 * DATA_MIB of random 4 KiB blocks are written over a disk of DISK_GIB, a flush every 4,096. That is
 * more than memory holds, so the device is a thin one: a block's bytes follow from its address (and
 * cannot be compressed), and where a write holds them, only the address is kept. All else (heads,
 * records, pages of the map) is kept as it is. The engine knows nothing of it.
 *
 * Then, each in a process of its own, with the stick's time counted on its virtual clock:
 *	open	after a close; then 20,000 random reads and 64 MiB of random writes with flushes,
 *with the default options and threads: memory is what the process grew by
 *	crash	a session that wrote some more and ended without a close, and the opening after it
 * Prints a JSON object each.
 */
#define BLOCK_BYTES 4096u
#define CHUNK_BYTES                                                                                \
	(UINT64_C(4) << 20) /* writes do not cross such borders but where they are long */
#define MAGIC UINT64_C(0x7468696e64657631)
#define WARM_READS 20000u
#define WARM_WRITES 16384u

struct piece {
	uint64_t off;
	uint32_t len, left_out; /* of its blocks */
	uint32_t *at;		/* where they began */
	uint64_t *lba;
	uint8_t *rest;
};

struct chunk {
	struct piece *v;
	uint32_t count, room;
};

struct thin {
	struct sv_dev dev;
	uint64_t size_bytes;
	struct chunk *chunk;
	struct fsim_stick *stick; /* NULL: takes no time */
	uint64_t handle;
};

static void block_of(uint64_t lba, uint8_t *buf)
{
	uint64_t random = lba * UINT64_C(0x9e3779b97f4a7c15) + 1, head[2] = {MAGIC, lba};

	memcpy(buf, head, sizeof(head));
	for (size_t at = sizeof(head); at < BLOCK_BYTES; at += sizeof(uint64_t)) {
		uint64_t value = fsim_random(&random);

		memcpy(buf + at, &value, sizeof(value));
	}
}

static bool is_block(const uint8_t *at, const uint8_t *end, uint64_t *ret_lba)
{
	uint8_t block[BLOCK_BYTES];
	uint64_t head[2];

	memcpy(head, at, sizeof(head));
	if (head[0] != MAGIC || end - at < (ptrdiff_t)BLOCK_BYTES)
		return false;
	block_of(head[1], block);
	*ret_lba = head[1];
	return memcmp(at, block, BLOCK_BYTES) == 0;
}

static void drop_piece(struct piece *p)
{
	free(p->at);
	free(p->lba);
	free(p->rest);
}

/* A segment is written front to back: what lies behind a write that begins earlier is old. */
static int keep(struct chunk *c, const uint8_t *buf, uint32_t len, uint64_t off)
{
	struct piece p = {.off = off, .len = len};
	uint32_t most = len / BLOCK_BYTES, n = 0;

	while (c->count && c->v[c->count - 1].off >= off)
		drop_piece(&c->v[--c->count]);
	if (c->count == c->room) {
		uint32_t room = c->room ? 2 * c->room : 4;
		struct piece *v = realloc(c->v, room * sizeof(*v));

		if (!v)
			return -ENOMEM;
		c->v = v;
		c->room = room;
	}
	p.at = malloc(most * sizeof(*p.at) + 1);
	p.lba = malloc(most * sizeof(*p.lba) + 1);
	p.rest = malloc(len);
	if (!p.at || !p.lba || !p.rest) {
		drop_piece(&p);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < len;) {
		if (len - i >= BLOCK_BYTES && is_block(buf + i, buf + len, &p.lba[p.left_out])) {
			p.at[p.left_out++] = i;
			i += BLOCK_BYTES;
		} else {
			memcpy(p.rest + n, buf + i, 16);
			i += 16;
			n += 16;
		}
	}
	p.rest = realloc(p.rest, n + 1);
	p.at = realloc(p.at, p.left_out * sizeof(*p.at) + 1);
	p.lba = realloc(p.lba, p.left_out * sizeof(*p.lba) + 1);
	c->v[c->count++] = p;
	return 0;
}

/* Bytes [from, to) of a piece. */
static void give(const struct piece *p, uint8_t *dst, uint32_t from, uint32_t to)
{
	uint32_t lo = 0, hi = p->left_out;

	while (lo < hi) { /* the first block that ends behind `from` */
		uint32_t mid = (lo + hi) / 2;

		if (p->at[mid] + BLOCK_BYTES > from)
			hi = mid;
		else
			lo = mid + 1;
	}
	while (from < to) {
		uint32_t next = lo < p->left_out ? p->at[lo] : p->len, n;

		if (from < next) {
			n = (next < to ? next : to) - from;
			memcpy(dst, p->rest + from - lo * BLOCK_BYTES, n);
		} else {
			uint8_t block[BLOCK_BYTES];
			uint32_t end = next + BLOCK_BYTES;

			n = (end < to ? end : to) - from;
			block_of(p->lba[lo++], block);
			memcpy(dst, block + (from - next), n);
		}
		dst += n;
		from += n;
	}
}

static struct thin *self(struct sv_dev *dev)
{
	return (struct thin *)dev;
}

/* What it costs on the stick; the bytes do not go there. */
static int spend(struct thin *t, enum fsim_op op, const void *from, size_t len, uint64_t off)
{
	return !t->stick ? 0
			 : fsim_stick_do(t->stick, &(struct fsim_request){.op = op,
									  .handle = t->handle,
									  .from = from,
									  .len_bytes = len,
									  .off_bytes = off});
}

static int thin_read(struct sv_dev *dev, void *buf, size_t len, uint64_t off)
{
	struct thin *t = self(dev);
	uint64_t end = off + len;

	memset(buf, 0, len);
	for (uint64_t c = off / CHUNK_BYTES; c <= (end - 1) / CHUNK_BYTES; c++)
		for (uint32_t i = 0; i < t->chunk[c].count; i++) {
			const struct piece *p = &t->chunk[c].v[i];
			uint64_t from = p->off > off ? p->off : off;
			uint64_t to = p->off + p->len < end ? p->off + p->len : end;

			if (from < to)
				give(p, (uint8_t *)buf + (from - off), (uint32_t)(from - p->off),
				     (uint32_t)(to - p->off));
		}
	return spend(t, FSIM_READ, NULL, len, off);
}

static int thin_write(struct sv_dev *dev, const void *buf, size_t len, uint64_t off)
{
	struct thin *t = self(dev);
	const uint8_t *src = buf;
	int r = spend(t, FSIM_WRITE, buf, len, off);

	while (r == 0 && len > 0) {
		uint64_t room = CHUNK_BYTES - off % CHUNK_BYTES;
		uint32_t n = (uint32_t)(len < room ? len : room);

		r = keep(&t->chunk[off / CHUNK_BYTES], src, n, off);
		src += n;
		off += n;
		len -= n;
	}
	return r;
}

static int thin_flush(struct sv_dev *dev)
{
	return spend(self(dev), FSIM_FLUSH, NULL, 0, 0);
}

static int thin_discard(struct sv_dev *dev, uint64_t off, uint64_t len)
{
	(void)dev, (void)off, (void)len;
	return 0;
}

static int thin_grow(struct sv_dev *dev, uint64_t size)
{
	return size > self(dev)->size_bytes ? -ENOSPC : 0;
}

static int thin_geometry(struct sv_dev *dev, struct sv_geometry *ret_geometry)
{
	*ret_geometry = (struct sv_geometry){.size_bytes = self(dev)->size_bytes,
					     .max_bytes = self(dev)->size_bytes,
					     .sector_bytes = 512,
					     .page_bytes = 16384,
					     .erase_bytes = 16u << 20,
					     .alignment_known = true};
	return 0;
}

/* The store's handle goes, the bytes stay. */
static void thin_close(struct sv_dev *dev)
{
	(void)dev;
}

static const struct sv_dev_ops thin_ops = {
	.read = thin_read,
	.write = thin_write,
	.flush = thin_flush,
	.discard = thin_discard,
	.grow = thin_grow,
	.geometry = thin_geometry,
	.close = thin_close,
};

struct bench {
	const struct fsim_profile *profile;
	uint64_t disk_bytes, data_bytes;
	struct thin dev;
	uint64_t random;
};

static uint64_t resident_bytes(void)
{
	uint64_t size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (!f || fscanf(f, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
		resident = 0;
	if (f)
		fclose(f);
	return resident * 4096;
}

static int write_blocks(struct bench *b, struct sv_store *s, uint64_t count)
{
	uint8_t block[BLOCK_BYTES];
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < count; i++) {
		uint64_t lba = fsim_random_below(&b->random, b->disk_bytes / BLOCK_BYTES);

		block_of(lba, block);
		r = sv_store_write(s, block, sizeof(block), lba * BLOCK_BYTES);
		if (r == 0 && i % 4096 == 4095)
			r = sv_store_flush(s);
	}
	return r == 0 ? sv_store_flush(s) : r;
}

static int read_blocks(struct bench *b, struct sv_store *s, uint64_t count)
{
	uint8_t block[BLOCK_BYTES], right[BLOCK_BYTES];
	uint64_t random = 1; /* the blocks that were written first */
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < count; i++) {
		uint64_t lba = fsim_random_below(&random, b->disk_bytes / BLOCK_BYTES);

		block_of(lba, right);
		r = sv_store_read(s, block, sizeof(block), lba * BLOCK_BYTES);
		if (r == 0 && memcmp(block, right, sizeof(block)) != 0)
			r = -EILSEQ;
	}
	return r;
}

static int open_store(struct bench *b, bool manual, struct sv_store **ret_store)
{
	const struct sv_open_options options = {.host = "bench-big", .manual = manual};

	return sv_store_open(&b->dev.dev, &options, ret_store);
}

static int build(struct bench *b)
{
	const struct sv_format_params params = {.size_bytes = b->disk_bytes};
	struct sv_status status;
	struct sv_store *s;
	int r = sv_store_format(&b->dev.dev, &params), closed;

	if (r == 0)
		r = open_store(b, true, &s);
	if (r < 0)
		return r;
	r = write_blocks(b, s, b->data_bytes / BLOCK_BYTES);
	sv_store_status(s, &status);
	printf("{\"what\": \"build\", \"disk_gib\": %" PRIu64 ", \"data_mib\": %" PRIu64
	       ", \"log_mib\": %" PRIu64 ", \"metadata_share\": %.3f, \"segments\": %" PRIu64 "}\n",
	       b->disk_bytes >> 30, b->data_bytes >> 20, status.session.stick_written_bytes >> 20,
	       (double)status.session.metadata_bytes / (double)b->data_bytes, status.segments);
	fflush(stdout);
	closed = sv_store_close(s);
	return r < 0 ? r : closed;
}

static int start_stick(struct bench *b)
{
	const struct fsim_config config = {
		.profile = b->profile, .size_bytes = b->dev.size_bytes, .seed = 1};
	int r = fsim_stick_new(&config, &b->dev.stick);

	return r < 0 ? r : fsim_stick_open(b->dev.stick, &b->dev.handle);
}

/* An opening, and what the stick did for it. */
static int timed_open(struct bench *b, bool manual, const char *what, struct sv_store **ret_store)
{
	struct fsim_counters c;
	struct sv_recovery found;
	uint64_t before = resident_bytes();
	int r;

	fsim_stick_reset_counters(b->dev.stick);
	r = open_store(b, manual, ret_store);
	if (r < 0)
		return r;
	fsim_stick_counters(b->dev.stick, &c);
	sv_store_recovery(*ret_store, &found);
	printf("{\"what\": \"%s\", \"stick_s\": %.3f, \"reads\": %" PRIu64 ", \"read_mib\": %.1f"
	       ", \"written_mib\": %.1f, \"replayed\": %" PRIu64 ", \"clean\": %s"
	       ", \"memory_mib\": %.1f",
	       what, (double)c.busy_ns / 1e9, c.read_commands, (double)c.read_bytes / 1048576,
	       (double)c.written_bytes / 1048576, found.batches_replayed,
	       found.clean ? "true" : "false",
	       ((double)resident_bytes() - (double)before) / 1048576);
	return 0;
}

static int after_close(struct bench *b)
{
	uint64_t before = resident_bytes(), reads = b->data_bytes / BLOCK_BYTES;
	struct sv_store *s;
	int r = timed_open(b, false, "open", &s);

	if (r < 0)
		return r;
	b->dev.stick = NULL; /* what follows is about memory */
	r = read_blocks(b, s, reads < WARM_READS ? reads : WARM_READS);
	printf(", \"after_reads_mib\": %.1f", (double)(resident_bytes() - before) / 1048576);
	if (r == 0)
		r = write_blocks(b, s, WARM_WRITES);
	printf(", \"after_writes_mib\": %.1f}\n", (double)(resident_bytes() - before) / 1048576);
	return r;
}

static int after_crash(struct bench *b, uint64_t mib)
{
	struct sv_store *s;
	int r = open_store(b, true, &s);

	if (r == 0)
		r = write_blocks(b, s, (mib << 20) / BLOCK_BYTES);
	if (r < 0)
		return r;
	sv_store_abandon(s);
	r = timed_open(b, true, "crash", &s);
	printf(", \"wrote_mib\": %" PRIu64 "}\n", mib);
	if (r == 0)
		r = read_blocks(b, s, 1000);
	return r;
}

/* Each looks at the same stick: what a child changes is its own. */
static int apart(struct bench *b, uint64_t crash_mib)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		int r = start_stick(b);

		if (r == 0)
			r = crash_mib ? after_crash(b, crash_mib) : after_close(b);
		if (r < 0)
			fprintf(stderr, "bench-big: %s\n", strerror(-r));
		fflush(stdout);
		_exit(r < 0);
	}
	return waitpid(pid, &status, 0) < 0 || status ? -EIO : 0;
}

int main(int argc, char **argv)
{
	struct bench b = {
		.profile = fsim_profile_find(argc > 1 ? argv[1] : "P6"),
		.disk_bytes = (argc > 2 ? strtoull(argv[2], NULL, 10) : 2048) << 30,
		.data_bytes = (argc > 3 ? strtoull(argv[3], NULL, 10) : 4096) << 20,
		.random = 1,
	};
	static const uint64_t crash_mib[] = {40, 100, 160, 220, 280};
	int r;

	if (!b.profile || !b.disk_bytes || !b.data_bytes) {
		fprintf(stderr, "usage: bench-big [PROFILE [DISK_GIB [DATA_MIB]]]\n");
		return 2;
	}
	b.dev.dev = (struct sv_dev){&thin_ops, "thin"};
	b.dev.size_bytes = b.profile->size_bytes / (16u << 20) * (16u << 20);
	b.dev.chunk = calloc(b.dev.size_bytes / CHUNK_BYTES + 1, sizeof(*b.dev.chunk));
	r = b.dev.chunk ? build(&b) : -ENOMEM;
	if (r == 0)
		r = apart(&b, 0);
	for (unsigned i = 0; r == 0 && i < sizeof(crash_mib) / sizeof(crash_mib[0]); i++)
		r = apart(&b, crash_mib[i]);
	if (r < 0)
		fprintf(stderr, "bench-big: %s (%s)\n", strerror(-r), sv_store_why());
	return r < 0;
}
