/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune.h: from facts, settings and wishes to a plan; pure. */
#ifndef LAUNCHER_TUNE_H
#define LAUNCHER_TUNE_H

#include "facts.h"
#include "plan.h"
#include "vm.h"

enum wish_accel { WISH_ACCEL_AUTO = 0, WISH_KVM, WISH_TCG };
enum wish_display {
	WISH_DISPLAY_AUTO = 0,
	WISH_NO_DISPLAY,
	WISH_GTK,
	WISH_SDL,
	WISH_VNC,
	WISH_SPICE,
};

/* What the command line asks for; emptied, it asks for nothing in particular. */
struct wishes {
	enum wish_accel accel;
	enum wish_display display;
	const char *serial; /* NULL, "stdio", or an absolute path */
	const char *cache;  /* as the setting; NULL: what the VM has */
	bool detach;
};

/*
 * Decides everything. Each row of the table sees only the facts that it names, so that changing
 * a fact can change no other row. Rows that refuse are in the plan like the others: plan_check.
 * The plan borrows texts from `facts`, `vm` and `wishes`.
 */
void tune(const struct facts *facts, const struct vm *vm, const struct wishes *wishes,
	  struct plan *ret_plan);

#endif
