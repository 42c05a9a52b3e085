/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_session.h: the state of a session; private to run*.c. */
#ifndef LAUNCHER_RUN_SESSION_H
#define LAUNCHER_RUN_SESSION_H

#include <stdint.h>

#include "qmp.h"
#include "run.h"
#include "run_cd.h"
#include "run_console.h"
#include "run_control.h"
#include "run_disk.h"
#include "run_migration.h"
#include "run_park.h"
#include "run_pull.h"
#include "run_qemu.h"
#include "run_vars.h"

enum vm_phase { PHASE_STARTING = 0, PHASE_RUNNING, PHASE_PAUSED };

/* How far the session is on its way to the end. */
enum ending {
	ENDING_NOT = 0,
	ENDING_ASKED,  /* the power button is pressed, again and again */
	ENDING_FORCED, /* QEMU was told to quit, and is killed if it does not */
	ENDING_KILLED,
};

/* Points in time (CLOCK_MONOTONIC, ms) at which something is due; INT64_MAX: never. */
struct due {
	int64_t press_ms; /* the power button again */
	int64_t force_ms; /* give up waiting for the guest */
	int64_t kill_ms;  /* give up waiting for QEMU */
	int64_t retry_ms; /* let a VM that was stopped by an error try again */
	int64_t lost_ms;  /* QEMU lives although its monitor ended */
	int64_t calm_ms;  /* an error that did not come back is over */
};

struct session {
	const struct run_request *req;
	struct run_disk disk;
	struct run_qemu qemu;
	struct qmp *qmp;   /* NULL: not connected, or lost */
	int qmp_listen_fd; /* -1: connected, or never listened */
	int signal_fd;
	struct console console;
	struct control control;
	struct pull pull;
	struct park park;
	struct migration migration;
	struct vars vars;
	struct cd cd;

	enum vm_phase phase;
	enum ending ending;
	enum exit_status forced_status; /* of the run where it ends by force */
	char forced_why[320];		/* and why; "": "ended by force" */
	struct due due;
	unsigned interrupts;   /* SIGINTs so far */
	unsigned terminations; /* SIGTERMs and SIGHUPs so far */
	bool asking;	       /* a question waits on the terminal */
	bool io_error;	       /* reported, not yet over */
	bool resumed;	       /* by a user; not yet known whether for good */
	unsigned retry_wait_ms;
	bool rot_told;		  /* that blocks of the disk have rotted */
	bool disk_lost;		  /* the FUSE server ended under QEMU */
	char shutdown_reason[32]; /* of QEMU's SHUTDOWN event; "": none came */
};

int64_t session_now_ms(void);
void session_say(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The endings (run_ending.c). */
void ending_ask(struct session *s);
/* The guest is left alone again, where it was only asked. */
void ending_give_up(struct session *s);
void ending_force(struct session *s, enum exit_status status);
void ending_on_signal(struct session *s, int signal_number);
void ending_on_answer(struct session *s);
void ending_on_key(struct session *s, enum console_key key);
/* Does what is due by now. */
void ending_tick(struct session *s);
/* The next point in time at which ending_tick has something to do; INT64_MAX: none. */
int64_t ending_next_ms(const struct session *s);

/* What QEMU says (run_events.c). */
qmp_on_event events_take;
void events_ask_status(struct session *s);
void events_retry(struct session *s);
/* Says once that rot was found while nobody read. */
void events_look_for_rot(struct session *s);
/* A user lets a paused VM go on, with the guest's reserve where `grace`; NULL, else why not. */
const char *events_resume(struct session *s, bool grace);

/* The stick is pulled, and comes back (run_pull.c). */
void pull_init(struct session *s);
/* The VM is frozen: the stick is gone, or (slept_ms > 0) the host has slept for so long. */
void pull_begin(struct session *s, int64_t slept_ms);
/* Looks whether the stick is gone, and freezes the VM then; whether it is frozen. */
bool pull_check(struct session *s);
bool pull_frozen(const struct session *s);
/* At most PULL_POLLS places for poll(). */
void pull_polls(const struct session *s, struct pollfd *polls);
/* Takes what came in, and does what is due. */
void pull_pump(struct session *s, const struct pollfd *polls);
int64_t pull_next_ms(const struct session *s);
/* Looks for the stick at once. */
void pull_retry(struct session *s);
/* The VM is to be ended: what it waits for fails, so that it can. */
void pull_let_go(struct session *s);
void pull_end(struct session *s);
/* What an end without the stick means, once the disk could not be closed. */
void pull_explain_end(const struct session *s, struct err *err);

/* Ends the search for the stick; false where it has come back meanwhile, and the VM goes on. */
bool pull_stop_looking(struct session *s);
/* Searches anew. */
void pull_look_again(struct session *s);
/* The guest's clock is behind by so much: it is set, or the lag is told. */
void pull_set_clock(struct session *s, int64_t lag_ms);

/* Where the stick's folder is (run_home.c). It is not where it was, and nobody looks for it. */
void home_lost(struct session *s);
/* Somebody does. */
void home_seek(struct session *s);
/* What the one who looks has found. */
void home_take(struct session *s);
/* It is here, and all that lies in it follows. */
void home_is(struct session *s, const char *dir);
/* At the end: whether the folder is where stick->dir says, waiting a little for it. */
bool home_settle(struct session *s);

/* The firmware's variables (run_vars.c). */
void vars_init(struct session *s);
void vars_tick(struct session *s);
/* The stick's folder is there again. */
void vars_follow(struct session *s);
/* QEMU has ended: the stick gets the last of them. */
void vars_end(struct session *s);

/* The CD-ROM drive (run_cd.c). */
void cd_init(struct session *s);
void cd_end(struct session *s);
void cd_follow(struct session *s);
/* It could not be read although its stick is there, and the VM has stopped. */
void cd_failed(struct session *s);

/* QEMU's state through a socket (run_migration.c). */
void migration_begin(struct session *s, const char *command, const char *socket);
void migration_tick(struct session *s);
void migration_cancel(struct session *s);

/* The VM is parked (run_park.c), or was (run_unpark.c). */
void park_init(struct session *s);
/* NULL: it is on its way, and `client` is told how it ended; else why not. */
const char *park_begin(struct session *s, unsigned client);
void park_poll(const struct session *s, struct pollfd *poll);
void park_pump(struct session *s, const struct pollfd *poll);
/* Whatever was under way; QEMU has ended. */
void park_end(struct session *s);
/* The thread that carries the bytes, one at a time. */
int park_thread(struct session *s, void *(*work)(void *arg));
void park_join(struct session *s);
void unpark_begin(struct session *s);
void unpark_pump(struct session *s);

/* What other processes ask (run_requests.c). */
control_on_request requests_take;
void requests_tick(struct session *s);
int64_t requests_next_ms(const struct session *s);
/* Tells those who wait for `stop` how it ended; `why` NULL: well. */
void requests_end(struct session *s, const char *why);

#endif
