/* SPDX-License-Identifier: GPL-2.0-or-later */
/* opts.c: fuzz target: a command line; what is taken can be asked for. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "opts.h"
#include "verbs.h"

#define WORDS 40

static void ask(const struct args *args)
{
	for (const struct opt *o = args->verb->opts; o != NULL && o->name != NULL; o++) {
		if (!args_has(args, o->name))
			continue;
		fuzz_must(args_text(args, o->name, NULL) != NULL);
		if (o->type == OPT_SIZE && !o->value_optional)
			(void)args_size(args, o->name, 0);
		if (o->type == OPT_NUMBER) {
			uint32_t number = args_number(args, o->name, o->low);

			fuzz_must(o->value_optional || (number >= o->low && number <= o->high));
		}
	}
	for (unsigned i = 0; i < args->operand_count; i++)
		fuzz_must(args_operand(args, i) != NULL);
}

/* The words of the line, separated by newlines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *argv[WORDS + 2] = {NULL}, *at = text;
	struct err err = {0};
	struct args args;
	int argc = 0;

	fuzz_must(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	argv[argc++] = (char[]){"stickvm"};
	while (at != NULL && argc <= WORDS) {
		argv[argc++] = at;
		at = strchr(at, '\n');
		if (at != NULL)
			*at++ = '\0';
	}
	if (args_parse(argc, argv, verbs, &args, &err) == 0) {
		if (args.verb != NULL)
			ask(&args);
	} else {
		fuzz_must(err.text[0] != '\0');
	}
	args_free(&args);
	free(text);
	return 0;
}
