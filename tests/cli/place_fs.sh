#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# place_fs.sh: a place on ext4, exFAT and NTFS in a partition of an image, and on the raw partition.
# test-locks: none
set -eu

unit="$BIN/unit-place"
media="$BIN/unit-place_media"
work=$(mktemp -d /tmp/stickvm-place.XXXXXX)
loop=

cleanup() {
	trap - EXIT
	mountpoint -q "$work/mnt" && umount "$work/mnt"
	test -z "$loop" || losetup -d "$loop"
	rm -rf "$work"
}
trap cleanup EXIT

fail() {
	echo "place_fs: $*" >&2
	exit 1
}

# The partition begins 1 MiB + 68 KiB into the image: on no unit, so that a skew is needed.
offset=$((1024 * 1024 + 68 * 1024))

attach() { # MIB: a fresh image of the whole medium, and a loop device for its partition
	rm -f "$work/stick.img"
	truncate -s "$1M" "$work/stick.img"
	loop=$(losetup -f --show -o "$offset" "$work/stick.img")
}

detach() {
	losetup -d "$loop"
	loop=
}

try_mount() { # FS [OPTIONS]
	case $1 in
	ext4) mount -t ext4 -o "${2:-rw}" "$loop" "$work/mnt" ;;
	exfat) mount.exfat-fuse -o "${2:-rw}" "$loop" "$work/mnt" >/dev/null ;;
	ntfs) ntfs-3g -o "${2:-rw}" "$loop" "$work/mnt" ;;
	esac
}

# A FUSE daemon goes on for a moment after its file system was unmounted.
mount_as() {
	tries=300
	until try_mount "$@" 2>"$work/mount.err"; do
		tries=$((tries - 1))
		test $tries -gt 0 || fail "mount $*: $(cat "$work/mount.err")"
		sleep 0.1
	done
}

make_fs() {
	case $1 in
	ext4) mkfs.ext4 -q -b 4096 "$loop" ;;
	exfat) mkfs.exfat "$loop" >/dev/null ;;
	ntfs) mkfs.ntfs -q -f "$loop" >/dev/null 2>&1 ;;
	esac
}

run() { # WHAT VARIABLE=VALUE... PROGRAM: one run of a unit test, its output shown when it fails
	what=$1
	shift
	env "$@" >"$work/out" 2>&1 || {
		cat "$work/out" >&2
		fail "$what"
	}
	echo "place_fs: $what: $(grep -c '  OK ' "$work/out") tests passed"
}

steady() { # KIND: what each flush and each 5 s cost beside the payload
	run "$1: steady" STICKVM_TEST_DIR="$work/mnt" STICKVM_TEST_RAW="$loop" \
		STICKVM_TEST_STEADY="$1" "$media"
	sed -n 's/^each/place_fs: '"$1"': each/p' "$work/out"
}

on_fs() { # FS
	attach 400
	make_fs "$1"
	mount_as "$1"
	run "$1: everything" STICKVM_TEST_DIR="$work/mnt" "$unit"
	run "$1: threads" STICKVM_TEST_DIR="$work/mnt" "$media"
	run "$1: full" STICKVM_TEST_DIR="$work/mnt" STICKVM_TEST_SMALL=1 "$media"
	if [ "$1" = ext4 ]; then
		run "$1: aligned" STICKVM_TEST_DIR="$work/mnt" \
			STICKVM_TEST_IMAGE="$work/stick.img" "$media"
	fi
	steady "$1"
	STICKVM_TEST_LEAVE="$work/mnt/disk" "$media"
	umount "$work/mnt"
	mount_as "$1" ro
	run "$1: read-only" STICKVM_TEST_READ_ONLY="$work/mnt/disk" "$media"
	umount "$work/mnt"
	detach
}

mkdir "$work/mnt"
for fs in ext4 exfat ntfs; do
	on_fs "$fs"
done
attach 100
run "raw partition" STICKVM_TEST_RAW="$loop" "$media"
detach
attach 100
steady raw
detach
