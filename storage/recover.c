/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * recover.c: from two anchors to a map in memory; then a new epoch.
 *
 *   anchors --walk--> chain --verify--> accepted prefix --newest root--> map --replay--> state
 *   state --opening batch, flush, anchors, flush--> ready
 *
 * The root that replay starts from may be newer than the one the walk started from (R2): it was
 * accepted with everything before it. It must be older than the first move whose target is gone
 * (M2), since its pages may name that target.
 *
 * R4  A page that replay made dirty stays in memory until the first checkpoint of this session:
 *     nothing may be written before the state is known, and when it is opened for reading nothing
 *     at all. So the bound of the map gives way, up to a limit, where another host had a higher
 *     one; a session for writing returns to its own with a checkpoint before anything else.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "store_impl.h"

static bool params_sane(const struct sv_store *s, const struct sv_anchor *a)
{
	uint32_t page = a->page_bytes;

	return page >= SV_PAGE_MIN_BYTES && page <= SV_PAGE_MAX_BYTES && (page & (page - 1)) == 0 &&
	       a->segment_bytes >= SV_SEGMENT_MIN_BYTES &&
	       a->segment_bytes <= SV_SEGMENT_MAX_BYTES && a->segment_bytes % page == 0 &&
	       a->checkpoint_bytes && a->checkpoint_bytes <= SV_WINDOW_MAX_BYTES &&
	       a->lie_window_bytes <= SV_WINDOW_MAX_BYTES &&
	       s->geo.size_bytes / a->segment_bytes >= 4;
}

static int read_anchor(struct sv_store *s, uint8_t *buf, uint64_t place, struct sv_anchor *ret)
{
	int r = place + SV_ANCHOR_BYTES > s->geo.size_bytes
			? -EMEDIUMTYPE
			: sv_dev_read(s->dev, buf, SV_ANCHOR_BYTES, place);

	if (r == 0)
		r = sv_anchor_decode(buf, ret);
	return r == 0 && !params_sane(s, ret) ? -EBADMSG : r;
}

/* The second anchor when the first, which says where it is, cannot be read. */
static int search_second(struct sv_store *s, uint8_t *buf, struct sv_anchor *ret)
{
	for (uint64_t at = SV_ANCHOR_SEARCH_STEP; at <= SV_ANCHOR_SEARCH_END;
	     at += SV_ANCHOR_SEARCH_STEP) {
		int r = read_anchor(s, buf, at, ret);

		if ((r == 0 || r == -EPROTONOSUPPORT) && ret->segment_bytes == at)
			return r;
	}
	return -EBADMSG;
}

/* Both anchors; the newer one first. A missing second is no error. */
static int read_anchors(struct sv_store *s, struct sv_anchor pair[2], unsigned *ret_count)
{
	uint8_t *buf;
	int first, second = -EBADMSG;

	if (posix_memalign((void **)&buf, 4096, SV_ANCHOR_BYTES))
		return -ENOMEM;
	first = read_anchor(s, buf, 0, &pair[0]);
	*ret_count = first == 0;
	if (first == 0) {
		second = read_anchor(s, buf, pair[0].segment_bytes, &pair[1]);
	} else if (first == -EBADMSG || first == -EMEDIUMTYPE || first == -EIO) {
		second = search_second(s, buf, &pair[0]);
	}
	free(buf);
	if (first < 0 && second < 0)
		return second == -EPROTONOSUPPORT ? second : first;
	*ret_count = first == 0 && second == 0 ? 2 : 1;
	s->lone_anchor = *ret_count == 1;
	s->second_first = first == 0 && (second < 0 || pair[0].anchor_seq > pair[1].anchor_seq);
	if (*ret_count == 2 && pair[1].anchor_seq > pair[0].anchor_seq) {
		struct sv_anchor a = pair[0];

		pair[0] = pair[1];
		pair[1] = a;
	}
	return 0;
}

/* The generation of a segment that the table, not read yet, would tell: from the chain, or from
 * a header before the place that is asked about. Of several the nearest: behind the last batch of
 * a segment headers of earlier generations may lie, never before one. */
