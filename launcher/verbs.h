/* SPDX-License-Identifier: GPL-2.0-or-later */
/* verbs.h: the table of verbs and their options, and the functions behind it. */
#ifndef LAUNCHER_VERBS_H
#define LAUNCHER_VERBS_H

#include "opts.h"

extern const struct verb verbs[];

/* One file each, cmd_NAME.c. They print, and return an exit status. */
verb_run cmd_init;
verb_run cmd_probe;
verb_run cmd_create;
verb_run cmd_run;
verb_run cmd_stop;
verb_run cmd_park;
verb_run cmd_resume;
verb_run cmd_mount;
verb_run cmd_umount;
verb_run cmd_list;
verb_run cmd_show;
verb_run cmd_set;
verb_run cmd_delete;
verb_run cmd_wear;
verb_run cmd_top;
verb_run cmd_check;
verb_run cmd_forget;
verb_run cmd_help;

#endif
