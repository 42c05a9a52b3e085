/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wear_history.h: histories of stores as JSON, and as lines of the stick's own file. */
#ifndef LAUNCHER_WEAR_HISTORY_H
#define LAUNCHER_WEAR_HISTORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "stickvm/history.h"

/* As sv_history_json; the caller's. NULL without memory. */
json_t *history_to_json(const struct sv_history *history);
/* What history_to_json made, or the history.json of a mount. False where it is none. */
bool history_from_json(const json_t *json, struct sv_history *ret_history);

/* The lines of a history in stick.yaml, each indented by `indent` spaces. */
void history_print(FILE *out, const struct sv_history *history, int indent);
/* One of these lines, as key and value. False where it makes no sense. */
bool history_take(struct sv_history *history, const char *key, const char *value);

/* Days since 1970-01-01, UTC. */
uint32_t history_today(void);

#endif
