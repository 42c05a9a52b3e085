/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store_impl.h: a store in memory, and the functions between the files that make it up. */
#ifndef STORAGE_STORE_IMPL_H
#define STORAGE_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "batch.h"
#include "bootset.h"
#include "cache_host.h"
#include "cache_ram.h"
#include "format.h"
#include "heat.h"
#include "history.h"
#include "map.h"
#include "segs.h"
#include "settle.h"
#include "stickvm/store.h"
#include "sweep.h"
#include "unit.h"

/*
 * Locks, in the order in which they are taken:
 *   cleaning  one cleaner, one growth, one anchor at a time
 *   commit    one appender to the chain at a time; also held for a whole checkpoint
 *   aparting  the heads apart: the cleaner's while it writes survivors; else whoever holds commit
 *             may have it, who never waits for it
 *   writing   one write of the log, of survivors or of an anchor at a time (L6)
 *   lock      the state in memory; never held across device I/O or compression
 *   the caches' own (cache_ram.h, cache_impl.h)
 */

/* The batches appended last to a segment: where they end, and the log position then. */
struct sv_recent {
	struct {
		uint64_t end, log_bytes;
	} v[SV_GAP_PAGES];
	unsigned next;
};

/* The chain's end. Changed with `commit` held; read under `lock`. */
struct sv_log {
	uint32_t segment;
	uint32_t next, after; /* L2 */
	uint64_t offset;      /* L1; segment_bytes when nothing more fits */
	uint64_t generation;
	uint64_t seq; /* of the last batch appended */
	uint8_t hash[SV_HASH_BYTES];
	uint64_t epoch, prev_epoch;
	uint64_t flushed_seq; /* F */
	uint64_t generation_seed, generations;
	uint64_t unflushed_bytes;
	struct sv_recent recent;
	bool failed;	       /* the last part's write did (L3) */
	bool virgin;	       /* the head was never written before it became the head */
	uint32_t flushes_here; /* of the device, while this segment is the head */
	uint32_t last_bytes;   /* of the batch appended last */
	int flush_error;       /* sticky: what the device lost cannot be known */
	struct sv_link opening;
	uint8_t before_opening[SV_HASH_BYTES];
};

/* A root that recovery could start from; a pair of anchors that names one. */
struct sv_mark {
	struct sv_link root;
	uint64_t log_bytes; /* when it was written */
};
#define SV_MARKS 64u
struct sv_marks {
	struct sv_mark v[SV_MARKS];
	uint32_t count; /* oldest first */
};

/* A part of a batch being built in the staging buffer, header first. */
struct sv_part {
	uint8_t *buf;
	uint32_t limit; /* of the total */
	uint32_t payload_offset;
	uint32_t payload_bytes;
	uint32_t records;
	struct sv_cur rec;
	uint64_t digest;
	uint64_t base; /* device address */
	uint32_t segment;
	uint64_t generation;
	uint64_t user_bytes; /* of the payload: guest data (the rest is metadata) */
	bool births;	     /* its units are noted for the part of the chain that names them */
};

/* Scratch memory for a read: borrowed for its length. */
struct sv_scratch {
	uint8_t *io;	 /* SV_SCRATCH_BYTES, aligned for direct I/O */
	uint8_t *blocks; /* one expanded unit */
	struct sv_scratch *next;
};
#define SV_READ_MAX_BLOCKS 256u
#define SV_SCRATCH_BYTES (SV_READ_MAX_BLOCKS * SV_RAW_UNIT_BYTES + 3 * 4096u + SV_UNIT_MAX_BYTES)
#define SV_SCRATCHES 16u

/* Who uses the stick next (turns.c). */
struct sv_turns {
	pthread_mutex_t lock;
	pthread_cond_t none;	    /* no read of a guest is under way */
	unsigned reading;	    /* those that are */
	unsigned ahead;		    /* of them, those that wait for what is read ahead (R4) */
	uint64_t ended_us;	    /* when the last one ended */
	uint64_t shared_us;	    /* when one came while another was */
	uint32_t piece_bytes;	    /* what others take at a time */
	unsigned learnt, since;	    /* pieces of a known length; others since */
	uint64_t short_us, long_us; /* what the former took at best */
	uint64_t cost_us, byte_us;  /* of a command; of so many bytes more as lie between them */
	unsigned slow;		    /* pieces in a row that took much longer */
};

