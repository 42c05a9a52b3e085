/* SPDX-License-Identifier: GPL-2.0-or-later */
/* header.c: fuzz target: a batch's header and its records, as they are and with the hash right. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "format.h"
#include "fuzz.h"

/* Every record that is taken is sane by FORMAT.md and encodes to what it was. */
static void look_at(const struct sv_record *rec)
{
	uint8_t raw[SV_REC_SESSION_BYTES] = {0};
	struct sv_cur c = sv_cur_over(raw, sizeof(raw));
	struct sv_record again;

	if (rec->type >= SV_REC_SKIPPABLE)
		return; /* stepped over */
	sv_record_put(&c, rec);
	fuzz_must(!c.bad);
	c = sv_cur_over(raw, sizeof(raw));
	fuzz_must(sv_record_get(&c, &again) == 0 && again.type == rec->type);
	if (rec->type == SV_REC_DATA || rec->type == SV_REC_MOVE || rec->type == SV_REC_BORN) {
		fuzz_must(rec->blocks > 0 && rec->blocks <= SV_UNIT_MAX_BLOCKS);
		fuzz_must(rec->lba % SV_PAGE_ENTRIES + rec->blocks <= SV_PAGE_ENTRIES);
		fuzz_must(rec->stored_bytes <= SV_UNIT_MAX_BYTES && again.lba == rec->lba);
	}
	if (rec->type == SV_REC_DISCARD)
		fuzz_must(rec->count > 0 && rec->lba + rec->count > rec->lba);
	if (rec->type == SV_REC_SESSION)
		fuzz_must(memchr(rec->session.host, 0, SV_HOST_BYTES) != NULL);
}

static void read_records(uint8_t *buf, const struct sv_head *head)
{
	struct sv_cur c = sv_cur_over(buf + SV_HEAD_FIXED_BYTES,
				      head->head_bytes - SV_HEAD_FIXED_BYTES - SV_HASH_BYTES);
	struct sv_record rec;

	for (uint32_t i = 0; i < head->records && sv_record_get(&c, &rec) == 0; i++)
		look_at(&rec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *buf = fuzz_copy(data, size);
	struct sv_head head;

	if (sv_head_decode(buf, size, &head) == 0)
		read_records(buf, &head);
	if (size >= 8)
		memcpy(buf, "svBATCH1", 8);
	if (sv_head_peek(buf, size, &head) == 0 && head.head_bytes <= size) {
		fuzz_must(head.head_bytes <= SV_HEAD_MAX_BYTES);
		fuzz_must(head.payload_offset + (uint64_t)head.payload_bytes <= head.total_bytes);
		sv_hash128(buf, head.head_bytes - SV_HASH_BYTES,
			   buf + head.head_bytes - SV_HASH_BYTES);
		fuzz_must(sv_head_decode(buf, size, &head) == 0);
		read_records(buf, &head);
	}
	free(buf);
	return 0;
}
