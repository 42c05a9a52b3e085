/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kvm_probe.c: a tiny 64-bit guest in a child process, timed. */
/*
 * /dev/kvm proves nothing. Hosts exist where it opens, a machine is made and a real-mode guest
 * runs, and yet a kernel gets nowhere, because every instruction under paging is emulated: about
 * 1e5 loops a second instead of 1e9. So the probe runs what kernels run: long mode, paging on, a
 * loop of a million turns and a HLT. It takes about a millisecond where KVM works.
 *
 * The guest runs in a child, in rounds of growing length, and the child reports each round over a
 * pipe as soon as it is done. The parent never calls KVM itself; at the time limit it kills the
 * child and takes the best round that it heard of. Therefore:
 *  I1  the parent returns within the limit and a short grace for reaping;
 *  I2  a slow KVM is told from a hanging one by whether any round was reported.
 */
#include "kvm_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	MEMORY_BYTES = 64 * 1024,
	PML4_ADDR = 0x1000,
	PDPT_ADDR = 0x2000,
	PD_ADDR = 0x3000,
	CODE_ADDR = 0x4000,
	REAP_MS = 500,
	FULL_ROUND = 1000000, /* loops */
};

/* A short round first, so that a slow KVM is measured at all before the limit strikes. */
static const uint32_t round_loops[] = {20000, FULL_ROUND, FULL_ROUND, FULL_ROUND};

/* What the child sends for each round. */
struct round_report {
	int error;
	uint32_t loops;
	uint64_t took_ns;
};

struct guest {
	int kvm_fd, vm_fd, vcpu_fd;
	uint8_t *memory;
	struct kvm_run *run;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* mov rcx is left to the registers: 1: dec rcx; jnz 1b; hlt */
static void guest_load(struct guest *g)
{
	static const uint8_t code[] = {0x48, 0xff, 0xc9, 0x75, 0xfb, 0xf4};
	const uint64_t pml4e = PDPT_ADDR | 3, pdpte = PD_ADDR | 3;
	const uint64_t pde = 0 | 0x83; /* present, writable, a 2 MiB page at 0 */

	memcpy(g->memory + PML4_ADDR, &pml4e, sizeof pml4e);
	memcpy(g->memory + PDPT_ADDR, &pdpte, sizeof pdpte);
	memcpy(g->memory + PD_ADDR, &pde, sizeof pde);
	memcpy(g->memory + CODE_ADDR, code, sizeof code);
}

static int guest_enter_long_mode(struct guest *g)
{
	const struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = 8,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1,
	};
	const struct kvm_segment data = {
		.limit = 0xffffffff,
		.selector = 16,
		.type = 3,
		.present = 1,
		.s = 1,
		.db = 1,
		.g = 1,
	};
	struct kvm_sregs sregs;

