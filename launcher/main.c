/* SPDX-License-Identifier: GPL-2.0-or-later */
/* main.c: the program `stickvm`: parse by the table, run the verb. */
#include <stdio.h>

#include "stickvm/version.h"
#include "ui.h"
#include "verbs.h"

int main(int argc, char **argv)
{
	struct args args;
	struct err err;
	int status = EXIT_DONE;

	if (args_parse(argc, argv, verbs, &args, &err) < 0)
		status = ui_fail(&args, &err);
	else if (args.help && args.verb)
		help_verb(stdout, args.verb);
	else if (args.help)
		help_all(stdout, verbs);
	else if (args.version)
		printf("stickvm %s\n", SV_VERSION);
	else
		status = args.verb->run(&args);
	args_free(&args);
	if (fflush(stdout) != 0 && status == EXIT_DONE)
		status = EXIT_FAILED;
	return status;
}
