/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm.c: a VM's settings file: what is read, what is refused and where, what a change keeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "vm.h"

static const char good[] = "# mine: \xc3\xa9\n"
			   "machine: pc-q35-7.2\n"
			   "cpu: roam   # portable\n"
			   "cpus: 2\n"
			   "ram: 4096M\n"
			   "os: linux\n"
			   "firmware: bios\n"
			   "bus: virtio-blk\n"
			   "policy: stick\n"
			   "ssh_port: 22001\n"
			   "mac: \"52:54:00:12:34:56\"\n"
			   "uuid: 01234567-89ab-cdef-0123-456789abcdef\n"
			   "size: 64G\n"
			   "created: 1700000000\n";

struct box {
	char folder[64];
	char path[128];
};

static int setup(void **state)
{
	struct box *box = calloc(1, sizeof(*box));

	snprintf(box->folder, sizeof(box->folder), "/tmp/vm-test-XXXXXX");
	assert_non_null(mkdtemp(box->folder));
	snprintf(box->path, sizeof(box->path), "%s/vm.yaml", box->folder);
	*state = box;
	return 0;
}

static int teardown(void **state)
{
	struct box *box = *state;

	file_remove_tree(box->folder);
	free(box);
	return 0;
}

static void put(const struct box *box, const char *text)
{
	assert_int_equal(file_replace(box->path, text, strlen(text)), 0);
}

static char *get(const struct box *box)
{
	char *text;
	size_t bytes;

	assert_int_equal(file_read(box->path, 1 << 20, &text, &bytes), 0);
	return text;
}

/* `good` with one of its lines replaced (or, with an empty one, taken out). The caller frees it. */
static char *variant(const char *key, const char *line)
{
	const char *at = strstr(good, key);
	const char *end = strchr(at, '\n') + 1;

	return file_path("%.*s%s%s", (int)(at - good), good, line, end);
}

static void reads_what_is_written(void **state)
{
	struct box *box = *state;
	struct vm vm;
	struct err err;

	put(box, good);
	assert_int_equal(vm_load(box->path, &vm, &err), 0);
	assert_string_equal(vm.name, strrchr(box->folder, '/') + 1);
	assert_string_equal(vm.machine, "pc-q35-7.2");
	assert_string_equal(vm.mac, "52:54:00:12:34:56");
	assert_int_equal(vm.cpu, VM_CPU_ROAM);
	assert_int_equal(vm.cpus, 2);
	assert_int_equal(vm.ram_bytes, UINT64_C(4) << 30);
	assert_int_equal(vm.size_bytes, UINT64_C(64) << 30);
	assert_int_equal(vm.ssh_port, 22001);
	assert_int_equal(vm.created_s, 1700000000);
	assert_null(vm.iso);
	assert_null(vm.place);
	vm_free(&vm);
	vm_free(&vm);
}

static void a_change_keeps_the_rest_of_the_file(void **state)
{
	struct box *box = *state;
	struct vm vm;
	struct err err;
	char *text;

	put(box, good);
	assert_int_equal(vm_load(box->path, &vm, &err), 0);
	assert_int_equal(vm_set(&vm, "cpu", "host", &err), 0);
	assert_int_equal(vm_set(&vm, "iso", "/a b/c: d#e\"f.iso", &err), 0);
	assert_int_equal(vm_save(box->path, &vm, &err), 0);
	vm_free(&vm);
	text = get(box);
	assert_memory_equal(text, "# mine: \xc3\xa9\n", 11);
	assert_non_null(strstr(text, "cpu: host   # portable\n"));
	assert_non_null(strstr(text, "ram: 4096M\n")); /* 4G to us, but not changed by us */
	free(text);
	assert_int_equal(vm_load(box->path, &vm, &err), 0);
	assert_string_equal(vm.iso, "/a b/c: d#e\"f.iso");
	assert_int_equal(vm_set(&vm, "iso", "", &err), 0);
	assert_int_equal(vm_save(box->path, &vm, &err), 0);
	vm_free(&vm);
	text = get(box);
	assert_null(strstr(text, "iso"));
	assert_non_null(strstr(text, "created: 1700000000\n"));
	free(text);
}

