/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_kinds.c: every kind of image reads as QEMU reads it, and its holes stay holes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "images.h"

/* No multiple of any cluster, so that every last cluster is cut by the disk's end. */
#define DISK_BYTES ((UINT64_C(16) << 20) + 7 * 512)

/* Who reads it: with qemu-nbd made unreachable, what libqcow reads must still open. */
enum reader { NATIVE, QEMU };

struct kind {
	const char *name;
	const char *format; /* as the source calls it */
	enum reader reader;
	const char *how;	/* the words of qemu-img convert but the two names */
	uint32_t granule_bytes; /* a cluster: what a byte of data may make "data" */
};

static const struct kind kinds[] = {
	{"raw", "raw", NATIVE, "-O raw", 65536},
	{"qcow1", "qcow", NATIVE, "-O qcow", 4096},
	{"qcow1-zlib", "qcow", NATIVE, "-c -O qcow", 65536},
	{"v2", "qcow2", NATIVE, "-O qcow2 -o compat=0.10", 65536},
	{"v2-zlib", "qcow2", NATIVE, "-c -O qcow2 -o compat=0.10", 65536},
	{"v3", "qcow2", NATIVE, "-O qcow2", 65536},
	{"v3-zeros", "qcow2", NATIVE, "-S 0 -O qcow2", 0},
	{"v3-512", "qcow2", NATIVE, "-O qcow2 -o cluster_size=512", 65536},
	{"v3-4k", "qcow2", NATIVE, "-O qcow2 -o cluster_size=4k", 65536},
	{"v3-2M", "qcow2", NATIVE, "-O qcow2 -o cluster_size=2M", 2u << 20},
	{"v3-zlib", "qcow2", NATIVE, "-c -O qcow2", 65536},
	{"v3-512-zlib", "qcow2", NATIVE, "-c -O qcow2 -o cluster_size=512", 65536},
	{"v3-4k-zlib", "qcow2", NATIVE, "-c -O qcow2 -o cluster_size=4k", 65536},
	{"v3-2M-zlib", "qcow2", NATIVE, "-c -O qcow2 -o cluster_size=2M", 2u << 20},
	{"v3-metadata", "qcow2", NATIVE, "-O qcow2 -o preallocation=metadata", 0},
	{"v3-falloc", "qcow2", NATIVE, "-O qcow2 -o preallocation=falloc", 0},
	{"v3-lazy", "qcow2", NATIVE, "-O qcow2 -o lazy_refcounts=on", 65536},
	{"v3-refcount64", "qcow2", NATIVE, "-O qcow2 -o refcount_bits=64", 65536},
	{"v3-zstd", "qcow2", QEMU, "-c -O qcow2 -o compression_type=zstd", 65536},
	{"v3-extended", "qcow2", QEMU, "-O qcow2 -o extended_l2=on", 65536},
	{"v3-data-file", "qcow2", QEMU, "-O qcow2 -o data_file=v3.data", 65536},
	{"vmdk", "vmdk", QEMU, "-O vmdk", 65536},
	{"vmdk-flat", "vmdk", QEMU, "-O vmdk -o subformat=monolithicFlat", 65536},
	{"vmdk-stream", "vmdk", QEMU, "-c -O vmdk -o subformat=streamOptimized", 65536},
	{"vdi", "vdi", QEMU, "-O vdi", 1u << 20},
	{"vhdx", "vhdx", QEMU, "-O vhdx", 0},
	{"vhdx-fixed", "vhdx", QEMU, "-O vhdx -o subformat=fixed", 0},
	{"vpc", "vpc", QEMU, "-O vpc", 2u << 20},
	{"vpc-fixed", "vpc", QEMU, "-O vpc -o subformat=fixed", 0},
	{"vmdk-split", "vmdk", QEMU, "-O vmdk -o subformat=twoGbMaxExtentSparse", 65536},
	{"vmdk-split-flat", "vmdk", QEMU, "-O vmdk -o subformat=twoGbMaxExtentFlat", 65536},
};

static struct sv_source *must_open(const char *path, const struct sv_source_options *opts)
{
	struct sv_source_error err;
	struct sv_source *src;

	if (sv_source_open(path, opts, &src, &err) != 0)
		fail_msg("%s %s", path, err.text);
	return src;
}

static void make_kind(const struct kind *kind, const char *raw)
{
	int status = run_status("qemu-img convert -f raw %s %s kind.img", kind->how, raw);

	/* qemu-img 7.2 writes a whole qcow 1 image with -c, then fails without a word. */
	if (strcmp(kind->name, "qcow1-zlib") == 0)
		assert_in_range(status, 0, 1);
	else
		assert_int_equal(status, 0);
	/* VHD rounds the size up to its geometry: "contents are the same" but for zeros. */
	run("qemu-img compare -f raw -F %s %s kind.img", kind->format, raw);
}

