/* SPDX-License-Identifier: GPL-2.0-or-later */
/* err.c: fills a struct err. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>

int err_set(struct err *err, enum exit_status status, const char *fmt, ...)
{
	va_list ap;

	err->status = status;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}
