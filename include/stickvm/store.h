/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store.h: a virtual disk as a log on a device: open, read, write, flush, discard, close. */
#ifndef STICKVM_STORE_H
#define STICKVM_STORE_H

#include "stickvm/dev.h"

#define SV_BLOCK_BYTES 4096u		       /* the unit of mapping: one logical block */
#define SV_MIN_DISK_BYTES (UINT64_C(1) << 20)  /* 1 MiB */
#define SV_MAX_DISK_BYTES (UINT64_C(16) << 40) /* 16 TiB */
#define SV_STORE_ID_BYTES 16
#define SV_CACHE_KEY_BYTES 32

struct sv_store;

/* What a new store is made with. Zero fields take the default from the device's geometry. */
struct sv_format_params {
	uint64_t size_bytes;	   /* of the disk; a multiple of 512 */
	uint32_t segment_bytes;	   /* a whole number of erase units; default 8 MiB */
	uint32_t page_bytes;	   /* sealed appends are padded to it; default 16 KiB */
	uint64_t lie_window_bytes; /* acknowledged bytes a stick may lose; default 64 MiB or less on
				    * a small place (capacity / 16) */
	uint64_t checkpoint_bytes; /* log between two roots; default 128 MiB (256 MiB from 16 GiB
				    * on), capacity / 32 on a small place */
	uint8_t id[SV_STORE_ID_BYTES]; /* all zero: a random one */
};

enum sv_codec { SV_CODEC_LZ4 = 0, SV_CODEC_NONE = 1, SV_CODEC_ZSTD = 2 };

/* Whether blocks that live long are written apart from the others at once (storage/DESIGN.md, "Born
 * apart"): where the stick is fit for it and the writes are so; never; or, to try it, every other
 * pair of blocks, whatever the stick and the writes. */
enum sv_births { SV_BIRTHS_MEASURED, SV_BIRTHS_NEVER, SV_BIRTHS_TRIED };

/* How a store is run on this host; none of it is stored. Zero fields take the default. */
struct sv_open_options {
	bool read_only;		/* recover in memory, write nothing */
	bool manual;		/* no threads: nothing happens but in calls (tests, tools) */
	uint64_t map_ram_bytes; /* bound of the map in memory; default 36 MiB */
	uint64_t batch_bytes;	/* guest data gathered at most; default 16 MiB; see DESIGN.md */
	uint32_t batch_age_ms;	/* a batch is sealed at this age; default 2000 */
	uint32_t unit_bytes;	/* largest compressed unit; default 16 KiB, at most 64 KiB;
				 * sv_unit_bytes has it for a stick that was measured */
	enum sv_codec codec;	/* of guest data on the way in */
	enum sv_births births;
	bool boot_set;	  /* a guest starts from it: what it reads until it has settled is
			   * recorded, and what earlier starts read is read ahead of it */
	const char *host; /* who runs it, kept in the session record; NULL: unknown */
	/* What is read is kept: expanded in memory, and as it lies on the stick in encrypted files
	 * on this host, where it survives the session. */
	uint64_t cache_ram_bytes;   /* default 16 MiB; less than 256 KiB: nothing */
	const char *cache_dir;	    /* a folder for the files, made if missing; NULL: none */
	const uint8_t *cache_key;   /* SV_CACHE_KEY_BYTES, to be kept on the stick only */
	uint64_t cache_bytes;	    /* of files, at most; below 8 MiB: none */
	uint64_t cache_leave_bytes; /* left to others on the cache's file system */
	uint64_t seed; /* 0: random; else of generations and epochs, so that a test repeats */
};

/*
 * The largest unit with which a random read of one block costs at most 1.25 times what it costs on
 * the stick itself: `read_ns` for 4 KiB anywhere, of a stick that reads `bytes_s` in order. Larger
 * units compress better; what was written stays as it is. From 5 KiB to 64 KiB.
 */
uint32_t sv_unit_bytes(double read_ns, double bytes_s);