/* The stream that is read ahead, and reads that may become one (readahead.c). */
#define SV_STREAM_HEADS 4u
struct sv_stream_head {
	uint64_t next;	 /* where the last read ended */
	unsigned streak; /* reads that followed each other */
};
struct sv_stream {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	uint8_t *buf;
	uint64_t place, len; /* of what is in it */
	uint64_t drops;
	bool filling; /* by somebody, without the lock */
	bool runs;    /* a stream's pieces are in it */
	unsigned alone;
	struct sv_stream_head head[SV_STREAM_HEADS];
};

/* Counted where no lock is held; sv_tally puts them into the ledger. */
struct sv_tally {
	atomic_uint_fast64_t guest_read, guest_written, guest_discarded, stick_read;
};

/* Of the keeper; the counts are read under `lock`. */
struct sv_scrub {
	uint64_t lba;			 /* where it goes on */
	uint64_t reads, stamp, since_ms; /* of the guest, as last seen, and since when */
	uint64_t idle_ms;		 /* 0: the default */
	uint64_t next_ms, passes;
	uint64_t bytes, bad_blocks, pass_bad;
	uint64_t bad_lba; /* the first that was found */
	bool begun;
};

#define SV_VERSIONS 256u

/* An append that the stick may still lose; its bytes are in pieces of sv_retain.mem. */
struct sv_kept {
	uint64_t place, end_bytes; /* end: where the log was behind it */
	uint64_t seq;
	uint32_t len_bytes, first_piece, next_segment;
	uint8_t hash[SV_HASH_BYTES]; /* of its header */
	bool apart;
	bool wrong;    /* as read back from the stick that came back (reattach.c) */
	bool doubtful; /* written again, and not flushed since */
};

#define SV_SWEPT 32u
/* Guarded by `lock`; pieces of an append that is not published yet are its maker's. */
struct sv_retain {
	uint8_t *mem;
	uint32_t *next; /* piece by piece */
	uint32_t piece_bytes, pieces, used, fresh, free_piece;
	struct sv_kept *v; /* a ring, oldest first */
	uint32_t first, count;
	uint64_t swept[SV_SWEPT]; /* generations of survivors' segments that were looked through */
	unsigned swept_next;
	struct sv_kept before; /* Y4: without its bytes */
	bool before_known;
};

/* Segments that take survivors: those that live long, and those that do not (heat.c). */
#define SV_APARTS 2u
struct sv_apart {
	uint32_t segment; /* 0: none */
	uint64_t offset, generation;
	struct sv_recent recent;
	bool virgin; /* it was never written before it became the head */
};

/* A block of the group that is sealed: sorted by its number. */
struct sv_item {
	uint64_t lba;
	uint32_t slot;
	bool born; /* apart */
};
#define SV_ZERO_SLOT UINT32_MAX

/* A unit that was born: what the record says, and the batch apart that it lies in. */
struct sv_birth {
	uint64_t lba, place, check, generation;
	uint32_t stored_bytes, offset, bytes;
	uint8_t blocks;
};

/* born.c. Guarded by commit, but for what says otherwise. */
struct sv_born {
	struct sv_birth *v; /* of the group that is sealed */
	uint32_t count, batches;
	uint32_t done; /* they are in the chain */
	uint32_t end;  /* of the items that are to be born: they come first */
	/* Z6, under lock. */
	bool wanted;
	bool told;	     /* both anchors have the bit */
	uint64_t from_bytes; /* where the log has to be flushed to */
};

struct sv_store {
	struct sv_dev *dev; /* D1 (attach.c) */
	pthread_rwlock_t dev_lock;
	struct sv_turns turns;
	atomic_bool detached;
	atomic_bool parking; /* X1 (park.c); set under `lock` */
	bool owns_dev;	     /* it was opened: what goes away is closed here */
	struct sv_retain retain;
	struct sv_geometry geo;
	struct sv_open_options opts;
	struct sv_anchor anchor; /* identity and parameters; as last written */
	uint64_t size_bytes, blocks;

