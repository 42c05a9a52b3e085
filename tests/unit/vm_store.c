/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm_store.c: what opening a VM's disk says of every kind of trouble; makes such disks for scripts.
 *
 * `unit-vm_store KIND FILE` changes a raw place in a file and exits: how tests/cli/badinput.sh gets
 * disks of a newer format and with damaged roots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "file.h"
#include "format.h"
#include "ident.h"
#include "place_format.h"
#include "stickvm/place.h"
#include "vm_store.h"

#define DISK_BYTES (UINT64_C(16) << 20)
#define PART_BYTES (UINT64_C(256) << 20)

/* What a newer version would have written into both copies of the place's header. */
static int newer_place(const char *path)
{
	uint8_t bytes[PLACE_HEADER_COPY_BYTES];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int rc = fd < 0 ? -errno : 0;

	for (unsigned copy = 0; copy < 2 && rc == 0; copy++) {
		off_t at = (off_t)copy * PLACE_HEADER_COPY_BYTES;
		uint32_t size;
		uint64_t check;

		if (pread(fd, bytes, sizeof(bytes), at) != (ssize_t)sizeof(bytes))
			rc = -EIO;
		memcpy(&size, bytes + 12, sizeof(size));
		bytes[8] = 99; /* the version */
		check = XXH3_64bits(bytes, size - sizeof(check));
		memcpy(bytes + size - sizeof(check), &check, sizeof(check));
		if (pwrite(fd, bytes, sizeof(bytes), at) != (ssize_t)sizeof(bytes))
			rc = -EIO;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

/* Both anchors of a store, changed by `change`, which returns false to leave one alone. */
static int each_anchor(const char *path, bool (*change)(uint8_t *bytes, struct sv_dev *dev))
{
	struct sv_dev *dev;
	uint8_t *buf;
	uint32_t segment_bytes = 0;
	int rc = sv_place_open(path, false, &dev);

	if (rc < 0)
		return rc;
	if (posix_memalign((void **)&buf, 4096, SV_ANCHOR_BYTES) != 0)
		return -ENOMEM;
	for (unsigned i = 0; i < 2 && rc == 0; i++) {
		struct sv_anchor anchor;

		rc = sv_dev_read(dev, buf, SV_ANCHOR_BYTES, (uint64_t)i * segment_bytes);
		if (rc == 0 && i == 0 && sv_anchor_decode(buf, &anchor) == 0)
			segment_bytes = anchor.segment_bytes;
		if (rc == 0 && change(buf, dev))
			rc = sv_dev_write(dev, buf, SV_ANCHOR_BYTES, (uint64_t)i * segment_bytes);
	}
	if (rc == 0)
		rc = sv_dev_flush(dev);
	sv_dev_close(dev);
	free(buf);
	return rc;
}

static bool make_newer(uint8_t *bytes, struct sv_dev *dev)
{
	struct sv_anchor anchor;

	(void)dev;
	if (sv_anchor_decode(bytes, &anchor) < 0)
		return false;
	anchor.features.incompat |= UINT64_C(1) << 40;
	sv_anchor_encode(&anchor, bytes);
	return true;
}

static bool destroy(uint8_t *bytes, struct sv_dev *dev)
{
	(void)dev;
	memset(bytes, 0x5a, SV_ANCHOR_BYTES);
	return true;
}

/* The header of the root that an anchor names. */
static bool destroy_root(uint8_t *bytes, struct sv_dev *dev)
{
	struct sv_anchor anchor;
	uint8_t *junk;

	if (sv_anchor_decode(bytes, &anchor) < 0 ||
	    posix_memalign((void **)&junk, 4096, SV_ANCHOR_BYTES) != 0)
		return false;
	memset(junk, 0xa5, SV_ANCHOR_BYTES);
	sv_dev_write(dev, junk, SV_ANCHOR_BYTES,
		     (uint64_t)anchor.root.segment * anchor.segment_bytes + anchor.root.offset);
	free(junk);
	return false;
}

/* One of the two only. */
static bool destroy_newer(uint8_t *bytes, struct sv_dev *dev)
{
	struct sv_anchor anchor;

	return sv_anchor_decode(bytes, &anchor) == 0 && anchor.anchor_seq % 2 == 0 &&
	       destroy(bytes, dev);
}

static int spoil(const char *kind, const char *path)
{
	if (strcmp(kind, "newer-place") == 0)
		return newer_place(path);
	if (strcmp(kind, "newer-store") == 0)
		return each_anchor(path, make_newer);
	if (strcmp(kind, "one-anchor") == 0)
		return each_anchor(path, destroy_newer);
	if (strcmp(kind, "all-anchors") == 0)
		return each_anchor(path, destroy);
	if (strcmp(kind, "all-roots") == 0)
		return each_anchor(path, destroy_root);
	return -EINVAL;
}

/* A stick with one VM whose disk lies in a file that stands for a partition. */
struct box {
	char folder[64];
	char part[96];
	struct stick stick;
	struct vm vm;
};

static int setup(void **state)
{
	struct box *box = calloc(1, sizeof(*box));
	struct sv_format_params format = {.size_bytes = DISK_BYTES};
	struct sv_dev *dev;
	struct err err;
	bool fresh;
	int fd;

	snprintf(box->folder, sizeof(box->folder), "/tmp/vm-store-XXXXXX");
	assert_non_null(mkdtemp(box->folder));
	snprintf(box->part, sizeof(box->part), "%s/part", box->folder);
	assert_int_equal(stick_init(box->folder, &box->stick, &fresh, &err), 0);
	fd = open(box->part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, (off_t)PART_BYTES), 0);
	close(fd);
	assert_int_equal(sv_place_create(box->part, NULL), 0);
	assert_int_equal(sv_place_open(box->part, false, &dev), 0);
	assert_int_equal(sv_store_format(dev, &format), 0);
	sv_dev_close(dev);
	box->vm.name = strdup("v");
	box->vm.place = strdup(box->part);
	*state = box;
	return 0;
}

static int teardown(void **state)
{
	struct box *box = *state;

	vm_free(&box->vm);
	stick_free(&box->stick);
	file_remove_tree(box->folder);
	free(box);
	return 0;
}

static void opens(struct box *box)
{
	struct sv_store *store;
	struct err err;

	if (vm_store_open(&box->stick, &box->vm, NULL, &store, &err) < 0)
		fail_msg("%s", err.text);
	if (vm_store_close(&box->stick, &box->vm, store, &err) < 0)
		fail_msg("%s", err.text);
}

static void refuses(struct box *box, enum exit_status status, const char *text)
{
	for (int read_only = 0; read_only < 2; read_only++) {
		struct sv_open_options opts = {.read_only = read_only};
		struct sv_store *store;
		struct err err;

		assert_int_equal(vm_store_open(&box->stick, &box->vm, &opts, &store, &err), -1);
		if (err.status != status || !strstr(err.text, text) ||
		    strncmp(err.text, "v: ", 3) != 0 || !strstr(err.text, "; "))
			fail_msg("%d, not %d with '%s': %s", err.status, status, text, err.text);
	}
}

static void a_sound_store_opens_and_its_counters_are_noted(void **state)
{
	struct box *box = *state;
	struct sv_store *store;
	struct err err;
	uint8_t data[4096];

	memset(data, 7, sizeof(data));
	assert_int_equal(vm_store_open(&box->stick, &box->vm, NULL, &store, &err), 0);
	assert_int_equal(sv_store_write(store, data, sizeof(data), 0), 0);
	assert_int_equal(vm_store_close(&box->stick, &box->vm, store, &err), 0);
	assert_int_equal(box->stick.entry_count, 1);
	assert_string_equal(box->stick.entries[0].vm, "v");
	assert_int_equal(box->stick.entries[0].ledger.guest_written_bytes, 4096);
	assert_int_equal(box->stick.entries[0].ledger.sessions, 1);
	opens(box);
}

static void each_trouble_has_its_status(void **state)
{
	struct box *box = *state;
	struct sv_store *store;
	struct err err;
	char away[112];

	snprintf(away, sizeof(away), "%s.away", box->part);
	assert_int_equal(vm_store_open(&box->stick, &box->vm, NULL, &store, &err), 0);
	refuses(box, EXIT_LOCKED, "in use");
	assert_int_equal(vm_store_close(&box->stick, &box->vm, store, &err), 0);
	assert_int_equal(rename(box->part, away), 0);
	refuses(box, EXIT_NO_STICK, "is not there");
	assert_int_equal(rename(away, box->part), 0);
	opens(box);
}

static void a_newer_place_is_refused(void **state)
{
	struct box *box = *state;

	assert_int_equal(spoil("newer-place", box->part), 0);
	refuses(box, EXIT_FAILED, "newer stickvm");
}

static void a_newer_store_is_refused_with_the_feature(void **state)
{
	struct box *box = *state;

	assert_int_equal(spoil("newer-store", box->part), 0);
	refuses(box, EXIT_FAILED, "incompatible bits 10000000000");
}

static void one_anchor_is_enough(void **state)
{
	struct box *box = *state;

	assert_int_equal(spoil("one-anchor", box->part), 0);
	opens(box);
}

static void without_anchors_it_is_damage(void **state)
{
	struct box *box = *state;

	assert_int_equal(spoil("all-anchors", box->part), 0);
	refuses(box, EXIT_DAMAGE, "");
}

static void without_roots_it_is_damage(void **state)
{
	struct box *box = *state;

	assert_int_equal(spoil("all-roots", box->part), 0);
	refuses(box, EXIT_DAMAGE, "damaged");
}

static void no_header_at_all_is_damage(void **state)
{
	struct box *box = *state;
	char zeros[4096] = {0};
	int fd = open(box->part, O_RDWR | O_CLOEXEC);

	for (off_t at = 0; at < PLACE_HEADER_AREA_BYTES; at += (off_t)sizeof(zeros))
		assert_int_equal(pwrite(fd, zeros, sizeof(zeros), at), sizeof(zeros));
	close(fd);
	refuses(box, EXIT_DAMAGE, "holds no disk");
}

static void this_host_has_a_name_of_its_own(void **state)
{
	char host[64];
	char again[64];

	(void)state;
	vm_store_host(host);
	vm_store_host(again);
	assert_string_equal(host, again);
	assert_non_null(strchr(host, '#'));
	assert_true(strlen(host) > 9);
}

#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOXED(a_sound_store_opens_and_its_counters_are_noted),
		BOXED(each_trouble_has_its_status),
		BOXED(a_newer_place_is_refused),
		BOXED(a_newer_store_is_refused_with_the_feature),
		BOXED(one_anchor_is_enough),
		BOXED(without_anchors_it_is_damage),
		BOXED(without_roots_it_is_damage),
		BOXED(no_header_at_all_is_damage),
		cmocka_unit_test(this_host_has_a_name_of_its_own),
	};

	if (argc == 3)
		return spoil(argv[1], argv[2]) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
