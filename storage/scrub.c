/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scrub.c: finds rot early, by reading what nobody reads, when nobody wants the stick.
 *
 * B1  It begins when nothing was read or written for SCRUB_IDLE_MS, and stops with the first
 *     request after that.
 * B2  It takes one part in SCRUB_SHARE of the stick's time: a leaf's blocks are read, and then it
 *     rests SCRUB_SHARE - 1 times as long as that took.
 * B3  It changes nothing. What does not verify is counted, once a pass; reads say EIO anyhow.
 *
 * Where it is does not outlive the session: it goes on from a random place, so that short sessions
 * cover the whole disk in the long run.
 */
#include <errno.h>
#include <stdlib.h>

#include "store_impl.h"

#define SCRUB_SHARE 50u /* 2 % */
#define SCRUB_IDLE_MS 5000u

/* Whether the guest did nothing for long enough (B1). */
static bool is_idle(struct sv_store *s, uint64_t now_ms)
{
	struct sv_scrub *x = &s->scrub;
	uint64_t idle_ms = x->idle_ms ? x->idle_ms : SCRUB_IDLE_MS;
	uint64_t reads, stamp;

	pthread_mutex_lock(&s->lock);
	reads = s->ledger.guest_read_bytes + atomic_load(&s->tally.guest_read);
	stamp = s->stamp;
	pthread_mutex_unlock(&s->lock);
	if (reads != x->reads || stamp != x->stamp) {
		x->reads = reads;
		x->stamp = stamp;
		x->since_ms = now_ms;
	}
	return now_ms - x->since_ms >= idle_ms && now_ms >= x->next_ms;
}

/* The blocks of one leaf, one by one only where something is bad. */
static int read_leaf(struct sv_store *s, uint64_t lba, uint8_t *buf)
{
	unsigned blocks = (unsigned)sv_min64(SV_PAGE_ENTRIES, s->blocks - lba);
	unsigned bad = 0, first = 0;
	int r = sv_read_stick(s, buf, lba, blocks);

	for (unsigned i = 0; r == -EIO && i < blocks; i++) {
		int one = sv_read_stick(s, buf, lba + i, 1);

		if (one < 0 && one != -EIO)
			return one;
		if (one == -EIO && bad++ == 0)
			first = i;
	}
	if (r < 0 && r != -EIO)
		return r;
	pthread_mutex_lock(&s->lock);
	s->scrub.bytes += (uint64_t)blocks * SV_BLOCK_BYTES;
	if (bad && !s->scrub.bad_blocks)
		s->scrub.bad_lba = lba + first;
	s->scrub.pass_bad += bad;
	s->scrub.bad_blocks = sv_max64(s->scrub.bad_blocks, s->scrub.pass_bad);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

/* The first leaf at or after `lba` that the map has; s->blocks: none. A damaged page of the map is
 * passed over, with all that is under it counted. */
static int next_leaf(struct sv_store *s, uint64_t lba, uint64_t *ret_lba)
{
	struct sv_need need;
	int r;

	do {
		pthread_mutex_lock(&s->lock);
		r = sv_map_next(&s->map, lba, ret_lba, &need);
		pthread_mutex_unlock(&s->lock);
		if (r == -EAGAIN && (r = sv_fault(s, &need)) == 0)
			r = -EAGAIN;
		if (r == -EIO) {
			*ret_lba = lba; /* its blocks say EIO, and are counted */
			r = 0;
		}
	} while (r == -EAGAIN);
	return r;
}

int sv_scrub_step(struct sv_store *s)
{
	uint8_t *buf = malloc((size_t)SV_PAGE_ENTRIES * SV_BLOCK_BYTES);
	uint64_t lba;
	int r = buf ? next_leaf(s, s->scrub.lba, &lba) : -ENOMEM;

	if (r == 0 && lba < s->blocks) {
		lba = sv_align_down(lba, SV_PAGE_ENTRIES);
		r = read_leaf(s, lba, buf);
		s->scrub.lba = lba + SV_PAGE_ENTRIES;
	} else if (r == 0) {
		s->scrub.lba = 0; /* a pass is over */
		s->scrub.passes++;
		pthread_mutex_lock(&s->lock);
		s->scrub.bad_blocks = s->scrub.pass_bad;
		s->scrub.pass_bad = 0;
		pthread_mutex_unlock(&s->lock);
	}
	free(buf);
	return r;
}

void sv_scrub_tick(struct sv_store *s)
{
	uint64_t now_ms = sv_now_ms(), took_ms;

	if (!is_idle(s, now_ms) || sv_is_detached(s))
		return;
	if (!s->scrub.begun) {
		s->scrub.begun = true;
		s->scrub.lba = now_ms * UINT64_C(0x9E3779B97F4A7C15) % s->blocks;
	}
	(void)sv_scrub_step(s);
	took_ms = sv_now_ms() - now_ms + 1;
	s->scrub.next_ms = now_ms + SCRUB_SHARE * took_ms; /* B2 */
}
