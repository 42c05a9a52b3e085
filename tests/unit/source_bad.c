/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_bad.c: what is no image, or a damaged one, gives one clear error and never wrong bytes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "images.h"
#include "prng.h"

#define DISK_BYTES ((UINT64_C(3) << 20) + 5 * 512)

/* Offsets in a qcow2 header. */
enum { VERSION = 4, CLUSTER_BITS = 20, SIZE = 24, CRYPT = 32, L1_ENTRIES = 36, L1_OFF = 40 };
enum { FEATURES = 72, HEADER_BYTES = 100 };

static void expect_error(const char *path, int value, const char *words)
{
	struct sv_source_error err = {""};
	struct sv_source *src = NULL;

	int r = sv_source_open(path, NULL, &src, &err);
	if (r != value || src || !strstr(err.text, words))
		fail_msg("%s: %d instead of %d, \"%s\" has no \"%s\"", path, r, value, err.text,
			 words);
	assert_null(strchr(err.text, '\n'));
}

static void write_file(const char *path, const void *bytes, size_t len_bytes, uint64_t size_bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len_bytes), len_bytes);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	close(fd);
}

static void put(const char *path, uint64_t off_bytes, uint64_t value, size_t len_bytes)
{
	uint8_t raw[8];

	for (size_t i = 0; i < len_bytes; i++)
		raw[i] = (uint8_t)(value >> 8 * (len_bytes - 1 - i));
	patch(path, off_bytes, raw, len_bytes);
}

static uint64_t get64(const char *path, uint64_t off_bytes)
{
	uint8_t raw[8];
	uint64_t value = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, raw, sizeof(raw), (off_t)off_bytes), sizeof(raw));
	close(fd);
	for (size_t i = 0; i < sizeof(raw); i++)
		value = value << 8 | raw[i];
	return value;
}

#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)

/* Where the L2 entry of a cluster lies that its first L2 table covers. */
static uint64_t l2_entry_at(const char *path, unsigned index)
{
	return (get64(path, get64(path, L1_OFF)) & OFFSET_MASK) + 8 * index;
}

static void test_not_an_image(void **state)
{
	(void)state;
	expect_error("nothing.img", -ENOENT, "cannot be opened: No such file");
	expect_error(".", -EISDIR, "is a folder");
	expect_error("/dev/null", -EMEDIUMTYPE, "neither a file nor a block device");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	expect_error("fifo", -EMEDIUMTYPE, "neither a file nor a block device");
	write_file("empty", "", 0, 0);
	expect_error("empty", -EINVAL, "its size is zero");
	write_file("text", "hello", 5, 5);
	expect_error("text", -EINVAL, "not a multiple of 512");
	write_file("odd", "hello", 5, 65536 + 511);
	expect_error("odd", -EINVAL, "not a multiple of 512");
}

static void test_archives(void **state)
{
	static const struct {
		const char *name;
		uint64_t off_bytes;
		const char *magic;
		size_t len_bytes;
	} cases[] = {
		{"gzip", 0, "\x1f\x8b\x08", 3},
		{"xz", 0, "\xfd\x37zXZ\0", 6},
		{"zstd", 0, "\x28\xb5\x2f\xfd", 4},
		{"lz4", 0, "\x04\x22\x4d\x18", 4},
		{"bzip2", 0, "BZh91AY&SY", 10},
		{"zip", 0, "PK\3\4", 4},
		{"7-Zip", 0, "7z\xbc\xaf\x27\x1c", 6},
		{"rar", 0, "Rar!\x1a\x07", 6},
		{"tar", 257, "ustar", 5},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char words[64];
		snprintf(words, sizeof(words), "an archive, %s", cases[i].name);
		write_file("archive", "", 0, 65536);
		patch("archive", cases[i].off_bytes, cases[i].magic, cases[i].len_bytes);
		expect_error("archive", -EMEDIUMTYPE, words);
		expect_error("archive", -EMEDIUMTYPE, "unpack it first");
	}
	/* The real thing, of the two packers that every Debian has. */
	run("cp disk.raw some.raw");
	run("gzip -k some.raw");
	expect_error("some.raw.gz", -EMEDIUMTYPE, "an archive, gzip; unpack it first");
	run("tar cf some.ova some.raw");
	expect_error("some.ova", -EMEDIUMTYPE, "unpack it first");
}

