/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bootpack.c: the units of the boot set, put one behind the other in the order in which they are
 * needed: then a sweep is one long read.
 *
 * The cleaner moves them (M1 to M5 of clean.c); here is which, when, and how often. In what order
 * units lie is nobody's promise, so nothing is written down of it: where they lie now says what a
 * sweep costs, and whether it is worth moving them.
 *
 * K1  A set is packed only where a sweep of it as it lies reads eight times as much, seeks counted,
 *     as it would packed: recovery verifies what was moved within lie_window, so the next openings
 *     pay for it (DESIGN, "The boot set").
 * K2  Bounded wear: at most once a session (and a quarter of it again, where it was interrupted),
 * not again for a set that was packed before, and what lies in order already, a quarter of a
 * megabyte and more of it, stays. What it came to, ever, is in the set (packed_bytes). K3  Only
 * into room that nobody needs, never into the reserve. K4  In idle time a step is given up as a
 * pass of the cleaner is; what it wrote stays, and is in order (K2), so the next step goes on
 * behind it.
 */
#include <errno.h>
#include <stdlib.h>

#include "digest.h"
#include "store_impl.h"

#define WORTH_RATIO 8u
#define WORTH_BYTES (1u << 20)
#define IN_ORDER_BYTES (256u << 10)
#define GAP_BYTES (160u << 10) /* between two passes: a gap, and a header with room for records */

static uint64_t set_check(struct sv_store *s)
{
	uint64_t check = 1;

	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < s->boot.count; i++) {
		uint8_t raw[12];
		struct sv_cur c = sv_cur_over(raw, sizeof(raw));

		sv_put64(&c, s->boot.v[i].lba);
		sv_put32(&c, s->boot.v[i].blocks);
		check = sv_hash64(raw, sizeof(raw), check);
	}
	pthread_mutex_unlock(&s->lock);
	return check;
}

static int by_turn(const void *a, const void *b)
{
	const struct sv_set_unit *x = a, *y = b;

	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

/* Each where it is needed first; how many are left. */
static uint32_t each_once(struct sv_set_unit *u, uint32_t count)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		u[i].turn = i;
	qsort(u, count, sizeof(u[0]), sv_set_by_place);
	for (uint32_t i = 0; i < count; i++)
		if (!n || u[i].place != u[n - 1].place)
			u[n++] = u[i];
	qsort(u, n, sizeof(u[0]), by_turn);
	return n;
}

/* All units of the set, in order of need. */
static int list_units(struct sv_store *s, struct sv_set_unit **ret_units, uint32_t *ret_count)
{
	struct sv_set_unit *u = calloc(SV_BOOT_BLOCKS, sizeof(u[0]));
	uint32_t extent = 0, got = 1, n = 0;
	int r = u ? 0 : -ENOMEM;

	while (r == 0 && got && n < SV_BOOT_BLOCKS) {
		r = sv_set_units(s, &extent, u + n, SV_BOOT_BLOCKS - n, &got);
		n += r == 0 ? got : 0;
	}
	if (r < 0) {
		free(u);
		return r;
	}
	*ret_units = u;
	*ret_count = n ? each_once(u, n) : 0;
	return 0;
}

/* K1. The list is of no use afterwards. */
static bool is_worth_it(const struct sv_store *s, struct sv_set_unit *u, uint32_t count)
{
	uint64_t cost = 0, packed = sv_seek_bytes(s), end = 0, ratio = WORTH_RATIO;

	for (uint32_t i = 0; i < count; i++)
		packed += u[i].stored;
	for (uint32_t i = 0; i < count; i += SV_SWEEP_WINDOW)
		cost += sv_set_cost(s, u + i, (uint32_t)sv_min64(count - i, SV_SWEEP_WINDOW), &end);
	if (s->boot_pack.worth_ratio)
		ratio = s->boot_pack.worth_ratio;
	return cost > ratio * packed && cost > packed + WORTH_BYTES;
}

/* How many from here on lie in order, and what they take. */
static uint32_t in_order(const struct sv_set_unit *u, uint32_t count, uint64_t *ret_bytes)
{
	uint32_t n = 1;

	*ret_bytes = u[0].stored;
	for (; n < count; n++) {
		uint64_t end = u[n - 1].place + u[n - 1].stored;

		if (u[n].place < end || u[n].place - end > GAP_BYTES)
			break;
		*ret_bytes += u[n].stored;
	}
	return n;
}

