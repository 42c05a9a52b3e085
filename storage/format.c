/* SPDX-License-Identifier: GPL-2.0-or-later */
/* format.c: encode and decode, side by side, of everything on the stick but units. */
#include "format.h"

#include <assert.h>
#include <errno.h>

#include "digest.h"

static const char anchor_magic[8] = {'s', 'v', 'A', 'N', 'C', 'H', 'O', 'R'};
static const char batch_magic[8] = {'s', 'v', 'B', 'A', 'T', 'C', 'H', '1'};

static void link_put(struct sv_cur *c, const struct sv_link *l)
{
	sv_put32(c, l->segment);
	sv_put32(c, l->offset);
	sv_put64(c, l->generation);
	sv_put64(c, l->seq);
	sv_put_bytes(c, l->hash, SV_HASH_BYTES);
}

static void link_get(struct sv_cur *c, struct sv_link *l)
{
	l->segment = sv_get32(c);
	l->offset = sv_get32(c);
	l->generation = sv_get64(c);
	l->seq = sv_get64(c);
	sv_get_bytes(c, l->hash, SV_HASH_BYTES);
}

#define ANCHOR_KEPT_BYTES 64u /* for what FORMAT.md reserves */

void sv_anchor_encode(const struct sv_anchor *a, uint8_t *buf)
{
	struct sv_cur c = sv_cur_over(buf, SV_ANCHOR_BYTES);

	memset(buf, 0, SV_ANCHOR_BYTES);
	sv_put_bytes(&c, anchor_magic, sizeof(anchor_magic));
	sv_put32(&c, SV_FORMAT_VERSION);
	sv_put32(&c, 0);
	sv_put64(&c, a->features.incompat);
	sv_put64(&c, a->features.ro_compat);
	sv_put64(&c, a->features.compat);
	sv_put_bytes(&c, a->store_id, SV_STORE_ID_BYTES);
	sv_put32(&c, a->segment_bytes);
	sv_put32(&c, a->page_bytes);
	sv_put64(&c, a->lie_window_bytes);
	sv_put64(&c, a->checkpoint_bytes);
	sv_put64(&c, a->anchor_seq);
	sv_put64(&c, a->log_bytes);
	sv_put64(&c, a->created_s);
	link_put(&c, &a->root);
	sv_put64(&c, a->epoch);
	link_put(&c, &a->opening);
	sv_put_bytes(&c, a->before_opening, SV_HASH_BYTES);
	sv_put64(&c, a->gate_seq);
	sv_put_bytes(&c, a->host, SV_HOST_BYTES);
	sv_put64(&c, a->since_s);
	sv_cur_take(&c, ANCHOR_KEPT_BYTES);
	sv_put64(&c, a->named_log_bytes);
	assert(!c.bad && c.off <= SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES);
	sv_hash128(buf, SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES,
		   buf + SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES);
}

int sv_anchor_decode(const uint8_t *buf, struct sv_anchor *ret_anchor)
{
	struct sv_cur c = sv_cur_over((uint8_t *)buf, SV_ANCHOR_BYTES);
	struct sv_anchor a = {0};
	uint8_t hash[SV_HASH_BYTES];
	uint32_t version;

	if (memcmp(sv_cur_take(&c, sizeof(anchor_magic)), anchor_magic, sizeof(anchor_magic)) != 0)
		return -EMEDIUMTYPE;
	sv_hash128(buf, SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES, hash);
	if (memcmp(hash, buf + SV_ANCHOR_CHECKED_BYTES - SV_HASH_BYTES, SV_HASH_BYTES) != 0)
		return -EBADMSG;
	version = sv_get32(&c);
	sv_get32(&c);
	a.features.incompat = sv_get64(&c);
	a.features.ro_compat = sv_get64(&c);
	a.features.compat = sv_get64(&c);
	sv_get_bytes(&c, a.store_id, SV_STORE_ID_BYTES);
	a.segment_bytes = sv_get32(&c);
	a.page_bytes = sv_get32(&c);
	a.lie_window_bytes = sv_get64(&c);
	a.checkpoint_bytes = sv_get64(&c);
	a.anchor_seq = sv_get64(&c);
	a.log_bytes = sv_get64(&c);
	a.created_s = sv_get64(&c);
	link_get(&c, &a.root);
	a.epoch = sv_get64(&c);
	link_get(&c, &a.opening);
	sv_get_bytes(&c, a.before_opening, SV_HASH_BYTES);
	a.gate_seq = sv_get64(&c);
	sv_get_bytes(&c, a.host, SV_HOST_BYTES);
	a.host[SV_HOST_BYTES - 1] = '\0';
	a.since_s = sv_get64(&c);
	sv_cur_take(&c, ANCHOR_KEPT_BYTES);
	a.named_log_bytes = sv_get64(&c);
	*ret_anchor = a;
	return version != SV_FORMAT_VERSION || a.features.incompat & ~SV_INCOMPAT_KNOWN
		       ? -EPROTONOSUPPORT
		       : 0;
}

