/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_cd.c: the image in the CD-ROM drive is opened anew where the stick came back. */
/*
 * The node `cd0` (raw) stays in the drive, so the guest sees no change of medium; what is below it
 * is replaced: a new file node, then blockdev-reopen of `cd0` with it. The monitor answers in
 * order, so `cont`, which is sent behind, repeats a read that failed (rerror=stop) on the new file.
 *
 *  D1  What is opened lies in the stick's folder, links followed, and is a plain file: a stick that
 *      says that it is this one must not lead QEMU to a file of the host.
 *  D2  An image that cannot be read while its stick is there must not stop the VM for ever: after a
 *      few tries it is taken out of the drive.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "argv.h"
#include "file.h"
#include "run_session.h"

enum { COMMAND_MS = 30000, MOST_FAILURES = 4 };

/* The part of `path` below `dir`, both as the file system has them; the caller's. NULL: not there,
 * or no plain file. */
static char *inside_of(const char *dir, const char *path)
{
	char *real_dir = realpath(dir, NULL);
	char *real_path = realpath(path, NULL);
	const size_t len = real_dir ? strlen(real_dir) : 0;
	char *inside = NULL;
	struct stat st;

	if (real_dir && real_path && strncmp(real_path, real_dir, len) == 0 &&
	    real_path[len] == '/' && stat(real_path, &st) == 0 && S_ISREG(st.st_mode))
		inside = strdup(real_path + len + 1);
	free(real_dir);
	free(real_path);
	return inside;
}

void cd_init(struct session *s)
{
	if (s->req->iso)
		s->cd.inside = inside_of(s->req->stick->dir, s->req->iso);
}

void cd_end(struct session *s)
{
	free(s->cd.inside);
	s->cd.inside = NULL;
}

static void on_reopened(void *ctx, const json_t *result, const char *why)
{
	struct session *s = ctx;

	if (!result)
		session_say(s, "%s: its CD image cannot be opened again: %s", s->req->vm->name,
			    why);
}

static void swap(struct session *s, const char *path)
{
	char node[32], old[32];

	snprintf(old, sizeof(old), ARGV_CD_NODE "-%u", s->cd.opened);
	snprintf(node, sizeof(node), ARGV_CD_NODE "-%u", s->cd.opened + 1);
	qmp_send(s->qmp, "blockdev-add",
		 json_pack("{s:s, s:s, s:b, s:s}", "driver", "file", "node-name", node, "read-only",
			   1, "filename", path),
		 COMMAND_MS, NULL, NULL);
	qmp_send(s->qmp, "blockdev-reopen",
		 json_pack("{s:[{s:s, s:s, s:b, s:s}]}", "options", "driver", "raw", "node-name",
			   ARGV_CD_NODE, "read-only", 1, "file", node),
		 COMMAND_MS, on_reopened, s);
	if (s->cd.opened > 0)
		qmp_send(s->qmp, "blockdev-del", json_pack("{s:s}", "node-name", old), COMMAND_MS,
			 NULL, NULL);
	s->cd.opened++;
	s->cd.failures = 0;
}

void cd_follow(struct session *s)
{
	char *path, *inside;

	if (!s->cd.inside || !s->qmp)
		return;
	path = file_path("%s/%s", s->req->stick->dir, s->cd.inside);
	inside = path ? inside_of(s->req->stick->dir, path) : NULL; /* D1 */
	if (inside)
		swap(s, path);
	else
		session_say(s, "%s: its CD image %s is not on the stick any more", s->req->vm->name,
			    s->cd.inside);
	free(inside);
	free(path);
}

void cd_failed(struct session *s)
{
	if (s->cd.failures == 0)
		session_say(
			s,
			"%s: the image in its CD-ROM drive cannot be read: the VM is paused and "
			"tries again",
			s->req->vm->name);
	if (++s->cd.failures != MOST_FAILURES || !s->qmp)
		return;
	session_say(s, "%s: the CD is taken out of its drive; 'stickvm set %s iso=' leaves it out",
		    s->req->vm->name, s->req->vm->name);
	qmp_send(s->qmp, "eject", json_pack("{s:s, s:b}", "id", "cd", "force", 1), COMMAND_MS, NULL,
		 NULL); /* D2 */
}
