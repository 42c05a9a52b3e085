/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kvm.c: the speed probe: what it believes, and that it never hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/stat.h>

/* From the inside: reports of a child that no machine at hand gives. */
#include "../../launcher/kvm_probe.c"

enum { LIMIT_MS = 1500, GRACE_MS = REAP_MS + 500 };

static void absent(void **state)
{
	struct kvm_result result;

	(void)state;
	kvm_probe("/nonexistent/kvm", LIMIT_MS, &result);
	assert_int_equal(result.verdict, KVM_ABSENT);
	assert_int_equal(result.error, ENOENT);
}

static void not_a_kvm(void **state)
{
	char path[] = "/tmp/stickvm-kvm.XXXXXX";
	struct kvm_result result;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	kvm_probe(path, LIMIT_MS, &result);
	assert_int_equal(result.verdict, KVM_BROKEN);
	assert_int_equal(result.error, ENOTTY);
	close(fd);
	unlink(path);
}

static void denied(void **state)
{
	char path[] = "/tmp/stickvm-kvm.XXXXXX";
	struct kvm_result result;
	int fd = mkstemp(path);
	const bool root = geteuid() == 0;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0), 0);
	if (root) /* nothing is denied to root */
		assert_int_equal(seteuid(65534), 0);
	kvm_probe(path, LIMIT_MS, &result);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(result.verdict, KVM_DENIED);
	close(fd);
	unlink(path);
}

/* Whatever this machine's KVM is like: an answer in time that agrees with itself. */
static void this_machine(void **state)
{
	const uint64_t start_ns = now_ns();
	struct kvm_result result;
	uint64_t took_ms;

	(void)state;
	kvm_probe("/dev/kvm", LIMIT_MS, &result);
	took_ms = (now_ns() - start_ns) / 1000000;
	print_message("/dev/kvm: %s, %llu loops/s, %llu ms\n", kvm_verdict_name(result.verdict),
		      (unsigned long long)result.loops_per_s, (unsigned long long)took_ms);
	assert_true(took_ms <= LIMIT_MS + GRACE_MS);
	assert_true(result.verdict != KVM_UNKNOWN);
	assert_int_equal(result.verdict == KVM_WORKS, result.loops_per_s >= KVM_MIN_LOOPS_PER_S);
}

/* Feeds reports to the judge as a child would, and leaves the pipe open like a hanging one. */
static struct kvm_result judged(const struct round_report *reports, size_t count, bool hang)
{
	struct kvm_result result = {0};
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	for (size_t i = 0; i < count; i++)
		child_report(fds[1], &reports[i]);
	if (!hang)
		close(fds[1]);
	judge(fds[0], now_ns() + 100 * 1000000u, &result);
	if (hang)
		close(fds[1]);
	close(fds[0]);
	return result;
}

static void verdicts(void **state)
{
	const struct round_report fast = {.loops = 1000000, .took_ns = 1000000};
	const struct round_report slow = {.loops = 1000000, .took_ns = 10000000000u};
	const struct round_report first = {.loops = 20000, .took_ns = 20000};
	const struct round_report failed = {.error = -EINVAL};
	const struct round_report good[] = {first, fast};
	/* One round was preempted for a while: the best one counts. */
	const struct round_report busy[] = {first, {.loops = 1000000, .took_ns = 50000000}, fast};
	const struct round_report spoilt[] = {first,
					      {.loops = 1000000, .took_ns = 25000000},
					      {.loops = 1000000, .took_ns = 50000000}};
	const struct round_report broken[] = {slow};
	const struct round_report short_only[] = {{.loops = 20000, .took_ns = 200000000}};

	(void)state;
	assert_int_equal(judged(good, 2, false).verdict, KVM_WORKS);
	assert_int_equal(judged(good, 2, false).loops_per_s, 1000000000);
	assert_int_equal(judged(busy, 3, true).verdict, KVM_WORKS);
	assert_int_equal(judged(spoilt, 3, false).verdict, KVM_TOO_SLOW);
	assert_int_equal(judged(spoilt, 3, false).loops_per_s, 40000000);
	assert_int_equal(judged(broken, 1, true).verdict, KVM_TOO_SLOW);
	assert_int_equal(judged(broken, 1, true).loops_per_s, 100000);
	assert_int_equal(judged(short_only, 1, true).verdict, KVM_TOO_SLOW);
	/* A short round alone proves nothing, however fast. */
	assert_int_equal(judged(&first, 1, true).verdict, KVM_TOO_SLOW);
	assert_int_equal(judged(NULL, 0, true).verdict, KVM_HANGS);
	assert_int_equal(judged(NULL, 0, false).verdict, KVM_HANGS);
	assert_int_equal(judged(&failed, 1, false).verdict, KVM_BROKEN);
	assert_int_equal(judged(&failed, 1, false).error, EINVAL);
}

/* A child that does not end is killed, and does not stay. */
static void reaps(void **state)
{
	const uint64_t start_ns = now_ns();
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		for (;;)
			pause();
	reap(pid);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	assert_true(now_ns() - start_ns < (uint64_t)REAP_MS * 1000000u);
}

static void names(void **state)
{
	(void)state;
	for (enum kvm_verdict v = KVM_UNKNOWN; v <= KVM_HANGS; v++)
		assert_int_equal(kvm_verdict_parse(kvm_verdict_name(v)), v);
	assert_int_equal(kvm_verdict_parse("splendid"), KVM_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent),	cmocka_unit_test(not_a_kvm),
		cmocka_unit_test(denied),	cmocka_unit_test(verdicts),
		cmocka_unit_test(reaps),	cmocka_unit_test(names),
		cmocka_unit_test(this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
