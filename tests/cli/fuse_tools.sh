#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# fuse_tools.sh: dd, cp, qemu-img and qemu-io on disk.raw; what was written is there after umount.
# test-locks: none
. "$(dirname "$0")/fuse.bash"
need dd cmp jq qemu-img qemu-io fallocate sha256sum python3

MIB=1048576
SIZE=$((128 * MIB))
new_disk vm 128M
attach_disk vm

# An empty disk: all holes, the right size, an honest status.
[ "$(stat -c %s "$DISK")" = $SIZE ] || die "size"
[ "$(stat -c %b "$DISK")" = 0 ] || die "blocks of an empty disk: $(stat -c %b "$DISK")"
[ "$(status state)" = ok ] && [ "$(status size_bytes)" = $SIZE ] || die "status.json"
[[ $(status store_id) =~ ^[0-9a-f]{32}$ ]] || die "store_id"
for key in epoch used_bytes free_segments dirty_bytes session.guest_written_bytes; do
	[[ $(status $key) =~ ^[0-9]+$ ]] || die "status.json: $key"
done

# dd without conv=notrunc writes an image over the disk and keeps its size, as on a block device.
head -c $((40 * MIB + 1000)) /dev/urandom >"$T/image"
dd if="$T/image" of="$DISK" bs=1M status=none || die "dd"
[ "$(stat -c %s "$DISK")" = $SIZE ] || die "dd changed the size"
cmp -n "$(stat -c %s "$T/image")" "$T/image" "$DISK" || die "dd"
# Odd block sizes and offsets, buffered; direct; appended flush.
dd if="$T/image" of="$DISK" bs=1000 count=777 seek=3333 conv=notrunc status=none
dd if="$T/image" of="$T/image" bs=1000 count=777 seek=3333 conv=notrunc status=none
dd if="$T/image" of="$DISK" bs=64k count=100 skip=8 seek=16 conv=notrunc,fsync oflag=direct \
	status=none
dd if="$T/image" of="$T/image2" bs=64k count=100 skip=8 status=none
dd if="$T/image2" of="$T/image" bs=64k seek=16 conv=notrunc status=none
dd if="$T/image" of="$DISK" bs=4k count=20 oflag=dsync conv=notrunc status=none
# A dd that seeks without notrunc wants to cut first: it complains, writes in place, cuts nothing.
dd if="$T/image" of="$DISK" bs=4k skip=7 seek=7 count=1 status=none 2>"$T/cut"
grep -q "Operation not permitted" "$T/cut" || die "a dd that cuts: $(cat "$T/cut")"
cmp -n "$(stat -c %s "$T/image")" "$T/image" "$DISK" || die "dd with offsets"
[ "$(status dirty_bytes)" = 0 ] || die "the close did not flush"
# The end is the end; to cut the disk is refused and harmless.
dd if=/dev/zero of="$DISK" bs=4k seek=$((SIZE / 4096 - 1)) conv=notrunc status=none 2>"$T/end" &&
	die "wrote beyond the end"
grep -q "No space left" "$T/end" || die "end: $(cat "$T/end")"
refuse truncate -s 1M "$DISK"
refuse truncate -s 1G "$DISK"
refuse rm -f "$DISK"
refuse touch "$M/other"
cmp -n "$(stat -c %s "$T/image")" "$T/image" "$DISK" || die "a refused command changed the disk"

# After umount and mount everything is there, and only what was written takes space.
head -c $SIZE "$DISK" | sha256sum >"$T/before"
detach_disk
attach_disk vm
head -c $SIZE "$DISK" | sha256sum | cmp - "$T/before" || die "changed over umount"
blocks=$(stat -c %b "$DISK")
[ "$blocks" -ge $((40 * MIB / 512)) ] && [ "$blocks" -le $((42 * MIB / 512)) ] ||
	die "blocks after 40 MiB: $blocks"

# Holes: found by lseek, made by fallocate, seen by du and by qemu-img map.
python3 - "$DISK" $SIZE <<'PY' || die "lseek"
import os, sys
fd, size = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2])
assert os.lseek(fd, 0, os.SEEK_DATA) == 0
hole = os.lseek(fd, 0, os.SEEK_HOLE)
assert 40 << 20 < hole <= (41 << 20), hole
try:
    data = os.lseek(fd, hole, os.SEEK_DATA)
    assert data == size - 4096, data  # dd above reached the last block
except OSError as e:
    assert e.errno == 6, e            # or it was zeros, which are not stored