/* The ledger as the header carries it: this order is the format. */
/* clang-format off */
#define LEDGER_FIELDS(X) \
	X(guest_written_bytes) X(guest_read_bytes) X(guest_discarded_bytes) \
	X(stick_written_bytes) X(stick_read_bytes) X(payload_bytes) X(padding_bytes) \
	X(metadata_bytes) X(cleaner_bytes) X(convert_bytes) X(state_bytes) \
	X(coalesced_bytes) X(noop_skipped_bytes) X(zero_skipped_bytes) \
	X(compression_saved_bytes) X(flushes) X(batches) X(checkpoints) X(segments_cleaned) \
	X(sessions) X(unclean_detaches) X(first_used_s)
/* clang-format on */

static void ledger_put(struct sv_cur *c, const struct sv_ledger *l)
{
#define X(field) sv_put64(c, l->field);
	LEDGER_FIELDS(X)
#undef X
}

static void ledger_get(struct sv_cur *c, struct sv_ledger *l)
{
#define X(field) l->field = sv_get64(c);
	LEDGER_FIELDS(X)
#undef X
}

void sv_head_encode(struct sv_head *h, uint8_t *buf)
{
	struct sv_cur c = sv_cur_over(buf, SV_HEAD_FIXED_BYTES);

	sv_put_bytes(&c, batch_magic, sizeof(batch_magic));
	sv_put32(&c, h->head_bytes);
	sv_put32(&c, h->payload_offset);
	sv_put32(&c, h->payload_bytes);
	sv_put32(&c, h->total_bytes);
	sv_put32(&c, h->flags);
	sv_put32(&c, h->records);
	sv_put_bytes(&c, h->store_id, SV_STORE_ID_BYTES);
	sv_put64(&c, h->epoch);
	sv_put64(&c, h->seq);
	sv_put64(&c, h->flushed_seq);
	sv_put64(&c, h->log_bytes);
	sv_put64(&c, h->generation);
	sv_put64(&c, h->time_s);
	sv_put32(&c, h->segment);
	sv_put32(&c, h->offset);
	sv_put32(&c, h->next_segment);
	sv_put32(&c, h->after_segment);
	sv_put_bytes(&c, h->prev_hash, SV_HASH_BYTES);
	sv_put64(&c, h->payload_digest);
	ledger_put(&c, &h->ledger);
	sv_put64(&c, h->prev_epoch);
	assert(!c.bad);
	memset(buf + c.off, 0, SV_HEAD_FIXED_BYTES - c.off);
	sv_hash128(buf, h->head_bytes - SV_HASH_BYTES, h->hash);
	memcpy(buf + h->head_bytes - SV_HASH_BYTES, h->hash, SV_HASH_BYTES);
}

