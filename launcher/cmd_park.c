/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_park.c: `park`: has a frozen VM saved on this host, or writes the disk of one that is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "park_export.h"
#include "park_home.h"
#include "run_control.h"
#include "ui.h"
#include "verbs.h"
#include "vm_pick.h"

enum { SAVING_MS = 3600 * 1000 };

/* The first time on this host. */
static int ask(const struct args *args, const char *name, const char *uuid, struct err *err)
{
	struct park_home home;
	char question[400];
	bool agreed;

	if (park_home_name(uuid, &home, err) < 0)
		return -1;
	agreed = args_has(args, "yes") || park_home_agreed(&home);
	snprintf(question, sizeof question,
		 "Keep %s on this host, encrypted, in %.200s, until its stick is back?", name,
		 home.dir);
	park_home_free(&home);
	if (agreed)
		return 0;
	if (!ui_interactive())
		return err_set(
			err, EXIT_USAGE,
			"%s: nothing of it was kept on this host before, and there is nobody "
			"to ask; add --yes",
			name);
	return ui_ask(question) ? 0 : err_set(err, EXIT_FAILED, "%s: not parked", name);
}

/* The stick is gone: the session itself is asked who it is. */
static int park(const struct args *args, struct err *err)
{
	json_t *status = NULL, *reply = NULL;
	const char *name, *uuid;
	struct err why;
	bool running;
	int rc;

	if (control_find(args_operand(args, 0), &status, err) < 0)
		return -1;
	name = json_string_value(json_object_get(status, "name"));
	uuid = json_string_value(json_object_get(status, "uuid"));
	rc = name && uuid ? 0 : err_set(err, EXIT_FAILED, "the session did not say who it is");
	if (rc == 0)
		rc = ask(args, name, uuid, err);
	if (rc == 0 && control_ask(uuid, json_pack("{s:s}", "do", "park"), SAVING_MS, &reply,
				   &running, &why) < 0)
		rc = err_set(err, why.status, "%s: %s", name, why.text);
	if (rc == 0)
		printf("%s is parked on this host; plug its stick in and 'stickvm run %s' goes "
		       "on\n",
		       name, name);
	json_decref(reply);
	json_decref(status);
	return rc;
}

static int export(const struct args *args, struct err *err)
{
	const char *file = args_text(args, "export", NULL);
	struct vm_pick pick;
	uint64_t bad = 0;
	int rc;

	if (vm_pick(args, args_operand(args, 0), &pick, err) < 0)
		return -1;
	rc = park_export(&pick.stick, &pick.vm, file, &bad, err);
	if (rc == 0 && bad)
		rc = err_set(err, EXIT_DAMAGE,
			     "%s: %s: %llu blocks of 4 KiB were written over on the stick since, "
			     "and are zeros there; the rest is as it was",
			     pick.vm.name, file, (unsigned long long)bad);
	else if (rc == 0)
		printf("%s: its disk as it was when it was parked is in %s\n", pick.vm.name, file);
	vm_pick_free(&pick);
	return rc;
}

int cmd_park(const struct args *args)
{
	struct err err;
	int rc = args_has(args, "export") ? export(args, &err) : park(args, &err);

	return rc < 0 ? ui_fail(args, &err) : EXIT_DONE;
}
