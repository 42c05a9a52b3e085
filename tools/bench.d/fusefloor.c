/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusefloor.c: memory as a FUSE file, bare or through our adaptor: what FUSE itself costs. */

/*
 * bench-fusefloor bare DIR BYTES               the smallest low-level file system: the yardstick
 * bench-fusefloor file DIR FILE                the same over a file of this host, O_DIRECT
 * bench-fusefloor adaptor DIR BYTES [THREADS]  the same memory through sv_fuse_mount_disk
 * bench-fusefloor client FILE read|write COUNT PID
 *	COUNT random 4 KiB requests with O_DIRECT, one at a time; prints microseconds a request:
 *	of wall clock, and of CPU time of the client and of the server PID
 *
 * The servers run in the foreground until they are unmounted. Memory is not cleared or flushed:
 * fsync costs the round trip only.
 */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../../storage/fuse_disk.h"

struct memory {
	char *data;
	int fd; /* of a file that is served instead; 0: none */
	uint64_t size_bytes;
};

/* The bare file system. It answers what a client of one file needs, and nothing else. */

static void bare_attr(const struct memory *mem, fuse_ino_t ino, struct stat *ret_attr)
{
	*ret_attr = (struct stat){.st_ino = ino, .st_nlink = 1, .st_mode = S_IFDIR | 0755};
	if (ino != FUSE_ROOT_ID) {
		ret_attr->st_mode = S_IFREG | 0644;
		ret_attr->st_size = (off_t)mem->size_bytes;
	}
}

static void bare_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = {.ino = 2, .attr_timeout = 60, .entry_timeout = 60};

	(void)parent;
	if (strcmp(name, "disk.raw")) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	bare_attr(fuse_req_userdata(req), 2, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void bare_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat attr;

	(void)fi;
	bare_attr(fuse_req_userdata(req), ino, &attr);
	fuse_reply_attr(req, &attr, 60);
}

static void bare_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

/* Reads of whole sectors only. */
static void file_read(fuse_req_t req, int fd, size_t size, off_t off)
{
	static _Thread_local char buf[1 << 20] __attribute__((aligned(4096)));
	ssize_t n = size <= sizeof(buf) ? pread(fd, buf, size, off) : -1;

	if (n < 0)
		fuse_reply_err(req, EIO);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void bare_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	const struct memory *mem = fuse_req_userdata(req);

	(void)ino;
	(void)fi;
	if (mem->fd)
		file_read(req, mem->fd, size, off);
	else
		fuse_reply_buf(req, mem->data + off, size);
}

static void bare_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	const struct memory *mem = fuse_req_userdata(req);

	(void)ino;
	(void)fi;
	if (mem->fd) {
		fuse_reply_err(req, EROFS);
		return;
	}
	memcpy(mem->data + off, buf, size);
	fuse_reply_write(req, size);
}

static void bare_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops bare_ops = {
	.lookup = bare_lookup,
	.getattr = bare_getattr,
	.open = bare_open,
	.read = bare_read,
	.write = bare_write,
	.fsync = bare_fsync,
};

