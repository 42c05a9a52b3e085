/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * parked.c: parked data is read again, and given to the stick that it belongs to.
 *
 * The log part is a reattach (reattach.c) by a store that has nothing but what a reattach needs:
 * the identity and end of the session, and the appends. So the rules are the same ones, A1 and A2:
 * nothing is written to a stick on which another session has begun, or that is not the one; then
 * the same bytes at the same places. It begins no session itself, so it can be cut anywhere and
 * done again, and what a cut leaves is what the pulled stick could have held.
 *
 * A stick that lies may lose again what was written back, and unlike a store that lived on, the
 * one that is opened next goes by the headers' log positions, which say that this was long ago. So
 * lie_window bytes of zeros follow, into the segment that the log names as next, where nothing
 * lies: behind them it is settled, and a session may begin.
 *
 * Then the store is opened as after any crash: recovery finds the whole chain. What was in no
 * append is written to it as the guest's own writes would be (X2, X3 in park.c).
 */
#include "parked.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dev_ram.h"
#include "store_impl.h"

#define APPENDS_MOST_BYTES (UINT64_C(1) << 30) /* whatever the stream says */
#define CHANGES_MOST (1u << 20)

void sv_parked_free(struct sv_parked *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; p->bytes && i < p->head.appends; i++)
		free(p->bytes[i]);
	for (size_t i = 0; i < p->changes; i++)
		free(p->block[i]);
	free(p->append);
	free(p->bytes);
	free(p->change);
	free(p->block);
	free(p);
}

static int read_head(struct sv_parked *p, sv_park_get *get, void *ctx)
{
	uint8_t *buf = malloc(SV_PARK_HEAD_BYTES);
	int r = buf ? get(ctx, buf, SV_PARK_HEAD_BYTES) : -ENOMEM;

	if (r == 0)
		r = sv_park_head_decode(buf, &p->head);
	free(buf);
	if (r == 0 && p->head.appends > APPENDS_MOST_BYTES / SV_PAGE_MIN_BYTES)
		r = -EBADMSG;
	if (r < 0) {
		p->head.appends = 0;
		return r;
	}
	p->append = calloc((size_t)p->head.appends + 1, sizeof(p->append[0]));
	p->bytes = calloc((size_t)p->head.appends + 1, sizeof(p->bytes[0]));
	return p->append && p->bytes ? 0 : -ENOMEM;
}

static int read_appends(struct sv_parked *p, sv_park_get *get, void *ctx)
{
	uint64_t total = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < p->head.appends; i++) {
		uint8_t raw[SV_PARK_APPEND_BYTES];

		r = get(ctx, raw, sizeof(raw));
		if (r == 0)
			r = sv_park_append_decode(raw, &p->head, &p->append[i]);
		if (r < 0)
			break;
		total += p->append[i].len_bytes;
		if (total > APPENDS_MOST_BYTES)
			return -EBADMSG;
		assert(p->append[i].len_bytes > 0); /* as decoded */
		p->bytes[i] = malloc(p->append[i].len_bytes);
		r = p->bytes[i] ? get(ctx, p->bytes[i], p->append[i].len_bytes) : -ENOMEM;
	}
	return r;
}

/* One more change, and where its block goes. */
static int add_change(struct sv_parked *p, const struct sv_park_change *change)
{
	if (p->changes == p->change_room) {
		size_t room = p->change_room ? 2 * p->change_room : 256;
		void *changes = realloc(p->change, room * sizeof(p->change[0]));
		void *blocks;

		if (!changes)
			return -ENOMEM;
		p->change = changes;
		blocks = realloc(p->block, room * sizeof(p->block[0]));
		if (!blocks)
			return -ENOMEM;
		p->block = blocks;
		p->change_room = room;
	}
	p->change[p->changes] = *change;
	p->block[p->changes++] = NULL;
	return 0;
}

