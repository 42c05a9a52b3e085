/* SPDX-License-Identifier: GPL-2.0-or-later */
/* history.c: fuzz target: the record that a root carries the history in, and what is done with it.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "history.h"

/* H2, H3: nothing that is taken loses a sum or its order, whatever is added behind it. */
static uint64_t check(const struct sv_history *h)
{
	uint64_t sum = 0, end = 0;

	fuzz_must(h->spans <= SV_HISTORY_SPANS && h->hosts <= SV_HISTORY_HOSTS);
	for (uint32_t i = 0; i < h->spans; i++) {
		fuzz_must(h->span[i].days && h->span[i].day >= end);
		end = (uint64_t)h->span[i].day + h->span[i].days;
		sum += h->span[i].counts.stick_written_bytes;
	}
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sv_history *h = calloc(2, sizeof(*h));
	uint8_t *copy = malloc(size + 1), *raw = malloc(SV_HISTORY_MAX_BYTES);
	struct sv_cur c = sv_cur_over(copy, size);
	struct sv_past_host host = {.host = "one more", .sessions = 1};
	uint64_t sum;

	fuzz_must(h && copy && raw);
	memcpy(copy, data, size);
	if (sv_history_get(&c, h) == 0) {
		sum = check(h);
		sv_history_merge(&h[1], h, 20000);
		fuzz_must(check(&h[1]) == sum);
		sv_history_add_host(h, &host);
		sv_history_wrote(h, 5, 4096, 17, UINT64_C(20000) * 86400);
		fuzz_must(check(h) == sum);
		fuzz_must(sv_history_fit(h, SV_HISTORY_LEAST_BYTES) <= SV_HISTORY_LEAST_BYTES);
		fuzz_must(check(h) == sum);
		c = sv_cur_over(raw, SV_HISTORY_MAX_BYTES);
		sv_history_put(&c, h);
		fuzz_must(!c.bad);
		c = sv_cur_over(raw, c.off);
		c.off = SV_REC_HEAD_BYTES;
		fuzz_must(sv_history_get(&c, &h[1]) == 0 && check(&h[1]) == sum);
	}
	free(raw);
	free(copy);
	free(h);
	return 0;
}
