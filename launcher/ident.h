/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ident.h: random names: UUIDs, MAC addresses, ports. */
#ifndef LAUNCHER_IDENT_H
#define LAUNCHER_IDENT_H

#include <stdint.h>

/* A random (version 4) UUID; the caller frees it, NULL on failure. */
char *ident_uuid(void);
/* A locally administered address of QEMU's range, "52:54:00:xx:xx:xx"; the caller frees it. */
char *ident_mac(void);
/* A number from `low` to `high`, both possible. */
uint32_t ident_number(uint32_t low, uint32_t high);

#endif
