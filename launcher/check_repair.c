/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check_repair.c: `check --repair`: mends what can be proven, and keeps what it replaces. */
/*
 * In this order: a rebuild (sv_store_repair) where the store does not open, or its map, table or
 * chain are damaged; then one session, in which opening renews anchors and container headers, and
 * what lies under bad batch headers is written anew. A rebuild is tried dry first: where it would
 * leave more unreadable than is now, it is not done.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "check.h"
#include "file.h"
#include "stickvm/place.h"
#include "vm_store.h"

#define REBUILD (SV_FOUND_MAP | SV_FOUND_COUNT | SV_FOUND_CHAIN)
#define SESSION (SV_FOUND_ANCHOR | SV_FOUND_HEADER | SV_FOUND_CONTAINER)

struct keeping {
	char *dir;
};

/* The bytes that stand where an anchor is to be written go into a file of their own. */
static int keep(void *ctx, uint64_t place_bytes, const void *bytes, size_t len_bytes)
{
	struct keeping *k = ctx;
	char *path = file_path("%s/place-%" PRIu64 ".bin", k->dir, place_bytes);
	int rc = path ? 0 : -ENOMEM;

	if (rc == 0 && mkdir(k->dir, 0777) < 0 && errno != EEXIST)
		rc = -errno;
	if (rc == 0)
		rc = file_replace(path, bytes, len_bytes);
	free(path);
	return rc;
}

static char *keeping_dir(const struct stick *stick, const struct vm *vm)
{
	char name[64];
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(name, sizeof name, "before-repair-%Y%m%d-%H%M%S", &tm);
	return stick_vm_path(stick, vm->name, name);
}

static int fail(const struct vm *vm, int rc, struct err *err)
{
	if (rc == -EUCLEAN || rc == -EMEDIUMTYPE || rc == -EBADMSG || rc == -ENOSPC ||
	    rc == -EPROTONOSUPPORT)
		return err_set(err, rc == -EPROTONOSUPPORT ? EXIT_FAILED : EXIT_DAMAGE,
			       "%s: it cannot be repaired: %s; nothing was changed, restore it "
			       "from a backup",
			       vm->name, *sv_store_why() ? sv_store_why() : strerror(-rc));
	return vm_store_fail(err, vm, rc);
}

static int rebuild(struct sv_dev *dev, const struct vm *vm, const struct check_repair_plan *plan,
		   struct keeping *keeping, struct sv_repair_result *ret_result, struct err *err)
{
	char host[64];
	struct sv_repair_options opts = {
		.host = host, .size_bytes = vm->size_bytes, .dry_run = true, .save = keep};
	int rc;

	vm_store_host(host);
	opts.ctx = keeping;
	rc = sv_store_repair(dev, &opts, ret_result);
	if (rc == 0 && plan->opens && ret_result->lost_bytes > plan->lost_bytes)
		return err_set(err, EXIT_DAMAGE,
			       "%s: a repair could not prove more than what can be read now; "
			       "nothing was changed, copy it (stickvm mount --read-only)",
			       vm->name);
	opts.dry_run = false;
	if (rc == 0)
		rc = sv_store_repair(dev, &opts, ret_result);
	return rc < 0 ? fail(vm, rc, err) : 0;
}

/* Opening renews anchors and container headers; blocks under bad headers are moved. */
static int one_session(struct stick *stick, const struct vm *vm, bool rescue, uint64_t *ret_blocks,
		       struct err *err)
{
	const struct sv_open_options manual = {.manual = true};
	struct sv_store *store;
	int rc = 0;

	*ret_blocks = 0;
	if (vm_store_open(stick, vm, &manual, &store, err) < 0)
		return -1;
	if (rescue)
		rc = sv_store_rescue(store, ret_blocks);
	if (rc < 0) {
		sv_store_abandon(store);
		return vm_store_fail(err, vm, rc);
	}
	return vm_store_close(stick, vm, store, err);
}

static int rebuild_place(struct stick *stick, const struct vm *vm,
			 const struct check_repair_plan *plan, struct keeping *keeping,
			 struct sv_repair_result *ret_result, struct err *err)
{
	char *path = vm_store_path(stick, vm);
	struct sv_dev *dev = NULL;
	int rc = path ? sv_place_open(path, false, &dev) : -ENOMEM;

	if (rc < 0)
		rc = path ? vm_store_fail_place(err, vm, path, rc) : fail(vm, rc, err);
	free(path);
	if (rc < 0)
		return rc;
	rc = rebuild(dev, vm, plan, keeping, ret_result, err);
	sv_dev_close(dev);
	return rc;
}

static char *tell(const struct sv_repair_result *r, const struct keeping *k)
{
	return file_path("rebuilt from %" PRIu64 " batches%s; %" PRIu64
			 " bytes of the disk could not be proven and give EIO; what was replaced "
			 "is kept in %s",
			 r->batches, r->dropped ? ", without the last, torn ones" : "",
			 r->lost_bytes, k->dir);
}

int check_repair(struct stick *stick, const struct vm *vm, const struct check_repair_plan *plan,
		 json_t *json, char **ret_text, struct err *err)
{
	struct keeping keeping = {.dir = keeping_dir(stick, vm)};
	struct sv_repair_result result;
	uint64_t blocks = 0;
	int rc = 0;

	*ret_text = NULL;
	if (!keeping.dir)
		return err_set(err, EXIT_FAILED, "%s: out of memory", vm->name);
	if (!plan->opens || plan->kinds & REBUILD) {
		rc = rebuild_place(stick, vm, plan, &keeping, &result, err);
		if (rc == 0) {
			*ret_text = tell(&result, &keeping);
			json_object_set_new(json, "kept_in", json_string(keeping.dir));
			json_object_set_new(json, "batches",
					    json_integer((json_int_t)result.batches));
			json_object_set_new(json, "lost_bytes",
					    json_integer((json_int_t)result.lost_bytes));
		}
	}
	/* A header that was mended in passing is found by the next check, not by the first. */
	if (rc == 0 && (*ret_text || plan->kinds & SESSION))
		rc = one_session(stick, vm, true, &blocks, err);
	if (rc == 0 && !*ret_text && plan->kinds & SESSION)
		*ret_text = file_path("what was damaged twice over was renewed, %" PRIu64
				      " blocks were written anew",
				      blocks);
	json_object_set_new(json, "moved_blocks", json_integer((json_int_t)blocks));
	free(keeping.dir);
	return rc;
}
