/* SPDX-License-Identifier: GPL-2.0-or-later */
/* opts.c: the table of verbs and options, its parser, and sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opts.h"
#include "size.h"
#include "verbs.h"

#define MAX_WORDS 16

/* Parses a command line written with single spaces; the words live as long as `store`. */
static int parse(char *store, size_t store_bytes, const char *line, struct args *args,
		 struct err *err)
{
	char *words[MAX_WORDS + 1] = {0};
	char *save = NULL;
	int count = 0;

	snprintf(store, store_bytes, "stickvm %s", line);
	for (char *w = strtok_r(store, " ", &save); w && count < MAX_WORDS;
	     w = strtok_r(NULL, " ", &save))
		words[count++] = w;
	return args_parse(count, words, verbs, args, err);
}

static void accepts(void **state)
{
	char store[256];
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(parse(store, sizeof(store),
			       "--stick /s create a --size=1G --cpus 3 --iso-link --bus nvme",
			       &args, &err),
			 0);
	assert_string_equal(args.verb->name, "create");
	assert_string_equal(args.stick, "/s");
	assert_string_equal(args_operand(&args, 0), "a");
	assert_null(args_operand(&args, 1));
	assert_int_equal(args_size(&args, "size", 7), UINT64_C(1) << 30);
	assert_int_equal(args_size(&args, "ram", 7), 7);
	assert_int_equal(args_number(&args, "cpus", 2), 3);
	assert_true(args_has(&args, "iso-link"));
	assert_false(args_has(&args, "iso"));
	assert_string_equal(args_text(&args, "bus", "x"), "nvme");
	assert_string_equal(args_text(&args, "firmware", "x"), "x");
	args_free(&args);
}

static void the_tail_is_not_looked_at(void **state)
{
	char store[256];
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(
		parse(store, sizeof(store), "run a --dry-run -- -m 1 --json --", &args, &err), 0);
	assert_int_equal(args.operand_count, 1);
	assert_int_equal(args.tail_count, 4);
	assert_string_equal(args.tail[0], "-m");
	assert_string_equal(args.tail[3], "--");
	assert_false(args_has(&args, "json"));
	args_free(&args);
	/* A verb without a tail: what follows are operands, whatever they look like. */
	assert_int_equal(parse(store, sizeof(store), "umount -- --odd", &args, &err), 0);
	assert_string_equal(args_operand(&args, 0), "--odd");
	args_free(&args);
}

struct refusal {
	const char *line;
	const char *text;
};

static const struct refusal refusals[] = {
	{"", "no verb"},
	{"frobnicate", "unknown verb"},
	{"create", "NAME is missing"},
	{"create a b", "'b' is one too many"},
	{"mount a", "usage: stickvm mount NAME DIR"},
	{"list a", "'a' is one too many"},
	{"create a --nope", "--nope: unknown option; see 'stickvm help create'"},
	{"create a -x", "-x: unknown option"},
	{"create a --size", "--size: needs a value: SIZE"},
	{"create a --size 4X", "'4X' is not a size"},
	{"create a --size -1", "is not a size"},
	{"create a --size 99999999999T", "is not a size"},
	{"create a --cpus 0", "from 1 to 255"},
	{"create a --cpus 256", "from 1 to 255"},
	{"create a --cpus 2x", "from 1 to 255"},
	{"create a --cpus 99999999999", "from 1 to 255"},
	{"create a --firmware efi", "allowed: uefi|bios"},
	{"create a --firmware uefi|bios", "allowed: uefi|bios"},
	{"create a --firmware bio", "allowed: uefi|bios"},
	{"create a --iso-link=1", "takes no value"},
	{"create a --from=", "--from: is empty"},
	{"create a --encrypt", "not in this version"},
	{"create a --cloud-init", "not in this version"},
	{"init --bundle", "not in this version"},
	{"eject --stop", "not in this version"},
	{"snapshot create a b", "not in this version"},
	{"export a b --format qcow2", "not in this version"},
	{"--stick", "--stick: needs a value"},
};

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		char store[256];
		struct args args;
		struct err err = {0};

		if (parse(store, sizeof(store), refusals[i].line, &args, &err) != -1)
			fail_msg("accepted: %s", refusals[i].line);
		if (err.status != EXIT_USAGE || !strstr(err.text, refusals[i].text))
			fail_msg("%s: %s", refusals[i].line, err.text);
		args_free(&args);
	}
}

