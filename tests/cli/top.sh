#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# top: rates as they are, on a terminal of 80x24, on a small one, resized, and without any.
# test-labels: once
# test-locks: none
# shellcheck source-path=SCRIPTDIR source=../support/cli.sh
. "${SRC:?the source tree}/tests/support/cli.sh"

stick=$work/stick
mkdir "$stick" "$work/mnt"
export STICKVM_STICK=$stick
works "$vm" init "$stick"
works "$vm" create top-test --size 64M
refused 1 'top-test: not mounted and not running' "$vm" top top-test
refused 1 'top-test: not mounted and not running' "$vm" top top-test --once
at_end "umount -l '$work/mnt'"
works "$vm" mount top-test "$work/mnt" --cache 64M

# 8 MiB within the second that top looks at, however long that is; where the host is so slow that
# they are not, once more.
head -c 8M /dev/urandom >"$work/bytes"
for try in 1 2 3 4 5; do
	"$vm" top top-test --json >"$work/out" &
	top=$!
	sleep 0.3
	dd if="$work/bytes" of="$work/mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
	! kill -0 $top 2>/dev/null || break
	wait $top
done
wait $top
json '[v["name"] for v in j["vms"]], j["vms"][0]["state"]' "['top-test'] ok"
json '4e6 < j["vms"][0]["guest_written_bytes_per_s"] <= 8388608' True
json '4e6 < j["vms"][0]["stick_written_bytes_per_s"]' True

# What is not on the stick yet, while it is not flushed (every close of a writer does that).
python3 - "$work/mnt/disk.raw" <<'END' &
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
while os.getppid() != 1:
    os.pwrite(fd, os.urandom(1 << 20), 0)
    time.sleep(0.05)
END
writer=$!
at_end "kill $writer 2>/dev/null; wait $writer"
sleep 0.5
"$vm" top top-test --json >"$work/out"
kill $writer
wait $writer || true
json '0 < j["vms"][0]["dirty_bytes"] <= 64 << 20' True

# What the host's cache had of what was read, two mounts later.
dd if="$work/bytes" of="$work/mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
for try in 1 2; do
	works "$vm" umount "$work/mnt"
	works "$vm" mount top-test "$work/mnt" --cache 64M
	[ $try = 2 ] || cmp -n 8388608 "$work/bytes" "$work/mnt/disk.raw" || die "other bytes"
done
"$vm" top top-test --json >"$work/out" &
top=$!
sleep 0.3
dd if="$work/mnt/disk.raw" of=/dev/null bs=64k count=128 status=none
wait $top
json 'j["vms"][0]["cache_hit_ratio"] > 0.5, j["vms"][0]["guest_read_bytes_per_s"] > 4e6' 'True True'
works "$vm" top top-test --once
says '^VM +STATE +READ/s +WRITE/s +STICK/s +TIMES +HIT +DIRTY +CLEANER$'
says '^top-test +ok +0 B +0 B '

# Without a terminal a line a second.
(timeout 3.5 "$vm" top top-test || true) >"$work/out" </dev/null
[ "$(grep -Ec '^top-test ok read=.* cleaner=idle$' "$work/out")" -ge 2 ] ||
	die "lines: $(cat "$work/out")"

tm() {
	tmux -S "$work/tmux" "$@"
}
# PATTERN: the screen shows it within some seconds.
shows() {
	local end=$((SECONDS + 10))
	until tm capture-pane -p >"$work/screen" && grep -Eq -- "$1" "$work/screen"; do
		[ $SECONDS -lt $end ] || die "no '$1' on the screen: $(cat "$work/screen")"
		sleep 0.2
	done
}
at_end "tmux -S '$work/tmux' kill-server"
tm -f /dev/null new-session -d -x 80 -y 24 "$vm top top-test; echo status \$?; cat"
shows '^stickvm top .*1 mounted .*q quits'
shows '^VM +STATE +READ/s +WRITE/s +STICK/s TIMES +HIT +DIRTY +CLEANER$'
shows '^top-test +ok '
shows '^in use +\[#*-+\] '
tm resize-window -x 44 -y 10
shows '^VM +STATE +READ/s +WRITE/s$'
shows '^top-test +ok +0 B'
tm resize-window -x 20 -y 4
sleep 0.3
tm resize-window -x 120 -y 40
shows 'q quits'
shows '^top-test +ok .*idle$'
works "$vm" umount "$work/mnt"
shows 'No disk is mounted'
tm send-keys q
shows '^status 0$'
echo "top: ok"
