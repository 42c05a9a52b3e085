/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sweep.c: what a start will need (bootset.c) is read from the stick in long reads, in order of
 * need, before the guest asks for it.
 *
 * The set says blocks; the map says in which units they are now. A *window* of units is planned at
 * a time, sorted by place, and cut into *pieces* of at most one command; what lies between two
 * units is read along where that is quicker than a seek. Pieces are kept in memory as they lie on
 * the stick, until the guest has settled.
 *
 * W1  A read of the guest waits for one command of the sweep at most: each waits for its turn, as
 *     everything does that no guest waits for, and where one does it goes first (turns.c, R4).
 * W2  A read of the guest waits for a piece that is being read, or whose turn comes before the
 *     stick could have served that read by itself; else it goes to the stick past the sweep.
 * W3  What was swept may be old: every unit is verified by who reads it (A1 of readahead.c).
 * W4  A set that is of no use makes room: each read that the guest needs from elsewhere takes
 *     credit, each one served gives some. Without credit the sweep goes on only when the guest has
 *     left the device alone for a while.
 * W5  Memory is bounded. At the bound pieces go that served all their units, or are older than ten
 *     seconds, the oldest first; while there is none, the sweep waits, and nobody for it. All go
 *     when the guest has settled, or after five minutes.
 */
#include "sweep.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "store_impl.h"

#define PIECE_BYTES (256u << 10) /* where the largest command is not known */
#define PIECE_LEAST_BYTES (64u << 10)
#define PIECE_MOST_BYTES (1u << 20)
#define CREDIT 16
#define CREDIT_MOST 64
#define ALONE_US 30000u
#define HELD_BYTES (64u << 20)
#define UNITS_FIRST 4096u
#define OLD_MS 10000u
#define LOOK_MS 5u
#define MOST_MS 300000u
#define MOST_LOOK_MS 900u

struct sv_sweep_piece {
	struct sv_sweep_piece *next;
	uint8_t *data;
	uint64_t place;
	uint32_t len;
	uint32_t left; /* units that nobody asked for yet */
	uint64_t there_ms;
	enum { WAITS, READING, THERE, FAILED } state;
};

struct sv_sweep_unit {
	uint64_t place; /* 0: a free slot */
	uint32_t stored;
	bool served;
	struct sv_sweep_piece *piece; /* NULL: it was let go */
};

/* ---- the units of a set ---- */

uint64_t sv_seek_bytes(const struct sv_store *s)
{
	uint64_t unit = s->opts.unit_bytes;

	/* sv_unit_bytes gives a unit, beyond a block, a quarter of a seek; the largest there is
	 * says that a seek costs more than that. */
	if (unit >= SV_UNIT_MAX_BYTES - SV_GRAIN_BYTES)
		return 2u << 20;
	return 4 * (unit - sv_min64(unit, SV_BLOCK_BYTES));
}

/* The unit that a block is in. */
static int unit_of(struct sv_store *s, uint64_t lba, struct sv_set_unit *ret)
{
	struct sv_need need;
	uint64_t segment, entry;
	int r;

	do {
		pthread_mutex_lock(&s->lock);
		r = lba < s->blocks ? sv_map_get(&s->map, lba, &entry, &need) : -ENOENT;
		if (r == 0 && (!entry || entry == SV_ENTRY_LOST))
			r = -ENOENT;
		segment = r == 0 ? sv_entry_place(entry) / s->anchor.segment_bytes : 0;
		if (r == 0 && segment >= s->segs.count)
			r = -ENOENT;
		if (r == 0)
			*ret = (struct sv_set_unit){.place = sv_entry_place(entry),
						    .generation =
							    s->segs.v[segment].usage.generation,
						    .lineage = s->segs.v[segment].usage.lineage,
						    .lba = lba - sv_entry_index(entry),
						    .stored = sv_entry_stored(entry)};
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN && (r = sv_fault(s, &need)) == 0)
			r = -EAGAIN;
	} while (r == -EAGAIN);
	return r;
}

