/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.c: what a store says of itself. */
#include "store_impl.h"

static struct sv_ledger ledger_since(const struct sv_ledger *now, const struct sv_ledger *then)
{
	struct sv_ledger d = *now;
	uint64_t *to = (uint64_t *)(void *)&d;
	const uint64_t *from = (const uint64_t *)(const void *)then;

	/* All fields are 64-bit counters but the last, which is a date. */
	for (size_t i = 0; i < sizeof(d) / sizeof(uint64_t) - 1; i++)
		to[i] -= from[i];
	return d;
}

void sv_tally(struct sv_store *s)
{
	s->ledger.guest_read_bytes += atomic_exchange(&s->tally.guest_read, 0);
	s->ledger.guest_written_bytes += atomic_exchange(&s->tally.guest_written, 0);
	s->ledger.guest_discarded_bytes += atomic_exchange(&s->tally.guest_discarded, 0);
	s->ledger.stick_read_bytes += atomic_exchange(&s->tally.stick_read, 0);
}

static void cache_status(struct sv_store *s, struct sv_status *st)
{
	struct sv_host_stats host = {0};

	st->ram_hits = sv_ram_hits(&s->ram);
	st->cache_error = s->host_error;
	if (s->host)
		sv_host_stats(s->host, &host);
	st->cache_hits = host.hits;
	st->cache_misses = host.misses;
	st->cache_bytes = host.bytes;
	st->cache_limit_bytes = host.limit_bytes;
	st->cache_written_bytes = host.written_bytes;
	st->cache_bad = host.bad;
	st->cache_passed = host.passed;
}

void sv_store_status(struct sv_store *s, struct sv_status *ret)
{
	struct sv_status st = {0};

	pthread_mutex_lock(&s->lock);
	sv_tally(s);
	memcpy(st.store_id, s->anchor.store_id, SV_STORE_ID_BYTES);
	st.epoch = s->log.epoch >> SV_EPOCH_SALT_BITS;
	st.seq = s->log.seq;
	st.size_bytes = s->size_bytes;
	st.mapped_bytes = s->map.mapped * SV_BLOCK_BYTES;
	st.used_bytes = s->segs.live_bytes;
	st.capacity_bytes = sv_capacity_bytes(s);
	st.grace_bytes = sv_grace_bytes(s);
	st.grace = s->grace;
	st.dirty_bytes = (uint64_t)(s->arena.slots - s->arena.free_slots) * SV_BLOCK_BYTES;
	if (!st.dirty_bytes && s->flushed_stamp != s->stamp)
		st.dirty_bytes = s->log.unflushed_bytes;
	st.segment_bytes = s->anchor.segment_bytes;
	st.page_bytes = s->anchor.page_bytes;
	st.segments = s->segs.count;
	st.free_segments = s->segs.free + (s->segs.limit - s->segs.count);
	st.map_ram_bytes = (uint64_t)s->map.fresh * sizeof(struct sv_page);
	st.state = sv_is_detached(s) ? SV_DETACHED : s->state;
	st.scrubbed_bytes = s->scrub.bytes;
	st.scrub_bad_blocks = s->scrub.bad_blocks;
	st.scrub_bad_off_bytes = s->scrub.bad_lba * SV_BLOCK_BYTES;
	st.alignment_known = s->geo.alignment_known;
	st.flush_requested = s->geo.flush_requested;
	st.ledger = s->ledger;
	st.session = ledger_since(&s->ledger, &s->ledger_at_open);
	pthread_mutex_unlock(&s->lock);
	cache_status(s, &st);
	*ret = st;
}

void sv_store_history(struct sv_store *s, struct sv_history *ret)
{
	pthread_mutex_lock(&s->lock);
	sv_tally(s);
	if (!s->opts.read_only)
		sv_history_note(&s->history, &s->ledger, sv_now_s());
	*ret = s->history;
	pthread_mutex_unlock(&s->lock);
}
