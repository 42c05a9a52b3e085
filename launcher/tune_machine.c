/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tune_machine.c: decisions about what runs the machine: QEMU, KVM, processor, firmware. */
#include "tune_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kvm_probe.h"
#include "size.h"

/* "7.2.22" and "pc-q35-7.2" as 7002; 0 when there is no version. */
static unsigned version_number(const char *text)
{
	unsigned major, minor;
	size_t skip = text ? strcspn(text, "0123456789") : 0;

	if (text && strncmp(text, "pc-q35-", 7) == 0)
		skip = 7;
	if (!text || sscanf(text + skip, "%3u.%3u", &major, &minor) != 2)
		return 0;
	return major * 1000 + minor;
}

void decide_qemu(const struct input *in, struct plan *plan, struct decision *row)
{
	const struct facts *f = in->facts;
	const unsigned have = version_number(f->qemu_version);

	plan->qemu = f->qemu_path;
	if (!f->qemu_path) {
		row_value(row, "none");
		row_refuse(row, EXIT_FAILED,
			   "QEMU: qemu-system-x86_64 was not found; install it (Debian: "
			   "apt install qemu-system-x86)");
		return;
	}
	row_value(row, "%s", f->qemu_path);
	if (strncmp(in->vm->machine, "pc-q35-", 7) != 0) {
		row_refuse(row, EXIT_FAILED,
			   "%s: machine %s is not known here; use a pc-q35 one (stickvm set)",
			   in->vm->name, in->vm->machine);
		return;
	}
	if (have && have < version_number(in->vm->machine)) {
		row_refuse(row, EXIT_FAILED,
			   "%s: its machine %s needs a newer QEMU than this host's %s; install one",
			   in->vm->name, in->vm->machine, f->qemu_version);
		return;
	}
	row_reason(row, "version %s runs the VM's machine %s",
		   f->qemu_version ? f->qemu_version : "unknown", in->vm->machine);
}

/* The processor flags that a guest with this CPU model needs of the host under KVM. */
static const char *missing_flag(enum vm_cpu cpu, const char *flags)
{
	static const char *const v2[] = {"cx16",   "lahf_lm", "popcnt",	   "ssse3", "sse4_1",
					 "sse4_2", "aes",     "pclmulqdq", NULL};
	static const char *const v3[] = {"avx", "avx2", "bmi1",	 "bmi2",  "f16c",
					 "fma", "abm",	"movbe", "xsave", NULL};

	if (cpu == VM_CPU_HOST || !flags)
		return NULL;
	for (const char *const *flag = v2; *flag; flag++)
		if (!facts_has_word(flags, *flag))
			return *flag;
	for (const char *const *flag = v3; cpu == VM_CPU_ROAM_V3 && *flag; flag++)
		if (!facts_has_word(flags, *flag))
			return *flag;
	return NULL;
}

static enum kvm_verdict kvm_verdict(const struct facts *facts)
{
	return facts->kvm_verdict ? kvm_verdict_parse(facts->kvm_verdict) : KVM_UNKNOWN;
}

static enum plan_accel pick_accel(const struct input *in)
{
	if (in->wishes->accel == WISH_TCG || kvm_verdict(in->facts) != KVM_WORKS ||
	    missing_flag(in->vm->cpu, in->facts->host_cpu_flags))
		return PLAN_TCG;
	return PLAN_KVM;
}

/* Why KVM is not used, as a clause. */
static void why_not_kvm(const struct input *in, char *why, size_t why_bytes)
{
	const struct facts *f = in->facts;

	switch (kvm_verdict(f)) {
	case KVM_ABSENT:
		snprintf(why, why_bytes,
			 "this host has no /dev/kvm (virtualization may be off in "
			 "its firmware set-up)");
		return;
	case KVM_DENIED:
		snprintf(why, why_bytes, "/dev/kvm may not be opened (join the group kvm)");
		return;
	case KVM_BROKEN:
		snprintf(why, why_bytes, "KVM is here but a test guest failed");
		return;
	case KVM_TOO_SLOW:
		snprintf(why, why_bytes,
			 "KVM is here but too slow: a test guest ran %" PRIu64
			 " million loops/s instead of some 1000",
			 f->kvm_loops_per_s / 1000000);
		return;
	case KVM_HANGS:
		snprintf(why, why_bytes, "KVM is here but hangs: a test guest did not end in time");
		return;
	case KVM_WORKS:
		snprintf(why, why_bytes, "this host's processor lacks %s, which the VM's CPU has",
			 missing_flag(in->vm->cpu, f->host_cpu_flags));
		return;
	case KVM_UNKNOWN:
		break;
	}
	snprintf(why, why_bytes, "KVM was not probed");
}

