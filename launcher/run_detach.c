/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_detach.c: forks a session into the background and waits until it runs. */
#include "run_detach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void to_null(void)
{
	int fd = open("/dev/null", O_RDWR);

	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static int wait_for_start(int fd, pid_t child, enum exit_status *ret_status, struct err *err)
{
	struct err started;
	ssize_t got;

	do {
		got = read(fd, &started, sizeof started);
	} while (got < 0 && errno == EINTR);
	close(fd);
	if (got != (ssize_t)sizeof started) {
		waitpid(child, NULL, 0);
		err_set(&started, EXIT_FAILED, "the session ended before the guest ran");
	}
	*ret_status = started.status;
	*err = started;
	return 1;
}

int run_detach(enum exit_status *ret_status, int *ret_fd, struct err *err)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, EXIT_FAILED, "no pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0) {
		int error = errno;

		close(fds[0]);
		close(fds[1]);
		return err_set(err, EXIT_FAILED, "cannot fork: %s", strerror(error));
	}
	if (pid > 0) {
		close(fds[1]);
		return wait_for_start(fds[0], pid, ret_status, err);
	}
	close(fds[0]);
	setsid();
	to_null();
	*ret_fd = fds[1];
	return 0;
}

void run_detached(int fd, const struct err *err, const char *log)
{
	const struct err well = {.status = EXIT_DONE};
	int log_fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (log_fd < 0)
		log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	/* Before the parent goes: the terminal is then someone else's. */
	if (log_fd >= 0) {
		dup2(log_fd, STDERR_FILENO);
		close(log_fd);
	}
	if (write(fd, err ? err : &well, sizeof well) < 0 && !err) {
		/* The parent was killed; the session goes on. */
	}
	close(fd);
}
