#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# flashsim as a block device: a file system on it, real latency, counters, faults, unplug and plug.
set -euo pipefail

dir=$(mktemp -d)
sim=$dir/sim fs=$dir/fs loop=
mkdir "$sim" "$fs"

cleanup() {
	set +e
	mountpoint -q "$fs" && umount -l "$fs"
	[ -n "$loop" ] && losetup -d "$loop"
	mountpoint -q "$sim" && umount "$sim"
	rm -rf "$dir"
}
trap cleanup EXIT

die() {
	echo "FAILED: $*" >&2
	exit 1
}

stat_of() {
	sed -n "s/^ \"$1\": \([0-9.e-]*\),\{0,1\}$/\1/p" "$sim/stats.json"
}

ctl() {
	echo "$*" >"$sim/ctl"
}

attach() {
	loop=$(losetup -f --show --direct-io=on "$sim/stick.img")
}

"$BIN/flashsim" --profile P5 --size 256M --latency off "$sim"
attach
[ "$(losetup -nO DIO "$loop" | tr -d ' ')" = 1 ] || die "no direct I/O"
mkfs.ext4 -q "$loop"
mount "$loop" "$fs"

# What is written is found again, by way of the stick.
head -c 20M /dev/urandom >"$fs/data"
sum=$(sha256sum <"$fs/data")
umount "$fs"
mount "$loop" "$fs"
[ "$(sha256sum <"$fs/data")" = "$sum" ] || die "data differ"

# Counters: a direct write of 8 MiB is counted whole, and in as few commands as it takes.
ctl reset
[ "$(stat_of written_bytes)" = 0 ] || die "reset"
dd if=/dev/zero of="$fs/data" bs=1M count=8 oflag=direct conv=notrunc,fsync status=none
written=$(stat_of written_bytes)
[ "$written" -ge 8388608 ] && [ "$written" -lt 9000000 ] || die "written_bytes $written"
[ "$(stat_of write_commands)" -lt 40 ] || die "write_commands $(stat_of write_commands)"
[ "$(stat_of flush_commands)" -ge 1 ] || die "no flush arrived"

# Latency: 8 MiB at 35 MB/s take 0.24 s. Off again, much less than that.
ctl latency on
start=$(date +%s%N)
dd if=/dev/zero of="$fs/data" bs=1M count=8 oflag=direct conv=notrunc status=none
took_ms=$((($(date +%s%N) - start) / 1000000))
[ $took_ms -ge 235 ] || die "8 MiB took only $took_ms ms"
ctl latency off

# Faults: the next write fails once; nonsense is refused.
sync -f "$fs"
ctl fail-write 1
put_zeros() { dd if=/dev/zero of="$loop" bs=4k count=1 seek=60000 oflag=direct status=none; }
if put_zeros 2>/dev/null; then
	die "the write should have failed"
fi
put_zeros || die "it failed twice"
! ctl frobnicate 2>/dev/null || die "nonsense was taken"
! ctl idle soon 2>/dev/null || die "no number was taken"

# Unplug: what was open stays dead; after the plug a new device has what was flushed.
echo kept >"$fs/kept"
sync -f "$fs"
ctl unplug
! dd if="$loop" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null || die "alive"
ctl plug 480
! dd if="$loop" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null || die "revived"
umount -l "$fs"
losetup -d "$loop"
attach
mount "$loop" "$fs"
[ "$(cat "$fs/kept")" = kept ] || die "lost"

# A recording holds what was written.
ctl "record $dir/log"
dd if=/dev/urandom of="$loop" bs=4k count=1 seek=60000 oflag=direct conv=fsync status=none
ctl 'mark end'
ctl record off
[ "$(od -An -tx8 -N8 "$dir/log" | tr -d ' ')" = 006a736677736872 ] || die "no log"
cmp -n 4096 <(dd if="$dir/log" bs=512 skip=2 status=none) \
	<(dd if="$loop" bs=4k skip=60000 count=1 iflag=direct status=none) || die "log differs"

umount "$fs"
losetup -d "$loop"
loop=
umount "$sim"
status=0
"$BIN/flashsim" --profile P9 "$sim" 2>/dev/null || status=$?
[ $status = 2 ] || die "an unknown profile ended with $status"
echo "flashsim: ok"
