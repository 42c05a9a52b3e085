#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# fuse_fio.sh: fio writes with checksums through every engine and verifies, also after a remount.
# test-locks: none
. "$(dirname "$0")/fuse.bash"
need fio jq

cd "$T" # fio leaves files where it runs
new_disk vm 256M

# run NAME OPTIONS...: 32 MiB of its own each, so that all can be verified at the end.
offset=0
run() {
	local name=$1
	shift
	set -- --offset=${offset}M --size=32M "$@"
	printf '%s\n' "$name" "$@" >"$T/job.$name"
	fio --name="$name" --filename="$DISK" --verify=crc32c --verify_fatal=1 --do_verify=1 \
		--randrepeat=1 "$@" >"$T/fio.log" 2>&1 || die "fio $name"
	offset=$((offset + 32))
}

again() {
	local args
	mapfile -t args <"$1"
	fio --name="${args[0]}" --filename="$DISK" --verify=crc32c --verify_fatal=1 \
		--verify_only --randrepeat=1 "${args[@]:1}" >"$T/fio.log" 2>&1 ||
		die "fio ${args[0]} after the remount"
}

attach_disk vm
run libaio --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bs=4k
run uring --ioengine=io_uring --direct=1 --iodepth=32 --rw=randwrite --bsrange=512-128k \
	--bs_unaligned=0 --blockalign=512
run psync --ioengine=psync --direct=1 --rw=randwrite --bs=16k --fdatasync=16
run dsync --ioengine=psync --direct=1 --rw=write --bs=256k --sync=dsync
run mebibyte --ioengine=libaio --direct=1 --iodepth=4 --rw=write --bs=1M
# (a whole number of blocks: fio would write the last one into the next job's part)
run odd --size=$((3001 * 11000)) --ioengine=psync --direct=0 --rw=write --bs=3001 --fsync=500
run uring_buffered --ioengine=io_uring --direct=0 --iodepth=8 --rw=randwrite --bs=8k
detach_disk
attach_disk vm
for job in "$T"/job.*; do
	again "$job"
done

# Several processes write their own parts of the one file at once, with discards in between.
fio --name=many --filename="$DISK" --numjobs=4 --size=8M --offset=224M --offset_increment=8M \
	--ioengine=libaio --direct=1 --iodepth=8 --rw=randwrite --bs=4k --verify=crc32c \
	--verify_fatal=1 --fdatasync=64 --group_reporting >"$T/fio.log" 2>&1 || die "fio many"
[ "$(status session.guest_written_bytes)" -ge $((32 << 20)) ] || die "guest_written_bytes"
detach_disk
echo "fuse_fio: done"
