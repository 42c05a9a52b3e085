/* SPDX-License-Identifier: GPL-2.0-or-later */
/* park.h: what a store has in memory and its stick has not, kept elsewhere until it is back. */
#ifndef STICKVM_PARK_H
#define STICKVM_PARK_H

#include "stickvm/store.h"

/*
 * A stick was pulled and will not be back before the process that serves its store ends. What only
 * that process has is handed out as a stream of bytes (FORMAT.md, "Parked data"), for its caller
 * to keep whole, secret and unchanged. Days later the stream is read again, and with the stick:
 *
 *	sv_parked_read -> sv_parked_write_back -> sv_store_open -> sv_parked_apply -> the disk goes
 *on
 *
 * Each of these steps may be cut anywhere and begun again as long as nobody but the owner of the
 * stream has opened the store for writing in between; to know that is the caller's part from
 * sv_store_open on. Before it, sv_parked_write_back finds out by itself.
 */

/* Takes, or gives, exactly `count` bytes; 0 or a negative errno, which is passed on. */
typedef int sv_park_put(void *ctx, const void *bytes, size_t count);
typedef int sv_park_get(void *ctx, void *buf, size_t count);

/*
 * A detached store is to be parked: from now on writes and discards are refused (-ENODEV), so that
 * nothing comes behind what is handed out, and flushes are accepted: whoever saves the machine
 * must drain it, and what they promise is kept once the stream is. -EALREADY: it is not detached;
 * -EROFS.
 */
int sv_store_park_begin(struct sv_store *st);
/* Hands everything out. Waits for appends that are under way, never for the stick. */
int sv_store_park(struct sv_store *st, sv_park_put *put, void *ctx);
/* It is not parked after all: as before sv_store_park_begin. */
void sv_store_park_cancel(struct sv_store *st);

/* A stream in memory. */
struct sv_parked;

/* Reads one; -EBADMSG: it makes no sense; -EPROTONOSUPPORT: of a newer version; -ENOMEM. */
int sv_parked_read(sv_park_get *get, void *ctx, struct sv_parked **ret_parked);
void sv_parked_free(struct sv_parked *parked); /* takes NULL */

struct sv_parked_info {
	uint8_t store_id[SV_STORE_ID_BYTES];
	uint64_t size_bytes;	 /* of the disk */
	uint64_t log_bytes;	 /* appends to the log that the stick may lack */
	uint64_t unsealed_bytes; /* blocks that were in no append yet */
};
void sv_parked_info(const struct sv_parked *parked, struct sv_parked_info *ret_info);

/*
 * Makes the stick what it was meant to be when it was pulled: as sv_store_reattach, with the same
 * errors and the same promise that nothing is written unless all is as it was left. Then
 * lie_window bytes of zeros are written to free space, so that what was written back is safe on a
 * stick that lies, too. `dev` stays the caller's; no session begins. `ret_did` may be NULL.
 */
int sv_parked_write_back(struct sv_parked *parked, struct sv_dev *dev, struct sv_reattach *ret_did);
/* What was in no append yet, written to the store, which was opened after sv_parked_write_back,
 * and flushed. Doing it again does no harm as long as nobody else has written. */
int sv_parked_apply(struct sv_parked *parked, struct sv_store *st);

/*
 * The disk as it was when it was parked, though others have gone on with it since: a device, read
 * only, that shows `dev` (the stick's) with the parked appends in their places and without what
 * followed. Opened as a store (read-only), it gives every block that the stick still has, and EIO
 * for those whose place was written over. What was in no append comes from sv_parked_each. Borrows
 * both; to be closed before them. -EMEDIUMTYPE: another store's place.
 */
int sv_parked_view(const struct sv_parked *parked, struct sv_dev *dev, struct sv_dev **ret_view);
/* Calls `change` for all that was in no append, in order; `bytes` NULL stands for zeros. */
typedef int sv_parked_change(void *ctx, const void *bytes, uint64_t len_bytes, uint64_t off_bytes);
int sv_parked_each(const struct sv_parked *parked, sv_parked_change *change, void *ctx);

#endif