	if (ioctl(g->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cr3 = PML4_ADDR;
	sregs.cr4 = 1u << 5; /* PAE */
	sregs.cr0 = 1u | 1u << 1 | 1u << 4 | 1u << 5 | 1u << 16 | 1u << 31;
	sregs.efer = 1u << 8 | 1u << 10; /* LME, LMA */
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	return ioctl(g->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ? -errno : 0;
}

static int guest_map(struct guest *g)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEMORY_BYTES};
	int run_bytes;

	g->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (g->memory == MAP_FAILED)
		return -errno;
	region.userspace_addr = (uint64_t)(uintptr_t)g->memory;
	if (ioctl(g->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	g->vcpu_fd = ioctl(g->vm_fd, KVM_CREATE_VCPU, 0);
	if (g->vcpu_fd < 0)
		return -errno;
	run_bytes = ioctl(g->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_bytes < (int)sizeof *g->run)
		return run_bytes < 0 ? -errno : -EPROTO;
	g->run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu_fd, 0);
	return g->run == MAP_FAILED ? -errno : 0;
}

/* The child ends right after: the kernel frees what is made here. */
static int guest_make(struct guest *g, const char *device)
{
	int rc;

	g->kvm_fd = open(device, O_RDWR | O_CLOEXEC);
	if (g->kvm_fd < 0)
		return -errno;
	rc = ioctl(g->kvm_fd, KVM_GET_API_VERSION, 0);
	if (rc != KVM_API_VERSION)
		return rc < 0 ? -errno : -EPROTO;
	g->vm_fd = ioctl(g->kvm_fd, KVM_CREATE_VM, 0);
	if (g->vm_fd < 0)
		return -errno;
	rc = guest_map(g);
	if (rc < 0)
		return rc;
	guest_load(g);
	return guest_enter_long_mode(g);
}

static int guest_round(struct guest *g, uint32_t loops, uint64_t *ret_ns)
{
	struct kvm_regs regs = {.rip = CODE_ADDR, .rcx = loops, .rflags = 2};
	uint64_t start_ns;

	if (ioctl(g->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	start_ns = now_ns();
	while (ioctl(g->vcpu_fd, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	*ret_ns = now_ns() - start_ns;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): mapped, or there is no guest */
	if (g->run->exit_reason != KVM_EXIT_HLT)
		return -EPROTO;
	if (ioctl(g->vcpu_fd, KVM_GET_REGS, &regs) < 0)
		return -errno;
	return regs.rcx == 0 ? 0 : -EPROTO;
}

static void child_report(int fd, const struct round_report *report)
{
	/* Smaller than PIPE_BUF: all or nothing. With the reader gone there is no one to tell. */
	if (write(fd, report, sizeof *report) != (ssize_t)sizeof *report)
		_exit(1);
}

static _Noreturn void child_main(int fd, const char *device)
{
	struct guest guest = {.kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1};
	struct round_report report = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	report.error = guest_make(&guest, device);
	for (size_t i = 0; i < sizeof round_loops / sizeof round_loops[0]; i++) {
		if (report.error == 0) {
			report.loops = round_loops[i];
			report.error = guest_round(&guest, report.loops, &report.took_ns);
		}
		child_report(fd, &report);
		if (report.error < 0)
			break;
	}
	_exit(0);
}

static int left_ms(uint64_t deadline_ns)
{
	uint64_t now = now_ns();

	return now >= deadline_ns ? 0 : (int)((deadline_ns - now) / 1000000u) + 1;
}

/* False at the end of the child's reports or at the deadline. */
static bool next_report(int fd, uint64_t deadline_ns, struct round_report *ret_report)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct round_report report;
	int rc;

	do {
		rc = poll(&pfd, 1, left_ms(deadline_ns));
	} while (rc < 0 && errno == EINTR && left_ms(deadline_ns) > 0);
	if (rc <= 0 || read(fd, &report, sizeof report) != (ssize_t)sizeof report)
		return false;
	*ret_report = report;
	return true;
}

/* A child that is stuck in the kernel is left to its end: it cannot be waited for (I1). */
static void reap(pid_t pid)
{
	const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	uint64_t deadline_ns = now_ns() + (uint64_t)REAP_MS * 1000000u;
	pid_t got;

	kill(pid, SIGKILL);
	while ((got = waitpid(pid, NULL, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
		if (left_ms(deadline_ns) == 0)
			return;
		nanosleep(&pause, NULL);
	}
}

/* The best full round counts; until there is one, the short one tells how slow it is. */
static void judge(int fd, uint64_t deadline_ns, struct kvm_result *result)
{
	struct round_report report;
	uint64_t rate;
	bool full = false;

	result->verdict = KVM_HANGS;
	while (next_report(fd, deadline_ns, &report)) {
		if (report.error < 0) {
			result->verdict = KVM_BROKEN;
			result->error = -report.error;
			return;
		}
		rate = report.loops * UINT64_C(1000000000) / (report.took_ns ? report.took_ns : 1);
		if (!full || rate > result->loops_per_s)
			result->loops_per_s = rate;
		result->verdict = KVM_TOO_SLOW;
		full = full || report.loops == FULL_ROUND;
		if (full && result->loops_per_s >= KVM_MIN_LOOPS_PER_S) {
			result->verdict = KVM_WORKS;
			return;
		}
		/* A busy host may spoil one round, not by ten. */
		if (full && result->loops_per_s < KVM_MIN_LOOPS_PER_S / 10)
			return;
	}
}

static bool refused(const char *device, struct kvm_result *result)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		return false;
	}
	if (errno == EACCES || errno == EPERM)
		result->verdict = KVM_DENIED;
	else if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		result->verdict = KVM_ABSENT;
	else
		result->verdict = KVM_BROKEN;
	result->error = errno;
	return true;
}

void kvm_probe(const char *device, unsigned limit_ms, struct kvm_result *ret_result)
{
	const uint64_t deadline_ns = now_ns() + (uint64_t)limit_ms * 1000000u;
	struct kvm_result result = {0};
	int fds[2];
	pid_t pid;

	if (refused(device, &result)) {
		*ret_result = result;
		return;
	}
	result.verdict = KVM_BROKEN;
	if (pipe2(fds, O_CLOEXEC) < 0) {
		result.error = errno;
		*ret_result = result;
		return;
	}
	pid = fork();
	if (pid == 0)
		child_main(fds[1], device);
	close(fds[1]);
	if (pid < 0) {
		result.error = errno;
	} else {
		judge(fds[0], deadline_ns, &result);
		reap(pid);
	}
	close(fds[0]);
	*ret_result = result;
}

static const char *const verdict_names[] = {
	[KVM_UNKNOWN] = "unknown", [KVM_WORKS] = "works",   [KVM_ABSENT] = "absent",
	[KVM_DENIED] = "denied",   [KVM_BROKEN] = "broken", [KVM_TOO_SLOW] = "too-slow",
	[KVM_HANGS] = "hangs",
};

const char *kvm_verdict_name(enum kvm_verdict verdict)
{
	return verdict_names[verdict];
}

enum kvm_verdict kvm_verdict_parse(const char *name)
{
	for (size_t i = 0; i < sizeof verdict_names / sizeof verdict_names[0]; i++)
		if (strcmp(name, verdict_names[i]) == 0)
			return (enum kvm_verdict)i;
	return KVM_UNKNOWN;
}
