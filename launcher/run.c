/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run.c: a session: starts everything in order, waits for events, ends everything in order. */
/*
 * One thread (this one) waits in poll() for everything: signals, QEMU's last words, its monitor,
 * the terminal, other processes, and time. It blocks nowhere else while the guest runs, so that
 * Ctrl-C and `stickvm stop` are always heard. The disk is served by threads of the FUSE adaptor.
 *
 * Start: signals, control socket, disk, monitor and console sockets, QEMU (which connects to
 * them). End: QEMU ends first, in whatever way; then the console is drained, the disk is served
 * no more, the store is closed, and only then those who asked for the end are told. So:
 *  I1  "stopped" means that the last byte is on the stick and the lock is free;
 *  I2  QEMU never outlives its disk: its death is waited for before the server ends.
 */
#include "run.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "run_session.h"
#include "scratch.h"

enum { CONSOLE_DRAIN_MS = 5000, DEATH_MS = 2000 };

/* The places of poll(). */
enum {
	AT_SIGNAL,
	AT_WORDS,
	AT_DISK,
	AT_QMP,
	AT_ANSWER,
	AT_CONSOLE,
	AT_CONTROL = AT_CONSOLE + CONSOLE_POLLS,
	AT_PULL = AT_CONTROL + CONTROL_POLLS,
	AT_PARK = AT_PULL + PULL_POLLS,
	POLLS,
};

int64_t session_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void session_say(struct session *s, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	s->req->say(s->req->ctx, text);
}

static void session_signals(sigset_t *ret_set)
{
	sigemptyset(ret_set);
	sigaddset(ret_set, SIGINT);
	sigaddset(ret_set, SIGTERM);
	sigaddset(ret_set, SIGHUP);
	sigaddset(ret_set, SIGCHLD);
}

void run_block_signals(void)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	session_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

/* A socket on which QEMU's monitor connects, once. */
static int listen_once(const char *path, int *ret_fd, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, 1) < 0) {
		int error = errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, EXIT_FAILED, "%s: cannot listen: %s", path, strerror(error));
	}
	*ret_fd = fd;
	return 0;
}

static int start_qemu(const struct run_request *req, struct run_qemu *qemu, struct err *err)
{
	const struct plan *plan = req->plan;
	int rc;

	if (!plan->scratch_bytes)
		return run_qemu_start(req->argv->items, -1, qemu, err);
	if (scratch_make(plan->scratch_folder, plan->scratch_bytes, err) < 0)
		return -1;
	rc = run_qemu_start(req->argv->items, SCRATCH_FD, qemu, err);
	scratch_close();
	return rc;
}

static int start(struct session *s, struct sv_store *store, struct err *err)
{
	const struct run_request *req = s->req;
	sigset_t set;

	/* The store is the disk's from here on, also when it fails. */
	if (run_disk_serve(store, req->dir->mount, req->vm->name, !req->plan->stop_on_error,
			   &s->disk, err) < 0)
		return -1;
	pull_init(s);
	vars_init(s);
	cd_init(s);
	session_signals(&set);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return err_set(err, EXIT_FAILED, "signals: %s", strerror(errno));
	if (control_listen(req->dir->control, &s->control, err) < 0 ||
	    listen_once(req->dir->qmp, &s->qmp_listen_fd, err) < 0)
		return -1;
	if (req->plan->serial == PLAN_SERIAL_STDIO &&
	    console_listen(req->dir->serial, isatty(STDIN_FILENO) && isatty(STDOUT_FILENO),
			   &s->console, err) < 0)
		return -1;
	return start_qemu(req, &s->qemu, err);
}

