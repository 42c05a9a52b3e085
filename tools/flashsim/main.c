/* SPDX-License-Identifier: GPL-2.0-or-later */
/* main.c: the program flashsim: a stick in software, as a file. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "fuse_stick.h"

#define EXIT_USAGE 2

struct arguments {
	struct fsim_config config;
	const char *mount_dir;
	bool foreground;
};

struct option_text {
	const char *name;
	const char *value; /* NULL: takes none */
	const char *help;
	int (*set)(struct arguments *args, const char *value);
};

static int set_profile(struct arguments *args, const char *value)
{
	args->config.profile = fsim_profile_find(value);
	return args->config.profile != NULL ? 0 : -EINVAL;
}

static int set_size(struct arguments *args, const char *value)
{
	return fsim_parse_size(value, &args->config.size_bytes);
}

static int set_latency(struct arguments *args, const char *value)
{
	args->config.latency = strcmp(value, "on") == 0;
	return args->config.latency || strcmp(value, "off") == 0 ? 0 : -EINVAL;
}

static int set_backing(struct arguments *args, const char *value)
{
	args->config.backing_path = value;
	return 0;
}

static int set_seed(struct arguments *args, const char *value)
{
	return fsim_parse_size(value, &args->config.seed);
}

static int set_filled(struct arguments *args, const char *value)
{
	(void)value;
	args->config.filled = true;
	return 0;
}

static int set_boundaries(struct arguments *args, const char *value)
{
	(void)value;
	args->config.boundaries = true;
	return 0;
}

static int set_fake_cache(struct arguments *args, const char *value)
{
	uint64_t bytes;
	if (fsim_parse_size(value, &bytes) < 0 || bytes > UINT32_MAX)
		return -EINVAL;
	args->config.fake_cache_bytes = (uint32_t)bytes;
	return 0;
}

static int set_foreground(struct arguments *args, const char *value)
{
	(void)value;
	args->foreground = true;
	return 0;
}

static int set_pe(struct arguments *args, const char *value)
{
	uint64_t cycles = 0;
	int r = fsim_parse_size(value, &cycles);
	if (r < 0 || cycles == 0 || cycles > UINT32_MAX)
		return -EINVAL;
	args->config.pe_cycles = (uint32_t)cycles;
	return 0;
}

/* The index of a name in a list that NULL ends, or -EINVAL. */
static int find_name(const char *const *list, const char *name, size_t len)
{
	for (int i = 0; list[i] != NULL; i++)
		if (strlen(list[i]) == len && strncmp(list[i], name, len) == 0)
			return i;
	return -EINVAL;
}

static int set_end(struct arguments *args, const char *value)
{
	static const char *const ends[] = {"read-only", "vanishes", "corrupts", NULL};
	int r = find_name(ends, value, strlen(value));
	if (r >= 0)
		args->config.end = (enum fsim_end)r;
	return r < 0 ? r : 0;
}

static int set_fake(struct arguments *args, const char *value)
{
	static const char *const kinds[] = {"good", "bad", "limbo", "wraparound", "chain", NULL};
	char sizes[64];
	size_t len = strcspn(value, ":");
	int r = find_name(kinds, value, len);
	if (r < 0 || strlen(value) - len >= sizeof(sizes))
		return -EINVAL;
	args->config.fake = (enum fsim_fake)r;
	snprintf(sizes, sizeof(sizes), "%s", value[len] == ':' ? value + len + 1 : "");
	char *wrap = strchr(sizes, ':');
	if (wrap != NULL)
		*wrap++ = '\0';
	if (sizes[0] != '\0' && fsim_parse_size(sizes, &args->config.real_bytes) < 0)
		return -EINVAL;
	return wrap != NULL ? fsim_parse_size(wrap, &args->config.wrap_bytes) : 0;
}

static int parse_bytes(const char *value, uint64_t max, uint64_t *ret_bytes)
{
	uint64_t bytes;
	if (fsim_parse_size(value, &bytes) < 0 || bytes > max)
		return -EINVAL;
	*ret_bytes = bytes;
	return 0;
}