int sv_head_peek(const uint8_t *buf, size_t len, struct sv_head *ret_head)
{
	struct sv_cur c = sv_cur_over((uint8_t *)buf, len);
	struct sv_head h = {0};

	if (len < SV_HEAD_FIXED_BYTES ||
	    memcmp(sv_cur_take(&c, sizeof(batch_magic)), batch_magic, sizeof(batch_magic)) != 0)
		return -EBADMSG;
	h.head_bytes = sv_get32(&c);
	h.payload_offset = sv_get32(&c);
	h.payload_bytes = sv_get32(&c);
	h.total_bytes = sv_get32(&c);
	h.flags = sv_get32(&c);
	h.records = sv_get32(&c);
	sv_get_bytes(&c, h.store_id, SV_STORE_ID_BYTES);
	h.epoch = sv_get64(&c);
	h.seq = sv_get64(&c);
	h.flushed_seq = sv_get64(&c);
	h.log_bytes = sv_get64(&c);
	h.generation = sv_get64(&c);
	h.time_s = sv_get64(&c);
	h.segment = sv_get32(&c);
	h.offset = sv_get32(&c);
	h.next_segment = sv_get32(&c);
	h.after_segment = sv_get32(&c);
	sv_get_bytes(&c, h.prev_hash, SV_HASH_BYTES);
	h.payload_digest = sv_get64(&c);
	ledger_get(&c, &h.ledger);
	h.prev_epoch = sv_get64(&c);
	if (c.bad || h.head_bytes < SV_HEAD_FIXED_BYTES + SV_HASH_BYTES ||
	    h.head_bytes > SV_HEAD_MAX_BYTES || h.head_bytes > h.payload_offset ||
	    h.payload_offset > h.total_bytes ||
	    h.payload_bytes > h.total_bytes - h.payload_offset ||
	    h.payload_offset % SV_GRAIN_BYTES || h.payload_bytes % SV_GRAIN_BYTES)
		return -EBADMSG;
	*ret_head = h;
	return 0;
}

int sv_head_decode(const uint8_t *buf, size_t len, struct sv_head *ret_head)
{
	struct sv_head h;

	if (sv_head_peek(buf, len, &h) < 0 || len < h.head_bytes)
		return -EBADMSG;
	sv_hash128(buf, h.head_bytes - SV_HASH_BYTES, h.hash);
	if (memcmp(h.hash, buf + h.head_bytes - SV_HASH_BYTES, SV_HASH_BYTES) != 0)
		return -EBADMSG;
	*ret_head = h;
	return 0;
}

static void root_put(struct sv_cur *c, const struct sv_root *r)
{
	sv_put64(c, r->size_bytes);
	sv_put64(c, r->map_top);
	sv_put64(c, r->usage_top);
	sv_put64(c, r->segments);
	sv_put64(c, r->mapped_blocks);
	sv_put64(c, r->as_of_seq);
	sv_put64(c, 0);
}

static void root_get(struct sv_cur *c, struct sv_root *r)
{
	r->size_bytes = sv_get64(c);
	r->map_top = sv_get64(c);
	r->usage_top = sv_get64(c);
	r->segments = sv_get64(c);
	r->mapped_blocks = sv_get64(c);
	r->as_of_seq = sv_get64(c);
	sv_get64(c);
}

void sv_record_put(struct sv_cur *c, const struct sv_record *r)
{
	sv_put8(c, r->type);
	sv_put8(c, r->type == SV_REC_PAGE ? r->tree : r->blocks);
	sv_put8(c, r->type == SV_REC_PAGE ? r->level : r->old_index);
	sv_put8(c, r->new_index);
	sv_put32(c, r->type == SV_REC_SEGMENT ? r->segment : r->stored_bytes);
	switch (r->type) {
	case SV_REC_DATA:
	case SV_REC_PAGE:
		sv_put64(c, r->lba);
		break;
	case SV_REC_DISCARD:
		sv_put64(c, r->lba);
		sv_put64(c, r->count);
		break;
	case SV_REC_MOVE:
		sv_put64(c, r->lba);
		sv_put64(c, r->old_place);
		sv_put64(c, r->new_place);
		sv_put64(c, r->check);
		break;
	case SV_REC_ROOT:
		root_put(c, &r->root);
		break;
	case SV_REC_SESSION:
		sv_put_bytes(c, r->session.host, SV_HOST_BYTES);
		sv_put64(c, r->session.since_s);
		break;
	case SV_REC_SEGMENT:
		sv_put64(c, r->generation);
		sv_put32(c, r->offset);
		sv_put32(c, r->bytes);
		break;
	case SV_REC_BORN:
		sv_put64(c, r->lba);
		sv_put64(c, r->new_place);
		sv_put64(c, r->check);
		break;
	case SV_REC_DAMAGE:
		sv_put64(c, r->seq);
		break;
	case SV_REC_LOSS:
		sv_put64(c, r->count);
		break;
	default:
		assert(false); /* a record type that does not exist */
	}
}

