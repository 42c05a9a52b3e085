/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_stop.c: stickvm stop: asks the session of a running VM to end it. */
#include <stdlib.h>

#include "run_control.h"
#include "stick.h"
#include "ui.h"
#include "verbs.h"

enum {
	PATIENCE_S = 60,
	FORCED_PATIENCE_S = 10, /* --force without --timeout: the guest has this long */
	CLOSING_S = 3600,	/* a slow stick may take long to take the last bytes */
};

static int find_vm(const struct args *args, struct vm *ret_vm, struct err *err)
{
	struct stick stick;
	char *name = NULL, *path;
	int rc;

	if (stick_open(args->stick, &stick, err) < 0)
		return -1;
	rc = stick_pick(&stick, args_operand(args, 0), &name, err);
	if (rc == 0) {
		path = stick_vm_path(&stick, name, "vm.yaml");
		rc = vm_load(path, ret_vm, err);
		free(path);
	}
	free(name);
	stick_free(&stick);
	return rc;
}

int cmd_stop(const struct args *args)
{
	const bool force = args_has(args, "force");
	const uint32_t timeout_s =
		args_number(args, "timeout", force ? FORCED_PATIENCE_S : PATIENCE_S);
	struct vm vm;
	struct err err, why;
	json_t *reply = NULL;
	bool running;
	int rc;

	if (find_vm(args, &vm, &err) < 0)
		return ui_fail(args, &err);
	rc = control_ask(vm.uuid,
			 json_pack("{s:s, s:I, s:b}", "do", "stop", "timeout_s",
				   (json_int_t)timeout_s, "force", force),
			 (int)(timeout_s + CLOSING_S) * 1000, &reply, &running, &why);
	json_decref(reply);
	if (rc < 0)
		err_set(&err, why.status, "%s: %s", vm.name, why.text);
	vm_free(&vm);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