static void test_header(void **state)
{
	static const struct {
		uint64_t off_bytes, value;
		size_t len_bytes;
		int error;
		const char *words;
	} cases[] = {
		{VERSION, 4, 4, -ENOTSUP, "version that is not known"},
		{CLUSTER_BITS, 8, 4, -EBADMSG, "size of its clusters"},
		{CLUSTER_BITS, 22, 4, -EBADMSG, "size of its clusters"},
		{CLUSTER_BITS, 0xffffffff, 4, -EBADMSG, "size of its clusters"},
		{SIZE, 0, 8, -EINVAL, "its size is zero"},
		{SIZE, DISK_BYTES + 1, 8, -EINVAL, "not a multiple of 512"},
		{SIZE, UINT64_MAX - 511, 8, -EINVAL, "larger than 16 TiB"},
		{SIZE, UINT64_C(1) << 40, 8, -EBADMSG, "L1 table is too small"},
		{L1_ENTRIES, 0, 4, -EBADMSG, "L1 table is too small"},
		{L1_ENTRIES, 0xffffffff, 4, -EBADMSG, "larger than 32 MiB"},
		{L1_ENTRIES, 4 << 20, 4, -EBADMSG, "L1 table lies beyond its end"},
		{L1_OFF, UINT64_C(1) << 60, 8, -EBADMSG, "L1 table lies beyond its end"},
		{L1_OFF, UINT64_MAX - 7, 8, -EBADMSG, "L1 table lies beyond its end"},
		{CRYPT, 1, 4, -ENOTSUP, "is encrypted (AES)"},
		{CRYPT, 2, 4, -ENOTSUP, "is encrypted (LUKS)"},
		{FEATURES, 2, 8, -EBADMSG, "is marked as corrupt"},
		{FEATURES, UINT64_C(1) << 40, 8, -ENOTSUP, "bits 0x10000000000"},
		{HEADER_BYTES, 0, 4, -EBADMSG, "length of its header"},
		{HEADER_BYTES, 0xfffffff8, 4, -EBADMSG, "length of its header"},
		{8, 1 << 30, 8, -1, NULL}, /* a backing name's offset without a length: none */
	};

	(void)state;
	run("qemu-img convert -f raw -O qcow2 disk.raw good.qcow2");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run("cp good.qcow2 bad.qcow2");
		put("bad.qcow2", cases[i].off_bytes, cases[i].value, cases[i].len_bytes);
		if (cases[i].words)
			expect_error("bad.qcow2", cases[i].error, cases[i].words);
	}
	put("bad.qcow2", 16, 1024, 4);
	expect_error("bad.qcow2", -EBADMSG, "name of its backing file is out of bounds");
	put("bad.qcow2", 16, 1023, 4);
	expect_error("bad.qcow2", -EBADMSG, "name of its backing file is out of bounds");
	put("bad.qcow2", 8, 0, 8);	  /* offset 0: none */
	put("bad.qcow2", FEATURES, 1, 8); /* dirty: only the reference counts */
	struct sv_source *src;
	assert_int_equal(sv_source_open("bad.qcow2", NULL, &src, NULL), 0);
	assert_int_equal(source_hash(src, 1 << 20), raw_hash("disk.raw"));
	sv_source_close(src);
}

static void test_header_v1(void **state)
{
	static const struct {
		uint64_t off_bytes, value;
		size_t len_bytes;
		int error;
		const char *words;
	} cases[] = {
		{32, 8, 1, -EBADMSG, "size of its clusters"},
		{32, 17, 1, -EBADMSG, "size of its clusters"},
		{33, 5, 1, -EBADMSG, "size of its clusters"},
		{33, 255, 1, -EBADMSG, "size of its clusters"},
		{SIZE, 0, 8, -EINVAL, "its size is zero"},
		{SIZE, UINT64_C(15) << 40, 8, -EBADMSG, "larger than 32 MiB"},
		{36, 1, 4, -ENOTSUP, "is encrypted (AES)"},
		{40, UINT64_MAX, 8, -EBADMSG, "L1 table lies beyond its end"},
	};

	(void)state;
	run("qemu-img convert -f raw -O qcow disk.raw good.qcow");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run("cp good.qcow bad.qcow");
		put("bad.qcow", cases[i].off_bytes, cases[i].value, cases[i].len_bytes);
		expect_error("bad.qcow", cases[i].error, cases[i].words);
	}
}

