/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ident.c: random names from the kernel's generator. */
#include "ident.h"

#include <stdlib.h>
#include <sys/random.h>

#include "file.h"

/* getrandom never gives less than asked for up to 256 bytes, but may fail before the kernel's
 * pool is ready (never in practice once user space runs). */
static int fill(uint8_t *buf, size_t bytes)
{
	return getrandom(buf, bytes, 0) == (ssize_t)bytes ? 0 : -1;
}

char *ident_uuid(void)
{
	uint8_t b[16];

	if (fill(b, sizeof(b)) < 0)
		return NULL;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	return file_path("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			 b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
			 b[12], b[13], b[14], b[15]);
}

char *ident_mac(void)
{
	uint8_t b[3];

	if (fill(b, sizeof(b)) < 0)
		return NULL;
	return file_path("52:54:00:%02x:%02x:%02x", b[0], b[1], b[2]);
}

uint32_t ident_number(uint32_t low, uint32_t high)
{
	uint8_t b[4] = {0};
	uint32_t number;

	(void)fill(b, sizeof(b));
	number = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
	return low + number % (high - low + 1);
}
