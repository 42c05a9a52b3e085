/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check_names.c: the files of the guest that lie on damaged blocks, by asking debugfs. */
/*
 * The disk is mounted read-only for a moment, and debugfs opens each ext file system on it by its
 * offset: `icheck` tells the inodes of blocks, `ncheck` their paths. It runs without a shell, in
 * its mode for damaged file systems, and is bounded in what it is asked and in what is read of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "stickvm/fuse.h"

enum { BLOCKS_MOST = 4096, BLOCKS_A_CALL = 128, INODES_MOST = 1024 };

/* What the search has found so far. */
struct names {
	struct sv_store *store;
	char disk[128]; /* the mounted file */
	const char *tool;
	json_t *array;
	const char *why;
};

static int read_store(void *ctx, void *buf, size_t len_bytes, uint64_t off_bytes)
{
	return sv_store_read(((struct names *)ctx)->store, buf, len_bytes, off_bytes);
}

static const char *find_tool(void)
{
	static const char *const places[] = {"/usr/sbin/debugfs", "/sbin/debugfs",
					     "/usr/bin/debugfs", "/usr/local/sbin/debugfs"};

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

/* Runs one command of debugfs; its answer is a stream to read, *ret_pid to be waited for. */
static FILE *ask(const struct names *n, const struct check_part *part, const char *command,
		 pid_t *ret_pid)
{
	char device[192];
	const char *argv[] = {n->tool, "-c", "-R", command, device, NULL};
	posix_spawn_file_actions_t fds;
	int ends[2], rc;

	snprintf(device, sizeof device, "%s?offset=%llu", n->disk,
		 (unsigned long long)part->off_bytes);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	posix_spawn_file_actions_init(&fds);
	posix_spawn_file_actions_addopen(&fds, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fds, ends[1], 1);
	posix_spawn_file_actions_addopen(&fds, 2, "/dev/null", O_WRONLY, 0);
	rc = posix_spawn(ret_pid, argv[0], &fds, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fds);
	close(ends[1]);
	if (rc != 0) {
		close(ends[0]);
		return NULL;
	}
	return fdopen(ends[0], "r");
}

static void end_ask(FILE *answer, pid_t pid)
{
	fclose(answer);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void add_inode(unsigned long *inodes, unsigned *count, unsigned long inode)
{
	for (unsigned i = 0; i < *count; i++)
		if (inodes[i] == inode)
			return;
	if (*count < INODES_MOST)
		inodes[(*count)++] = inode;
}

/* "icheck B B B": lines "block<tab>inode", or "block<tab><block not found>". */
static void ask_inodes(const struct names *n, const struct check_part *part, const char *command,
		       unsigned long *inodes, unsigned *count)
{
	char line[256];
	pid_t pid;
	FILE *answer = ask(n, part, command, &pid);

	if (!answer)
		return;
	while (fgets(line, sizeof line, answer)) {
		char *end;
		char *tab = strchr(line, '\t');
		unsigned long inode;

		(void)strtoull(line, &end, 10);
		if (!tab || end != tab)
			continue;
		inode = strtoul(tab + 1, &end, 10);
		if (inode > 0 && *end == '\n')
			add_inode(inodes, count, inode);
	}
	end_ask(answer, pid);
}

static void add_path(struct names *n, const struct check_part *part, const char *path)
{
	json_t *file = json_pack("{s:i, s:s?}", "partition", (int)part->number, "path", path);

	if (file) /* a name that is not UTF-8 has no place in JSON */
		json_array_append_new(n->array, file);
}

/* "ncheck I I I": lines "inode<tab>path". One without a path is the file system's own. */
static void ask_paths(struct names *n, const struct check_part *part, const char *command)
{
	char line[4400];
	pid_t pid;
	FILE *answer = ask(n, part, command, &pid);

	if (!answer)
		return;
	while (fgets(line, sizeof line, answer)) {
		char *tab = strchr(line, '\t');

		line[strcspn(line, "\n")] = '\0';
		if (tab && tab[1] == '/')
			add_path(n, part, tab + 1);
	}
	end_ask(answer, pid);
}

/* The part of the ranges that lies in the partition, as block numbers, asked in lots. */
static unsigned collect_inodes(struct names *n, const struct check_part *part, unsigned block_bytes,
			       const struct check_range *ranges, size_t count,
			       unsigned long *inodes)
{
	char command[BLOCKS_A_CALL * 16 + 16] = "icheck";
	unsigned asked = 0, in_call = 0, found = 0;
	size_t len = strlen(command);

	for (size_t i = 0; i < count; i++) {
		uint64_t from = ranges[i].off_bytes, to = from + ranges[i].len_bytes;

		if (to <= part->off_bytes || from >= part->off_bytes + part->len_bytes)
			continue;
		from = from > part->off_bytes ? (from - part->off_bytes) / block_bytes : 0;
		to = to - part->off_bytes;
		to = ((to < part->len_bytes ? to : part->len_bytes) + block_bytes - 1) /
		     block_bytes;
		for (; from < to && asked < BLOCKS_MOST; from++, asked++) {
			len += (size_t)snprintf(command + len, sizeof command - len, " %llu",
						(unsigned long long)from);
			if (++in_call < BLOCKS_A_CALL && len + 24 < sizeof command)
				continue;
			ask_inodes(n, part, command, inodes, &found);
			len = strlen("icheck");
			command[len] = '\0';
			in_call = 0;
		}
	}
	if (in_call)
		ask_inodes(n, part, command, inodes, &found);
	if (asked == BLOCKS_MOST)
		n->why = "there are too many damaged blocks to name all files";
	return found;
}

static void names_of(struct names *n, const struct check_part *part,
		     const struct check_range *ranges, size_t count)
{
	unsigned block_bytes = check_ext_block_bytes(read_store, n, part->off_bytes);
	unsigned long *inodes = calloc(INODES_MOST, sizeof *inodes);
	unsigned found;

	if (!block_bytes || !inodes) {
		free(inodes);
		return;
	}
	found = collect_inodes(n, part, block_bytes, ranges, count, inodes);
	for (unsigned i = 0; i < found;) {
		char command[BLOCKS_A_CALL * 16 + 16] = "ncheck";
		size_t len = strlen(command);

		for (unsigned k = 0; k < BLOCKS_A_CALL && i < found && len + 24 < sizeof command;
		     k++, i++)
			len += (size_t)snprintf(command + len, sizeof command - len, " %lu",
						inodes[i]);
		ask_paths(n, part, command);
	}
	free(inodes);
}

static void *serve(void *fuse)
{
	(void)sv_fuse_run(fuse);
	return NULL;
}

static void search(struct names *n, const struct check_range *ranges, size_t count)
{
	struct check_part parts[CHECK_MOST_PARTS];
	struct sv_status status;
	unsigned parted;

	sv_store_status(n->store, &status);
	parted = check_parts(read_store, n, status.size_bytes, parts);
	for (unsigned i = 0; i < parted; i++)
		names_of(n, &parts[i], ranges, count);
}

json_t *check_names(struct sv_store *store, const struct check_range *ranges, size_t count,
		    const char **ret_why)
{
	const struct sv_fuse_options opts = {.read_only = true};
	struct names n = {.store = store, .tool = find_tool(), .array = json_array()};
	char dir[] = "/tmp/stickvm-check.XXXXXX";
	struct sv_fuse *fuse = NULL;
	pthread_t server;

	*ret_why = "debugfs (package e2fsprogs) is not at hand";
	if (!n.tool || count == 0)
		return n.array;
	*ret_why = "the disk could not be mounted to look (is FUSE there?)";
	if (!mkdtemp(dir))
		return n.array;
	snprintf(n.disk, sizeof n.disk, "%s/disk.raw", dir);
	if (sv_fuse_mount(store, dir, &opts, &fuse) == 0) {
		if (pthread_create(&server, NULL, serve, fuse) == 0) {
			search(&n, ranges, count);
			sv_fuse_stop(fuse);
			pthread_join(server, NULL);
			*ret_why = n.why;
		}
		sv_fuse_destroy(fuse);
	}
	rmdir(dir);
	return n.array;
}
