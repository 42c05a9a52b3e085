/* SPDX-License-Identifier: GPL-2.0-or-later */
/* facts_qemu.c: which QEMU there is and what it was built with, by asking it. */
/*
 * QEMU is run a few times (20 to 50 ms each) with options that make it answer and end by itself.
 * It is never trusted to: each run has a time limit, and only so much of its answer is kept.
 */
#include "facts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QEMU_NAME "qemu-system-x86_64"

enum {
	LIMIT_MS = 5000,
	ANSWER_BYTES = 16 * 1024,
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static _Noreturn void child_exec(int out_fd, const char *const argv[])
{
	int null_fd = open("/dev/null", O_RDWR);

	dup2(null_fd, 0);
	dup2(out_fd, 1);
	dup2(out_fd, 2);
	execv(argv[0], (char *const *)argv); /* exec does not write to them */
	_exit(127);
}

/* Reads up to the end, the deadline or ANSWER_BYTES, whichever comes first. */
static void read_answer(int fd, char answer[ANSWER_BYTES])
{
	const int64_t deadline_ms = now_ms() + LIMIT_MS;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	size_t have = 0;

	while (have < ANSWER_BYTES - 1) {
		int64_t left_ms = deadline_ms - now_ms();
		ssize_t got;

		if (left_ms <= 0 || poll(&pfd, 1, (int)left_ms) == 0)
			break;
		got = read(fd, answer + have, ANSWER_BYTES - 1 - have);
		if (got == 0 || (got < 0 && errno != EINTR))
			break;
		have += got > 0 ? (size_t)got : 0;
	}
	answer[have] = '\0';
}

/* Runs argv and keeps what it prints, standard error included. False when it cannot be run. */
static bool ask(const char *const argv[], char answer[ANSWER_BYTES])
{
	int fds[2], status = 0;
	pid_t pid;

	answer[0] = '\0';
	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0)
		child_exec(fds[1], argv);
	close(fds[1]);
	if (pid > 0) {
		read_answer(fds[0], answer);
		kill(pid, SIGKILL); /* it has ended, or must */
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(fds[0]);
	return pid > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 127);
}

/* The first executable file of this name in $PATH. The text is the caller's; NULL: none. */
static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	char candidate[4096];

	for (path = path ? path : "/usr/bin:/bin"; *path; path += *path == ':') {
		size_t len = strcspn(path, ":");

		snprintf(candidate, sizeof candidate, "%.*s/%s", (int)len, path, name);
		if (len > 0 && access(candidate, X_OK) == 0)
			return strdup(candidate);
		path += len;
	}
	return NULL;
}

/* "QEMU emulator version 7.2.22 (Debian ...)" */
static void take_version(const char *answer, struct facts *facts)
{
	static const char mark[] = "version ";
	const char *at = strstr(answer, mark);
	char version[32];

	if (!at)
		return;
	at += sizeof mark - 1;
	snprintf(version, sizeof version, "%.*s", (int)strspn(at, "0123456789."), at);
	if (version[0])
		facts_set_text(&facts->qemu_version, version);
}

/* One name a line after a heading; module complaints have spaces or colons. */
static void take_displays(char *answer, struct facts *facts)
{
	char list[256] = "";
	size_t used = 0;
	char *save = NULL;

	for (char *line = strtok_r(answer, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t len = strcspn(line, " \t:");

		if (len == 0 || line[len] != '\0' || used + len + 2 > sizeof list)
			continue;
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? " " : "",
					 line);
	}
	if (used)
		facts_set_text(&facts->qemu_displays, list);
}

/* Opening a file that cannot exist fails after its options were understood, or before. */
#define NOWHERE "/proc/self/no-such-file"
#define BARE "-M", "none", "-nodefaults", "-display", "none"

static enum fact_bool understands(const char *const argv[])
{
	char answer[ANSWER_BYTES];

	if (!ask(argv, answer))
		return FACT_UNKNOWN;
	return strstr(answer, "Could not open '" NOWHERE "'") ? FACT_YES : FACT_NO;
}

void facts_gather_qemu(const char *program, struct facts *facts)
{
	char *path = program ? strdup(program) : find_program(QEMU_NAME);
	char answer[ANSWER_BYTES];
	const char *const version[] = {path, "--version", NULL};
	const char *const displays[] = {path, "-display", "help", NULL};
	const char *const io_uring[] = {path, BARE, "-blockdev",
					"driver=file,node-name=a,aio=io_uring,filename=" NOWHERE,
					NULL};
	const char *const sandbox[] = {path,
				       BARE,
				       "-sandbox",
				       "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
				       "resourcecontrol=deny",
				       "-blockdev",
				       "driver=file,node-name=a,filename=" NOWHERE,
				       NULL};

	if (!path || access(path, X_OK) < 0 || !ask(version, answer)) {
		free(path);
		return;
	}
	facts_set_text(&facts->qemu_path, path);
	take_version(answer, facts);
	if (ask(displays, answer))
		take_displays(answer, facts);
	facts->qemu_io_uring = understands(io_uring);
	facts->qemu_sandbox = understands(sandbox);
	free(path);
}
