/* SPDX-License-Identifier: GPL-2.0-or-later */
/* consent.c: settings from a found stick do not open files of this host by themselves. */
/*
 * `place:` and `iso:` are paths, a link may stand for a folder of the stick, and a stick may come
 * from anyone. So what they lead to, links resolved, must lie
 *   - below the stick's folder, or
 *   - on the device that holds it (another partition), or
 *   - on the list of this user on this host: $XDG_STATE_HOME/stickvm/consent, a line each:
 *     the stick's uuid, the VM's uuid, "place" or "iso", the path, with tabs in between.
 * The list has a name below /dev as the settings have it (the nodes behind such names change), and
 * any other path resolved.
 */
#include "consent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "file.h"
#include "ui.h"
#include "vm_store.h"
#include "watch_priv.h"

enum { LIST_MAX_BYTES = 1 << 20 };

static char *list_path(bool make)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	const bool given = state && state[0] == '/';
	char *dir = given ? file_path("%s/stickvm", state)
			  : file_path("%s/.local/state/stickvm",
				      home && home[0] == '/' ? home : "/root");
	char *path = dir ? file_path("%s/consent", dir) : NULL;

	for (char *slash = dir; make && slash;) {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		mkdir(dir, 0700); /* those above exist, as a rule */
		if (slash)
			*slash = '/';
	}
	free(dir);
	return path;
}

/* The whole disk behind a device's number, as its folder in sysfs; the caller frees. */
static char *disk_of(dev_t dev)
{
	char *path = file_path("/sys/dev/block/%u:%u", major(dev), minor(dev));
	char *full = path ? realpath(path, NULL) : NULL;
	char *part = full ? file_path("%s/partition", full) : NULL;

	if (part && access(part, F_OK) == 0)
		*strrchr(full, '/') = '\0';
	free(part);
	free(path);
	return full;
}

/* A node of the device that the stick's folder lies on. */
static bool same_device(const char *node, const char *stick_dir)
{
	struct watch_mount mount;
	struct stat here, there;
	char *a, *b;
	bool same;

	if (stat(node, &there) < 0 || !S_ISBLK(there.st_mode) ||
	    watch_mount_of(stick_dir, NULL, &mount) < 0)
		return false;
	same = stat(mount.source, &here) == 0 && S_ISBLK(here.st_mode);
	watch_mount_free(&mount);
	a = same ? disk_of(here.st_rdev) : NULL;
	b = same ? disk_of(there.st_rdev) : NULL;
	same = a && b && strcmp(a, b) == 0;
	free(a);
	free(b);
	return same;
}

/* What `path` leads to where that is not the stick's own, as the list has it; NULL: it is, or
 * nothing is there. The caller frees it. */
static char *outside(const struct stick *stick, const char *path)
{
	char *real = realpath(path, NULL), *dir = realpath(stick->dir, NULL);
	const size_t len = dir ? strlen(dir) : 0;
	bool own = !real || (dir && strncmp(real, dir, len) == 0 && real[len] == '/') ||
		   same_device(real, dir ? dir : stick->dir);
	char *name = NULL;

	if (!own)
		name = strdup(strncmp(path, "/dev/", 5) == 0 ? path : real);
	free(dir);
	free(real);
	return name;
}

static char *line_of(const struct stick *stick, const struct vm *vm, const char *kind,
		     const char *name)
{
	return file_path("%s\t%s\t%s\t%s\n", stick->uuid, vm->uuid ? vm->uuid : "-", kind, name);
}

static bool on_list(const struct stick *stick, const struct vm *vm, const char *kind,
		    const char *name)
{
	char *line = line_of(stick, vm, kind, name), *path = list_path(false), *text = NULL;
	const char *at = NULL;
	size_t bytes;

	if (line && path && file_read(path, LIST_MAX_BYTES, &text, &bytes) == 0)
		at = strstr(text, line);
	while (at && at != text && at[-1] != '\n')
		at = strstr(at + 1, line);
	free(line);
	free(path);
	free(text);
	return at != NULL;
}

static void remember(const struct stick *stick, const struct vm *vm, const char *kind,
		     const char *name)
{
	char *line = line_of(stick, vm, kind, name), *path = list_path(true), *text = NULL;
	char *all = NULL;
	size_t bytes;

	if (line && path && !on_list(stick, vm, kind, name) && !strpbrk(name, "\n\t")) {
		if (file_read(path, LIST_MAX_BYTES, &text, &bytes) < 0)
			text = NULL;
		all = file_path("%s%s", text ? text : "", line);
	}
	if (all)
		(void)file_replace(path, all, strlen(all));
	free(all);
	free(text);
	free(path);
	free(line);
}

static int refuse(struct err *err, const struct vm *vm, const char *kind, const char *name)
{
	return err_set(err, EXIT_FAILED,
		       "%s: its %s is %.200s, which does not lie on the stick and was not agreed "
		       "to on this host; where you put it there yourself, agree with "
		       "--allow-outside",
		       vm->name, strcmp(kind, "iso") == 0 ? "CD-ROM" : "disk", name);
}

/* The ISO's path, as the settings mean it; NULL: none. The caller frees it. */
static char *iso_path(const struct stick *stick, const struct vm *vm)
{
	if (!vm->iso)
		return NULL;
	return vm->iso[0] == '/' ? strdup(vm->iso) : stick_vm_path(stick, vm->name, vm->iso);
}

int consent_disk(const struct stick *stick, const struct vm *vm, struct err *err)
{
	char *path = vm_store_path(stick, vm);
	char *name = path ? outside(stick, path) : NULL;
	int rc = !name || on_list(stick, vm, "place", name) ? 0 : refuse(err, vm, "place", name);

	free(name);
	free(path);
	return rc;
}

static int ask_one(const struct args *args, const struct stick *stick, const struct vm *vm,
		   const char *kind, const char *path, struct err *err)
{
	char *name = path ? outside(stick, path) : NULL;
	bool agreed = !name || on_list(stick, vm, kind, name);
	char question[384];

	if (!agreed && ui_interactive() && !args_has(args, "allow-outside")) {
		snprintf(question, sizeof(question),
			 "The stick says that the %s of %s is %.250s on this host. Is that so?",
			 strcmp(kind, "iso") == 0 ? "CD-ROM" : "disk", vm->name, name);
		agreed = ui_ask(question);
		if (agreed)
			remember(stick, vm, kind, name);
	} else if (!agreed && args_has(args, "allow-outside")) {
		remember(stick, vm, kind, name);
		agreed = true;
	}
	if (!agreed)
		(void)refuse(err, vm, kind, name);
	free(name);
	return agreed ? 0 : -1;
}

int consent_ask(const struct args *args, const struct stick *stick, const struct vm *vm,
		const char *iso, struct err *err)
{
	char *path = vm_store_path(stick, vm);
	int rc = ask_one(args, stick, vm, "place", path, err);

	free(path);
	return rc < 0 ? rc : ask_one(args, stick, vm, "iso", iso, err);
}

void consent_remember(const struct stick *stick, const struct vm *vm, bool place, bool iso)
{
	char *paths[] = {place && vm->place ? strdup(vm->place) : NULL,
			 iso ? iso_path(stick, vm) : NULL};
	static const char *const kinds[] = {"place", "iso"};

	for (size_t i = 0; i < 2; i++) {
		char *name = paths[i] ? outside(stick, paths[i]) : NULL;

		if (name)
			remember(stick, vm, kinds[i], name);
		free(name);
		free(paths[i]);
	}
}
