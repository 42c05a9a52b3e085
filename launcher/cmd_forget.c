/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_forget.c: `forget`: removes the VMs that are parked on this host. */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "park_home.h"
#include "size.h"
#include "ui.h"
#include "verbs.h"

static void list(const glob_t *found)
{
	for (size_t i = 0; i < found->gl_pathc; i++) {
		char size[32], when[32];
		struct stat st;

		if (stat(found->gl_pathv[i], &st) < 0 || st.st_size == 0)
			continue;
		size_human((uint64_t)st.st_size, size, sizeof size);
		printf("%s, %s, parked %s\n", found->gl_pathv[i], size,
		       ui_time((uint64_t)st.st_mtime, when, sizeof when));
	}
}

static int confirm(const struct args *args, struct err *err)
{
	if (args_has(args, "yes"))
		return 0;
	if (!ui_interactive())
		return err_set(err, EXIT_USAGE,
			       "what these VMs had not written to their sticks would be lost, and "
			       "there is nobody to ask; add --yes");
	return ui_ask("Remove these? What they had not written to their sticks is lost then.")
		       ? 0
		       : err_set(err, EXIT_FAILED, "nothing was removed");
}

static int remove_all(const char *dir, const glob_t *found, struct err *err)
{
	for (size_t i = 0; i < found->gl_pathc; i++)
		if (unlink(found->gl_pathv[i]) < 0 && errno != ENOENT)
			return err_set(err, EXIT_FAILED, "%s: cannot be removed: %s",
				       found->gl_pathv[i], strerror(errno));
	(void)file_sync_folder(dir);
	(void)rmdir(dir);
	return 0;
}

int cmd_forget(const struct args *args)
{
	struct park_home home;
	struct err err;
	char pattern[4200];
	glob_t found = {0};
	int rc = 0;

	/* The names of all: a UUID of nothing. */
	if (park_home_name("*", &home, &err) < 0)
		return ui_fail(args, &err);
	snprintf(pattern, sizeof pattern, "%s/*.park*", home.dir); /* one that was cut short, too */
	glob(pattern, 0, NULL, &found);
	snprintf(pattern, sizeof pattern, "%s/*.agreed", home.dir);
	glob(pattern, found.gl_pathv ? GLOB_APPEND : 0, NULL, &found);
	list(&found);
	if (found.gl_pathc == 0)
		printf("This host keeps nothing.\n");
	else
		rc = confirm(args, &err);
	if (rc == 0 && found.gl_pathc)
		rc = remove_all(home.dir, &found, &err);
	globfree(&found);
	park_home_free(&home);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
