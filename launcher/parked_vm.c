/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * parked_vm.c: the way of a parked VM back to its stick, and that it is gone exactly once.
 *
 * A parked state is one file on the host: words (JSON), the store's parked data, QEMU's stream.
 * Going on takes these steps, each durable before the next:
 *
 *	1 write back	the stick gets what it lacks; refused where another session has begun
 *	2 mark		the state's id is written beside the disk
 *	3 open		a session begins; what was in no append is written and flushed
 *	4 load		a fresh QEMU reads the machine; the guest stands still
 *	5 consume	the file is removed from the host
 *	6 go on		`cont`: the guest runs
 *
 * K1  While the file is there the guest has not run since it was parked: 5 is before 6. So the file
 *     and the disk belong together if nobody else wrote to the disk.
 * K2  Up to 2 the engine finds out whether anybody did (A1). From 3 on it would find our own
 *     session, too; but whoever else opens the disk for writing removes the mark first
 *     (vm_store.c), so a mark with our id says that there was nobody.
 * K3  Cut before 5: the file is there, and every step can be done again. 1 writes the same bytes
 *     at the same places; 3 writes the same blocks, over nobody's.
 * K4  Cut behind 5: the state is gone, and for the guest it is a power cut at the moment when it
 *     was let go on: the disk has everything that it ever wrote.
 *
 * The mark stays behind where the power fails between 5 and its removal; no file has its id then.
 */
#include "parked_vm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

#include "file.h"
#include "size.h"
#include "vm_store.h"

enum { WORDS_MOST_BYTES = 4096 };

void parked_machine(const struct vm *vm, enum plan_accel accel, char ret_text[256])
{
	snprintf(ret_text, 256,
		 "machine=%.60s ram=%" PRIu64 " cpus=%" PRIu32
		 " cpu=%s bus=%s firmware=%s os=%s accel=%s",
		 vm->machine, vm->ram_bytes, vm->cpus, vm_cpu_text(vm->cpu), vm_bus_text(vm->bus),
		 vm_firmware_text(vm->firmware), vm_os_text(vm->os),
		 accel == PLAN_KVM ? "kvm" : "tcg");
}

void parked_words_new(const char *machine, uint64_t frozen_s, struct parked_words *ret_words)
{
	struct parked_words words = {.frozen_s = frozen_s};
	uint8_t id[PARK_ID_CHARS / 2];

	if (sodium_init() < 0)
		abort();
	randombytes_buf(id, sizeof(id));
	sodium_bin2hex(words.id, sizeof(words.id), id, sizeof(id));
	snprintf(words.machine, sizeof(words.machine), "%s", machine);
	*ret_words = words;
}

int parked_words_put(struct park_writer *writer, const struct parked_words *words)
{
	json_t *value = json_pack("{s:s, s:s, s:I}", "id", words->id, "machine", words->machine,
				  "frozen_s", (json_int_t)words->frozen_s);
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	const size_t count = text ? strlen(text) : 0;
	const uint8_t len[2] = {(uint8_t)count, (uint8_t)(count >> 8)};
	int rc = text ? park_write(writer, len, sizeof(len)) : -ENOMEM;

	if (rc == 0)
		rc = park_write(writer, text, count);
	free(text);
	json_decref(value);
	return rc;
}

static int take_words(struct park_reader *reader, struct parked_words *ret_words)
{
	struct parked_words words = {0};
	char text[WORDS_MOST_BYTES];
	const char *id, *machine;
	uint8_t len[2];
	json_t *value;
	size_t count;
	json_int_t frozen_s = 0;
	int rc = park_read_all(reader, len, sizeof(len));

	if (rc < 0)
		return rc;
	count = (size_t)len[0] | (size_t)len[1] << 8;
	rc = count <= sizeof(text) ? park_read_all(reader, text, count) : -EBADMSG;
	if (rc < 0)
		return rc;
	value = json_loadb(text, count, JSON_REJECT_DUPLICATES, NULL);
	if (!value || json_unpack(value, "{s:s, s:s, s:I}", "id", &id, "machine", &machine,
				  "frozen_s", &frozen_s) < 0)
		rc = -EBADMSG;
	if (rc == 0) {
		words.frozen_s = (uint64_t)frozen_s;
		snprintf(words.id, sizeof(words.id), "%s", id);
		snprintf(words.machine, sizeof(words.machine), "%s", machine);
		*ret_words = words;
	}
	json_decref(value);
	return rc;
}

static int get(void *ctx, void *buf, size_t count)
{
	return park_read_all(ctx, buf, count);
}

static int fail_open(struct err *err, const struct vm *vm, const char *path, int rc)
{
	const char *why = rc == -EACCES		   ? "it was made under another key"
			  : rc == -EBADMSG	   ? "it is damaged"
			  : rc == -EMEDIUMTYPE	   ? "it is no parked state"
			  : rc == -EPROTONOSUPPORT ? "it was made by a newer stickvm"
						   : strerror(-rc);

	return err_set(err, EXIT_NO_RESUME,
		       "%s: its parked state %s cannot be read: %s; 'stickvm run --cold %s' "
		       "discards it and starts afresh from the stick",
		       vm->name, path, why, vm->name);
}