static void a_fresh_file_says_what_is_allowed(void **state)
{
	struct box *box = *state;
	struct vm vm;
	struct vm again;
	struct err err;
	struct vm_setting a, b;
	char *text;

	put(box, good);
	assert_int_equal(vm_load(box->path, &vm, &err), 0);
	unlink(box->path);
	assert_int_equal(vm_save(box->path, &vm, &err), 0);
	text = get(box);
	for (unsigned i = 0; vm_get(&vm, i, &a) != -ENOENT; i++)
		assert_non_null(strstr(text, a.allowed));
	assert_non_null(strstr(text, "ram: 4G\n"));
	free(text);
	assert_int_equal(vm_load(box->path, &again, &err), 0);
	for (unsigned i = 0;; i++) {
		int rc = vm_get(&vm, i, &a);

		assert_int_equal(vm_get(&again, i, &b), rc);
		if (rc == -ENOENT)
			break;
		assert_string_equal(a.value, b.value);
	}
	vm_free(&vm);
	vm_free(&again);
}

/* A line that is refused, and two things that the error must have in it. */
struct bad {
	const char *key;
	const char *line;
	const char *where;
	const char *what;
};

static const struct bad bads[] = {
	{"ram", "ram: 4X\n", "vm.yaml:5:", "16M to 4T"},
	{"ram", "ram: 15M\n", "vm.yaml:5:", "16M to 4T"},
	{"ram", "ram: 16385K\n", "vm.yaml:5:", "whole MiB"},
	{"ram", "ram:\n", "vm.yaml:5:", "16M to 4T"},
	{"cpus", "cpus: 0\n", "vm.yaml:4:", "1 to 255"},
	{"cpus", "cpus: 256\n", "vm.yaml:4:", "1 to 255"},
	{"cpus", "cpus: 2K\n", "vm.yaml:4:", "1 to 255"},
	{"cpus", "cpus: -1\n", "vm.yaml:4:", "1 to 255"},
	{"cpu:", "cpu: Roam\n", "vm.yaml:3:", "roam, roam-v3 or host"},
	{"os", "os: bsd\n", "vm.yaml:6:", "linux, windows or other"},
	{"firmware", "firmware: efi\n", "vm.yaml:7:", "bios or uefi"},
	{"bus", "bus: ide\n", "vm.yaml:8:", "virtio-blk, virtio-scsi, nvme, sata or usb"},
	{"policy", "policy: none\n", "vm.yaml:9:", "stick or host"},
	{"ssh_port", "ssh_port: 22\n", "vm.yaml:10:", "1024 to 65535"},
	{"ssh_port", "ssh_port: 65536\n", "vm.yaml:10:", "1024 to 65535"},
	{"mac:", "mac: 53:54:00:12:34:56\n", "vm.yaml:11:", "52:54:00:12:34:56"},
	{"mac:", "mac: 52:54:00:12:34\n", "vm.yaml:11:", "52:54:00:12:34:56"},
	{"uuid", "uuid: 0123\n", "vm.yaml:12:", "a UUID"},
	{"size", "size: 2097153\n", "vm.yaml:13:", "multiple of 512"},
	{"size", "size: 17T\n", "vm.yaml:13:", "1M to 16T"},
	{"machine", "machine: q35\n", "vm.yaml:2:", "pc-q35-7.2"},
	{"machine", "machine: pc-q35-7.2,x\n", "vm.yaml:2:", "pc-q35-7.2"},
	{"created", "created: 1\nplace: sdb2\n", "vm.yaml:15:", "absolute path"},
	{"created", "created: 1\ncpus: 3\n", "vm.yaml:15:", "line 4"},
	{"created", "created: 1\ncolour: red\n", "vm.yaml:15:", "'colour' is not a setting"},
	{"created", "created: 1\nnet:\n  card: x\n", "vm.yaml:16:", "'net.card' is not"},
	{"cpus", "", "vm.yaml:", "cpus is missing"},
	{"uuid", "", "vm.yaml:", "uuid is missing"},
	{"cpus", "cpus: [2]\n", "vm.yaml:4:", "list"},
	{"cpus", "cpus: *two\n", "vm.yaml:4:", "alias"},
	{"cpus", "cpus: 2: 3\n", "vm.yaml:4:", "name: value"},
	{"cpus", "\tcpus: 2\n", "vm.yaml:4:", "name: value"},
	{"cpus", "cpus 2\n", "vm.yaml:", "name: value"},
};

