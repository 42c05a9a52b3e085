/* SPDX-License-Identifier: GPL-2.0-or-later */
/* opts.h: command lines, parsed and explained from the one table of verbs and options. */
#ifndef LAUNCHER_OPTS_H
#define LAUNCHER_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "err.h"

/*
 * The table is `verbs` in verbs.c. Everything that must agree comes from it: the parser, the
 * checks of values, `--help`, `help VERB`, the man pages and the completion.
 * Options are long ones, "--name VALUE" or "--name=VALUE", anywhere among the operands; what
 * stands behind "--" is never an option.
 */
enum opt_type {
	OPT_FLAG,   /* no value */
	OPT_TEXT,   /* any text but an empty one */
	OPT_FILE,   /* the same, completed as a file name */
	OPT_SIZE,   /* 64G; checked when parsed */
	OPT_NUMBER, /* decimal, low to high; checked when parsed */
	OPT_CHOICE, /* one of the words of `arg`, which '|' separates */
};

struct opt {
	const char *name; /* without the dashes; NULL ends a list */
	enum opt_type type;
	const char *arg;      /* the value's name in the help, "SIZE"; the words of a choice */
	const char *fallback; /* the default, for the help only; NULL: none */
	const char *help;
	uint32_t low, high;  /* of a number */
	bool later;	     /* named in cli.md, not in this version */
	bool value_optional; /* "--name" alone is good as well; a value needs "=" */
};

struct args;
typedef int verb_run(const struct args *args); /* returns the exit status */

struct verb {
	const char *name;     /* NULL ends the table */
	const char *operands; /* "NAME DIR", as in the usage line */
	unsigned min, max;    /* how many; UINT_MAX: any number */
	const char *tail;     /* what may follow "--", NULL: nothing */
	const char *help;     /* one line */
	const char *more;     /* paragraphs for `help VERB`; NULL: none */
	const struct opt *opts;
	verb_run *run; /* NULL: not in this version */
};

#define ARGS_MAX_OPTS 20

/* A parsed command line. Texts are borrowed from argv. */
struct args {
	const struct verb *verb;
	const char *program; /* argv[0] */
	const char *stick;   /* --stick DIR, NULL: not given */
	bool help;	     /* --help was given */
	bool version;
	const char *values[ARGS_MAX_OPTS]; /* by the option's place in verb->opts; "" for a flag */
	const char **operands;
	unsigned operand_count;
	const char **tail;
	unsigned tail_count;
};

/*
 * Parses by the table. With --help or --version nothing is demanded of the rest. On failure
 * `err` has the text without the leading "stickvm VERB: " and ret_args->verb is the verb as far
 * as it was recognised (else NULL). args_free in either case.
 */
int args_parse(int argc, char **argv, const struct verb *table, struct args *ret_args,
	       struct err *err);
void args_free(struct args *args);

/* What an option was set to; asking for one that the verb has not is a bug and asserted. */
bool args_has(const struct args *args, const char *opt);
const char *args_text(const struct args *args, const char *opt, const char *fallback);
uint64_t args_size(const struct args *args, const char *opt, uint64_t fallback);
uint32_t args_number(const struct args *args, const char *opt, uint32_t fallback);
/* The operand's text, NULL where it was left out. */
const char *args_operand(const struct args *args, unsigned index);

const struct verb *verb_find(const struct verb *table, const char *name);

/* The options that every verb has (--stick, --help, --version); ends with a NULL name. */
extern const struct opt common_opts[];

/* "stickvm create NAME [options]"; for `--help`, `help VERB` and the man pages. */
void help_usage(FILE *out, const struct verb *verb);
void help_verb(FILE *out, const struct verb *verb);
void help_all(FILE *out, const struct verb *table);

#endif
