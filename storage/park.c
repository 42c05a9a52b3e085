/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * park.c: hands out what a detached store has in memory and its stick may not have.
 *
 *   detached --park_begin--> parking --park--> (the process may end)
 *       ^                       '--park_cancel--'
 *
 * What makes up the disk when the stick goes away is: the chain up to what is surely on the stick,
 * the appends behind that (retain.c keeps them as they were sent), the group that was being
 * sealed, and the open batch. So the stream is those appends, then the blocks of the other two.
 *
 * X1  From park_begin on no write or discard enters a batch, so nothing that was acknowledged comes
 *     behind what is handed out. Flushes are accepted from then on; their promise is the stream's.
 * X2  A group of which only parts were appended is handed out whole as blocks, too: recovery drops
 *     the parts (C2), and the blocks bring it back.
 * X3  Changes are in the order in which they happened: the discards of a batch before its blocks
 *     (B1), the batch that was being sealed before the open one.
 * X4  What is known of the session (epoch, its end, its anchor, the batch before the oldest append)
 *     goes along, so that whoever writes it back can hold to A1 and A2 (reattach.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "park_format.h"
#include "stickvm/park.h"
#include "store_impl.h"

int sv_store_park_begin(struct sv_store *s)
{
	int r = 0;

	if (s->opts.read_only)
		return -EROFS;
	pthread_mutex_lock(&s->lock);
	if (sv_is_detached(s))
		s->parking = true;
	else
		r = -EALREADY;
	pthread_cond_broadcast(&s->room); /* who waits for it finds out */
	pthread_mutex_unlock(&s->lock);
	return r;
}

void sv_store_park_cancel(struct sv_store *s)
{
	pthread_mutex_lock(&s->lock);
	s->parking = false;
	pthread_mutex_unlock(&s->lock);
}

/* How long the place must be: segments that hold what is not handed out. */
static uint64_t must_segments(struct sv_store *s)
{
	uint64_t i = s->segs.count;

	while (i > 2 && (!s->segs.v[i - 1].usage.generation ||
			 sv_is_kept(s, sv_place(s, (uint32_t)(i - 1), 0))))
		i--;
	return i;
}

static int put_head(struct sv_store *s, sv_park_put *put, void *ctx)
{
	const struct sv_kept *before = &s->retain.before;
	struct sv_park_head head = {
		.size_bytes = s->size_bytes,
		.epoch = s->log.epoch,
		.seq = s->log.seq,
		.segment = s->log.segment,
		.next = s->log.next,
		.after = s->log.after,
		.offset = s->log.offset,
		.segments = s->segs.count,
		.must_segments = must_segments(s),
		.appends = s->retain.count,
		.before_known = s->retain.before_known,
		.anchor = s->anchor,
	};
	uint8_t *buf = malloc(SV_PARK_HEAD_BYTES);
	int r;

	if (!buf)
		return -ENOMEM;
	memcpy(head.hash, s->log.hash, SV_HASH_BYTES);
	memcpy(head.before_opening, s->log.before_opening, SV_HASH_BYTES);
	if (head.before_known) {
		head.before_place = before->place;
		head.before_seq = before->seq;
		head.before_next = before->next_segment;
		memcpy(head.before_hash, before->hash, SV_HASH_BYTES);
	}
	sv_park_head_encode(&head, buf);
	r = put(ctx, buf, SV_PARK_HEAD_BYTES);
	free(buf);
	return r;
}

static int put_append(struct sv_store *s, const struct sv_kept *kept, uint8_t *buf,
		      sv_park_put *put, void *ctx)
{
	const uint64_t flushed = s->ledger.stick_written_bytes - s->log.unflushed_bytes;
	struct sv_park_append append = {.place = kept->place,
					.seq = kept->seq,
					.len_bytes = kept->len_bytes,
					.next_segment = kept->next_segment,
					.apart = kept->apart,
					.flushed = !kept->doubtful && kept->end_bytes <= flushed};
	uint8_t raw[SV_PARK_APPEND_BYTES];
	int r;

	memcpy(append.hash, kept->hash, SV_HASH_BYTES);
	sv_park_append_encode(&append, raw);
	sv_retain_copy(s, kept, buf);
	r = put(ctx, raw, sizeof(raw));
	return r < 0 ? r : put(ctx, buf, kept->len_bytes);
}

static int put_appends(struct sv_store *s, sv_park_put *put, void *ctx)
{
	uint8_t *buf = malloc(s->stage_bytes);
	int r = buf ? 0 : -ENOMEM;

	for (uint32_t n = 0; r == 0 && n < s->retain.count; n++)
		r = put_append(s, sv_retain_nth(s, n), buf, put, ctx);
	free(buf);
	return r;
}

static int put_change(const struct sv_park_change *change, const uint8_t *block, sv_park_put *put,
		      void *ctx)
{
	uint8_t raw[SV_PARK_CHANGE_BYTES];
	int r;

	sv_park_change_encode(change, raw);
	r = put(ctx, raw, sizeof(raw));
	return r == 0 && block ? put(ctx, block, SV_BLOCK_BYTES) : r;
}

/* X3 */
static int put_batch(struct sv_store *s, const struct sv_batch *b, sv_park_put *put, void *ctx)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < b->ranges; i++)
		r = put_change(
			&(struct sv_park_change){SV_PARK_DISCARD, b->range[i].lba, b->range[i].end},
			NULL, put, ctx);
	for (uint32_t i = 0; r == 0 && i < b->count; i++) {
		const struct sv_node *node = &b->nodes[i];

		if (node->lba != UINT64_MAX)
			r = put_change(
				&(struct sv_park_change){SV_PARK_BLOCK, node->lba, node->lba + 1},
				sv_arena_slot(&s->arena, node->slot), put, ctx);
	}
	return r;
}

/* With `cleaning` and `commit` held, and X1. */
static int put_all(struct sv_store *s, sv_park_put *put, void *ctx)
{
	int r = put_head(s, put, ctx);

	if (r == 0)
		r = put_appends(s, put, ctx);
	if (r == 0 && s->sealing) /* X2 */
		r = put_batch(s, &s->batch[!s->open], put, ctx);
	if (r == 0)
		r = put_batch(s, &s->batch[s->open], put, ctx);
	if (r == 0)
		r = put_change(&(struct sv_park_change){.kind = SV_PARK_END}, NULL, put, ctx);
	return r;
}

int sv_store_park(struct sv_store *s, sv_park_put *put, void *ctx)
{
	int r;

	if (!s->parking)
		return -EINVAL;
	pthread_mutex_lock(&s->cleaning);
	pthread_mutex_lock(&s->commit);
	r = put_all(s, put, ctx);
	pthread_mutex_unlock(&s->commit);
	pthread_mutex_unlock(&s->cleaning);
	return r;
}
