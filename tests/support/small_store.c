/* SPDX-License-Identifier: GPL-2.0-or-later */
/* small_store.c: a store of a few batches, the same bytes on every host and every day. */
#include "small_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "unit.h"

#define SEGMENT 2u
#define RAW_LBA 5u
#define TEXT_LBA 64u
#define TEXT_BLOCKS 3u
#define DISCARD_LBA 128u
#define DISCARD_BLOCKS 16u
#define CREATED_S UINT64_C(1735689600) /* 2025-01-01 00:00:00 UTC */
#define EPOCH ((UINT64_C(1) << SV_EPOCH_SALT_BITS) | 0x5eed)
#define GENERATION UINT64_C(0x5eed5eed5eed0002)

static const uint8_t store_id[SV_STORE_ID_BYTES] = {'s', 'm', 'a', 'l', 'l', ' ', 's', 't',
						    'o', 'r', 'e', ' ', 'n', 'o', '.', '1'};
static const uint8_t host[] = {'k', 'i', 't', 'c', 'h', 'e', 'n'};
static const uint8_t raw_text[16] = {'r', 'a', 'w', ' ', 'b', 'l', 'o', 'c',
				     'k', ' ', 'n', 'o', '.', ' ', '5', '\n'};
static const uint8_t lz4_text[8] = {'s', 't', 'i', 'c', 'k', 'v', 'm', ' '};

/* The batch being built, and what the log and the ledger have come to. */
struct build {
	uint8_t *bytes, *at; /* at: the batch */
	struct sv_cur rec;
	struct sv_head head;
	struct sv_ledger ledger;
	struct sv_link last;
	uint64_t guest_payload; /* of the batch's payload */
	uint64_t top, leaf[2], usage;
	uint32_t live;
};

static const uint32_t batch_offset[SMALL_BATCHES] = {0x0000, 0x1000, 0x2000, 0x4000,
						     0x5000, 0x6000, 0x7000, 0x8000};

uint32_t small_store_batch(unsigned index)
{
	assert(index < SMALL_BATCHES);
	return batch_offset[index];
}

static void begin(struct build *b, uint32_t record_bytes)
{
	uint32_t end = b->head.offset + b->head.total_bytes;

	b->at = b->bytes + SEGMENT * SMALL_SEGMENT_BYTES + end;
	b->rec = sv_cur_over(b->at + SV_HEAD_FIXED_BYTES, record_bytes);
	b->head = (struct sv_head){.seq = b->head.seq + 1,
				   .epoch = b->head.epoch,
				   .generation = GENERATION,
				   .time_s = CREATED_S + b->head.seq,
				   .segment = SEGMENT,
				   .offset = end,
				   .next_segment = SEGMENT + 1,
				   .after_segment = SEGMENT + 2};
	b->head.payload_offset = (uint32_t)sv_align_up(
		SV_HEAD_FIXED_BYTES + record_bytes + SV_HASH_BYTES, SV_GRAIN_BYTES);
	memcpy(b->head.store_id, store_id, sizeof(store_id));
	memcpy(b->head.prev_hash, b->last.hash, SV_HASH_BYTES);
	b->guest_payload = 0;
}

static void record(struct build *b, const struct sv_record *rec)
{
	sv_record_put(&b->rec, rec);
	assert(!b->rec.bad);
	b->head.records++;
}

/* A unit whose payload is copied from `payload`; its address. */
static uint64_t put_unit(struct build *b, struct sv_unit unit, uint64_t subject,
			 const uint8_t *payload, uint32_t *ret_stored)
{
	uint8_t *dst = b->at + b->head.payload_offset + b->head.payload_bytes;
	uint64_t place = (uint64_t)(dst - b->bytes);
	struct sv_binding bind = {
		.store_id = store_id, .generation = GENERATION, .place = place, .subject = subject};
	uint8_t check[8];
	struct sv_cur c = sv_cur_over(check, sizeof(check));

	memcpy(dst + SV_UNIT_HEAD_BYTES, payload, unit.payload_bytes);
	*ret_stored = sv_unit_seal(&bind, &unit, dst);
	sv_put64(&c, unit.check);
	b->head.payload_digest = sv_hash64(check, sizeof(check), b->head.payload_digest);
	b->head.payload_bytes += *ret_stored;
	return place;
}

