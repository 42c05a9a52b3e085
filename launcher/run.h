/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.h: a session: from an open store and a command line to the end of the guest. */
#ifndef LAUNCHER_RUN_H
#define LAUNCHER_RUN_H

#include <stdbool.h>

#include "argv.h"
#include "parked_vm.h"
#include "plan.h"
#include "run_dir.h"
#include "stick.h"
#include "stickvm/store.h"
#include "vm.h"

struct run_request {
	struct stick *stick;
	const struct vm *vm;
	const struct plan *plan;
	const struct argv *argv;   /* of QEMU, for the paths in `dir` */
	const struct run_dir *dir; /* made */
	const char *iso;	   /* as in `argv`; NULL: none */
	const uint8_t *park_key;   /* PARK_KEY_BYTES; NULL: it cannot be parked */
	struct parked_vm *parked;  /* QEMU waits for this machine (-incoming defer); NULL: none */
	bool may_ask;		   /* questions may be asked on the terminal */
	/* One line for the user, without a newline. */
	void (*say)(void *ctx, const char *text);
	/* Called once, when the guest runs. */
	void (*running)(void *ctx);
	void *ctx;
};

/*
 * Runs the VM until the guest powers off, QEMU dies, or it is ended: by signals (which it
 * handles from here on), by the console's menu, or by `stickvm stop`. Takes over the store and
 * closes it. Returns the exit status; `err` says why where that is not 0.
 * The caller has no threads but the store's, and keeps its own time: this blocks.
 */
enum exit_status run_vm(const struct run_request *req, struct sv_store *store, struct err *err);

/*
 * To be called before the store is opened, whose threads inherit it: blocks the signals that
 * run_vm handles.
 */
void run_block_signals(void);

#endif