static void accept_qmp(struct session *s)
{
	int fd = accept4(s->qmp_listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	close(s->qmp_listen_fd);
	s->qmp_listen_fd = -1;
	s->qmp = qmp_new(fd, events_take, s);
	if (s->qmp && s->req->parked)
		unpark_begin(s);
	else if (s->qmp)
		events_ask_status(s);
}

static void pump_qmp(struct session *s, short revents)
{
	struct err err;

	if (s->qmp_listen_fd >= 0 && revents)
		accept_qmp(s);
	if (!s->qmp || qmp_pump(s->qmp, &err) == 0)
		return;
	/* Usual at the end: its death follows at once. */
	s->due.lost_ms = session_now_ms() + DEATH_MS;
	qmp_free(s->qmp);
	s->qmp = NULL;
}

static void pump_signals(struct session *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
		ending_on_signal(s, (int)info.ssi_signo);
}

static void pump_disk(struct session *s)
{
	if (s->disk_lost)
		return;
	s->disk_lost = true;
	session_say(s, "%s: its disk was unmounted under it: the VM is ended", s->req->vm->name);
	run_qemu_kill(&s->qemu);
}

static int64_t min_ms(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int wait_ms(const struct session *s)
{
	const int64_t now = session_now_ms();
	int64_t next = min_ms(ending_next_ms(s), requests_next_ms(s));
	int64_t wait;
	int qmp_ms = s->qmp ? qmp_wait_ms(s->qmp) : -1;

	next = min_ms(next, min_ms(pull_next_ms(s), s->migration.look_ms));
	next = min_ms(next, min_ms(s->due.lost_ms, min_ms(s->due.retry_ms, s->due.calm_ms)));
	wait = next == INT64_MAX ? -1 : next <= now ? 0 : min_ms(next - now, 3600000);
	if (qmp_ms >= 0 && (wait < 0 || qmp_ms < wait))
		wait = qmp_ms;
	return (int)wait;
}

static void tick(struct session *s)
{
	const int64_t now = session_now_ms();

	ending_tick(s);
	requests_tick(s);
	vars_tick(s);
	events_look_for_rot(s); /* at every turn: there is one a second */
	if (now >= s->due.retry_ms)
		events_retry(s);
	if (now >= s->due.lost_ms) {
		s->due.lost_ms = INT64_MAX;
		session_say(s,
			    "%s: QEMU's monitor does not answer any more; the guest can only be "
			    "shut down from inside, or ended by force",
			    s->req->vm->name);
	}
	if (now >= s->due.calm_ms) {
		s->due.calm_ms = INT64_MAX;
		s->io_error = s->resumed = false;
		s->retry_wait_ms = 0;
		s->cd.failures = 0;
		session_say(s, "%s: the disk works again, the VM goes on", s->req->vm->name);
	}
}

static void fill_polls(struct session *s, struct pollfd *polls)
{
	for (size_t i = 0; i < POLLS; i++)
		polls[i] = (struct pollfd){.fd = -1};
	polls[AT_SIGNAL] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
	polls[AT_WORDS] = (struct pollfd){.fd = s->qemu.words_fd, .events = POLLIN};
	if (!s->disk_lost)
		polls[AT_DISK] = (struct pollfd){.fd = s->disk.ended_fd, .events = POLLIN};
	if (s->qmp)
		polls[AT_QMP] =
			(struct pollfd){.fd = qmp_fd(s->qmp), .events = qmp_poll_events(s->qmp)};
	else
		polls[AT_QMP] = (struct pollfd){.fd = s->qmp_listen_fd, .events = POLLIN};
	if (s->asking)
		polls[AT_ANSWER] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
	pull_polls(s, polls + AT_PULL);
	park_poll(s, polls + AT_PARK);
}

static void loop(struct session *s)
{
	struct pollfd polls[POLLS];

	while (!run_qemu_ended(&s->qemu)) {
		size_t console_count, control_count;

		fill_polls(s, polls);
		console_count = console_polls(&s->console, polls + AT_CONSOLE);
		control_count = control_polls(&s->control, polls + AT_CONTROL);
		if (poll(polls, POLLS, wait_ms(s)) < 0 && errno != EINTR)
			session_say(s, "poll: %s", strerror(errno));
		run_qemu_listen(&s->qemu);
		pump_qmp(s, polls[AT_QMP].revents);
		pump_signals(s);
		if (polls[AT_DISK].revents)
			pump_disk(s);
		if (polls[AT_ANSWER].revents)
			ending_on_answer(s);
		ending_on_key(s, console_pump(&s->console, polls + AT_CONSOLE, console_count));
		control_pump(&s->control, polls + AT_CONTROL, control_count, requests_take, s);
		pull_pump(s, polls + AT_PULL);
		park_pump(s, polls + AT_PARK);
		tick(s);
	}
	pump_qmp(s, 0); /* the last events */
}

static void say_last_words(struct session *s)
{
	char *save = NULL;

	session_say(s, "QEMU's last words:%s", s->qemu.words_len ? "" : " none");
	for (char *line = strtok_r(s->qemu.words, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save))
		session_say(s, "  %s", line);
}

/* How it ended, once QEMU is gone. */
static enum exit_status judge(struct session *s, struct err *err)
{
	const char *name = s->req->vm->name;
	char how[96];

	if (s->disk_lost) {
		err_set(err, EXIT_FAILED, "%s: ended, because its disk was unmounted under it",
			name);
		return EXIT_FAILED;
	}
	if (s->ending >= ENDING_FORCED) {
		if (s->forced_status != EXIT_DONE)
			err_set(err, s->forced_status, "%s: %s", name,
				s->forced_why[0] ? s->forced_why : "ended by force");
		return s->forced_status;
	}
	if (run_qemu_fine(&s->qemu) && strcmp(s->shutdown_reason, "host-signal") != 0)
		return EXIT_DONE;
	run_qemu_explain(&s->qemu, how, sizeof how);
	if (run_qemu_fine(&s->qemu))
		snprintf(how, sizeof how, "was told to end by a signal from outside");
	say_last_words(s);
	if (s->park.state == PARK_LOADING) {
		err_set(err, EXIT_NO_RESUME,
			"%s: QEMU did not take its parked state and %s; the state is kept; "
			"'stickvm run --cold %s' discards it",
			name, how, name);
		return EXIT_NO_RESUME;
	}
	err_set(err, EXIT_FAILED, "%s: QEMU %s; what the guest had flushed is on the stick", name,
		how);
	return EXIT_FAILED;
}

/* What the stick's own files get at the end, where they are within reach (H2 in run_home.c). */
static void note(struct session *s, bool home, bool closed)
{
	struct err err;

	if (!closed || !s->disk.ended_well)
		return;
	if (!home)
		err_set(&err, EXIT_NO_STICK, "the stick's folder is not mounted");
	if (!home || run_disk_note(&s->disk, s->req->stick, s->req->vm, &err) < 0)
		session_say(s,
			    "%s: its counters are not in the stick's ledger yet: %s; the disk has "
			    "them, and the end of its next session notes them",
			    s->req->vm->name, err.text);
}

/* The end, from whatever point was reached. */
static enum exit_status finish(struct session *s, enum exit_status status, struct err *err)
{
	struct err close_err;
	bool home, closed;

	console_end(&s->console, CONSOLE_DRAIN_MS);
	qmp_free(s->qmp);
	s->qmp = NULL;
	if (s->qmp_listen_fd >= 0)
		close(s->qmp_listen_fd);
	run_qemu_free(&s->qemu); /* I2 */
	home = home_settle(s);
	vars_end(s);
	cd_end(s);
	pull_end(s);
	park_end(s);
	closed = run_disk_close(&s->disk, s->req->vm, &close_err) == 0;
	if (!closed) {
		if (status != EXIT_DONE)
			session_say(s, "%s", err->text);
		if (pull_frozen(s))
			pull_explain_end(s, &close_err);
		*err = close_err;
		status = close_err.status;
	}
	note(s, home, closed);
	requests_end(s, status == EXIT_FAILED || status == EXIT_NO_STICK ? err->text : NULL);
	control_close(&s->control); /* I1 */
	if (s->signal_fd >= 0)
		close(s->signal_fd);
	return status;
}

enum exit_status run_vm(const struct run_request *req, struct sv_store *store, struct err *err)
{
	struct session *s = calloc(1, sizeof *s);
	enum exit_status status = EXIT_FAILED;

	if (!s)
		abort();
	s->req = req;
	s->signal_fd = s->qmp_listen_fd = -1;
	s->disk.ended_fd = s->qemu.words_fd = -1;
	s->control.listen_fd = s->console.listen_fd = s->console.fd = -1;
	s->pull.agent.fd = -1;
	park_init(s);
	s->due = (struct due){.press_ms = INT64_MAX,
			      .force_ms = INT64_MAX,
			      .kill_ms = INT64_MAX,
			      .retry_ms = INT64_MAX,
			      .lost_ms = INT64_MAX,
			      .calm_ms = INT64_MAX};
	if (start(s, store, err) == 0) {
		loop(s);
		status = judge(s, err);
	}
	status = finish(s, status, err);
	free(s);
	return status;
}