/* Extents of the set may change under a merge; a copy of one at a time is enough (B1). */
static bool extent_at(struct sv_store *s, uint32_t i, struct sv_boot_extent *ret)
{
	bool there;

	pthread_mutex_lock(&s->lock);
	there = i < s->boot.count;
	if (there)
		*ret = s->boot.v[i];
	pthread_mutex_unlock(&s->lock);
	return there;
}

int sv_set_units(struct sv_store *s, uint32_t *extent, struct sv_set_unit *units, uint32_t most,
		 uint32_t *ret_count)
{
	struct sv_boot_extent e;
	uint32_t n = 0;

	for (; extent_at(s, *extent, &e); ++*extent) {
		uint32_t begun = n;

		for (uint32_t i = 0; i < e.blocks; i++) {
			struct sv_set_unit unit;
			int r = unit_of(s, e.lba + i, &unit);

			if (r == -ENODEV || r == -ENOMEM)
				return r;
			if (r < 0 || (n && units[n - 1].place == unit.place))
				continue;
			if (n == most && begun == 0)
				return *ret_count = n, ++*extent, 0; /* one extent and more */
			if (n == most)
				return *ret_count = begun, 0;
			units[n++] = unit;
		}
	}
	*ret_count = n;
	return 0;
}

int sv_set_by_place(const void *a, const void *b)
{
	const struct sv_set_unit *x = a, *y = b;

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

/* ---- the table of units; the sweep's lock is held ---- */

static struct sv_sweep_unit *slot_of(struct sv_sweep *w, uint64_t place)
{
	uint32_t i = (uint32_t)(place / SV_GRAIN_BYTES * UINT64_C(0x9e3779b97f4a7c15) >> 32);

	for (i %= w->slots; w->unit[i].place && w->unit[i].place != place;)
		i = (i + 1) % w->slots;
	return &w->unit[i];
}

static bool grow_table(struct sv_sweep *w)
{
	struct sv_sweep_unit *old = w->unit;
	uint32_t slots = w->slots;

	w->slots = slots ? slots * 2 : UNITS_FIRST;
	w->unit = calloc(w->slots, sizeof(w->unit[0]));
	if (!w->unit) {
		w->unit = old;
		w->slots = slots;
		return false;
	}
	for (uint32_t i = 0; i < slots; i++)
		if (old[i].place)
			*slot_of(w, old[i].place) = old[i];
	free(old);
	return true;
}

/* False where it is planned already. */
static bool add_unit(struct sv_sweep *w, const struct sv_set_unit *u, struct sv_sweep_piece *piece)
{
	struct sv_sweep_unit *slot;

	if (w->units >= w->slots / 2 && !grow_table(w))
		return false;
	slot = slot_of(w, u->place);
	if (slot->place)
		return false;
	*slot = (struct sv_sweep_unit){.place = u->place, .stored = u->stored, .piece = piece};
	w->units++;
	piece->left++;
	w->stats.set_bytes += u->stored;
	return true;
}

static bool is_known(struct sv_sweep *w, uint64_t place)
{
	return w->slots && slot_of(w, place)->place;
}

static void let_go(struct sv_sweep *w, struct sv_sweep_piece *piece)
{
	if (piece->data)
		w->held_bytes -= piece->len;
	free(piece->data);
	piece->data = NULL;
	piece->state = FAILED;
}

/* ---- planning ---- */

static uint32_t piece_bytes(const struct sv_store *s)
{
	uint32_t most = s->geo.max_io_bytes ? s->geo.max_io_bytes : PIECE_BYTES;

	if (most < PIECE_LEAST_BYTES || s->opts.unit_bytes + 4096u > PIECE_LEAST_BYTES)
		most = (uint32_t)sv_max64(most, 2 * PIECE_LEAST_BYTES);
	return (uint32_t)sv_min64(most, PIECE_MOST_BYTES);
}

static struct sv_sweep_piece *new_piece(struct sv_sweep *w, uint64_t place)
{
	struct sv_sweep_piece *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->place = place;
	if (w->last)
		w->last->next = p;
	else
		w->first = p;
	w->last = p;
	if (!w->next)
		w->next = p;
	return p;
}

/* Whether a unit goes into a piece that begins at `place` and has `len` bytes so far. */
static bool joins(const struct sv_store *s, uint64_t place, uint64_t len,
		  const struct sv_set_unit *u)
{
	uint32_t most = piece_bytes(s);

	return len && u->place >= place + len &&
	       u->place - place - len <= sv_min64(sv_seek_bytes(s), most / 2) &&
	       u->place + u->stored - place <= most - s->geo.sector_bytes &&
	       u->place / s->anchor.segment_bytes == place / s->anchor.segment_bytes;
}

uint64_t sv_set_cost(const struct sv_store *s, struct sv_set_unit *units, uint32_t count,
		     uint64_t *end)
{
	uint64_t cost = 0, place = 0, len = 0;

	qsort(units, count, sizeof(units[0]), sv_set_by_place);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t behind = units[i].place + units[i].stored;
		uint64_t sector = s->geo.sector_bytes;

		if (!joins(s, place, len, &units[i])) {
			place = sv_align_down(units[i].place, sector);
			cost += place == *end || place + sector == *end ? 0 : sv_seek_bytes(s);
			len = 0;
		}
		cost += behind - place - len;
		len = behind - place;
		*end = sv_align_up(behind, sector);
	}
	return cost;
}

