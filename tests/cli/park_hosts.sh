#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# park_hosts: a parked VM goes on once, and only if its disk is as it was left: the way back is cut
# at each step, the state is damaged, the stick is used on another host. QEMU is played by a script.
# test-labels: once
# shellcheck source-path=SCRIPTDIR source=hosts.bash
. "$(dirname "$0")/hosts.bash"

parked=$work/data-host-a/stickvm/parked
ref=$work/ref # what the disk must hold

# SEED OFFSET: 256 KiB to the disk, and to what it must hold.
write_disk() {
	python3 -c "import random, sys
sys.stdout.buffer.write(random.Random($1).randbytes(1 << 18))" >"$work/bytes"
	# Closing is a flush, which fails without the stick; the writes do not.
	on host-a dd if="$work/bytes" of="$disk" bs=64K seek="$2" oflag=direct conv=notrunc \
		status=none 2>"$work/err" || grep -q closing "$work/err" || die "$(cat "$work/err")"
	dd if="$work/bytes" of="$ref" bs=64K seek="$2" conv=notrunc status=none
}

# Starts it on host-a, writes, pulls the stick.
start_and_pull() {
	start_on host-a
	disk=$(echo "$work"/run-host-a/stickvm/*/disk)/disk.raw
	write_disk "$1" "$2"
	pull
	wait_line 'g: the stick is gone: the VM is frozen' "$work/words" 10
	write_disk $(($1 + 100)) $(($2 + 2))
	unplug_from host-a
}

back() {
	echo plug >"$sim/ctl"
	plug_into "$1"
}

# What a run on host-a ends with, by itself.
ends() {
	local status=0
	FAKE=$1 start_on host-a
	wait $run || status=$?
	[ $status = "$2" ] || die "$1: status $status, not $2: $(cat "$work/words")"
	grep -Eq "$3" "$work/words" || die "$1: no '$3': $(cat "$work/words")"
	ls "$parked"/*.park >/dev/null || die "$1: the state is gone"
}

# Two Ctrl-C, each heard.
end_it() {
	kill -INT $run
	wait_line 'Ctrl-C again to kill it' "$work/words" 30
	kill -INT $run
	wait_end $run 130 60
}

disk_is_right() {
	works on host-a "$vm" --stick "$mnt" check g --deep
	on host-a "$vm" --stick "$mnt" mount g "$work/look" --read-only
	on host-a cmp "$work/look/disk.raw" "$ref" || die "the disk is not what was written"
	on host-a "$vm" umount "$work/look"
}

truncate -s 64M "$ref"
start_sim --profile P5 --size 1G --cut drop=30,reorder
make_fs ext4
make_host host-a
make_host host-b
plug_into host-a
works on host-a "$vm" init "$mnt"
works on host-a "$vm" --stick "$mnt" create g --size 64M --ram 256M --cpu roam
start_and_pull 1 0

works on host-a "$vm" park g --yes
wait_end $run 0 60
file=$(ls "$parked"/*.park)
back host-a

# Every way to fail before it goes on leaves the state, and the next one goes on from it.
ends incoming-dies 7 'QEMU did not take its parked state'
FAKE=incoming-hangs start_on host-a
wait_line loaded "$work/told-host-a" 20
kill -KILL $run
wait $run 2>/dev/null || true
[ -e "$file" ] || die "killed while it was loaded: the state is gone"
cp "$file" "$work/kept"
size=$(stat -c %s "$file")
printf x | dd of="$file" bs=1 seek=$((size - 30)) conv=notrunc status=none
ends presses 7 'could not be loaded: it is damaged; it is kept'
printf x | dd of="$file" bs=1 seek=90 conv=notrunc status=none
ends presses 7 'cannot be read: it was made under another key'
cp "$work/kept" "$file"
works on host-a "$vm" --stick "$mnt" set g ram=128M
ends presses 7 'it was parked as another machine'
works on host-a "$vm" --stick "$mnt" set g ram=256M
mkdir "$work/look"
refused 5 'it is parked on this host' on host-a "$vm" --stick "$mnt" mount g "$work/look"
refused 2 'nobody to ask; add --yes' on host-a "$vm" --stick "$mnt" run g --accel tcg --cold

start_on host-a
wait_line 'g: it goes on from where it was parked' "$work/words" 20
[ ! -e "$file" ] || die "the state can be used twice"
[ "$(grep -xc cont "$work/told-host-a")" = 1 ] || die "not let go on once"
kill -KILL $run # for the guest a power cut
wait $run 2>/dev/null || true
disk_is_right
start_on host-a
! grep -q parked "$work/words" || die "it was parked twice"
end_it

# Another host goes on meanwhile: refused, and its disk as it was can be had.
start_and_pull 2 40
works on host-a "$vm" park
wait_end $run 0 60
back host-a
ends incoming-dies 7 'QEMU did not take its parked state'
on host-a test -e "$mnt/stickvm/vms/g/parked" || die "no mark is left of the first attempt"
unplug_from host-a
plug_into host-b
refused 5 'did not end cleanly' on host-b "$vm" --stick "$mnt" run g --accel tcg
start_on host-b --take-over
on host-b dd if=/dev/urandom of="$(echo "$work"/run-host-b/stickvm/*/disk)/disk.raw" bs=64K \
	count=30 oflag=direct conv=notrunc,fsync status=none
end_it
works on host-b "$vm" --stick "$mnt" check g --deep
unplug_from host-b
plug_into host-a
before=$(store_bytes host-a)
refused 7 'g: it is parked here, but the disk was used elsewhere since.*--export' \
	on host-a "$vm" --stick "$mnt" run g --accel tcg
[ "$(store_bytes host-a)" = "$before" ] || die "the first host wrote to the disk"
works on host-a "$vm" --stick "$mnt" park g --export "$work/image"
cmp "$work/image" "$ref" || die "the exported image is not the disk as it was parked"
[ "$(store_bytes host-a)" = "$before" ] || die "the export wrote to the disk"
refused 1 'cannot be made' on host-a "$vm" --stick "$mnt" park g --export "$work/image"
refused 2 'add --yes' on host-a "$vm" forget
[ -n "$(ls "$parked")" ] || die "forgotten without a word"
works on host-a "$vm" forget --yes
[ ! -e "$parked" ] || die "left: $(ls "$parked")"

# The stick is back, used elsewhere meanwhile, under a VM that is still frozen: its work is kept for
# an export all the same.
on host-a "$vm" --stick "$mnt" mount g "$work/look" --read-only
on host-a cp "$work/look/disk.raw" "$ref"
on host-a "$vm" umount "$work/look"
start_and_pull 3 80
a_run=$run
mv "$work/words" "$work/words-a"
back host-b
start_on host-b --take-over
on host-b dd if=/dev/urandom of="$(echo "$work"/run-host-b/stickvm/*/disk)/disk.raw" bs=64K \
	count=90 oflag=direct conv=notrunc,fsync status=none
end_it
unplug_from host-b
plug_into host-a
before=$(store_bytes host-a)
wait_line 'another host has gone on.*stickvm park g. keeps its work for an export' \
	"$work/words-a" 30
works on host-a "$vm" park g --yes
wait_end $a_run 0 60
refused 7 'used elsewhere since.*--export' on host-a "$vm" --stick "$mnt" run g --accel tcg
works on host-a "$vm" --stick "$mnt" park g --export "$work/image-refused"
cmp "$work/image-refused" "$ref" || die "the image is not the disk as it was frozen"
[ "$(store_bytes host-a)" = "$before" ] || die "the refused host wrote to the disk"
