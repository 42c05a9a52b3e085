/* SPDX-License-Identifier: GPL-2.0-or-later */
/* size.c: sizes as people write them and as tables show them. */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char units[] = "KMGT";

/* The power of two that a suffix stands for, -1 for none of ours. */
static int suffix_shift(const char *suffix)
{
	const char *unit;

	if (suffix[0] == '\0')
		return 0;
	unit = strchr(units, toupper((unsigned char)suffix[0]));
	if (!unit || (suffix[1] != '\0' && strcasecmp(suffix + 1, "iB") != 0))
		return -1;
	return 10 * (int)(unit - units + 1);
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	unsigned long long number;
	char *end;
	int shift;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	number = strtoull(text, &end, 10);
	shift = suffix_shift(end);
	if (shift < 0)
		return -EINVAL;
	if (errno == ERANGE || number > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_bytes = (uint64_t)number << shift;
	return 0;
}

const char *size_exact(uint64_t bytes, char *buf, size_t buf_bytes)
{
	unsigned unit = 0;

	while (bytes != 0 && bytes % 1024 == 0 && unit < strlen(units)) {
		bytes /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(buf, buf_bytes, "%" PRIu64, bytes);
	else
		snprintf(buf, buf_bytes, "%" PRIu64 "%c", bytes, units[unit - 1]);
	return buf;
}

const char *size_human(uint64_t bytes, char *buf, size_t buf_bytes)
{
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 999.5 && unit < strlen(units)) {
		value /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(buf, buf_bytes, "%" PRIu64 " B", bytes);
	else
		snprintf(buf, buf_bytes, "%.*f %ciB",
			 value < 9.995	 ? 2
			 : value < 99.95 ? 1
					 : 0,
			 value, units[unit - 1]);
	return buf;
}
