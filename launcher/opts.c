/* SPDX-License-Identifier: GPL-2.0-or-later */
/* opts.c: parses a command line by the table of verbs and options. */
#include "opts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "size.h"

const struct opt common_opts[] = {
	{.name = "stick",
	 .type = OPT_FILE,
	 .arg = "DIR",
	 .help = "the folder where the stick is mounted (default: $STICKVM_STICK, else the stick "
		 "that the program was started from, else the only one plugged in)"},
	{.name = "help", .help = "explain the verb"},
	{.name = "version", .help = "print the version"},
	{0},
};

const struct verb *verb_find(const struct verb *table, const char *name)
{
	for (const struct verb *v = table; v->name; v++) {
		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

/* The index of an option of which `name` is the first `len` bytes' whole name, else -1. */
static int opt_index(const struct opt *opts, const char *name, size_t len)
{
	for (int i = 0; opts && opts[i].name; i++) {
		if (strlen(opts[i].name) == len && strncmp(opts[i].name, name, len) == 0)
			return i;
	}
	return -1;
}

static bool choice_ok(const char *words, const char *value)
{
	size_t len = strlen(value);

	while (*words) {
		size_t word = strcspn(words, "|");

		if (word == len && strncmp(words, value, len) == 0)
			return true;
		words += word + (words[word] == '|');
	}
	return false;
}

static bool number_ok(const struct opt *opt, const char *value)
{
	size_t len = strlen(value);
	unsigned long number;

	if (len == 0 || len > 9 || value[strspn(value, "0123456789")] != '\0')
		return false;
	number = strtoul(value, NULL, 10);
	return number >= opt->low && number <= opt->high;
}

static int check_value(const struct opt *opt, const char *value, struct err *err)
{
	uint64_t bytes;

	switch (opt->type) {
	case OPT_FLAG:
		return 0;
	case OPT_TEXT:
	case OPT_FILE:
		if (value[0] != '\0')
			return 0;
		return err_set(err, EXIT_USAGE, "--%s: is empty; give %s", opt->name, opt->arg);
	case OPT_SIZE:
		if (size_parse(value, &bytes) == 0)
			return 0;
		return err_set(err, EXIT_USAGE,
			       "--%s: '%.64s' is not a size; write it like 64G "
			       "(K, M, G, T are powers of 1024)",
			       opt->name, value);
	case OPT_NUMBER:
		if (number_ok(opt, value))
			return 0;
		return err_set(err, EXIT_USAGE, "--%s: '%.64s' is not a number from %u to %u",
			       opt->name, value, opt->low, opt->high);
	case OPT_CHOICE:
		if (choice_ok(opt->arg, value))
			return 0;
		return err_set(err, EXIT_USAGE, "--%s: cannot be '%.64s'; allowed: %s", opt->name,
			       value, opt->arg);
	}
	return 0;
}

/* What the parser is looking at. */
struct scan {
	struct args *args;
	struct err *err;
	char **argv;
	int argc;
	int at; /* the next word */
};

static int take_common(struct args *args, int index, const char *value)
{
	if (strcmp(common_opts[index].name, "stick") == 0)
		args->stick = value;
	else if (strcmp(common_opts[index].name, "help") == 0)
		args->help = true;
	else
		args->version = true;
	return 0;
}

/* The value of an option: behind its "=", or the next word. */
static int option_value(struct scan *sc, const struct opt *opt, const char *equals,
			const char **ret_value)
{
	*ret_value = "";
	if (opt->type == OPT_FLAG && equals)
		return err_set(sc->err, EXIT_USAGE, "--%s: takes no value", opt->name);
	if (opt->type == OPT_FLAG || (opt->value_optional && !equals))
		return 0;
	if (equals)
		*ret_value = equals + 1;
	else if (sc->at < sc->argc)
		*ret_value = sc->argv[sc->at++];
	else
		return err_set(sc->err, EXIT_USAGE, "--%s: needs a value: %s", opt->name, opt->arg);
	return check_value(opt, *ret_value, sc->err);
}

static int take_option(struct scan *sc, const char *word)
{
	const struct verb *verb = sc->args->verb;
	const char *name = word + 2;
	const char *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	int own = verb ? opt_index(verb->opts, name, len) : -1;
	int common = opt_index(common_opts, name, len);
	const char *value;

	if (own < 0 && common < 0 && verb && !verb->run)
		return 0; /* its options are not in the table yet; the verb itself is refused */
	if (own < 0 && common < 0)
		return err_set(sc->err, EXIT_USAGE, "%.64s: unknown option; see 'stickvm help%s%s'",
			       word, verb ? " " : "", verb ? verb->name : "");
	if (own >= 0 && verb->opts[own].later)
		return err_set(sc->err, EXIT_USAGE, "--%s: not in this version; leave it out",
			       verb->opts[own].name);
	if (option_value(sc, own >= 0 ? &verb->opts[own] : &common_opts[common], equals, &value) <
	    0)
		return -1;
	if (own < 0)
		return take_common(sc->args, common, value);
	assert(own < ARGS_MAX_OPTS);
	sc->args->values[own] = value;
	return 0;
}

static int take_word(struct scan *sc, const struct verb *table, const char *word)
{
	struct args *args = sc->args;

	if (word[0] == '-' && word[1] == '-')
		return take_option(sc, word);
	if (strcmp(word, "-h") == 0) {
		args->help = true;
		return 0;
	}
	if (word[0] == '-' && word[1] != '\0')
		return err_set(sc->err, EXIT_USAGE,
			       "%.64s: unknown option; options begin with "
			       "two dashes",
			       word);
	if (args->verb) {
		args->operands[args->operand_count++] = word;
		return 0;
	}
	args->verb = verb_find(table, word);
	if (!args->verb)
		return err_set(sc->err, EXIT_USAGE, "%.64s: unknown verb; see 'stickvm help'",
			       word);
	return 0;
}

static int take_tail(struct scan *sc)
{
	struct args *args = sc->args;
	const char **to = args->verb && args->verb->tail ? args->tail : args->operands;
	unsigned *count = to == args->tail ? &args->tail_count : &args->operand_count;

	while (sc->at < sc->argc)
		to[(*count)++] = sc->argv[sc->at++];
	return 0;
}

static int check_operands(const struct args *args, struct err *err)
{
	const struct verb *verb = args->verb;

	if (args->operand_count < verb->min)
		return err_set(err, EXIT_USAGE, "%s is missing; usage: stickvm %s %s",
			       verb->min == 1 ? verb->operands : "an operand", verb->name,
			       verb->operands);
	if (args->operand_count > verb->max)
		return err_set(err, EXIT_USAGE, "'%.64s' is one too many; usage: stickvm %s%s%s",
			       args->operands[verb->max], verb->name, *verb->operands ? " " : "",
			       verb->operands);
	return 0;
}

int args_parse(int argc, char **argv, const struct verb *table, struct args *ret_args,
	       struct err *err)
{
	struct scan sc = {.args = ret_args, .err = err, .argv = argv, .argc = argc, .at = 1};

	*ret_args = (struct args){.program = argc > 0 ? argv[0] : "stickvm"};
	ret_args->operands = calloc((size_t)argc + 1, sizeof(*ret_args->operands));
	ret_args->tail = calloc((size_t)argc + 1, sizeof(*ret_args->tail));
	if (!ret_args->operands || !ret_args->tail)
		return err_set(err, EXIT_FAILED, "out of memory");
	while (sc.at < argc) {
		const char *word = argv[sc.at++];

		if (strcmp(word, "--") == 0)
			take_tail(&sc);
		else if (take_word(&sc, table, word) < 0)
			return -1;
	}
	if (ret_args->help || ret_args->version)
		return 0;
	if (!ret_args->verb)
		return err_set(err, EXIT_USAGE, "no verb; see 'stickvm help'");
	if (!ret_args->verb->run)
		return err_set(err, EXIT_USAGE, "not in this version; see 'stickvm help'");
	return check_operands(ret_args, err);
}

void args_free(struct args *args)
{
	free(args->operands);
	free(args->tail);
	args->operands = NULL;
	args->tail = NULL;
}

static const char *value_of(const struct args *args, const char *opt)
{
	int index = opt_index(args->verb->opts, opt, strlen(opt));

	assert(index >= 0);
	return args->values[index];
}

bool args_has(const struct args *args, const char *opt)
{
	return value_of(args, opt) != NULL;
}

const char *args_text(const struct args *args, const char *opt, const char *fallback)
{
	const char *value = value_of(args, opt);

	return value ? value : fallback;
}

uint64_t args_size(const struct args *args, const char *opt, uint64_t fallback)
{
	const char *value = value_of(args, opt);
	uint64_t bytes = fallback;

	if (value && size_parse(value, &bytes) < 0)
		assert(false); /* sizes are checked when they are parsed */
	return bytes;
}

uint32_t args_number(const struct args *args, const char *opt, uint32_t fallback)
{
	const char *value = value_of(args, opt);

	return value ? (uint32_t)strtoul(value, NULL, 10) : fallback;
}

const char *args_operand(const struct args *args, unsigned index)
{
	return index < args->operand_count ? args->operands[index] : NULL;
}
