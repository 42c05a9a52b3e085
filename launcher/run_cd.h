/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_cd.h: what a session knows of the image in its CD-ROM drive. */
#ifndef LAUNCHER_RUN_CD_H
#define LAUNCHER_RUN_CD_H

struct cd {
	char *inside;	   /* its path below the stick's folder; NULL: it is not there */
	unsigned opened;   /* how often it was opened anew; 0: as QEMU was started */
	unsigned failures; /* to read it since */
};

#endif