/* What the host has need not come from the stick. */
static bool is_cached(struct sv_store *s, const struct sv_set_unit *u)
{
	const struct sv_host_key key = {.place = u->place,
					.generation = u->generation,
					.lineage = u->lineage,
					.len_bytes = u->stored};

	return s->host && sv_host_has(s->host, &key);
}

/* Units of a window as pieces, which begin and end with sectors. */
static void cut(struct sv_store *s, struct sv_set_unit *u, uint32_t count)
{
	struct sv_sweep *w = &s->sweep;
	struct sv_sweep_piece *p = NULL;

	qsort(u, count, sizeof(u[0]), sv_set_by_place);
	pthread_mutex_lock(&w->lock);
	for (uint32_t i = 0; i < count; i++) {
		if (is_known(w, u[i].place) || is_cached(s, &u[i]))
			continue;
		if (!p || !joins(s, p->place, p->len, &u[i]))
			p = new_piece(w, u[i].place);
		if (!p || !add_unit(w, &u[i], p))
			break;
		p->len = (uint32_t)(u[i].place + u[i].stored - p->place);
	}
	pthread_mutex_unlock(&w->lock);
}

/* ---- reading ---- */

static int read_piece(struct sv_store *s, struct sv_sweep_piece *p)
{
	struct sv_sweep *w = &s->sweep;
	uint64_t from = sv_align_down(p->place, s->geo.sector_bytes);
	uint64_t to = sv_align_up(p->place + p->len, s->geo.sector_bytes);
	void *buf;
	int r = posix_memalign(&buf, 4096, to - from) ? -ENOMEM : 0;

	if (r == 0) {
		r = sv_io_read_ahead(s, buf, to - from, from, &w->took_us);
		if (r < 0)
			free(buf);
	}
	pthread_mutex_lock(&w->lock);
	if (r == 0) {
		p->place = from;
		p->len = (uint32_t)(to - from);
		p->data = buf;
		p->there_ms = sv_now_ms();
		w->held_bytes += p->len;
		w->stats.read_bytes += p->len;
		w->stats.seeks += from != w->end;
		w->end = to;
		atomic_fetch_add_explicit(&s->tally.stick_read, p->len, memory_order_relaxed);
	}
	p->state = r == 0 ? THERE : FAILED;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
	return r;
}