static void errors_name_file_line_and_what_is_allowed(void **state)
{
	struct box *box = *state;

	for (size_t i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		char *text = variant(bads[i].key, bads[i].line);
		struct vm vm = {0};
		struct err err = {0};

		put(box, text);
		if (vm_load(box->path, &vm, &err) != -1)
			fail_msg("accepted: %s", bads[i].line);
		if (!strstr(err.text, bads[i].where) || !strstr(err.text, bads[i].what))
			fail_msg("%s: %s", bads[i].line, err.text);
		assert_int_equal(err.status, EXIT_FAILED);
		assert_null(vm.name);
		free(text);
	}
}

static void files_that_are_no_settings(void **state)
{
	struct box *box = *state;
	static const char *const texts[] = {
		"", "- a\n- b\n", "just words\n", "\xff\xfe\x01", "a: {b: {c: {d: {e: 1}}}}\n",
		"{"};
	struct vm vm;
	struct err err;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put(box, texts[i]);
		assert_int_equal(vm_load(box->path, &vm, &err), -1);
		assert_non_null(strstr(err.text, box->path));
	}
	unlink(box->path);
	assert_int_equal(vm_load(box->path, &vm, &err), -1);
	assert_non_null(strstr(err.text, "No such file"));
	assert_int_equal(vm_load(box->folder, &vm, &err), -1);
}

static void set_refuses_what_is_fixed(void **state)
{
	struct box *box = *state;
	struct vm vm;
	struct err err;

	put(box, good);
	assert_int_equal(vm_load(box->path, &vm, &err), 0);
	assert_int_equal(vm_set(&vm, "size", "128G", &err), -1);
	assert_non_null(strstr(err.text, "resize"));
	assert_int_equal(vm_set(&vm, "uuid", vm.uuid, &err), -1);
	assert_int_equal(vm_set(&vm, "place", "/dev/null", &err), -1);
	assert_int_equal(vm_set(&vm, "name", "x", &err), -1);
	assert_non_null(strstr(err.text, "allowed: machine, cpu"));
	assert_int_equal(vm_set(&vm, "ram", "", &err), -1);
	assert_int_equal(vm_set(&vm, "ram", "1G", &err), 0);
	assert_int_equal(vm.ram_bytes, UINT64_C(1) << 30);
	vm_free(&vm);
}

static void a_failed_save_leaves_the_old_file(void **state)
{
	struct box *box = *state;
	struct vm vm;
	struct err err;
	char other[160];

	put(box, good);
	assert_int_equal(vm_load(box->path, &vm, &err), 0);
	snprintf(other, sizeof(other), "%s/nowhere/vm.yaml", box->folder);
	assert_int_equal(vm_save(other, &vm, &err), -1);
	assert_non_null(strstr(err.text, "cannot be written"));
	/* The new file's name is taken by a folder: it cannot be written, the old one stays. */
	snprintf(other, sizeof(other), "%s.new", box->path);
	assert_int_equal(mkdir(other, 0700), 0);
	vm.cpus = 7;
	assert_int_equal(vm_save(box->path, &vm, &err), -1);
	vm_free(&vm);
	assert_int_equal(vm_load(box->path, &vm, &err), 0);
	assert_int_equal(vm.cpus, 2);
	vm_free(&vm);
}

static void names(void **state)
{
	static const char *const bad[] = {"",
					  ".",
					  "..",
					  "a/b",
					  "-x",
					  ".x",
					  "a b",
					  "\xc3\xa9",
					  "x.",
					  "12345678901234567890123456789012345678901234567890"
					  "123456789012345"};
	static const char *const fine[] = {"a", "deb-12", "A.b_c", "0",
					   "1234567890123456789012345678901234567890123456789012"
					   "345678901234"};
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(vm_name_check(bad[i], &err), -1);
		assert_int_equal(err.status, EXIT_USAGE);
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		assert_int_equal(vm_name_check(fine[i], &err), 0);
}

#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOXED(reads_what_is_written),
		BOXED(a_change_keeps_the_rest_of_the_file),
		BOXED(a_fresh_file_says_what_is_allowed),
		BOXED(errors_name_file_line_and_what_is_allowed),
		BOXED(files_that_are_no_settings),
		BOXED(set_refuses_what_is_fixed),
		BOXED(a_failed_save_leaves_the_old_file),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
