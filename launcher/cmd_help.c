/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_help.c: `help`: explain a verb, or list them all. */
#include "ui.h"
#include "verbs.h"

int cmd_help(const struct args *args)
{
	const char *name = args_operand(args, 0);
	const struct verb *verb = name ? verb_find(verbs, name) : NULL;
	struct err err;

	if (name && !verb) {
		err_set(&err, EXIT_USAGE, "%.64s: unknown verb; see 'stickvm help'", name);
		return ui_fail(args, &err);
	}
	if (verb)
		help_verb(stdout, verb);
	else
		help_all(stdout, verbs);
	return EXIT_DONE;
}
