/* SPDX-License-Identifier: GPL-2.0-or-later */
/* version.h: the version of the program and of the library. */
#ifndef STICKVM_VERSION_H
#define STICKVM_VERSION_H

#define SV_VERSION "0.1.0"

#endif