/* drop=PERCENT,garbage=PERCENT,reorder,lie=SIZE,paired=SIZE */
static int set_cut(struct arguments *args, const char *value)
{
	enum { DROP, GARBAGE, REORDER, LIE, PAIRED };
	static char names[][8] = {"drop", "garbage", "reorder", "lie", "paired"};
	char *const tokens[] = {names[DROP], names[GARBAGE], names[REORDER],
				names[LIE],  names[PAIRED],  NULL};
	struct fsim_cut cut = {.track = true};
	uint64_t drop = 0, garbage = 0, paired = 0;
	char *copy = strdup(value), *rest = copy;
	int r = copy != NULL ? 0 : -ENOMEM;

	while (r == 0 && *rest != '\0') {
		char *text = NULL;
		int token = getsubopt(&rest, tokens, &text);
		if (token == REORDER && text == NULL)
			cut.reorder = true;
		else if (token < 0 || token == REORDER || text == NULL)
			r = -EINVAL;
		else if (token == DROP)
			r = parse_bytes(text, 100, &drop);
		else if (token == GARBAGE)
			r = parse_bytes(text, 100, &garbage);
		else if (token == LIE)
			r = fsim_parse_size(text, &cut.lie_bytes);
		else
			r = parse_bytes(text, UINT32_MAX, &paired);
	}
	free(copy);
	if (r < 0 || drop + garbage > 100)
		return -EINVAL;
	cut.drop_percent = (uint32_t)drop;
	cut.garbage_percent = (uint32_t)garbage;
	cut.paired_bytes = (uint32_t)paired;
	args->config.cut = cut;
	return 0;
}

static const struct option_text options[] = {
	{"profile", "ID", "the stick: P0 to P7 (P3)", set_profile},
	{"size", "SIZE", "another size than the profile's", set_size},
	{"latency", "on|off", "take the time that the stick would take (on)", set_latency},
	{"backing", "FILE", "keep the bytes in a sparse file, not in memory", set_backing},
	{"filled", NULL, "a stick that was once written everywhere", set_filled},
	{"boundaries", NULL, "reads across pages and erase units cost more", set_boundaries},
	{"seed", "N", "of everything that is random (1)", set_seed},
	{"pe", "CYCLES", "erases that a block stands", set_pe},
	{"end", "MODE", "when worn out: read-only, vanishes, corrupts", set_end},
	{"fake", "KIND[:REAL[:WRAP]]", "good, bad, limbo, wraparound, chain", set_fake},
	{"fake-cache", "SIZE", "what was written last a fake remembers anyway", set_fake_cache},
	{"cut", "LIST", "a pulled plug: drop=PERCENT,garbage=PERCENT,reorder,lie=SIZE,paired=SIZE",
	 set_cut},
	{"foreground", NULL, "stay in the terminal", set_foreground},
};

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static void print_help(void)
{
	printf("usage: flashsim [OPTION...] MOUNTDIR\n"
	       "A USB stick in software: MOUNTDIR/stick.img, for losetup --direct-io=on.\n\n");
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char head[48];
		snprintf(head, sizeof(head), "--%s%s%s", options[i].name,
			 options[i].value ? " " : "", options[i].value ? options[i].value : "");
		printf("  %-28s %s\n", head, options[i].help);
	}
	printf("\nProfiles:\n");
	for (size_t i = 0; fsim_profile_at(i) != NULL; i++)
		printf("  %s  %s\n", fsim_profile_at(i)->id, fsim_profile_at(i)->name);
	printf("\nMOUNTDIR/stats.json holds the counters. Written to MOUNTDIR/ctl:\n%s",
	       fsim_ctl_help);
}

/* 0, or an exit status plus one. */
static int parse(int argc, char **argv, struct arguments *args)
{
	struct option list[OPTION_COUNT + 2] = {{"help", no_argument, NULL, 'h'}};
	for (size_t i = 0; i < OPTION_COUNT; i++)
		list[i + 1] = (struct option){
			.name = options[i].name,
			.has_arg = options[i].value ? required_argument : no_argument,
		};
	int index = 0, c;
	while ((c = getopt_long(argc, argv, "h", list, &index)) != -1) {
		if (c == 'h') {
			print_help();
			return 1 + EXIT_SUCCESS;
		}
		if (c != 0)
			return 1 + EXIT_USAGE;
		if (options[index - 1].set(args, optarg) < 0) {
			fprintf(stderr, "flashsim: --%s: not understood: %s\n",
				options[index - 1].name, optarg);
			return 1 + EXIT_USAGE;
		}
	}
	if (optind != argc - 1) {
		fprintf(stderr, "flashsim: one folder to mount on is needed; see --help\n");
		return 1 + EXIT_USAGE;
	}
	args->mount_dir = argv[optind];
	return 0;
}

int main(int argc, char **argv)
{
	struct arguments args = {
		.config = {.profile = fsim_profile_find("P3"), .seed = 1, .latency = true},
	};
	struct fsim_stick *stick;
	int r = parse(argc, argv, &args);
	if (r != 0)
		return r - 1;
	r = fsim_stick_new(&args.config, &stick);
	if (r < 0) {
		fprintf(stderr, "flashsim: %s: %s\n", args.config.profile->id, strerror(-r));
		return EXIT_FAILURE;
	}
	r = fsim_fuse_serve(stick, args.mount_dir, !args.foreground);
	if (r < 0)
		fprintf(stderr, "flashsim: %s: %s\n", args.mount_dir, strerror(-r));
	fsim_stick_free(stick);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