/* Cumulative over the store's life, carried in every batch. Bytes unless named otherwise. */
struct sv_ledger {
	uint64_t guest_written_bytes;
	uint64_t guest_read_bytes;
	uint64_t guest_discarded_bytes;
	uint64_t stick_written_bytes; /* everything this engine wrote, the following included */
	uint64_t stick_read_bytes;
	uint64_t payload_bytes;	     /* units of guest data, as stored */
	uint64_t padding_bytes;	     /* to fill flash pages and segments */
	uint64_t metadata_bytes;     /* headers, map, roots, anchors */
	uint64_t cleaner_bytes;	     /* survivors */
	uint64_t convert_bytes;	     /* zeros that prepare a segment on a host file system */
	uint64_t state_bytes;	     /* suspended machines */
	uint64_t coalesced_bytes;    /* guest bytes overwritten before they were sealed */
	uint64_t noop_skipped_bytes; /* rewrites with identical content */
	uint64_t zero_skipped_bytes; /* blocks of zeros, never stored */
	uint64_t compression_saved_bytes;
	uint64_t flushes;	   /* count */
	uint64_t batches;	   /* count */
	uint64_t checkpoints;	   /* count */
	uint64_t segments_cleaned; /* count */
	uint64_t sessions;	   /* count of opens for writing */
	uint64_t unclean_detaches; /* count of opens that found no close record */
	uint64_t first_used_s;	   /* Unix time of the format */
};

enum sv_state { SV_OK = 0, SV_DETACHED = 1, SV_FULL = 2, SV_READ_ONLY = 3 };

/* A snapshot of a store's state: plain values, owned by the caller. */
struct sv_status {
	uint8_t store_id[SV_STORE_ID_BYTES];
	uint64_t epoch;
	uint64_t seq;		 /* of the last batch appended */
	uint64_t size_bytes;	 /* of the disk */
	uint64_t mapped_bytes;	 /* guest blocks that hold data, times 4096 */
	uint64_t used_bytes;	 /* live bytes on the stick, all kinds */
	uint64_t capacity_bytes; /* what used_bytes may come to on this place now */
	uint64_t grace_bytes;	 /* the guest's reserve; in capacity_bytes while it is released */
	uint64_t dirty_bytes;	 /* acknowledged, not yet durable */
	uint32_t segment_bytes;
	uint32_t page_bytes;
	uint64_t segments;	/* addressable now */
	uint64_t free_segments; /* writable now, those that growth could add included */
	uint64_t map_ram_bytes;
	uint64_t scrubbed_bytes;      /* of the disk, verified while nobody wanted the stick */
	uint64_t scrub_bad_blocks;    /* found so: they give EIO */
	uint64_t scrub_bad_off_bytes; /* the first one found; where in the disk */
	uint64_t ram_hits;     /* blocks served from memory, in this session as all that follow */
	uint64_t cache_hits;   /* units served by the host's cache */
	uint64_t cache_misses; /* units that came from the stick instead */
	uint64_t cache_bytes;  /* of its files now */
	uint64_t cache_limit_bytes; /* 0: there is none (cache_error says why) */
	uint64_t cache_written_bytes;
	uint64_t cache_bad;    /* found, but unreadable or not what was written: read again */
	uint64_t cache_passed; /* units that were not taken in: the host's disk did not keep up */
	int cache_error;       /* of its opening, a negative errno: -EBUSY another process has it */
	enum sv_state state;
	bool grace; /* the guest's reserve is released */
	bool alignment_known;
	bool flush_requested;
	struct sv_ledger ledger;  /* life-long */
	struct sv_ledger session; /* since this open */
};

/* What opening found. */
struct sv_recovery {
	bool clean; /* the last session ended with a close record */
	uint64_t batches_replayed;
	uint64_t bytes_read;
	uint64_t lost_flushed_batches; /* durable once, gone now: the stick lied or was damaged */
	uint64_t bad_blocks;	       /* blocks that will give EIO */
	char last_host[64];	       /* of the session before, NUL-terminated, "" if unknown */
	uint64_t last_since_s;	       /* its start, Unix time */
};