static int read_changes(struct sv_parked *p, sv_park_get *get, void *ctx)
{
	for (;;) {
		struct sv_park_change change;
		uint8_t raw[SV_PARK_CHANGE_BYTES], **block;
		int r = get(ctx, raw, sizeof(raw));

		if (r == 0)
			r = sv_park_change_decode(raw, &p->head, &change);
		if (r < 0 || change.kind == SV_PARK_END)
			return r;
		r = p->changes < CHANGES_MOST ? add_change(p, &change) : -EBADMSG;
		if (r == 0 && change.kind == SV_PARK_BLOCK) {
			block = &p->block[p->changes - 1];
			*block = malloc(SV_BLOCK_BYTES);
			r = *block ? get(ctx, *block, SV_BLOCK_BYTES) : -ENOMEM;
		}
		if (r < 0)
			return r;
	}
}

int sv_parked_read(sv_park_get *get, void *ctx, struct sv_parked **ret_parked)
{
	struct sv_parked *p = calloc(1, sizeof(*p));
	int r = p ? read_head(p, get, ctx) : -ENOMEM;

	if (r == 0)
		r = read_appends(p, get, ctx);
	if (r == 0)
		r = read_changes(p, get, ctx);
	if (r < 0) {
		sv_parked_free(p);
		return r;
	}
	*ret_parked = p;
	return 0;
}

void sv_parked_info(const struct sv_parked *p, struct sv_parked_info *ret_info)
{
	struct sv_parked_info info = {.size_bytes = p->head.size_bytes};

	memcpy(info.store_id, p->head.anchor.store_id, SV_STORE_ID_BYTES);
	for (uint32_t i = 0; i < p->head.appends; i++)
		info.log_bytes += p->append[i].len_bytes;
	for (size_t i = 0; i < p->changes; i++)
		info.unsealed_bytes += p->block[i] ? SV_BLOCK_BYTES : 0;
	*ret_info = info;
}

/* ---- the log part ---- */

/* A store in memory without a device and without a map. */
static int empty_store(struct sv_store **ret_store)
{
	static const struct sv_open_options options = {.manual = true, .batch_bytes = 1};
	static const struct sv_geometry geometry = {.size_bytes = 4 * SV_SEGMENT_MIN_BYTES};
	struct sv_store *s;
	struct sv_dev *dev;
	int r = sv_dev_ram_create(&geometry, &dev);

	if (r < 0)
		return r;
	r = sv_store_new(dev, &options, &s);
	sv_dev_close(dev);
	if (r < 0)
		return r;
	s->dev = NULL;
	atomic_store(&s->detached, true);
	*ret_store = s;
	return 0;
}

static int restore_appends(const struct sv_parked *p, struct sv_store *s)
{
	int r = sv_retain_init(s);

	for (uint32_t i = 0; r == 0 && i < p->head.appends; i++) {
		const struct sv_park_append *a = &p->append[i];
		struct sv_kept kept = {.place = a->place,
				       .seq = a->seq,
				       .len_bytes = a->len_bytes,
				       .next_segment = a->next_segment,
				       .apart = a->apart,
				       .doubtful = !a->flushed};

		memcpy(kept.hash, a->hash, SV_HASH_BYTES);
		r = a->len_bytes > s->stage_bytes ? -EBADMSG
						  : sv_retain_restore(s, &kept, p->bytes[i]);
	}
	s->retain.before_known = p->head.before_known;
	s->retain.before = (struct sv_kept){.place = p->head.before_place,
					    .seq = p->head.before_seq,
					    .next_segment = p->head.before_next};
	memcpy(s->retain.before.hash, p->head.before_hash, SV_HASH_BYTES);
	return r;
}

