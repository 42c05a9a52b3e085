/* SPDX-License-Identifier: GPL-2.0-or-later */
/* testbed.h: a test under umockdev: devices that are not there. */
#ifndef TEST_TESTBED_H
#define TEST_TESTBED_H

/* First in main: umockdev stands between libudev and the host only when it is loaded first. */
void testbed_restart(char **argv);

#endif
