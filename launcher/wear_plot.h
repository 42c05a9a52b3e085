/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_plot.h: plots as inline SVG; private to wear_html.c and wear_plot.c. */
#ifndef LAUNCHER_WEAR_PLOT_H
#define LAUNCHER_WEAR_PLOT_H

#include <jansson.h>
#include <stdio.h>

/* A text that may be anything, as HTML's and as an attribute's. */
void html_text(FILE *out, const char *text);

struct plot_cause {
	const char *key; /* in a span */
	const char *name;
	const char *colour;
};
/* Ends with a NULL key. */
extern const struct plot_cause plot_causes[];

/* Bytes a day, one stacked bar a span; hovering shows the figures. */
void plot_days(FILE *out, const json_t *spans);
/* A figure of each span as dots and a line: the quotient of two counters times `scale`. */
void plot_quotient(FILE *out, const json_t *spans, const char *over, const char *under,
		   double scale, const char *unit);
/* An interval of a life from 0 to 1. */
void plot_life(FILE *out, double low, double high);
/* Bars of `value` (of which `part` in another colour; NULL: none), each with its label. */
void plot_bars(FILE *out, const json_t *rows, const char *label, const char *value,
	       const char *part, const char *unit);

#endif
