/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk_born.c: a batch of the chain is whole only if what was born for it is there (DESIGN, Z2).
 *
 * The records name each unit, with its check, behind one that says in which batch apart they lie:
 * that is read in one go. The header of that batch does not count: no unit depends on it.
 */
#include <errno.h>

#include "store_impl.h"

/* The batch apart that the records at hand are of. */
struct nest {
	struct sv_record at; /* SEGMENT */
	uint64_t place;
	uint8_t *data; /* NULL: it cannot be where that says */
};

/* A record of an image that somebody made may say anything. */
static int read_nest(struct sv_store *s, struct sv_walk *w, struct nest *n)
{
	uint32_t size = s->anchor.segment_bytes;
	int r;

	n->data = NULL;
	n->place = sv_place(s, n->at.segment, n->at.offset);
	if (n->at.segment < 2 || n->at.offset % s->anchor.page_bytes ||
	    n->at.bytes % s->anchor.page_bytes || n->at.offset > size ||
	    n->at.bytes > size - n->at.offset)
		return 0;
	r = sv_walk_read(s, w, n->place, n->at.bytes, &n->data);
	if (r == -EBADMSG)
		n->data = NULL;
	return r == -EBADMSG ? 0 : r;
}

static bool is_there(const struct sv_store *s, const struct nest *n, const struct sv_record *rec)
{
	struct sv_binding bind = {.store_id = s->anchor.store_id,
				  .generation = n->at.generation,
				  .place = rec->new_place,
				  .subject = rec->lba};
	struct sv_unit unit;

	return n->data && rec->new_place >= n->place && rec->stored_bytes <= n->at.bytes &&
	       rec->new_place - n->place <= n->at.bytes - rec->stored_bytes &&
	       sv_unit_verify(&bind, n->data + (rec->new_place - n->place), rec->stored_bytes,
			      &unit) == 0 &&
	       unit.check == rec->check && unit.blocks == rec->blocks;
}

/* Kept as it was written, where its own header is whole, too. */
static void adopt(struct sv_store *s, const struct sv_walk *w, const struct sv_walked *v,
		  const struct nest *n)
{
	struct sv_head h;

	if (!n->data || sv_head_decode(n->data, n->at.bytes, &h) < 0 ||
	    !(h.flags & SV_BATCH_APART) || !(h.flags & SV_BATCH_BORN) ||
	    h.generation != n->at.generation || h.segment != n->at.segment ||
	    h.offset != n->at.offset || h.total_bytes != n->at.bytes ||
	    memcmp(h.store_id, s->anchor.store_id, SV_STORE_ID_BYTES) != 0)
		return;
	sv_retain_adopt_born(s, w, v, n->place, &h, n->data);
}

int sv_walk_born(struct sv_store *s, struct sv_walk *w, const struct sv_walked *v, bool recent,
		 bool *ret_good)
{
	struct sv_cur c = sv_cur_over(v->raw + SV_HEAD_FIXED_BYTES,
				      v->raw_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct nest n = {.data = NULL};
	struct sv_record rec;
	struct sv_head h;
	int r = sv_head_peek(v->raw, v->raw_bytes, &h);

	*ret_good = true;
	for (uint32_t i = 0; r == 0 && i < h.records; i++) {
		if (sv_record_get(&c, &rec) < 0)
			break; /* whoever reads the payload says so */
		if (rec.type == SV_REC_BORN && !is_there(s, &n, &rec))
			*ret_good = false;
		if (rec.type != SV_REC_SEGMENT || !rec.bytes)
			continue;
		if (recent && *ret_good)
			adopt(s, w, v, &n);
		n.at = rec;
		r = read_nest(s, w, &n);
	}
	if (r == 0 && recent && *ret_good)
		adopt(s, w, v, &n);
	return r;
}
