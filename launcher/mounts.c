/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mounts.c: the disks that are mounted on this host, read from the kernel's own table. */
#include "mounts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "mountinfo.h"

#define PREFIX "stickvm:"

enum { WORDS_MAX_BYTES = 16384 };

/* "stickvm:NAME#PID" or "stickvm:NAME". */
static bool parse_source(const char *source, struct mount_info *ret_info)
{
	struct mount_info info = {0};
	const char *hash;
	size_t len;

	if (strncmp(source, PREFIX, strlen(PREFIX)) != 0)
		return false;
	source += strlen(PREFIX);
	hash = strrchr(source, '#');
	len = hash ? (size_t)(hash - source) : strlen(source);
	if (len >= sizeof(info.vm))
		return false;
	memcpy(info.vm, source, len);
	info.pid = hash ? (pid_t)strtol(hash + 1, NULL, 10) : 0;
	*ret_info = info;
	return true;
}

/* What mounts_find looks for; the last mount on a folder is the one on top. */
struct looking {
	const char *dir;
	struct mount_info *info;
	bool found;
};

static bool look(void *ctx, const struct mountinfo *mi)
{
	struct looking *l = ctx;

	if (strcmp(mi->point, l->dir) == 0)
		l->found = parse_source(mi->source, l->info);
	return true;
}

bool mounts_find(const char *mountinfo, const char *dir, struct mount_info *ret_info)
{
	struct looking l = {.dir = dir, .info = ret_info};

	mountinfo_each(mountinfo, look, &l);
	return l.found;
}

/* The ledger in a status.json, where it is of this store. */
static bool read_status(const char *path, const char *store_id, struct sv_ledger *ret_ledger)
{
	json_t *json = json_load_file(path, 0, NULL);
	const json_t *ledger = json_object_get(json, "ledger");
	const char *id = json_string_value(json_object_get(json, "store_id"));
	bool ours = ledger && id && strcmp(id, store_id) == 0;

	for (const struct ledger_field *f = ledger_fields; ours && f->name; f++)
		ledger_put(ret_ledger, f,
			   (uint64_t)json_integer_value(json_object_get(ledger, f->name)));
	json_decref(json);
	return ours;
}

struct reading {
	const char *store_id;
	struct sv_ledger *ledger;
	json_t **history; /* NULL: not wanted */
	bool found;
};

static bool read_one(void *ctx, const struct mountinfo *mi)
{
	struct reading *r = ctx;
	struct mount_info info;
	char *path;

	if (!parse_source(mi->source, &info))
		return true;
	path = file_path("%s/status.json", mi->point);
	r->found = path && read_status(path, r->store_id, r->ledger);
	free(path);
	if (r->found && r->history) {
		path = file_path("%s/history.json", mi->point);
		*r->history = path ? json_load_file(path, 0, NULL) : NULL;
		free(path);
	}
	return !r->found;
}

bool mounts_ledger(const char *mountinfo, const char *store_id, struct sv_ledger *ret_ledger,
		   json_t **ret_history)
{
	struct sv_ledger ledger = {0};
	struct reading r = {.store_id = store_id, .ledger = &ledger, .history = ret_history};

	mountinfo_each(mountinfo, read_one, &r);
	if (r.found)
		*ret_ledger = ledger;
	return r.found;
}

/* Flushed, where it can be written; false: read-only, or not this user's to look at. */
static bool flush_disk(const char *dir)
{
	char *path = file_path("%s/disk.raw", dir);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct stat st;
	bool may_write = fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0200);

	if (may_write)
		fsync(fd); /* an error shows in the state */
	if (fd >= 0)
		close(fd);
	free(path);
	return may_write;
}

static uint64_t number(const json_t *json, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(json, key));
}

void mounts_state(const char *dir, struct mount_state *ret_state)
{
	char *path = file_path("%s/status.json", dir);
	const bool may_write = flush_disk(dir);
	json_t *json = path ? json_load_file(path, 0, NULL) : NULL;
	const char *state = json_string_value(json_object_get(json, "state"));

	*ret_state = (struct mount_state){
		.gone = may_write && state && strcmp(state, "detached") == 0,
		.unwritten_bytes = number(json, "dirty_bytes"),
		.rot_blocks = number(json, "scrub_bad_blocks"),
		.rot_off_bytes = number(json, "scrub_bad_off_bytes"),
	};
	json_decref(json);
	free(path);
}

