/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kvm_probe.h: whether KVM is there, may be used, and really runs a guest at speed. */
#ifndef LAUNCHER_KVM_PROBE_H
#define LAUNCHER_KVM_PROBE_H

#include <stdint.h>

enum kvm_verdict {
	KVM_UNKNOWN = 0, /* not probed */
	KVM_WORKS,	 /* ran the guest at the speed of the processor */
	KVM_ABSENT,	 /* no device */
	KVM_DENIED,	 /* the device may not be opened by this user */
	KVM_BROKEN,	 /* a call failed, or the guest did not end as it must */
	KVM_TOO_SLOW,	 /* ran, but so slowly that emulation is faster */
	KVM_HANGS,	 /* did not end within the time limit, nor in time to tell a speed */
};

struct kvm_result {
	enum kvm_verdict verdict;
	int error;	      /* errno of what failed under KVM_BROKEN; 0: none */
	uint64_t loops_per_s; /* measured; 0: not measured */
};

/*
 * Runs a tiny 64-bit guest with paging in a child process, which is killed when it does not
 * finish within `limit_ms`; returns in about that time at the latest, whatever the kernel does.
 * `device` is "/dev/kvm". Call it before the process has threads (it forks).
 */
void kvm_probe(const char *device, unsigned limit_ms, struct kvm_result *ret_result);

/* A word for each verdict ("works", "too-slow", ...), and back; KVM_UNKNOWN for other words. */
const char *kvm_verdict_name(enum kvm_verdict verdict);
enum kvm_verdict kvm_verdict_parse(const char *name);

/* The slowest that counts as working. */
#define KVM_MIN_LOOPS_PER_S UINT64_C(50000000)

#endif
