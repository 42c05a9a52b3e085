/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_pending.c: verbs whose own files have not landed yet; goes away with them. */
#include "ui.h"
#include "verbs.h"

static int pending(const struct args *args)
{
	struct err err;

	err_set(&err, EXIT_USAGE, "not in this version; see 'stickvm help'");
	return ui_fail(args, &err);
}

int cmd_run(const struct args *args)
{
	return pending(args);
}

int cmd_stop(const struct args *args)
{
	return pending(args);
}