static int generation_of(struct sv_store *s, struct sv_walk *w, uint64_t place,
			 uint64_t *ret_generation)
{
	uint32_t segment = (uint32_t)(place / s->anchor.segment_bytes);
	uint32_t offset = (uint32_t)(place % s->anchor.segment_bytes / s->anchor.page_bytes *
				     s->anchor.page_bytes);
	struct sv_head h;
	int r;

	for (size_t i = w->count; i-- > 0;)
		if (w->v[i].segment == segment) {
			*ret_generation = w->v[i].generation;
			return 0;
		}
	for (;; offset -= s->anchor.page_bytes) {
		r = sv_walk_head(s, w, segment, offset, &h);
		if (r != -EBADMSG || offset == 0)
			break;
	}
	if (r == 0)
		*ret_generation = h.generation;
	return r;
}

static int read_usage_page(struct sv_store *s, struct sv_walk *w, unsigned level, uint64_t index,
			   uint64_t *entries)
{
	uint64_t entry = s->segs.level[level].where[index];
	struct sv_binding bind = {.store_id = s->anchor.store_id,
				  .place = sv_entry_place(entry),
				  .subject = sv_page_subject(SV_TREE_USAGE, level, index)};
	struct sv_unit unit;
	struct sv_cur c;
	uint8_t *data;
	int r = generation_of(s, w, bind.place, &bind.generation);

	if (r == 0)
		r = sv_walk_read(s, w, bind.place, SV_PAGE_UNIT_BYTES, &data);
	if (r == 0)
		r = sv_unit_verify(&bind, data, SV_PAGE_UNIT_BYTES, &unit);
	if (r < 0 || unit.kind != SV_UNIT_PAGE || unit.payload_bytes != SV_PAGE_BYTES)
		return r < 0 ? r : -EBADMSG;
	c = sv_cur_over(data + SV_UNIT_HEAD_BYTES, SV_PAGE_BYTES);
	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++)
		entries[i] = sv_get64(&c);
	return 0;
}

/* Puts a page of the segment table in its place: usages, or where the pages below it are. */
static void place_usage_page(struct sv_segs *segs, unsigned level, uint64_t index,
			     const uint64_t *entries)
{
	uint8_t raw[SV_PAGE_BYTES];
	struct sv_cur c = sv_cur_over(raw, sizeof(raw));

	for (unsigned i = 0; i < SV_PAGE_ENTRIES; i++) {
		uint64_t child = index * SV_PAGE_ENTRIES + i;

		if (level && child < segs->level[level - 1].pages)
			segs->level[level - 1].where[child] = entries[i];
		sv_put64(&c, entries[i]);
	}
	c = sv_cur_over(raw, sizeof(raw));
	for (unsigned i = 0; !level && i < SV_USAGE_PER_PAGE; i++) {
		uint64_t segment = index * SV_USAGE_PER_PAGE + i;
		struct sv_usage u = sv_usage_get(&c);

		if (segment < 2 || segment >= segs->limit)
			continue;
		/* The check will say so. */
		u.live_bytes = (uint32_t)sv_min64(u.live_bytes, segs->segment_bytes);
		u.used_bytes = (uint32_t)sv_min64(u.used_bytes, segs->segment_bytes);
		segs->live_bytes += u.live_bytes;
		segs->v[segment].usage = u;
	}
}

static int load_usage(struct sv_store *s, struct sv_walk *w, const struct sv_root *root)
{
	unsigned levels = sv_segs_levels(root->segments);
	uint64_t entries[SV_PAGE_ENTRIES];
	int r = 0;

	if (!root->usage_top)
		return 0;
	if (root->segments > s->segs.count) {
		sv_why("the place is shorter than it was");
		return -EUCLEAN;
	}
	s->segs.level[levels - 1].where[0] = root->usage_top;
	for (unsigned level = levels; r == 0 && level-- > 0;)
		for (uint64_t i = 0; r == 0 && i < sv_segs_pages(root->segments, level); i++) {
			if (!s->segs.level[level].where[i])
				continue;
			r = read_usage_page(s, w, level, i, entries);
			if (r == 0)
				place_usage_page(&s->segs, level, i, entries);
		}
	/* Only now are all segments known: the table's own pages count apart. */
	for (unsigned level = 0; r == 0 && level < levels; level++)
		for (uint64_t i = 0; i < sv_segs_pages(root->segments, level); i++)
			if (s->segs.level[level].where[i])
				sv_segs_self(&s->segs,
					     sv_entry_place(s->segs.level[level].where[i]),
					     SV_PAGE_UNIT_BYTES, 0);
	return r;
}

