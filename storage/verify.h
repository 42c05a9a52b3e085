/* SPDX-License-Identifier: GPL-2.0-or-later */
/* verify.h: between the two halves of a check: the map, and what lies beside it. */
#ifndef STORAGE_VERIFY_H
#define STORAGE_VERIFY_H

#include "store_impl.h"

struct sv_verify {
	struct sv_store *s;
	bool deep;
	const uint64_t *live; /* of each segment, as the map says */
	sv_check_report *report;
	void *ctx;
};

/* With cleaning and commit held. Findings are no error. */
int sv_verify_log(const struct sv_verify *v);

#endif
