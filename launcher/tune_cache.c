/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune_cache.c: the decision about what is kept on the host of what the VM reads. */
#include "size.h"
#include "tune_rows.h"
#include "vm_cache.h"

static void say_none(const struct input *in, bool off, const char *room, struct decision *row)
{
	const char *folder = in->facts->host_cache_folder;

	row_value(row, "none");
	if (off)
		row_reason(row, "off, as set: every start reads from the stick anew");
	else if (!folder)
		row_reason(row, "this host has no folder for it: neither $XDG_CACHE_HOME nor $HOME "
				"leads to one");
	else if (in->facts->host_cache_on_stick == FACT_YES)
		row_reason(row, "%s lies where the stick's folder lies: nothing would be gained",
			   folder);
	else
		row_reason(row, "%s has only %s free", folder, room);
}

void decide_host_cache(const struct input *in, struct plan *plan, struct decision *row)
{
	const struct facts *f = in->facts;
	const char *wish = in->wishes->cache ? in->wishes->cache : in->vm->cache;
	char size[32], room[32];
	uint64_t bytes = 0;
	bool is_auto = true;

	(void)plan; /* the store is told by vm_cache_options, which chooses the same way */
	if (!wish)
		wish = "auto";
	if (vm_cache_choose(wish, f->host_cache_free_bytes, f->host_mem_bytes,
			    f->host_cache_on_stick == FACT_YES, &is_auto, &bytes) < 0) {
		row_value(row, "none");
		row_refuse(row, EXIT_USAGE, VM_CACHE_NO_WISH, wish);
		return;
	}
	size_human(f->host_cache_free_bytes, room, sizeof room);
	size_human(bytes, size, sizeof size);
	if (!bytes || !f->host_cache_folder) {
		say_none(in, !is_auto && !bytes, room, row);
		return;
	}
	row_value(row, "%s", size);
	row_reason(row,
		   "%s: what the VM reads is kept in %s (%s free), encrypted, so that the next "
		   "start hardly asks the stick",
		   is_auto ? "a quarter of what is free, at most 8 GiB and the host's memory"
			   : "as set",
		   f->host_cache_folder, room);
}
