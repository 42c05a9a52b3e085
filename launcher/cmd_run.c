/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_run.c: stickvm run: facts, plan, command line, session. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "carry.h"
#include "consent.h"
#include "file.h"
#include "run.h"
#include "run_detach.h"
#include "run_vars.h"
#include "tune.h"
#include "ui.h"
#include "verbs.h"
#include "vm_cache.h"
#include "vm_look.h"
#include "vm_pick.h"
#include "vm_store.h"

/* Everything that a run needs, from the command line to QEMU's. */
struct job {
	const struct args *args;
	struct stick stick;
	struct vm vm;
	struct wishes wishes;
	struct facts facts;
	struct plan plan;
	struct run_dir dir;
	struct argv argv;
	char *vars;   /* the VM's own firmware variables */
	char *iso;    /* absolute; NULL: none */
	char *serial; /* absolute, or "stdio"; NULL: none */
	char *qemu;   /* the program that is executed: a copy where it lies on the stick */
	struct carry_folder carried; /* what QEMU is started from then */
	struct parked_vm parked;     /* emptied: it was not parked here */
	bool unparks;		     /* QEMU is to go on from that */
	uint8_t park_key[PARK_KEY_BYTES];
	int start_fd; /* of a detached child until it runs; -1 */
};

static int word_index(const char *const *words, const char *word)
{
	int i = 0;

	while (word && words[i] && strcmp(words[i], word) != 0)
		i++;
	return word && words[i] ? i : 0;
}

