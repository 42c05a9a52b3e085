/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * turns.c: who uses the stick next: guests' reads first.
 *
 * A stick works on one command at a time, and the host's queue hands them over as they come. A part
 * of a batch is up to 4 MiB, half a second on a slow stick, and a guest that reads waits for it. So
 * everything that no guest waits for goes to the device in *pieces*, and between two of them those
 * who wait go first.
 *
 * R1  No piece begins while a guest's read is at the device or about to be, so a read that comes
 *     waits for the end of one piece, and for reads. Who reads one block after another has the next
 *     one ready a moment after the last: for so long (PAUSE_US) a piece waits as well, or every
 *     single read would find one under way.
 * R2  A piece waits for reads no longer than the last one took (PATIENCE_LEAST_US at least): guests
 *     that read without a pause leave half of the stick's time, and a flush that waits for its
 *     writes returns.
 * R3  Who waits here holds locks that a guest's read never takes (`commit`, `writing`, `cleaning`).
 * R4  What is read ahead (sweep.c) is a piece like others, but while a guest waits for it: then it
 *     waits for nobody, and others wait for it.
 *
 * A piece is one command where that is known (geometry.max_io_bytes), and as long as makes a
 * command's fixed cost a fiftieth of it: shorter ones would slow writes down, longer ones reads.
 * Both numbers are measured on the way: now and then some pieces are LEARN_SHORT and LEARN_LONG
 * bytes, and the shortest times of these say what a command costs and what a byte does.
 *
 * Reads ahead of a guest are pieces, too, once other reads came while one was under way.
 */
#include <errno.h>

#include "store_impl.h"

#define PATIENCE_LEAST_US 10000u
#define PAUSE_US 500u
#define LEARN_SHORT (64u << 10)
#define LEARN_LONG (256u << 10)
#define LEARN_EACH 4u	  /* pieces of either length */
#define LEARN_AGAIN 2048u /* pieces */
#define LEARN_SLOW 3u	  /* pieces in a row that took twice as long: the stick is another one */
#define PIECE_LEAST (64u << 10)
#define PIECE_MOST (1u << 20)
#define PIECE_MOST_US 24000u
#define COST_SHARE 48u /* a command's fixed cost, as a share of a piece */
#define COST_LEAST_US 150u
#define SHARED_US 1000000u

void sv_turns_init(struct sv_store *s)
{
	struct sv_turns *t = &s->turns;
	pthread_condattr_t attr;

	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->none, &attr);
	pthread_condattr_destroy(&attr);
	t->piece_bytes = LEARN_LONG;
}

void sv_turns_free(struct sv_store *s)
{
	pthread_mutex_destroy(&s->turns.lock);
	pthread_cond_destroy(&s->turns.none);
}

void sv_turns_read_begins(struct sv_store *s)
{
	struct sv_turns *t = &s->turns;

	pthread_mutex_lock(&t->lock);
	if (t->reading++)
		t->shared_us = sv_now_us();
	pthread_mutex_unlock(&t->lock);
}

void sv_turns_read_ends(struct sv_store *s)
{
	struct sv_turns *t = &s->turns;

	pthread_mutex_lock(&t->lock);
	t->ended_us = sv_now_us();
	if (--t->reading == 0)
		pthread_cond_broadcast(&t->none);
	pthread_mutex_unlock(&t->lock);
}

void sv_turns_ahead_begins(struct sv_store *s)
{
	struct sv_turns *t = &s->turns;

	pthread_mutex_lock(&t->lock);
	t->reading++;
	t->ahead++;
	pthread_cond_broadcast(&t->none);
	pthread_mutex_unlock(&t->lock);
}

void sv_turns_ahead_ends(struct sv_store *s)
{
	struct sv_turns *t = &s->turns;

	pthread_mutex_lock(&t->lock);
	t->ahead--;
	if (--t->reading == 0)
		pthread_cond_broadcast(&t->none);
	pthread_mutex_unlock(&t->lock);
}

/* Until then no piece begins, as far as is known now; 0: one may. With the lock held. */
static uint64_t wait_until(const struct sv_turns *t, uint64_t now_us, uint64_t end_us)
{
	if (now_us >= end_us)
		return 0; /* R2 */
	if (t->reading)
		return end_us;
	return t->ended_us + PAUSE_US > now_us ? sv_min64(t->ended_us + PAUSE_US, end_us) : 0;
}