	pthread_mutex_t cleaning, commit, aparting, writing, lock;
	pthread_cond_t room; /* writers wait here for the open batch to drain */
	pthread_cond_t wake; /* of the keeper */
	pthread_t keeper;
	bool keeper_runs, stopping;

	struct sv_map map;
	uint64_t leaf_next; /* behind the leaf that came into memory last */
	struct sv_segs segs;
	struct sv_heat heat;
	struct sv_arena arena;
	struct sv_batch batch[2];
	unsigned open; /* index of the open batch; the other is being sealed, or empty */
	bool sealing;
	bool recovering;
	uint64_t epoch_seen; /* by recovery: the next one is newer */
	bool second_first;   /* the second anchor is the older or the damaged one: renewed first */
	uint32_t faults;     /* of little pieces of the map (apply.c) */
	struct sv_settle settle;
	bool lone_anchor;    /* one was damaged when the store was opened (K5) */
	uint64_t lone_bytes; /* written until it was made anew; 0: it was not yet */
	bool bad_moves;	     /* recovery refused some: roots behind them are not to be used */
	uint64_t damaged[SV_DAMAGES_MAX]; /* batches that recovery found bad and kept */
	unsigned damages;
	uint32_t version[SV_VERSIONS]; /* of blocks, by number: see write_partial */
	uint64_t stamp;		       /* counts acknowledged writes and discards */
	uint64_t sealed_stamp;	       /* all up to it are in the chain */
	uint64_t flushed_stamp;	       /* all up to it are durable */
	uint32_t waiting_writers;
	unsigned flushing;		/* guests' flushes under way */
	uint64_t quiet_stamp, quiet_ms; /* of the keeper: since when nothing was written */
	uint64_t idle_reads, idle_ms;	/* of the keeper: no more reads since */
	uint32_t limit_slots;		/* no more are taken than the stick writes in two seconds */
	uint64_t rate;			/* bytes a millisecond that long writes reach; 0: unknown */
	uint64_t space_bytes; /* what live and dirty bytes may come to: sv_capacity_bytes */
	bool grace;	      /* the guest's reserve is released */
	bool slack_known;     /* the map was walked for it (sv_find_slack) */
	int seal_error;	      /* of the keeper's last seal, for writers that wait */

	struct sv_log log;
	struct sv_marks roots, anchors;
	uint64_t root_log_bytes; /* log position of the newest root */
	uint64_t grow_failed_at; /* capacity is what there is */
	uint8_t *stage;		 /* one part; guarded by commit */
	uint32_t stage_bytes;
	uint32_t *order; /* sorted nodes of the batch being sealed; guarded by commit */
	uint32_t order_count, order_done;
	uint32_t order_end; /* of those that are being written */
	uint32_t ranges_done;
	bool group_ended;	 /* its last part is in the chain, but not yet in the map */
	uint8_t *unapplied;	 /* header of the part that is next to be applied; by commit */
	uint32_t unapplied_room; /* 0: there is none */
	uint32_t unapplied_bytes;
	unsigned incompressible; /* units in a row */
	unsigned unit_blocks;	 /* how many compressed well last time */

	struct sv_apart apart[SV_APARTS]; /* guarded by aparting */
	uint8_t *apart_stage;		  /* like stage; guarded by cleaning */
	struct sv_born born;

	struct sv_stream stream;
	struct sv_scratch *scratch;
	pthread_mutex_t scratch_lock;
	pthread_cond_t scratch_free;
	struct sv_scratch scratches[SV_SCRATCHES];
	struct sv_ram_cache ram;
	struct sv_host_cache *host; /* NULL: there is none */
	int host_error;		    /* why, where one was asked for */

	enum sv_state state;
	struct sv_tally tally;
	struct sv_scrub scrub;
	struct sv_ledger ledger, ledger_at_open;
	struct sv_history history; /* under lock */
	struct sv_boot_set boot;   /* under lock */
	struct sv_boot_run boot_run;
	struct sv_boot_pack boot_pack;
	struct sv_sweep sweep;
	struct sv_recovery recovery;
};

/* ---- attach.c: the device ---- */
void sv_io_init(struct sv_store *s, struct sv_dev *dev);
void sv_io_free(struct sv_store *s);
static inline bool sv_is_detached(const struct sv_store *s)
{
	return atomic_load(&s->detached);
}
/* As sv_dev_*; -ENODEV, and the store is detached, where the medium is gone. Reads that a guest
 * waits for are `first`: everything else lets them pass. *ret_us: how long the device worked. */
