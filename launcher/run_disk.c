/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_disk.c: serves a store through FUSE in a thread, and closes both in order. */
/* Order of the end: QEMU has ended (its file is closed), the server stops taking requests, the
 * store is closed, the mount's memory is freed. See stickvm/fuse.h. */
#include "run_disk.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vm_store.h"

struct server {
	struct sv_fuse *fuse;
	int ended_fd;
};

static void *serve(void *arg)
{
	struct server server = *(struct server *)arg;
	const uint64_t one = 1;
	int rc;

	free(arg);
	rc = sv_fuse_run(server.fuse);
	if (write(server.ended_fd, &one, sizeof one) < 0)
		rc = rc ? rc : -errno;
	return (void *)(intptr_t)rc;
}

static int start_server(struct run_disk *disk)
{
	struct server *server = malloc(sizeof *server);
	int rc;

	if (!server)
		return ENOMEM;
	*server = (struct server){.fuse = disk->fuse, .ended_fd = disk->ended_fd};
	rc = pthread_create(&disk->server, NULL, serve, server);
	if (rc != 0)
		free(server);
	disk->serving = rc == 0;
	return rc;
}

int run_disk_serve(struct sv_store *store, const char *mountpoint, const char *name, bool hold,
		   struct run_disk *ret_disk, struct err *err)
{
	const struct sv_fuse_options opts = {.name = name, .hold = hold};
	struct run_disk *disk = ret_disk;
	int rc;

	*disk = (struct run_disk){.store = store, .ended_fd = eventfd(0, EFD_CLOEXEC)};
	rc = disk->ended_fd < 0 ? -errno : sv_fuse_mount(store, mountpoint, &opts, &disk->fuse);
	if (rc == 0)
		rc = -start_server(disk);
	if (rc < 0)
		return err_set(err, EXIT_FAILED, "%s: the disk cannot be mounted: %s%s%s",
			       mountpoint, strerror(-rc), *sv_fuse_why() ? ": " : "",
			       sv_fuse_why());
	return 0;
}

int run_disk_close(struct run_disk *disk, const struct vm *vm, struct err *err)
{
	void *server_rc = NULL;
	int rc = 0;

	if (disk->serving) {
		sv_fuse_stop(disk->fuse);
		pthread_join(disk->server, &server_rc);
		disk->server_error = (int)(intptr_t)server_rc;
		disk->serving = false;
	}
	if (disk->store && disk->parked)
		sv_store_abandon(disk->store);
	else if (disk->store)
		rc = vm_store_end(vm, disk->store, &disk->last, err);
	disk->ended_well = disk->store && !disk->parked && rc == 0;
	disk->store = NULL;
	sv_fuse_destroy(disk->fuse);
	disk->fuse = NULL;
	if (disk->ended_fd >= 0)
		close(disk->ended_fd);
	disk->ended_fd = -1;
	return rc;
}

int run_disk_note(const struct run_disk *disk, struct stick *stick, const struct vm *vm,
		  struct err *err)
{
	return vm_store_note(stick, vm, &disk->last, err);
}
