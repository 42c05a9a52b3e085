#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_run: the stick is pulled under a running VM, twice, and comes back at another node and
# mount point: the guest sees no error, its clock is set right, what it wrote is there. The program
# itself lies on the stick. The host's sleep is a pull and a re-plug too.
# test-labels: once
# test-locks: guest
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

# A host that sleeps is one whose CLOCK_BOOTTIME has gone ahead.
cat >"$work/sleep.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
	FILE *in = clock == CLOCK_BOOTTIME ? fopen(getenv("SLEPT"), "r") : NULL;
	int seconds = 0;

	if (in && fscanf(in, "%d", &seconds) != 1)
		seconds = 0;
	if (in)
		fclose(in);
	if (real(clock, ts) < 0)
		return -1;
	ts->tv_sec += seconds;
	return 0;
}
END
cc -shared -fPIC -o "$work/sleep.so" "$work/sleep.c"
export SLEPT=$work/slept

guest_image
start_sim --profile P5 --size 2G --cut drop=30,reorder
make_fs ext4
plug_in
make_stick "$mnt"
unset STICKVM_STICK
mkdir "$mnt/bin"
cp "$vm" "$mnt/bin/"
vm=$mnt/bin/stickvm
export LD_PRELOAD=$work/sleep.so
start_busy
unset LD_PRELOAD
vm=$BIN/stickvm
! grep "$mnt" "/proc/$run/maps" || die "the program is still read from the stick"

one_pull 1 4
said "g: the guest's clock was set" 1 12
clock_is_right
more_rounds 1

# This time the folder is unmounted before the store has noticed.
pull
forget_mount
said 'g: the stick is gone: the VM is frozen' 2
was=$(rounds)
sleep 3
[ "$(rounds)" = "$was" ] || die "the guest runs without its stick"
plug
said 'g: the stick is back' 2 60
more_rounds 1

echo 30 >"$SLEPT"
said 'g: the host has slept for 30 s: the VM is frozen' 1
said 'g: the stick is back' 3
said "g: the guest's clock was set .it was 3[0-9]" 1 12
more_rounds 1

kill -TERM $run
wait_end $run 0 60
no_error
nothing_left
all_whole