int sv_io_read(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place);
int sv_io_read_first(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place);
/* In one command when it is its turn, ahead of a guest; *took_us: by the last one, and by this. */
int sv_io_read_ahead(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place,
		     uint64_t *took_us);
int sv_io_write(struct sv_store *s, const void *buf, uint64_t len_bytes, uint64_t place,
		uint64_t *ret_us);
int sv_io_flush(struct sv_store *s);
int sv_io_settle(struct sv_store *s);
int sv_io_grow(struct sv_store *s, uint64_t size_bytes);
int sv_io_geometry(struct sv_store *s, struct sv_geometry *ret_geometry);
/* Takes another device for the one that went away. */
void sv_io_attach(struct sv_store *s, struct sv_dev *dev);

/* ---- turns.c: who uses the stick next ---- */
void sv_turns_init(struct sv_store *s);
void sv_turns_free(struct sv_store *s);
/* Around a guest's read of the device. */
void sv_turns_read_begins(struct sv_store *s);
void sv_turns_read_ends(struct sv_store *s);
/* Around a guest's wait for what is read ahead (R4). */
void sv_turns_ahead_begins(struct sv_store *s);
void sv_turns_ahead_ends(struct sv_store *s);
/* Lets them pass, after a piece that took `last_us`; returns how long that was. */
uint64_t sv_turns_wait(struct sv_store *s, uint64_t last_us);
/* The same for what is read ahead. */
void sv_turns_wait_ahead(struct sv_store *s, uint64_t last_us);
/* How long no guest's read was at the device. */
uint64_t sv_turns_alone_us(struct sv_store *s);
/* How long the next piece is to be; what one took. */
uint32_t sv_turns_piece(struct sv_store *s);
void sv_turns_took(struct sv_store *s, uint32_t len_bytes, uint64_t took_us);
/* Whether guests' reads overlapped lately. */
bool sv_turns_shared(struct sv_store *s);

/* ---- retain.c: appends that may have to be written again ---- */
struct sv_part;
struct sv_walk;
struct sv_walked;
/* Memory for it, or, where it has that, an empty one again. */
int sv_retain_init(struct sv_store *s);
void sv_retain_free(struct sv_store *s);
/* Copies a part that is about to be sent. Then one of: keep (with the lock held), release. */
int sv_retain_take(struct sv_store *s, const struct sv_part *part, const struct sv_head *h,
		   struct sv_kept *ret_kept);
void sv_retain_keep(struct sv_store *s, const struct sv_kept *kept);
void sv_retain_release(struct sv_store *s, const struct sv_kept *kept);
/* The n-th of those kept, oldest first. */
struct sv_kept *sv_retain_nth(struct sv_store *s, uint32_t n);
/* While a store is opened: a batch as recovery read it, one by one; and what it did not accept. */
void sv_retain_adopt(struct sv_store *s, const struct sv_walk *w, const struct sv_walked *v,
		     const uint8_t *bytes);
/* Survivors that were born for a batch, before the batch itself (Z5). */
void sv_retain_adopt_born(struct sv_store *s, const struct sv_walk *w, const struct sv_walked *v,
			  uint64_t place, const struct sv_head *h, const uint8_t *bytes);
/* The survivors that a batch's moves name. */
void sv_retain_adopt_apart(struct sv_store *s, struct sv_walk *w, const struct sv_walked *v);
bool sv_is_kept(struct sv_store *s, uint64_t place);
void sv_retain_cut(struct sv_store *s, uint64_t seq);
/* Puts one back that was parked; -EBADMSG where it cannot have been kept here. */
int sv_retain_restore(struct sv_store *s, const struct sv_kept *kept, const uint8_t *bytes);
void sv_retain_copy(const struct sv_store *s, const struct sv_kept *kept, uint8_t *dst);
bool sv_retain_same(const struct sv_store *s, const struct sv_kept *kept, const uint8_t *bytes);
/* Serves a read of the device out of what is kept; false where it is not all there. */
bool sv_retain_read(struct sv_store *s, void *buf, uint64_t len_bytes, uint64_t place);

