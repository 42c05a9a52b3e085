/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plan_case.h: a good host and a usual VM, from which tests of decisions depart. */
#ifndef TESTS_PLAN_CASE_H
#define TESTS_PLAN_CASE_H

#include "facts.h"
#include "vm.h"

/* A laptop with a USB 3 stick where everything works; no screen. The caller's: facts_free. */
struct facts plan_case_facts(void);

/* Sets one fact from JSON text ("null", "5", "\"uas\""); asserts that it exists. */
void plan_case_set(struct facts *facts, const char *name, const char *json);

/* A Linux VM on virtio-blk with UEFI and roam-v3. Texts are literals: not to be freed. */
struct vm plan_case_vm(void);

#endif
