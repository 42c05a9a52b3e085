/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replug.c: a stick that was pulled is found again, wherever it is mounted now. */
#include "replug.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mountinfo.h"
#include "stickvm/place.h"
#include "vm_store.h"

/* Folders are only asked where a device is mounted: a dead network mount would hang. */
struct looking {
	char **dirs;
	size_t count;
};

static bool take_dir(struct looking *l, const char *dir)
{
	char **more = realloc(l->dirs, (l->count + 1) * sizeof(*more));

	if (!more)
		return false;
	l->dirs = more;
	l->dirs[l->count] = strdup(dir);
	return l->dirs[l->count++] != NULL;
}

static bool look(void *ctx, const struct mountinfo *mi)
{
	return strncmp(mi->source, "/dev/", 5) != 0 || take_dir(ctx, mi->point);
}

static int give_to(struct sv_store *store, const struct stick *stick, const struct vm *vm,
		   bool read_only, struct sv_reattach *ret)
{
	char *path = vm_store_path(stick, vm);
	struct sv_dev *dev;
	int rc = path ? sv_place_open(path, read_only, &dev) : -ENOMEM;

	free(path);
	if (rc < 0)
		return -ENOENT; /* busy, half gone, not mounted yet: asked again */
	rc = sv_store_reattach(store, dev, ret);
	if (rc < 0)
		sv_dev_close(dev);
	return rc;
}

/* The folder, if it is the same stick; the store gets its place from there. */
static int try_dir(const char *dir, struct stick *stick, const struct vm *vm, bool read_only,
		   struct sv_store *store, struct sv_reattach *ret)
{
	struct stick here;
	struct err err;
	int rc = -ENOENT;

	if (!stick_prepared(dir) || stick_load(dir, &here, &err) < 0)
		return rc;
	if (strcmp(here.uuid, stick->uuid) == 0)
		rc = give_to(store, &here, vm, read_only, ret);
	if (rc == 0) {
		char *old = stick->dir;

		stick->dir = here.dir;
		here.dir = old;
	}
	stick_free(&here);
	return rc;
}

int replug_try(const char *mountinfo, struct stick *stick, const struct vm *vm, bool read_only,
	       struct sv_store *store, struct sv_reattach *ret)
{
	struct looking l = {0};
	int rc;

	if (vm->place)
		return give_to(store, stick, vm, read_only, ret);
	rc = try_dir(stick->dir, stick, vm, read_only, store, ret);
	if (rc == -ENOENT)
		mountinfo_each(mountinfo, look, &l);
	for (size_t i = 0; i < l.count; i++) {
		if (rc == -ENOENT && l.dirs[i])
			rc = try_dir(l.dirs[i], stick, vm, read_only, store, ret);
		free(l.dirs[i]);
	}
	free(l.dirs);
	return rc;
}