static bool record_sane(const struct sv_record *r)
{
	bool unit = r->stored_bytes > SV_UNIT_HEAD_BYTES && r->stored_bytes <= SV_UNIT_MAX_BYTES &&
		    r->stored_bytes % SV_GRAIN_BYTES == 0;

	switch (r->type) {
	case SV_REC_DATA:
		/* A unit lies within one leaf of the map, so that G1 can be kept by looking there.
		 */
		return unit && r->blocks && r->lba % SV_PAGE_ENTRIES + r->blocks <= SV_PAGE_ENTRIES;
	case SV_REC_BORN:
		return unit && r->blocks &&
		       r->lba % SV_PAGE_ENTRIES + r->blocks <= SV_PAGE_ENTRIES &&
		       r->new_place % SV_GRAIN_BYTES == 0;
	case SV_REC_MOVE:
		return unit && r->blocks &&
		       r->lba % SV_PAGE_ENTRIES + r->blocks <= SV_PAGE_ENTRIES &&
		       r->old_index + r->blocks <= SV_UNIT_MAX_BLOCKS &&
		       r->new_index + r->blocks <= SV_UNIT_MAX_BLOCKS &&
		       r->old_place % SV_GRAIN_BYTES == 0 && r->new_place % SV_GRAIN_BYTES == 0;
	case SV_REC_PAGE:
		return unit && r->tree <= SV_TREE_USAGE && r->level < SV_MAX_LEVELS;
	case SV_REC_DISCARD:
		return r->count && r->lba + r->count > r->lba;
	default:
		return true;
	}
}

/* One that a later version made and that this one need not understand. */
static int skip_record(struct sv_cur *c, const struct sv_record *r)
{
	if (r->type < SV_REC_SKIPPABLE || r->stored_bytes < SV_REC_HEAD_BYTES ||
	    r->stored_bytes % SV_REC_HEAD_BYTES)
		return -EBADMSG;
	sv_cur_take(c, r->stored_bytes - SV_REC_HEAD_BYTES);
	return c->bad ? -EBADMSG : 0;
}

int sv_record_get(struct sv_cur *c, struct sv_record *ret_rec)
{
	struct sv_record r = {0};

	r.type = sv_get8(c);
	r.blocks = sv_get8(c);
	r.old_index = sv_get8(c);
	r.new_index = sv_get8(c);
	r.stored_bytes = sv_get32(c);
	switch (r.type) {
	case SV_REC_PAGE:
		r.tree = r.blocks;
		r.level = r.old_index;
		r.lba = sv_get64(c);
		break;
	case SV_REC_DATA:
		r.lba = sv_get64(c);
		break;
	case SV_REC_DISCARD:
		r.lba = sv_get64(c);
		r.count = sv_get64(c);
		break;
	case SV_REC_MOVE:
		r.lba = sv_get64(c);
		r.old_place = sv_get64(c);
		r.new_place = sv_get64(c);
		r.check = sv_get64(c);
		break;
	case SV_REC_ROOT:
		root_get(c, &r.root);
		break;
	case SV_REC_SESSION:
		sv_get_bytes(c, r.session.host, SV_HOST_BYTES);
		r.session.host[SV_HOST_BYTES - 1] = '\0';
		r.session.since_s = sv_get64(c);
		break;
	case SV_REC_SEGMENT:
		r.segment = r.stored_bytes;
		r.generation = sv_get64(c);
		r.offset = sv_get32(c);
		r.bytes = sv_get32(c);
		break;
	case SV_REC_BORN:
		r.lba = sv_get64(c);
		r.new_place = sv_get64(c);
		r.check = sv_get64(c);
		break;
	case SV_REC_DAMAGE:
		r.seq = sv_get64(c);
		break;
	case SV_REC_LOSS:
		r.count = sv_get64(c);
		break;
	default:
		if (skip_record(c, &r) < 0)
			return -EBADMSG;
	}
	if (c->bad || !record_sane(&r))
		return -EBADMSG;
	*ret_rec = r;
	return 0;
}

void sv_usage_put(struct sv_cur *c, const struct sv_usage *u)
{
	sv_put64(c, u->generation);
	sv_put64(c, u->last_seq);
	sv_put32(c, u->live_bytes);
	sv_put32(c, u->used_bytes);
	sv_put32(c, u->flags);
	sv_put32(c, u->lineage);
}

struct sv_usage sv_usage_get(struct sv_cur *c)
{
	struct sv_usage u;

	u.generation = sv_get64(c);
	u.last_seq = sv_get64(c);
	u.live_bytes = sv_get32(c);
	u.used_bytes = sv_get32(c);
	u.flags = sv_get32(c);
	u.lineage = sv_get32(c);
	return u;
}