/* Reads all; 0, or the first error, which must have a clause. */
static int read_through(struct sv_source *src, bool *ret_right)
{
	static uint8_t got[DISK_BYTES], want[DISK_BYTES];
	int fd = open("disk.raw", O_RDONLY | O_CLOEXEC);
	bool right = true;

	assert_int_equal(read(fd, want, sizeof(want)), sizeof(want));
	close(fd);
	for (uint64_t off = 0; off < src->size_bytes && off < DISK_BYTES; off += 4096) {
		size_t len = DISK_BYTES - off < 4096 ? (size_t)(DISK_BYTES - off) : 4096;
		int r = sv_source_read(src, got + off, len, off);
		if (r < 0) {
			assert_true(src->error.text[0] != '\0');
			return r;
		}
		right = right && memcmp(got + off, want + off, len) == 0;
	}
	*ret_right = right && src->size_bytes >= DISK_BYTES;
	return 0;
}

/* Cut anywhere, an image fails to open, or to read, or loses nothing: never wrong bytes. */
static void test_truncated(void **state)
{
	static const char *const how[] = {"-O qcow2 -o cluster_size=4k",    "-O qcow2",
					  "-c -O qcow2 -o cluster_size=4k", "-c -O qcow2",
					  "-O qcow2 -o compat=0.10",	    "-O qcow"};

	(void)state;
	for (size_t k = 0; k < sizeof(how) / sizeof(how[0]); k++) {
		unsigned failed = 0, cuts = 0;
		run("qemu-img convert -f raw %s disk.raw whole.img", how[k]);
		uint64_t whole = file_bytes("whole.img");
		run("cp whole.img cut.img");
		/* From the end: the last clusters byte by byte, so to say, then in steps. */
		for (uint64_t cut = 1; cut < whole; cut += cut < 70000 ? 700 : 9973, cuts++) {
			struct sv_source *src;
			bool right = false;
			assert_int_equal(truncate("cut.img", (off_t)(whole - cut)), 0);
			int r = sv_source_open("cut.img", NULL, &src, NULL);
			if (r == 0) {
				r = read_through(src, &right);
				sv_source_close(src);
			}
			if (r == 0 && !right)
				fail_msg("%s cut by %llu reads wrong", how[k],
					 (unsigned long long)cut);
			failed += r < 0;
		}
		assert_true(failed > cuts / 2);
		unlink("whole.img");
	}
}

/* QEMU reads zeros behind the end of most of its formats; each cut must be found all the same. */
static void test_truncated_for_qemu(void **state)
{
	static const struct {
		const char *how;
		const char *data; /* the file that is cut */
	} kinds[] = {
		{"-c -O qcow2 -o compression_type=zstd", "cut.img"},
		{"-O qcow2 -o extended_l2=on", "cut.img"},
		{"-O qcow2 -o data_file=cut.data", "cut.data"},
		{"-O vmdk", "cut.img"},
		{"-O vmdk -o subformat=monolithicFlat", "cut-flat.img"},
		{"-O vmdk -o subformat=twoGbMaxExtentSparse", "cut-s001.img"},
		{"-c -O vmdk -o subformat=streamOptimized", "cut.img"},
		{"-O vdi", "cut.img"},
		{"-O vhdx", "cut.img"},
		{"-O vpc", "cut.img"},
	};

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		unsigned failed = 0;
		run("qemu-img convert -f raw %s disk.raw cut.img", kinds[k].how);
		uint64_t whole = file_bytes(kinds[k].data);
		for (uint64_t cut = 512; cut < whole; cut += cut < 4096 ? 512 : whole / 20) {
			struct sv_source *src;
			bool right = false;
			assert_int_equal(truncate(kinds[k].data, (off_t)(whole - cut)), 0);
			int r = sv_source_open("cut.img", NULL, &src, NULL);
			if (r == 0) {
				r = read_through(src, &right);
				sv_source_close(src);
			}
			if (r == 0 && !right)
				fail_msg("%s cut by %llu reads wrong", kinds[k].how,
					 (unsigned long long)cut);
			failed += r < 0;
		}
		if (failed < 10)
			fail_msg("%s: only %u cuts were found", kinds[k].how, failed);
		unlink("cut.img");
	}
}

