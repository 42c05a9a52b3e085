#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# scratch: the guest has a second disk, blank at each start, which never touches the stick.
# test-labels: long once
# shellcheck source-path=SCRIPTDIR source=run.bash
. "$(dirname "$0")/run.bash"

guest_image --kernel full
make_stick "$work/stick"
export XDG_CACHE_HOME=$work/cache
mkdir "$XDG_CACHE_HOME"
serial=$work/serial

# A decision with its reason; a refusal where there is no room.
works "$vm" run g --dry-run
says "scratch +none +swap and temporary files of the guest go to the stick; 'stickvm set g"
works "$vm" set g scratch=1T
"$vm" run g --dry-run --accel tcg >"$work/out" 2>&1 && die "no room, and not refused"
says '^stickvm run: scratch: .*/cache has only .* free of the 1.00 TiB'
works "$vm" set g scratch=64M
works "$vm" run g --dry-run
says 'scratch +64.0 MiB +a blank disk at each start'
says 'virtio-blk-pci,id=scratch,addr=7,drive=scratch,serial=scratch'
[ -z "$(find "$XDG_CACHE_HOME" -type f)" ] || die "a dry run made it"

# What the guest ever wrote to its disk on the stick.
guest_bytes() {
	"$vm" wear g --json >"$work/wear"
	python3 -c "import json; print(json.load(open('$work/wear'))['guest_written_bytes'])"
}

# WHAT: runs the VM; the guest finds the disk by its size, looks at it and fills some of it.
session() {
	make_job <<END
d=\$(grep -lx 131072 /sys/block/*/size | cut -d/ -f4)
echo "SIZE \$(cat /sys/block/\$d/size)"
echo "SERIAL \$(cat /sys/block/\$d/serial 2>/dev/null)"
echo "GRAIN \$(cat /sys/block/\$d/queue/physical_block_size)"
echo "DISCARD \$(cat /sys/block/\$d/queue/discard_max_bytes)"
echo "BLANK \$(tr -d '\\000' </dev/\$d | wc -c)"
dd if=/dev/urandom of=/dev/\$d bs=1M count=24 2>/dev/null; sync
echo "FULL \$(tr -d '\\000' </dev/\$d | wc -c)"
poweroff
END
	fresh
	"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
	run=$!
	at_end "end_run $run"
	wait_end $run 0 600
	grep -aq 'SIZE 131072' "$serial" || die "$1: size: $(tail -n 20 "$serial")"
	case $1 in # what these say of the root disk, too
	nvme) grep -aqE 'DISCARD [1-9]' "$serial" || die "$1: no discard" ;;
	usb) ;;
	*)
		grep -aq 'GRAIN 4096' "$serial" || die "$1: block size"
		grep -aqE 'DISCARD [1-9]' "$serial" || die "$1: no discard"
		;;
	esac
	grep -aqE 'BLANK 0' "$serial" || die "$1: it is not blank: $(grep -a BLANK "$serial")"
	grep -aqE 'FULL 2[0-9]{7}' "$serial" || die "$1: it kept: $(grep -a FULL "$serial")"
}

before=$(guest_bytes)
session virtio-blk
grep -aq 'SERIAL scratch' "$serial" || die "serial: $(grep -a SERIAL "$serial")"
session again # and blank again
after=$(guest_bytes)
[ $((after - before)) -lt 8000000 ] || die "48 MiB on scratch, and $((after - before)) to the stick"
[ -z "$(find "$XDG_CACHE_HOME" -type f)" ] || die "left: $(find "$XDG_CACHE_HOME" -type f)"

# QEMU is killed: the file had no name, so nothing stays.
make_job <<'END'
dd if=/dev/urandom of=/dev/vdb bs=1M count=20 2>/dev/null; sync; echo FILLED
sleep 1000
END
fresh
"$vm" run g --accel tcg --serial "$serial" -- "${job[@]}" >"$work/words" 2>&1 </dev/null &
run=$!
at_end "end_run $run"
wait_line FILLED "$serial" 600
qemu=$(pgrep -f "qemu.*$XDG_RUNTIME_DIR") || die "no QEMU"
[ -n "$(find "/proc/$qemu/fd" -lname "$XDG_CACHE_HOME/*(deleted)")" ] || die "QEMU has no such file"
[ -z "$(find "/proc/$run/fd" -lname "$XDG_CACHE_HOME/*")" ] || die "stickvm keeps the file open"
[ -z "$(find "$XDG_CACHE_HOME" -type f)" ] || die "it has a name"
kill -KILL "$qemu"
wait_end $run 1
[ -z "$(find "$XDG_CACHE_HOME" -type f)" ] || die "left: $(find "$XDG_CACHE_HOME" -type f)"
nothing_left

# Every other bus.
for bus in virtio-scsi nvme sata usb; do
	works "$vm" set g bus=$bus
	session $bus
done
intact
