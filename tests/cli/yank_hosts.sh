#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_hosts: a stick that was pulled on one host is used on another: that one asks for
# --take-over, the first is refused afterwards and writes nothing. Hosts are two namespaces of
# mounts and names; QEMU is played by a script.
# test-labels: once
# shellcheck source-path=SCRIPTDIR source=hosts.bash
. "$(dirname "$0")/hosts.bash"

start_sim --profile P5 --size 1G
make_fs ext4
make_host host-a
make_host host-b
plug_into host-a
works on host-a "$vm" init "$mnt"
works on host-a "$vm" --stick "$mnt" create g --size 64M --ram 256M --cpu roam
start_on host-a
a_run=$run
a_words=$work/words-a
mv "$work/words" "$a_words"
disk=$(echo "$work"/run-host-a/stickvm/*/disk)/disk.raw
on host-a dd if=/dev/urandom of="$disk" bs=64K count=4 oflag=direct status=none

pull
! on host-a dd if=/dev/zero of="$disk" bs=4K count=1 oflag=direct conv=fsync 2>"$work/err" ||
	die "a flush without a stick"
wait_line 'g: the stick is gone: the VM is frozen' "$a_words" 10
unplug_from host-a

# The other host says what may be missing, and goes on only when it is told to.
echo plug >"$sim/ctl"
plug_into host-b
refused 5 'on host host-a#[0-9a-f]*, did not end cleanly.*missing.*--take-over' \
	on host-b "$vm" --stick "$mnt" run g --accel tcg
start_on host-b --take-over
kill -INT $run # the guest of this play does not hear it
sleep 1
kill -INT $run
wait_end $run 130 20
works on host-b "$vm" --stick "$mnt" check g --deep
unplug_from host-b
pull

# The first one is refused: its work does not fit the disk any more, and nothing is written.
echo plug >"$sim/ctl"
plug_into host-a
before=$(store_bytes host-a)
wait_line 'another host has gone on with this disk.*nothing was written' "$a_words" 20
# It is left alone then, for whoever wants to use it; another mount does not change that.
on host-a mount -t tmpfs none /mnt
sleep 3
works on host-a "$vm" --stick "$mnt" check g --deep
[ "$(grep -c 'another host has gone on' "$a_words")" = 1 ] || die "it repeats itself"
refused 1 'did not power off in time and runs on' \
	on host-a "$vm" --stick "$mnt" stop g --timeout 1
refused 1 'ended without its stick, to which nothing was written' \
	on host-a "$vm" --stick "$mnt" stop g --force --timeout 1
status=0
wait $a_run || status=$?
[ $status = 1 ] || die "the end without a stick: status $status: $(cat "$a_words")"
grep -q 'ended without its stick, to which nothing was written' "$a_words" ||
	die "not said: $(cat "$a_words")"
! grep -qx cont "$work/told-host-a" || die "the frozen VM was let go on"
[ "$(store_bytes host-a)" = "$before" ] || die "the first host wrote to the disk"
works on host-a "$vm" --stick "$mnt" check g --deep