static int serve_bare(const char *dir, struct memory *mem)
{
	char name[] = "fusefloor", *argv[] = {name, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_session *session;
	int err = 1;

	session = fuse_session_new(&args, &bare_ops, sizeof(bare_ops), mem);
	if (session && !fuse_session_mount(session, dir)) {
		struct fuse_loop_config *config = fuse_loop_cfg_create();

		err = fuse_session_loop_mt(session, config);
		fuse_loop_cfg_destroy(config);
		fuse_session_unmount(session);
	}
	if (session)
		fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	return err;
}

/* The same memory as a disk of the adaptor. */

static int mem_read(void *disk, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	const struct memory *mem = disk;

	memcpy(buf, mem->data + off_bytes, len_bytes);
	return 0;
}

static int mem_write(void *disk, const void *buf, size_t len_bytes, uint64_t off_bytes)
{
	const struct memory *mem = disk;

	memcpy(mem->data + off_bytes, buf, len_bytes);
	return 0;
}

static int mem_flush(void *disk)
{
	(void)disk;
	return 0;
}

static int mem_discard(void *disk, uint64_t len_bytes, uint64_t off_bytes)
{
	const struct memory *mem = disk;

	memset(mem->data + off_bytes, 0, len_bytes);
	return 0;
}

static int mem_seek(void *disk, enum sv_seek what, uint64_t off_bytes, uint64_t *ret_off_bytes)
{
	const struct memory *mem = disk;

	*ret_off_bytes = what == SV_SEEK_DATA ? off_bytes : mem->size_bytes;
	return 0;
}

static void mem_status(void *disk, struct sv_status *ret_status)
{
	const struct memory *mem = disk;

	*ret_status = (struct sv_status){.size_bytes = mem->size_bytes,
					 .capacity_bytes = mem->size_bytes,
					 .mapped_bytes = mem->size_bytes,
					 .used_bytes = mem->size_bytes};
}

static int serve_adaptor(const char *dir, struct memory *mem, unsigned threads)
{
	static const struct sv_fuse_disk_ops ops = {
		.read = mem_read,
		.write = mem_write,
		.flush = mem_flush,
		.discard = mem_discard,
		.seek = mem_seek,
		.status = mem_status,
	};
	const struct sv_fuse_options opts = {.threads = threads, .name = "memory"};
	struct sv_fuse *fuse;
	int err = sv_fuse_mount_disk(&ops, mem, dir, &opts, &fuse);

	if (!err) {
		err = sv_fuse_run(fuse);
		sv_fuse_destroy(fuse);
	}
	if (err)
		fprintf(stderr, "bench-fusefloor: %s: %s %s\n", dir, strerror(-err), sv_fuse_why());
	return err ? 1 : 0;
}

/* The client. */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* CPU time of all threads of a process. */
static uint64_t process_ns(const char *pid)
{
	clockid_t clock;

	return clock_getcpuclockid((pid_t)strtol(pid, NULL, 10), &clock) ? 0 : clock_ns(clock);
}

static int run_client(const char *file, bool writes, uint64_t count, const char *pid)
{
	int fd = open(file, (writes ? O_RDWR : O_RDONLY) | O_DIRECT);
	uint64_t wall, client, server, blocks, seed = 88172645463325252u;
	struct stat st;
	void *buf;

	if (fd < 0 || fstat(fd, &st) || st.st_size < 4096 || posix_memalign(&buf, 4096, 4096)) {
		perror(file);
		return 1;
	}
	memset(buf, 'b', 4096);
	blocks = (uint64_t)st.st_size / 4096;
	wall = clock_ns(CLOCK_MONOTONIC);
	client = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	server = process_ns(pid);
	for (uint64_t i = 0; i < count; i++) {
		off_t off;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		off = (off_t)(seed % blocks * 4096);
		if ((writes ? pwrite(fd, buf, 4096, off) : pread(fd, buf, 4096, off)) != 4096) {
			perror(file);
			return 1;
		}
	}
	printf("wall %.2f client %.2f server %.2f\n",
	       (double)(clock_ns(CLOCK_MONOTONIC) - wall) / 1e3 / (double)count,
	       (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - client) / 1e3 / (double)count,
	       (double)(process_ns(pid) - server) / 1e3 / (double)count);
	free(buf);
	close(fd);
	return 0;
}

/* BYTES of memory, or a file; it is read only. */
static int take(const char *what, bool file, struct memory *mem)
{
	if (file) {
		mem->fd = open(what, O_RDONLY | O_DIRECT | O_CLOEXEC);
		mem->size_bytes = mem->fd < 0 ? 0 : (uint64_t)lseek(mem->fd, 0, SEEK_END);
		if (mem->fd >= 0)
			return 0;
		perror(what);
		return -1;
	}
	mem->size_bytes = strtoull(what, NULL, 10);
	mem->data = mmap(NULL, mem->size_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (mem->data != MAP_FAILED)
		return 0;
	perror("bench-fusefloor");
	return -1;
}

int main(int argc, char **argv)
{
	struct memory mem = {0};
	bool file = argc == 4 && !strcmp(argv[1], "file");

	if (argc == 6 && !strcmp(argv[1], "client"))
		return run_client(argv[2], !strcmp(argv[3], "write"), strtoull(argv[4], NULL, 10),
				  argv[5]);
	if ((argc != 4 && argc != 5) ||
	    (!file && strcmp(argv[1], "bare") && strcmp(argv[1], "adaptor"))) {
		fprintf(stderr, "usage: bench-fusefloor bare|adaptor DIR BYTES [THREADS]\n"
				"       bench-fusefloor file DIR FILE\n");
		return 2;
	}
	if (take(argv[3], file, &mem))
		return 1;
	if (file || !strcmp(argv[1], "bare"))
		return serve_bare(argv[2], &mem);
	return serve_adaptor(argv[2], &mem, argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0);
}
