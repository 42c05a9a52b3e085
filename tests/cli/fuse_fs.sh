#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# fuse_fs.sh: ext4, btrfs and xfs on the disk through a loop device, filled, checked by their own.
# test-locks: none
. "$(dirname "$0")/fuse.bash"
need losetup mkfs.ext4 mkfs.btrfs mkfs.xfs e2fsck btrfs xfs_repair fstrim sha256sum jq
[ "$(id -u)" = 0 ] || die "needs root for losetup and mount"

# fill: directories, small files, a large one, a sparse one, then a third deleted.
fill() {
	local i
	mkdir -p "$T/fs/d"{0..9}
	for ((i = 0; i < 600; i++)); do
		head -c $((i * 97 % 40000)) /dev/urandom >"$T/fs/d$((i % 10))/$i"
	done
	head -c 40M /dev/urandom >"$T/fs/large"
	truncate -s 1G "$T/fs/sparse"
	echo end >>"$T/fs/sparse"
	sync -f "$T/fs"
	find "$T/fs" -name '*7' -type f -delete
	cp "$T/fs/large" "$T/fs/d0/copy"
	rm "$T/fs/large"
}

sums() {
	(cd "$T/fs" && find . -type f ! -name sparse -print0 | sort -z | xargs -0 sha256sum)
}

check() {
	case $1 in
	ext4) e2fsck -f -n "$LOOP" ;;
	btrfs) btrfs check --readonly "$LOOP" ;;
	xfs) xfs_repair -n "$LOOP" ;;
	esac >"$T/fsck.log" 2>&1 || die "$1: its own check found damage"
}

# attach_loop OPTIONS...: the next free loop device, made if there is none.
attach_loop() {
	LOOP=$(losetup --find --show "$@" "$DISK") || die "losetup"
}

# It is gone once nobody looks at it any more, as another test's mkfs.btrfs may for a moment.
detach_loop() {
	local i
	losetup -d "$LOOP" || die "losetup -d"
	for ((i = 0; i < 100; i++)); do
		[[ $(losetup -n -O BACK-FILE "$LOOP" 2>/dev/null) == "$T"/* ]] || break
		sleep 0.1
	done
	LOOP=
}

# trimmed MOST: what is deleted and trimmed gives its space back; xfs deletes in the background.
trimmed() {
	local i
	for ((i = 0; i < 20; i++)); do
		sync -f "$T/fs"
		fstrim "$T/fs" || die "fstrim"
		[ "$(stat -c %b "$DISK")" -gt "$1" ] || return 0
		sleep 0.5
	done
	return 1
}

try() {
	local fs=$1 blocks
	shift
	fallocate --punch-hole --offset 0 --length $((400 << 20)) "$DISK"
	attach_loop "$@"
	"mkfs.$fs" -q "$LOOP" >"$T/mkfs.log" 2>&1 || die "mkfs.$fs"
	mount "$LOOP" "$T/fs"
	fill
	sums >"$T/sums.$fs"
	umount "$T/fs"
	check "$fs"
	detach_loop
	detach_disk
	attach_disk vm
	attach_loop "$@"
	check "$fs"
	mount "$LOOP" "$T/fs"
	sums | cmp - "$T/sums.$fs" || die "$fs: files changed over the remount"
	blocks=$(stat -c %b "$DISK")
	rm "$T/fs/d0/copy"
	trimmed $((blocks - (30 << 20) / 512)) || die "$fs: fstrim freed nothing of $blocks blocks"
	umount "$T/fs"
	check "$fs"
	detach_loop
	echo "$fs ${*:-buffered}: done"
}

new_disk vm 400M
mkdir "$T/fs"
attach_disk vm
try ext4
try btrfs
try xfs
try ext4 --direct-io=on
detach_disk
echo "fuse_fs: done"