/* ---- reattach.c ---- */
/* So many bytes were written to the stick that are not part of the log. With the lock held. */
void sv_reattach_shift(struct sv_store *s, uint64_t len_bytes);

/* ---- settle.c ---- */
/* To be called often: does nothing where it is not the moment. Not with lock or writing held. */
void sv_settle_host(struct sv_store *s);

/* ---- log.c: the head of the chain ---- */
/* The segment's part of an address, and back. */
static inline uint64_t sv_place(const struct sv_store *s, uint32_t segment, uint64_t offset)
{
	return (uint64_t)segment * s->anchor.segment_bytes + offset;
}
/* The longest part. */
#define SV_STAGE_BYTES (4u << 20)
static inline uint32_t sv_stage_bytes(const struct sv_store *s)
{
	return (uint32_t)sv_min64(sv_align_down(SV_STAGE_BYTES, s->anchor.page_bytes),
				  s->anchor.segment_bytes);
}
/* Makes the calls of the device and counts them. */
int sv_log_write(struct sv_store *s, const void *buf, uint32_t len_bytes, uint64_t place);
/* The same with writing held (L6). */
int sv_log_write_held(struct sv_store *s, const void *buf, uint32_t len_bytes, uint64_t place);
int sv_log_flush(struct sv_store *s);
/* The same, and what the host's file system would write by itself (dev.h). */
int sv_log_settle(struct sv_store *s);
/* Starts a part at the head, rolling to the next segment where `want_bytes` (records, payload)
 * does not fit and is no more than a sixteenth of a segment, or where nothing fits. */
int sv_part_begin(struct sv_store *s, struct sv_part *part, uint32_t record_bytes,
		  uint64_t want_bytes);
/* The same at a given place, with a given staging buffer. */
void sv_part_at(struct sv_store *s, struct sv_part *part, uint8_t *stage, uint32_t record_bytes,
		uint32_t segment, uint64_t offset, uint64_t generation);
/* Room for one more record and stored unit. */
bool sv_part_fits(const struct sv_part *part, uint32_t record_bytes, uint32_t stored_bytes);
void sv_part_record(struct sv_part *part, const struct sv_record *rec);
/* Where the next unit's bytes go; sv_part_unit closes it and returns its device address. */
uint8_t *sv_part_space(const struct sv_part *part);
uint64_t sv_part_unit(struct sv_store *s, struct sv_part *part, struct sv_unit *unit,
		      uint64_t subject, uint32_t *ret_stored);
/* Whether a torn write at `offset` could reach a batch that is older than half a lie_window; with
 * the lock held. */
bool sv_gap_is_due(const struct sv_store *s, const struct sv_recent *recent, uint64_t offset);
/* Writes it; advances the chain. */
int sv_part_append(struct sv_store *s, struct sv_part *part, uint32_t flags);
/* The bytes of a part apart from the chain, described by the same header. */
int sv_part_append_apart(struct sv_store *s, struct sv_part *part, struct sv_apart *to);
uint64_t sv_new_generation(struct sv_store *s);
void sv_log_link(const struct sv_store *s, struct sv_link *ret_link, uint32_t total_bytes);

/* ---- apply.c: what a record does to the map ---- */
int sv_apply_part(struct sv_store *s, const struct sv_head *head, const uint8_t *buf);
/* Appends a part to the chain and applies it. Where applying fails (a page of the map cannot be
 * read), the part is in the chain all the same, and is applied before anything else is appended. */
int sv_append_and_apply(struct sv_store *s, struct sv_part *part, uint32_t flags);
/* Applies what is left to be applied. With commit held. */
int sv_apply_rest(struct sv_store *s);
/* Reads a page of the map into memory; -EIO: it is damaged, or the device failed. */
int sv_fault(struct sv_store *s, const struct sv_need *need);
/* The same for who is about to change what is under it: a damaged page gives way to one that says
 * what is lost. */
int sv_fault_or_lose(struct sv_store *s, const struct sv_need *need);
/* Whether it can be read at all: if not, that a page or a unit cannot be says nothing of it. */
bool sv_device_answers(struct sv_store *s);

/* ---- commit.c: sealing ---- */
/* The log is flushed when so many bytes of it are not, whoever asks: until then they are in memory
 * beside lie_window of them (Y1). */
