/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * settle.c: the times of our files reach the stick at a moment that suits it.
 *
 * A write changes a file's time, and ext4 takes that to its journal five seconds after the first
 * one, whatever fdatasync says, in two steps, while the log's writes go on in between. On a stick
 * with one open erase unit this breaks the log's unit two or three times, and the journal's twice:
 * each a merge. It cannot be avoided (but with -o lazytime), but it can be asked for:
 *
 * T1  at the end of an erase unit of the log, when the next end would come too late;
 * T2  else just before the kernel would do it; in both cases while nothing else is written.
 */
#include "settle.h"

#include "store_impl.h"

#define COMMIT_MS 4400u /* of ext4: 5 s, unless its option `commit` says otherwise */
#define LATE_MS 4700u	/* an end of a unit is sooner where units are filled quickly */
#define SEEN_MS 600u	/* a write is seen when it ends, and may have taken that long */

bool sv_settle_due(struct sv_settle *settle, uint64_t written_bytes, uint64_t unit, bool at_end,
		   uint64_t now_ms)
{
	uint64_t age_ms;

	if (at_end && unit != settle->ended_unit) {
		settle->unit_ms = settle->ended_ms ? now_ms - settle->ended_ms : 0;
		settle->ended_ms = now_ms;
		settle->ended_unit = unit;
	}
	if (written_bytes == settle->done_bytes)
		return false;
	if (!settle->since_ms)
		settle->since_ms = sv_max64(settle->done_ms, now_ms - sv_min64(now_ms, SEEN_MS));
	age_ms = now_ms - settle->since_ms;
	return age_ms >= LATE_MS ||
	       (at_end && age_ms + settle->unit_ms + settle->unit_ms / 4 >= COMMIT_MS);
}

void sv_settle_done(struct sv_settle *settle, uint64_t written_bytes, uint64_t now_ms)
{
	settle->done_bytes = written_bytes;
	settle->done_ms = now_ms;
	settle->since_ms = 0;
}

void sv_settle_host(struct sv_store *s)
{
	uint64_t unit = s->geo.erase_bytes ? s->geo.erase_bytes : s->anchor.segment_bytes;
	uint64_t at, written_bytes;
	bool due;

	if (!s->geo.writes_times)
		return;
	pthread_mutex_lock(&s->lock);
	at = sv_place(s, s->log.segment, s->log.offset);
	written_bytes = s->ledger.stick_written_bytes;
	due = sv_settle_due(&s->settle, written_bytes, at / unit, sv_is_at_unit_end(s),
			    sv_now_ms());
	pthread_mutex_unlock(&s->lock);
	if (!due)
		return;
	pthread_mutex_lock(&s->writing); /* T1, T2 */
	pthread_mutex_lock(&s->lock);
	written_bytes = s->ledger.stick_written_bytes;
	pthread_mutex_unlock(&s->lock);
	(void)sv_log_settle(s); /* a failure is the next flush's, too */
	pthread_mutex_lock(&s->lock);
	sv_settle_done(&s->settle, written_bytes, sv_now_ms());
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_unlock(&s->writing);
}
