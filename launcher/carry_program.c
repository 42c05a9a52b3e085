/* SPDX-License-Identifier: GPL-2.0-or-later */
/* carry_program.c: QEMU taken off the stick: its file, and the libraries that its loader names. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "carry.h"
#include "carry_copy.h"
#include "file.h"

/* In a child: the dynamic loader lists what it would map, and ends. */
static _Noreturn void child_list(const char *path, int out_fd)
{
	char *const argv[] = {(char *)path, NULL};

	dup2(out_fd, STDOUT_FILENO);
	setenv("LD_TRACE_LOADED_OBJECTS", "1", 1);
	execv(path, argv);
	_exit(127);
}

/* "	libfoo.so.1 => /media/stick/lib/libfoo.so.1 (0x00007f...)" */
static int take_line(char *line, const char *stick_dir, struct carry_folder *copies,
		     struct err *err)
{
	char *path = strstr(line, "=> /");
	char *end = path ? strstr(path, " (0x") : NULL;

	if (!end)
		return 0;
	*end = '\0';
	path += 3;
	if (carry_has(copies, path) || !carry_on_stick(path, stick_dir))
		return 0;
	return carry_copy(copies, path, err);
}

static int copy_libraries(const char *path, const char *stick_dir, struct carry_folder *copies,
			  struct err *err)
{
	int ends[2], rc = 0;
	char *line = NULL;
	size_t room = 0;
	FILE *in;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, EXIT_FAILED, "%s: no pipe: %s", path, strerror(errno));
	pid = fork();
	if (pid == 0)
		child_list(path, ends[1]);
	close(ends[1]);
	in = fdopen(ends[0], "r");
	while (in && rc == 0 && getline(&line, &room, in) > 0)
		rc = take_line(line, stick_dir, copies, err);
	free(line);
	if (in)
		fclose(in);
	else
		close(ends[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return rc;
}

/* A script would run as a whole here instead of listing anything. */
static bool is_elf(const char *path)
{
	char head[4] = "";
	FILE *in = fopen(path, "re");
	bool elf = in && fread(head, 1, sizeof(head), in) == sizeof(head) &&
		   memcmp(head, "\177ELF", 4) == 0;

	if (in)
		fclose(in);
	return elf;
}

/* QEMU opens its modules by name when it needs them, from where $QEMU_MODULE_DIR says first. */
static int copy_modules(const char *path, const char *stick_dir, struct carry_folder *copies,
			struct err *err)
{
	static const char *const places[] = {"%s/../lib/*/qemu/*.so", "%s/../lib/qemu/*.so",
					     "%s/qemu/*.so"};
	const char *given = getenv("QEMU_MODULE_DIR");
	char *folder = strdup(path), *pattern;
	glob_t found = {0};
	int rc = 0;

	if (!folder)
		return err_set(err, EXIT_FAILED, "%s: out of memory", path);
	*strrchr(folder, '/') = '\0';
	for (size_t i = 0; i <= sizeof(places) / sizeof(places[0]); i++) {
		pattern = i > 0	  ? file_path(places[i - 1], folder)
			  : given ? file_path("%s/*.so", given)
				  : NULL;
		if (pattern)
			glob(pattern, found.gl_pathc ? GLOB_APPEND : 0, NULL, &found);
		free(pattern);
	}
	for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
		if (carry_on_stick(found.gl_pathv[i], stick_dir))
			rc = carry_copy(copies, found.gl_pathv[i], err);
	if (found.gl_pathc && copies->count)
		setenv("QEMU_MODULE_DIR", copies->dir, 1);
	globfree(&found);
	free(folder);
	return rc;
}

/* QEMU looks for its firmware in ../share from where it lies. It reads that once, when it starts:
 * a link is enough. The copy lies in bin/ below the folder for this. */
static char *link_data(const char *path, struct carry_folder *copies, struct err *err)
{
	char *bin = file_path("%s/bin", copies->dir), *share = file_path("%s/share", copies->dir);
	char *data = file_path("%.*s/../share", (int)(strrchr(path, '/') - path), path);
	char *copy = carry_path(copies, path);
	char *moved = file_path("%s%s", bin ? bin : "", strrchr(path, '/'));

	if (!bin || !share || !data || !copy || !moved || mkdir(bin, 0700) < 0 ||
	    symlink(data, share) < 0 || rename(copy, moved) < 0) {
		err_set(err, EXIT_FAILED, "%s: its copy cannot be made: %s", path, strerror(errno));
		free(moved);
		moved = NULL;
	}
	free(bin);
	free(share);
	free(data);
	free(copy);
	return moved;
}

int carry_program(const char *path, const char *stick_dir, struct carry_folder *copies,
		  char **ret_path, struct err *err)
{
	char *copy;

	if (is_elf(path) && copy_libraries(path, stick_dir, copies, err) < 0)
		return -1;
	if (copies->count > 0)
		carry_library_path(copies);
	if (is_elf(path) && copy_modules(path, stick_dir, copies, err) < 0)
		return -1;
	if (carry_on_stick(path, stick_dir)) {
		if (carry_copy(copies, path, err) < 0)
			return -1;
		copy = link_data(path, copies, err);
		if (!copy)
			return -1;
	} else {
		copy = strdup(path);
		if (!copy)
			return err_set(err, EXIT_FAILED, "%s: out of memory", path);
	}
	*ret_path = copy;
	return 0;
}