static void expect_reader(const struct kind *kind, const char *path)
{
	const struct sv_source_options no_qemu = {.qemu_nbd = "/nonexistent/qemu-nbd"};
	struct sv_source_error err;
	struct sv_source *src = NULL;

	int r = sv_source_open(path, &no_qemu, &src, &err);
	if (kind->reader == NATIVE) {
		assert_int_equal(r, 0);
		sv_source_close(src);
		return;
	}
	assert_int_equal(r, -ENOPKG);
	assert_null(src);
	assert_non_null(strstr(err.text, "install the package qemu-utils"));
}

static void expect_same_disk(struct sv_source *src, const char *format, const char *path)
{
	run("qemu-img convert -f %s -O raw %s expected.raw", format, path);
	assert_int_equal(src->size_bytes, file_bytes("expected.raw"));
	uint64_t hash = raw_hash("expected.raw");
	assert_int_equal(source_hash(src, 1 << 20), hash);
	assert_int_equal(source_hash(src, 100003), hash); /* requests that fit no cluster */
}

static void test_kind(void **state)
{
	const struct kind *kind = *state;

	make_kind(kind, "disk.raw");
	expect_reader(kind, "kind.img");
	struct sv_source *src = must_open("kind.img", NULL);
	assert_string_equal(src->format, kind->format);
	expect_same_disk(src, kind->format, "kind.img");
	uint64_t data_bytes = source_data_bytes(src);
	if (kind->granule_bytes) {
		/* Every piece of data may touch one granule more than it fills. */
		uint64_t most = kind->granule_bytes > 65536
					? src->size_bytes
					: raw_data_bytes("expected.raw") + kind->granule_bytes;
		assert_true(data_bytes <= most);
		assert_true(data_bytes > 0);
	}
	sv_source_close(src);
	unlink("kind.img");
}

/* 256 MiB with two small writes: nearly all of it must be told to be a hole, whatever the cluster.
 */
static void test_sparse_kind(void **state)
{
	const struct kind *kind = *state;

	if (!kind->granule_bytes)
		return;
	make_kind(kind, "sparse.raw");
	struct sv_source *src = must_open("kind.img", NULL);
	uint64_t data_bytes = source_data_bytes(src);
	assert_in_range(data_bytes, 2 * 512, 3 * (2u << 20));
	sv_source_close(src);
	unlink("kind.img");
}

static void expect_chain(const char *top, const char *format)
{
	struct sv_source *src = must_open(top, NULL);

	expect_same_disk(src, format, top);
	assert_true(source_data_bytes(src) < src->size_bytes);
	sv_source_close(src);
}

/* qcow2 on qcow2 on raw, each larger than the one below, with zero clusters over data. */
static void test_chain_qcow2(void **state)
{
	(void)state;
	run("qemu-img create -q -f qcow2 -b disk.raw -F raw mid.qcow2 30M");
	run("qemu-io -f qcow2 -c write\t-P\t7\t1M\t64k mid.qcow2");
	run("qemu-io -f qcow2 -c write\t-P\t8\t27M\t300k mid.qcow2");
	run("qemu-io -f qcow2 -c write\t-z\t3M\t2M mid.qcow2");
	run("qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 -o cluster_size=4k top.qcow2 40M");
	run("qemu-io -f qcow2 -c write\t-P\t9\t1M\t4k top.qcow2");
	run("qemu-io -f qcow2 -c write\t-z\t11M\t3M top.qcow2");
	run("qemu-io -f qcow2 -c discard\t8M\t1M top.qcow2");
	run("qemu-io -f qcow2 -c write\t-P\t10\t39M\t700k top.qcow2");
	expect_chain("top.qcow2", "qcow2");
}

/* An overlay smaller than what it lies on. */
static void test_chain_smaller(void **state)
{
	(void)state;
	run("qemu-img create -q -f qcow2 -b disk.raw -F raw small.qcow2 5M");
	run("qemu-io -f qcow2 -c write\t-P\t7\t1M\t64k small.qcow2");
	expect_chain("small.qcow2", "qcow2");
}

/* The names in an image are relative to its folder, not to ours. */
static void test_chain_in_folder(void **state)
{
	(void)state;
	run("mkdir -p sub/deeper");
	run("cp disk.raw sub/base.raw");
	run("qemu-img create -q -f qcow2 -b ../base.raw -F raw sub/deeper/top.qcow2");
	run("qemu-io -f qcow2 -c write\t-P\t7\t1M\t64k sub/deeper/top.qcow2");
	expect_chain("sub/deeper/top.qcow2", "qcow2");
}