static void expect_read_error(const char *path, const char *words)
{
	struct sv_source_error err;
	struct sv_source *src;
	enum sv_extent kind;
	uint64_t len;
	bool right;

	if (sv_source_open(path, NULL, &src, &err) != 0)
		fail_msg("%s %s", path, err.text);
	assert_int_equal(read_through(src, &right), -EBADMSG);
	if (!strstr(src->error.text, words))
		fail_msg("\"%s\" has no \"%s\"", src->error.text, words);
	int r = 0;
	for (uint64_t off = 0; r == 0 && off < src->size_bytes; off += len)
		r = sv_source_next(src, off, &kind, &len);
	/* Inside a compressed cluster only a read can know. */
	assert_true(r == -EBADMSG || (r == 0 && strstr(words, "decompress")));
	sv_source_close(src);
}

static void test_tables(void **state)
{
	const uint64_t copied = UINT64_C(1) << 63, packed = UINT64_C(1) << 62;
	const struct {
		uint64_t value;
		const char *words;
	} entries[] = {
		{copied | UINT64_C(1) << 50, "beyond the end of the file"},
		{copied | (UINT64_C(1) << 55), "beyond the end of the file"},
		{copied | 65536 | 512, "L2 entry is not valid"},
		{copied | 65536 | UINT64_C(1) << 57, "beyond the end of the file"},
		{packed | UINT64_C(1) << 53, "compressed cluster lies outside"},
		{packed | 65536, "does not decompress"},
	};

	(void)state;
	run("qemu-img convert -f raw -S 0 -O qcow2 disk.raw good.qcow2");
	uint64_t l1_off = get64("good.qcow2", L1_OFF);
	uint64_t l2_entry = l2_entry_at("good.qcow2", 17);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		run("cp good.qcow2 bad.qcow2");
		put("bad.qcow2", l2_entry, entries[i].value, 8);
		expect_read_error("bad.qcow2", entries[i].words);
	}
	run("cp good.qcow2 bad.qcow2");
	put("bad.qcow2", l1_off, copied | UINT64_C(1) << 52, 8);
	expect_read_error("bad.qcow2", "L2 table lies outside the file");
}

/* Version 2 has no zero clusters: that bit is damage there. */
static void test_zero_bit_in_v2(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -S 0 -O qcow2 -o compat=0.10 disk.raw bad.qcow2");
	uint64_t at = l2_entry_at("bad.qcow2", 17);
	put("bad.qcow2", at, get64("bad.qcow2", at) | 1, 8);
	expect_read_error("bad.qcow2", "L2 entry is not valid");
}

/* libqcow serves memory that it never wrote for a stream that ends early (Q3). */
static void test_short_stream(void **state)
{
	(void)state;
	run("qemu-img convert -c -f raw -O qcow2 disk.raw short.qcow2");
	unsigned patched = 0;
	for (unsigned i = 0; i < DISK_BYTES / 65536; i++) {
		uint64_t entry = get64("short.qcow2", l2_entry_at("short.qcow2", i));
		if (!(entry >> 62 & 1))
			continue;
		/* An empty final block: a valid stream of no bytes. */
		patch("short.qcow2", entry & ((UINT64_C(1) << 54) - 1), "\3\0", 2);
		patched++;
	}
	assert_true(patched > 0);
	expect_read_error("short.qcow2", "does not decompress");
}

static void test_chain_errors(void **state)
{
	(void)state;
	run("cp disk.raw base.raw");
	run("qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2");
	unlink("base.raw");
	expect_error("top.qcow2", -ENOENT, "its backing file base.raw cannot be opened: No such");
	run("qemu-img create -q -f qcow2 self.qcow2 1M");
	run("qemu-img rebase -u -f qcow2 -b self.qcow2 -F qcow2 self.qcow2");
	expect_error("self.qcow2", -ELOOP, "chain is a circle");
	run("qemu-img create -q -f qcow2 a.qcow2 1M");
	run("qemu-img create -q -f qcow2 -u -b a.qcow2 -F qcow2 b.qcow2 1M");
	assert_int_equal(link("b.qcow2", "c.qcow2"), 0);
	run("qemu-img rebase -u -f qcow2 -b c.qcow2 -F qcow2 a.qcow2");
	expect_error("a.qcow2", -ELOOP, "chain is a circle");
	for (const char *const *name =
		     (const char *const[]){"nbd:localhost:10809", "json:{}", "http://x/y", NULL};
	     *name; name++) {
		run("qemu-img rebase -u -f qcow2 -b %s -F raw a.qcow2", *name);
		expect_error("a.qcow2", -ENOTSUP, "not a file of this host");
	}
	write_file("base.qcow2", "no image at all", 15, 65536);
	run("qemu-img rebase -u -f qcow2 -b base.qcow2 -F qcow2 a.qcow2");
	expect_error("a.qcow2", -EBADMSG, "its backing file base.qcow2 is no qcow image");
	run("qemu-img rebase -u -f qcow2 -b file:disk.raw -F raw a.qcow2");
	struct sv_source *src;
	assert_int_equal(sv_source_open("a.qcow2", NULL, &src, NULL), 0);
	sv_source_close(src);
}