#define SV_UNFLUSHED_MOST_BYTES (UINT64_C(8) << 20)
static inline uint64_t sv_flush_distance(const struct sv_store *s)
{
	return sv_min64(sv_max64(s->anchor.lie_window_bytes / 2, s->anchor.segment_bytes),
			SV_UNFLUSHED_MOST_BYTES);
}
/* Seals everything acknowledged up to `stamp`, and flushes the device where asked. */
int sv_seal(struct sv_store *s, uint64_t stamp, bool flush);

/* ---- born.c: long-lived blocks beside the chain ---- */
int sv_born_init(struct sv_store *s, uint32_t slots);
/* Z8, what does not change while a store is open. */
bool sv_may_bear(const struct sv_store *s);
/* Puts those of the group's items first that are to be born apart. */
void sv_born_choose(struct sv_store *s, struct sv_item *v, uint32_t count);
/* A part apart for items from order_done to order_end; -ENOSPC: there is no segment for it. */
int sv_born_begin(struct sv_store *s, struct sv_part *part);
void sv_born_note(struct sv_store *s, const struct sv_unit *unit, uint64_t lba, uint64_t place,
		  uint32_t stored_bytes);
/* Sends it; its births are those from the `first` on. */
int sv_born_append(struct sv_store *s, struct sv_part *part, uint32_t first);
/* Records of births that the chain does not tell of yet: bytes of them; as many as fit (false: not
 * all). */
uint64_t sv_born_record_bytes(const struct sv_store *s);
bool sv_born_tell(struct sv_store *s, struct sv_part *part);
/* Z6: around the writing of a pair of anchors. With the lock held. */
void sv_born_mark(const struct sv_store *s, struct sv_anchor *anchor, bool lone);
void sv_born_marked(struct sv_store *s, const struct sv_anchor *anchor, bool lone);

/* ---- room.c: growth, the gate, reserves ---- */
uint64_t sv_reserve_segments(const struct sv_store *s);
uint64_t sv_capacity_bytes(const struct sv_store *s);
uint64_t sv_grace_bytes(const struct sv_store *s);
/* What a segment of survivors surely holds: each pass may leave a gap and pad a page. */
uint64_t sv_dense_bytes(const struct sv_store *s);
/* Whether so many more blocks may be acknowledged (N4). With lock held. */
bool sv_has_space(const struct sv_store *s, uint64_t blocks);
/* One step towards space where there is none: 0 to try again, -ENOSPC at the end of means (N5);
 * what else failed on the way there, where it was that which left none.
 * Call without locks. */
int sv_find_space(struct sv_store *s);
/* After live bytes went down or the limit up: takes the guest's reserve back and ends the state
 * `full`, with some room to spare. With lock held. */
void sv_review_room(struct sv_store *s);
/* Frees segments until one more group fits: call without locks. Errors as above. */
int sv_make_room(struct sv_store *s);
/* Cleaning ahead of need is due: growth is over, and less is free than what the store needs and
 * `more_bytes` of log (but no more than a sixty-fourth of all segments). Call without locks. */
bool sv_wants_idle_clean(struct sv_store *s, uint64_t more_bytes);
/* Whether so much can be written that nobody needs; grows where it can. With cleaning held. */
bool sv_has_spare(struct sv_store *s, uint64_t bytes);
/* One step of idle work; false when there is none. */
bool sv_keep_room(struct sv_store *s);
/* Writes zeros once over a segment (place.h: first_write_costs); -EINTR when go_on says no. */
int sv_convert(struct sv_store *s, uint32_t segment, bool (*go_on)(struct sv_store *s));
/* The same for some segment that was never written, those first that are next. `*ret_done`: there
 * was one, and it was not given up. With cleaning held. */
int sv_convert_one(struct sv_store *s, bool (*go_on)(struct sv_store *s), bool *ret_done);
bool sv_is_virgin(const struct sv_store *s, uint32_t segment);
/* So many bytes of log can follow without a virgin, and without growth for their cycle's sake. */
bool sv_is_ready(struct sv_store *s, uint64_t more_bytes);
/* Asks the device for more segments ahead of need. With cleaning held. */
bool sv_grow_ahead(struct sv_store *s);