static void finish(struct build *b, uint32_t flags)
{
	struct sv_head *h = &b->head;
	uint32_t end = h->payload_offset + h->payload_bytes;

	h->head_bytes = SV_HEAD_FIXED_BYTES + (uint32_t)b->rec.off + SV_HASH_BYTES;
	h->total_bytes = (uint32_t)sv_align_up(end, SMALL_PAGE_BYTES);
	h->flags = flags;
	h->flushed_seq = h->seq - 1; /* each was flushed before the next */
	h->log_bytes = b->ledger.stick_written_bytes;
	b->ledger.batches++;
	b->ledger.stick_written_bytes += h->total_bytes;
	b->ledger.payload_bytes += b->guest_payload;
	b->ledger.metadata_bytes += h->payload_offset + h->payload_bytes - b->guest_payload;
	b->ledger.padding_bytes += h->total_bytes - end;
	h->ledger = b->ledger;
	sv_head_encode(h, b->at);
	b->ledger.flushes++;
	b->last = (struct sv_link){.segment = h->segment,
				   .offset = h->offset,
				   .generation = h->generation,
				   .seq = h->seq};
	memcpy(b->last.hash, h->hash, SV_HASH_BYTES);
}

static void put_anchors(struct build *b, struct sv_anchor *a)
{
	for (unsigned i = 0; i < 2; i++)
		sv_anchor_encode(a, b->bytes + (size_t)i * SMALL_SEGMENT_BYTES);
}

/* Batch 1: an empty disk. The anchors of that moment are overwritten by those of the open. */
static void make_empty(struct build *b, struct sv_anchor *a)
{
	struct sv_record root = {.type = SV_REC_ROOT, .root.size_bytes = SMALL_DISK_BYTES};

	begin(b, SV_REC_ROOT_BYTES);
	record(b, &root);
	b->ledger.first_used_s = CREATED_S;
	finish(b, SV_BATCH_ROOT | SV_BATCH_CLOSE);
	b->ledger.stick_written_bytes += 2 * SV_ANCHOR_BYTES;
	b->ledger.metadata_bytes += 2 * SV_ANCHOR_BYTES;
	*a = (struct sv_anchor){.segment_bytes = SMALL_SEGMENT_BYTES,
				.page_bytes = SMALL_PAGE_BYTES,
				.lie_window_bytes = 4096,
				.checkpoint_bytes = 16384,
				.created_s = CREATED_S,
				.root = b->last};
	memcpy(a->store_id, store_id, sizeof(store_id));
}

static void put_session(struct build *b, uint32_t flags)
{
	struct sv_record rec = {.type = SV_REC_SESSION, .session.since_s = CREATED_S + b->head.seq};

	begin(b, SV_REC_SESSION_BYTES);
	memcpy(rec.session.host, host, sizeof(host));
	record(b, &rec);
	finish(b, flags);
}

/* Batch 2, and the anchors as they stay. */
static void open_epoch(struct build *b, struct sv_anchor *a)
{
	memcpy(a->before_opening, b->last.hash, SV_HASH_BYTES);
	b->head.epoch = a->epoch = EPOCH;
	b->ledger.sessions = 1;
	put_session(b, SV_BATCH_OPEN);
	a->opening = b->last;
	a->anchor_seq = 3;
	a->log_bytes = b->ledger.stick_written_bytes;
	a->since_s = CREATED_S + 1;
	memcpy(a->host, host, sizeof(host));
	put_anchors(b, a);
	b->ledger.stick_written_bytes += 2 * SV_ANCHOR_BYTES;
	b->ledger.metadata_bytes += 2 * SV_ANCHOR_BYTES;
}

/*
 * Three blocks of "stickvm " as an lz4 block, written by hand: eight letters, the same again at a
 * distance of 8 for 12272 bytes (19 and 48 times 255 and 13), eight letters. An encoder of another
 * day may find other bytes; these decode for ever.
 */
