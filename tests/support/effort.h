/* SPDX-License-Identifier: GPL-2.0-or-later */
/* effort.h: with the sanitizers, long random work does a fifth: it looks for other things there. */
#ifndef TEST_EFFORT_H
#define TEST_EFFORT_H

#include <stdlib.h>

/*
 * Loops over places or seeds take steps of effort_step(). It is 1 in the optimised build, and where
 * STICKVM_TEST_FULL is set (tools/test --long does).
 */
static inline unsigned effort_step(void)
{
#ifdef __SANITIZE_ADDRESS__
	return getenv("STICKVM_TEST_FULL") ? 1 : 5;
#else
	return 1;
#endif
}

#endif
