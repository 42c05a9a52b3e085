/* SPDX-License-Identifier: GPL-2.0-or-later */
/* facts.c: fuzz target: facts as a bug report brings them; a mountinfo, as a kernel would. */
#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "fuzz.h"

static void load(const char *text, size_t size)
{
	json_t *json = json_loadb(text, size, 0, NULL), *again;
	struct err err = {0};
	struct facts facts, same;

	if (json == NULL)
		return;
	if (facts_from_json(json, &facts, &err) == 0) {
		again = facts_to_json(&facts);
		fuzz_must(again != NULL && facts_from_json(again, &same, &err) == 0);
		fuzz_must(facts_has_word(facts.host_cpu_flags, "avx2") ==
			  facts_has_word(same.host_cpu_flags, "avx2"));
		fuzz_must(facts.host_mem_bytes == same.host_mem_bytes);
		facts_free(&facts);
		facts_free(&same);
		json_decref(again);
	} else {
		fuzz_must(err.text[0] != '\0');
	}
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct facts facts = {0};
	char *text = malloc(size + 1);

	fuzz_must(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	load(text, size);
	(void)facts_parse_mountinfo(text, "/mnt/stick/file", &facts);
	facts_free(&facts);
	free(text);
	return 0;
}
