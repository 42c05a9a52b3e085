/* SPDX-License-Identifier: GPL-2.0-or-later */
/* table.c: results of tools/bench, an object a line, as tables for people and one JSON file. */
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 *	bench-table OUT.json < LINES
 *
 * A table has a row a stick and a column a contender, both in the order in which they come. NAN
 * is what was not measured, and is shown as `-`. Goals are the promises: each is one line with
 * both numbers, and the exit status is 0 whether they are kept or not, for a bench is no test.
 */
#define MAX_NAMES 32
#define GIB 1073741824.0
#define WRITES_PER_APPEND 16

struct names {
	const char *list[MAX_NAMES];
	size_t count;
};

typedef double value_of(const json_t *line);

static const char *text(const json_t *line, const char *key)
{
	const char *value = json_string_value(json_object_get(line, key));
	return value != NULL ? value : "";
}

static double number(const json_t *line, const char *object, const char *key)
{
	const json_t *value = json_object_get(json_object_get(line, object), key);
	return json_is_number(value) ? json_number_value(value) : NAN;
}

static double iops(const json_t *line)
{
	double value = number(line, "load", "iops");
	return strcmp(text(line, "workload"), "append") == 0 ? value * WRITES_PER_APPEND : value;
}

/* By the stick's own clock: what its commands took, and not what the host took to ask. */
static double busy_iops(const json_t *line)
{
	return iops(line) * number(line, "load", "seconds") / number(line, "stats", "busy_s");
}

static double boot_s(const json_t *line)
{
	return number(line, "boot", "ms") / 1e3;
}

static double mb_s(const json_t *line)
{
	return number(line, "load", "mb_s");
}

static double busy_mb_s(const json_t *line)
{
	return mb_s(line) * number(line, "load", "seconds") / number(line, "stats", "busy_s");
}

static double p99_ms(const json_t *line)
{
	return number(line, "load", "p99_us") / 1e3;
}

static double max_ms(const json_t *line)
{
	return number(line, "load", "max_us") / 1e3;
}

static double other_mb_s(const json_t *line)
{
	return number(line, "other", "mb_s");
}

static double erases_per_gib(const json_t *line)
{
	return number(line, "stats", "erases") / (number(line, "load", "bytes") / GIB);
}

/* Bytes programmed in the flash for each byte that the guest wrote. */
static double amplification(const json_t *line)
{
	return number(line, "stats", "pages_programmed") * number(line, "stats", "page_bytes") /
	       number(line, "load", "bytes");
}

/* What the ledger says that the stick received, over what the simulator counted. */
static double ledger_share(const json_t *line)
{
	const json_t *before = json_object_get(json_object_get(line, "before"), "ledger");
	const json_t *after = json_object_get(json_object_get(line, "after"), "ledger");
	double was = json_number_value(json_object_get(before, "stick_written_bytes"));
	double is = json_number_value(json_object_get(after, "stick_written_bytes"));
	return after != NULL ? (is - was) / number(line, "stats", "written_bytes") : NAN;
}

static double virtual_iops(const json_t *line)
{
	return number(line, "virtual", "iops");
}

static double virtual_limit(const json_t *line)
{
	return number(line, "virtual", "limit_iops");
}

static void remember(struct names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->list[i], name) == 0)
			return;
	if (names->count < MAX_NAMES)
		names->list[names->count++] = name;
}

static bool is_of(const json_t *line, const char *workload)
{
	const char *own = text(line, "workload");
	/* What a log would do stands beside what others do at random. */
	return strcmp(own, workload) == 0 ||
	       (strcmp(own, "append") == 0 && strcmp(workload, "randwrite") == 0);
}

static double find(const json_t *lines, const char *workload, const char *stick,
		   const char *contender, value_of *value)
{
	size_t i;
	const json_t *line;
	json_array_foreach(lines, i, line)
	{
		if (is_of(line, workload) && strcmp(text(line, "stick"), stick) == 0 &&
		    strcmp(text(line, "contender"), contender) == 0)
			return value(line);
	}
	return NAN;
}

static void print_cell(double value)
{
	if (isnan(value))
		printf(" %11s", "-");
	else
		printf(" %11.*f", value < 10 ? 2 : value < 100 ? 1 : 0, value);
}

static void collect(const json_t *lines, const char *workload, struct names *ret_sticks,
		    struct names *ret_contenders)
{
	size_t i;
	const json_t *line;
	json_array_foreach(lines, i, line)
	{
		if (!is_of(line, workload))
			continue;
		remember(ret_sticks, text(line, "stick"));
		remember(ret_contenders, text(line, "contender"));
	}
}