static void help_demands_nothing(void **state)
{
	char store[256];
	struct args args;
	struct err err;

	(void)state;
	assert_int_equal(parse(store, sizeof(store), "create --help", &args, &err), 0);
	assert_true(args.help);
	args_free(&args);
	assert_int_equal(parse(store, sizeof(store), "-h", &args, &err), 0);
	assert_true(args.help);
	assert_null(args.verb);
	args_free(&args);
	assert_int_equal(parse(store, sizeof(store), "--version", &args, &err), 0);
	assert_true(args.version);
	args_free(&args);
}

/* The contract of the command line: every verb is there, built or not. */
static void every_verb_of_the_contract_is_in_the_table(void **state)
{
	static const char *const names[] = {
		"init",	  "probe",  "create", "run",	"stop",	   "suspend",  "park",
		"resume", "mount",  "umount", "ssh",	"exec",	   "list",     "show",
		"set",	  "rename", "clone",  "resize", "delete",  "snapshot", "export",
		"backup", "wear",   "top",    "check",	"compact", "doctor",   "passwd",
		"forget", "update", "bus",    "eject",	"help"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!verb_find(verbs, names[i]))
			fail_msg("no verb %s", names[i]);
	}
}

static char *help_of(const struct verb *verb)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	help_verb(out, verb);
	fclose(out);
	return text;
}

static void the_table_is_sound_and_the_help_names_all_of_it(void **state)
{
	(void)state;
	for (const struct verb *v = verbs; v->name; v++) {
		char *text = help_of(v);
		unsigned count = 0;

		assert_non_null(v->help);
		assert_non_null(v->operands);
		assert_ptr_equal(verb_find(verbs, v->name), v); /* no name twice */
		for (const struct opt *o = v->opts; o && o->name; o++, count++) {
			char dashed[64];

			snprintf(dashed, sizeof(dashed), "  --%s", o->name);
			if (!strstr(text, dashed))
				fail_msg("help %s does not name --%s", v->name, o->name);
			assert_non_null(o->help);
			assert_true((o->type == OPT_FLAG) == (o->arg == NULL));
			assert_true(o->type != OPT_NUMBER || o->low < o->high);
			for (const struct opt *other = v->opts; other != o; other++)
				assert_string_not_equal(other->name, o->name);
		}
		assert_true(count < ARGS_MAX_OPTS);
		for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
			assert_true(strcspn(line, "\n") <= 100);
		free(text);
	}
}

static void sizes(void **state)
{
	uint64_t bytes = 0;
	char buf[32];

	(void)state;
	assert_int_equal(size_parse("0", &bytes), 0);
	assert_int_equal(bytes, 0);
	assert_int_equal(size_parse("64G", &bytes), 0);
	assert_int_equal(bytes, UINT64_C(64) << 30);
	assert_int_equal(size_parse("3kib", &bytes), 0);
	assert_int_equal(bytes, 3072);
	assert_int_equal(size_parse("16777215T", &bytes), 0);
	assert_int_equal(size_parse("16777216T", &bytes), -ERANGE);
	assert_int_equal(size_parse("18446744073709551616", &bytes), -ERANGE);
	assert_int_equal(size_parse("", &bytes), -EINVAL);
	assert_int_equal(size_parse(" 1", &bytes), -EINVAL);
	assert_int_equal(size_parse("+1", &bytes), -EINVAL);
	assert_int_equal(size_parse("1.5G", &bytes), -EINVAL);
	assert_int_equal(size_parse("1GB", &bytes), -EINVAL);
	assert_int_equal(size_parse("1G ", &bytes), -EINVAL);
	assert_int_equal(size_parse("G", &bytes), -EINVAL);
	assert_string_equal(size_exact(UINT64_C(64) << 30, buf, sizeof(buf)), "64G");
	assert_string_equal(size_exact(1536, buf, sizeof(buf)), "1536");
	assert_string_equal(size_exact(1536 * 1024, buf, sizeof(buf)), "1536K");
	assert_string_equal(size_exact(0, buf, sizeof(buf)), "0");
	assert_string_equal(size_exact(UINT64_C(1) << 60, buf, sizeof(buf)), "1048576T");
	assert_string_equal(size_human(0, buf, sizeof(buf)), "0 B");
	assert_string_equal(size_human(999, buf, sizeof(buf)), "999 B");
	assert_string_equal(size_human(1000, buf, sizeof(buf)), "0.98 KiB");
	assert_string_equal(size_human(UINT64_C(3) << 29, buf, sizeof(buf)), "1.50 GiB");
	assert_string_equal(size_human(UINT64_C(100) << 20, buf, sizeof(buf)), "100 MiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(the_tail_is_not_looked_at),
		cmocka_unit_test(refuses),
		cmocka_unit_test(help_demands_nothing),
		cmocka_unit_test(every_verb_of_the_contract_is_in_the_table),
		cmocka_unit_test(the_table_is_sound_and_the_help_names_all_of_it),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
