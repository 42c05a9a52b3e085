#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# run_qemu: what a session makes of a QEMU that errs, lies, is deaf, or dies: played by a script.
# test-labels: once
# test-locks: guest
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

stick=$work/stick
mkdir "$stick"
export STICKVM_STICK=$stick STICKVM_QEMU=$SRC/tests/support/fake_qemu.py FAKE_LOG=$work/told
works "$vm" init "$stick"
works "$vm" create g --size 64M --ram 256M --cpu roam

# PART: starts a run in the background; its pid is in `run`.
play() {
	rm -f "$FAKE_LOG" "$work/words"
	FAKE=$1 "$vm" run g --accel tcg >"$work/words" 2>&1 </dev/null &
	run=$!
	at_end "end_run $run"
}

told() {
	[ "$(grep -cx -- "$1" "$FAKE_LOG")" -ge "${2:-1}" ] || die "not told $1: $(cat "$FAKE_LOG")"
}

heard() {
	grep -q -- "$1" "$work/words" || die "no '$1' in: $(cat "$work/words")"
}

# Fails twice more when it is let go on, then works: told once each way.
play errors
wait_end $run 0 60
told cont 3
[ "$(grep -c 'failed to write: the VM is paused and tries again' "$work/words")" = 1 ] ||
	die "not said once: $(cat "$work/words")"
heard 'g: the disk works again, the VM goes on'
nothing_left

# Never works: only force helps, and stop says so.
play fails
wait_line 'failed to write' "$work/words"
works "$vm" stop g --force --timeout 1
wait_end $run 0 20
told quit
nothing_left

# An error that the guest was given is told; it is no pause.
play reported
wait_end $run 0 20
heard 'failed to read; the guest was given the error'
nothing_left

# A guest that missed the power button hears it the second time.
play second-press
wait_line 'g runs' "$work/words"
works "$vm" stop g --timeout 20
wait_end $run 0 20
told system_powerdown 2
! grep -qx quit "$FAKE_LOG" || die "it was forced"
nothing_left

# Given up, it is left alone again.
play presses
wait_line 'g runs' "$work/words"
refused 1 'did not power off in time and runs on' "$vm" stop g --timeout 1
presses=$(grep -cx system_powerdown "$FAKE_LOG")
sleep 4
[ "$(grep -cx system_powerdown "$FAKE_LOG")" = "$presses" ] || die "the button is still pressed"
works "$vm" stop g --force --timeout 1
wait_end $run 0 20

# Deaf: killed 5 s after it should have quit.
play deaf
wait_line 'g runs' "$work/words"
start=$SECONDS
works "$vm" stop g --force --timeout 1
[ $((SECONDS - start)) -lt 15 ] || die "a deaf QEMU was waited for"
wait_end $run 0 20
told quit
nothing_left

# No monitor at all, one that speaks another protocol, one that closes: a signal ends them.
for part in no-monitor rude closes; do
	play $part
	case $part in
	no-monitor) wait_line up "$FAKE_LOG" ;;
	*) wait_line "monitor does not answer any more" "$work/words" ;;
	esac
	kill -INT $run
	wait_end $run 130 20
	heard 'ended by force'
	nothing_left
done

# It ends for a reason that is not the guest's.
play host-signal
wait_end $run 1 20
heard 'QEMU was told to end by a signal from outside'
play last-words
wait_end $run 1 20
heard 'stickvm run:   fake: line 999 of many'
heard '^stickvm run: g: QEMU ended with status 3; what the guest had flushed'
[ "$(wc -c <"$work/words")" -lt 10000 ] || die "its last words are not bounded"
nothing_left

# The disk is taken away under it.
play presses
wait_line 'g runs' "$work/words"
umount -l "$(find "$XDG_RUNTIME_DIR/stickvm" -type d -name disk)" 2>/dev/null ||
	fusermount3 -u -z "$(find "$XDG_RUNTIME_DIR/stickvm" -type d -name disk)"
wait_end $run 1 20
heard 'its disk was unmounted under it'
nothing_left
intact