/* The first that are to be moved, to the front of the list: as many as go into a segment (K2). */
static uint32_t choose(const struct sv_store *s, struct sv_set_unit *u, uint32_t count,
		       uint64_t *ret_bytes)
{
	uint64_t most = s->anchor.segment_bytes - s->anchor.segment_bytes / 16, bytes = 0;
	uint32_t chosen = 0;

	for (uint32_t i = 0, n; i < count; i += n) {
		uint64_t run_bytes;

		n = in_order(u + i, count - i, &run_bytes);
		if (run_bytes >= sv_min64(IN_ORDER_BYTES, most / 4))
			continue;
		if (bytes + run_bytes > most)
			break;
		memmove(u + chosen, u + i, n * sizeof(u[0]));
		chosen += n;
		bytes += run_bytes;
	}
	*ret_bytes = bytes;
	return chosen;
}

static int look(struct sv_store *s)
{
	struct sv_boot_pack *p = &s->boot_pack;
	struct sv_set_unit *u;
	uint32_t count;
	int r;

	p->check = set_check(s);
	if (p->check == s->boot.packed_check) {
		p->state = SV_PACK_DONE;
		return 0;
	}
	r = list_units(s, &u, &count);
	if (r < 0)
		return r;
	p->state = is_worth_it(s, u, count) ? SV_PACK_DUE : SV_PACK_DONE;
	p->left_bytes = 0;
	for (uint32_t i = 0; i < count; i++)
		p->left_bytes += u[i].stored;
	p->left_bytes += p->left_bytes / 4; /* parts that were written twice (K4) */
	free(u);
	return 0;
}

static void note(struct sv_store *s, uint64_t bytes)
{
	struct sv_boot_pack *p = &s->boot_pack;

	p->left_bytes -= sv_min64(p->left_bytes, bytes);
	pthread_mutex_lock(&s->lock);
	s->boot.packed_bytes += bytes;
	pthread_mutex_unlock(&s->lock);
}

static int move_some(struct sv_store *s, bool (*go_on)(struct sv_store *s))
{
	struct sv_boot_pack *p = &s->boot_pack;
	struct sv_set_unit *u;
	uint64_t bytes, wrote = 0;
	uint32_t count;
	int r = list_units(s, &u, &count);

	if (r < 0)
		return r;
	count = choose(s, u, count, &bytes);
	if (!count) {
		pthread_mutex_lock(&s->lock);
		s->boot.packed_check = p->check;
		pthread_mutex_unlock(&s->lock);
		p->state = SV_PACK_DONE;
	} else if (bytes > p->left_bytes || !sv_has_spare(s, bytes)) {
		p->state = SV_PACK_DONE; /* K2, K3 */
	} else {
		r = sv_clean_move(s, u, count, go_on, &wrote);
		if (r == 0 && !wrote)
			p->state = SV_PACK_DONE; /* they are gone, or damaged */
	}
	note(s, wrote);
	free(u);
	return r;
}

int sv_boot_pack(struct sv_store *s, bool (*go_on)(struct sv_store *s), bool *ret_done)
{
	struct sv_boot_pack *p = &s->boot_pack;
	int r = 0;

	*ret_done = false;
	if (p->state == SV_PACK_DONE || !s->opts.boot_set || s->opts.read_only ||
	    atomic_load(&s->boot_run.on) || !s->boot.count)
		return 0;
	if (p->state == SV_PACK_LOOK)
		r = look(s);
	if (r == 0 && p->state == SV_PACK_DUE) {
		r = move_some(s, go_on);
		*ret_done = r == 0 && p->state == SV_PACK_DUE;
	}
	if (r == -EINTR || r == -EBUSY)
		return 0; /* K4 */
	if (r < 0)
		p->state = SV_PACK_DONE;
	return r;
}

void sv_boot_close(struct sv_store *s)
{
	bool done = !s->opts.manual;

	sv_sweep_forget(s);
	sv_boot_finish(s);
	pthread_mutex_lock(&s->cleaning);
	while (done && sv_boot_pack(s, NULL, &done) == 0)
		;
	pthread_mutex_unlock(&s->cleaning);
}
