/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unit.c: fuzz target: units of every codec, as they are and with the check right. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "unit.h"

static const uint8_t store_id[SV_STORE_ID_BYTES] = "fuzz";

static void expand(const struct sv_unit *unit, const uint8_t *src)
{
	size_t len = (size_t)unit->blocks * SV_BLOCK_BYTES;
	uint8_t *dst = malloc(len ? len : 1);

	fuzz_must(dst != NULL && unit->blocks <= SV_UNIT_MAX_BLOCKS);
	(void)sv_unit_expand(unit, src, dst);
	free(dst);
}

/* The first bytes are the unit's head; its check is made right. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv_binding bind = {
		.store_id = store_id, .generation = 1, .place = 4096, .subject = 9};
	uint8_t *buf = fuzz_copy(data, size);
	struct sv_cur c = sv_cur_over(buf, size);
	struct sv_unit unit;

	if (sv_unit_verify(&bind, buf, (uint32_t)size, &unit) == 0)
		expand(&unit, buf);
	unit.check = sv_get64(&c);
	unit.payload_bytes = sv_get32(&c);
	unit.blocks = sv_get8(&c);
	unit.codec = sv_get8(&c);
	unit.kind = sv_get16(&c);
	if (!c.bad && unit.payload_bytes <= size - SV_UNIT_HEAD_BYTES &&
	    sv_unit_stored(unit.payload_bytes) == size) {
		sv_unit_seal(&bind, &unit, buf);
		if (sv_unit_verify(&bind, buf, (uint32_t)size, &unit) == 0)
			expand(&unit, buf);
	}
	free(buf);
	return 0;
}

/* A payload is longer than its head's word for it in nearly all mutations: that is put right. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct sv_cur c;

	size = LLVMFuzzerMutate(data, size, max_size);
	if (seed % 4 == 0 || size <= SV_UNIT_HEAD_BYTES)
		return size;
	size = size / SV_GRAIN_BYTES * SV_GRAIN_BYTES;
	c = sv_cur_over(data + 8, 4);
	sv_put32(&c, (uint32_t)size - SV_UNIT_HEAD_BYTES - seed / 4 % SV_GRAIN_BYTES);
	if (size > 13 && seed % 4 == 1)
		data[13] = (uint8_t)(seed / 64 % 3);
	return size;
}