static char *absolute(const char *path)
{
	char *cwd, *full;

	if (path[0] == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	full = cwd ? file_path("%s/%s", cwd, path) : NULL;
	free(cwd);
	return full;
}

static int take_wishes(struct job *job, struct err *err)
{
	static const char *const accels[] = {"auto", "kvm", "tcg", NULL};
	static const char *const displays[] = {"auto", "none", "gtk", "sdl", "vnc", "spice", NULL};
	const struct args *args = job->args;
	const char *serial = args_text(args, "serial", NULL);

	if (strcmp(args_text(args, "transport", "auto"), "nbd") == 0)
		return err_set(err, EXIT_USAGE,
			       "--transport nbd: not in this version; use auto or fuse");
	if (strcmp(args_text(args, "policy", "stick"), "host") == 0)
		return err_set(err, EXIT_USAGE, "--policy host: not in this version; use stick");
	job->wishes.accel = word_index(accels, args_text(args, "accel", NULL));
	job->wishes.display = word_index(displays, args_text(args, "display", NULL));
	job->wishes.cache = args_text(args, "cache", NULL);
	job->wishes.detach = args_has(args, "detach");
	if (!serial)
		return 0;
	job->serial = strcmp(serial, "stdio") == 0 ? strdup(serial) : absolute(serial);
	job->wishes.serial = job->serial;
	if (job->serial && job->wishes.detach && job->serial[0] != '/')
		return err_set(err, EXIT_USAGE,
			       "--serial stdio: a detached run has no terminal; name a file");
	return 0;
}

static int take_vm(struct job *job, struct err *err)
{
	char *name = NULL;
	int rc;

	if (stick_open(job->args->stick, &job->stick, err) < 0 ||
	    stick_pick(&job->stick, args_operand(job->args, 0), &name, err) < 0)
		return -1;
	rc = vm_pick_load(&job->stick, name, &job->vm, err);
	job->vars = stick_vm_path(&job->stick, name, "uefi-vars.fd");
	free(name);
	if (rc == 0 && job->vm.iso)
		job->iso = job->vm.iso[0] == '/'
				   ? strdup(job->vm.iso)
				   : stick_vm_path(&job->stick, job->vm.name, job->vm.iso);
	return rc;
}

static void make_plan(struct job *job)
{
	const struct facts_wanted wanted = {
		.qemu = getenv("STICKVM_QEMU"),
		.ssh_port = job->vm.ssh_port,
		.stick = job->stick.dir,
		.no_kvm = job->wishes.accel == WISH_TCG && !args_has(job->args, "dry-run"),
	};

	facts_gather(&wanted, &job->facts);
	job->facts.stick_read_rate = job->stick.measured.read_rate;
	job->facts.stick_write_rate = job->stick.measured.write_rate;
	job->facts.stick_random_read_us = job->stick.measured.random_read_us;
	tune(&job->facts, &job->vm, &job->wishes, &job->plan);
}

static void make_argv(struct job *job)
{
	const struct argv_paths paths = {
		.disk = job->dir.disk,
		.firmware_vars = job->dir.vars,
		.iso = job->iso,
		.qmp = job->dir.qmp,
		.agent = job->dir.agent,
		.serial = job->dir.serial,
		.screen = job->dir.screen,
		.incoming = job->unparks,
	};

	argv_build(&job->plan, &job->vm, &paths, job->args->tail, job->args->tail_count,
		   &job->argv);
}

/* Dry run: what would be done, and why. */

static unsigned terminal_columns(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	return 120;
}

static void print_plan(const struct job *job)
{
	char *rows = plan_to_text(&job->plan, terminal_columns());
	char *command = job->plan.qemu ? argv_to_text(&job->argv) : NULL;

	fputs(rows ? rows : "", stdout);
	if (command)
		printf("\n%s", command);
	free(command);
	free(rows);
}

static json_t *argv_json(const struct argv *argv)
{
	json_t *words = json_array();

	for (size_t i = 0; i < argv->count; i++)
		json_array_append_new(words, json_string(argv->items[i]));
	return words;
}

static int dry_run(struct job *job)
{
	struct err err;
	int status = EXIT_DONE;

	make_plan(job);
	if (job->plan.qemu)
		make_argv(job);
	if (args_has(job->args, "json"))
		status = ui_json(job->args, json_pack("{s:s, s:o, s:o, s:o}", "vm", job->vm.name,
						      "decisions", plan_to_json(&job->plan),
						      "facts", facts_to_json(&job->facts), "argv",
						      argv_json(&job->argv)));
	else
		print_plan(job);
	if (plan_check(&job->plan, &err) < 0)
		return ui_fail(job->args, &err);
	return status;
}

/* The session. */

/* In raw mode the terminal adds no carriage return by itself. */
static void say(void *ctx, const char *text)
{
	struct termios mode;
	const bool raw = tcgetattr(STDERR_FILENO, &mode) == 0 && !(mode.c_oflag & OPOST);

	(void)ctx;
	fprintf(stderr, "stickvm run: %s%s", text, raw ? "\r\n" : "\n");
}

static void say_notes(const struct job *job)
{
	for (size_t i = 0; i < job->plan.count; i++) {
		const struct decision *row = &job->plan.decisions[i];
		char text[512];

		if (row->level != PLAN_NOTE)
			continue;
		snprintf(text, sizeof text, "note: %s: %s", row->name, row->reason);
		say(NULL, text);
	}
}

static void on_running(void *ctx)
{
	struct job *job = ctx;
	const char *accel = job->plan.accel == PLAN_KVM ? "KVM" : "TCG";
	char text[512];

	carry_end(&job->carried);
	if (job->start_fd >= 0) {
		run_detached(job->start_fd, NULL, job->dir.log);
		job->start_fd = -1;
	}
	snprintf(text, sizeof text, "%s runs (%s)%s", job->vm.name, accel,
		 job->plan.serial == PLAN_SERIAL_STDIO && isatty(STDIN_FILENO)
			 ? "; Ctrl-] opens a menu"
		 : isatty(STDIN_FILENO) ? "; Ctrl-C asks the guest to power off"
					: "");
	say(NULL, text);
	if (job->plan.display == PLAN_VNC || job->plan.display == PLAN_SPICE) {
		snprintf(text, sizeof text, "its screen: %s", job->dir.screen);
		say(NULL, text);
	}
}

/* A VM that another host may have left running. Looked at without writing, because opening for
 * writing makes this host the last one. */
static int check_last_host(const struct job *job, struct err *err)
{
	const struct sv_open_options opts = {.read_only = true, .manual = true};
	struct sv_recovery found;
	struct sv_store *store;
	char host[64];

	if (args_has(job->args, "take-over"))
		return 0;
	if (vm_store_open(&job->stick, &job->vm, &opts, &store, err) < 0)
		return -1;
	sv_store_recovery(store, &found);
	sv_store_abandon(store);
	vm_store_host(host);
	if (found.clean || !found.last_host[0] || strcmp(found.last_host, host) == 0)
		return 0;
	return err_set(err, EXIT_LOCKED,
		       "%s: its last session, on host %s, did not end cleanly: what that host had "
		       "not yet written to the stick is missing; end it there, or go on here from "
		       "what the stick has with --take-over",
		       job->vm.name, found.last_host);
}

/* ---- a state that is parked on this host ---- */

static int ask_cold(const struct job *job, const char *question, struct err *err)
{
	if (args_has(job->args, "yes"))
		return 0;
	if (!ui_interactive())
		return err_set(err, EXIT_USAGE,
			       "%s: its parked state would be discarded, and there is nobody to "
			       "ask; add --yes",
			       job->vm.name);
	return ui_ask(question) ? 0 : err_set(err, EXIT_FAILED, "%s: not started", job->vm.name);
}

static int check_machine(const struct job *job, struct err *err)
{
	char machine[256];

	parked_machine(&job->vm, job->plan.accel, machine);
	if (strcmp(machine, job->parked.words.machine) == 0)
		return 0;
	return err_set(
		err, EXIT_NO_RESUME,
		"%s: it was parked as another machine (%s) than it is now (%s); set it back, "
		"or start it afresh with --cold",
		job->vm.name, job->parked.words.machine, machine);
}

/* With --cold what the guest had written is kept, and what it was doing is not. */
static int take_parked(struct job *job, struct err *err)
{
	const bool cold = args_has(job->args, "cold");
	char question[200];

	if (!park_home_holds(job->vm.uuid))
		return 0;
	snprintf(question, sizeof question,
		 "%s was parked here. Discard what it was doing, and start it afresh?",
		 job->vm.name);
	if (cold && ask_cold(job, question, err) < 0)
		return -1;
	if (parked_vm_open(&job->stick, &job->vm, &job->parked, err) < 0) {
		struct park_home home;

		if (!cold || err->status != EXIT_NO_RESUME ||
		    park_home_name(job->vm.uuid, &home, err) < 0)
			return -1;
		unlink(home.path); /* of no use to anyone */
		park_home_free(&home);
		return 0;
	}
	job->unparks = !cold;
	return 0;
}

/* The disk as the parked VM left it; with --cold, where others have gone on, as they left it. */
static int open_parked(struct job *job, const struct sv_open_options *opts,
		       struct sv_store **ret_store, struct err *err)
{
	char question[200];
	bool stale = false;
	int rc = parked_vm_restore(&job->parked, &job->stick, &job->vm, opts, ret_store, &stale,
				   err);

	if (rc < 0 && !(stale && !job->unparks))
		return -1;
	snprintf(question, sizeof question,
		 "The disk of %s was used elsewhere since: what was parked fits it no more. "
		 "Discard what it had written, too?",
		 job->vm.name);
	if (rc < 0 && ask_cold(job, question, err) < 0)
		return -1;
	if (job->unparks)
		return 0;
	if (parked_vm_consume(&job->parked, &job->stick, &job->vm, err) < 0) {
		if (rc == 0)
			sv_store_abandon(*ret_store);
		return -1;
	}
	parked_vm_free(&job->parked);
	return rc == 0 ? 0 : vm_store_open(&job->stick, &job->vm, opts, ret_store, err);
}

static int open_store(struct job *job, struct sv_store **ret_store, struct err *err)
{
	struct sv_open_options opts = {
		.batch_bytes = job->plan.batch_bytes,
		.batch_age_ms = job->plan.batch_age_ms,
		.map_ram_bytes = job->plan.map_ram_bytes,
		.unit_bytes = job->plan.unit_bytes,
		.boot_set = true,
	};
	struct vm_cache cache;
	int rc = vm_cache_options(&job->stick, &job->vm, args_text(job->args, "cache", NULL), false,
				  &cache, &opts, err);

	if (rc == 0 && job->parked.data)
		rc = open_parked(job, &opts, ret_store, err);
	else if (rc == 0)
		rc = vm_store_open(&job->stick, &job->vm, &opts, ret_store, err);
	vm_cache_free(&cache);
	return rc;
}

/* That file is read for the guest: a link would lead to one of this host. */
static int check_vars(const struct job *job, struct err *err)
{
	struct stat st;

	if (lstat(job->vars, &st) < 0 || (S_ISREG(st.st_mode) && st.st_nlink == 1))
		return 0;
	return err_set(err, EXIT_FAILED,
		       "%s: is not a plain file of its own, and is not followed; remove it (the "
		       "firmware's variables begin anew then)",
		       job->vars);
}

/* The firmware's variables belong to the VM: copied once, then its own. */
static int prepare_vars(const struct job *job, struct err *err)
{
	char *text;
	size_t bytes;
	int rc;

	if (!job->plan.firmware_code || access(job->vars, F_OK) == 0)
		return 0;
	rc = file_read(job->plan.firmware_vars, VARS_MAX_BYTES, &text, &bytes);
	if (rc == 0) {
		rc = file_replace(job->vars, text, bytes);
		free(text);
	}
	if (rc < 0)
		return err_set(err, file_status(rc), "%s: cannot be copied from %s: %s; %s",
			       job->vars, job->plan.firmware_vars, strerror(-rc), file_advice(rc));
	return 0;
}

/* What QEMU gets (run_vars.c). */
static int copy_vars(const struct job *job, struct err *err)
{
	char *bytes;
	size_t count;
	int rc;

	if (!job->plan.firmware_code)
		return 0;
	rc = file_read_own(job->vars, VARS_MAX_BYTES, &bytes, &count);
	if (rc < 0)
		return err_set(err, file_status(rc), "%s: cannot be read: %s; %s", job->vars,
			       strerror(-rc), file_advice(rc));
	rc = file_replace_secret(job->dir.vars, bytes, count);
	free(bytes);
	return rc == 0 ? 0
		       : err_set(err, EXIT_FAILED, "%s: cannot be written: %s", job->dir.vars,
				 strerror(-rc));
}

/* A file for the serial port that cannot be written is told now, not by QEMU's last words. A
 * FIFO without a reader is fine: QEMU waits for one. */
static int check_files(const struct job *job, struct err *err)
{
	int fd;

	if (job->iso && access(job->iso, R_OK) < 0)
		return err_set(err, EXIT_FAILED,
			       "%s: the ISO cannot be read: %s; 'stickvm set %s "
			       "iso=' takes it out",
			       job->iso, strerror(errno), job->vm.name);
	if (job->plan.serial != PLAN_SERIAL_FILE)
		return 0;
	fd = open(job->serial, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0666);
	if (fd < 0 && errno != ENXIO)
		return err_set(err, EXIT_FAILED, "--serial %s: cannot be written: %s", job->serial,
			       strerror(errno));
	if (fd >= 0)
		close(fd);
	return 0;
}

static void say_room(const struct job *job, struct sv_store *store)
{
	struct sv_status status;
	char text[256];

	sv_store_status(store, &status);
	if (vm_look_warn_disk(job->vm.name, status.used_bytes, status.capacity_bytes, text,
			      sizeof text))
		say(NULL, text);
	if (vm_look_warn_stick(job->stick.dir, text, sizeof text))
		say(NULL, text);
}

static int session(struct job *job, struct err *err)
{
	const struct run_request req = {
		.stick = &job->stick,
		.vm = &job->vm,
		.plan = &job->plan,
		.argv = &job->argv,
		.dir = &job->dir,
		.iso = job->iso,
		.park_key = job->park_key,
		.parked = job->unparks ? &job->parked : NULL,
		.may_ask = ui_interactive(),
		.say = say,
		.running = on_running,
		.ctx = job,
	};
	struct sv_store *store;
	struct err ignored;
	int status;

	run_block_signals();
	if (park_key_load(&job->stick, &job->vm, true, job->park_key, err) < 0)
		return err->status;
	if (open_store(job, &store, err) < 0)
		return err->status;
	say_room(job, store);
	if (prepare_vars(job, err) < 0 || run_dir_make(&job->dir, err) < 0 ||
	    copy_vars(job, err) < 0) {
		if (job->unparks) /* another host must still be told that something is missing */
			sv_store_abandon(store);
		else
			vm_store_close(&job->stick, &job->vm, store, &ignored);
		return err->status;
	}
	status = run_vm(&req, store, err);
	run_dir_remove(&job->dir);
	return status;
}

static int run_detached_session(struct job *job, struct err *err)
{
	enum exit_status status = EXIT_FAILED;
	int rc = run_detach(&status, &job->start_fd, err);

	if (rc < 0)
		return ui_fail(job->args, err);
	if (rc == 1) {
		if (status != EXIT_DONE)
			return ui_fail(job->args, err);
		fprintf(stderr,
			"stickvm run: %s runs in the background; 'stickvm stop %s' ends it; "
			"what it says is in %s\n",
			job->vm.name, job->vm.name, job->dir.log);
		return EXIT_DONE;
	}
	status = session(job, err);
	if (job->start_fd >= 0) {
		run_detached(job->start_fd, err, "/dev/null");
		return status;
	}
	return status == EXIT_DONE ? EXIT_DONE : ui_fail(job->args, err);
}

static int start(struct job *job)
{
	struct err err;
	int status;

	/* Before anything is open: this may begin anew as a copy of itself. */
	if (consent_ask(job->args, &job->stick, &job->vm, job->iso, &err) < 0 ||
	    check_vars(job, &err) < 0 || carry_self(job->stick.dir, job->args->program, &err) < 0)
		return ui_fail(job->args, &err);
	/* Then what takes no time; the facts take a second or two where KVM is broken. */
	if (check_last_host(job, &err) < 0)
		return ui_fail(job->args, &err);
	if (take_parked(job, &err) < 0)
		return ui_fail(job->args, &err);
	make_plan(job);
	if (plan_check(&job->plan, &err) < 0 || (job->unparks && check_machine(job, &err) < 0) ||
	    check_files(job, &err) < 0 ||
	    carry_program(job->plan.qemu, job->stick.dir, &job->carried, &job->qemu, &err) < 0)
		return ui_fail(job->args, &err);
	job->plan.qemu = job->qemu;
	make_argv(job);
	say_notes(job);
	if (job->wishes.detach)
		return run_detached_session(job, &err);
	status = session(job, &err);
	return status == EXIT_DONE ? EXIT_DONE : ui_fail(job->args, &err);
}

static void job_free(struct job *job)
{
	argv_free(&job->argv);
	facts_free(&job->facts);
	vm_free(&job->vm);
	stick_free(&job->stick);
	free(job->vars);
	free(job->iso);
	free(job->serial);
	free(job->qemu);
	carry_end(&job->carried);
	parked_vm_free(&job->parked);
	explicit_bzero(job->park_key, sizeof job->park_key);
}

int cmd_run(const struct args *args)
{
	struct job job = {.args = args, .start_fd = -1};
	struct err err;
	int status;

	if (take_wishes(&job, &err) < 0 || take_vm(&job, &err) < 0 ||
	    run_dir_name(job.vm.uuid, &job.dir, &err) < 0) {
		status = ui_fail(args, &err);
	} else {
		status = args_has(args, "dry-run") ? dry_run(&job) : start(&job);
	}
	job_free(&job);
	return status;
}
