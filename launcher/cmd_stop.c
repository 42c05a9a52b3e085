/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_stop.c: stickvm stop: asks the session of a running VM to end it. */
#include <stdlib.h>
#include <string.h>

#include "run_control.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"

enum {
	PATIENCE_S = 60,
	FORCED_PATIENCE_S = 10, /* --force without --timeout: the guest has this long */
	CLOSING_S = 3600,	/* a slow stick may take long to take the last bytes */
};

/* Whom to ask. */
struct target {
	char *name, *uuid;
};

static void target_free(struct target *target)
{
	free(target->name);
	free(target->uuid);
}

static int find_on_stick(const struct args *args, struct target *ret_target, struct err *err)
{
	struct vm_pick pick;

	if (vm_pick(args, args_operand(args, 0), &pick, err) < 0)
		return -1;
	ret_target->name = strdup(pick.vm.name);
	ret_target->uuid = strdup(pick.vm.uuid);
	vm_pick_free(&pick);
	return 0;
}

/* A frozen VM's stick is gone, but its session is here. `err` stays what it was if there is none.
 */
static int find_without_stick(const struct args *args, struct target *ret_target)
{
	const char *name, *uuid;
	json_t *status = NULL;
	struct err none;

	if (control_find(args_operand(args, 0), &status, &none) < 0)
		return -1;
	name = json_string_value(json_object_get(status, "name"));
	uuid = json_string_value(json_object_get(status, "uuid"));
	if (name && uuid)
		*ret_target = (struct target){strdup(name), strdup(uuid)};
	json_decref(status);
	return name && uuid ? 0 : -1;
}

int cmd_stop(const struct args *args)
{
	const bool force = args_has(args, "force");
	const uint32_t timeout_s =
		args_number(args, "timeout", force ? FORCED_PATIENCE_S : PATIENCE_S);
	struct target target = {NULL, NULL};
	struct err err, why;
	json_t *reply = NULL;
	bool running;
	int rc;

	if (find_on_stick(args, &target, &err) < 0 && find_without_stick(args, &target) < 0)
		return ui_fail(args, &err);
	if (!target.name || !target.uuid) {
		target_free(&target);
		return err_set(&err, EXIT_FAILED, "out of memory"), ui_fail(args, &err);
	}
	rc = control_ask(target.uuid,
			 json_pack("{s:s, s:I, s:b}", "do", "stop", "timeout_s",
				   (json_int_t)timeout_s, "force", force),
			 (int)(timeout_s + CLOSING_S) * 1000, &reply, &running, &why);
	json_decref(reply);
	if (rc < 0 && strncmp(why.text, target.name, strlen(target.name)) == 0)
		err = why; /* the session names itself */
	else if (rc < 0)
		err_set(&err, why.status, "%s: %s", target.name, why.text);
	target_free(&target);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
