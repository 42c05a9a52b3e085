/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watch_find.c: where a stick may be after it came back: at any mount point, on any node. */
/*
 * A stick's folder is known by the uuid in its stick.yaml and by its path inside its own file
 * system, so it is found at another mount point, and through a mount of a part of it. That file
 * may still be in the page cache of a mount whose device is gone, so the device is asked too
 * (watch_lives.c), and a candidate is only a candidate: the store's place has to open there, and
 * its log to be read.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "file.h"
#include "mountinfo.h"
#include "stick.h"
#include "watch_priv.h"

/* Whether `folder` is `path` or above it; what is left of the path then, with its slash, or "". */
static const char *below(const char *folder, const char *path)
{
	const size_t len = strcmp(folder, "/") == 0 ? 0 : strlen(folder);

	if (strncmp(folder, path, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return strcmp(path, "/") == 0 ? "" : path + len;
}

struct holder {
	const char *path;
	struct watch_mount best;
	bool found;
};

static bool consider(void *ctx, const struct mountinfo *mi)
{
	struct holder *h = ctx;

	if (!below(mi->point, h->path) || (h->found && strlen(mi->point) < strlen(h->best.point)))
		return true;
	watch_mount_free(&h->best);
	h->best = (struct watch_mount){
		.point = strdup(mi->point),
		.root = strdup(mi->root),
		.source = strdup(mi->source),
		.device = makedev(mi->major, mi->minor),
	};
	h->found = h->best.point && h->best.root && h->best.source;
	return true;
}

int watch_mount_of(const char *path, const struct watch_host *host, struct watch_mount *ret_mount)
{
	struct holder h = {.path = path};

	mountinfo_each(watch_mountinfo(host), consider, &h);
	if (!h.found) {
		watch_mount_free(&h.best);
		return -1;
	}
	*ret_mount = h.best;
	return 0;
}

void watch_mount_free(struct watch_mount *mount)
{
	free(mount->point);
	free(mount->root);
	free(mount->source);
	memset(mount, 0, sizeof(*mount));
}

int watch_home_of(const char *dir, const char *uuid, const struct watch_host *host,
		  struct watch_home *ret_home)
{
	struct watch_home home = {.dir = realpath(dir, NULL)};
	struct watch_mount mount;

	if (!home.dir)
		home.dir = strdup(dir);
	snprintf(home.uuid, sizeof(home.uuid), "%s", uuid);
	if (home.dir && watch_mount_of(home.dir, host, &mount) == 0) {
		const char *root = strcmp(mount.root, "/") == 0 ? "" : mount.root;
		const char *rest = below(mount.point, home.dir);

		home.inside = file_path("%s%s", root, root[0] || rest[0] ? rest : "/");
		watch_mount_free(&mount);
	} else if (home.dir) {
		home.inside = strdup("/");
	}
	if (!home.inside) {
		watch_home_free(&home);
		return -1;
	}
	*ret_home = home;
	return 0;
}

void watch_home_free(struct watch_home *home)
{
	free(home->dir);
	free(home->inside);
	memset(home, 0, sizeof(*home));
}

struct seek {
	const struct watch_home *home;
	const struct watch_host *host;
	watch_try *try;
	void *ctx;
	bool done;
};

static bool is_this_stick(const char *dir, const char *uuid)
{
	struct stick stick;
	struct err ignored;
	bool same;

	if (!stick_prepared(dir) || stick_load(dir, &stick, &ignored) < 0)
		return false;
	same = strcmp(stick.uuid, uuid) == 0;
	stick_free(&stick);
	return same;
}

static bool on_live_mount(const char *dir, const struct watch_host *host)
{
	struct watch_mount mount;
	bool lives;

	if (watch_mount_of(dir, host, &mount) < 0)
		return true; /* it cannot be known */
	lives = watch_mount_lives(&mount, host);
	watch_mount_free(&mount);
	return lives;
}

static bool look_at(struct seek *seek, const char *dir)
{
	return on_live_mount(dir, seek->host) && is_this_stick(dir, seek->home->uuid) &&
	       seek->try(seek->ctx, dir);
}

/* Only what lies on a block device of this host: looking at others may hang on a network. */
static bool look_at_mount(void *ctx, const struct mountinfo *mi)
{
	struct seek *seek = ctx;
	const char *rest = below(mi->root, seek->home->inside);
	char *dir;

	if (strncmp(mi->source, "/dev/", 5) != 0 || !rest)
		return true;
	dir = file_path("%s%s", strcmp(mi->point, "/") == 0 ? "" : mi->point, rest);
	if (dir && strcmp(dir, seek->home->dir) != 0)
		seek->done = look_at(seek, dir);
	free(dir);
	return !seek->done;
}

bool watch_each_home(const struct watch_home *home, const struct watch_host *host, watch_try *try,
		     void *ctx)
{
	struct seek seek = {.home = home, .host = host, .try = try, .ctx = ctx};

	if (look_at(&seek, home->dir))
		return true;
	mountinfo_each(watch_mountinfo(host), look_at_mount, &seek);
	return seek.done;
}

uint64_t watch_node_bytes(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint64_t bytes = 0;
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
			bytes = 0;
	} else if (S_ISREG(st.st_mode)) {
		bytes = (uint64_t)st.st_size;
	}
	close(fd);
	return bytes;
}

/* The size is in sectors of 512 bytes whatever the device's own are. */
static uint64_t sys_bytes(const char *sys, const char *name)
{
	char *path = file_path("%s/class/block/%s/size", sys, name);
	unsigned long long sectors = 0;
	FILE *in = path ? fopen(path, "re") : NULL;

	if (in && fscanf(in, "%llu", &sectors) != 1)
		sectors = 0;
	if (in)
		fclose(in);
	free(path);
	return (uint64_t)sectors * 512;
}

bool watch_each_node(const char *name, uint64_t size_bytes, const struct watch_host *host,
		     watch_try *try, void *ctx)
{
	char *folder = file_path("%s/class/block", watch_sys(host));
	DIR *nodes = folder ? opendir(folder) : NULL;
	bool done = access(name, F_OK) == 0 && try(ctx, name);
	const struct dirent *entry;

	while (!done && size_bytes && nodes && (entry = readdir(nodes))) {
		char *node;

		if (entry->d_name[0] == '.' ||
		    sys_bytes(watch_sys(host), entry->d_name) != size_bytes)
			continue;
		node = file_path("%s/%s", watch_dev(host), entry->d_name);
		done = node && try(ctx, node);
		free(node);
	}
	if (nodes)
		closedir(nodes);
	free(folder);
	return done;
}
