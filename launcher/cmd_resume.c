/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_resume.c: `resume`: asks the session of a paused VM to let it go on. */
#include <stdio.h>

#include "run_control.h"
#include "size.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"

enum { PATIENCE_MS = 60000 }; /* a slow stick may be cleaning just now */

static void tell(const struct vm *vm, const json_t *reply, bool grace)
{
	char text[32];

	size_human((uint64_t)json_integer_value(json_object_get(reply, "grace_bytes")), text,
		   sizeof(text));
	if (grace)
		printf("%s goes on and may write %s more: delete files inside and trim (fstrim); "
		       "the reserve is kept again once there is room\n",
		       vm->name, text);
	else
		printf("%s goes on\n", vm->name);
}

int cmd_resume(const struct args *args)
{
	const bool grace = args_has(args, "grace");
	struct vm_pick pick;
	struct err err, why;
	json_t *reply = NULL;
	bool running;
	int rc;

	if (vm_pick(args, args_operand(args, 0), &pick, &err) < 0)
		return ui_fail(args, &err);
	rc = control_ask(pick.vm.uuid, json_pack("{s:s, s:b}", "do", "resume", "grace", grace),
			 PATIENCE_MS, &reply, &running, &why);
	if (rc == 0)
		tell(&pick.vm, reply, grace);
	else if (!running)
		err_set(&err, why.status, "%s: it is not running; start it with 'stickvm run %s'",
			pick.vm.name, pick.vm.name);
	else
		err_set(&err, why.status, "%s: %s", pick.vm.name, why.text);
	json_decref(reply);
	vm_pick_free(&pick);
	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