/*
 * Makes an empty store on `dev` (which is only borrowed), overwriting whatever is there.
 * -EINVAL: a size or geometry out of range; -ENOSPC: the device cannot hold the fixed part and
 * the reserve; else what the device returned.
 */
int sv_store_format(struct sv_dev *dev, const struct sv_format_params *params);

/*
 * Opens a store and recovers it to the newest durable state. On success the store owns `dev`.
 * -EMEDIUMTYPE: no store here; -EPROTONOSUPPORT: a newer format or an unknown incompatible
 * feature (sv_store_why names it); -EUCLEAN: damage that recovery must not repair by itself;
 * -EBADMSG: no root verifies. `opts` may be NULL.
 */
int sv_store_open(struct sv_dev *dev, const struct sv_open_options *opts,
		  struct sv_store **ret_store);
/* Why the last sv_store_open or sv_store_reattach of this thread failed, as a clause for a message;
 * never NULL. */
const char *sv_store_why(void);
void sv_store_recovery(const struct sv_store *st, struct sv_recovery *ret_recovery);

/*
 * Guest I/O. Offsets and lengths in bytes, multiples of 512, inside the disk (-EINVAL).
 * Callable from any thread. A write is acknowledged once it is in the open batch and its space
 * on the stick is reserved (-ENOSPC otherwise); it is durable after the next flush. A read sees
 * every write that returned before it was called. -EIO: the block is damaged or the stick failed;
 * -ENODEV: the stick is gone; -EROFS: opened read-only.
 */
int sv_store_read(struct sv_store *st, void *buf, size_t len_bytes, uint64_t off_bytes);
int sv_store_write(struct sv_store *st, const void *buf, size_t len_bytes, uint64_t off_bytes);
/* Makes everything acknowledged before the call durable. Concurrent calls share one seal. */
int sv_store_flush(struct sv_store *st);
/* The range reads as zeros afterwards and holds no space. Multiples of 512; any length. */
int sv_store_discard(struct sv_store *st, uint64_t len_bytes, uint64_t off_bytes);

/*
 * Releases the guest's reserve of a full store (64 MiB, or a sixteenth of what there is where that
 * is less), so that a guest which must write in order to delete can; or takes it back. It is taken
 * back by itself when discards have made room for a quarter more than it. Looks in any case
 * whether the place has more room than it had. -EROFS.
 */
int sv_store_grace(struct sv_store *st, bool on);

enum sv_seek { SV_SEEK_DATA, SV_SEEK_HOLE };
/* The next offset at or after `off_bytes` that holds data (a hole); -ENXIO: none up to the end
 * (for a hole: the disk's end is one, as with lseek). */
int sv_store_seek(struct sv_store *st, enum sv_seek what, uint64_t off_bytes,
		  uint64_t *ret_off_bytes);

/* Cheap and callable at any time, from any thread. */
void sv_store_status(struct sv_store *st, struct sv_status *ret_status);

/* Writes a root now. Cleans up to `segments` victims now (returns how many were cleaned). */
int sv_store_checkpoint(struct sv_store *st);
int sv_store_clean(struct sv_store *st, unsigned segments, unsigned *ret_cleaned);

/* Flushes, writes the close record and a root, frees everything and closes the device. The
 * store is gone afterwards whatever is returned: the first error, for the user to be told. */
int sv_store_close(struct sv_store *st);
/* Frees everything without another write: what a crash leaves behind. Takes NULL. */
void sv_store_abandon(struct sv_store *st);