/* ---- checkpoint.c ---- */
int sv_checkpoint_locked(struct sv_store *s); /* with commit held */
int sv_write_anchors(struct sv_store *s);     /* with cleaning held */
bool sv_anchor_due(struct sv_store *s);
/* Writes them if a newer root has settled, so that the gate keeps up with the log (room.c); unless
 * `now`, waits a little for the moment at which that is cheap. Call without locks. */
int sv_renew_anchors(struct sv_store *s, bool now);
/* The same between two parts of a group, where nobody cleans. With commit held. */
void sv_try_anchors(struct sv_store *s);
/* The log's erase unit is full, or as good as. With lock held. */
bool sv_is_at_unit_end(const struct sv_store *s);
void sv_marks_add(struct sv_marks *marks, const struct sv_link *root, uint64_t log_bytes);
void sv_update_gate(struct sv_store *s); /* with lock held */

/* ---- clean.c ---- */
/* A head apart with room for so much; a new segment where it has none: -ENOSPC. */
int sv_apart_roll(struct sv_store *s, struct sv_apart *head, uint32_t bytes);
/* One pass. `squeeze`: over segments with units that are mostly dead, instead of those that hold
 * little. With cleaning held. */
int sv_clean_pass(struct sv_store *s, bool squeeze, bool *ret_progress);
/* One pass in idle time, over what is worth it; given up between two requests when go_on says no.
 * With cleaning held. */
int sv_clean_idle(struct sv_store *s, bool (*go_on)(struct sv_store *s), bool *ret_progress);
/* Moves units one behind the other, in this order, as survivors; the list is sorted meanwhile. Says
 * how much was written, also where go_on or an error ended it. With cleaning held. */
int sv_clean_move(struct sv_store *s, struct sv_set_unit *units, uint32_t count,
		  bool (*go_on)(struct sv_store *s), uint64_t *ret_bytes);

/* ---- victim.c: which segments are cleaned ---- */
/* The best victim that is not among those chosen; 0: none is worth it. With lock held. */
uint32_t sv_choose_victim(struct sv_store *s, const uint32_t *chosen, unsigned count, bool squeeze);
/* Looks at how much of it died. With lock held. */
void sv_segs_watch(const struct sv_store *s, struct sv_seg *seg);
/* Walks the map once a session to know what units take that are mostly dead. Call without locks. */
int sv_find_slack(struct sv_store *s);
/* At an open: begins to watch all segments. */
void sv_watch_all(struct sv_store *s);

/* ---- walk.c: the chain as it lies on the device ---- */
struct sv_walked {
	uint64_t seq, flushed_seq, epoch, generation, log_bytes;
	uint32_t segment, offset, total_bytes, next_segment, after_segment, flags;
	uint8_t hash[SV_HASH_BYTES];
	uint8_t *raw; /* the header with its records */
	uint32_t raw_bytes;
	bool poisoned; /* behind a move whose target is bad, and before an opening that knew it */
};
struct sv_walk {
	struct sv_walked *v;
	size_t count, capacity;
	uint8_t *buf; /* one segment, aligned */
	/* Read along with a header, where a seek costs as much; 0 bytes most: it is not done. */
	uint8_t *ahead;
	uint64_t ahead_place, ahead_bytes, ahead_most;
	uint64_t moved_end; /* where the last survivor read ends */
	uint64_t bytes_read;
	uint64_t header_bytes; /* kept in memory */
	uint64_t lost_flushed;
	uint64_t epoch_seen;	    /* the newest that an orphan is of */
	uint64_t flushed_seen;	    /* F of batches that were walked and cut off */
	uint64_t flushed_log_bytes; /* and where the log was then */
	bool bad_moves;		    /* some were refused */
	/* Batches whose payload is bad and that are kept: told by openings, and found now. */
	uint64_t damaged[SV_DAMAGES_MAX];
	unsigned damages_told, damages;
	/* What the first header of a segment named next says, read once a segment (W4). */
	uint32_t peeked_segment;
	bool peeked_opening;
	uint64_t peeked_epoch;
	uint8_t peeked_prev_hash[SV_HASH_BYTES];
};
/* Follows the chain from the anchor's root to its newest end that verifies. */
int sv_walk_chain(struct sv_store *s, struct sv_walk *walk);
void sv_walk_free(struct sv_store *s, struct sv_walk *walk);
/* Only the memory to read into. */
int sv_walk_buf(struct sv_store *s, struct sv_walk *walk);
/* The header of the batch at a place, verified by itself; -EBADMSG. Its raw bytes are in
 * walk->buf. */
