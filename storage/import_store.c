/* SPDX-License-Identifier: GPL-2.0-or-later */
/* import_store.c: a store as the sink of an import. */
#include <errno.h>

#include "stickvm/source.h"
#include "stickvm/store.h"

static int store_write(void *ctx, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return sv_store_write(ctx, buf, len_bytes, off_bytes);
}

static int store_flush(void *ctx)
{
	return sv_store_flush(ctx);
}

int sv_import_store(struct sv_source *src, struct sv_store *st,
		    const struct sv_import_options *opts, struct sv_import_result *ret_result)
{
	struct sv_import_sink sink = {.write = store_write, .flush = store_flush, .ctx = st};
	struct sv_status status;

	sv_store_status(st, &status);
	if (status.size_bytes < src->size_bytes) {
		*ret_result = (struct sv_import_result){
			.progress.total_bytes = src->size_bytes,
			.stage = SV_IMPORT_WRITE,
			.failed_off_bytes = status.size_bytes,
		};
		return -ENOSPC;
	}
	return sv_import(src, &sink, opts, ret_result);
}