/* Replaces the first `from` in a file by `to`, of the same length. */
static void replace_text(const char *path, const char *from, const char *to)
{
	size_t size = file_bytes(path);
	char *text = malloc(size);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(text && read(fd, text, size) == (ssize_t)size);
	close(fd);
	char *at = memmem(text, size, from, strlen(from));
	assert_non_null(at);
	patch(path, (uint64_t)(at - text), to, strlen(to));
	free(text);
}

/* QEMU would follow a circle of VMDKs until its memory ends. */
static void test_vmdk_parents(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O vmdk disk.raw v0.vmdk");
	run("qemu-img create -q -f vmdk -b v0.vmdk -F vmdk v1.vmdk");
	run("cp v1.vmdk v2.vmdk");
	replace_text("v1.vmdk", "v0.vmdk", "v1.vmdk");
	expect_error("v1.vmdk", -ELOOP, "chain is a circle");
	replace_text("v1.vmdk", "v1.vmdk", "v9.vmdk");
	expect_error("v1.vmdk", -ENOENT, "its backing file v9.vmdk cannot be opened");
	replace_text("v2.vmdk", "parentFileNameHint", "parentFileNameHins");
	expect_error("v2.vmdk", -ENOTSUP, "which it does not name");
	put("v2.vmdk", 28, UINT64_MAX, 8);
	expect_error("v2.vmdk", -EBADMSG, "descriptor lies beyond its end");
}

/* A VHD that has only changes must not be read as if it had all. */
static void test_differencing_vhd(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O vpc disk.raw diff.vhd");
	put("diff.vhd", 60, 4, 4);
	expect_error("diff.vhd", -ENOTSUP, "is a differencing VHD");
}

static void test_other_formats(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O parallels disk.raw disk.hdd");
	expect_error("disk.hdd", -ENOTSUP, "is a Parallels image; convert it first");
	run("qemu-img convert -f raw -O qed disk.raw disk.qed");
	expect_error("disk.qed", -ENOTSUP, "is a QED image; convert it first");
}

/* The base is what its overlay says, even where its content looks like an image. */
static void test_backing_format_is_obeyed(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O qcow2 disk.raw inner");
	run("qemu-img create -q -f qcow2 -b inner -F raw outer.qcow2");
	struct sv_source *src;
	assert_int_equal(sv_source_open("outer.qcow2", NULL, &src, NULL), 0);
	assert_int_equal(source_hash(src, 1 << 20), raw_hash("inner"));
	sv_source_close(src);
	const struct sv_source_options as_raw = {.format = "raw"};
	assert_int_equal(sv_source_open("inner", &as_raw, &src, NULL), 0);
	assert_int_equal(source_hash(src, 1 << 20), raw_hash("inner"));
	sv_source_close(src);
	const struct sv_source_options unknown = {.format = "floppy"};
	assert_int_equal(sv_source_open("inner", &unknown, &src, NULL), -EINVAL);
}

static void test_long_chain(void **state)
{
	(void)state;
	run("qemu-img create -q -f qcow2 n0 1M");
	for (int i = 1; i <= 32; i++)
		run("qemu-img create -q -f qcow2 -u -b n%d -F qcow2 n%d 1M", i - 1, i);
	struct sv_source *src;
	assert_int_equal(sv_source_open("n31", NULL, &src, NULL), 0);
	sv_source_close(src);
	expect_error("n32", -ELOOP, "its backing file n0 ends a chain of more than 32 images");
}

