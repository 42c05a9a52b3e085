/* SPDX-License-Identifier: GPL-2.0-or-later */
/* box.h: a stream of bytes in memory, put in and taken out. */
#ifndef TEST_BOX_H
#define TEST_BOX_H

#include <stddef.h>
#include <stdint.h>

struct box {
	uint8_t *bytes;
	size_t count, room, at;
};

/* As sv_park_put and sv_park_get; `ctx` is the box. Taking more than there is: -EBADMSG. */
int box_put(void *ctx, const void *bytes, size_t count);
int box_get(void *ctx, void *buf, size_t count);
void box_free(struct box *box);

#endif
