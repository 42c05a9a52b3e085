/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_plot.c: plots as inline SVG: no script, nothing loaded, figures in the titles. */
#include "wear_plot.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "size.h"

/* A plot is WIDTH x HEIGHT units with the axis' texts inside; the browser scales it. */
#define WIDTH 900.0
#define HEIGHT 260.0
#define LEFT 80.0
#define TOP 12.0
#define BOTTOM 226.0
#define BAR_MAX 34.0
#define LABELS 6u /* dates under a plot */

const struct plot_cause plot_causes[] = {
	{"payload_bytes", "guest data", "#2f6fab"},
	{"metadata_bytes", "metadata", "#e08a1e"},
	{"padding_bytes", "padding", "#9a9a9a"},
	{"cleaner_bytes", "cleaner", "#b5403a"},
	{"convert_bytes", "preparing segments", "#7a5ba8"},
	{"state_bytes", "suspended machines", "#3c9454"},
	{0},
};

void html_text(FILE *out, const char *text)
{
	for (; text && *text; text++)
		switch (*text) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			/* Control characters are not allowed, whatever a host's name says. */
			fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
		}
}

static double number(const json_t *row, const char *key)
{
	return json_number_value(json_object_get(row, key));
}

static const char *text_of(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text ? text : "";
}

static double days_of(const json_t *span)
{
	double days = number(span, "days");

	return days >= 1 ? days : 1;
}

/* The next of 1, 2, 5, 10, ... that is not less. */
static double round_up(double value)
{
	double step = value > 0 ? pow(10, floor(log10(value))) : 1;

	for (int i = 0; i < 3; i++) {
		static const double times[] = {1, 2, 5};

		if (step * times[i] >= value)
			return step * times[i];
	}
	return 10 * step;
}

static void begin(FILE *out, const char *label)
{
	fprintf(out, "<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT,
		label);
}

/* Lines at 0, half and all of `top`; what they mean is `unit`, or bytes where that is NULL. */
static void y_axis(FILE *out, double top, const char *unit)
{
	for (int i = 0; i <= 2; i++) {
		double y = BOTTOM - (BOTTOM - TOP) * i / 2;
		char text[32];

		if (unit)
			snprintf(text, sizeof(text), "%.4g%s", top * i / 2, unit);
		else
			size_human((uint64_t)(top * i / 2), text, sizeof(text));
		fprintf(out,
			"<line class=\"g\" x1=\"%g\" x2=\"%g\" y1=\"%g\" y2=\"%g\"/>"
			"<text x=\"%g\" y=\"%g\" text-anchor=\"end\">%s</text>\n",
			LEFT, WIDTH, y, y, LEFT - 8, y + 4, text);
	}
}

static double slot_width(size_t count)
{
	return (WIDTH - LEFT) / (double)(count ? count : 1);
}

static double middle(size_t i, size_t count)
{
	return LEFT + slot_width(count) * ((double)i + 0.5);
}

static void dates(FILE *out, const json_t *spans)
{
	size_t count = json_array_size(spans), every = count / LABELS + 1;

	for (size_t i = 0; i < count; i += every)
		fprintf(out, "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">%s</text>\n",
			middle(i, count), BOTTOM + 18, text_of(json_array_get(spans, i), "date"));
}

static double stack_of(const json_t *span)
{
	double sum = 0;

	for (const struct plot_cause *c = plot_causes; c->key; c++)
		sum += number(span, c->key);
	return sum / days_of(span);
}

static void bar_title(FILE *out, const json_t *span)
{
	char text[32];

	fprintf(out, "<title>%s", text_of(span, "date"));
	if (days_of(span) > 1)
		fprintf(out, " and %.0f days more, a day", days_of(span) - 1);
	for (const struct plot_cause *c = plot_causes; c->key; c++)
		if (number(span, c->key) > 0)
			fprintf(out, "\n%s %s", c->name,
				size_human((uint64_t)(number(span, c->key) / days_of(span)), text,
					   sizeof(text)));
	fputs("</title>", out);
}

static void stacked_bar(FILE *out, const json_t *span, double x, double width, double top)
{
	double y = BOTTOM;

	fputs("<g>", out);
	bar_title(out, span);
	for (const struct plot_cause *c = plot_causes; c->key; c++) {
		double h = number(span, c->key) / days_of(span) / top * (BOTTOM - TOP);

		y -= h;
		if (h > 0)
			fprintf(out,
				"<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
				"fill=\"%s\"/>",
				x, y, width, h, c->colour);
	}
	fputs("</g>\n", out);
}

/* Bytes are rounded to a power of two, so that the axis has plain sizes. */
static double byte_top(double most)
{
	return most < 1024 ? 1024 : pow(2, ceil(log2(most)));
}

