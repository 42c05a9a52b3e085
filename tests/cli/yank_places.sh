#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# yank_places: pulls with the disk on a raw partition of the stick, whose node has another name each
# time, and with the stick on NTFS.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

# A stick whose settings lie on its first partition and whose second is the VM's disk. The kernel
# here makes no partitions of a loop device, so they are loop devices with an offset each.
raw=
raw_loop() {
	losetup -f --show --direct-io=on --offset $((512 << 20)) --sizelimit $((1500 << 20)) \
		"$sim/stick.img"
}

# Another node than before, whose name a file of our own has meanwhile, if nobody else took it.
plug_raw() {
	local before=$raw
	truncate -s 1M "$work/taken"
	[ -z "$before" ] || losetup "$before" "$work/taken" 2>/dev/null || before=
	raw=$(raw_loop) || die "no loop device"
	[ -z "$before" ] || losetup -d "$before"
	at_end "drop_loop '$raw'"
}

guest_image
start_sim --profile P5 --size 2G --cut drop=30,reorder
stick_loop=$(losetup -f --show --direct-io=on --sizelimit $((512 << 20)) "$sim/stick.img")
mkfs.ext4 -q -m 0 "$stick_loop"
losetup -d "$stick_loop"
plug_raw
plug_in
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
	while [[ $(losetup -n -O BACK-FILE "$raw" 2>/dev/null) = *"$sim/stick.img"* ]]; do
		drop_loop "$raw" # it stays as long as somebody looks at it
		sleep 0.1
	done
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
# A real partition has a lasting name, to which its user has agreed for good.
sed -i "s|^place: .*|place: $raw|" "$mnt/stickvm/vms/g/vm.yaml"
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
sed -i "s|^place: .*|place: $raw|" "$mnt/stickvm/vms/g/vm.yaml"
works "$vm" --stick "$mnt" check g --allow-outside
all_whole
umount -l "$mnt"
drop_loop "$loop"
drop_loop "$raw"

series ntfs virtio-blk 5
