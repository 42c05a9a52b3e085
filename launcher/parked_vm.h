/* SPDX-License-Identifier: GPL-2.0-or-later */
/* parked_vm.h: a VM that was parked on this host: what it says, and the way back to its stick. */
#ifndef LAUNCHER_PARKED_VM_H
#define LAUNCHER_PARKED_VM_H

#include "park_home.h"
#include "plan.h"
#include "stickvm/park.h"

/* What stands before everything else in a parked state. */
struct parked_words {
	char id[PARK_ID_CHARS + 1]; /* random */
	char machine[256];	    /* what must be the same for the machine to go on */
	uint64_t frozen_s;	    /* Unix time at which the guest's clock stood still */
};

/* The machine of a VM under this accelerator, as one line. */
void parked_machine(const struct vm *vm, enum plan_accel accel, char ret_text[256]);
/* Makes the words of a state that is about to be parked. */
void parked_words_new(const char *machine, uint64_t frozen_s, struct parked_words *ret_words);
/* 0 or a negative errno. */
int parked_words_put(struct park_writer *writer, const struct parked_words *words);

struct parked_vm {
	struct park_home home;
	struct parked_words words;
	struct sv_parked *data;
	struct park_reader *reader; /* at the machine's state; NULL once it is taken */
};

/* Reads the state of this VM that is parked here, up to the machine's. EXIT_NO_RESUME where it
 * cannot be read. The caller frees it. */
int parked_vm_open(const struct stick *stick, const struct vm *vm, struct parked_vm *ret_parked,
		   struct err *err);
void parked_vm_free(struct parked_vm *parked); /* takes an emptied one */

/*
 * Gives the stick what it lacks and opens the disk, as vm_store_open does. EXIT_NO_RESUME with
 * *ret_stale where others have gone on with it: then nothing was written.
 */
int parked_vm_restore(struct parked_vm *parked, const struct stick *stick, const struct vm *vm,
		      const struct sv_open_options *opts, struct sv_store **ret_store,
		      bool *ret_stale, struct err *err);

/* The state is used up: it goes from this host, durable. Before the guest goes on. */
int parked_vm_consume(struct parked_vm *parked, const struct stick *stick, const struct vm *vm,
		      struct err *err);

#endif