int parked_vm_open(const struct stick *stick, const struct vm *vm, struct parked_vm *ret_parked,
		   struct err *err)
{
	uint8_t key[PARK_KEY_BYTES];
	struct parked_vm parked = {0};
	int rc;

	if (park_key_load(stick, vm, false, key, err) < 0 ||
	    park_home_name(vm->uuid, &parked.home, err) < 0)
		return -1;
	rc = park_reader_begin(parked.home.path, key, &parked.reader);
	sodium_memzero(key, sizeof(key));
	if (rc == 0)
		rc = take_words(parked.reader, &parked.words);
	if (rc == 0)
		rc = sv_parked_read(get, parked.reader, &parked.data);
	if (rc < 0) {
		fail_open(err, vm, parked.home.path, rc);
		parked_vm_free(&parked);
		return -1;
	}
	*ret_parked = parked;
	return 0;
}

void parked_vm_free(struct parked_vm *parked)
{
	park_reader_end(parked->reader);
	sv_parked_free(parked->data);
	park_home_free(&parked->home);
	*parked = (struct parked_vm){0};
}

/* The step between opening the place and opening the store. */
struct step {
	struct parked_vm *parked;
	const struct stick *stick;
	const struct vm *vm;
	bool stale;
};

static int fail_stale(struct step *step, struct err *err)
{
	const char *name = step->vm->name;

	step->stale = true;
	return err_set(
		err, EXIT_NO_RESUME,
		"%s: it is parked here, but the disk was used elsewhere since: the parked VM "
		"cannot go on, and nothing was written; 'stickvm park %s --export FILE' "
		"saves its disk as an image, 'stickvm run %s --cold' discards it",
		name, name, name);
}

static int write_back(void *ctx, struct sv_dev *dev, struct err *err)
{
	struct step *step = ctx;
	int rc = sv_parked_write_back(step->parked->data, dev, NULL);

	if (rc == -ESTALE)
		return park_marker_is(step->stick, step->vm, step->parked->words.id) /* K2 */
			       ? 0
			       : fail_stale(step, err);
	if (rc == -EUCLEAN || rc == -EBADMSG || rc == -EMEDIUMTYPE)
		return err_set(err, EXIT_NO_RESUME,
			       "%s: it is parked here, but this disk is not what it was then: %s; "
			       "nothing was written; 'stickvm check %s' names what is damaged",
			       step->vm->name, sv_store_why(), step->vm->name);
	if (rc < 0)
		return vm_store_fail(err, step->vm, rc);
	return park_marker_set(step->stick, step->vm, step->parked->words.id, err);
}

/* What was written back and flushed must be there. */
static int apply(struct parked_vm *parked, const struct vm *vm, struct sv_store *store,
		 struct err *err)
{
	struct sv_recovery recovery;
	int rc;

	sv_store_recovery(store, &recovery);
	if (recovery.lost_flushed_batches)
		return err_set(err, EXIT_NO_RESUME,
			       "%s: the stick lost what its parked state wrote back to it; the "
			       "state is kept: 'stickvm park %s --export FILE' saves its disk",
			       vm->name, vm->name);
	sv_store_grace(store, true); /* it was promised room when it wrote */
	rc = sv_parked_apply(parked->data, store);
	sv_store_grace(store, false);
	return rc < 0 ? vm_store_fail(err, vm, rc) : 0;
}

int parked_vm_restore(struct parked_vm *parked, const struct stick *stick, const struct vm *vm,
		      const struct sv_open_options *opts, struct sv_store **ret_store,
		      bool *ret_stale, struct err *err)
{
	struct step step = {.parked = parked, .stick = stick, .vm = vm};
	struct sv_store *store;
	int rc = vm_store_open_after(stick, vm, opts, write_back, &step, &store, err);

	*ret_stale = step.stale;
	if (rc < 0)
		return -1;
	if (apply(parked, vm, store, err) < 0) {
		sv_store_abandon(store);
		return -1;
	}
	sv_parked_free(parked->data);
	parked->data = NULL;
	*ret_store = store;
	return 0;
}

int parked_vm_consume(struct parked_vm *parked, const struct stick *stick, const struct vm *vm,
		      struct err *err)
{
	int rc = unlink(parked->home.path) < 0 ? -errno : file_sync_folder(parked->home.dir);

	if (rc < 0)
		return err_set(err, EXIT_FAILED,
			       "%s: its parked state %s cannot be removed: %s; it must be gone "
			       "before the VM goes on",
			       vm->name, parked->home.path, strerror(-rc));
	(void)park_marker_clear(stick, vm); /* nobody has this id any more */
	return 0;
}