void plot_days(FILE *out, const json_t *spans)
{
	size_t count = json_array_size(spans), i;
	double most = 0, width = slot_width(count) * 0.8;
	json_t *span;

	width = width > BAR_MAX ? BAR_MAX : width;
	json_array_foreach((json_t *)spans, i, span) most =
		stack_of(span) > most ? stack_of(span) : most;
	begin(out, "bytes written to the stick a day, by cause");
	y_axis(out, byte_top(most), NULL);
	json_array_foreach((json_t *)spans, i, span)
		stacked_bar(out, span, middle(i, count) - width / 2, width, byte_top(most));
	dates(out, spans);
	fputs("</svg>\n<p class=\"legend\">", out);
	for (const struct plot_cause *c = plot_causes; c->key; c++)
		fprintf(out, "<span><i style=\"background:%s\"></i>%s</span> ", c->colour, c->name);
	fputs("</p>\n", out);
}

/* -1 where it is not defined. */
static double quotient(const json_t *span, const char *over, const char *under)
{
	double by = number(span, under);

	return by > 0 ? number(span, over) / by : -1;
}

static double y_of(double value, double top)
{
	return BOTTOM - value / top * (BOTTOM - TOP);
}

void plot_quotient(FILE *out, const json_t *spans, const char *over, const char *under,
		   double scale, const char *unit)
{
	size_t count = json_array_size(spans), i;
	double most = 0, top;
	json_t *span;

	json_array_foreach((json_t *)spans, i, span) most =
		fmax(most, scale * quotient(span, over, under));
	top = round_up(most);
	begin(out, unit);
	y_axis(out, top, unit);
	fputs("<polyline class=\"l\" points=\"", out);
	json_array_foreach((json_t *)spans, i, span) if (quotient(span, over, under) >= 0)
		fprintf(out, "%.2f,%.2f ", middle(i, count),
			y_of(scale * quotient(span, over, under), top));
	fputs("\"/>\n", out);
	json_array_foreach((json_t *)spans, i, span)
	{
		double value = scale * quotient(span, over, under);

		if (value >= 0)
			fprintf(out,
				"<circle class=\"d\" cx=\"%.2f\" cy=\"%.2f\" r=\"3\"><title>%s\n"
				"%.3g%s</title></circle>\n",
				middle(i, count), y_of(value, top), text_of(span, "date"), value,
				unit);
	}
	dates(out, spans);
	fputs("</svg>\n", out);
}

void plot_life(FILE *out, double low, double high)
{
	double a = LEFT + (WIDTH - 2 * LEFT) * fmin(low, 1);
	double b = LEFT + (WIDTH - 2 * LEFT) * fmin(high, 1);

	fprintf(out,
		"<svg viewBox=\"0 0 %g 76\" role=\"img\" aria-label=\"part of its life that is "
		"used\">\n"
		"<rect class=\"frame\" x=\"%g\" y=\"12\" width=\"%g\" height=\"30\"/>\n"
		"<rect x=\"%g\" y=\"12\" width=\"%.2f\" height=\"30\" fill=\"#b5403a\"/>\n"
		"<rect x=\"%.2f\" y=\"12\" width=\"%.2f\" height=\"30\" fill=\"#e08a1e\" "
		"opacity=\"0.6\"/>\n",
		WIDTH, LEFT, WIDTH - 2 * LEFT, LEFT, a - LEFT, a, fmax(b - a, 1));
	for (int i = 0; i <= 4; i++)
		fprintf(out, "<text x=\"%g\" y=\"62\" text-anchor=\"middle\">%d %%</text>\n",
			LEFT + (WIDTH - 2 * LEFT) * i / 4, 25 * i);
	fputs("</svg>\n", out);
}

void plot_bars(FILE *out, const json_t *rows, const char *label, const char *value,
	       const char *part, const char *unit)
{
	double row = 26, left = 240, most = 0, height;
	json_t *one;
	size_t i;

	json_array_foreach((json_t *)rows, i, one) most = fmax(most, number(one, value));
	most = most > 0 ? most : 1;
	height = row * (double)json_array_size(rows) + 8;
	fprintf(out, "<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"%s\">\n", WIDTH, height,
		unit);
	json_array_foreach((json_t *)rows, i, one)
	{
		double y = 4 + row * (double)i, scale = (WIDTH - left - 90) / most;

		fprintf(out, "<text x=\"%g\" y=\"%g\" text-anchor=\"end\">", left - 8, y + 16);
		html_text(out, text_of(one, label));
		fprintf(out,
			"</text><rect x=\"%g\" y=\"%g\" width=\"%.2f\" height=\"18\" "
			"fill=\"#2f6fab\"/>",
			left, y, number(one, value) * scale);
		if (part)
			fprintf(out,
				"<rect x=\"%g\" y=\"%g\" width=\"%.2f\" height=\"18\" "
				"fill=\"#b5403a\"/>",
				left, y, number(one, part) * scale);
		fprintf(out, "<text x=\"%.2f\" y=\"%g\">%.3g%s</text>\n",
			left + number(one, value) * scale + 6, y + 14, number(one, value), unit);
	}
	fputs("</svg>\n", out);
}