int sv_walk_head(struct sv_store *s, struct sv_walk *walk, uint32_t segment, uint32_t offset,
		 struct sv_head *ret_head);
int sv_walk_read(struct sv_store *s, struct sv_walk *walk, uint64_t place, uint32_t len_bytes,
		 uint8_t **ret_data);

/* ---- walk_born.c ---- */
/* Whether what was born for a batch is there, all of it (Z2); kept in memory if `recent`. */
int sv_walk_born(struct sv_store *s, struct sv_walk *w, const struct sv_walked *v, bool recent,
		 bool *ret_good);

/* ---- recover.c ---- */
int sv_recover(struct sv_store *s);
int sv_begin_epoch(struct sv_store *s);
/* After a replay that took more memory for the map than is its bound: a checkpoint, and back (R4);
 * where that finds no room, it stays as it is. */
void sv_return_to_bound(struct sv_store *s);

/* ---- read.c ---- */
int sv_read_blocks(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks);
/* The same past the caches: whether the stick has it. */
int sv_read_stick(struct sv_store *s, uint8_t *dst, uint64_t lba, unsigned blocks);
int sv_reads_init(struct sv_store *s);
void sv_reads_free(struct sv_store *s);
struct sv_scratch *sv_scratch_get(struct sv_store *s);
void sv_scratch_put(struct sv_store *s, struct sv_scratch *scratch);
/* ---- readahead.c ---- */
int sv_stream_init(struct sv_store *s);
void sv_stream_free(struct sv_store *s);
/* Forgets what was read ahead. */
void sv_stream_drop(struct sv_store *s);
/* A gap of so many bytes takes no longer to be read than to be passed over. */
uint64_t sv_bridge_bytes(const struct sv_store *s);
/* Reads [place, place + len) into scratch->io; *ret_data is where it starts in there. `ahead`: it
 * may be one of a stream. */
int sv_read_raw(struct sv_store *s, struct sv_scratch *scratch, uint64_t place, uint32_t len_bytes,
		bool ahead, uint8_t **ret_data);

/* ---- cache_open.c ---- */
/* Where it fails, the store does without. */
void sv_cache_open(struct sv_store *s);

/* ---- scrub.c ---- */
/* Called by the keeper when it has nothing else to do. */
void sv_scrub_tick(struct sv_store *s);
/* Reads the blocks of one leaf of the map, and verifies them. */
int sv_scrub_step(struct sv_store *s);

/* ---- history.c ---- */
/* What its record may take in a root. */
static inline uint32_t sv_history_limit(const struct sv_store *s)
{
	uint64_t most = sv_min64(SV_HISTORY_MAX_BYTES, s->anchor.segment_bytes / 32);

	return (uint32_t)sv_max64(most, SV_HISTORY_LEAST_BYTES);
}
/* Records of a root beside ROOT. */
static inline uint32_t sv_root_bytes(const struct sv_store *s)
{
	return sv_history_limit(s) + sv_boot_limit(s);
}

/* ---- status.c ---- */
/* Brings the ledger up to date. With lock held. */
void sv_tally(struct sv_store *s);

/* ---- verify.c ---- */
/* A copy of a page of the map, with where it lies; all zero where the tree has none. */
int sv_copy_page(struct sv_store *s, unsigned level, uint64_t index, struct sv_page *ret);

/* ---- store.c ---- */
/* A store in memory with nothing in it; the device stays the caller's. */
int sv_store_new(struct sv_dev *dev, const struct sv_open_options *opts,
		 struct sv_store **ret_store);
/* What depends on the geometry that the anchors tell. */
int sv_store_stage(struct sv_store *s);
/* Everything but the device. */
void sv_store_free(struct sv_store *s);
void sv_why(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- now.c ---- */
uint64_t sv_now_us(void); /* monotonic */
uint64_t sv_now_ms(void);
uint64_t sv_now_s(void); /* Unix time */

#endif