static int find_root(const struct sv_walked *v, struct sv_root *ret_root)
{
	struct sv_cur c = sv_cur_over(v->raw + SV_HEAD_FIXED_BYTES,
				      v->raw_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_record rec = {0};

	while (sv_record_get(&c, &rec) == 0)
		if (rec.type == SV_REC_ROOT) {
			*ret_root = rec.root;
			return 0;
		}
	return -EBADMSG;
}

/* What the chain itself says of the segments it lies in; the root's table is older than that. */
static void note_walked(struct sv_store *s, const struct sv_walked *v)
{
	struct sv_usage *u = &s->segs.v[v->segment].usage;

	if (u->generation != v->generation)
		u->used_bytes = u->lineage = 0;
	u->generation = v->generation;
	u->last_seq = sv_max64(u->last_seq, v->seq);
	u->used_bytes = (uint32_t)sv_max64(u->used_bytes, v->offset + v->total_bytes);
	u->flags |= SV_SEG_CONVERTED;
	if (v->flags & SV_BATCH_OPEN && v->offset)
		sv_segs_go_on(&s->segs, v->segment, v->hash);
	sv_segs_touch(&s->segs, v->segment);
}

static int replay(struct sv_store *s, struct sv_walk *w, size_t start)
{
	int r = 0;

	for (size_t i = start + 1; r == 0 && i < w->count; i++) {
		struct sv_head h;

		/* Not decode: a record of a bad move was changed in memory. */
		r = sv_head_peek(w->v[i].raw, w->v[i].raw_bytes, &h);
		if (r == 0)
			r = sv_apply_part(s, &h, w->v[i].raw);
	}
	return r;
}

static bool root_sane(const struct sv_store *s, const struct sv_root *root)
{
	uint64_t top = sv_entry_place(root->map_top) / s->anchor.segment_bytes;

	return root->size_bytes && root->size_bytes % 512 == 0 &&
	       root->size_bytes <= SV_MAX_DISK_BYTES &&
	       (!root->map_top || (top >= 2 && top < s->geo.size_bytes / s->anchor.segment_bytes));
}

static int load_state(struct sv_store *s, struct sv_walk *w, size_t start)
{
	uint64_t count = s->geo.size_bytes / s->anchor.segment_bytes;
	uint64_t limit = sv_max64(s->geo.max_bytes / s->anchor.segment_bytes, count);
	struct sv_root root;
	int r = find_root(&w->v[start], &root);

	if (r < 0)
		return r;
	if (!root_sane(s, &root))
		return -EBADMSG;
	s->size_bytes = root.size_bytes;
	s->blocks = (root.size_bytes + SV_BLOCK_BYTES - 1) / SV_BLOCK_BYTES;
	r = sv_segs_init(&s->segs, s->anchor.segment_bytes, count, limit);
	if (r == 0)
		r = sv_map_init(&s->map, s->blocks, s->opts.map_ram_bytes);
	if (r == 0)
		r = load_usage(s, w, &root);
	if (r < 0)
		return r;
	s->map.top = root.map_top;
	s->map.mapped = root.mapped_blocks;
	for (size_t i = 0; i < w->count; i++)
		if (w->v[i].seq > root.as_of_seq)
			note_walked(s, &w->v[i]);
	sv_segs_recount(&s->segs);
	s->recovering = true;
	r = replay(s, w, start);
	s->recovering = false;
	sv_segs_recount(&s->segs);
	return r;
}

static bool can_follow(const struct sv_store *s, uint32_t segment)
{
	return segment >= 2 && segment < s->segs.count && segment != s->log.segment;
}

static bool holds_something(const struct sv_store *s, uint32_t segment)
{
	return s->segs.v[segment].usage.live_bytes || s->segs.v[segment].self_live;
}

/* The log's end as the last accepted batch left it. */
static int adopt_tail(struct sv_store *s, const struct sv_walk *w, const struct sv_anchor *older)
{
	const struct sv_walked *tail = &w->v[w->count - 1];
	struct sv_head h;
	int r = sv_head_peek(tail->raw, tail->raw_bytes, &h);

	if (r < 0)
		return r;
	s->log.segment = tail->segment;
	s->log.offset = (uint64_t)tail->offset + tail->total_bytes;
	s->log.generation = tail->generation;
	s->log.next = tail->next_segment;
	s->log.after = tail->after_segment;
	s->log.seq = tail->seq;
	/* What was accepted is not durable by that: the opening must not say so (C4). */
	s->log.flushed_seq = tail->flags & SV_BATCH_CLOSE ? tail->seq : tail->flushed_seq;
	memcpy(s->log.hash, tail->hash, SV_HASH_BYTES);
	s->log.epoch = tail->epoch;
	s->ledger = h.ledger;
	if (!can_follow(s, s->log.next) || !can_follow(s, s->log.after) ||
	    s->log.next == s->log.after)
		return -EBADMSG;
	/* L2: they were free when they were named. */
	s->segs.wrong |= holds_something(s, s->log.next) || holds_something(s, s->log.after);
	sv_segs_set_role(&s->segs, s->log.segment, SV_SEG_HEAD);
	sv_segs_set_role(&s->segs, s->log.next, SV_SEG_NEXT);
	sv_segs_set_role(&s->segs, s->log.after, SV_SEG_NEXT);
	for (size_t i = 0; i < w->count; i++)
		if (w->v[i].flags & SV_BATCH_ROOT && !w->v[i].poisoned) {
			struct sv_link link = {.segment = w->v[i].segment,
					       .offset = w->v[i].offset,
					       .generation = w->v[i].generation,
					       .seq = w->v[i].seq};

			memcpy(link.hash, w->v[i].hash, SV_HASH_BYTES);
			s->root_log_bytes = w->v[i].log_bytes + w->v[i].total_bytes;
			sv_marks_add(&s->roots, &link, s->root_log_bytes);
		}
	sv_retain_cut(s, tail->seq);
	s->bad_moves = w->bad_moves;
	s->damages = w->damages - w->damages_told;
	memcpy(s->damaged, w->damaged + w->damages_told, s->damages * sizeof(s->damaged[0]));
	s->epoch_seen = w->epoch_seen;
	/* A store that was made before the field was has 0 in it: then it was named just now. */
	sv_marks_add(&s->anchors, &older->root,
		     older->named_log_bytes ? sv_min64(older->named_log_bytes, older->log_bytes)
					    : older->log_bytes);
	sv_segs_set_gate(&s->segs, sv_min64(older->gate_seq, s->anchor.gate_seq));
	sv_update_gate(s);
	return 0;
}

/* H1 of history.c, B4 of bootset.c. */
static int read_history(struct sv_store *s, const struct sv_walk *w)
{
	int r = 0;

	s->history = (struct sv_history){0};
	sv_boot_free(&s->boot);
	for (size_t i = 0; r == 0 && i < w->count; i++) {
		struct sv_head h;

		r = sv_head_peek(w->v[i].raw, w->v[i].raw_bytes, &h);
		if (r == 0) {
			sv_history_take(&s->history, &h, w->v[i].raw, true);
			sv_boot_take(&s->boot, &h, w->v[i].raw);
		}
	}
	return r;
}

static void fill_recovery(struct sv_store *s, const struct sv_walk *w, size_t start)
{
	struct sv_recovery *rec = &s->recovery;

	rec->clean = w->v[w->count - 1].flags & SV_BATCH_CLOSE && !w->lost_flushed;
	rec->batches_replayed = w->count - 1 - start;
	rec->bytes_read = w->bytes_read;
	rec->lost_flushed_batches = w->lost_flushed;
	memcpy(rec->last_host, s->anchor.host, SV_HOST_BYTES);
	rec->last_since_s = s->anchor.since_s;
}

static int recover_from(struct sv_store *s, const struct sv_anchor *a,
			const struct sv_anchor *older)
{
	struct sv_walk walk = {0};
	size_t start = 0;
	int r;

	s->anchor = *a;
	r = sv_walk_chain(s, &walk);
	for (size_t i = 0; r == 0 && i < walk.count; i++)
		if (walk.v[i].flags & SV_BATCH_ROOT && !walk.v[i].poisoned)
			start = i;
	if (r == 0)
		r = load_state(s, &walk, start);
	if (r == 0)
		r = adopt_tail(s, &walk, older);
	if (r == 0)
		r = read_history(s, &walk);
	if (r == 0)
		fill_recovery(s, &walk, start);
	sv_walk_free(s, &walk);
	if (r < 0) {
		sv_map_free(&s->map);
		sv_segs_free(&s->segs);
	}
	return r;
}

static int refuse(const struct sv_anchor *a)
{
	if (a->features.incompat & ~SV_INCOMPAT_KNOWN)
		sv_why("it uses a feature this version does not know (incompatible bits %llx)",
		       (unsigned long long)(a->features.incompat & ~SV_INCOMPAT_KNOWN));
	else
		sv_why("it was made by a newer version");
	return -EPROTONOSUPPORT;
}

int sv_recover(struct sv_store *s)
{
	struct sv_anchor pair[2] = {{.features = {0}}};
	unsigned count = 0;
	int r = read_anchors(s, pair, &count);

	if (r == -EPROTONOSUPPORT)
		return refuse(&pair[0]);
	if (r == -EMEDIUMTYPE)
		sv_why("there is no store here");
	if (r == -EBADMSG)
		sv_why("both anchors are damaged");
	if (r < 0)
		return r;
	s->born.told = pair[0].features.incompat & pair[count - 1].features.incompat &
		       SV_INCOMPAT_BORN; /* Z6 */
	pair[0].features.incompat |= pair[count - 1].features.incompat;
	pair[count - 1].features.incompat = pair[0].features.incompat;
	r = recover_from(s, &pair[0], &pair[count - 1]);
	if (r == -EBADMSG && count == 2)
		r = recover_from(s, &pair[1], &pair[1]);
	if (r == -EBADMSG)
		sv_why("no root can be verified");
	if (r == 0 && s->segs.wrong && !s->opts.read_only) {
		sv_why("its map and its segment table contradict each other; it can be opened for "
		       "reading");
		r = -EUCLEAN;
	}
	if (r == 0 && s->anchor.features.ro_compat && !s->opts.read_only) {
		sv_why("it uses a feature this version can only read");
		r = -EPROTONOSUPPORT;
	}
	return r;
}

/*
 * Zeros over what is left of the segment that is given up. The stick's controller would have to
 * copy as much; and the log moves on by a segment for each one it uses up, which is what makes the
 * reserve enough however often a session ends without a close (room.c). Orphans go with it: they
 * are kept only where they tell of a loss.
 */
static int fill_up(struct sv_store *s)
{
	uint32_t chunk = (uint32_t)sv_min64(1u << 20, s->anchor.segment_bytes);
	uint8_t *zeros = NULL;
	int r = 0;

	if (posix_memalign((void **)&zeros, 4096, chunk))
		return -ENOMEM;
	memset(zeros, 0, chunk);
	while (r == 0 && s->log.offset < s->anchor.segment_bytes) {
		uint32_t len = (uint32_t)sv_min64(chunk, s->anchor.segment_bytes - s->log.offset);

		r = sv_log_write(s, zeros, len, sv_place(s, s->log.segment, s->log.offset));
		s->log.offset += len;
		s->ledger.padding_bytes += len;
	}
	free(zeros);
	return r;
}

/*
 * A fresh segment for a new epoch: what lies behind the tail may be torn. Only a log that was
 * closed, with no epoch begun since, ends where nothing was ever written: there it goes on, or a
 * store that is opened a thousand times would use up a thousand segments. Not, though, in the
 * segment with the root that the anchors name: a torn write may take what lies before it along.
 */
static int choose_head(struct sv_store *s)
{
	bool with_root = s->anchor.root.segment == s->log.segment;
	int r = 0;

	if (s->recovery.clean && s->anchor.epoch == s->log.epoch && !with_root) {
		s->log.recent.v[0].end = s->log.offset; /* long ago: a gap is due */
		return 0;
	}
	if (!with_root && !s->recovery.lost_flushed_batches)
		r = fill_up(s);
	s->log.offset = s->anchor.segment_bytes;
	return r;
}

int sv_begin_epoch(struct sv_store *s)
{
	struct sv_record rec = {.type = SV_REC_SESSION, .session.since_s = sv_now_s()};
	struct sv_record loss = {.type = SV_REC_LOSS, .count = s->recovery.lost_flushed_batches};
	struct sv_part part;
	int r;

	s->log.generation_seed = s->opts.seed;
	if (!s->opts.seed &&
	    getrandom(&s->log.generation_seed, sizeof(s->log.generation_seed), 0) < 0)
		return -errno;
	if (s->opts.host)
		snprintf(rec.session.host, SV_HOST_BYTES, "%s", s->opts.host);
	if (s->segs.free < 4)
		sv_grow_ahead(s);
	r = choose_head(s);
	if (r < 0)
		return r;
	memcpy(s->log.before_opening, s->log.hash, SV_HASH_BYTES);
	s->log.prev_epoch = s->log.epoch;
	/* An opening that the stick lost leaves orphans of its epoch: no number is used twice. */
	s->log.epoch = sv_max64(sv_max64(s->log.epoch, s->epoch_seen), s->anchor.epoch);
	s->log.epoch = (s->log.epoch >> SV_EPOCH_SALT_BITS) + 1;
	s->log.epoch = s->log.epoch << SV_EPOCH_SALT_BITS |
		       (s->log.generation_seed & ((1u << SV_EPOCH_SALT_BITS) - 1));
	s->ledger.sessions++;
	s->ledger.unclean_detaches += !s->recovery.clean;
	r = sv_part_begin(
		s, &part,
		SV_REC_SESSION_BYTES + SV_REC_LOSS_BYTES + s->damages * SV_REC_DAMAGE_BYTES, 0);
	if (r < 0)
		return r;
	sv_part_record(&part, &rec);
	if (loss.count)
		sv_part_record(&part, &loss);
	for (unsigned i = 0; i < s->damages; i++) {
		struct sv_record damage = {.type = SV_REC_DAMAGE, .seq = s->damaged[i]};

		sv_part_record(&part, &damage);
	}
	r = sv_part_append(s, &part, SV_BATCH_OPEN | (s->bad_moves ? SV_BATCH_REFUSED : 0));
	if (r < 0)
		return r;
	sv_log_link(s, &s->log.opening, s->log.last_bytes);
	if (s->log.opening.offset)
		sv_segs_go_on(&s->segs, s->log.segment, s->log.hash);
	memcpy(s->anchor.host, rec.session.host, SV_HOST_BYTES);
	s->anchor.since_s = rec.session.since_s;
	r = sv_write_anchors(s);
	s->log.flushed_seq = s->log.seq;
	return r;
}

void sv_return_to_bound(struct sv_store *s)
{
	uint64_t pool_bytes = s->map.pool_pages * sizeof(struct sv_page);

	if (pool_bytes <= s->opts.map_ram_bytes || sv_store_checkpoint(s) < 0)
		return;
	pthread_mutex_lock(&s->commit);
	pthread_mutex_lock(&s->lock);
	(void)sv_map_resize(&s->map, s->opts.map_ram_bytes);
	s->space_bytes = sv_capacity_bytes(s);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->commit);
}
