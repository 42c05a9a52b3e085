#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# run_endings: Ctrl-C, the console's menu, signals, a dead QEMU, detached runs, stop with force.
# test-labels: once
# test-locks: guest
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

guest_image
make_stick "$work/stick"
serial=$work/serial

# On a terminal. Ctrl-C asks the guest; a second one offers to kill it.
python3 - "$vm" "$serial" <<'END'
import sys, time
from pty_talk import Talk
vm, serial = sys.argv[1:]

t = Talk(vm, "run", "g", "--accel", "tcg", "--serial", serial)
t.expect(rb"g runs \(TCG\); Ctrl-C asks")
while b"ready" not in open(serial, "rb").read():
    t.pump(0.2)
t.send(b"\x03")
t.expect(rb"asking the guest to power off; Ctrl-C again")
t.ends(0)

t = Talk(vm, "run", "g", "--accel", "tcg") # its boot loader hears no power button
t.expect(rb"g runs")
t.send(b"\x03")
t.expect(rb"Ctrl-C again")
t.send(b"\x03")
t.expect(rb"Kill it now\?")
t.send(b"\n") # go on waiting
t.pump(0.5)
t.send(b"\x03")
t.expect(rb"Kill it now\?")
t.send(b"k\n")
t.expect(rb"stickvm run: g: ended by force\r\n")
t.ends(130, 20)

# Every key is the guest's but Ctrl-].
t = Talk(vm, "run", "g", "--accel", "tcg", "--serial", "stdio")
t.expect(rb"root # ")
t.pump(0.5)
t.send(b"sleep 1000; echo never\n")
t.pump(1)
t.send(b"\x03")
t.send(b"echo a$((1+2))b\n")
t.expect(rb"a3b")
assert b"never\r\n" not in t.text
t.send(b"\x1d")
t.expect(rb"stickvm: p power off")
t.send(b"x") # any other key goes on, and is not the guest's
t.send(b"echo c$((3+4))d\n")
t.expect(rb"c7d")
t.send(b"\x1dp")
t.expect(rb"asking the guest to power off\r\n")
t.ends(0)

t = Talk(vm, "run", "g", "--accel", "tcg", "--serial", "stdio")
t.expect(rb"g runs")
t.send(b"\x1dk")
t.ends(130, 20)
END
nothing_left
intact

# QEMU dies: its last words are shown, the store is closed in order, what was flushed is there.
make_job <<'END'
echo "flushed before the end" >/flushed
sync
echo FLUSHED
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line FLUSHED "$serial"
kill -9 "$(qemu_of $run)"
wait_end $run 1 20
grep -q '^stickvm run: g: QEMU was killed by signal 9 (Killed);' "$work/words" ||
	die "no last words: $(cat "$work/words")"
nothing_left
intact
"$vm" wear g --json >"$work/out"
json 'j["unclean_detaches"]' 0
status=0
"$vm" run g --accel tcg -- -device nonsense >"$work/out" 2>"$work/err" || status=$?
[ $status = 1 ] || die "a QEMU that cannot start: status $status"
grep -q "^stickvm run:   .*'nonsense' is not a valid device" "$work/err" ||
	die "its words are not shown: $(cat "$work/err")"
grep -q '^stickvm run: g: QEMU ended with status 1' "$work/err" || die "$(cat "$work/err")"
nothing_left

# SIGTERM asks the guest; it has time.
make_job <<'END'
cat /flushed
echo READY
END
for signal in TERM HUP; do
	fresh
	"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
	run=$!
	at_end "end_run $run"
	wait_line READY "$serial"
	grep -aq 'flushed before the end' "$serial" || die "what was flushed is gone"
	kill -$signal $run
	wait_end $run 0
	nothing_left
done

# A second one does not wait. (The boot loader hears no power button.)
fresh
"$vm" run g --accel tcg >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line 'g runs' "$work/words"
kill -TERM $run
wait_line 'asking the guest' "$work/words"
kill -TERM $run
wait_end $run 130 20
nothing_left

# stickvm itself is killed: QEMU goes with it, and the next run cleans up and recovers.
make_job <<'END'
echo "again" >/again
sync
echo AGAIN
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line AGAIN "$serial"
qemu=$(qemu_of $run)
kill -9 $run
wait $run 2>/dev/null || true
end=$((SECONDS + 10))
while kill -0 "$qemu" 2>/dev/null; do
	[ $SECONDS -lt $end ] || die "QEMU outlives stickvm"
	sleep 0.1
done
make_job <<'END'
cat /again
poweroff
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
wait_end $! 0
grep -aq '^again' "$serial" || die "what was flushed before the kill is gone"
nothing_left
intact

# Detached: returns when the guest runs; ended by stop, in time or by force.
"$vm" run g --accel tcg --detach --serial "$serial" >"$work/out" 2>"$work/err" </dev/null ||
	die "detach: $(cat "$work/err")"
says_on_err() {
	grep -q -- "$1" "$work/err" || die "no '$1' in: $(cat "$work/err")"
}
says_on_err "g runs in the background; 'stickvm stop g' ends it"
at_end "'$vm' stop g --force --timeout 1"
refused 5 'in use' "$vm" run g
wait_line 'ready uptime' "$serial"
works "$vm" stop g --timeout 60
intact
"$vm" run g --accel tcg --detach >"$work/out" 2>"$work/err" </dev/null ||
	die "detach: $(cat "$work/err")"
refused 1 'did not power off in time and runs on' "$vm" stop g --timeout 1
start=$(date +%s)
works "$vm" stop g --force --timeout 1
[ $(($(date +%s) - start)) -lt 15 ] || die "stop --force took too long"
nothing_left
intact
status=0
"$vm" run g --accel tcg --detach -- -device nonsense >"$work/out" 2>"$work/err" </dev/null ||
	status=$?
[ $status = 1 ] || die "a detached QEMU that cannot start: status $status"
says_on_err 'QEMU ended with status 1'
nothing_left
