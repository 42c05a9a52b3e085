/* SPDX-License-Identifier: GPL-2.0-or-later */
/* box.c: a stream of bytes in memory, put in and taken out. */
#include "box.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int box_put(void *ctx, const void *bytes, size_t count)
{
	struct box *box = ctx;

	if (box->count + count > box->room) {
		box->room = 2 * (box->count + count);
		box->bytes = realloc(box->bytes, box->room);
		if (!box->bytes)
			abort();
	}
	memcpy(box->bytes + box->count, bytes, count);
	box->count += count;
	return 0;
}

int box_get(void *ctx, void *buf, size_t count)
{
	struct box *box = ctx;

	if (count > box->count - box->at)
		return -EBADMSG;
	memcpy(buf, box->bytes + box->at, count);
	box->at += count;
	return 0;
}

void box_free(struct box *box)
{
	free(box->bytes);
	*box = (struct box){0};
}
