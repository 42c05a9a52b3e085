/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pacer.h: when a command of the virtual clock starts and ends in real time. */
#ifndef FLASHSIM_PACER_H
#define FLASHSIM_PACER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Sleeps end late: by the timer's slack, by a busy machine. What a sleeper was late is given to
 * the next command as a head start, so that a sequence of commands takes what the virtual clock
 * says. Times are of CLOCK_MONOTONIC, in ns.
 */
struct fsim_pacer {
	uint64_t busy_until_ns;
	uint64_t late_ns;
};

uint64_t fsim_now_ns(void);
/* A command arrived and takes `busy_ns`; returns when it ends. `ret_idle_ns` is the time that
 * the device did nothing before it. */
uint64_t fsim_pacer_start(struct fsim_pacer *pacer, uint64_t arrival_ns, uint64_t busy_ns,
			  uint64_t *ret_idle_ns);
/* The sleep for the command is over. */
void fsim_pacer_woke(struct fsim_pacer *pacer, uint64_t now_ns);

#endif
