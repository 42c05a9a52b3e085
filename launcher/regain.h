/* SPDX-License-Identifier: GPL-2.0-or-later */
/* regain.h: looks for a stick that went away until its disk is attached again. */
#ifndef LAUNCHER_REGAIN_H
#define LAUNCHER_REGAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "stickvm/store.h"
#include "watch.h"

struct regain_request {
	/* Detached; borrowed until regain_free. NULL: only the stick's folder is looked for. */
	struct sv_store *store;
	const struct watch_home *home; /* as of when the stick was there; copied */
	const char *vm_name;
	const char *place;    /* the VM's raw place; NULL: the disk is in the stick's folder */
	uint64_t place_bytes; /* its size; 0: unknown */
	bool read_only;	      /* as the store is */
	const struct watch_host *host;
};

enum regain_end {
	REGAIN_LOOKING = 0,
	REGAIN_BACK,	/* the store is attached again (or the folder found); ends the search */
	REGAIN_STALE,	/* another host has written since; nothing was written */
	REGAIN_DAMAGED, /* what the stick has is not what it had, or does not verify */
};

struct regain_news {
	enum regain_end end;
	char dir[4096];	  /* REGAIN_BACK: the stick's folder now; "": not seen (raw place) */
	char place[4096]; /* REGAIN_BACK: the place that was opened */
	struct sv_reattach did;
	char hint[512]; /* while looking: what was found and cannot be used, as a clause; or "" */
};

struct regain;

/* Starts a thread that looks once a second, and at once when it is told. NULL: it cannot. */
struct regain *regain_start(const struct regain_request *request);
/* Readable when there are news. */
int regain_fd(const struct regain *regain);
/* Look now: a disk or a mount came. */
void regain_look(struct regain *regain);
/* The news since, if there are any. */
bool regain_take(struct regain *regain, struct regain_news *ret_news);
/* Ends the looking, as regain_free does; what it has found can still be taken. */
void regain_stop(struct regain *regain);
/* Ends the looking; waits while the store is being attached, but not for a dead mount. The store
 * is the caller's again afterwards. Takes NULL. */
void regain_free(struct regain *regain);

#endif
