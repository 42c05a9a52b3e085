/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_qemu.c: starts QEMU, keeps the end of what it says on standard error, and reaps it. */
#include "run_qemu.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child of a process with threads: only what is safe there. */
static _Noreturn void child_exec(char *const argv[], int kept_fd, int words_fd, int failed_fd,
				 pid_t parent)
{
	const struct sigaction usual = {.sa_handler = SIG_DFL};
	sigset_t none;
	int null_fd = open("/dev/null", O_RDWR);
	int error;

	/* Without the disk's server it could only hang: end with it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setsid();
	sigaction(SIGPIPE, &usual, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null_fd, 0);
	dup2(words_fd, 2);
	if (kept_fd >= 0)
		fcntl(kept_fd, F_SETFD, 0);
	execv(argv[0], argv);
	error = errno;
	if (write(failed_fd, &error, sizeof error) < 0)
		_exit(126);
	_exit(127);
}

/* The errno of a failed exec; 0 when the pipe was closed by a successful one. */
static int exec_error(int fd)
{
	int error = 0;
	ssize_t got;

	do {
		got = read(fd, &error, sizeof error);
	} while (got < 0 && errno == EINTR);
	return got == (ssize_t)sizeof error ? error : 0;
}

int run_qemu_start(char *const argv[], int kept_fd, struct run_qemu *ret_qemu, struct err *err)
{
	int words[2], failed[2], error;
	const pid_t parent = getpid();
	pid_t pid;

	if (pipe2(words, O_CLOEXEC) < 0)
		return err_set(err, EXIT_FAILED, "QEMU: no pipe: %s", strerror(errno));
	if (pipe2(failed, O_CLOEXEC) < 0) {
		error = errno;
		close(words[0]);
		close(words[1]);
		return err_set(err, EXIT_FAILED, "QEMU: no pipe: %s", strerror(error));
	}
	pid = fork();
	if (pid == 0)
		child_exec(argv, kept_fd, words[1], failed[1], parent);
	error = pid < 0 ? errno : 0;
	close(words[1]);
	close(failed[1]);
	if (pid > 0)
		error = exec_error(failed[0]);
	close(failed[0]);
	if (error) {
		close(words[0]);
		if (pid > 0)
			waitpid(pid, NULL, 0);
		return err_set(err, EXIT_FAILED, "%s: cannot be started: %s", argv[0],
			       strerror(error));
	}
	fcntl(words[0], F_SETFL, O_NONBLOCK);
	memset(ret_qemu, 0, sizeof *ret_qemu);
	ret_qemu->pid = pid;
	ret_qemu->words_fd = words[0];
	return 0;
}

/* Keeps the newest bytes. */
static void keep_words(struct run_qemu *qemu, const char *bytes, size_t count)
{
	const size_t room = sizeof qemu->words - 1;
	size_t old;

	if (count > room) {
		bytes += count - room;
		count = room;
	}
	old = qemu->words_len + count > room ? room - count : qemu->words_len;
	memmove(qemu->words, qemu->words + qemu->words_len - old, old);
	memcpy(qemu->words + old, bytes, count);
	qemu->words_len = old + count;
	qemu->words[qemu->words_len] = '\0';
}

void run_qemu_listen(struct run_qemu *qemu)
{
	char bytes[1024];

	while (qemu->words_fd >= 0) {
		ssize_t got = read(qemu->words_fd, bytes, sizeof bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			close(qemu->words_fd);
			qemu->words_fd = -1;
			return;
		}
		keep_words(qemu, bytes, (size_t)got);
	}
}

bool run_qemu_ended(struct run_qemu *qemu)
{
	if (qemu->pid && waitpid(qemu->pid, &qemu->status, WNOHANG) == qemu->pid) {
		qemu->pid = 0;
		qemu->ended = true;
		run_qemu_listen(qemu);
	}
	return qemu->ended;
}

void run_qemu_kill(const struct run_qemu *qemu)
{
	if (qemu->pid)
		kill(qemu->pid, SIGKILL);
}

bool run_qemu_fine(const struct run_qemu *qemu)
{
	return qemu->ended && WIFEXITED(qemu->status) && WEXITSTATUS(qemu->status) == 0;
}

void run_qemu_explain(const struct run_qemu *qemu, char *text, size_t text_bytes)
{
	if (WIFSIGNALED(qemu->status))
		snprintf(text, text_bytes, "was killed by signal %d (%s)", WTERMSIG(qemu->status),
			 strsignal(WTERMSIG(qemu->status)));
	else
		snprintf(text, text_bytes, "ended with status %d", WEXITSTATUS(qemu->status));
}

void run_qemu_free(struct run_qemu *qemu)
{
	assert(qemu->pid == 0);
	if (qemu->words_fd > 0)
		close(qemu->words_fd);
	qemu->words_fd = -1;
}