static void print_table(const json_t *lines, const char *title, const char *workload,
			value_of *value)
{
	struct names sticks = {.count = 0}, contenders = {.count = 0};
	collect(lines, workload, &sticks, &contenders);
	if (sticks.count == 0)
		return;
	printf("\n%s\n%-7s", title, "");
	for (size_t c = 0; c < contenders.count; c++)
		printf(" %11s", contenders.list[c]);
	printf("\n");
	for (size_t s = 0; s < sticks.count; s++) {
		printf("%-7s", sticks.list[s]);
		for (size_t c = 0; c < contenders.count; c++)
			print_cell(
				find(lines, workload, sticks.list[s], contenders.list[c], value));
		printf("\n");
	}
}

/* Two loads at once: what the first one waits, and what the other one gets. */
static void print_beside(const json_t *lines, const char *workload, const char *title)
{
	char text_of[128];
	snprintf(text_of, sizeof(text_of), "4 KiB %s: 99 of 100 within ms", title);
	print_table(lines, text_of, workload, p99_ms);
	print_table(lines, "the same: the longest, ms", workload, max_ms);
	print_table(lines, "the same: MB/s of the other load", workload, other_mb_s);
}

struct goal {
	const char *what;
	const char *workload, *ours, *than;
	value_of *value, *than_value;
	double factor;
	bool at_most;
	const char *sticks; /* it is promised on */
};

#define FIVE "P1 P2 P3 P5 P6"
#define SIX "P1 P2 P3 P4 P5 P6"

static const struct goal goals[] = {
	{"random writes, of the bare loop", "randwrite", "ours", "bare", iops, iops, 0.8, false,
	 FIVE},
	{"random writes, raw partition, of the bare loop", "randwrite", "ours-part", "bare-part",
	 iops, iops, 0.8, false, FIVE},
	{"random writes, of qcow2 on a cheap stick", "randwrite", "ours", "qcow2", iops, iops, 100,
	 false, "P1"},
	{"random writes, of qcow2 on a cheap stick", "randwrite", "ours", "qcow2", iops, iops, 20,
	 false, "P2"},
	{"random writes, of qcow2", "randwrite", "ours", "qcow2", iops, iops, 10, false, "P3"},
	{"random writes, of qcow2 on a good stick", "randwrite", "ours", "qcow2", iops, iops, 2,
	 false, "P5 P6"},
	{"random writes, of raw on a good stick", "randwrite", "ours", "raw", iops, iops, 2, false,
	 "P5 P6"},
	{"random writes, virtual clock, of the stick's limit", "virtual", "ours", "ours",
	 virtual_iops, virtual_limit, 0.7, false, FIVE},
	{"erases for a GiB, of qcow2's", "randwrite", "ours", "qcow2", erases_per_gib,
	 erases_per_gib, 0.02, true, "P1 P2"},
	{"sequential writes, of raw", "seqwrite", "ours", "raw", mb_s, mb_s, 0.9, false, SIX},
	{"sequential reads, of raw", "seqread", "ours", "raw", mb_s, mb_s, 0.9, false, SIX},
	{"cold random reads, of raw", "coldread", "ours", "raw", iops, iops, 0.8, false, SIX},
	{"warm random reads, of raw on the host's disk", "warmread", "ours", "raw", iops, iops, 0.8,
	 false, SIX},
	{"p99 of reads beside writes, of qcow2", "reads-beside-order", "ours-ram", "qcow2", p99_ms,
	 p99_ms, 0.2, true, "P0 P1 P2"},
	{"p99 of reads beside writes, of qcow2 (NBD)", "reads-beside-order", "ours-ram",
	 "qcow2-nbd", p99_ms, p99_ms, 0.2, true, "P0 P1 P2"},
	{"p99 of reads beside random writes, of qcow2", "reads-beside-random", "ours-ram", "qcow2",
	 p99_ms, p99_ms, 0.2, true, "P0 P1 P2"},
	{"boot of a guest, of qcow2", "boot", "ours", "qcow2", boot_s, boot_s, 1, true, SIX},
	{"memory, reads at depth 1, of bare FUSE", "randread-1", "ours", "floor", iops, iops, 0.7,
	 false, "memory"},
	{"memory, reads at depth 16, of bare FUSE", "randread-16", "ours", "floor", iops, iops, 0.7,
	 false, "memory"},
	{"memory, writes, of bare FUSE", "randwrite-1", "ours", "floor", iops, iops, 0.5, false,
	 "memory"},
};