void decide_accel(const struct input *in, struct plan *plan, struct decision *row)
{
	char why[200];

	plan->accel = pick_accel(in);
	row_value(row, "%s", plan->accel == PLAN_KVM ? "kvm" : "tcg");
	if (plan->accel == PLAN_KVM) {
		row_reason(row, "KVM works: a test guest ran %" PRIu64 " million loops/s",
			   in->facts->kvm_loops_per_s / 1000000);
	} else if (in->wishes->accel == WISH_TCG) {
		row_reason(row, "asked for with --accel tcg");
	} else {
		why_not_kvm(in, why, sizeof why);
		if (in->wishes->accel == WISH_KVM)
			row_refuse(row, EXIT_FAILED, "--accel kvm: %s; use --accel auto", why);
		else
			row_note(row, "%s; emulation is slower", why);
	}
}

void decide_cpu(const struct input *in, struct plan *plan, struct decision *row)
{
	/* vendor: a named model under KVM takes the host's otherwise, which a guest would see. */
	static const char v2[] = "Westmere-v1,vendor=GenuineIntel,enforce";
	static const char v3[] = "Haswell-v2,-pcid,-x2apic,-tsc-deadline,-invpcid,"
				 "vendor=GenuineIntel,enforce";
	const bool kvm = pick_accel(in) == PLAN_KVM;
	const unsigned qemu = version_number(in->facts->qemu_version);

	switch (in->vm->cpu) {
	case VM_CPU_ROAM:
		snprintf(plan->cpu, sizeof plan->cpu, "%s", v2);
		row_reason(row, "roam: x86-64-v2 and AES, on every host, %s",
			   kvm ? "run by KVM" : "emulated here");
		break;
	case VM_CPU_ROAM_V3:
		snprintf(plan->cpu, sizeof plan->cpu, "%s", v3);
		row_reason(row, "roam-v3: x86-64-v3 (AVX2), %s",
			   kvm ? "run by KVM" : "emulated here");
		if (!kvm && qemu && qemu < 7002)
			row_refuse(row, EXIT_FAILED,
				   "%s: its CPU roam-v3 needs KVM or QEMU 7.2; this is QEMU %s "
				   "without "
				   "KVM",
				   in->vm->name, in->facts->qemu_version);
		break;
	case VM_CPU_HOST:
		snprintf(plan->cpu, sizeof plan->cpu, "%s", kvm ? "host" : "max");
		row_reason(row, "host: whatever this host has; the VM may not go on elsewhere");
		break;
	}
	row_value(row, "%s", plan->cpu);
}

void decide_memory(const struct input *in, struct plan *plan, struct decision *row)
{
	const uint64_t free_bytes = in->facts->host_mem_free_bytes;
	char want[32], have[32];

	(void)plan; /* the VM's setting is the value */
	size_human(in->vm->ram_bytes, want, sizeof want);
	size_human(free_bytes, have, sizeof have);
	row_value(row, "%s, anonymous", want);
	row_reason(row, "the VM's; %s are available here", free_bytes ? have : "unknown amounts");
	if (free_bytes && in->vm->ram_bytes > free_bytes) {
		row->level = PLAN_NOTE;
		row_reason(row, "the VM's, but only %s are available here: expect swapping", have);
	}
}

void decide_cores(const struct input *in, struct plan *plan, struct decision *row)
{
	(void)plan;
	row_value(row, "%" PRIu32, in->vm->cpus);
	row_reason(row, "the VM's; this host has %" PRIu64, in->facts->host_cpus);
	if (in->facts->host_cpus && in->vm->cpus > in->facts->host_cpus)
		row->level = PLAN_NOTE;
}

void decide_firmware(const struct input *in, struct plan *plan, struct decision *row)
{
	if (in->vm->firmware == VM_FW_BIOS) {
		row_value(row, "bios");
		row_reason(row, "the VM's; SeaBIOS comes with QEMU");
		return;
	}
	plan->firmware_code = in->facts->firmware_code;
	plan->firmware_vars = in->facts->firmware_vars;
	row_value(row, "uefi: %s", plan->firmware_code ? plan->firmware_code : "none");
	if (!plan->firmware_code || !plan->firmware_vars)
		row_refuse(row, EXIT_FAILED,
			   "%s: no UEFI firmware was found on this host; install it (Debian: "
			   "apt install ovmf)",
			   in->vm->name);
	else
		row_reason(row, "the VM's; its variables stay with it, first copied from %s",
			   plan->firmware_vars);
}

void decide_ssh_port(const struct input *in, struct plan *plan, struct decision *row)
{
	const uint64_t port = in->facts->host_ssh_port;

	plan->ssh_port = (uint16_t)port;
	if (in->vm->ssh_port == 0) {
		plan->ssh_port = 0;
		row_value(row, "none");
		row_reason(row, "the VM forwards none");
	} else if (port == 0) {
		row_value(row, "none");
		row->level = PLAN_NOTE;
		row_reason(row, "no port from %u upwards is free here", in->vm->ssh_port);
	} else if (port == in->vm->ssh_port) {
		row_value(row, "127.0.0.1:%" PRIu64, port);
		row_reason(row, "the VM's");
	} else {
		row_value(row, "127.0.0.1:%" PRIu64, port);
		row->level = PLAN_NOTE;
		row_reason(row, "the VM's port %u is taken here; this one for now",
			   in->vm->ssh_port);
	}
}
