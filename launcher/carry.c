/* SPDX-License-Identifier: GPL-2.0-or-later */
/* carry.c: which files of a program lie on the stick, and the program executed from copies. */
/*
 * A page of a program is read from its file when it is needed, and when the stick is gone that
 * kills the process (SIGBUS). So the files that are mapped (the program, its libraries, the
 * dynamic loader) are copied to a folder of this user's on the host (carry_copy.c), in memory
 * where there is such a folder, and executed from there. The copies are removed as soon as they
 * are mapped: mapped files stay while their process lives, and nothing is left behind by a kill.
 *
 * A program that was started through its own loader (ld.so --library-path ...) is started
 * through the loader's copy again: loader and C library travel together or not at all.
 */
#include "carry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch_priv.h"

#define ORIGIN "STICKVM_CARRIED_FROM"
#define FOLDER "STICKVM_CARRIED_IN"

enum { MAX_WORDS = 4096 };

static bool is_below(const char *path, const char *folder)
{
	const size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

bool carry_on_stick(const char *path, const char *stick_dir)
{
	char *file = realpath(path, NULL), *dir = realpath(stick_dir, NULL);
	struct watch_mount mount;
	bool on = file && dir && is_below(file, dir);

	if (file && dir && !on && watch_mount_of(dir, NULL, &mount) == 0) {
		on = strcmp(mount.point, "/") != 0 && is_below(file, mount.point);
		watch_mount_free(&mount);
	}
	free(file);
	free(dir);
	return on;
}

const char *carry_origin(void)
{
	const char *origin = getenv(ORIGIN);

	return origin && origin[0] ? origin : NULL;
}

/* What of this process is mapped from the stick, copied; the number of files. -1 with err. */
static int copy_mapped(const char *stick_dir, struct carry_folder *folder, struct err *err)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char *line = NULL, *last = strdup(""); /* a file has several lines, one after the other */
	size_t room = 0;
	int rc = 0;

	while (maps && rc == 0 && getline(&line, &room, maps) > 0) {
		char *path = strchr(line, '/');

		if (!path)
			continue;
		path[strcspn(path, "\n")] = '\0';
		if (last && strcmp(last, path) == 0)
			continue;
		free(last);
		last = strdup(path);
		if (!carry_has(folder, path) && carry_on_stick(path, stick_dir))
			rc = carry_copy(folder, path, err);
	}
	free(last);
	free(line);
	if (maps)
		fclose(maps);
	return rc < 0 ? -1 : (int)folder->count;
}

/* The words of the command line from the program's own on, which stay for as long as this process
 * lives; NULL: unknown. What stands before is the loader's. */
static char **own_words(const char *program)
{
	FILE *in = fopen("/proc/self/cmdline", "re");
	char **words = calloc(MAX_WORDS + 1, sizeof(*words));
	char *word = NULL;
	size_t room = 0, count = 0;

	while (in && words && count < MAX_WORDS && getdelim(&word, &room, '\0', in) > 0) {
		if (count > 0 || strcmp(word, program) == 0)
			words[count++] = word;
		else
			free(word);
		word = NULL;
		room = 0;
	}
	free(word);
	if (in)
		fclose(in);
	if (count > 0)
		return words;
	free(words);
	return NULL;
}

static bool is_loader(const char *path)
{
	const char *name = strrchr(path, '/');

	return strncmp(name ? name + 1 : path, "ld-linux", 8) == 0 ||
	       strncmp(name ? name + 1 : path, "ld.so", 5) == 0;
}

/* The loader's copy, told to load the program's copy; returns only where that fails. */
static void become_through(struct carry_folder *folder, char *loader, char *copy, char **words)
{
	char *loader_copy = carry_path(folder, loader);
	char path_option[] = "--library-path", name_option[] = "--argv0";
	char *front[] = {loader_copy, path_option, folder->dir, name_option, words[0], copy};
	const size_t front_count = sizeof(front) / sizeof(front[0]);
	size_t count = 0;
	char **argv;

	while (words[count])
		count++;
	argv = calloc(front_count + count, sizeof(*argv));
	if (argv && loader_copy) {
		memcpy(argv, front, sizeof(front));
		memcpy(argv + front_count, words + 1, count * sizeof(*argv));
		execv(loader_copy, argv);
	}
	free(argv);
	free(loader_copy);
}

/* Executes the copies; returns only where that fails. */
static int become(struct carry_folder *folder, const char *origin, char **words, struct err *err)
{
	char *loader = NULL;
	char *copy = carry_path(folder, origin);

	for (size_t i = 0; i < folder->count; i++)
		if (is_loader(folder->names[i]))
			loader = folder->names[i];
	setenv(ORIGIN, origin, 1);
	setenv(FOLDER, folder->dir, 1);
	errno = ENOMEM;
	if (copy && loader) {
		become_through(folder, loader, copy, words);
	} else if (copy) {
		if (folder->count > 1)
			carry_library_path(folder);
		execv(copy, words);
	}
	err_set(err, EXIT_FAILED, "%s: its copy %s cannot be executed: %s", origin,
		copy ? copy : "", strerror(errno));
	free(copy);
	return -1;
}

/* The program's own file: what runs, or what the loader was told to run. */
static char *own_file(const char *program)
{
	char *exe = realpath("/proc/self/exe", NULL);

	if (!exe || !is_loader(exe))
		return exe;
	free(exe);
	return realpath(program, NULL);
}

int carry_self(const char *stick_dir, const char *program, struct err *err)
{
	struct carry_folder folder = {0};
	const char *made = getenv(FOLDER);
	char *origin;
	char **words;

	if (made) { /* this is the copy */
		carry_remove(made);
		unsetenv(FOLDER);
		return 0;
	}
	if (copy_mapped(stick_dir, &folder, err) < 0) {
		carry_end(&folder);
		return -1;
	}
	if (folder.count == 0)
		return 0;
	origin = own_file(program);
	words = own_words(program);
	/* A library alone may lie on the stick: the program is executed where it is, then. */
	if (!origin || !words ||
	    (!carry_has(&folder, origin) && carry_copy(&folder, origin, err) < 0))
		err_set(err, EXIT_FAILED, "%s: cannot be copied off the stick", program);
	else
		become(&folder, origin, words, err);
	carry_end(&folder);
	free(origin);
	for (size_t i = 0; words && words[i]; i++)
		free(words[i]);
	free(words);
	return -1;
}