/* W5. */
static bool has_room(struct sv_sweep *w)
{
	uint64_t now_ms = sv_now_ms();

	for (struct sv_sweep_piece *p = w->first; p && w->held_bytes >= w->most_bytes; p = p->next)
		if (p->state == THERE && (!p->left || now_ms - p->there_ms >= OLD_MS))
			let_go(w, p);
	return w->held_bytes < w->most_bytes;
}

static bool may_read(struct sv_store *s)
{
	struct sv_sweep *w = &s->sweep;

	if (!has_room(w))
		return false;					  /* W5 */
	return w->credit > 0 || sv_turns_alone_us(s) >= ALONE_US; /* W4 */
}

/* Until something happened, or for a moment: what is waited for also depends on time. */
static void wait_a_little(struct sv_sweep *w, unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += ms * 1000000L;
	t.tv_sec += t.tv_nsec / 1000000000L;
	t.tv_nsec %= 1000000000L;
	pthread_cond_timedwait(&w->moved, &w->lock, &t);
}

/* The next piece that may be read now; NULL where there is none planned, or all ends. */
static struct sv_sweep_piece *take_piece(struct sv_store *s, bool wait)
{
	struct sv_sweep *w = &s->sweep;
	struct sv_sweep_piece *p = NULL;

	pthread_mutex_lock(&w->lock);
	while (wait && w->next && !w->stopping && !may_read(s))
		wait_a_little(w, LOOK_MS);
	if (w->next && !w->stopping && may_read(s)) {
		p = w->next;
		p->state = READING;
		w->next = p->next;
	}
	pthread_mutex_unlock(&w->lock);
	return p;
}

static int plan_window(struct sv_store *s, uint32_t *extent, uint32_t *ret_units)
{
	struct sv_set_unit *u = calloc(SV_SWEEP_WINDOW, sizeof(u[0]));
	int r = u ? sv_set_units(s, extent, u, SV_SWEEP_WINDOW, ret_units) : -ENOMEM;

	if (r == 0)
		cut(s, u, *ret_units);
	free(u);
	return r;
}

/* A guest that never starts does not keep the memory. */
static void keep_a_while(struct sv_sweep *w)
{
	pthread_mutex_lock(&w->lock);
	w->next = NULL;
	pthread_cond_broadcast(&w->moved);
	while (!w->stopping && sv_now_ms() - w->start_ms < MOST_MS)
		wait_a_little(w, MOST_LOOK_MS);
	for (struct sv_sweep_piece *p = w->first; p && !w->stopping; p = p->next)
		let_go(w, p);
	pthread_mutex_unlock(&w->lock);
}

static void *sweeper(void *arg)
{
	struct sv_store *s = arg;
	struct sv_sweep_piece *p;
	uint32_t extent = 0, units;

	while (!sv_is_detached(s) && plan_window(s, &extent, &units) == 0 && units)
		while ((p = take_piece(s, true)))
			(void)read_piece(s, p); /* what could not be read, the guest reads */
	keep_a_while(&s->sweep);
	return NULL;
}

/* ---- the guest's side ---- */

/* W2: bytes to be read before the piece is there. */
static bool is_near(struct sv_store *s, const struct sv_sweep_piece *p)
{
	struct sv_sweep *w = &s->sweep;
	uint64_t bytes = 0;

	if (!w->runs || w->credit <= 0 || !has_room(w))
		return false;
	for (const struct sv_sweep_piece *n = w->next; n; n = n->next) {
		bytes += n->len;
		if (n == p)
			return true;
		if (bytes > 2 * sv_seek_bytes(s))
			break;
	}
	return false;
}

static struct sv_sweep_piece *piece_of(struct sv_sweep *w, uint64_t place, uint32_t len_bytes)
{
	const struct sv_sweep_unit *u = w->slots && !w->stopping ? slot_of(w, place) : NULL;

	return u && u->place && u->stored == len_bytes ? u->piece : NULL;
}

static bool is_due(struct sv_store *s, const struct sv_sweep_piece *p)
{
	return p && (p->state == READING || (p->state == WAITS && is_near(s, p)));
}

