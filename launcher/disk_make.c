/* SPDX-License-Identifier: GPL-2.0-or-later */
/* disk_make.c: makes a new VM's files on the stick, all of them or none. */
#include "disk_make.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "stickvm/place.h"
#include "stickvm/store.h"
#include "vm_store.h"

#define COPY_BYTES (1u << 20)

/* Whether one of the blocked signals waits; it stays pending, as the process ends soon. */
static bool interrupted(struct disk_make *dm)
{
	sigset_t waiting;

	if (sigpending(&waiting) == 0 &&
	    (sigismember(&waiting, SIGINT) == 1 || sigismember(&waiting, SIGTERM) == 1 ||
	     sigismember(&waiting, SIGHUP) == 1))
		atomic_store(&dm->cancel, true);
	return atomic_load(&dm->cancel);
}

static int fail_interrupted(struct err *err, const struct disk_make *dm)
{
	return err_set(err, EXIT_INTERRUPTED, "%s: interrupted; what was made was removed",
		       dm->vm->name);
}

int disk_make_start(struct disk_make *dm, struct stick *stick, const struct vm *vm, struct err *err)
{
	struct stat st;
	int rc;

	*dm = (struct disk_make){.stick = stick, .vm = vm};
	dm->folder = stick_vm_path(stick, vm->name, NULL);
	dm->place = vm_store_path(stick, vm);
	sigemptyset(&dm->signals);
	sigaddset(&dm->signals, SIGINT);
	sigaddset(&dm->signals, SIGTERM);
	sigaddset(&dm->signals, SIGHUP);
	if (!dm->folder || !dm->place)
		return err_set(err, EXIT_FAILED, "%s: out of memory", vm->name);
	sigprocmask(SIG_BLOCK, &dm->signals, NULL);
	if (mkdir(dm->folder, 0755) == 0) {
		dm->made_folder = true;
		return 0;
	}
	rc = -errno;
	if (rc == -EEXIST && stat(dm->folder, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(err, EXIT_FAILED,
			       "%s: %s is there already; choose another name, or "
			       "remove it with 'stickvm delete' (or by hand where a create was cut "
			       "short)",
			       vm->name, dm->folder);
	return err_set(err, file_status(rc), "%s: %s cannot be made: %s; %s", vm->name, dm->folder,
		       strerror(-rc), file_advice(rc));
}

static int fail_place(struct err *err, const struct disk_make *dm, int rc)
{
	if (rc == -EEXIST)
		return err_set(err, EXIT_FAILED,
			       "%s: %s holds a disk of stickvm already; delete "
			       "the VM that it belongs to, or choose another place",
			       dm->vm->name, dm->place);
	if (rc == -EBUSY)
		return err_set(err, EXIT_LOCKED,
			       "%s: %s is in use; unmount it, or choose another "
			       "place",
			       dm->vm->name, dm->place);
	if (rc == -ENOENT)
		return err_set(err, EXIT_NO_STICK, "%s: %s is not there; plug it in", dm->vm->name,
			       dm->place);
	return err_set(err, file_status(rc), "%s: the disk cannot be made in %s: %s; %s",
		       dm->vm->name, dm->place, strerror(-rc), file_advice(rc));
}

/* A place with an empty store in it, open. */
static int make_store(struct disk_make *dm, struct sv_store **ret_store, struct err *err)
{
	const struct stick *stick = dm->stick;
	struct sv_place_params place = {.page_bytes = stick->page_bytes,
					.erase_bytes = stick->erase_bytes,
					.open_units = stick->open_units};
	struct sv_format_params format = {.size_bytes = dm->vm->size_bytes};
	struct sv_dev *dev = NULL;
	int rc = sv_place_create(dm->place, &place);

	if (rc < 0)
		return fail_place(err, dm, rc);
	dm->made_place = true;
	rc = sv_place_open(dm->place, false, &dev);
	if (rc < 0)
		return fail_place(err, dm, rc);
	rc = sv_store_format(dev, &format);
	sv_dev_close(dev);
	if (rc < 0)
		return fail_place(err, dm, rc);
	return vm_store_open(stick, dm->vm, NULL, ret_store, err);
}

static void on_import(void *ctx, const struct sv_import_progress *progress)
{
	struct disk_make *dm = ctx;

	interrupted(dm);
	ui_progress_step(&dm->progress, progress->done_bytes, progress->total_bytes);
}

static int import(struct disk_make *dm, struct sv_source *source, const char *from,
		  struct sv_store *store, struct err *err)
{
	struct sv_import_options opts = {.report = on_import, .ctx = dm, .cancel = &dm->cancel};
	struct sv_import_result result;
	int rc;

	ui_progress_start(&dm->progress, "importing");
	rc = sv_import_store(source, store, &opts, &result);
	ui_progress_end(&dm->progress);
	if (rc == 0)
		return 0;
	if (rc == -ECANCELED)
		return fail_interrupted(err, dm);
	if (result.stage == SV_IMPORT_READ)
		return err_set(err, EXIT_FAILED, "%s: %s", from,
			       source->error.text[0] ? source->error.text : strerror(-rc));
	if (rc == -ENOSPC)
		return err_set(err, EXIT_FAILED,
			       "%s: the stick is full; what the image holds does "
			       "not fit, free some space or take a larger stick",
			       from);
	return vm_store_fail(err, dm->vm, rc);
}

int disk_make_disk(struct disk_make *dm, struct sv_source *source, const char *from,
		   struct err *err)
{
	struct sv_store *store = NULL;

	if (make_store(dm, &store, err) < 0)
		return -1;
	if (source && import(dm, source, from, store, err) < 0) {
		sv_store_abandon(store);
		return -1;
	}
	return vm_store_close(dm->stick, dm->vm, store, err);
}

static int copy_some(int in, int out, char *buf, uint64_t *done_bytes)
{
	ssize_t got = read(in, buf, COPY_BYTES);
	ssize_t put = 0;

	if (got < 0)
		return errno == EINTR ? 1 : -errno;
	for (ssize_t at = 0; at < got; at += put) {
		put = write(out, buf + at, (size_t)(got - at));
		if (put < 0 && errno != EINTR)
			return -errno;
		put = put < 0 ? 0 : put;
	}
	*done_bytes += (uint64_t)got;
	return got > 0;
}

static int copy_all(struct disk_make *dm, int in, int out)
{
	char *buf = malloc(COPY_BYTES);
	uint64_t done_bytes = 0;
	struct stat st;
	int rc = buf && fstat(in, &st) == 0 ? 1 : -ENOMEM;

	ui_progress_start(&dm->progress, "copying the ISO");
	while (rc > 0) {
		rc = interrupted(dm) ? -ECANCELED : copy_some(in, out, buf, &done_bytes);
		if (rc > 0)
			ui_progress_step(&dm->progress, done_bytes, (uint64_t)st.st_size);
	}
	ui_progress_end(&dm->progress);
	free(buf);
	if (rc == 0 && fsync(out) < 0)
		rc = -errno;
	return rc;
}

int disk_make_copy(struct disk_make *dm, const char *from, const char *name, struct err *err)
{
	char *to = file_path("%s/%s", dm->folder, name);
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = to ? open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
	int rc = in >= 0 && out >= 0 ? copy_all(dm, in, out) : -errno;

	if (in >= 0)
		close(in);
	if (out >= 0 && close(out) < 0 && rc == 0)
		rc = -errno;
	free(to);
	if (rc == -ECANCELED)
		return fail_interrupted(err, dm);
	if (rc == -EFBIG)
		return err_set(err, EXIT_FAILED,
			       "%s: is larger than a file on this file system "
			       "can be; use --iso-link, or a stick with exFAT or ext4",
			       from);
	if (rc < 0)
		return err_set(err, file_status(rc), "%s: cannot be copied to the stick: %s; %s",
			       from, strerror(-rc), file_advice(rc));
	return 0;
}

void disk_make_undo(struct disk_make *dm)
{
	if (dm->made_place)
		sv_place_remove(dm->place);
	if (dm->made_folder)
		file_remove_tree(dm->folder);
}

void disk_make_free(struct disk_make *dm)
{
	free(dm->folder);
	free(dm->place);
	dm->folder = NULL;
	dm->place = NULL;
}
