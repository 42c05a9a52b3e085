#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A whole life of a VM's files on each file system that a stick may have: exFAT, NTFS, ext4.
# test-locks: none
. "${SRC:?the source tree}/tests/support/cli.sh"

mkdir "$work/fs" "$work/mnt"
head -c 9M /dev/urandom >"$work/image"
truncate -s 40M "$work/image"
sum=$(sha256sum <"$work/image")
at_end umount -l "$work/fs"
at_end umount -l "$work/mnt"

make_fs() { # FS
	case $1 in
	exfat) mkfs.exfat "$loop" >/dev/null &&
		mount.exfat-fuse "$loop" "$work/fs" >/dev/null 2>&1 ;;
	ntfs) mkfs.ntfs -q -f "$loop" >/dev/null 2>&1 && ntfs-3g "$loop" "$work/fs" ;;
	ext4) mkfs.ext4 -q "$loop" && mount "$loop" "$work/fs" ;;
	esac
}

for fs in exfat ntfs ext4; do
	rm -f "$work/disk"
	truncate -s 700M "$work/disk"
	loop=$(losetup -f --show "$work/disk")
	at_end drop_loop "$loop"
	make_fs $fs || die "no $fs can be made"
	export STICKVM_STICK=$work/fs
	works "$vm" init "$work/fs"
	advice=$(grep -c 'mount it with .-o delay_mtime' "$work/out" || true)
	[ "$advice" = "$([ $fs = ntfs ] && echo 1 || echo 0)" ] ||
		die "$fs: advice: $(cat "$work/out")"
	works "$vm" create a --from "$work/image"
	works "$vm" create b --size 64M
	works "$vm" set a cpus=3 iso=/x.iso
	works "$vm" mount a "$work/mnt"
	[ "$(sha256sum <"$work/mnt/disk.raw")" = "$sum" ] || die "$fs: the import differs"
	head -c 1M "$work/image" |
		dd of="$work/mnt/disk.raw" bs=1M seek=20 conv=notrunc,fsync status=none
	works "$vm" umount "$work/mnt"

	# Unmounted and mounted again, all of it is still there.
	umount "$work/fs"
	for _ in $(seq 100); do # a FUSE file system is not done when umount returns
		fuser -s "$loop" 2>/dev/null || break
		sleep 0.05
	done
	case $fs in
	exfat) mount.exfat-fuse "$loop" "$work/fs" >/dev/null 2>&1 ;;
	ntfs) ntfs-3g "$loop" "$work/fs" ;;
	*) mount -t $fs "$loop" "$work/fs" ;;
	esac
	works "$vm" show a --json
	json 'j["cpus"], j["iso"]' '3 /x.iso'
	works "$vm" check --deep
	works "$vm" mount a "$work/mnt" --read-only
	dd if="$work/mnt/disk.raw" bs=1M skip=20 count=1 status=none |
		cmp - <(head -c 1M "$work/image") || die "$fs: a write is gone"
	mkdir -p "$work/mnt2"
	refused 5 "in use" "$vm" mount a "$work/mnt2"
	works "$vm" umount "$work/mnt"
	works "$vm" delete a --yes
	works "$vm" wear --json
	json 'j["guest_written_bytes"] >= 10 << 20, len(j["vms"])' 'True 1'
	works "$vm" list
	says '^b +stopped'
	umount "$work/fs"
	losetup -d "$loop"
	echo "create_fs: $fs ok"
done
