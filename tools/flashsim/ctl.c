/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ctl.c: parse and carry out control commands. */
#include "ctl.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORDS 4

const char fsim_ctl_help[] =
	"  latency on|off         take the time that the stick would take\n"
	"  reset                  set the counters to zero\n"
	"  idle SECONDS           let time pass on the virtual clock (folds an SLC cache)\n"
	"  unplug                 pull the plug now; open files are dead for ever\n"
	"  unplug-at N            pull it during the N-th write from now, which is torn\n"
	"  plug [MBIT_S]          plug it in again, in a port of that speed\n"
	"  fail-write N [COUNT]   the N-th write from now and COUNT - 1 more fail with EIO\n"
	"  fail-read N [COUNT]    the same for reads\n"
	"  corrupt OFFSET [LEN]   random bytes over the sectors of that range\n"
	"  record FILE|off        write a log in the dm-log-writes format\n"
	"  mark NAME              a mark in that log\n";

int fsim_parse_size(const char *text, uint64_t *ret_value)
{
	char *end;
	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	static const char suffixes[] = "KMGT";
	const char *suffix = *end != '\0' ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
	unsigned shift = suffix != NULL ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
	if (errno != 0 || (*end != '\0' && (suffix == NULL || end[1] != '\0')) ||
	    value > UINT64_MAX >> shift)
		return -EINVAL;
	*ret_value = value << shift;
	return 0;
}

static int run_latency(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)numbers;
	bool on = strcmp(words[1], "on") == 0;
	if (!on && strcmp(words[1], "off") != 0)
		return -EINVAL;
	fsim_stick_latency(stick, on);
	return 0;
}

static int run_reset(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)words;
	(void)numbers;
	fsim_stick_reset_counters(stick);
	return 0;
}

static int run_idle(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)words;
	fsim_stick_idle(stick, numbers[1] * UINT64_C(1000000000));
	return 0;
}

static int run_unplug(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)words;
	(void)numbers;
	return fsim_stick_unplug(stick);
}

static int run_unplug_at(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)words;
	fsim_stick_unplug_at_write(stick, numbers[1]);
	return 0;
}

static int run_plug(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)words;
	return numbers[1] > UINT32_MAX ? -EINVAL : fsim_stick_plug(stick, (uint32_t)numbers[1]);
}

static int run_fail_write(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	fsim_stick_fail_write(stick, numbers[1], words[2] != NULL ? numbers[2] : 1, -EIO);
	return 0;
}

static int run_fail_read(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	fsim_stick_fail_read(stick, numbers[1], words[2] != NULL ? numbers[2] : 1, -EIO);
	return 0;
}

static int run_corrupt(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	return fsim_stick_corrupt(stick, numbers[1], words[2] != NULL ? numbers[2] : 1);
}

static int run_record(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)numbers;
	return fsim_stick_record(stick, strcmp(words[1], "off") == 0 ? NULL : words[1]);
}

static int run_mark(struct fsim_stick *stick, char **words, const uint64_t *numbers)
{
	(void)numbers;
	return fsim_stick_mark(stick, words[1]);
}

static const struct command {
	const char *name;
	int min_words, max_words; /* the name included */
	bool numeric;		  /* what follows the name are numbers */
	int (*run)(struct fsim_stick *stick, char **words, const uint64_t *numbers);
} commands[] = {
	{"latency", 2, 2, false, run_latency},
	{"reset", 1, 1, false, run_reset},
	{"idle", 2, 2, true, run_idle},
	{"unplug", 1, 1, false, run_unplug},
	{"unplug-at", 2, 2, true, run_unplug_at},
	{"plug", 1, 2, true, run_plug},
	{"fail-write", 2, 3, true, run_fail_write},
	{"fail-read", 2, 3, true, run_fail_read},
	{"corrupt", 2, 3, true, run_corrupt},
	{"record", 2, 2, false, run_record},
	{"mark", 2, 2, false, run_mark},
};

static int run_words(struct fsim_stick *stick, char **words, int count)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *c = &commands[i];
		if (strcmp(c->name, words[0]) != 0)
			continue;
		if (count < c->min_words || count > c->max_words)
			return -EINVAL;
		uint64_t numbers[MAX_WORDS] = {0};
		for (int w = 1; c->numeric && w < count; w++)
			if (fsim_parse_size(words[w], &numbers[w]) < 0)
				return -EINVAL;
		return c->run(stick, words, numbers);
	}
	return -EINVAL;
}

static int run_line(struct fsim_stick *stick, char *line)
{
	char *words[MAX_WORDS + 1] = {NULL};
	char *rest = NULL;
	int count = 0;
	for (char *word = strtok_r(line, " \t\r", &rest); word != NULL;
	     word = strtok_r(NULL, " \t\r", &rest)) {
		if (count == MAX_WORDS)
			return -EINVAL;
		words[count++] = word;
	}
	return count == 0 ? 0 : run_words(stick, words, count);
}

int fsim_ctl_run(struct fsim_stick *stick, const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	int r = 0;
	char *rest = NULL;
	for (char *line = strtok_r(copy, "\n", &rest); line != NULL && r == 0;
	     line = strtok_r(NULL, "\n", &rest))
		r = run_line(stick, line);
	free(copy);
	return r;
}
