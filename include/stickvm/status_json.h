/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status_json.h: a store's state and its ledger as JSON text with stable keys. */
#ifndef STICKVM_STATUS_JSON_H
#define STICKVM_STATUS_JSON_H

#include "stickvm/history.h"
#include "stickvm/store.h"

/*
 * One object: every field of `struct sv_status` under its own name, store_id as 32 hex digits,
 * state as `ok`, `detached`, `full` or `read-only`, and two objects `ledger` (life-long) and
 * `session` (since this open) as sv_ledger_json writes them. Ends in a newline.
 * The text is the caller's: free. -ENOMEM.
 */
int sv_status_json(const struct sv_status *status, char **ret_text);

/*
 * One object: every field of `struct sv_ledger` under its own name, but first_used_s as
 * `first_used` (Unix time, seconds), and `write_amplification`: bytes to the stick for each byte
 * the guest wrote, null where it wrote none. Ends in a newline. The text is the caller's: free.
 * -ENOMEM.
 */
int sv_ledger_json(const struct sv_ledger *ledger, char **ret_text);

/*
 * One object: since; spans (date and day of the first day, days, the counters, write_seconds),
 * sessions (ended: `closed`, `unclean`, or `not` while it runs), hosts, slow_segments. The text is
 * the caller's: free. -ENOMEM.
 */
int sv_history_json(const struct sv_history *history, char **ret_text);

/* "ok", "detached", "full", "read-only": a literal. */
const char *sv_state_name(enum sv_state state);

#endif
