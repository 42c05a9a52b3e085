/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bootset.c: fuzz target: the record that a root carries the boot set in, and what is done with it.
 */
#include <stdlib.h>
#include <string.h>

#include "bootset.h"
#include "fuzz.h"

/* B2, and what the format says of an extent. */
static void check(const struct sv_boot_set *set)
{
	uint32_t blocks = 0;

	fuzz_must(set->runs <= SV_BOOT_RUNS && set->blocks <= SV_BOOT_BLOCKS);
	for (uint32_t i = 0; i < set->count; i++) {
		const struct sv_boot_extent *e = &set->v[i];

		fuzz_must(e->blocks && e->runs && e->lba <= UINT64_C(1) << 52);
		fuzz_must(e->runs < 1u << SV_BOOT_RUNS);
		blocks += e->blocks;
	}
	fuzz_must(blocks == set->blocks);
}

/* What is written reads back the same, as far as it was written. */
static void round_trip(const struct sv_boot_set *set, uint8_t *raw)
{
	uint32_t bytes = sv_boot_record_bytes(set, SV_BOOT_MAX_BYTES);
	struct sv_cur c = sv_cur_over(raw, bytes);
	struct sv_boot_set again = {0};

	if (!bytes)
		return;
	fuzz_must(bytes <= SV_BOOT_MAX_BYTES);
	sv_boot_put(&c, set, bytes);
	fuzz_must(!c.bad && c.off == bytes);
	c = sv_cur_over(raw, bytes);
	c.off = SV_REC_HEAD_BYTES;
	fuzz_must(sv_boot_get(&c, &again) == 0 && again.count <= set->count);
	check(&again);
	for (uint32_t i = 0; i < again.count; i++)
		fuzz_must(again.v[i].lba == set->v[i].lba &&
			  again.v[i].blocks == set->v[i].blocks &&
			  again.v[i].runs == set->v[i].runs);
	sv_boot_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv_boot_set set = {0}, run = {0};
	uint8_t *copy = malloc(size + 1), *raw = malloc(SV_BOOT_MAX_BYTES);
	struct sv_cur c = sv_cur_over(copy, size);

	fuzz_must(copy && raw);
	memcpy(copy, data, size);
	if (sv_boot_get(&c, &set) == 0) {
		check(&set);
		round_trip(&set, raw);
		for (uint32_t i = set.count / 2; i < set.count; i++)
			fuzz_must(sv_boot_add(&run, set.v[i].lba, set.v[i].blocks, 1) == 0);
		fuzz_must(sv_boot_merge(&set, &run) == 0);
		check(&set);
		round_trip(&set, raw);
	}
	sv_boot_free(&set);
	sv_boot_free(&run);
	free(raw);
	free(copy);
	return 0;
}
