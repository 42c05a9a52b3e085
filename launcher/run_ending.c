/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_ending.c: how a session ends: ask the guest, then QEMU, then the kernel. */
/*
 * ENDING_NOT -> ASKED -> FORCED -> KILLED, skipping what cannot work:
 *   ASKED   the ACPI power button. A guest that is still booting misses it, so it is pressed
 *           again every few seconds; a guest that is shutting down does not mind.
 *   FORCED  QMP quit: QEMU ends at once and closes its files. For the guest it is a power cut;
 *           whatever it flushed is safe.
 *   KILLED  SIGKILL, where QEMU does not even do that.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "run_session.h"

enum {
	PRESS_EVERY_MS = 3000,
	QUIT_MS = 5000,		    /* from FORCED to KILLED */
	SIGNAL_PATIENCE_MS = 60000, /* from ASKED to FORCED after SIGTERM */
	COMMAND_MS = 10000,
};

static void press(struct session *s)
{
	if (s->qmp && qmp_ready(s->qmp) && !pull_frozen(s))
		qmp_send(s->qmp, "system_powerdown", NULL, COMMAND_MS, NULL, NULL);
	s->due.press_ms = session_now_ms() + PRESS_EVERY_MS;
}

void ending_ask(struct session *s)
{
	if (s->ending >= ENDING_ASKED)
		return;
	s->ending = ENDING_ASKED;
	press(s);
	/* A paused guest cannot answer a button. */
	if (s->phase == PHASE_PAUSED)
		events_retry(s);
}

void ending_give_up(struct session *s)
{
	if (s->ending != ENDING_ASKED || s->interrupts || s->terminations)
		return;
	s->ending = ENDING_NOT;
	s->due.press_ms = INT64_MAX;
}

static void ending_kill(struct session *s)
{
	s->ending = ENDING_KILLED;
	s->due.kill_ms = INT64_MAX;
	run_qemu_kill(&s->qemu);
}

void ending_force(struct session *s, enum exit_status status)
{
	if (s->ending >= ENDING_FORCED) {
		ending_kill(s);
		return;
	}
	s->ending = ENDING_FORCED;
	s->forced_status = status;
	s->due.press_ms = s->due.force_ms = INT64_MAX;
	pull_let_go(s);
	if (!s->qmp || !qmp_ready(s->qmp)) {
		ending_kill(s);
		return;
	}
	qmp_send(s->qmp, "quit", NULL, COMMAND_MS, NULL, NULL);
	s->due.kill_ms = session_now_ms() + QUIT_MS;
}

static void ask_user(struct session *s)
{
	s->asking = true;
	session_say(s, "the guest has not powered off yet. Kill it now? "
		       "[k and Enter: kill; Enter: go on waiting; Ctrl-C: kill]");
}

/* A frozen guest hears no button. */
static void on_frozen_interrupt(struct session *s)
{
	if (s->asking || s->interrupts > 1) {
		s->asking = false;
		ending_force(s, EXIT_INTERRUPTED);
	} else if (s->req->may_ask && !s->console.raw) {
		s->asking = true;
		session_say(s, "the VM is frozen until its stick is back. End it now? What is not "
			       "on the stick yet is lost then. [e and Enter: end it; Enter: go on "
			       "waiting; Ctrl-C: end it]");
	} else {
		session_say(s, "the VM is frozen until its stick is back; Ctrl-C again ends it, "
			       "and what is not on the stick yet is lost then");
	}
}

static void on_interrupt(struct session *s)
{
	s->interrupts++;
	if (pull_frozen(s)) {
		on_frozen_interrupt(s);
	} else if (s->interrupts == 1 && s->qmp && qmp_ready(s->qmp)) {
		session_say(s, "asking the guest to power off; Ctrl-C again to kill it");
		ending_ask(s);
	} else if (s->interrupts == 2 && s->req->may_ask && !s->console.raw) {
		ask_user(s);
	} else {
		s->asking = false;
		ending_force(s, EXIT_INTERRUPTED);
	}
}

static void on_termination(struct session *s)
{
	if (s->terminations++ > 0 || !s->qmp || !qmp_ready(s->qmp)) {
		ending_force(s, EXIT_INTERRUPTED);
		return;
	}
	session_say(s, "told to end: asking the guest to power off, then by force in %d s",
		    SIGNAL_PATIENCE_MS / 1000);
	s->forced_status = EXIT_INTERRUPTED;
	s->due.force_ms = session_now_ms() + SIGNAL_PATIENCE_MS;
	ending_ask(s);
}

void ending_on_signal(struct session *s, int signal_number)
{
	switch (signal_number) {
	case SIGINT:
		on_interrupt(s);
		break;
	case SIGTERM:
	case SIGHUP:
		on_termination(s);
		break;
	default: /* SIGCHLD: the loop looks after QEMU anyway */
		break;
	}
}

/* A line came on the terminal, or its end. */
void ending_on_answer(struct session *s)
{
	char answer[64];
	ssize_t got = read(STDIN_FILENO, answer, sizeof answer);

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	s->asking = false;
	if (got > 0 && answer[0] && strchr(pull_frozen(s) ? "eE" : "kK", answer[0]))
		ending_force(s, EXIT_INTERRUPTED);
	else
		s->interrupts = pull_frozen(s) ? 0 : 1; /* the next Ctrl-C asks again */
}

void ending_on_key(struct session *s, enum console_key key)
{
	switch (key) {
	case CONSOLE_POWER_OFF:
		session_say(s, "asking the guest to power off");
		ending_ask(s);
		break;
	case CONSOLE_KILL:
		ending_force(s, EXIT_INTERRUPTED);
		break;
	case CONSOLE_RETRY:
		events_retry(s);
		break;
	case CONSOLE_NOTHING:
		break;
	}
}

void ending_tick(struct session *s)
{
	const int64_t now = session_now_ms();

	if (now >= s->due.press_ms)
		press(s);
	if (now >= s->due.force_ms) {
		session_say(s, "the guest did not power off in time: ending it by force");
		ending_force(s, s->forced_status);
	}
	if (now >= s->due.kill_ms)
		ending_kill(s);
}

int64_t ending_next_ms(const struct session *s)
{
	int64_t next = s->due.press_ms;

	next = s->due.force_ms < next ? s->due.force_ms : next;
	return s->due.kill_ms < next ? s->due.kill_ms : next;
}