/*
 * A pull of the stick, and going on after it.
 *
 * A store whose device went away is *detached* (sv_status.state). It keeps in memory everything
 * that was acknowledged and may not be on the stick: the open batch, and each append that is not
 * flushed or has less than lie_window bytes behind it. Meanwhile writes and discards are taken as
 * long as there is memory for them, then they give -ENODEV; reads of what is in memory work,
 * others give -ENODEV; a flush gives -ENODEV. None of these errors stays: after sv_store_reattach
 * the same calls succeed. sv_store_close of a detached store gives -ENODEV, and what was only in
 * memory is lost: keep the store while there is hope for the stick.
 *
 * A device that fails otherwise (a bad sector: -EIO, with sv_dev_alive answering 0) does not
 * detach the store.
 */

/* Notices that the stick is gone before any request does, for whoever watches the hardware: the
 * store is detached afterwards. Never waits for the device. The store closes the old device (and
 * so gives up its lock) as soon as no call runs in it, so that the same place can be opened again.
 * Idempotent; from any thread. The host's sleep is this and a reattach of the same place. */
void sv_store_detach(struct sv_store *st);

/* What a reattach did. Bytes of appends to the log. */
struct sv_reattach {
	uint64_t verified_bytes;  /* were read back, and were right */
	uint64_t rewritten_bytes; /* were not, and were written again */
	uint64_t missing_bytes;	  /* of these, had been flushed: the stick lost what it confirmed */
};

/*
 * Gives a detached store its place again, under whatever name it is found now: `dev` was opened
 * the way the first one was (read-only if the store is). Everything that the stick may have lost
 * is read back and written again where it differs; then the stick is flushed. It may take as long
 * as reading and writing lie_window bytes twice. On success the state is what it was, everything
 * sealed is durable, and the store owns `dev`. On failure `dev` stays the caller's, the store
 * stays detached, nothing in memory is lost, and another attempt may be made; sv_store_why says
 * more. `ret` may be NULL; it is untouched on failure.
 *
 * -ESTALE: another host (or another session) has opened the store since. Nothing was written. What
 *          is in memory will never fit this stick again.
 * -EMEDIUMTYPE: another store, or none. Nothing was written.
 * -EUCLEAN: what must be there is not, and is not in memory either. Nothing was written.
 * -ENODEV, -EIO: the device went away again, or fails.
 * -EALREADY: the store is not detached. -EBUSY: it is being parked (park.h). -ENOMEM.
 */
int sv_store_reattach(struct sv_store *st, struct sv_dev *dev, struct sv_reattach *ret);

enum sv_finding_kind {
	SV_FOUND_DATA = 1,	  /* blocks give EIO: what is stored does not verify */
	SV_FOUND_LOST = 2,	  /* blocks give EIO: nobody knows where they are any more */
	SV_FOUND_MAP = 4,	  /* the same, and sv_store_repair may know it again */
	SV_FOUND_COUNT = 8,	  /* the segment table is wrong */
	SV_FOUND_CHAIN = 16,	  /* recovery would not find, or not verify, what it may need */
	SV_FOUND_ANCHOR = 32,	  /* one of them: opening for writing renews it */
	SV_FOUND_HEADER = 64,	  /* what it describes can be read, not moved: sv_store_rescue */
	SV_FOUND_CONTAINER = 128, /* a copy of a header: opening for writing renews it */
};

/* What sv_store_check found, one call a finding. Texts are borrowed for the call. */
struct sv_finding {
	enum sv_finding_kind kind;
	const char *what;   /* one clause: "unit does not verify", ... */
	uint64_t off_bytes; /* the guest range that is affected; len 0: none in particular */
	uint64_t len_bytes;
	uint64_t place_bytes; /* where on the device; UINT64_MAX: nowhere in particular */
};
typedef void sv_check_report(void *ctx, const struct sv_finding *finding);
/*
 * Verifies the structure of an open store: map, segment table, the sums between them and both
 * anchors; with `deep` also every live byte, the chain from its root to its end, and that each
 * live unit is described by a header (the chain only where it was opened read-only). `progress`
 * (may be NULL) gets bytes done and in all. Returns 0 even where findings were reported; an errno
 * only when checking itself could not go on.
 */
int sv_store_check(struct sv_store *st, bool deep, sv_check_report *report, void *ctx,
		   void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes));

#endif