/* qcow 1 overlays have tables that libqcow misreads: QEMU reads that layer. */
static void test_chain_qcow1(void **state)
{
	const struct sv_source_options no_qemu = {.qemu_nbd = "/nonexistent/qemu-nbd"};
	struct sv_source *src;

	(void)state;
	run("qemu-img convert -f raw -O qcow disk.raw base.qcow");
	run("qemu-img create -q -f qcow -b base.qcow -F qcow top.qcow");
	run("qemu-io -f qcow -c write\t-P\t7\t1M\t64k top.qcow");
	run("qemu-io -f qcow -c write\t-P\t9\t13M\t100k top.qcow");
	assert_int_equal(sv_source_open("top.qcow", &no_qemu, &src, NULL), -ENOPKG);
	expect_chain("top.qcow", "qcow");
}

/* Layers of three readers in one chain: libqcow over QEMU over QEMU over raw. */
static void test_chain_mixed(void **state)
{
	(void)state;
	run("qemu-img create -q -f qcow2 -b disk.raw -F raw -o extended_l2=on ext.qcow2 26M");
	run("qemu-io -f qcow2 -c write\t-P\t7\t1026k\t4k ext.qcow2");
	run("qemu-io -f qcow2 -c write\t-z\t5M\t34k ext.qcow2");
	run("qemu-img create -q -f qcow2 -b ext.qcow2 -F qcow2 -o compression_type=zstd "
	    "zstd.qcow2 28M");
	run("qemu-io -f qcow2 -c write\t-c\t-P\t3\t2M\t64k zstd.qcow2");
	run("qemu-io -f qcow2 -c write\t-z\t9M\t64k zstd.qcow2");
	run("qemu-img create -q -f qcow2 -b zstd.qcow2 -F qcow2 mix.qcow2 30M");
	run("qemu-io -f qcow2 -c write\t-P\t5\t2112k\t64k mix.qcow2");
	expect_chain("mix.qcow2", "qcow2");
}

/* QEMU is told the format, and to leave the backing file of a layer alone. */
static void test_what_qemu_is_told(void **state)
{
	static const char script[] = "#!/bin/sh\necho \"$@\" >told\nexec qemu-nbd \"$@\"\n";
	const struct sv_source_options spy = {.qemu_nbd = "./spy"};
	char told[512] = "";

	(void)state;
	FILE *f = fopen("spy", "w");
	assert_true(f && fputs(script, f) >= 0 && fclose(f) == 0);
	run("chmod +x spy");
	run("qemu-img create -q -f qcow2 -b disk.raw -F raw -o extended_l2=on told.qcow2");
	struct sv_source *src = must_open("told.qcow2", &spy);
	assert_int_equal(source_hash(src, 1 << 20), raw_hash("disk.raw"));
	sv_source_close(src);
	f = fopen("told", "r");
	assert_true(f && fgets(told, sizeof(told), f) && fclose(f) == 0);
	assert_non_null(strstr(told, "--read-only"));
	assert_non_null(strstr(told, "json:{\"driver\":\"qcow2\""));
	assert_non_null(strstr(told, "\"backing\":null"));
}

/* A qcow2 over a VMDK. */
static void test_chain_vmdk(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O vmdk disk.raw base.vmdk");
	run("qemu-img create -q -f qcow2 -b base.vmdk -F vmdk over.qcow2");
	run("qemu-io -f qcow2 -c write\t-P\t7\t1M\t64k over.qcow2");
	expect_chain("over.qcow2", "qcow2");
}

/* VMDK on VMDK on VMDK: the parents are found here, not by QEMU. */
static void test_chain_of_vmdks(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O vmdk disk.raw v0.vmdk");
	run("qemu-img create -q -f vmdk -b v0.vmdk -F vmdk v1.vmdk");
	run("qemu-io -f vmdk -c write\t-P\t7\t1M\t64k v1.vmdk");
	run("qemu-img create -q -f vmdk -b v1.vmdk -F vmdk v2.vmdk");
	run("qemu-io -f vmdk -c write\t-P\t8\t3M\t200k v2.vmdk");
	expect_chain("v2.vmdk", "vmdk");
}

/* Compressed and plain clusters side by side, some rewritten. */
static void test_mixed_clusters(void **state)
{
	(void)state;
	run("qemu-img convert -c -f raw -O qcow2 disk.raw both.qcow2");
	run("qemu-io -f qcow2 -c write\t-P\t7\t1M\t192k both.qcow2");
	run("qemu-io -f qcow2 -c write\t-P\t8\t9000k\t3k both.qcow2");
	run("qemu-io -f qcow2 -c write\t-c\t-P\t9\t12M\t64k both.qcow2");
	run("qemu-io -f qcow2 -c write\t-z\t15M\t128k both.qcow2");
	expect_chain("both.qcow2", "qcow2");
}

