/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source_qemu_process.c: starts, hands a socket to, ends and reaps one qemu-nbd. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "source_qemu.h"

/*
 * The socket is made in a private folder, connected to, and removed again together with the
 * folder, all before the process starts; the process gets the listening end, in which our
 * connection already waits. So there is no moment at which a crash would leave a file behind, no
 * waiting for a socket to appear, and nobody else can connect.
 */
#define LISTEN_FD 3 /* where socket activation expects it */

char *qemu_program_find(const char *name)
{
	const char *dirs = getenv("PATH");

	if (strchr(name, '/'))
		return access(name, X_OK) == 0 ? strdup(name) : NULL;
	while (dirs && *dirs) {
		int len = (int)strcspn(dirs, ":");
		char *path = NULL;
		if (len > 0 && asprintf(&path, "%.*s/%s", len, dirs, name) < 0)
			return NULL;
		if (path && access(path, X_OK) == 0)
			return path;
		free(path);
		dirs += len + (dirs[len] == ':');
	}
	return NULL;
}

static int listen_and_connect(const char *dir, int *ret_listen, int *ret_socket)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = -EIO;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/nbd", dir);
	if (server >= 0 && client >= 0 &&
	    bind(server, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(server, 1) == 0 &&
	    connect(client, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		r = 0;
	else
		r = -errno;
	unlink(addr.sun_path);
	if (r < 0) {
		if (server >= 0)
			close(server);
		if (client >= 0)
			close(client);
		return r;
	}
	*ret_listen = server;
	*ret_socket = client;
	return 0;
}

static int make_sockets(int *ret_listen, int *ret_socket)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	char dir[64];

	/* A socket's path has room for 107 bytes. */
	if (!base || strlen(base) > 32 || access(base, W_OK) != 0)
		base = "/tmp";
	snprintf(dir, sizeof(dir), "%s/stickvm-XXXXXX", base);
	if (!mkdtemp(dir))
		return -errno;
	int r = listen_and_connect(dir, ret_listen, ret_socket);
	rmdir(dir);
	return r;
}

/* The environment of the child: ours, and two variables of which the child fills in the first. */
struct child_env {
	char **vars;
	char pid[32];
};

static int make_env(struct child_env *env)
{
	static char fds[] = "LISTEN_FDS=1";
	size_t count = 0, kept = 0;

	while (environ && environ[count])
		count++;
	env->vars = calloc(count + 3, sizeof(*env->vars));
	if (!env->vars)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], "LISTEN_", 7) != 0)
			env->vars[kept++] = environ[i];
	snprintf(env->pid, sizeof(env->pid), "LISTEN_PID=");
	env->vars[kept++] = env->pid;
	env->vars[kept] = fds;
	return 0;
}

/* Only async-signal-safe calls from here to execve: other threads may hold any lock. */
static void append_number(char *text, unsigned long number)
{
	char digits[24];
	size_t n = 0;

	while (*text)
		text++;
	do
		digits[n++] = (char)('0' + number % 10);
	while (number /= 10);
	while (n > 0)
		*text++ = digits[--n];
	*text = '\0';
}

static void child_run(const char *path, const char *const argv[], struct child_env *env,
		      int listen_fd, int said_fd)
{
	sigset_t none;

	/* Ctrl-C is for us to answer, and must not end it in the middle of a read. */
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Out of the way of the four numbers that are about to be taken. */
	listen_fd = fcntl(listen_fd, F_DUPFD, LISTEN_FD + 1);
	said_fd = fcntl(said_fd, F_DUPFD, LISTEN_FD + 1);
	int null_fd = open("/dev/null", O_RDWR);
	if (listen_fd < 0 || said_fd < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 ||
	    dup2(null_fd, 1) < 0 || dup2(said_fd, 2) < 0 || dup2(listen_fd, LISTEN_FD) < 0)
		_exit(127);
	close_range(LISTEN_FD + 1, ~0u, 0);
	append_number(env->pid, (unsigned long)getpid());
	execve(path, (char *const *)argv, env->vars);
	_exit(127);
}

static int start(const char *path, const char *const argv[], int listen_fd,
		 struct qemu_process *ret_process)
{
	struct child_env env;
	sigset_t all, before;

	int said_fd = memfd_create("stickvm-qemu", MFD_CLOEXEC);
	if (said_fd < 0)
		return -errno;
	int r = make_env(&env);
	if (r < 0) {
		close(said_fd);
		return r;
	}
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	if (pid == 0)
		child_run(path, argv, &env, listen_fd, said_fd);
	r = pid < 0 ? -errno : 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	free(env.vars);
	if (r < 0) {
		close(said_fd);
		return r;
	}
	ret_process->pid = pid;
	ret_process->said_fd = said_fd;
	return 0;
}

int qemu_process_start(const char *path, const char *const argv[], struct qemu_process *ret_process,
		       int *ret_socket, struct sv_source_error *err)
{
	int listen_fd = -1, socket_fd = -1;

	int r = make_sockets(&listen_fd, &socket_fd);
	if (r < 0)
		return source_fail(err, r, "no private socket can be made for QEMU: %s",
				   strerror(-r));
	r = start(path, argv, listen_fd, ret_process);
	close(listen_fd);
	if (r < 0) {
		close(socket_fd);
		return source_fail(err, r, "%s cannot be started: %s", path, strerror(-r));
	}
	*ret_socket = socket_fd;
	return 0;
}

/* "qemu-nbd: Failed to open 'json:{...}': WHY" becomes "WHY". */
static void last_words(int fd, char *text, size_t text_size)
{
	char said[2048];
	ssize_t n = pread(fd, said, sizeof(said) - 1, 0);

	said[n > 0 ? n : 0] = '\0';
	said[strcspn(said, "\n")] = '\0';
	char *why = strstr(said, "}': ");
	if (why)
		why += 4;
	else
		why = strncmp(said, "qemu-nbd: ", 10) == 0 ? said + 10 : said;
	snprintf(text, text_size, "%s", why);
}

void qemu_process_end(struct qemu_process *process, char *text, size_t text_size)
{
	/* It has nothing to lose: the image is open for reading only. */
	kill(process->pid, SIGKILL);
	while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (text)
		last_words(process->said_fd, text, text_size);
	close(process->said_fd);
}