static uint32_t lz4_by_hand(uint8_t *dst)
{
	static const uint8_t repeat[3] = {8, 0};
	uint8_t *p = dst;

	*p++ = 0x8f;
	memcpy(p, lz4_text, 8);
	p += 8;
	memcpy(p, repeat, 2);
	p += 2;
	memset(p, 0xff, 48);
	p += 48;
	*p++ = 13;
	*p++ = 0x80;
	memcpy(p, lz4_text, 8);
	p += 8;
	return (uint32_t)(p - dst);
}

static void fill_raw(uint8_t *block)
{
	for (unsigned i = 0; i < SV_BLOCK_BYTES; i += 16)
		memcpy(block + i, raw_text, 16);
}

/* Batch 3: what the guest wrote and discarded. */
static void write_data(struct build *b, uint64_t *ret_raw, uint64_t *ret_text)
{
	struct sv_record discard = {
		.type = SV_REC_DISCARD, .lba = DISCARD_LBA, .count = DISCARD_BLOCKS};
	struct sv_record raw = {.type = SV_REC_DATA, .blocks = 1, .lba = RAW_LBA};
	struct sv_record text = {.type = SV_REC_DATA, .blocks = TEXT_BLOCKS, .lba = TEXT_LBA};
	struct sv_unit unit = {
		.codec = SV_CODEC_NONE, .blocks = 1, .payload_bytes = SV_BLOCK_BYTES};
	uint8_t block[SV_BLOCK_BYTES];
	uint64_t place;

	begin(b, SV_REC_DISCARD_BYTES + 2 * SV_REC_DATA_BYTES);
	record(b, &discard);
	fill_raw(block);
	place = put_unit(b, unit, RAW_LBA, block, &raw.stored_bytes);
	*ret_raw = sv_entry_make(place, 0, raw.stored_bytes) | SV_ENTRY_SINGLE;
	record(b, &raw);
	unit = (struct sv_unit){
		.codec = SV_CODEC_LZ4, .blocks = TEXT_BLOCKS, .payload_bytes = lz4_by_hand(block)};
	place = put_unit(b, unit, TEXT_LBA, block, &text.stored_bytes);
	*ret_text = sv_entry_make(place, 0, text.stored_bytes);
	record(b, &text);
	b->live = raw.stored_bytes + text.stored_bytes;
	b->guest_payload = b->live;
	b->ledger.guest_written_bytes = (1 + TEXT_BLOCKS) * SV_BLOCK_BYTES;
	b->ledger.guest_discarded_bytes = DISCARD_BLOCKS * SV_BLOCK_BYTES;
	b->ledger.compression_saved_bytes = TEXT_BLOCKS * SV_RAW_UNIT_BYTES - text.stored_bytes;
	finish(b, 0);
}

static uint64_t put_page(struct build *b, enum sv_tree tree, unsigned level, uint64_t index,
			 const uint64_t *entries)
{
	struct sv_record rec = {
		.type = SV_REC_PAGE, .tree = (uint8_t)tree, .level = (uint8_t)level, .lba = index};
	struct sv_unit unit = {
		.kind = SV_UNIT_PAGE, .codec = SV_CODEC_NONE, .payload_bytes = SV_PAGE_BYTES};
	uint8_t raw[SV_PAGE_BYTES];
	struct sv_cur c = sv_cur_over(raw, sizeof(raw));
	uint64_t place;

	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++)
		sv_put64(&c, entries[i]);
	place = put_unit(b, unit, sv_page_subject(tree, level, index), raw, &rec.stored_bytes);
	record(b, &rec);
	return sv_entry_make(place, 0, rec.stored_bytes);
}