static void test_encrypted(void **state)
{
	(void)state;
	/* On a busy machine qemu-img may fail to measure how fast it derives keys. */
	int status = 1;
	for (int i = 0; i < 20 && status != 0; i++)
		status = run_status(
			"qemu-img convert --object secret,id=s,data=abc -f raw -O qcow2 "
			"-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 "
			"disk.raw luks.qcow2");
	assert_int_equal(status, 0);
	expect_error("luks.qcow2", -ENOTSUP, "is encrypted (LUKS); decrypt it first");
}

/* What QEMU says of an image it cannot open, and nothing is left of the attempt. */
static void test_qemu_refuses(void **state)
{
	(void)state;
	run("qemu-img convert -f raw -O vmdk disk.raw bad.vmdk");
	assert_int_equal(truncate("bad.vmdk", 1024), 0);
	expect_error("bad.vmdk", -EBADMSG, "is truncated or damaged");
	run("qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat disk.raw flat.vmdk");
	unlink("flat-flat.vmdk");
	expect_error("flat.vmdk", -ENOENT, "its extent flat-flat.vmdk cannot be opened");
	run("qemu-img convert -f raw -O qcow2 -o data_file=ext.data disk.raw ext.qcow2");
	unlink("ext.data");
	expect_error("ext.qcow2", -ENOENT, "its data file ext.data cannot be opened");
	write_file("bad.vhdx", "vhdxfile", 8, 1 << 20);
	expect_error("bad.vhdx", -EBADMSG, "cannot be opened by QEMU as vhdx: ");
	errno = 0;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_no_qemu(void **state)
{
	const struct sv_source_options liar = {.qemu_nbd = "/bin/false"};
	struct sv_source_error err;
	struct sv_source *src;

	(void)state;
	run("qemu-img convert -f raw -O vdi disk.raw disk.vdi");
	assert_int_equal(sv_source_open("disk.vdi", &liar, &src, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "cannot be opened by QEMU as vdi"));
	char *path = strdup(getenv("PATH"));
	for (const char *const *value = (const char *const[]){"", ":", "/nonexistent", NULL};
	     *value; value++) {
		assert_int_equal(setenv("PATH", *value, 1), 0);
		expect_error("disk.vdi", -ENOPKG, "needs QEMU's qemu-nbd, which is not here");
	}
	unsetenv("PATH");
	expect_error("disk.vdi", -ENOPKG, "install the package qemu-utils");
	setenv("PATH", path, 1);
	free(path);
}

/* A qemu-nbd that dies is an error at once, not a wait. */
static void test_qemu_dies(void **state)
{
	struct sv_source *src;
	enum sv_extent kind;
	uint64_t len;
	char path[64], buf[512];
	int child = 0;

	(void)state;
	run("qemu-img convert -f raw -O vdi disk.raw dies.vdi");
	assert_int_equal(sv_source_open("dies.vdi", NULL, &src, NULL), 0);
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *f = fopen(path, "r");
	assert_true(f && fscanf(f, "%d", &child) == 1 && child > 1);
	fclose(f);
	kill(child, SIGKILL);
	assert_int_equal(sv_source_read(src, buf, sizeof(buf), 0), -EIO);
	assert_non_null(strstr(src->error.text, "made QEMU's qemu-nbd stop near byte 0"));
	assert_int_equal(sv_source_next(src, 0, &kind, &len), -EIO);
	sv_source_close(src);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_written_by_qemu(void **state)
{
	char sock[64];
	const char *const argv[] = {"qemu-nbd", "--format=raw", sock, "busy.raw", NULL};
	struct sv_source *src;
	pid_t pid;
	int r = 0;

	(void)state;
	char dir[40];
	assert_non_null(getcwd(dir, sizeof(dir)));
	snprintf(sock, sizeof(sock), "--socket=%s/sock", dir);
	run("cp disk.raw busy.raw");
	assert_int_equal(posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ), 0);
	for (int i = 0; i < 1000 && r == 0; i++) {
		usleep(10000);
		r = sv_source_open("busy.raw", NULL, &src, NULL);
		if (r == 0)
			sv_source_close(src);
	}
	kill(pid, SIGKILL); /* a SIGTERM that comes early is lost on qemu-nbd */
	waitpid(pid, NULL, 0);
	assert_int_equal(r, -EBUSY);
	assert_int_equal(sv_source_open("busy.raw", NULL, &src, NULL), 0);
	sv_source_close(src);
}

static void test_shrinks_while_read(void **state)
{
	struct sv_source *src;
	uint8_t buf[4096];

	(void)state;
	run("cp disk.raw shrink.raw");
	assert_int_equal(sv_source_open("shrink.raw", NULL, &src, NULL), 0);
	assert_int_equal(truncate("shrink.raw", 8192), 0);
	assert_int_equal(sv_source_read(src, buf, sizeof(buf), 4096), 0);
	assert_int_equal(sv_source_read(src, buf, sizeof(buf), 8192), -EIO);
	assert_non_null(strstr(src->error.text, "became shorter"));
	assert_int_equal(sv_source_read(src, buf, 1, DISK_BYTES), -EINVAL);
	sv_source_close(src);
}

/* The names inside images reach the terminal without control characters. */
static void test_names_are_harmless(void **state)
{
	struct sv_source_error err;
	struct sv_source *src;

	(void)state;
	run("qemu-img create -q -f qcow2 -u -b abcdefgh -F raw esc.qcow2 1M");
	uint64_t name = get64("esc.qcow2", 8);
	patch("esc.qcow2", name, "a\033[2Jb\nc", 8);
	assert_int_equal(sv_source_open("esc.qcow2", NULL, &src, &err), -ENOENT);
	assert_non_null(strstr(err.text, "a?[2Jb?c"));
	assert_null(strchr(err.text, '\033'));
}

/* Random damage to the header and tables: an error or bytes, but it ends, in bounds (with ASan). */
static void test_random_damage(void **state)
{
	static const char *const how[] = {"-O qcow2 -o cluster_size=4k", "-c -O qcow2", "-O qcow"};
	unsigned opened = 0, refused = 0;
	struct prng rng = {.state = 5};

	(void)state;
	for (size_t k = 0; k < sizeof(how) / sizeof(how[0]); k++) {
		run("qemu-img convert -f raw %s disk.raw whole.img", how[k]);
		for (int round = 0; round < 80; round++) {
			struct sv_source *src;
			bool right;
			run("cp whole.img hurt.img");
			uint64_t l1_off = get64("whole.img", L1_OFF);
			for (uint64_t i = 1 + prng_below(&rng, 3); i > 0; i--) {
				static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff};
				uint64_t at = prng_below(&rng, 112);
				if (prng_one_in(&rng, 2))
					at = l1_off + prng_below(&rng, 16384);
				if (at < 8)
					at += 8;
				patch("hurt.img", at, &odd[prng_below(&rng, 5)], 1);
			}
			if (sv_source_open("hurt.img", NULL, &src, NULL) < 0) {
				refused++;
				continue;
			}
			opened++;
			read_through(src, &right);
			sv_source_close(src);
		}
	}
	assert_true(opened > 20 && refused > 20);
}