static struct sv_sweep_piece *wait_for(struct sv_store *s, uint64_t place, uint32_t len_bytes)
{
	struct sv_sweep *w = &s->sweep;
	struct sv_sweep_piece *p;

	sv_turns_ahead_begins(s);
	while (is_due(s, p = piece_of(w, place, len_bytes)))
		wait_a_little(w, LOOK_MS);
	sv_turns_ahead_ends(s);
	return p;
}

bool sv_sweep_read(struct sv_store *s, uint64_t place, uint32_t len_bytes, uint8_t *dst)
{
	struct sv_sweep *w = &s->sweep;
	struct sv_sweep_piece *p;
	bool served = false;

	if (!atomic_load_explicit(&w->on, memory_order_acquire))
		return false;
	pthread_mutex_lock(&w->lock);
	p = piece_of(w, place, len_bytes);
	if (is_due(s, p))
		p = wait_for(s, place, len_bytes);
	if (p && p->state == THERE) {
		memcpy(dst, p->data + (place - p->place), len_bytes);
		served = true;
		w->stats.served_units++;
	}
	if (p && !slot_of(w, place)->served) {
		slot_of(w, place)->served = true;
		p->left--;
	}
	w->credit += p ? w->credit < CREDIT_MOST : -(w->credit > -1);
	pthread_mutex_unlock(&w->lock);
	return served;
}

/* ---- its life ---- */

void sv_sweep_init(struct sv_store *s)
{
	pthread_mutex_init(&s->sweep.lock, NULL);
	pthread_cond_init(&s->sweep.moved, NULL);
	s->sweep.credit = CREDIT;
	s->sweep.most_bytes = HELD_BYTES;
}

void sv_sweep_start(struct sv_store *s)
{
	struct sv_sweep *w = &s->sweep;

	if (!s->boot.count || !s->opts.boot_set || s->opts.manual)
		return;
	w->start_ms = sv_now_ms();
	atomic_store(&w->on, true);
	w->runs = true;
	if (pthread_create(&w->thread, NULL, sweeper, s) == 0)
		return;
	w->runs = false;
	atomic_store(&w->on, false);
}

void sv_sweep_stop(struct sv_store *s)
{
	struct sv_sweep *w = &s->sweep;

	if (!w->runs)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_mutex_lock(&w->lock);
	w->runs = false;
	pthread_mutex_unlock(&w->lock);
}

void sv_sweep_forget(struct sv_store *s)
{
	struct sv_sweep *w = &s->sweep;

	sv_sweep_stop(s);
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->on, false);
	while (w->first) {
		struct sv_sweep_piece *p = w->first;

		w->first = p->next;
		let_go(w, p);
		free(p);
	}
	w->last = w->next = NULL;
	free(w->unit);
	w->unit = NULL;
	w->slots = w->units = 0;
	pthread_cond_broadcast(&w->moved);
	pthread_mutex_unlock(&w->lock);
}

void sv_sweep_free(struct sv_store *s)
{
	sv_sweep_forget(s);
	pthread_cond_destroy(&s->sweep.moved);
	pthread_mutex_destroy(&s->sweep.lock);
}

int sv_sweep_some(struct sv_store *s, unsigned pieces, unsigned *ret_done)
{
	struct sv_sweep_piece *p;
	uint32_t units;
	int r = 0;

	atomic_store(&s->sweep.on, true);
	for (*ret_done = 0; r == 0 && *ret_done < pieces;) {
		p = take_piece(s, false);
		if (p) {
			r = read_piece(s, p);
			++*ret_done;
			continue;
		}
		r = plan_window(s, &s->sweep.extent, &units);
		if (r < 0 || !units)
			break;
	}
	return r;
}

void sv_sweep_stats(struct sv_store *s, struct sv_sweep_stats *ret_stats)
{
	pthread_mutex_lock(&s->sweep.lock);
	*ret_stats = s->sweep.stats;
	pthread_mutex_unlock(&s->sweep.lock);
}