/* qcow2 is whichever of its settings does best; of erases, fewer are better. */
static double best_of(const json_t *lines, const struct goal *goal, const char *stick)
{
	double best = find(lines, goal->workload, stick, goal->than, goal->than_value);
	if (strcmp(goal->than, "qcow2") != 0)
		return best;
	double sub = find(lines, goal->workload, stick, "qcow2-sub", goal->than_value);
	return goal->at_most ? fmin(best, sub) : fmax(best, sub);
}

static void print_goal(const json_t *lines, const struct goal *goal, const char *stick)
{
	double ours = find(lines, goal->workload, stick, goal->ours, goal->value);
	double than = best_of(lines, goal, stick);
	if (isnan(ours) || isnan(than))
		return;
	bool kept = goal->at_most ? ours <= than * goal->factor : ours >= than * goal->factor;
	printf("%-7s %-51s %s %-5g is %-8.4g %s\n", stick, goal->what,
	       goal->at_most ? "<=" : ">=", goal->factor, ours / than, kept ? "kept" : "MISSED");
}

static void print_goals(const json_t *lines)
{
	printf("\nGoals\n");
	for (size_t i = 0; i < sizeof(goals) / sizeof(goals[0]); i++) {
		char sticks[64], *rest = NULL;
		snprintf(sticks, sizeof(sticks), "%s", goals[i].sticks);
		for (char *stick = strtok_r(sticks, " ", &rest); stick != NULL;
		     stick = strtok_r(NULL, " ", &rest))
			print_goal(lines, &goals[i], stick);
	}
}

static json_t *read_lines(void)
{
	json_t *lines = json_array();
	json_error_t error;
	json_t *line;
	while ((line = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, &error)) != NULL)
		json_array_append_new(lines, line);
	if (json_error_code(&error) != json_error_premature_end_of_input)
		fprintf(stderr, "bench-table: line %d: %s\n", error.line, error.text);
	return lines;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: bench-table OUT.json < LINES\n");
		return 2;
	}
	json_t *lines = read_lines();
	print_table(lines, "4 KiB random writes, fsync every 16: IOPS (bare: 16 for each append)",
		    "randwrite", iops);
	print_table(lines, "the same, by the clock of the stick: what a fast, idle host would get",
		    "randwrite", busy_iops);
	print_table(lines, "the same: 99 of 100 are done within ms", "randwrite", p99_ms);
	print_table(lines, "the same: erases for each GiB written", "randwrite", erases_per_gib);
	print_table(lines, "the same: bytes programmed for each byte written", "randwrite",
		    amplification);
	print_table(lines, "the same: the ledger's bytes over the simulator's", "randwrite",
		    ledger_share);
	print_table(lines, "sequential writes of 1 MiB: MB/s", "seqwrite", mb_s);
	print_table(lines, "the same, by the clock of the stick", "seqwrite", busy_mb_s);
	print_table(lines, "sequential reads of 1 MiB: MB/s", "seqread", mb_s);
	print_table(lines, "the same, by the clock of the stick", "seqread", busy_mb_s);
	print_table(lines, "4 KiB random reads, nothing cached: IOPS", "coldread", iops);
	print_table(lines, "the same, by the clock of the stick", "coldread", busy_iops);
	print_table(lines, "4 KiB random reads, the host has it all (raw: a file there): IOPS",
		    "warmread", iops);
	print_beside(lines, "reads-beside-order", "reads beside large writes in order");
	print_beside(lines, "reads-beside-random", "reads beside random writes, fsync every 16");
	print_beside(lines, "writes-beside-flushes", "a write every 2 ms beside 1 MiB and a flush");
	print_table(lines, "a guest's boot until it is ready: seconds", "boot", boot_s);
	print_table(lines, "virtual clock, no FUSE: IOPS of the engine", "virtual", virtual_iops);
	print_table(lines, "virtual clock, no FUSE: the stick's own limit", "virtual",
		    virtual_limit);
	print_table(lines, "in memory, one processor: 4 KiB reads, depth 1: IOPS", "randread-1",
		    iops);
	print_table(lines, "in memory, one processor: 4 KiB reads, depth 16: IOPS", "randread-16",
		    iops);
	print_table(lines, "in memory, one processor: 4 KiB writes: IOPS", "randwrite-1", iops);
	print_goals(lines);
	int r = json_dump_file(lines, argv[1], JSON_INDENT(1) | JSON_PRESERVE_ORDER);
	if (r != 0)
		fprintf(stderr, "bench-table: %s: cannot be written\n", argv[1]);
	json_decref(lines);
	return r != 0;
}