/* realpath would look at the folder itself, which a dead mount answers with an error. */
char *mounts_absolute(const char *dir)
{
	size_t len = strlen(dir);
	char *copy = strdup(dir);
	char *slash, *parent, *path;

	while (copy && len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = copy ? strrchr(copy, '/') : NULL;
	if (!copy || strcmp(slash ? slash + 1 : copy, "..") == 0 ||
	    strcmp(slash ? slash + 1 : copy, ".") == 0 || strcmp(copy, "/") == 0) {
		free(copy);
		return realpath(dir, NULL);
	}
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	path = parent ? file_path("%s/%s", strcmp(parent, "/") == 0 ? "" : parent,
				  slash ? slash + 1 : copy)
		      : NULL;
	free(parent);
	free(copy);
	return path;
}

/* The private folder of a user for what does not outlive a boot; made if missing. NULL where
 * another user holds its name. */
static char *runtime_folder(uid_t uid)
{
	struct stat st;
	char *path = uid == 0 ? file_path("/run/stickvm") : file_path("/run/user/%u", uid);

	if (path && uid == 0)
		mkdir(path, 0700);
	if (path && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid)
		return path;
	free(path);
	path = file_path("/tmp/stickvm-%u", uid);
	if (path && uid == geteuid())
		mkdir(path, 0700);
	if (path && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid &&
	    (st.st_mode & 022) == 0)
		return path;
	free(path);
	return NULL;
}

#define WORDS "stickvm-mount-%d.error"

static char *words_path(pid_t pid, uid_t uid)
{
	char *folder = runtime_folder(uid);
	char *path = folder ? file_path("%s/" WORDS, folder, (int)pid) : NULL;

	free(folder);
	return path;
}

/* The status and the words in a line, the folder in another. */
void mounts_leave_words(const struct err *err, const char *dir)
{
	char *path = words_path(getpid(), geteuid());
	char *text = file_path("%d %s\n%s\n", (int)err->status, err->text, dir ? dir : "");

	if (path && text)
		file_replace(path, text, strlen(text));
	free(path);
	free(text);
}

void mounts_clear_words(void)
{
	char *path = words_path(getpid(), geteuid());

	if (path)
		unlink(path);
	free(path);
}

bool mounts_words(pid_t pid, uid_t uid, bool take, struct err *ret_err)
{
	char *path = words_path(pid, uid);
	char *text = NULL;
	size_t bytes;
	char *end;
	bool found = path && file_read(path, WORDS_MAX_BYTES, &text, &bytes) == 0;

	if (found) {
		long status = strtol(text, &end, 10);

		end[strcspn(end, "\n")] = '\0';
		err_set(ret_err,
			status > 0 && status < 256 ? (enum exit_status)status : EXIT_FAILED, "%s",
			*end == ' ' ? end + 1 : end);
		if (take)
			unlink(path);
	}
	free(text);
	free(path);
	return found;
}

/* Whether that file of words has the folder in its second line. */
static bool lost(const char *folder, const char *name, const char *dir)
{
	char *path = file_path("%s/%s", folder, name), *text = NULL;
	const bool found = path && file_read(path, WORDS_MAX_BYTES, &text, &(size_t){0}) == 0;
	const char *line = found ? strchr(text, '\n') : NULL;
	const size_t len = strlen(dir);
	const bool same = line && strncmp(line + 1, dir, len) == 0 && line[1 + len] == '\n';

	free(text);
	free(path);
	return same;
}

pid_t mounts_lost(const char *dir)
{
	char *path = runtime_folder(geteuid());
	DIR *folder = path ? opendir(path) : NULL;
	const struct dirent *de;
	pid_t found = 0;
	int pid;

	while (folder && !found && (de = readdir(folder))) {
		if (sscanf(de->d_name, WORDS, &pid) == 1 && lost(path, de->d_name, dir))
			found = pid;
	}
	if (folder)
		closedir(folder);
	free(path);
	return found;
}
