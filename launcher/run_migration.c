/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run_migration.c: tells QEMU to save or load its state through a socket, and asks how it goes. */
/*
 *	NOT -> ASKED -> GOING -> DONE
 *		 |        '----> FAILED
 *		 '-------------> FAILED	also where the monitor ends, since that ends every command
 */
#include <stdio.h>
#include <string.h>

#include "run_session.h"

enum { COMMAND_MS = 60000, LOOK_EVERY_MS = 100 };

/* No bound that a host could reach. */
#define BANDWIDTH_BYTES INT64_C(0x400000000)

static void failed(struct session *s, const char *why)
{
	s->migration.state = MIGRATION_FAILED;
	s->migration.look_ms = INT64_MAX;
	snprintf(s->migration.why, sizeof(s->migration.why), "%s", why);
}

static void on_begun(void *ctx, const json_t *result, const char *why)
{
	struct session *s = ctx;

	if (!result) {
		failed(s, why);
		return;
	}
	s->migration.state = MIGRATION_GOING;
	s->migration.look_ms = session_now_ms() + LOOK_EVERY_MS;
}

void migration_begin(struct session *s, const char *command, const char *socket)
{
	char uri[160];

	s->migration = (struct migration){.state = MIGRATION_ASKED, .look_ms = INT64_MAX};
	snprintf(uri, sizeof(uri), "unix:%s", socket);
	qmp_send(s->qmp, "migrate-set-parameters",
		 json_pack("{s:I}", "max-bandwidth", (json_int_t)BANDWIDTH_BYTES), COMMAND_MS, NULL,
		 NULL);
	qmp_send(s->qmp, command, json_pack("{s:s}", "uri", uri), COMMAND_MS, on_begun, s);
}

static void on_progress(void *ctx, const json_t *result, const char *why)
{
	struct session *s = ctx;
	const char *status = json_string_value(json_object_get(result, "status"));
	const char *words = json_string_value(json_object_get(result, "error-desc"));

	if (s->migration.state != MIGRATION_GOING)
		return;
	if (!result)
		failed(s, why);
	else if (status && strcmp(status, "completed") == 0)
		s->migration.state = MIGRATION_DONE;
	else if (status && (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0))
		failed(s, words ? words : "QEMU gave up");
	else
		s->migration.look_ms = session_now_ms() + LOOK_EVERY_MS;
}

void migration_tick(struct session *s)
{
	if (session_now_ms() < s->migration.look_ms)
		return;
	s->migration.look_ms = INT64_MAX;
	if (s->qmp)
		qmp_send(s->qmp, "query-migrate", NULL, COMMAND_MS, on_progress, s);
	else
		failed(s, "QEMU's monitor ended");
}

void migration_cancel(struct session *s)
{
	const enum migration_state was = s->migration.state;

	s->migration = (struct migration){.look_ms = INT64_MAX};
	if (s->qmp && (was == MIGRATION_ASKED || was == MIGRATION_GOING))
		qmp_send(s->qmp, "migrate_cancel", NULL, COMMAND_MS, NULL, NULL);
}
