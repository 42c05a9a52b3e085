/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune_scratch.c: the decision about the disk for swap and temporary files on the host. */
#include "size.h"
#include "tune_rows.h"

void decide_scratch(const struct input *in, struct plan *plan, struct decision *row)
{
	const char *folder = in->facts->host_scratch_folder;
	const uint64_t wanted = in->vm->scratch_bytes;
	char size[32], room[32];

	size_human(wanted, size, sizeof size);
	size_human(in->facts->host_scratch_free_bytes, room, sizeof room);
	row_value(row, "%s", wanted ? size : "none");
	if (!wanted && folder)
		row_reason(row,
			   "swap and temporary files of the guest go to the stick; 'stickvm set %s "
			   "scratch=8G' adds a disk for them in %s (%s free)",
			   in->vm->name, folder, room);
	else if (!wanted)
		row_reason(row, "this host has no folder for it");
	else if (!folder)
		row_refuse(row, EXIT_FAILED,
			   "scratch: this host has no folder for it that can be written, is not in "
			   "memory and not on the stick; set $XDG_CACHE_HOME to one, or go without "
			   "('stickvm set %s scratch=')",
			   in->vm->name);
	else if (in->facts->host_scratch_free_bytes < wanted)
		row_refuse(row, EXIT_FAILED,
			   "scratch: %s has only %s free of the %s that the guest may fill; make "
			   "room there, set $XDG_CACHE_HOME to another folder, or make it "
			   "smaller ('stickvm set %s scratch=1G')",
			   folder, room, size, in->vm->name);
	else
		row_reason(
			row,
			"a blank disk at each start, in %s (%s free): it never touches the stick "
			"and is gone at the end",
			folder, room);
	plan->scratch_bytes = row->level == PLAN_REFUSED ? 0 : wanted;
	plan->scratch_folder = folder;
}