/* What sv_store_reattach looks at, and no more. */
static int restore(const struct sv_parked *p, struct sv_store *s)
{
	const struct sv_park_head *h = &p->head;
	int r;

	s->anchor = h->anchor;
	s->size_bytes = h->size_bytes;
	s->log.epoch = h->epoch;
	s->log.seq = h->seq;
	memcpy(s->log.hash, h->hash, SV_HASH_BYTES);
	memcpy(s->log.before_opening, h->before_opening, SV_HASH_BYTES);
	r = sv_store_stage(s);
	if (r == 0)
		r = sv_segs_init(&s->segs, h->anchor.segment_bytes, h->segments, h->segments);
	if (r == 0)
		r = restore_appends(p, s);
	if (r == 0 && h->must_segments)
		s->segs.v[h->must_segments - 1].usage.generation = 1;
	return r;
}

/* Makes lie_window bytes follow what was written back; never more than there is of the stick. */
static int write_window(struct sv_parked *p, struct sv_dev *dev)
{
	const struct sv_anchor *a = &p->head.anchor;
	const uint64_t place = p->head.next * (uint64_t)a->segment_bytes;
	const uint32_t chunk = (uint32_t)sv_min64(1u << 20, a->segment_bytes);
	struct sv_geometry geo;
	uint64_t window;
	uint8_t *zeros;
	int r = sv_dev_geometry(dev, &geo);

	if (r < 0)
		return r;
	window = sv_min64(a->lie_window_bytes, geo.size_bytes);
	if (posix_memalign((void **)&zeros, 4096, chunk))
		return -ENOMEM;
	memset(zeros, 0, chunk);
	for (uint64_t done = 0; r == 0 && done < window;) {
		uint64_t at = done % a->segment_bytes;
		uint32_t len = (uint32_t)sv_min64(chunk, a->segment_bytes - at);

		r = sv_dev_write(dev, zeros, len, place + at);
		done += len;
		p->wrote_bytes += len;
	}
	free(zeros);
	return r == 0 ? sv_dev_flush(dev) : r;
}

int sv_parked_write_back(struct sv_parked *p, struct sv_dev *dev, struct sv_reattach *ret_did)
{
	struct sv_reattach did = {0};
	struct sv_store *s;
	int r = empty_store(&s);

	if (r < 0)
		return r;
	r = restore(p, s);
	if (r == 0)
		r = sv_store_reattach(s, dev, &did);
	sv_store_free(s);
	p->wrote_bytes += did.rewritten_bytes;
	if (r == 0)
		r = write_window(p, dev);
	if (r == 0 && ret_did)
		*ret_did = did;
	return r;
}

/* ---- the rest ---- */

int sv_parked_each(const struct sv_parked *p, sv_parked_change *change, void *ctx)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->changes; i++) {
		uint64_t off = p->change[i].lba * SV_BLOCK_BYTES;
		uint64_t end = sv_min64(p->change[i].end * SV_BLOCK_BYTES, p->head.size_bytes);

		r = change(ctx, p->block[i], end - off, off);
	}
	return r;
}

static int apply_one(void *ctx, const void *bytes, uint64_t len_bytes, uint64_t off_bytes)
{
	if (bytes)
		return sv_store_write(ctx, bytes, len_bytes, off_bytes);
	return sv_store_discard(ctx, len_bytes, off_bytes);
}

/* What was written behind the store's back was written to its stick all the same. */
static void tell_ledger(struct sv_parked *p, struct sv_store *s)
{
	pthread_mutex_lock(&s->lock);
	sv_reattach_shift(s, p->wrote_bytes);
	pthread_mutex_unlock(&s->lock);
	p->wrote_bytes = 0;
}

int sv_parked_apply(struct sv_parked *p, struct sv_store *st)
{
	struct sv_status status;
	int r;

	sv_store_status(st, &status);
	if (memcmp(status.store_id, p->head.anchor.store_id, SV_STORE_ID_BYTES) != 0 ||
	    status.size_bytes != p->head.size_bytes)
		return -EMEDIUMTYPE;
	tell_ledger(p, st);
	r = sv_parked_each(p, apply_one, st);
	return r < 0 ? r : sv_store_flush(st);
}
