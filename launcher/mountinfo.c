/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountinfo.c: reads /proc/self/mountinfo (proc(5)). */
#include "mountinfo.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_octal(const char *p)
{
	return p[0] == '\\' && isdigit((unsigned char)p[1]) && isdigit((unsigned char)p[2]) &&
	       isdigit((unsigned char)p[3]);
}

/* A space is written \040, and so on. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (is_octal(from)) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* The next word of a line, unescaped, in place; NULL at the end. */
static char *next_word(char **save)
{
	char *word = strtok_r(NULL, " \n", save);

	if (word)
		unescape(word);
	return word;
}

/* "36 35 98:0 /root /point opts [tags...] - fs source superopts" */
static bool parse(char *line, struct mountinfo *ret_mi)
{
	struct mountinfo mi = {0};
	char *rest = strstr(line, " - ");
	char *save = NULL;
	const char *number;

	if (!rest || !strtok_r(line, " ", &save) || !strtok_r(NULL, " ", &save))
		return false;
	*rest = '\0';
	number = strtok_r(NULL, " ", &save);
	if (!number || sscanf(number, "%u:%u", &mi.major, &mi.minor) != 2)
		return false;
	mi.root = next_word(&save);
	mi.point = next_word(&save);
	save = rest + 3;
	mi.fs = next_word(&save);
	mi.source = next_word(&save);
	*ret_mi = mi;
	return mi.point && mi.source;
}

void mountinfo_each(const char *path, bool (*each)(void *ctx, const struct mountinfo *mi),
		    void *ctx)
{
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	bool more = in != NULL;

	while (more && getline(&line, &room, in) > 0) {
		struct mountinfo mi;

		if (parse(line, &mi))
			more = each(ctx, &mi);
	}
	free(line);
	if (in)
		fclose(in);
}
