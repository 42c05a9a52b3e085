/* SPDX-License-Identifier: GPL-2.0-or-later */
/* opts_help.c: explains the table of verbs and options to a person. */
#include "opts.h"

#include <string.h>

#define WIDTH 80
#define MARGIN 26

/* Words filled between a margin and the width; the cursor stands at `column`. */
static void fill(FILE *out, const char *text, int margin, int column)
{
	while (*text) {
		int len = (int)strcspn(text, " \n");

		if (column > margin && column + 1 + len > WIDTH) {
			fprintf(out, "\n%*s", margin, "");
			column = margin;
		} else if (column > margin) {
			fputc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", len, text);
		column += len;
		text += len;
		if (*text == '\n') {
			fprintf(out, "\n%*s", margin, "");
			column = margin;
		}
		text += *text != '\0';
	}
	fputc('\n', out);
}

/* "  left column       text that is filled to the right of the margin" */
static void row(FILE *out, const char *left, const char *text)
{
	int column = fprintf(out, "  %s", left);

	if (column + 2 > MARGIN)
		fprintf(out, "\n%*s", MARGIN, "");
	else
		fprintf(out, "%*s", MARGIN - column, "");
	fill(out, text, MARGIN, MARGIN);
}

static void option_row(FILE *out, const struct opt *opt)
{
	char left[128];
	char text[512];

	if (opt->type == OPT_FLAG)
		snprintf(left, sizeof(left), "--%s", opt->name);
	else
		snprintf(left, sizeof(left), opt->value_optional ? "--%s[=%s]" : "--%s %s",
			 opt->name, opt->arg);
	snprintf(text, sizeof(text), "%s%s%s%s%s", opt->help, opt->fallback ? " (default: " : "",
		 opt->fallback ? opt->fallback : "", opt->fallback ? ")" : "",
		 opt->later ? " (not in this version)" : "");
	row(out, left, text);
}

void help_usage(FILE *out, const struct verb *verb)
{
	fprintf(out, "usage: stickvm [--stick DIR] %s%s%s%s%s%s%s\n", verb->name,
		*verb->operands ? " " : "", verb->operands,
		verb->opts && verb->opts[0].name ? " [options]" : "", verb->tail ? " [-- " : "",
		verb->tail ? verb->tail : "", verb->tail ? "]" : "");
}

void help_verb(FILE *out, const struct verb *verb)
{
	help_usage(out, verb);
	fputc('\n', out);
	fill(out, verb->help, 0, 0);
	if (!verb->run)
		fprintf(out, "\nNot in this version.\n");
	if (verb->more) {
		fputc('\n', out);
		fill(out, verb->more, 0, 0);
	}
	fprintf(out, "\noptions:\n");
	for (const struct opt *o = verb->opts; o && o->name; o++)
		option_row(out, o);
	for (const struct opt *o = common_opts; o->name; o++)
		option_row(out, o);
}

void help_all(FILE *out, const struct verb *table)
{
	fprintf(out, "stickvm: a virtual machine on a USB stick\n\n"
		     "usage: stickvm [--stick DIR] VERB ...\n\nverbs:\n");
	for (const struct verb *v = table; v->name; v++) {
		if (v->run)
			row(out, v->name, v->help);
	}
	fprintf(out, "\nnot in this version:\n  ");
	for (const struct verb *v = table; v->name; v++) {
		if (!v->run)
			fprintf(out, "%s ", v->name);
	}
	fprintf(out, "\n\noptions of all verbs:\n");
	for (const struct opt *o = common_opts; o->name; o++)
		option_row(out, o);
	fprintf(out, "\n'stickvm help VERB' explains a verb. Sizes are written 512M, 64G; K, M, G "
		     "and T are\npowers of 1024. Exit status: 0 done; 1 failed; 2 usage; 3 no "
		     "stick; 4 damage;\n5 in use; 6 wrong passphrase; 7 cannot go on here; 130 "
		     "interrupted.\n");
}
