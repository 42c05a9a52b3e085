#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# park: the stick is pulled under a running VM, which is parked; later, at another node and mount
# point, `run` goes on: the guest sees no error, a counter in its memory goes on, its clock is
# right. What lies on the host is of no use without the stick.
# test-labels: once long
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

export XDG_DATA_HOME=$work/data
parked=$XDG_DATA_HOME/stickvm/parked

guest_image
start_sim --profile P5 --size 2G --cut drop=30,reorder
make_fs ext4
plug_in
make_stick "$mnt"
unset STICKVM_STICK
start_busy
more_rounds 1

refused 1 'its stick is there' "$vm" park g --yes
pull
said 'g: the stick is gone: the VM is frozen' 1
forget_mount
refused 1 'h: it is not running' "$vm" park h --yes
refused 2 'nothing of it was kept on this host before.*--yes' "$vm" park g
works "$vm" park g --yes
grep -q "g is parked on this host" "$work/out" || die "not said: $(cat "$work/out")"
wait_end $run 0 20
said 'g: parked on this host' 1
nothing_left
[ "$(ls "$parked" | wc -l)" = 2 ] || die "in $parked: $(ls "$parked")"
[ "$(stat -c %a "$parked"/*.park)" = 600 ] || die "others can read it"
! grep -aq 'stickvm yank round' "$parked"/*.park || die "it is not encrypted"
mv "$serial" "$work/serial-1"
had=$(grep -a '^round ' "$work/serial-1" | tail -n 1 | sed 's/round \([0-9]*\) .*/\1/')

plug
mkdir "$work/none"
refused 5 'g: it is parked on this host; go on with' "$vm" --stick "$mnt" mount g "$work/none"
start_job
said 'g: it goes on from where it was parked' 1
said 'g runs' 1
[ -z "$(ls "$parked"/*.park 2>/dev/null)" ] || die "the parked state is still there"
[ ! -e "$mnt/stickvm/vms/g/parked" ] || die "its mark is still there"
said "g: the guest's clock was set" 1 12
clock_is_right
more_rounds 1
no_error
now=$(grep -a '^round ' "$serial" | head -n 1 | sed 's/round \([0-9]*\) .*/\1/')
[ "$now" = $((had + 1)) ] || die "the guest had finished round $had, and went on with $now"
! grep -aq 'Linux version' "$serial" || die "it was booted"

kill -TERM $run
wait_end $run 0 60
no_error
nothing_left
all_whole
