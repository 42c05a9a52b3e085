#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# run_full: the stick is full: the VM is paused and says so once; it ends by force, and goes on
# with what was flushed once there is room.
# test-labels: once
# test-locks: guest
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

if [ "$(id -u)" != 0 ]; then
	echo "needs root to mount a small file system; not run"
	exit 77
fi
guest_image
truncate -s 600M "$work/small"
mkfs.ext4 -q -m 0 "$work/small"
mkdir "$work/mnt"
mount -o loop "$work/small" "$work/mnt"
at_end "umount -l '$work/mnt'"
fallocate -l 210M "$work/mnt/filler"
make_stick "$work/mnt"
serial=$work/serial

make_job <<'END'
echo "before the stick was full" >/small; sync; echo SMALL
head -c 200000000 /dev/urandom >/big; sync; echo SYNCED
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line 'g: the stick is full [(].*: the VM is paused' "$work/words" 300
sleep 10 # it tries again, and says nothing
[ "$(grep -c 'the stick is full' "$work/words")" = 1 ] || die "it repeats itself"
grep -aq SMALL "$serial" || die "it was full too early: $(cat "$serial")"
! grep -aq SYNCED "$serial" || die "the guest was told that its data is safe"
refused 1 'did not power off in time' "$vm" stop g --timeout 2
works "$vm" stop g --force --timeout 1
wait_end $run 0
nothing_left
intact

rm "$work/mnt/filler"
make_job <<'END'
cat /small
rm -f /big
head -c 30000000 /dev/urandom >/big && sync && echo SYNCED
poweroff
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_end $run 0 300
grep -aq 'before the stick was full' "$serial" || die "what was flushed is gone"
grep -aq SYNCED "$serial" || die "no room although there is: $(tail -n 5 "$serial")"
nothing_left
intact
