/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stick_yaml.c: fuzz target: the stick's identity and ledger, loaded, added to and written. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../launcher/stick.h" /* flashsim has one as well */
#include "file.h"
#include "fuzz.h"

static const uint8_t store_id[SV_STORE_ID_BYTES] = "0123456789abcde";

/* A note reads the file again, raises an entry and writes all of them. */
static void note(struct stick *stick)
{
	struct sv_ledger ledger = {.guest_written_bytes = 4096, .first_used_s = 1735689600};
	struct err err = {0};
	struct stick again;

	if (stick_note(stick, store_id, "a", &ledger, false, &err) < 0)
		return;
	fuzz_must(stick_load(fuzz_folder(), &again, &err) == 0);
	fuzz_must(strcmp(again.uuid, stick->uuid) == 0);
	fuzz_must(again.entry_count == stick->entry_count && again.entry_count > 0);
	stick_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *inside = file_path("%s/stickvm", fuzz_folder());
	char *path = file_path("%s/stickvm/stick.yaml", fuzz_folder());
	struct err err = {0};
	struct stick stick;

	fuzz_must(inside != NULL && path != NULL);
	(void)mkdir(inside, 0700);
	fuzz_put_file(path, data, size);
	if (stick_load(fuzz_folder(), &stick, &err) == 0) {
		note(&stick);
		stick_free(&stick);
	} else {
		fuzz_must(err.status != EXIT_DONE && err.text[0] != '\0');
	}
	free(inside);
	free(path);
	return 0;
}