static uint64_t let_pass(struct sv_store *s, uint64_t last_us, bool ahead)
{
	struct sv_turns *t = &s->turns;
	uint64_t start_us = sv_now_us(), now_us = start_us, until_us;
	uint64_t end_us = start_us + sv_max64(last_us, PATIENCE_LEAST_US);

	pthread_mutex_lock(&t->lock);
	while (!(ahead && t->ahead) && (until_us = wait_until(t, now_us, end_us)) != 0) {
		struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
					 .tv_nsec = (long)(until_us % 1000000 * 1000)};

		pthread_cond_timedwait(&t->none, &t->lock, &until);
		now_us = sv_now_us();
	}
	pthread_mutex_unlock(&t->lock);
	return now_us - start_us;
}

uint64_t sv_turns_wait(struct sv_store *s, uint64_t last_us)
{
	return let_pass(s, last_us, false);
}

void sv_turns_wait_ahead(struct sv_store *s, uint64_t last_us)
{
	let_pass(s, last_us, true);
}

uint64_t sv_turns_alone_us(struct sv_store *s)
{
	struct sv_turns *t = &s->turns;
	uint64_t alone_us;

	pthread_mutex_lock(&t->lock);
	alone_us = t->reading ? 0 : sv_now_us() - t->ended_us;
	pthread_mutex_unlock(&t->lock);
	return alone_us;
}

/* From the shortest times of both lengths: T = cost + bytes / rate. With the lock held. */
static void learn(struct sv_turns *t, uint32_t max_io_bytes, uint32_t page_bytes)
{
	uint64_t byte_us = t->long_us > t->short_us ? t->long_us - t->short_us : 1;
	uint64_t span = LEARN_LONG - LEARN_SHORT;
	uint64_t own = byte_us * LEARN_SHORT / span;
	uint64_t cost = t->short_us > own ? t->short_us - own : 0;
	uint64_t piece_us = sv_min64(COST_SHARE * sv_max64(cost, COST_LEAST_US), PIECE_MOST_US);
	uint64_t piece = sv_max64(piece_us * span / byte_us, PIECE_LEAST);

	piece = sv_min64(piece, PIECE_MOST);
	if (max_io_bytes >= PIECE_LEAST)
		piece = sv_min64(piece, max_io_bytes);
	if (piece > page_bytes)
		piece = sv_align_down(piece, page_bytes);
	t->piece_bytes = (uint32_t)piece;
	t->cost_us = cost;
	t->byte_us = byte_us;
}

uint32_t sv_turns_piece(struct sv_store *s)
{
	struct sv_turns *t = &s->turns;
	uint32_t piece;

	pthread_mutex_lock(&t->lock);
	piece = t->piece_bytes;
	if (t->learnt < 2 * LEARN_EACH)
		piece = t->learnt % 2 ? LEARN_LONG : LEARN_SHORT;
	pthread_mutex_unlock(&t->lock);
	return piece;
}

/* A piece of a length that is being learnt. With the lock held. */
static void take_lesson(struct sv_store *s, uint32_t len_bytes, uint64_t took_us)
{
	struct sv_turns *t = &s->turns;
	bool is_long = t->learnt % 2;
	uint64_t *best = is_long ? &t->long_us : &t->short_us;

	if (len_bytes != (is_long ? LEARN_LONG : LEARN_SHORT))
		return;
	if (t->learnt < 2 || took_us < *best)
		*best = sv_max64(took_us, 1);
	if (++t->learnt == 2 * LEARN_EACH)
		learn(t, s->geo.max_io_bytes, s->anchor.page_bytes);
	t->since = t->slow = 0;
}

void sv_turns_took(struct sv_store *s, uint32_t len_bytes, uint64_t took_us)
{
	struct sv_turns *t = &s->turns;

	pthread_mutex_lock(&t->lock);
	if (t->learnt < 2 * LEARN_EACH) {
		take_lesson(s, len_bytes, took_us);
	} else {
		uint64_t own_us = t->cost_us + t->byte_us * len_bytes / (LEARN_LONG - LEARN_SHORT);

		t->slow = took_us > 2 * own_us + COST_LEAST_US ? t->slow + 1 : 0;
		if (++t->since == LEARN_AGAIN || t->slow == LEARN_SLOW)
			t->learnt = 0;
	}
	pthread_mutex_unlock(&t->lock);
}

bool sv_turns_shared(struct sv_store *s)
{
	bool shared;

	pthread_mutex_lock(&s->turns.lock);
	shared = s->turns.shared_us && sv_now_us() - s->turns.shared_us < SHARED_US;
	pthread_mutex_unlock(&s->turns.lock);
	return shared;
}