PY
fallocate --punch-hole --offset $((8 * MIB)) --length $((16 * MIB)) "$DISK" || die "punch"
[ "$(stat -c %b "$DISK")" -le $((26 * MIB / 512)) ] || die "punch freed nothing"
cmp -n $((16 * MIB)) -i $((8 * MIB)):0 "$DISK" /dev/zero || die "a hole is not zeros"
fallocate --zero-range --offset $((30 * MIB + 100)) --length 5000 "$DISK" || die "zero range"
cmp -n 5000 -i $((30 * MIB + 100)):0 "$DISK" /dev/zero || die "zero range is not zeros"
qemu-img map --output=json -f raw "$DISK" >"$T/map" || die "qemu-img map"
jq -e "any(.[]; .start == $((8 * MIB)) and (.zero == true) and .length >= $((16 * MIB)))" \
	"$T/map" >/dev/null || die "qemu-img map does not show the hole: $(cat "$T/map")"

# QEMU's block layer: direct, by threads and by io_uring; discards and zeroes.
for aio in threads io_uring; do
	qemu-io -f raw -t none -i $aio -d unmap \
		-c "write -P 17 1M 1M" -c "write -P 18 2M 3000k" -c "write -P 19 512 1k" \
		-c "write -f -P 20 6M 64k" -c "discard 2M 1M" -c "write -z 3M 64k" -c flush \
		-c "read -P 17 1M 1M" -c "read -P 0 2M 1M" -c "read -P 0 3M 64k" \
		-c "read -P 18 3136k 1M" -c "read -P 19 512 1k" -c "read -P 20 6M 64k" \
		"$DISK" >"$T/qemu-io.log" || die "qemu-io $aio"
	! grep -iE "fail|error|differ" "$T/qemu-io.log" || die "qemu-io $aio"
done

# qemu-img convert into the disk and out of it, compared by qemu-img.
qemu-img create -q -f qcow2 "$T/src.qcow2" 128M
qemu-io -f qcow2 -c "write -P 7 3M 20M" -c "write -P 9 100M 5M" "$T/src.qcow2" >/dev/null
for cache in none writeback; do
	fallocate --punch-hole --offset 0 --length $SIZE "$DISK"
	qemu-img convert -n -t $cache -T none -W -m 16 -f qcow2 -O raw "$T/src.qcow2" "$DISK" ||
		die "qemu-img convert -t $cache"
	qemu-img compare -q -f qcow2 -F raw "$T/src.qcow2" "$DISK" || die "compare -t $cache"
done
[ "$(stat -c %b "$DISK")" -le $((26 * MIB / 512)) ] || die "convert did not keep the holes"
qemu-img convert -f raw -O qcow2 "$DISK" "$T/out.qcow2" || die "convert out"
detach_disk
attach_disk vm
qemu-img compare -q -f qcow2 -F raw "$T/out.qcow2" "$DISK" || die "compare after umount"

# A private mmap reads; a shared one is refused with ENODEV rather than being stale.
python3 - "$DISK" <<'PY' || die "mmap"
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 8 << 20, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
assert m[3 << 20] == 7 and m[0] == 0
try:
    mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED)
    sys.exit("shared mmap worked")
except OSError as e:
    assert e.errno == 19, e
PY

# SIGTERM with a client that still writes: what was acknowledged by fsync is there.
detach_disk
"$BIN/stickvm" --stick "$STICK" mount vm "$M" --foreground >"$T/foreground.log" 2>&1 &
server=$!
for ((i = 0; i < 100; i++)); do
	[ -e "$DISK" ] && break
	sleep 0.1
done
exec 5<>"$DISK"
head -c 3000000 /dev/urandom >"$T/last"
dd if="$T/last" of=/dev/fd/5 bs=10000 conv=notrunc,fsync status=none
kill -TERM $server
wait $server || die "mount --foreground ended with $? on SIGTERM"
exec 5>&-
! mountpoint -q "$M" || die "still mounted after SIGTERM"
attach_disk vm
cmp -n 3000000 "$T/last" "$DISK" || die "SIGTERM lost a write"
detach_disk

# Read-only: reads, refuses writers.
stickvm mount vm "$M" --read-only || die "mount --read-only"
cmp -n 3000000 "$T/last" "$DISK" || die "read-only"
refuse dd if=/dev/zero of="$DISK" bs=512 count=1 conv=notrunc
[ "$(status state)" = read-only ] || die "state of a read-only mount: $(status state)"
detach_disk
echo "fuse_tools: done"