/* Internal snapshots change nothing of the disk as it is now. */
static void test_snapshots(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O qcow2 disk.raw snap.qcow2");
	run("qemu-img snapshot -c before snap.qcow2");
	run("qemu-io -f qcow2 -c write\t-P\t7\t1M\t192k snap.qcow2");
	expect_chain("snap.qcow2", "qcow2");
}

/* Gives the file a loop device, which goes when the descriptor is closed. Returns that, or -1 where
 * there are no loop devices. */
static int attach_loop(const char *path, char *name, size_t name_size)
{
	struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int fd = -1;

	config.fd = (uint32_t)open(path, O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 20 && control >= 0 && fd < 0; i++) { /* others take them, too */
		snprintf(name, name_size, "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
		fd = open(name, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) != 0) {
			close(fd);
			fd = -1;
		}
	}
	close((int)config.fd);
	close(control);
	return fd;
}

/* A raw disk, a qcow2 image and a VDI image that lie on a block device. */
static void test_block_devices(void **state)
{
	static const char *const formats[] = {"raw", "qcow2", "vdi"};
	char name[32];

	(void)state;
	uint64_t hash = raw_hash("disk.raw");
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		run("qemu-img convert -f raw -O %s disk.raw loop.img", formats[i]);
		int loop = attach_loop("loop.img", name, sizeof(name));
		if (loop < 0)
			skip(); /* no loop devices, or no right to them */
		struct sv_source *src = must_open(name, NULL);
		assert_string_equal(src->format, formats[i]);
		assert_int_equal(src->size_bytes, DISK_BYTES);
		assert_int_equal(source_hash(src, 1 << 20), hash);
		assert_true(source_data_bytes(src) <= src->size_bytes);
		sv_source_close(src);
		close(loop);
	}
}

/* Names that would be options, protocols or JSON if they were parsed by anybody. */
static void test_odd_names(void **state)
{
	static const char *const names[] = {"./a,driver=raw.img", "./nbd:x:1.img",
					    "./json:{}.img",	  "./-x.img",
					    "./\"q\\.img",	  "./\xc3\xbc.img"};

	(void)state;
	run("qemu-img convert -f raw -O vmdk disk.raw base.vmdk");
	uint64_t hash = raw_hash("disk.raw");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		run("cp base.vmdk %s", names[i]);
		struct sv_source *src = must_open(names[i], NULL);
		assert_int_equal(source_hash(src, 1 << 20), hash);
		sv_source_close(src);
	}
}

static int begin(void **state)
{
	int r = images_begin(state);

	if (r != 0)
		return r;
	make_raw("disk.raw", DISK_BYTES, 1);
	make_raw("sparse.raw", 512, 2);
	truncate("sparse.raw", INT64_C(1) << 28);
	patch("sparse.raw", 177 << 20, "data", 4);
	return 0;
}

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct CMUnitTest others[] = {
	cmocka_unit_test(test_chain_qcow2),	cmocka_unit_test(test_chain_smaller),
	cmocka_unit_test(test_chain_in_folder), cmocka_unit_test(test_chain_qcow1),
	cmocka_unit_test(test_chain_mixed),	cmocka_unit_test(test_chain_vmdk),
	cmocka_unit_test(test_chain_of_vmdks),	cmocka_unit_test(test_mixed_clusters),
	cmocka_unit_test(test_snapshots),	cmocka_unit_test(test_block_devices),
	cmocka_unit_test(test_odd_names),	cmocka_unit_test(test_what_qemu_is_told),
};

#define OTHERS (sizeof(others) / sizeof(others[0]))

int main(void)
{
	static char names[2 * KINDS][48];
	static struct CMUnitTest tests[2 * KINDS + OTHERS];

	for (size_t i = 0; i < KINDS; i++) {
		snprintf(names[2 * i], sizeof(names[0]), "kind %s", kinds[i].name);
		snprintf(names[2 * i + 1], sizeof(names[0]), "holes of %s", kinds[i].name);
		tests[2 * i] =
			(struct CMUnitTest){names[2 * i], test_kind, NULL, NULL, (void *)&kinds[i]};
		tests[2 * i + 1] = (struct CMUnitTest){names[2 * i + 1], test_sparse_kind, NULL,
						       NULL, (void *)&kinds[i]};
	}
	memcpy(tests + 2 * KINDS, others, sizeof(others));
	return cmocka_run_group_tests_name("source_kinds", tests, begin, images_end);
}