static unsigned open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int remember_files(void **state)
{
	static unsigned count;

	count = open_files();
	*state = &count;
	return 0;
}

static int same_files(void **state)
{
	return open_files() == *(unsigned *)*state ? 0 : -1;
}

static int begin(void **state)
{
	int r = images_begin(state);

	if (r == 0)
		make_raw("disk.raw", DISK_BYTES, 3);
	return r;
}

#define bad_test(fn) cmocka_unit_test_setup_teardown(fn, remember_files, same_files)

int main(void)
{
	const struct CMUnitTest tests[] = {
		bad_test(test_not_an_image),
		bad_test(test_archives),
		bad_test(test_header),
		bad_test(test_header_v1),
		bad_test(test_truncated),
		bad_test(test_truncated_for_qemu),
		bad_test(test_tables),
		bad_test(test_zero_bit_in_v2),
		bad_test(test_short_stream),
		bad_test(test_chain_errors),
		bad_test(test_vmdk_parents),
		bad_test(test_differencing_vhd),
		bad_test(test_other_formats),
		bad_test(test_backing_format_is_obeyed),
		bad_test(test_long_chain),
		bad_test(test_encrypted),
		bad_test(test_qemu_refuses),
		bad_test(test_no_qemu),
		bad_test(test_qemu_dies),
		bad_test(test_written_by_qemu),
		bad_test(test_shrinks_while_read),
		bad_test(test_names_are_harmless),
		bad_test(test_random_damage),
	};

	return cmocka_run_group_tests_name("source_bad", tests, begin, images_end);
}
