#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# park_kinds: a busy guest is parked and goes on, on each bus, from exFAT and NTFS, from a raw
# place, and with UEFI, whose variables come back with it; what QEMU cannot save (NVMe) is refused,
# and stays frozen. An argument: only the kinds with it in their name.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=yank.bash
. "$(dirname "$0")/yank.bash"

only=${1-}
export XDG_DATA_HOME=$work/data
bytes=$((0x83ff0)) # of the variables: where no firmware has any

# KIND: whether it is wanted; it gets a stick and a word of its own.
begin() {
	[[ $1 = *$only* ]] || return 1
	kind=$1
	began=$SECONDS
	sim=$work/sim-$kind
	raw=
	boot=()
}

# FILE-SYSTEM [OPTIONS OF create]: a stick with the VM.
stick_with() {
	start_sim --profile P5 --size 2G --cut drop=30,reorder
	make_fs "$1"
	shift
	plug_in
	vm_with "$@"
}

# [OPTIONS OF create]
vm_with() {
	works "$vm" init "$mnt"
	"$vm" --stick "$mnt" create g --from "$guest" --ram 256M --cpus 1 --cpu roam "$@" \
		>"$work/out" 2>&1 || die "$kind: create: $(cat "$work/out")"
}

leave() {
	pull
	said 'g: the stick is gone: the VM is frozen' 1
	forget_mount
	[ -z "$raw" ] || drop_raw
}

come_back() {
	if [ -z "$raw" ]; then
		plug
	else
		echo plug >"$sim/ctl"
		plug_raw
		plug_in
		raw_is_here
	fi
}

park_and_go_on() {
	local had now
	start_busy
	more_rounds 1
	leave
	works "$vm" park g --yes
	wait_end $run 0 20
	nothing_left
	had=$(grep -a '^round ' "$serial" | tail -n 1 | sed 's/round \([0-9]*\) .*/\1/')
	come_back
	at_home
	start_job --allow-outside
	said 'g: it goes on from where it was parked' 1
	wait_line "round .* ok" "$serial" 120
	more_rounds 1
	no_error
	now=$(grep -a '^round ' "$serial" | head -n 1 | sed 's/round \([0-9]*\) .*/\1/')
	[ "$now" = $((had + 1)) ] || die "$kind: round $had was followed by $now"
	! grep -aq 'Linux version' "$serial" || die "$kind: it was booted"
	gone_on
	kill -TERM $run
	wait_end $run 0 60
	no_error
	nothing_left
	all_whole
	unset STICKVM_STICK
	done_with
}

done_with() {
	umount -l "$mnt"
	drop_loop "$loop"
	[ -z "$raw" ] || drop_raw
	umount -l "$sim"
	echo "$kind: $((SECONDS - began)) s, $(rounds) rounds of the guest after it, no error"
}

# What a kind looks at before it goes on, and after.
at_home() { :; }
gone_on() { :; }

guest_image --kernel full
for bus in virtio-blk virtio-scsi sata usb; do
	if begin "ext4-$bus"; then
		stick_with ext4 --bus $bus
		park_and_go_on
	fi
done
for fs in exfat ntfs; do
	if begin $fs; then
		stick_with $fs
		park_and_go_on
	fi
done
if begin raw; then
	start_raw
	vm_with --place "$raw" --yes
	park_and_go_on
fi

# The variables get a byte while the VM is off, which QEMU reads at its start; they are others when
# it goes on, and the machine has its own.
if begin uefi; then
	stick_with ext4 --firmware uefi
	vars=stickvm/vms/g/uefi-vars.fd
	template=$(ls /usr/share/OVMF/OVMF_VARS_4M.fd)
	cp "$template" "$mnt/$vars"
	printf A | dd of="$mnt/$vars" bs=1 seek=$bytes conv=notrunc status=none
	byte() {
		dd if="$mnt/$vars" bs=1 skip=$bytes count=1 status=none
	}
	at_home() {
		cp "$template" "$mnt/$vars"
		! [ "$(byte)" = A ] || die "the template has the byte, and this proves nothing"
	}
	gone_on() {
		local end=$((SECONDS + 30))
		until [ "$(byte)" = A ]; do
			[ $SECONDS -lt $end ] || die "$kind: the variables did not come back"
			sleep 0.2
		done
	}
	for name in vmlinuz initrd.img; do
		debugfs -R "dump /$name $work/$name" "$guest?offset=1048576" 2>"$work/err"
	done
	uuid=$(blkid -p -O 1048576 -o value -s UUID "$guest")
	boot=(-kernel "$work/vmlinuz" -initrd "$work/initrd.img" -append
		"root=UUID=$uuid ro console=ttyS0,115200 quiet")
	park_and_go_on
	at_home() { :; }
	gone_on() { :; }
fi

if begin nvme; then
	stick_with ext4 --bus nvme
	start_busy
	leave
	refused 1 'cannot save a machine whose disk is on NVMe; plug the stick in again' \
		"$vm" park g --yes
	come_back
	said 'g: the stick is back' 1 60
	more_rounds 1
	no_error
	kill -TERM $run
	wait_end $run 0 60
	nothing_left
	all_whole
	done_with
fi