/* Batches 4 and 5: two leaves, and the top above them. */
static void write_map(struct build *b, uint64_t raw, uint64_t text)
{
	uint64_t e[SV_PAGE_ENTRIES] = {0};

	begin(b, 2 * SV_REC_PAGE_BYTES);
	e[RAW_LBA] = raw;
	b->leaf[0] = put_page(b, SV_TREE_MAP, 0, 0, e);
	e[RAW_LBA] = 0;
	for (unsigned i = 0; i < TEXT_BLOCKS; i++)
		e[i] = text | (uint64_t)i << 42;
	b->leaf[1] = put_page(b, SV_TREE_MAP, 0, 1, e);
	finish(b, 0);
	begin(b, SV_REC_PAGE_BYTES);
	memset(e, 0, sizeof(e));
	e[0] = b->leaf[0];
	e[1] = b->leaf[1];
	b->top = put_page(b, SV_TREE_MAP, 1, 0, e);
	finish(b, 0);
	b->live += 3 * SV_PAGE_UNIT_BYTES;
}

/* Batch 6: the segment table, as it was before itself was written. */
static void write_usage(struct build *b)
{
	struct sv_usage usage = {.generation = GENERATION,
				 .last_seq = b->head.seq,
				 .live_bytes = b->live,
				 .used_bytes = b->head.offset + b->head.total_bytes,
				 .flags = SV_SEG_CONVERTED};
	uint8_t raw[SV_PAGE_BYTES] = {0};
	uint64_t e[SV_PAGE_ENTRIES];
	struct sv_cur c = sv_cur_over(raw + SEGMENT * SV_USAGE_BYTES, SV_USAGE_BYTES);

	sv_usage_put(&c, &usage);
	c = sv_cur_over(raw, sizeof(raw));
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++)
		e[i] = sv_get64(&c);
	begin(b, SV_REC_PAGE_BYTES);
	b->usage = put_page(b, SV_TREE_USAGE, 0, 0, e);
	finish(b, 0);
}

/* Batch 7: the root, of the state after batch 3. */
static void write_root(struct build *b)
{
	struct sv_record root = {.type = SV_REC_ROOT,
				 .root = {.size_bytes = SMALL_DISK_BYTES,
					  .map_top = b->top,
					  .usage_top = b->usage,
					  .segments = SMALL_SEGMENTS,
					  .mapped_blocks = 1 + TEXT_BLOCKS,
					  .as_of_seq = 3}};

	begin(b, SV_REC_ROOT_BYTES);
	record(b, &root);
	finish(b, SV_BATCH_ROOT);
	b->ledger.checkpoints = 1;
}

void small_store_make(uint8_t *ret_bytes)
{
	struct build b = {.bytes = ret_bytes};
	uint64_t raw, text;
	struct sv_anchor a;

	memset(ret_bytes, 0, SMALL_STORE_BYTES);
	make_empty(&b, &a);
	open_epoch(&b, &a);
	write_data(&b, &raw, &text);
	write_map(&b, raw, text);
	write_usage(&b);
	write_root(&b);
	put_session(&b, SV_BATCH_CLOSE);
	assert(b.head.seq == SMALL_BATCHES);
	assert(b.head.offset == small_store_batch(SMALL_BATCHES - 1));
}

void small_store_disk(uint8_t *ret_bytes)
{
	uint8_t *text = ret_bytes + (size_t)TEXT_LBA * SV_BLOCK_BYTES;

	memset(ret_bytes, 0, SMALL_DISK_BYTES);
	fill_raw(ret_bytes + (size_t)RAW_LBA * SV_BLOCK_BYTES);
	for (unsigned i = 0; i < TEXT_BLOCKS * SV_BLOCK_BYTES; i += 8)
		memcpy(text + i, lz4_text, 8);
}

struct sv_dev *small_store_dev(const uint8_t *bytes, uint64_t len_bytes, uint64_t max_bytes)
{
	struct sv_geometry geo = {
		.size_bytes = len_bytes, .max_bytes = max_bytes, .sector_bytes = 512};
	uint8_t *aligned = aligned_alloc(4096, sv_align_up(len_bytes, 4096));
	struct sv_dev *dev;

	if (aligned == NULL || sv_dev_ram_create(&geo, &dev) < 0)
		abort();
	memcpy(aligned, bytes, len_bytes);
	if (sv_dev_write(dev, aligned, len_bytes, 0) < 0)
		abort();
	free(aligned);
	return dev;
}
