#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_places: pulls with the disk on a raw partition of the stick, whose node has another name each
# time, and with the stick on NTFS.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

guest_image
start_raw
export STICKVM_STICK=$mnt
works "$vm" init "$mnt"
"$vm" create g --from "$guest" --ram 256M --cpus 1 --cpu roam --place "$raw" --yes \
	>"$work/out" 2>&1 || die "create: $(cat "$work/out")"
unset STICKVM_STICK
start_busy

# NUMBER: a pull, after which the raw place is there again, and its folder is not yet mounted.
pull_raw() {
	pull
	said 'g: the stick is gone: the VM is frozen' "$1"
	sleep $(($1 % 3))
	forget_mount
	drop_raw
	echo plug >"$sim/ctl"
	plug_raw
}

for ((n = 1; n <= 5; n++)); do
	pull_raw $n
	[ $((n % 2)) = 1 ] || plug_in
	said 'g: the stick is back' $n 60
	[ $((n % 2)) = 0 ] || plug_in
	grep -q "g: the stick is back ($raw)" "$work/words" ||
		die "not at $raw: $(cat "$work/words")"
	no_error
	more_rounds 1
done
more_rounds 2
kill -TERM $run
wait_end $run 0 60
no_error
nothing_left
! grep -q 'ledger yet' "$work/words" || die "the stick's ledger was not found"
raw_is_here
works "$vm" --stick "$mnt" check g --allow-outside
all_whole
echo "raw partition: 5 pulls, $(rounds) rounds of the guest, no error"

# Ended before anybody has mounted the folder: the disk is closed, the note is put off.
start_busy
pull_raw 1
said 'g: the stick is back' 1 60
more_rounds 1
kill -TERM $run
wait_end $run 0 60
said 'g: its counters are not in the stick.s ledger yet' 1
no_error
nothing_left
plug_in
raw_is_here
works "$vm" --stick "$mnt" check g --allow-outside
all_whole
umount -l "$mnt"
drop_loop "$loop"
drop_loop "$raw"

series ntfs virtio-blk 5
