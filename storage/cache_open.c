/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cache_open.c: a store's cache on the host, opened as its options say. */
#include "store_impl.h"

void sv_cache_open(struct sv_store *s)
{
	struct sv_host_params p = {.dir = s->opts.cache_dir,
				   .key = s->opts.cache_key,
				   .store_id = s->anchor.store_id,
				   .bytes = s->opts.cache_bytes,
				   .leave_bytes = s->opts.cache_leave_bytes,
				   .manual = s->opts.manual};

	if (p.dir && p.key)
		s->host_error = sv_host_open(&p, &s->host);
	s->opts.cache_dir = NULL; /* they were the caller's */
	s->opts.cache_key = NULL;
}
